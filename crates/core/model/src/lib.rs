//! Words that both sides share: names, profiles, and how a key shows as a file name.
//!
//! Pure: no I/O, no clock, no policy.

pub mod conflict;
pub mod entry_name;
mod name;
mod profile;

pub use name::{Handle, InvalidName, WorkspaceAddress, WorkspaceName};
pub use profile::Profile;
