//! The tree's plain types as fuser's, and one errno for each of the tree's errors.

use std::ffi::OsStr;
use std::time::SystemTime;

use filesystem::{Attr, FsError, Kind, OpenMode, RenameMode};
use fuser::{Errno, FileAttr, FileType, INodeNo, OpenAccMode, OpenFlags, RenameFlags, TimeOrNow};

/// What `stat` gives as the best size of one read or write. The C library makes its
/// buffers as large, and each call that reaches us costs far more than copying 128 KiB.
const BLOCK_SIZE: u32 = 128 << 10;

/// Exhaustive, so that a new error of the tree has to be given its errno here.
pub(super) fn errno(error: &FsError) -> Errno {
    match error {
        FsError::NotFound => Errno::ENOENT,
        FsError::Exists => Errno::EEXIST,
        FsError::NotADirectory => Errno::ENOTDIR,
        FsError::IsADirectory => Errno::EISDIR,
        FsError::NotEmpty => Errno::ENOTEMPTY,
        FsError::Invalid => Errno::EINVAL,
        FsError::NameTooLong => Errno::ENAMETOOLONG,
        FsError::NotUtf8 => Errno::EILSEQ,
        FsError::ReadOnly => Errno::EROFS,
        FsError::NoSpace => Errno::ENOSPC,
        FsError::Denied => Errno::EACCES,
        FsError::NotPermitted => Errno::EPERM,
        FsError::Unreachable => Errno::EIO,
        FsError::Changed => Errno::ESTALE,
        FsError::NoAttribute => Errno::ENODATA,
        FsError::NotSupported => Errno::EOPNOTSUPP,
        FsError::TooLarge => Errno::E2BIG,
        FsError::FileTooLarge => Errno::EFBIG,
        FsError::InUse => Errno::ETXTBSY,
        FsError::Local(_) => Errno::EIO,
        FsError::BadHandle => Errno::EBADF,
    }
}

/// What an inode is, in the kernel's words.
pub(super) fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::File => FileType::RegularFile,
        Kind::Directory => FileType::Directory,
        Kind::Symlink => FileType::Symlink,
    }
}

/// What `stat` shows.
pub(super) fn attributes(attr: &Attr) -> FileAttr {
    FileAttr {
        ino: INodeNo(attr.ino),
        size: attr.size,
        blocks: attr.size.div_ceil(512),
        atime: attr.atime,
        mtime: attr.mtime,
        ctime: attr.ctime,
        crtime: SystemTime::UNIX_EPOCH,
        kind: file_type(attr.kind),
        // Masked to twelve bits, so it fits.
        perm: (attr.mode & 0o7777) as u16,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        rdev: 0,
        blksize: BLOCK_SIZE,
        flags: 0,
    }
}

/// The entry that says "there is no such name" and may be remembered: inode number 0.
pub(super) fn nothing() -> FileAttr {
    FileAttr {
        ino: INodeNo(0),
        size: 0,
        blocks: 0,
        atime: SystemTime::UNIX_EPOCH,
        mtime: SystemTime::UNIX_EPOCH,
        ctime: SystemTime::UNIX_EPOCH,
        crtime: SystemTime::UNIX_EPOCH,
        kind: FileType::RegularFile,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 0,
        flags: 0,
    }
}

/// A name as the tree wants it.
pub(super) fn name(name: &OsStr) -> Result<String, FsError> {
    name.to_str().map(str::to_owned).ok_or(FsError::NotUtf8)
}

/// How a file is opened.
pub(super) fn open_mode(flags: OpenFlags) -> OpenMode {
    let access = flags.acc_mode();
    OpenMode {
        read: access != OpenAccMode::O_WRONLY,
        write: access != OpenAccMode::O_RDONLY,
        truncate: flags.0 & libc::O_TRUNC != 0,
    }
}

/// What a rename does with a name that is taken; `None` for what nobody supports.
pub(super) fn rename_mode(flags: RenameFlags) -> Option<RenameMode> {
    if flags.is_empty() {
        Some(RenameMode::Replace)
    } else if flags == RenameFlags::RENAME_NOREPLACE {
        Some(RenameMode::NoReplace)
    } else if flags == RenameFlags::RENAME_EXCHANGE {
        Some(RenameMode::Exchange)
    } else {
        None
    }
}

/// A time to be set.
pub(super) fn time(time: TimeOrNow) -> SystemTime {
    match time {
        TimeOrNow::SpecificTime(time) => time,
        TimeOrNow::Now => SystemTime::now(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_open_and_rename_are_understood() {
        let mode = open_mode(OpenFlags(libc::O_RDWR | libc::O_TRUNC | libc::O_APPEND));
        assert!(mode.read && mode.write && mode.truncate);
        let mode = open_mode(OpenFlags(libc::O_WRONLY));
        assert!(!mode.read && mode.write && !mode.truncate);
        assert_eq!(rename_mode(RenameFlags::empty()), Some(RenameMode::Replace));
        assert_eq!(
            rename_mode(RenameFlags::RENAME_EXCHANGE),
            Some(RenameMode::Exchange)
        );
        assert_eq!(rename_mode(RenameFlags::RENAME_WHITEOUT), None);
    }
}
