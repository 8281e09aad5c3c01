//! The workspace as a tree: namespace, cache, journal, upload. Knows no kernel type.
//!
//! [`Filesystem`] is the whole of it. Inside, one lock guards the [tree](tree), what is
//! [pending](pending) and the open handles; everything that waits for the bucket happens
//! outside the lock. A change is first made in the tree, then recorded in the
//! [journal](journal), then [carried out](upload) in the bucket; what the bucket
//! [lists](listing) is [merged](merge) into the tree, save for what is newer here.

mod attributes;
mod body;
mod cache;
mod catalogue;
mod clock;
mod conflicts;
mod core;
mod durable;
mod fetch;
mod files;
mod filesystem;
mod foreign;
mod journal;
mod lease;
mod left;
mod listing;
mod memory;
mod merge;
mod metadata;
mod names;
mod pending;
mod present;
mod remembered;
mod replay;
mod room;
mod sending;
mod settings;
mod status;
mod tree;
mod types;
mod upkeep;
mod upload;
mod watching;

pub use filesystem::Filesystem;
pub use foreign::Attributes;
pub use left::Left;
pub use settings::{OpenError, Settings};
pub use status::{Health, Status};
pub use types::*;
