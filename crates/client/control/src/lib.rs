//! The orchestrator from the client's side: logging in, workspaces and keys, and what happens
//! in a workspace as it happens.
//!
//! - [`Orchestrator`]: its endpoints, one method each. A bearer token goes over TLS or to this
//!   machine only, and to the server that it belongs to only (no redirect is followed).
//! - [`Sessions`]: where a login is kept on this machine, and [`device`]: how one begins.
//! - [`Announcing`] and [`announce`]: a mount tells what it has put into the bucket.
//! - [`follow`]: a mount hears what others have.
//!
//! A storage key of the user's own never comes here: no function of this crate takes one.

pub mod announce;
mod calls;
mod client;
pub mod device;
mod error;
pub mod follow;
mod session;
pub mod ticket;

pub use announce::Announcing;
pub use client::{Orchestrator, Tokens};
pub use error::{ControlError, Result};
pub use session::{Session, Sessions};
