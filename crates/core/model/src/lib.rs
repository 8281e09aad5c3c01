//! Words that both sides share: names, actors, profiles, and how a key shows as a file name.
//!
//! Pure: no I/O, no clock, no policy.

mod actor;
pub mod conflict;
pub mod entry_name;
mod name;
mod profile;

pub use actor::{Actor, InvalidActor};
pub use name::{Handle, InvalidName, WorkspaceAddress, WorkspaceName};
pub use profile::Profile;
