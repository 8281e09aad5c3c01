//! What a mount says of itself.

use serde::{Deserialize, Serialize};

/// A snapshot of a workspace's state on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Whether the bucket answers.
    pub health: Health,
    /// Changes that are not in the bucket yet.
    pub pending_changes: u64,
    /// Files among them with bytes that are not in the bucket.
    pub pending_files: u64,
    /// Bytes of those files.
    pub pending_bytes: u64,
    /// Uploads, copies and deletes under way.
    pub running: u64,
    /// Bytes of bodies on the local disk.
    pub cache_bytes: u64,
    /// The most that may stay there.
    pub cache_limit: u64,
    /// Names known in memory.
    pub known_entries: u64,
    /// Bytes of memory that they take, with what is known of the attribute index and what is
    /// pending, as counted against `memory_limit`.
    #[serde(default)]
    pub known_bytes: u64,
    /// Bytes of memory that they may take before those that nobody uses are dropped.
    #[serde(default)]
    pub memory_limit: u64,
    /// Bytes that may wait for upload before writers have to wait too.
    #[serde(default)]
    pub dirty_limit: u64,
    /// Changes that may wait for upload before writers have to wait too.
    #[serde(default)]
    pub dirty_files_limit: u64,
    /// Conflict copies made since the mount began.
    pub conflicts: u64,
    /// What last went wrong and still is, or happened and somebody should know, with its key;
    /// never a secret.
    pub last_error: Option<String>,
    /// When that was: seconds since 1970.
    #[serde(default)]
    pub last_error_at: Option<i64>,
    /// A journal that could not be read and was kept aside, by this mount or an earlier one.
    pub journal_set_aside: Option<String>,
    /// Keys of single changes that could not be read and were kept aside in the journal, with
    /// their bodies.
    #[serde(default)]
    pub changes_set_aside: Vec<String>,
    /// Whether changes are refused.
    pub read_only: bool,
}

/// Whether the bucket answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// The last call was answered.
    Ok,
    /// The bucket cannot be reached; cached files and the journal go on.
    Offline,
    /// The store refuses the keys: nothing can be uploaded until that is mended.
    Refused,
}
