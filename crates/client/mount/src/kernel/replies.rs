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

pub(super) fn opened(files: &Arc<OpenFiles>, ino: INodeNo, opened: Opened, reply: ReplyOpen) {
    let handle = FileHandle(opened.handle);
    if let Access::Backing(file) = &opened.access
        && let Some(id) =
            files.opened_with(opened.handle, ino.0, file, |file| reply.open_backing(file))
    {
        return reply.opened_passthrough(handle, close_flag(&opened), &id);
    }
    if matches!(opened.access, Access::Calls) {
        files.opened(opened.handle);
    }
    reply.opened(handle, close_flag(&opened) | cache_flag(&opened));
}

pub(super) fn created(files: &Arc<OpenFiles>, entry: &Entry, opened: Opened, reply: ReplyCreate) {
    let handle = FileHandle(opened.handle);
    let attr = attributes(&entry.attr);
    if let Access::Backing(file) = &opened.access
        && let Some(id) = files.opened_with(opened.handle, entry.attr.ino, file, |file| {
            reply.open_backing(file)
        })
    {
        let flags = close_flag(&opened);
        return reply.created_passthrough(&entry.ttl, &attr, GENERATION, handle, flags, &id);
    }
    if matches!(opened.access, Access::Calls) {
        files.opened(opened.handle);
    }
    let flags = close_flag(&opened) | cache_flag(&opened);
    reply.created(&entry.ttl, &attr, GENERATION, handle, flags);
}

/// Spares a call for each close that has nothing to say.
fn close_flag(opened: &Opened) -> FopenFlags {
    if opened.flushes {
        FopenFlags::empty()
    } else {
        FopenFlags::FOPEN_NOFLUSH
    }
}

fn cache_flag(opened: &Opened) -> FopenFlags {
    if opened.keep_cache {
        FopenFlags::FOPEN_KEEP_CACHE
    } else {
        FopenFlags::empty()
    }
}
