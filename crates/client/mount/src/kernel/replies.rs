//! What the tree answered, put into fuser's replies.

use std::sync::Arc;

use filesystem::{Access, Entry, FsError, Opened};
use fuser::{
    Errno, FileHandle, FopenFlags, Generation, INodeNo, ReplyAttr, ReplyCreate, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyXattr,
};

use super::convert::{attributes, errno};
use super::files::OpenFiles;

/// Inode numbers are never given to another file while a mount lives.
pub(super) const GENERATION: Generation = Generation(0);

pub(super) fn empty(reply: ReplyEmpty, result: Result<(), FsError>) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(errno(&error)),
    }
}

pub(super) fn entry(reply: ReplyEntry, result: Result<Entry, FsError>) {
    match result {
        Ok(entry) => reply.entry(&entry.ttl, &attributes(&entry.attr), GENERATION),
        Err(error) => reply.error(errno(&error)),
    }
}

pub(super) fn attr(reply: ReplyAttr, result: Result<Entry, FsError>) {
    match result {
        Ok(entry) => reply.attr(&entry.ttl, &attributes(&entry.attr)),
        Err(error) => reply.error(errno(&error)),
    }
}

/// Extended attributes are asked for twice: for their size, then for their bytes.
pub(super) fn sized(reply: ReplyXattr, room: u32, result: Result<Vec<u8>, FsError>) {
    match result {
        Err(error) => reply.error(errno(&error)),
        Ok(value) => match u32::try_from(value.len()) {
            Ok(size) if room == 0 => reply.size(size),
            Ok(size) if size <= room => reply.data(&value),
            _ => reply.error(Errno::ERANGE),
        },
    }
}

pub(super) fn opened(
    files: &Arc<OpenFiles>,
    ino: INodeNo,
    opened: Opened,
    only_read: bool,
    reply: ReplyOpen,
) {
    let handle = FileHandle(opened.handle);
    // A reader's close has nothing to say.
    let quiet = if only_read {
        FopenFlags::FOPEN_NOFLUSH
    } else {
        FopenFlags::empty()
    };
    if let Access::Backing(file) = &opened.access
        && let Some(id) =
            files.opened_with(opened.handle, ino.0, file, |file| reply.open_backing(file))
    {
        return reply.opened_passthrough(handle, quiet, &id);
    }
    if matches!(opened.access, Access::Calls) {
        files.opened(opened.handle);
    }
    reply.opened(handle, quiet | cache_flag(&opened));
}

pub(super) fn created(files: &Arc<OpenFiles>, entry: &Entry, opened: Opened, reply: ReplyCreate) {
    let handle = FileHandle(opened.handle);
    let attr = attributes(&entry.attr);
    if let Access::Backing(file) = &opened.access
        && let Some(id) = files.opened_with(opened.handle, entry.attr.ino, file, |file| {
            reply.open_backing(file)
        })
    {
        let flags = FopenFlags::empty();
        return reply.created_passthrough(&entry.ttl, &attr, GENERATION, handle, flags, &id);
    }
    if matches!(opened.access, Access::Calls) {
        files.opened(opened.handle);
    }
    reply.created(&entry.ttl, &attr, GENERATION, handle, cache_flag(&opened));
}

fn cache_flag(opened: &Opened) -> FopenFlags {
    if opened.keep_cache {
        FopenFlags::FOPEN_KEEP_CACHE
    } else {
        FopenFlags::empty()
    }
}
