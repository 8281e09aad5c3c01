//! How other processes speak with a running mount: JSON lines over a unix socket.
//!
//! One request per connection; the answers are any number of progress lines and one last
//! line. The socket is 0600 in a 0700 folder, and the server looks at the peer's user
//! besides. Compatibility: fields are only ever added; an unknown request is answered with
//! an error and leaves the mount as it is.

mod address;
mod client;
mod server;

use std::path::PathBuf;

use filesystem::{Left, Status};
use serde::{Deserialize, Serialize};

pub use client::Client;
pub(crate) use server::Server;

use crate::error::MountError;
use crate::kernel::Passthrough;

/// What a mount can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// How it is.
    Status,
    /// Upload everything that waits, and tell of the progress.
    Flush {
        /// Give up after so many seconds without progress; `None` never.
        stall: Option<u64>,
    },
    /// These objects changed in the bucket: look at them now.
    Refresh {
        /// Their whole keys.
        keys: Vec<String>,
    },
    /// Unmount and end.
    Unmount {
        /// Upload everything first.
        wait: bool,
        /// Detach even while programs use the folder.
        lazy: bool,
        /// Give up waiting after so many seconds without progress; `None` never.
        stall: Option<u64>,
    },
}

/// What it answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub(crate) enum Answer {
    Status(Box<MountStatus>),
    Progress(Status),
    Done(Outcome),
    Failed(MountError),
}

/// How a mount is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MountStatus {
    /// The workspace's name on this machine.
    pub workspace: String,
    /// The mount point.
    pub mountpoint: PathBuf,
    /// The process that serves it.
    pub pid: u32,
    /// Since when, in seconds since the Unix epoch.
    pub since: u64,
    /// The folder is unmounted and the last uploads go on.
    pub detached: bool,
    /// Whether the kernel reads and writes whole local files by itself.
    pub passthrough: Passthrough,
    /// Resident memory of the process, in bytes.
    pub memory_bytes: u64,
    /// The tree's own report.
    pub filesystem: Status,
    /// How it stands with its orchestrator, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<Live>,
}

/// How a mount stands with its orchestrator.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    /// Whether it hears of changes as they happen.
    pub connected: bool,
    /// Why not, if not.
    pub trouble: Option<String>,
    /// The last event that it has taken in.
    pub last_event_id: Option<i64>,
    /// Whether the key that it uses was taken back.
    pub revoked: bool,
}

/// What is left when an operation, or a mount, has ended.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Changes that are in the journal and not in the bucket.
    pub pending_changes: u64,
    /// Files among them.
    pub pending_files: u64,
    /// Bytes of those.
    pub pending_bytes: u64,
    /// Attributes that are in the journal and not in the bucket.
    #[serde(default)]
    pub pending_attributes: u64,
    /// The last failure of an upload, if any.
    pub last_error: Option<String>,
}

impl From<Left> for Outcome {
    fn from(left: Left) -> Self {
        Self {
            pending_changes: left.changes,
            pending_files: left.files,
            pending_bytes: left.bytes,
            pending_attributes: left.attributes,
            last_error: None,
        }
    }
}

impl Outcome {
    /// What a tree's status and its journal say is left.
    pub(crate) fn of(status: &Status, left: &Left) -> Self {
        Self {
            pending_changes: status.pending_changes,
            pending_files: status.pending_files,
            pending_bytes: status.pending_bytes,
            pending_attributes: left.attributes,
            last_error: status.last_error.clone(),
        }
    }

    /// Whether everything is in the bucket.
    pub fn is_complete(&self) -> bool {
        self.pending_changes == 0 && self.pending_files == 0 && self.pending_attributes == 0
    }
}
