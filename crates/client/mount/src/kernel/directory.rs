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

/// Fills the reply until it is full or the directory ends.
pub(super) fn names(tree: &Filesystem, handle: u64, mut offset: u64, mut reply: ReplyDirectory) {
    let start = offset;
    loop {
        let batch = match batch(tree, handle, offset) {
            Ok(batch) if batch.is_empty() => return reply.ok(),
            Ok(batch) => batch,
            // What was gathered counts first; the error comes again with the next call.
            Err(_) if offset != start => return reply.ok(),
            Err(error) => return reply.error(errno(&error)),
        };
        for found in batch {
            let attr = &found.entry.attr;
            if reply.add(
                INodeNo(attr.ino),
                found.next,
                file_type(attr.kind),
                &found.name,
            ) {
                return reply.ok();
            }
            offset = found.next;
        }
    }
}

/// The same with attributes; each entry put into the reply counts as looked up, except the
/// two that name the directory itself and its parent.
pub(super) fn names_and_attributes(
    tree: &Filesystem,
    handle: u64,
    mut offset: u64,
    mut reply: ReplyDirectoryPlus,
) {
    let start = offset;
    loop {
        let batch = match batch(tree, handle, offset) {
            Ok(batch) if batch.is_empty() => return reply.ok(),
            Ok(batch) => batch,
            // What was gathered counts first; the error comes again with the next call.
            Err(_) if offset != start => return reply.ok(),
            Err(error) => return reply.error(errno(&error)),
        };
        for found in batch {
            let attr = attributes(&found.entry.attr);
            let (name, ttl) = (&found.name, &found.entry.ttl);
            if reply.add(attr.ino, found.next, name, ttl, &attr, GENERATION) {
                return reply.ok();
            }
            if !matches!(name.as_str(), "." | "..") {
                tree.reference(attr.ino.0);
            }
            offset = found.next;
        }
    }
}
