//! This machine's daemon (`artifacts daemon`): holds the login, the device's key and the broker's
//! capabilities, so that programs get secrets by asking a socket.
//!
//! - [`Daemon`] answers a request of a peer; [`server`] is the socket.
//! - [`CapCache`]: capabilities that still count, by operator, actor, what they are for, and
//!   device. They go when they end, when the broker says so, and when a worker refuses them.
//! - [`follow`]: hears the broker's events. Whether the broker is there is judged by its
//!   heartbeats and never by whether anybody asks for anything.
//! - [`Policy`]: which user's which program gets which services.
//!
//! A value passes through on its way between program and worker. It is never kept or written.

mod caps;
mod daemon;
pub mod follow;
mod liveness;
mod peer;
mod policy;
pub mod server;
mod upstream;

pub use caps::CapCache;
pub use daemon::Daemon;
pub use liveness::{Liveness, Pace};
pub use peer::Peer;
pub use policy::{Policy, policy_file};
pub use upstream::{Chunks, Upstream};
