//! What every role of the server side stands on: listening with TLS and mTLS, signing keys, tokens
//! of others, time and randomness.

mod clock;
mod random;
pub mod tokens;

#[cfg(feature = "testing")]
pub use clock::ManualClock;
pub use clock::{Clock, SystemClock};
pub use random::{Random, SystemRandom};
