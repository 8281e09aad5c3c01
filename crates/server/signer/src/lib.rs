//! The signer: it holds the master secrets (K3, one of each epoch), and derives from them the
//! keys that seal credentials, for those who may have them.
//!
//! Two doors. *Inside* ([`internal`]), over mTLS, a worker asks for the key of any operator's
//! actor; who is a worker is in its certificate. *Outside* ([`public`]), over TLS with a broker's
//! session and a proof by the device that the session is bound to, a person asks for signatures
//! of their own wallet under messages that are known by their whole form ([`message`]), never under
//! a text of their choosing; and, only where the operator has said so ([`Parts::own_keys`]), for
//! keys of their own.
//!
//! The secrets lie in one file ([`file`]), sealed under a passphrase ([`seal`]). In memory they
//! lie in pages that are never swapped and never dumped ([`memory`]). Each request, refused ones
//! too, is one line of an audit before its answer leaves; what cannot be written there is not
//! answered. The signer reaches no bucket and no registry: whether an actor may have a credential
//! is the worker's to know.
//!
//! # Epochs
//!
//! Epochs are numbered from 1; [`file::advance`] adds one. New credentials are sealed under the
//! newest. The keys of older epochs are derived to read what was sealed then; an answer says
//! which epoch is current, and one that is asked for the key of an epoch to come refuses.

mod app;
pub mod file;
mod internal;
pub mod memory;
pub mod message;
mod proven;
mod public;
mod record;
pub mod seal;
mod secrets;
mod sessions;
pub mod wallet;

pub use app::{Parts, Rates, ReloadError, Signer};
pub use internal::router as internal;
pub use public::router as public;
pub use secrets::Epochs;
pub use sessions::Sessions;
