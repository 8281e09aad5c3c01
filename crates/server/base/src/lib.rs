//! What every role of the server side stands on.
//!
//! A role opens a port with [`Listener`]: plain on this machine, TLS, or mTLS, where the peer's
//! role is in its certificate ([`peer`]) and each endpoint says which roles it is for
//! ([`peer::only`]). It calls another role with the client of [`mutual`], which trusts one
//! authority and expects one role. [`ca`] is that authority for those who have none of their
//! own; others are asked by the clients of [`clients`]. Refusals are a [`Failure`]; bodies are read
//! by [`extract`]; [`layers`] hold time and size of every request, [`limits`] how many there may be,
//! and how much of a thing one peer may hold. [`audit`] is a file that says what was done and
//! refused. [`tokens`] are those of issuers that are configured. [`memory`] is closed to others.

pub mod audit;
pub mod ca;
pub mod clients;
mod clock;
pub mod extract;
mod failure;
pub mod key_file;
pub mod layers;
pub mod limits;
mod listen;
pub mod memory;
pub mod mutual;
pub mod peer;
pub mod private_file;
pub mod published;
mod random;
pub mod reload;
mod tls;
pub mod tokens;

#[cfg(feature = "testing")]
pub use clock::ManualClock;
pub use clock::{Clock, SystemClock};
pub use failure::Failure;
pub use listen::{ListenError, Listener, serve};
pub use random::{Random, SystemRandom};
pub use tls::{ClientCa, Tls, TlsError};
