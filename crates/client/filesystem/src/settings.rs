//! How a workspace is opened, and why that may fail.

use std::path::PathBuf;
use std::time::Duration;

use bucket::probe::Capabilities;
use model::Profile;

use crate::Attributes;

/// Everything that the tree needs to know; the command line fills it in.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Key prefix of the workspace: empty, or ending with `/`.
    pub prefix: String,
    /// Folder for cached bodies and remembered names; private to this workspace.
    pub cache_dir: PathBuf,
    /// Folder for the journal; private to this workspace.
    pub state_dir: PathBuf,
    /// The promises about time.
    pub profile: Profile,
    /// Refuse every change.
    pub read_only: bool,
    /// Ask for single names instead of listing directories ahead.
    pub lazy: bool,
    /// The longest that another machine's change may stay unseen.
    pub attr_ttl: Duration,
    /// How long after the last close an upload begins.
    pub upload_delay: Duration,
    /// How far a foreign object's attributes are gone after.
    pub attributes: Attributes,
    /// Bytes of memory that the namespace, the attribute index and what is pending may take
    /// before unused directories are dropped.
    pub memory_limit: u64,
    /// Bytes of bodies that may stay on the local disk.
    pub cache_size: u64,
    /// Bytes that may wait for upload before writers have to wait too; see
    /// [`Self::dirty_limit`].
    pub dirty_bytes: u64,
    /// Files that may wait for upload before writers have to wait too.
    pub dirty_files: usize,
    /// Uploads under way at one time.
    pub uploads: usize,
    /// Owner shown where the bucket does not say.
    pub uid: u32,
    /// Group shown where the bucket does not say.
    pub gid: u32,
    /// This machine's name, for conflict copies.
    pub host: String,
    /// Whether open files may be handed out as backing files.
    pub backing: bool,
    /// What the store can do.
    pub capabilities: Capabilities,
    /// Which boot of the machine this is: bodies that were written before a crash of the
    /// machine may hold anything.
    pub boot: String,
}

impl Settings {
    /// The settings of a profile, with defaults for the rest.
    pub fn new(
        profile: Profile,
        cache_dir: PathBuf,
        state_dir: PathBuf,
        capabilities: Capabilities,
    ) -> Self {
        Self {
            prefix: String::new(),
            cache_dir,
            state_dir,
            profile,
            read_only: false,
            lazy: false,
            attr_ttl: profile.others_changes_within(),
            upload_delay: profile.upload_delay(),
            attributes: Attributes::Index,
            memory_limit: 512 << 20,
            cache_size: 10 << 30,
            dirty_bytes: 4 << 30,
            dirty_files: 100_000,
            uploads: 16,
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
            host: "host".to_owned(),
            backing: false,
            capabilities,
            boot: this_boot(),
        }
    }

    /// Bytes that may wait for upload: they lie in the cache, and half of that is for reading.
    pub fn dirty_limit(&self) -> u64 {
        self.dirty_bytes.min(self.cache_size / 2)
    }
}

fn this_boot() -> String {
    // proc(5); Linux has no shorter way.
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map_or_else(|_| "unknown".to_owned(), |id| id.trim().to_owned())
}

/// Why a workspace could not be opened on this machine.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A local folder cannot be used.
    #[error("{}: {error}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's words.
        error: std::io::Error,
    },
    /// The journal cannot be opened (a journal that is merely damaged is set aside instead).
    #[error("journal in {}: {reason}", path.display())]
    Journal {
        /// The folder.
        path: PathBuf,
        /// The database's words.
        reason: String,
    },
    /// A newer version of this program wrote the journal: that one has to open it. Nothing in
    /// it was changed.
    #[error(
        "the journal in {} was written by a newer version of this program (format {format})",
        path.display()
    )]
    NewerJournal {
        /// The folder.
        path: PathBuf,
        /// Its format.
        format: i64,
    },
}
