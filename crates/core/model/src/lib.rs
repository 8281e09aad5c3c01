//! Words that both sides share: names, actors, profiles, and how a key shows as a file name.
//!
//! Pure: no I/O, no clock, no policy.

mod actor;
pub mod conflict;
mod device;
pub mod entry_name;
mod name;
mod profile;
mod service;

pub use actor::{Actor, InvalidActor};
pub use device::{DeviceId, InvalidDevice};
pub use name::{Handle, InvalidName, WorkspaceAddress, WorkspaceName};
pub use profile::Profile;
pub use service::{InvalidService, ServiceName};
