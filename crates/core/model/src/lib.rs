//! Words that both sides share: names, actors, profiles, how a key shows as a file name, and
//! how a file's attributes are spelled beside its object.
//!
//! Pure: no I/O, no clock, no policy.

mod actor;
pub mod conflict;
mod device;
pub mod entry_name;
pub mod file_metadata;
mod name;
mod profile;
mod service;

pub use actor::{Actor, InvalidActor};
pub use device::{DeviceId, InvalidDevice};
pub use name::{Handle, InvalidName, WorkspaceAddress, WorkspaceName};
pub use profile::Profile;
pub use service::{InvalidService, ServiceName};
