//! The port to the local side: a folder, as far as syncing needs one.
//!
//! Every change names the state that it is based on, and is refused where that is no longer
//! so: a user may save a file at any moment.

pub mod disk;
pub mod memory;

use std::sync::Arc;

use bucket::{Body, Etag};
use bytes::Bytes;

use crate::entry::{Hash, Kind, Stat};
use crate::ignored::Rules;
use crate::known::Known;
use crate::path::TreePath;

/// Shorthand for a result with a [`FolderError`].
pub type Result<T> = std::result::Result<T, FolderError>;

/// Why a call on the folder failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FolderError {
    /// It is not as it was when the change was planned. Look again.
    #[error("{path} was changed meanwhile")]
    Changed {
        /// What.
        path: String,
    },
    /// The disk has no room.
    #[error("no space left for {path}{}", shortage(.short.as_ref()))]
    NoSpace {
        /// What was being written.
        path: String,
        /// How much is needed and how much is free, where that is known.
        short: Option<(u64, u64)>,
    },
    /// This file system has no file of such a name.
    #[error("the folder's file system cannot hold the name {path}")]
    BadName {
        /// The name.
        path: String,
    },
    /// This user may not do it.
    #[error("not permitted to {action} {path}")]
    Denied {
        /// The call.
        action: &'static str,
        /// On what.
        path: String,
    },
    /// The folder itself is not there.
    #[error("{path} is no folder: {reason}")]
    NoFolder {
        /// Its path.
        path: String,
        /// The system's words.
        reason: String,
    },
    /// Anything else that the system says.
    #[error("cannot {action} {path}: {reason}")]
    Io {
        /// The call.
        action: &'static str,
        /// On what.
        path: String,
        /// The system's words.
        reason: String,
    },
}

fn shortage(short: Option<&(u64, u64)>) -> String {
    short.map_or_else(String::new, |(needed, free)| {
        format!(": it has {needed} bytes, and {free} are free; make room and run again")
    })
}

/// What a walk found.
#[derive(Debug, Default)]
pub struct Walked {
    /// Files that look as they did, by their number among the known ones.
    pub as_seen: Vec<u32>,
    /// All other files and links, in byte order of their paths.
    pub entries: Vec<(TreePath, Kind, Stat)>,
    /// Directories, in byte order.
    pub directories: Vec<TreePath>,
    /// Directories whose content is not known: nothing at or below them may be changed.
    pub unknown: Vec<(TreePath, String)>,
    /// What is there and cannot be synced, with the reason.
    pub skipped: Vec<(String, String)>,
    /// Files and directories that a rule leaves out; what lies below such a directory was not
    /// looked at.
    pub ignored: Vec<TreePath>,
    /// All rules that count: those of the walk, and those of the files that were found.
    pub rules: Rules,
    /// Lines of theirs that are no rule.
    pub wrong: Vec<(String, String)>,
}

/// What tells one folder from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The inode of its root.
    pub ino: u64,
    /// What the marker in it says, if there is one.
    pub marker: Option<String>,
}

/// A file that was read whole, or is open to be.
pub struct Reading {
    /// The bytes to send.
    pub body: Body,
    /// Their hash.
    pub hash: Hash,
    /// Their MD5, which most stores use as the ETag; of files that are sent in parts it says
    /// nothing, and is spared.
    pub md5: Option<[u8; 16]>,
    /// Its permission bits; those of a link say nothing.
    pub mode: u32,
}

/// A file being received in blocks, several at one time. What was written stays when this is
/// dropped, under the name that it was begun with, until it is installed or discarded.
pub trait Blocks: Send + Sync {
    /// Whether nothing was there yet under this name.
    fn is_new(&self) -> bool;

    /// Writes bytes at a place. Zeros leave a hole where the disk can have one.
    ///
    /// # Errors
    /// The disk's.
    fn write_at(&self, at: u64, bytes: &[u8]) -> Result<()>;

    /// Makes what was written last.
    ///
    /// # Errors
    /// The disk's.
    fn sync(&self) -> Result<()>;

    /// Hashes the whole.
    ///
    /// # Errors
    /// The disk's.
    fn hashes(&self) -> Result<(Hash, [u8; 16])>;

    /// Says that all bytes are there.
    ///
    /// # Errors
    /// The disk's.
    fn finish(&self, about: &About) -> Result<Box<dyn Ready>>;

    /// Takes it away.
    fn discard(&self);
}

/// A file being received, under no name yet.
pub trait Incoming: Send {
    /// Appends bytes.
    ///
    /// # Errors
    /// The disk's.
    fn write(&mut self, bytes: &[u8]) -> Result<()>;

    /// Says that all bytes are there, and makes them last.
    ///
    /// # Errors
    /// The disk's.
    fn finish(self: Box<Self>, about: &About) -> Result<Box<dyn Ready>>;
}

/// A received file that only lacks its name.
pub trait Ready: Send {
    /// Gives it its name. `over` must be what is there; what it replaces goes to the trash.
    /// `None` in the answer: the file is in place, but somebody has written to it since.
    ///
    /// # Errors
    /// [`FolderError::Changed`] where something else is there, and the disk's.
    fn install(
        self: Box<Self>,
        path: &TreePath,
        over: Option<&Stat>,
        trash: &str,
    ) -> Result<Option<Stat>>;
}

/// What a received file shall be.
#[derive(Debug, Clone, Copy)]
pub struct About {
    /// A file, or a link whose target are the bytes.
    pub kind: Kind,
    /// Its modification time.
    pub mtime: i64,
    /// Its permission bits, where the object says any.
    pub mode: Option<u32>,
}

/// A folder on this machine.
pub trait Folder: Send + Sync + 'static {
    /// Whether calls may wait for a disk.
    fn is_slow(&self) -> bool;

    /// Now, by the clock that gives files their times.
    fn now(&self) -> i64;

    /// What tells this folder from another.
    ///
    /// # Errors
    /// [`FolderError::NoFolder`] where it is not there.
    fn identity(&self) -> Result<Identity>;

    /// Whether it takes names for one that differ only by case. `sample` is a name that is in
    /// its root, if there is one.
    ///
    /// # Errors
    /// The disk's.
    fn folds_case(&self, sample: Option<&str>) -> Result<bool>;

    /// Writes the marker.
    ///
    /// # Errors
    /// The disk's.
    fn mark(&self, marker: &str) -> Result<()>;

    /// Lists everything that no rule leaves out, by these rules and by those of the files that
    /// it finds; what looks as it was known to look only by its number. `step` is the longest
    /// step in which the file system stamps times.
    ///
    /// # Errors
    /// Where the root cannot be read, or its file of rules: without it, what it leaves out would
    /// be sent. A directory below the root of which that is so is [`Walked::unknown`].
    fn walk(&self, known: &Known, step: i64, given: &Rules) -> Result<Walked>;

    /// How a file or link looks now; `None` where there is none.
    ///
    /// # Errors
    /// The disk's.
    fn stat(&self, path: &TreePath) -> Result<Option<(Kind, Stat)>>;

    /// Hashes a file that must look so before and after.
    ///
    /// # Errors
    /// [`FolderError::Changed`], and the disk's.
    fn hash(&self, path: &TreePath, kind: Kind, stat: &Stat) -> Result<(Hash, [u8; 16])>;

    /// The ETag that a file which must look so would have as an object of parts of this length.
    ///
    /// # Errors
    /// [`FolderError::Changed`], and the disk's.
    fn etag_of_parts(&self, path: &TreePath, stat: &Stat, length: u64) -> Result<Etag>;

    /// Opens a file that must look so, and hashes it.
    ///
    /// # Errors
    /// [`FolderError::Changed`], and the disk's.
    fn read(&self, path: &TreePath, kind: Kind, stat: &Stat) -> Result<Reading>;

    /// The bytes of a small file; `None` where there is none, or a larger one.
    ///
    /// # Errors
    /// The disk's.
    fn read_small(&self, path: &TreePath) -> Result<Option<Vec<u8>>>;

    /// Begins to receive a file.
    ///
    /// # Errors
    /// The disk's.
    fn receive(&self, path: &TreePath) -> Result<Box<dyn Incoming>>;

    /// Begins to receive a file of this size in blocks, or goes on with it.
    ///
    /// # Errors
    /// The disk's.
    fn receive_blocks(&self, path: &TreePath, name: &str, size: u64) -> Result<Arc<dyn Blocks>>;

    /// Bytes that a file may have yet; `None` where nobody knows.
    fn free(&self) -> Option<u64>;

    /// Sets the modification time of a file that must look so. Its content is not looked at:
    /// whoever calls has to read it before it is known as anything again.
    ///
    /// # Errors
    /// [`FolderError::Changed`], and the disk's.
    fn set_time(&self, path: &TreePath, stat: &Stat, mtime: i64) -> Result<()>;

    /// Puts a file that must look so into the trash.
    ///
    /// # Errors
    /// [`FolderError::Changed`], and the disk's.
    fn discard(&self, path: &TreePath, stat: &Stat, trash: &str) -> Result<()>;

    /// Takes a file of a pass out of the trash, back to its name. `over` must be what is there,
    /// and goes to the trash of the pass `to`. Says whether it was in the trash.
    ///
    /// # Errors
    /// [`FolderError::Changed`], and the disk's.
    fn restore(&self, path: &TreePath, from: &str, over: Option<&Stat>, to: &str) -> Result<bool>;

    /// Renames a file that must look so to a name that must be free; makes the directories
    /// above. `None` in the answer: somebody has written to it since.
    ///
    /// # Errors
    /// [`FolderError::Changed`], and the disk's.
    fn rename(&self, from: &TreePath, stat: &Stat, to: &TreePath) -> Result<Option<Stat>>;

    /// Makes a directory and those above it, if they are not there.
    ///
    /// # Errors
    /// [`FolderError::Changed`] where a file is in the way, and the disk's.
    fn make_directory(&self, path: &TreePath) -> Result<()>;

    /// Removes a directory if it is there and empty. Says whether it is gone.
    ///
    /// # Errors
    /// The disk's.
    fn remove_directory(&self, path: &TreePath) -> Result<bool>;

    /// Forgets files in the trash, of the passes whose name the function picks.
    ///
    /// # Errors
    /// The disk's.
    fn clean(&self, is_old: &dyn Fn(&str) -> bool) -> Result<()>;

    /// Forgets what earlier runs left half received, as far as the function picks it by the
    /// name that it was begun with; what has no such name goes always.
    ///
    /// # Errors
    /// The disk's.
    fn clean_received(&self, is_left: &dyn Fn(&str) -> bool) -> Result<()>;
}

/// A file of rules as text.
pub(crate) fn text_of_rules(path: &TreePath, bytes: Option<Vec<u8>>) -> Result<String> {
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    text.ok_or_else(|| {
        let why = "it is larger than 8 MiB, not in UTF-8, or was changed this moment";
        not_rules(path.as_str(), why)
    })
}

/// Why nothing in a directory is synced whose file of rules cannot count.
pub(crate) fn unruly(error: &FolderError) -> String {
    format!("left alone with all below it: {error}; mend or remove that file")
}

/// Why a file of rules cannot count.
pub(crate) fn not_rules(file: &str, why: &str) -> FolderError {
    FolderError::Io {
        action: "read",
        path: file.to_owned(),
        reason: format!("it is not a text of rules: {why}"),
    }
}

/// Bytes as a body.
pub(crate) fn body_of(bytes: impl Into<Bytes>) -> Body {
    Body::Bytes(bytes.into())
}

/// Runs a call on a folder where it may wait.
pub(crate) async fn call<T: Send + 'static>(
    folder: &Arc<dyn Folder>,
    work: impl FnOnce(&dyn Folder) -> T + Send + 'static,
) -> T {
    if !folder.is_slow() {
        return work(&**folder);
    }
    let folder = Arc::clone(folder);
    match tokio::task::spawn_blocking(move || work(&*folder)).await {
        Ok(answer) => answer,
        Err(gone) => match gone.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is ending: nobody waits for an answer any more.
            Err(_) => std::future::pending().await,
        },
    }
}
