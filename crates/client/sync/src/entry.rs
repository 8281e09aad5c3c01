//! What lies at a path: on this machine, in the bucket, and in both when they were last alike.

use bucket::Etag;

/// What can be synced. Directories are facts of their own only where they are empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A regular file.
    File,
    /// A symbolic link; its content is its target.
    Link,
}

/// The hash of a file's bytes, or of a link's target (BLAKE3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// The hash of bytes in memory.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

/// What tells, without reading it, that a file is as it was. Times in nanoseconds since
/// 1970; no program can choose `ctime`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Bytes.
    pub size: u64,
    /// Last change of the content, as far as programs say so.
    pub mtime: i64,
    /// Last change of content, attributes or name, by the kernel.
    pub ctime: i64,
    /// The inode's number.
    pub ino: u64,
}

impl Stat {
    /// Whether it is the same content under another name: a rename changes `ctime`.
    pub fn is_renamed(&self, earlier: &Self) -> bool {
        (self.size, self.mtime, self.ino) == (earlier.size, earlier.mtime, earlier.ino)
    }
}

/// A file or link in the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalEntry {
    /// What it is.
    pub kind: Kind,
    /// How it looked.
    pub stat: Stat,
    /// The hash of its content, where somebody had to know.
    pub hash: Option<Hash>,
}

/// An object that is a file or a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteEntry {
    /// What it is.
    pub kind: Kind,
    /// Bytes.
    pub size: u64,
    /// Its version.
    pub etag: Etag,
    /// When the store took it, in nanoseconds since 1970.
    pub modified: i64,
}

/// What both sides had when they were last alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseEntry {
    /// What it was.
    pub kind: Kind,
    /// Bytes.
    pub size: u64,
    /// The content.
    pub hash: Hash,
    /// The version in the bucket.
    pub etag: Etag,
    /// The time that the store gave this version, as its listing has it; `None` where no
    /// listing has shown it yet. A new time of the same version says that its metadata, and
    /// so perhaps its modification time, was written anew.
    pub modified: Option<i64>,
    /// How the local file looked, where that is known for sure.
    pub seen: Option<Seen>,
}

/// A local file as it looked at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// How it looked.
    pub stat: Stat,
    /// When, in nanoseconds since 1970 by the clock that gives files their times.
    pub at: i64,
}

impl Seen {
    /// Whether a file that still looks so is surely unchanged. File systems stamp times in
    /// steps: what was changed less than a step before it was looked at may have changed again
    /// under the same stamp. A program that only writes cannot leave another `mtime` than now.
    pub fn is_certain(&self, step: i64) -> bool {
        let is_now = |time: i64| self.at.saturating_sub(time).saturating_abs() <= step;
        !is_now(self.stat.ctime) || !is_now(self.stat.mtime)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_changed_just_before_it_was_looked_at_is_not_certain() {
        let seen = |mtime, ctime, at| Seen {
            stat: Stat {
                size: 1,
                mtime,
                ctime,
                ino: 1,
            },
            at,
        };
        assert!(!seen(100, 100, 105).is_certain(10));
        assert!(seen(100, 100, 111).is_certain(10));
        assert!(
            seen(50, 100, 105).is_certain(10),
            "received, or only renamed"
        );
        assert!(
            seen(200, 200, 105).is_certain(10),
            "of a clock that was ahead"
        );
    }
}
