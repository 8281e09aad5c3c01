//! One handler per request of the kernel.
//!
//! Permission bits are checked by the kernel (`default_permissions`), locks are kept by it,
//! and umask and `O_EXCL` are applied by it before a request comes here.
//!
//! What the helper that wakes watchers asks is answered by [`super::touches`] and reaches
//! the tree nowhere: each handler that could change something looks for that first.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use filesystem::{FsError, Kind, Owner, SetAttr, XattrMode};
use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, FopenFlags,
    INodeNo, IoctlFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek,
    ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};

use super::convert::{errno, name, nothing, open_mode, rename_mode, time};
use super::privileges::{drop_privileges, privileges_dropped};
use super::replies::{GENERATION, attr, empty, entry, sized};
use super::touches::is_helpers;
use super::{Kernel, directory, options, replies};

/// The unit of `statfs`.
const STATFS_BLOCK: u32 = 4096;

impl Filesystem for Kernel {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        options::agree(self, config);
        Ok(())
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name_: &OsStr, reply: ReplyEntry) {
        if let Some(touches) = self.touches(request) {
            return touches.lookup(parent, name_, reply);
        }
        let tree = self.tree.clone();
        let name = name(name_);
        self.answer(
            async move {
                let found = tree.lookup(parent.0, &name?).await;
                let absent = matches!(found, Err(FsError::NotFound));
                Ok((absent.then(|| tree.absence_ttl(parent.0)), found))
            },
            move |result: Result<_, FsError>| match result {
                Ok((Some(ttl), _)) => reply.entry(&ttl, &nothing(), GENERATION),
                Ok((None, found)) => entry(reply, found),
                Err(error) => reply.error(errno(&error)),
            },
        );
    }

    fn forget(&self, _request: &Request, ino: INodeNo, count: u64) {
        let _runtime = self.runtime.enter();
        self.tree.forget(ino.0, count);
    }

    fn getattr(&self, request: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        if let Some(touches) = self.touches(request) {
            return touches.getattr(ino, reply);
        }
        let tree = self.tree.clone();
        self.answer(async move { tree.getattr(ino.0).await }, |result| {
            attr(reply, result)
        });
    }

    fn setattr(
        &self,
        request: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        if let Some(touches) = self.touches(request) {
            return touches.setattr(ino, reply);
        }
        let tree = self.tree.clone();
        let change = SetAttr {
            mode: mode.map(|mode| mode & 0o7777),
            uid,
            gid,
            size,
            atime: atime.map(time),
            mtime: mtime.map(time),
        };
        let changes_owner = uid.is_some() || gid.is_some();
        let drops = mode.is_none() && (changes_owner || size.is_some() && request.uid() != 0);
        self.answer(
            async move {
                let change = if drops {
                    privileges_dropped(&tree, ino, change).await?
                } else {
                    change
                };
                tree.setattr(ino.0, change).await
            },
            |result| attr(reply, result),
        );
    }

    fn readlink(&self, _request: &Request, ino: INodeNo, reply: ReplyData) {
        let tree = self.tree.clone();
        self.answer(
            async move { tree.readlink(ino.0).await },
            |result| match result {
                Ok(target) => reply.data(target.as_bytes()),
                Err(error) => reply.error(errno(&error)),
            },
        );
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name_: &OsStr,
        mode: u32,
        _umask: u32,
        _rdev: u32,
        reply: ReplyEntry,
    ) {
        if let Some(touches) = self.touches(request) {
            return touches.make(parent, name_, Kind::File, reply);
        }
        // A bucket has no devices, pipes or sockets.
        if mode & libc::S_IFMT != libc::S_IFREG {
            return reply.error(Errno::EPERM);
        }
        let tree = self.tree.clone();
        let (name, owner) = (name(name_), owner(request));
        self.answer(
            async move {
                let writing = filesystem::OpenMode {
                    read: false,
                    write: true,
                    truncate: false,
                };
                let (entry, opened) = tree
                    .create(parent.0, &name?, mode & 0o7777, owner, writing)
                    .await?;
                tree.release(opened.handle).await;
                Ok(entry)
            },
            |result| entry(reply, result),
        );
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name_: &OsStr,
        mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        if let Some(touches) = self.touches(request) {
            return touches.make(parent, name_, Kind::Directory, reply);
        }
        let tree = self.tree.clone();
        let (name, owner) = (name(name_), owner(request));
        self.answer(
            async move { tree.mkdir(parent.0, &name?, mode & 0o7777, owner).await },
            |result| entry(reply, result),
        );
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name_: &OsStr, reply: ReplyEmpty) {
        if let Some(touches) = self.touches(request) {
            return touches.remove(parent, name_, reply);
        }
        let tree = self.tree.clone();
        let name = name(name_);
        self.answer(
            async move { tree.unlink(parent.0, &name?).await },
            |result| empty(reply, result),
        );
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name_: &OsStr, reply: ReplyEmpty) {
        if let Some(touches) = self.touches(request) {
            return touches.remove(parent, name_, reply);
        }
        let tree = self.tree.clone();
        let name = name(name_);
        self.answer(
            async move { tree.rmdir(parent.0, &name?).await },
            |result| empty(reply, result),
        );
    }

    fn symlink(
        &self,
        request: &Request,
        parent: INodeNo,
        link_name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        if let Some(touches) = self.touches(request) {
            return touches.make(parent, link_name, Kind::Symlink, reply);
        }
        let tree = self.tree.clone();
        let (link, target, owner) = (name(link_name), name(target.as_os_str()), owner(request));
        self.answer(
            async move { tree.symlink(parent.0, &link?, &target?, owner).await },
            |result| entry(reply, result),
        );
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        from: &OsStr,
        new_parent: INodeNo,
        to: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if self.touches(request).is_some() {
            return reply.error(Errno::EPERM);
        }
        let tree = self.tree.clone();
        let (from, to, mode) = (name(from), name(to), rename_mode(flags));
        self.answer(
            async move {
                let mode = mode.ok_or(FsError::Invalid)?;
                tree.rename(parent.0, &from?, new_parent.0, &to?, mode)
                    .await
            },
            |result| empty(reply, result),
        );
    }

    fn link(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _new_parent: INodeNo,
        _new_name: &OsStr,
        reply: ReplyEntry,
    ) {
        // One object is one file: a bucket has no second name for it.
        reply.error(Errno::EPERM);
    }

    fn open(&self, request: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        if let Some(touches) = self.touches(request) {
            return touches.open(ino, reply);
        }
        let tree = self.tree.clone();
        let files = self.files.clone();
        let mode = open_mode(flags);
        let drops = mode.truncate && request.uid() != 0;
        self.answer(
            async move {
                let opened = tree.open_file(ino.0, mode).await?;
                if drops {
                    drop_privileges(&tree, ino).await?;
                }
                Ok(opened)
            },
            move |result| match result {
                Ok(opened) => replies::opened(&files, ino, opened, reply),
                Err(error) => reply.error(errno(&error)),
            },
        );
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name_: &OsStr,
        mode: u32,
        _umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        if self.touches(request).is_some() {
            return reply.error(Errno::EPERM);
        }
        let tree = self.tree.clone();
        let files = self.files.clone();
        let (name, owner) = (name(name_), owner(request));
        let open = open_mode(OpenFlags(flags));
        self.answer(
            async move {
                tree.create(parent.0, &name?, mode & 0o7777, owner, open)
                    .await
            },
            move |result| match result {
                Ok((entry, opened)) => replies::created(&files, &entry, opened, reply),
                Err(error) => reply.error(errno(&error)),
            },
        );
    }

    fn read(
        &self,
        _request: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let tree = self.tree.clone();
        self.answer(
            async move { tree.read(fh.0, offset, size).await },
            |result| match result {
                Ok(bytes) => reply.data(&bytes),
                Err(error) => reply.error(errno(&error)),
            },
        );
    }

    fn write(
        &self,
        _request: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let tree = self.tree.clone();
        // The request's buffer is reused as soon as this returns, and a write may have to
        // wait for room.
        let data = data.to_vec();
        let drops = write_flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID);
        self.answer(
            async move {
                if drops {
                    drop_privileges(&tree, ino).await?;
                }
                tree.write(fh.0, offset, &data).await
            },
            |result| match result {
                Ok(written) => reply.written(written),
                Err(error) => reply.error(errno(&error)),
            },
        );
    }

    fn flush(
        &self,
        _request: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        if is_helpers(fh) {
            return reply.ok();
        }
        let tree = self.tree.clone();
        self.answer(async move { tree.flush(fh.0).await }, |result| {
            empty(reply, result)
        });
    }

    fn release(
        &self,
        _request: &Request,
        ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        if is_helpers(fh) {
            return reply.ok();
        }
        let tree = self.tree.clone();
        // Before the tree hears of it: it may then open the inode in another way.
        self.files.released(fh.0, ino.0);
        self.answer(async move { tree.release(fh.0).await }, |()| reply.ok());
    }

    fn fsync(
        &self,
        _request: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        let tree = self.tree.clone();
        self.answer(async move { tree.fsync(fh.0).await }, |result| {
            empty(reply, result)
        });
    }

    fn fallocate(
        &self,
        _request: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        if is_helpers(fh) {
            return reply.ok();
        }
        let keep_size = mode & libc::FALLOC_FL_KEEP_SIZE != 0;
        if mode & !libc::FALLOC_FL_KEEP_SIZE != 0 {
            // Punching holes and the like: programs fall back to writing zeros.
            return reply.error(Errno::EOPNOTSUPP);
        }
        let tree = self.tree.clone();
        self.answer(
            async move { tree.fallocate(fh.0, offset, length, keep_size).await },
            |result| empty(reply, result),
        );
    }

    fn opendir(&self, request: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        if let Some(touches) = self.touches(request) {
            return touches.opendir(reply);
        }
        let tree = self.tree.clone();
        self.answer(
            async move { tree.opendir(ino.0).await },
            |result| match result {
                Ok(handle) => reply.opened(FileHandle(handle), FopenFlags::empty()),
                Err(error) => reply.error(errno(&error)),
            },
        );
    }

    fn readdir(
        &self,
        _request: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        reply: ReplyDirectory,
    ) {
        let tree = self.tree.clone();
        let _runtime = self.runtime.enter();
        directory::names(&tree, fh.0, offset, reply);
    }

    fn readdirplus(
        &self,
        _request: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        reply: ReplyDirectoryPlus,
    ) {
        let tree = self.tree.clone();
        let _runtime = self.runtime.enter();
        directory::names_and_attributes(&tree, fh.0, offset, reply);
    }

    fn releasedir(
        &self,
        _request: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        if is_helpers(fh) {
            return reply.ok();
        }
        let tree = self.tree.clone();
        self.answer(async move { tree.releasedir(fh.0).await }, |()| reply.ok());
    }

    fn fsyncdir(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        // Changes of names are in the journal before they are answered, and on the disk after
        // this.
        let tree = self.tree.clone();
        self.answer(async move { tree.fsyncdir().await }, |result| {
            empty(reply, result)
        });
    }

    fn statfs(&self, _request: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        let space = self.tree.statfs();
        let block = u64::from(STATFS_BLOCK);
        let (total, free) = (space.total / block, space.free / block);
        let entries = space.entries;
        // As many names again and more may be made: a bucket has no table to fill up.
        let spare = u64::from(u32::MAX);
        reply.statfs(
            total,
            free,
            free,
            entries + spare,
            spare,
            STATFS_BLOCK,
            255,
            STATFS_BLOCK,
        );
    }

    fn getxattr(
        &self,
        request: &Request,
        ino: INodeNo,
        name_: &OsStr,
        size: u32,
        reply: ReplyXattr,
    ) {
        if let Some(touches) = self.touches(request) {
            return touches.getxattr(ino, name_, size, reply);
        }
        let tree = self.tree.clone();
        let name = name(name_);
        self.answer(
            async move { tree.getxattr(ino.0, &name?).await },
            move |result| sized(reply, size, result),
        );
    }

    fn setxattr(
        &self,
        request: &Request,
        ino: INodeNo,
        name_: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        if self.touches(request).is_some() {
            return reply.error(Errno::EPERM);
        }
        let tree = self.tree.clone();
        let (name, value) = (name(name_), value.to_vec());
        let mode = match flags {
            libc::XATTR_CREATE => XattrMode::Create,
            libc::XATTR_REPLACE => XattrMode::Replace,
            _ => XattrMode::Any,
        };
        self.answer(
            async move { tree.setxattr(ino.0, &name?, &value, mode).await },
            |result| empty(reply, result),
        );
    }

    fn listxattr(&self, _request: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        let tree = self.tree.clone();
        self.answer(
            async move {
                let names = tree.listxattr(ino.0).await?;
                Ok(names
                    .iter()
                    .flat_map(|name| name.bytes().chain([0]))
                    .collect())
            },
            move |result| sized(reply, size, result),
        );
    }

    fn removexattr(&self, request: &Request, ino: INodeNo, name_: &OsStr, reply: ReplyEmpty) {
        if self.touches(request).is_some() {
            return reply.error(Errno::EPERM);
        }
        let tree = self.tree.clone();
        let name = name(name_);
        self.answer(
            async move { tree.removexattr(ino.0, &name?).await },
            |result| empty(reply, result),
        );
    }

    fn access(&self, _request: &Request, _ino: INodeNo, _mask: AccessFlags, reply: ReplyEmpty) {
        // The kernel checks by itself and does not ask again.
        reply.error(Errno::ENOSYS);
    }

    fn ioctl(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _flags: IoctlFlags,
        _cmd: u32,
        _in_data: &[u8],
        _out_size: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(Errno::ENOTTY);
    }

    fn lseek(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _offset: i64,
        _whence: i32,
        reply: ReplyLseek,
    ) {
        // The kernel then treats the file as all data, which is right, and asks no more.
        reply.error(Errno::ENOSYS);
    }

    fn copy_file_range(
        &self,
        _request: &Request,
        _ino_in: INodeNo,
        _fh_in: FileHandle,
        _offset_in: u64,
        _ino_out: INodeNo,
        _fh_out: FileHandle,
        _offset_out: u64,
        _len: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        // The kernel then copies by reading and writing.
        reply.error(Errno::ENOSYS);
    }
}

fn owner(request: &Request) -> Owner {
    Owner {
        uid: request.uid(),
        gid: request.gid(),
    }
}
