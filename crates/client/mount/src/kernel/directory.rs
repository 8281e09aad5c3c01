//! Names of an open directory, put into fuser's replies until they are full.

use filesystem::{DirEntry, Filesystem, FsError};
use fuser::{INodeNo, ReplyDirectory, ReplyDirectoryPlus};
use futures::FutureExt;

use super::convert::{attributes, errno, file_type};
use super::replies::GENERATION;

/// Entries fetched from the tree at one time.
const BATCH: usize = 128;

/// Names are gathered when a directory is opened, so reading them never waits.
fn batch(tree: &Filesystem, handle: u64, offset: u64) -> Result<Vec<DirEntry>, FsError> {
    let waited = || {
        Err(FsError::Local(
            "reading an open directory had to wait".into(),
        ))
    };
    tree.readdir(handle, offset, BATCH)
        .now_or_never()
        .unwrap_or_else(waited)
}

/// Hands entries on until one finds no more room (`true`) or the directory ends.
fn fill(
    tree: &Filesystem,
    handle: u64,
    mut offset: u64,
    mut add: impl FnMut(&DirEntry) -> bool,
) -> Result<(), FsError> {
    let start = offset;
    loop {
        let batch = match batch(tree, handle, offset) {
            // What was gathered counts first; the error comes again with the next call.
            Err(_) if offset != start => return Ok(()),
            found => found?,
        };
        if batch.is_empty() {
            return Ok(());
        }
        for found in batch {
            if add(&found) {
                return Ok(());
            }
            offset = found.next;
        }
    }
}

/// Fills the reply until it is full or the directory ends.
pub(super) fn names(tree: &Filesystem, handle: u64, offset: u64, mut reply: ReplyDirectory) {
    let filled = fill(tree, handle, offset, |found| {
        let attr = &found.entry.attr;
        let kind = file_type(attr.kind);
        reply.add(INodeNo(attr.ino), found.next, kind, &found.name)
    });
    match filled {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(errno(&error)),
    }
}

/// The same with attributes; each entry put into the reply counts as looked up, except the
/// two that name the directory itself and its parent.
pub(super) fn names_and_attributes(
    tree: &Filesystem,
    handle: u64,
    offset: u64,
    mut reply: ReplyDirectoryPlus,
) {
    let filled = fill(tree, handle, offset, |found| {
        let attr = attributes(&found.entry.attr);
        let (name, ttl) = (&found.name, &found.entry.ttl);
        let full = reply.add(attr.ino, found.next, name, ttl, &attr, GENERATION);
        if !full && !matches!(name.as_str(), "." | "..") {
            tree.reference(attr.ino.0);
        }
        full
    });
    match filled {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(errno(&error)),
    }
}
