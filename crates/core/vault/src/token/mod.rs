//! Tokens: what the broker signs, and what a device proves with.
//!
//! | type | what | signed by |
//! |---|---|---|
//! | `cap+jwt` | [`Cap`]: one operation, for one device | broker |
//! | `cap-proof+jwt` | [`Proof`]: this request comes from that device | device |
//! | `session+jwt` | [`Session`]: who is logged in | broker |
//! | `JWT` | [`WebIdentity`]: for an STS | broker |
//!
//! No token is taken for one of another type. Claims that are not known here are refused too: a
//! claim that is passed over could be a restriction. A new claim therefore needs a new type.

mod cap;
mod proof;
mod replay;
mod session;
mod web_identity;

pub use cap::{Cap, LONGEST_CAP_LIFETIME, Op, mint_cap, verify_cap};
pub use proof::{Proof, ProofFor, make_proof, verify_proof};
pub use replay::ReplayCache;
pub use session::{Session, TokenError, mint_session, verify_session};
pub use web_identity::{WEB_IDENTITY_LIFETIME, WebIdentity, is_tag_value, mint_web_identity};

/// The longest token of any type here, in bytes.
pub const LONGEST_TOKEN: usize = 4096;

/// How far another machine's clock may be ahead of ours, in seconds, where a token says from
/// when on it counts.
pub const CLOCK_SKEW: i64 = 5;

/// Whether a token's number is of a form that can be kept and compared.
fn is_jti(text: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    (1..=64).contains(&text.len()) && text.bytes().all(good)
}
