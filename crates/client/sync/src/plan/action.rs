//! What a plan can consist of.

use std::fmt;

use bucket::Etag;

use crate::entry::{BaseEntry, Hash, Kind, LocalEntry, RemoteEntry, Stat};
use crate::path::TreePath;

/// One change, with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// Of what.
    pub path: TreePath,
    /// What shall be done.
    pub act: Act,
    /// Why.
    pub reason: Reason,
}

/// A change. Each is safe to repeat, and names the state that it is based on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Send the local file.
    Upload {
        /// As it is here.
        local: LocalEntry,
        /// What it replaces.
        over: Option<RemoteEntry>,
    },
    /// Fetch the object.
    Download {
        /// As it is there.
        remote: RemoteEntry,
        /// What it replaces.
        over: Option<Stat>,
    },
    /// Delete the object.
    DeleteRemote {
        /// Its version.
        remote: RemoteEntry,
    },
    /// Put the local file into the trash.
    DeleteLocal {
        /// As it is here.
        local: LocalEntry,
    },
    /// Give the object the name that the local file has now.
    MoveRemote {
        /// Its name so far.
        from: TreePath,
        /// Its version there.
        remote: RemoteEntry,
        /// The file as it is here, under its new name.
        local: LocalEntry,
        /// When it was seen so.
        at: i64,
        /// Its content.
        hash: Hash,
    },
    /// Give the local file the name that the object has now.
    MoveLocal {
        /// Its name so far.
        from: TreePath,
        /// As it is here.
        local: LocalEntry,
        /// The object under its new name.
        remote: RemoteEntry,
        /// Its content.
        hash: Hash,
    },
    /// The bucket's version keeps the name; the local one becomes a conflict copy.
    KeepTheirs {
        /// The copy's path.
        copy: TreePath,
        /// As it is here.
        local: LocalEntry,
        /// As it is there.
        remote: RemoteEntry,
    },
    /// The local version keeps the name; the bucket's becomes a conflict copy, or goes to
    /// the bucket's trash.
    KeepOurs {
        /// The copy's path.
        copy: Option<TreePath>,
        /// As it is here.
        local: LocalEntry,
        /// As it is there.
        remote: RemoteEntry,
    },
    /// Rename the local file: its name is a directory's in the bucket.
    SetLocalAside {
        /// Its new path.
        copy: TreePath,
        /// As it is here.
        local: LocalEntry,
    },
    /// Rename the object: its name is a directory's.
    SetRemoteAside {
        /// Its new path.
        copy: TreePath,
        /// As it is there.
        remote: RemoteEntry,
    },
    /// Give the local file the modification time that the object has.
    SetTime {
        /// As it is here.
        local: LocalEntry,
        /// The object.
        remote: RemoteEntry,
        /// The time.
        mtime: i64,
        /// Its content, which both sides have.
        hash: Hash,
    },
    /// Give the object the modification time that the local file has.
    SendTime {
        /// As it is here.
        local: LocalEntry,
        /// The object.
        remote: RemoteEntry,
        /// When it was seen so.
        at: i64,
        /// Its content, which both sides have.
        hash: Hash,
    },
    /// Make an empty directory here.
    MakeDirectory,
    /// Remove an empty directory here.
    RemoveDirectory,
    /// Make an empty directory in the bucket.
    PutMarker,
    /// Remove an empty directory in the bucket.
    DeleteMarker {
        /// Its version.
        etag: Etag,
    },
}

/// Why something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The other side does not have it yet.
    New,
    /// It changed since the sides were last alike.
    Changed,
    /// It was deleted since then.
    Deleted,
    /// It was deleted on one side and changed on the other.
    EditBeatsDelete,
    /// It has another name now.
    Moved,
    /// Its modification time changed, and nothing else.
    Touched,
    /// Both sides changed it; the winner by rule.
    Conflict(&'static str),
    /// A file here, a directory there.
    NameOfDirectory,
    /// A file and a link in the bucket.
    NameOfLink,
    /// Deleted, and to be brought back.
    Restored,
    /// The directory is empty, which only an object of its own can say.
    Empty,
}

/// What only the state has to learn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// Both sides have this.
    Alike(TreePath, BaseEntry),
    /// Neither side has it any more.
    Forget(TreePath),
    /// A rule leaves it out by now.
    LeaveOut(TreePath),
    /// Both sides have this directory.
    Directory(TreePath),
    /// Neither has it any more.
    ForgetDirectory(TreePath),
}

impl Action {
    /// The bytes that have to be moved over the network.
    pub fn bytes(&self) -> u64 {
        match &self.act {
            Act::Upload { local, .. } | Act::KeepOurs { local, .. } => local.stat.size,
            Act::Download { remote, .. } => remote.size,
            Act::KeepTheirs { local, remote, .. } => local.stat.size.saturating_add(remote.size),
            _ => 0,
        }
    }

    /// Whether it settles a conflict.
    pub fn is_conflict(&self) -> bool {
        matches!(
            self.reason,
            Reason::Conflict(_) | Reason::NameOfDirectory | Reason::NameOfLink
        )
    }

    /// The rank of [`Action::phase`], then paths; directories go inside out where they are
    /// removed.
    pub(super) fn order(&self) -> (u8, std::cmp::Reverse<usize>, TreePath) {
        let depth = match self.act {
            Act::RemoveDirectory => self.path.as_str().len(),
            _ => 0,
        };
        (self.phase(), std::cmp::Reverse(depth), self.path.clone())
    }

    /// Actions of one phase may be made at one time; phases go one after the other. What
    /// frees a name comes before what takes it; what deletes in the bucket comes last.
    pub fn phase(&self) -> u8 {
        match self.act {
            Act::SetLocalAside { .. }
            | Act::SetRemoteAside { .. }
            | Act::MoveLocal { .. }
            | Act::MoveRemote { .. } => 0,
            Act::DeleteLocal { .. } => 1,
            Act::RemoveDirectory => 2,
            Act::MakeDirectory => 3,
            Act::Upload { .. }
            | Act::Download { .. }
            | Act::KeepTheirs { .. }
            | Act::KeepOurs { .. }
            | Act::SetTime { .. }
            | Act::SendTime { .. } => 4,
            Act::DeleteRemote { .. } => 5,
            Act::PutMarker | Act::DeleteMarker { .. } => 6,
        }
    }

    /// Whether the order within its phase matters.
    pub fn is_ordered(&self) -> bool {
        matches!(self.act, Act::RemoveDirectory | Act::MakeDirectory)
    }
}

impl Act {
    /// The local file that it replaces, deletes or renames.
    pub(super) fn replaces(&self) -> Option<&Stat> {
        match self {
            Self::Download { over, .. } => over.as_ref(),
            Self::DeleteLocal { local }
            | Self::MoveLocal { local, .. }
            | Self::KeepTheirs { local, .. }
            | Self::SetLocalAside { local, .. }
            | Self::SetTime { local, .. } => Some(&local.stat),
            _ => None,
        }
    }

    /// Whether it writes to the bucket, or only reads there; `None` where it does neither.
    pub(crate) fn writes(&self) -> Option<bool> {
        match self {
            Self::Download { .. } | Self::DeleteLocal { .. } | Self::MoveLocal { .. } => {
                Some(false)
            }
            Self::MakeDirectory | Self::RemoveDirectory | Self::SetTime { .. } => None,
            _ => Some(true),
        }
    }

    /// What it is called in lists.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Upload { .. } => "upload",
            Self::Download { .. } => "download",
            Self::DeleteRemote { .. } => "delete in bucket",
            Self::DeleteLocal { .. } => "delete here",
            Self::MoveRemote { .. } => "move in bucket",
            Self::MoveLocal { .. } => "move here",
            Self::KeepTheirs { .. } | Self::KeepOurs { .. } => "conflict",
            Self::SetLocalAside { .. } | Self::SetRemoteAside { .. } => "set aside",
            Self::SetTime { .. } => "set time here",
            Self::SendTime { .. } => "set time in bucket",
            Self::MakeDirectory => "make directory here",
            Self::RemoveDirectory => "remove directory here",
            Self::PutMarker => "make directory in bucket",
            Self::DeleteMarker { .. } => "remove directory in bucket",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New => f.write_str("new"),
            Self::Changed => f.write_str("changed"),
            Self::Deleted => f.write_str("deleted on the other side"),
            Self::EditBeatsDelete => f.write_str("deleted on one side, changed on the other"),
            Self::Moved => f.write_str("has another name now"),
            Self::Touched => f.write_str("only its modification time changed"),
            Self::Conflict(why) => write!(f, "changed on both sides: {why}"),
            Self::NameOfDirectory => f.write_str("a file on one side, a directory on the other"),
            Self::NameOfLink => f.write_str("a file and a link have this name in the bucket"),
            Self::Restored => f.write_str("deleted, brought back"),
            Self::Empty => f.write_str("an empty directory"),
        }
    }
}

impl LocalEntry {
    /// The base that a local file and an object of the same content make.
    pub(crate) fn alike(
        kind: Kind,
        size: u64,
        hash: Hash,
        etag: &Etag,
        seen: Option<crate::entry::Seen>,
    ) -> BaseEntry {
        BaseEntry {
            kind,
            size,
            hash,
            etag: etag.clone(),
            modified: None,
            seen,
        }
    }
}
