//! Two-way sync: a folder on this machine and a workspace in a bucket, kept alike.
//!
//! A pass looks at both sides ([`look`]), makes a plan of what was, what is here and what is
//! there ([`plan`], a pure function), and carries it out ([`apply`]). Every action checks that
//! what it is based on still holds: an object by its ETag, a local file by its size, times and
//! inode. What was changed meanwhile is left to the next pass; what both sides changed is kept
//! twice. What is replaced or deleted lies in a trash for 30 days.
//!
//! [`folder`] is the port to the local side, `bucket` that to the other.

#![forbid(unsafe_code)]

pub mod apply;
mod composite;
pub mod entry;
mod error;
pub mod folder;
mod folds;
pub mod ignored;
pub mod keys;
mod known;
mod look;
mod marker;
mod pair;
mod pass;
mod path;
pub mod places;
pub mod plan;
pub mod progress;
pub mod record;
pub mod remote;
pub mod settings;
mod settle;
pub mod state;
pub mod steps;
pub mod undo;
pub mod watch;

pub use error::{Access, Result, SyncError};
pub use known::Known;
pub use look::look;
pub use marker::Marker;
pub use pair::{Holder, Lock, PairFiles};
pub use pass::{clean, pass, run};
pub use path::{PathError, TreePath};
