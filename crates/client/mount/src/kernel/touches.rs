//! Answers to the helper that wakes watchers: whatever it does, nothing happens. See
//! [`crate::wake`].
//!
//! Nothing here waits, or asks the bucket: the kernel keeps the directory locked meanwhile.

use std::ffi::OsStr;
use std::time::Duration;

use filesystem::{Filesystem, Kind};
use fuser::{
    Errno, FileHandle, FopenFlags, INodeNo, ReplyAttr, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyXattr,
};

use super::convert::attributes;
use super::replies::{GENERATION, sized};
use crate::wake::{Expectations, Sight, TOKEN_NAME};

/// The handle of everything that the helper opens. The tree counts its own up from one.
const HANDLE: FileHandle = FileHandle(1 << 63);

/// Whether a handle is the helper's. Asked instead of who asks where a call may come late,
/// or in nobody's name.
pub(super) fn is_helpers(handle: FileHandle) -> bool {
    handle == HANDLE
}

/// What the helper sees and does.
pub(super) struct Touches<'k> {
    pub(super) tree: &'k Filesystem,
    pub(super) expectations: &'k Expectations,
}

impl Touches<'_> {
    pub(super) fn lookup(&self, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let Some(name) = name.to_str() else {
            return reply.error(Errno::ENOENT);
        };
        let is_there = self.tree.is_known(parent.0, name);
        match self.expectations.sight(parent.0, name, is_there) {
            Sight::Nothing => reply.error(Errno::ENOENT),
            Sight::AsIs => self.entry(parent, name, reply),
            Sight::Gone(attr) => {
                // The kernel may hold the inode still, then its count has to be right.
                self.tree.reference(attr.ino);
                reply.entry(&Duration::ZERO, &attributes(&attr), GENERATION);
            }
        }
    }

    pub(super) fn getattr(&self, ino: INodeNo, reply: ReplyAttr) {
        if let Some(attr) = self.expectations.gone(ino.0) {
            return reply.attr(&Duration::ZERO, &attributes(&attr));
        }
        match self.tree.known_attr(ino.0) {
            Some(entry) => reply.attr(&entry.ttl, &attributes(&entry.attr)),
            None => reply.error(Errno::ENOENT),
        }
    }

    /// Sets nothing.
    pub(super) fn setattr(&self, ino: INodeNo, reply: ReplyAttr) {
        if self.expectations.changes(ino.0) {
            self.getattr(ino, reply);
        } else {
            reply.error(Errno::EPERM);
        }
    }

    /// Makes nothing: the name is there.
    pub(super) fn make(&self, parent: INodeNo, name: &OsStr, kind: Kind, reply: ReplyEntry) {
        let made = name.to_str().filter(|name| {
            self.tree
                .place_of(parent.0, name)
                .is_some_and(|place| place.attr.kind == kind)
                && self.expectations.makes(parent.0, name)
        });
        match made {
            Some(name) => self.entry(parent, name, reply),
            None => reply.error(Errno::EPERM),
        }
    }

    /// Removes nothing: the name is gone. The kernel keeps the directory locked, so no
    /// program of this machine can make it anew before it has heard.
    pub(super) fn remove(&self, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let gone = name.to_str().is_some_and(|name| {
            self.expectations.removes(parent.0, name) && !self.tree.is_known(parent.0, name)
        });
        if gone {
            reply.ok();
        } else {
            reply.error(Errno::EPERM);
        }
    }

    /// Opens nothing. Reads and writes would come here and be refused; it takes no part in
    /// what the kernel knows of how the file is read by others (its pages, a backing file).
    pub(super) fn open(&self, ino: INodeNo, reply: ReplyOpen) {
        if self.expectations.changes(ino.0) {
            let flags = FopenFlags::FOPEN_DIRECT_IO
                | FopenFlags::FOPEN_KEEP_CACHE
                | FopenFlags::FOPEN_NOFLUSH;
            reply.opened(HANDLE, flags);
        } else {
            reply.error(Errno::EPERM);
        }
    }

    pub(super) fn opendir(&self, reply: ReplyOpen) {
        reply.opened(HANDLE, FopenFlags::empty());
    }

    /// The root shows its word.
    pub(super) fn getxattr(&self, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        if ino == INodeNo::ROOT && name == TOKEN_NAME {
            let token = self.expectations.token().as_bytes().to_vec();
            return sized(reply, size, Ok(token));
        }
        reply.error(Errno::ENODATA);
    }

    fn entry(&self, parent: INodeNo, name: &str, reply: ReplyEntry) {
        match self.tree.lookup_known(parent.0, name) {
            Some(entry) => reply.entry(&entry.ttl, &attributes(&entry.attr), GENERATION),
            None => reply.error(Errno::ENOENT),
        }
    }
}
