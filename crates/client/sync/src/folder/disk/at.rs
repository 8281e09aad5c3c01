//! Directories of a folder, by descriptors that cannot lead out of it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use model::entry_name::HIDDEN;
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, fstat, fsync, mkdirat, openat2, renameat, statat,
};
use rustix::io::Errno;
use uuid::Uuid;

use super::super::{FolderError, Result};
use super::flush::Flush;
use super::{TMP, TRASH};
use crate::entry::{Kind, Stat};
use crate::path::TreePath;

/// Downwards only, through no link, and into no other file system.
const BENEATH: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_XDEV);
const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

/// The open root of a folder.
pub(super) struct Tree {
    path: PathBuf,
    root: OwnedFd,
    pub(super) flush: Flush,
}

/// An open directory of it.
pub(super) struct Below(OwnedFd);

impl AsFd for Below {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Below {
    /// Makes names that were given in it last. What a disk cannot do it need not.
    pub(super) fn sync(&self) {
        let _ = fsync(&self.0);
    }
}

impl Tree {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let root = rustix::fs::open(path, DIRECTORY, Mode::empty());
        let root = root.map_err(|error| FolderError::NoFolder {
            path: path.display().to_string(),
            reason: error.to_string(),
        })?;
        Ok(Self {
            path: path.to_owned(),
            flush: Flush::of(root.as_fd()),
            root,
        })
    }

    /// Bytes that this user may write yet.
    pub(super) fn free(&self) -> Option<u64> {
        let stat = rustix::fs::fstatvfs(&self.root).ok()?;
        stat.f_bavail.checked_mul(stat.f_frsize)
    }

    pub(super) fn root_ino(&self) -> Result<u64> {
        let stat = fstat(&self.root).map_err(|error| self.no_folder(error))?;
        Ok(stat.st_ino)
    }

    pub(super) fn no_folder(&self, error: Errno) -> FolderError {
        FolderError::NoFolder {
            path: self.path.display().to_string(),
            reason: error.to_string(),
        }
    }

    pub(super) fn unreadable(&self, reason: &str) -> FolderError {
        FolderError::NoFolder {
            path: self.path.display().to_string(),
            reason: reason.to_owned(),
        }
    }

    /// Whether two names in the root are of one file or directory.
    pub(super) fn is_same(&self, one: &str, other: &str) -> Result<bool> {
        let look = |name: &str| match statat(&self.root, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some((stat.st_dev, stat.st_ino))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(of_system("look at", name, error)),
        };
        if one == other {
            return Ok(false);
        }
        let (one, other) = (look(one)?, look(other)?);
        Ok(one.is_some() && one == other)
    }

    /// Opens a directory by its path below the root; empty for the root itself.
    pub(super) fn directory(&self, path: &str) -> std::result::Result<OwnedFd, Errno> {
        let path = if path.is_empty() { "." } else { path };
        openat2(&self.root, path, DIRECTORY, Mode::empty(), BENEATH)
    }

    /// The directory that holds a path; `None` where there is none.
    pub(super) fn parent(&self, path: &TreePath) -> Result<Option<Below>> {
        let parent = path.parent();
        let text = parent.as_ref().map_or("", TreePath::as_str);
        match self.directory(text) {
            Ok(fd) => Ok(Some(Below(fd))),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(error) => Err(failed("open the directory of", path, error)),
        }
    }

    pub(super) fn stat(&self, path: &TreePath) -> Result<Option<(Kind, Stat)>> {
        let Some(parent) = self.parent(path)? else {
            return Ok(None);
        };
        match statat(&parent, path.name(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(kind_of(&stat).map(|kind| (kind, stat_of(&stat)))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(failed("look at", path, error)),
        }
    }

    pub(super) fn open_file(&self, path: &TreePath) -> Result<File> {
        // Not to wait for a writer, should it be a FIFO by now.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW;
        let opened = openat2(&self.root, path.as_str(), flags, Mode::empty(), BENEATH);
        match opened {
            Ok(fd) => Ok(fd.into()),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Err(super::changed(path)),
            Err(error) => Err(failed("open", path, error)),
        }
    }

    /// Makes the directories above a path.
    pub(super) fn make_parent(&self, path: &TreePath) -> Result<Below> {
        match path.parent() {
            Some(parent) => self.make_directory(&parent),
            None => self
                .directory("")
                .map(Below)
                .map_err(|error| self.no_folder(error)),
        }
    }

    pub(super) fn make_directory(&self, path: &TreePath) -> Result<Below> {
        self.make_all(path.as_str(), 0o777)
            .map_err(|error| match error {
                Errno::NOTDIR | Errno::LOOP | Errno::EXIST => super::changed(path),
                error => failed("make directory", path, error),
            })
    }

    fn make_all(&self, path: &str, mode: u32) -> std::result::Result<Below, Errno> {
        if let Ok(fd) = self.directory(path) {
            return Ok(Below(fd));
        }
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = match above {
            "" => Below(self.directory("")?),
            above => self.make_all(above, mode)?,
        };
        match mkdirat(&parent, name, Mode::from_raw_mode(mode)) {
            Ok(()) => parent.sync(),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
        self.directory(path).map(Below)
    }

    /// A directory of ours below `.artifacts`.
    pub(super) fn hidden(&self, below: &str) -> Result<Below> {
        let path = match below {
            "" => HIDDEN.to_owned(),
            below => format!("{HIDDEN}/{below}"),
        };
        self.make_all(&path, 0o700)
            .map_err(|error| of_system("make", &path, error))
    }

    /// Where a deleted or replaced file goes: the directory, and a free name in it.
    pub(super) fn trash(&self, pass: &str, path: &TreePath) -> Result<(Below, String)> {
        let above = path.parent();
        let above = above.map_or(String::new(), |above| format!("/{above}"));
        let place = self.hidden(&format!("{TRASH}/{pass}{above}"))?;
        for n in 0.. {
            let name = match n {
                0 => path.name().to_owned(),
                n => format!(
                    ".{n}.{}",
                    &path.name()[..path.name().floor_char_boundary(200)]
                ),
            };
            match statat(&place, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(_) => {}
                Err(Errno::NOENT) => return Ok((place, name)),
                Err(error) => return Err(failed("look at the trash for", path, error)),
            }
        }
        Err(super::changed(path))
    }

    /// The directory in which a deleted or replaced file of a pass lies, if it does.
    pub(super) fn trash_of(&self, pass: &str, path: &TreePath) -> Result<Option<Below>> {
        let above = path.parent();
        let above = above.map_or(String::new(), |above| format!("/{above}"));
        let place = match self.directory(&format!("{HIDDEN}/{TRASH}/{pass}{above}")) {
            Ok(fd) => Below(fd),
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(failed("open the trash for", path, error)),
        };
        match statat(&place, path.name(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(Some(place)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(failed("look at the trash for", path, error)),
        }
    }

    pub(super) fn read_hidden(&self, name: &str) -> Result<Option<String>> {
        let path = format!("{HIDDEN}/{name}");
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd = match openat2(&self.root, path.as_str(), flags, Mode::empty(), BENEATH) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(error) => return Err(of_system("open", &path, error)),
        };
        let mut text = String::new();
        let read = File::from(fd).take(64 * 1024).read_to_string(&mut text);
        read.map_err(|error| io("read", &path, &error))?;
        Ok(Some(text))
    }

    pub(super) fn write_hidden(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let (place, tmp) = (self.hidden("")?, self.tmp()?);
        // A name that nobody can have put a link under.
        let new = Uuid::new_v4().to_string();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&tmp, &new, flags, Mode::from_raw_mode(0o600));
        let mut file = File::from(fd.map_err(|error| of_system("make", &new, error))?);
        let written = file.write_all(bytes).and_then(|()| file.sync_all());
        written.map_err(|error| io("write", &new, &error))?;
        renameat(&tmp, &new, &place, name).map_err(|error| of_system("rename", &new, error))?;
        place.sync();
        Ok(())
    }

    /// Removes what lies in a directory of ours, as far as the function picks it.
    pub(super) fn clean(&self, below: &str, is_old: &dyn Fn(&str) -> bool) -> Result<()> {
        let place = match self.directory(&format!("{HIDDEN}/{below}")) {
            Ok(place) => place,
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(of_system("clean", below, error)),
        };
        // By the descriptor: no link leads out of the folder, and std removes none but the link.
        let open = format!("/proc/self/fd/{}", place.as_raw_fd());
        let Ok(entries) = std::fs::read_dir(&open) else {
            return Ok(());
        };
        for entry in entries.flatten() {
            if !entry.file_name().to_str().is_some_and(is_old) {
                continue;
            }
            let path = entry.path();
            let removed = match entry.file_type() {
                Ok(kind) if kind.is_dir() => std::fs::remove_dir_all(&path),
                _ => std::fs::remove_file(&path),
            };
            removed.map_err(|error| io("remove", &path.display().to_string(), &error))?;
        }
        Ok(())
    }

    /// The directory in which files are received.
    pub(super) fn tmp(&self) -> Result<Below> {
        self.hidden(TMP)
    }
}

/// What can be synced.
pub(super) fn kind_of(stat: &rustix::fs::Stat) -> Option<Kind> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Some(Kind::File),
        FileType::Symlink => Some(Kind::Link),
        _ => None,
    }
}

pub(super) fn stat_of(stat: &rustix::fs::Stat) -> Stat {
    let nanos = |seconds: i64, rest: u64| {
        let rest = i64::try_from(rest).unwrap_or(0);
        seconds.saturating_mul(1_000_000_000).saturating_add(rest)
    };
    Stat {
        size: u64::try_from(stat.st_size).unwrap_or(0),
        mtime: nanos(stat.st_mtime, stat.st_mtime_nsec),
        ctime: nanos(stat.st_ctime, stat.st_ctime_nsec),
        ino: stat.st_ino,
    }
}

pub(super) fn failed(action: &'static str, path: &TreePath, error: Errno) -> FolderError {
    of_system(action, path.as_str(), error)
}

pub(super) fn of_system(action: &'static str, path: &str, error: Errno) -> FolderError {
    let path = path.to_owned();
    match error {
        Errno::NOSPC | Errno::DQUOT => FolderError::NoSpace { path, short: None },
        Errno::ACCESS | Errno::PERM | Errno::ROFS => FolderError::Denied { action, path },
        Errno::NAMETOOLONG | Errno::INVAL | Errno::ILSEQ => FolderError::BadName { path },
        Errno::NOENT => FolderError::Changed { path },
        error => FolderError::Io {
            action,
            path,
            reason: match error {
                Errno::XDEV => "another file system is mounted there".to_owned(),
                error => error.to_string(),
            },
        },
    }
}

pub(super) fn io(action: &'static str, path: &str, error: &std::io::Error) -> FolderError {
    match Errno::from_io_error(error) {
        Some(errno) => of_system(action, path, errno),
        None => FolderError::Io {
            action,
            path: path.to_owned(),
            reason: error.to_string(),
        },
    }
}
