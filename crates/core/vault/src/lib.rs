//! The vault's formats and cryptography, without I/O, clock or policy of its own.
//!
//! - [`kek`]: which key seals whose credentials, and how it follows from the master secret.
//! - [`envelope`]: a credential as it lies in the bucket, version 0x10; [`legacy`] has the older
//!   versions 0x01 and 0x02.
//! - [`token`]: capabilities, proofs of possession, sessions and web identities, all compact JWS
//!   signed with ES256; [`jws`] is what they stand on.
//! - [`isolation`]: the store's policies that give each actor a prefix of its own.
//! - [`audit`]: the chain of hashes that an audit's lines are.
//!
//! # Compatibility
//!
//! What is written in these forms stays readable: envelopes lie in buckets for years, and client,
//! worker, signer and broker of different releases meet. So the bytes of version 0x10, the
//! derivation of keys and the names of claims do not change; what must be different gets a new
//! version byte, a new salt or a new token type, beside the old one. `vectors/` holds examples of
//! every form, and of what must be refused with which reason. The tests here run them, and a
//! second implementation in Python runs the same files (`scripts/suites/vectors.sh`).

pub mod audit;
pub mod envelope;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod isolation;
pub mod jws;
pub mod kek;
pub mod legacy;
pub mod token;

mod chunked;
mod key;
mod primitives;
mod sha;

pub use envelope::{
    EnvelopeError, Header, LONGEST_ENVELOPE, OldVersions, Place, Plaintext, SALT_LENGTH, header,
    open, seal, seal_with_salt,
};
pub use kek::{Kek, MasterSecret, derive_cred_kek};
pub use key::{DeviceKey, InvalidKey, PublicKey, SignEs256, VerifyKeys};
pub use token::{
    Cap, Op, Proof, ProofFor, ReplayCache, Session, TokenError, WebIdentity, make_proof, mint_cap,
    mint_session, mint_web_identity, verify_cap, verify_proof, verify_session,
};
