//! The tree to the kernel: FUSE, the mount table, the supervisor.
//!
//! The way of a mount:
//!
//! 1. [`Claim::take`]: may this workspace be mounted on this folder? What a crash left
//!    there is mended, the workspace is locked on this machine.
//! 2. The caller opens the tree, with a [`watcher`].
//! 3. [`Mounted::start`]: attached to the folder, with a record in the [`MountTable`] and
//!    a control socket; [`supervise::Announcer`] tells the parent process "ready".
//! 4. [`Mounted::run`]: until it is unmounted, by [`control::Client::unmount`], a signal
//!    ([`Mount::stop`]) or anyone's `umount`.

mod attach;
mod claim;
pub mod control;
mod error;
mod holders;
mod kernel;
mod mounted;
pub mod mountinfo;
mod movement;
mod process;
mod readahead;
pub mod supervise;
mod table;
pub mod units;
mod wake;

pub use claim::{Claim, clear_stale};
pub use error::MountError;
pub use holders::{Holder, holders};
pub use kernel::{Changes, Passthrough, watcher};
pub use mounted::{Mount, MountOptions, Mounted, passthrough_possible};
pub use movement::{Metered, Movement};
pub use process::ProcessId;
pub use table::{Liveness, MountRecord, MountTable};
pub use wake::WakeProgram;
pub use wake::helper::serve_wakes;
