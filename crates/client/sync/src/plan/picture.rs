//! What a plan is made from.

use std::collections::{BTreeMap, BTreeSet};

use bucket::Etag;

use super::{Refusal, Settled};
use crate::entry::{BaseEntry, Hash, LocalEntry, RemoteEntry, Seen};
use crate::path::TreePath;

/// The folder.
#[derive(Debug, Clone, Default)]
pub struct Local {
    /// Files and links.
    pub entries: BTreeMap<TreePath, LocalEntry>,
    /// Directories.
    pub directories: BTreeSet<TreePath>,
    /// When it was looked at, by the clock that gives files their times.
    pub at: i64,
}

/// The bucket.
#[derive(Debug, Clone, Default)]
pub struct Remote {
    /// Files and links.
    pub entries: BTreeMap<TreePath, RemoteEntry>,
    /// Objects that are empty directories.
    pub markers: BTreeMap<TreePath, Etag>,
    /// Files whose name a link has too.
    pub shadowed: BTreeMap<TreePath, RemoteEntry>,
}

/// What both had when they were last alike.
#[derive(Debug, Clone, Default)]
pub struct Base {
    /// Files and links.
    pub entries: BTreeMap<TreePath, BaseEntry>,
    /// Directories.
    pub directories: BTreeSet<TreePath>,
}

/// An upload that began and whose end was not seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sending {
    /// What was sent.
    pub hash: Hash,
    /// Its bytes.
    pub size: u64,
    /// The ETag that most stores give it.
    pub etag: Etag,
    /// Whether it was no upload but a copy inside the store: ours, but nothing that the folder
    /// was known to have under this name.
    pub is_copy: bool,
}

/// What was found out to answer a plan's questions.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    /// Whether the two contents of a path are the same, and the local one's hash.
    pub same: BTreeMap<TreePath, (bool, Hash)>,
    /// The modification time that an object says it has; `None` where it says none.
    pub times: BTreeMap<TreePath, Option<i64>>,
}

/// All that a plan is made from.
#[derive(Debug, Clone, Default)]
pub struct Picture {
    /// What was.
    pub base: Base,
    /// What is here.
    pub local: Local,
    /// What is there.
    pub remote: Remote,
    /// What is everywhere as it was: in none of the three.
    pub settled: Settled,
    /// Uploads of earlier passes.
    pub sending: BTreeMap<TreePath, Sending>,
    /// Objects that earlier passes began to delete, because their files were deleted here.
    pub deleting: BTreeSet<TreePath>,
    /// Files that were deleted here within the limit's window, and in the bucket.
    pub lately: (u64, u64),
    /// Directories (or files) of which something is not known: nothing at or below them may
    /// be changed.
    pub frozen: BTreeSet<TreePath>,
    /// Paths of the base that a rule leaves out by now: the state forgets them.
    pub ignored: BTreeSet<TreePath>,
    /// Local directories that hold something which a rule leaves out: they stay.
    pub kept: BTreeSet<TreePath>,
    /// How many files here a rule leaves out.
    pub left_out: u64,
    /// Objects that a rule leaves out.
    pub left_there: BTreeMap<TreePath, RemoteEntry>,
    /// Names that one side cannot hold.
    pub refused: Vec<Refusal>,
    /// Answers to the questions of the plan before.
    pub answers: Answers,
    /// Bytes of the workspace's prefix.
    pub prefix_bytes: usize,
}

impl Picture {
    /// The base of a path, an upload whose answer was lost included.
    pub(super) fn base_of(&self, path: &TreePath) -> Option<BaseEntry> {
        let known = self.base.entries.get(path);
        let there = self.remote.entries.get(path);
        let ours = self.sending.get(path).zip(there).filter(|(sent, there)| {
            !sent.is_copy
                && sent.etag == there.etag
                && sent.size == there.size
                && known.is_none_or(|known| known.etag != there.etag)
        });
        match ours {
            Some((sent, there)) => Some(BaseEntry {
                kind: there.kind,
                size: sent.size,
                hash: sent.hash,
                etag: there.etag.clone(),
                modified: None,
                seen: None,
            }),
            None => known.cloned(),
        }
    }

    /// Whether an object is what this folder sent or copied there.
    pub(super) fn is_ours(&self, path: &TreePath, etag: &Etag) -> bool {
        let sent = self.sending.get(path);
        sent.is_some_and(|sent| sent.etag == *etag)
    }

    /// Whether an object is one name too many of a move inside the store.
    pub(super) fn is_left_by_a_move(&self, path: &TreePath, etag: &Etag) -> bool {
        let sent = self.sending.get(path);
        sent.is_some_and(|sent| sent.is_copy && sent.etag == *etag)
    }

    /// Whether nothing may be done about a path.
    pub(super) fn is_frozen(&self, path: &TreePath) -> bool {
        if self.frozen.is_empty() {
            return false;
        }
        self.frozen.contains(path) || path.ancestors().any(|above| self.frozen.contains(&above))
    }

    /// Whether anything has, or had, this name.
    pub(super) fn is_taken(&self, path: &TreePath) -> bool {
        self.local.entries.contains_key(path)
            || self.local.directories.contains(path)
            || self.remote.entries.contains_key(path)
            || self.remote.markers.contains_key(path)
            || self.base.entries.contains_key(path)
            || self.settled.contains(path)
    }

    /// How a local file looked in this picture.
    pub(super) fn seen(&self, entry: &LocalEntry) -> Seen {
        Seen {
            stat: entry.stat,
            at: self.local.at,
        }
    }
}
