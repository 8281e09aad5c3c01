//! Files that nobody else may read or change, in folders that nobody else may change.
//!
//! A file is opened first and judged by the open descriptor, so that nothing can be put
//! in its place between the look and the read. Writes are whole or not at all: temporary
//! file in the same folder, fsync, rename, fsync of the folder.

use std::fs::{self, DirBuilder, File};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawMode, Stat};
use rustix::io::Errno;
use zeroize::Zeroizing;

use crate::lock::{Lock, PATIENCE};
use crate::steps::step;
use crate::{Error, Result};

/// Who else may see a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privacy {
    /// Nobody (no permission bit for group or others): it holds secrets.
    Secret,
    /// Others may read but not write: it steers what we do.
    Trusted,
}

/// A folder of ours: owned by the effective user and not writable by others.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    descriptor: File,
}

/// The most bytes that a file of ours is read of.
const LIMIT: u64 = 1 << 20;

/// How the names of unfinished files begin. In a folder of the user's own choosing
/// (`ARTIFACTS_CONFIG`) there may be other people's, so the name says whose it is.
const TEMPORARY: &str = ".artifacts-new-";

impl Folder {
    /// Opens the folder; `None` where there is none.
    pub fn open(path: &Path) -> Result<Option<Self>> {
        let descriptor = match File::open(path) {
            Ok(descriptor) => descriptor,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(refused_folder(path, e)),
        };
        let meta = descriptor
            .metadata()
            .map_err(|e| Error::io("open", path, e))?;
        if !meta.is_dir() {
            return Err(Error::io("open", path, Errno::NOTDIR));
        }
        check_owner(path, meta.uid())?;
        check_bits(path, meta.mode(), 0o022)?;
        Ok(Some(Self {
            path: path.to_owned(),
            descriptor,
        }))
    }

    /// Opens the folder, making it (mode 0700) and its parents where they are missing.
    pub fn create(path: &Path) -> Result<Self> {
        if let Some(folder) = Self::open(path)? {
            return Ok(folder);
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|e| Error::io("create", path, e))?;
        Self::open(path)?.ok_or_else(|| Error::io("create", path, Errno::NOENT))
    }

    /// The folder's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads a file whole; `None` where there is none.
    pub fn read(&self, name: &str, privacy: Privacy) -> Result<Option<Zeroizing<Vec<u8>>>> {
        let path = self.path.join(name);
        let file = match open_beneath(&self.descriptor, name) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP | Errno::XDEV) => return Err(Error::LinkOut { path }),
            Err(e) => return Err(self.refused_file(name, e)),
        };
        check_file(&path, &file, privacy)?;
        let mut bytes = Zeroizing::new(Vec::new());
        (&file)
            .take(LIMIT + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| Error::io("read", &path, e))?;
        if bytes.len() as u64 > LIMIT {
            return Err(Error::TooLarge { path, limit: LIMIT });
        }
        Ok(Some(bytes))
    }

    /// Writes a file whole (mode 0600), in place of one that may be there.
    pub fn replace(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.path.join(name);
        let fail = |e: std::io::Error| Error::io("write", &path, e);
        let mut file = tempfile::Builder::new()
            .prefix(TEMPORARY)
            .tempfile_in(&self.path)
            .map_err(fail)?;
        step();
        file.write_all(bytes).map_err(fail)?;
        step();
        file.as_file().sync_all().map_err(fail)?;
        step();
        file.persist(&path).map_err(|e| fail(e.error))?;
        step();
        self.descriptor.sync_all().map_err(fail)?;
        step();
        Ok(())
    }

    /// Whether [`replace`](Self::replace) names what it has not finished like this.
    pub fn is_temporary(name: &str) -> bool {
        name.starts_with(TEMPORARY)
    }

    /// Takes away what writes that were killed have left, secrets in it and all. Only for
    /// holders of the folder's lock: others may be writing.
    pub(crate) fn sweep(&self) -> Result<()> {
        for name in self.names()? {
            if Self::is_temporary(&name) {
                self.remove(&name)?;
            }
        }
        Ok(())
    }

    /// Removes a file; whether it was there.
    pub fn remove(&self, name: &str) -> Result<bool> {
        let path = self.path.join(name);
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(Error::io("remove", &path, e)),
        }
        step();
        self.descriptor
            .sync_all()
            .map_err(|e| Error::io("remove", &path, e))?;
        step();
        Ok(true)
    }

    /// Names of the entries, sorted; those that are not UTF-8 are left out.
    pub fn names(&self) -> Result<Vec<String>> {
        let fail = |e| Error::io("list", &self.path, e);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(fail)? {
            names.extend(entry.map_err(fail)?.file_name().into_string());
        }
        names.sort();
        Ok(names)
    }

    /// Holds off other processes that would change this folder's files, until dropped.
    pub fn lock(&self) -> Result<Lock> {
        self.lock_within(PATIENCE)
    }

    /// The same, with a patience of the caller's.
    pub(crate) fn lock_within(&self, patience: Duration) -> Result<Lock> {
        Lock::acquire(&self.path.join(".lock"), patience)
    }

    /// A file that cannot be opened: where it is another user's, that is the reason.
    fn refused_file(&self, name: &str, error: Errno) -> Error {
        let path = self.path.join(name);
        match rustix::fs::statat(&self.descriptor, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if stat.st_uid != me() => foreign(&path, stat.st_uid),
            _ => Error::io("open", &path, error),
        }
    }
}

fn refused_folder(path: &Path, error: std::io::Error) -> Error {
    match fs::metadata(path) {
        Ok(meta) if meta.uid() != me() => foreign(path, meta.uid()),
        _ => Error::io("open", path, error),
    }
}

/// Opens for reading, following links only where they stay beneath the folder. A fifo
/// does not make this wait.
#[cfg(target_os = "linux")]
fn open_beneath(folder: &File, name: &str) -> std::result::Result<File, Errno> {
    use rustix::fs::ResolveFlags;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(folder, name, flags, Mode::empty(), beneath) {
        // Kernels before 5.6 and some sandboxes have no openat2; then no link is followed.
        Err(Errno::NOSYS | Errno::PERM) => open_unlinked(folder, name),
        answer => answer.map(File::from),
    }
}

#[cfg(not(target_os = "linux"))]
use open_unlinked as open_beneath;

fn open_unlinked(folder: &File, name: &str) -> std::result::Result<File, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW;
    rustix::fs::openat(folder, name, flags, Mode::empty()).map(File::from)
}

fn check_file(path: &Path, file: &File, privacy: Privacy) -> Result<()> {
    let stat: Stat = rustix::fs::fstat(file).map_err(|e| Error::io("read", path, e))?;
    let mode = stat.st_mode as RawMode;
    if FileType::from_raw_mode(mode) != FileType::RegularFile {
        return Err(Error::NotAFile {
            path: path.to_owned(),
        });
    }
    check_owner(path, stat.st_uid)?;
    let forbidden = match privacy {
        Privacy::Secret => 0o077,
        Privacy::Trusted => 0o022,
    };
    check_bits(path, mode, forbidden)
}

fn check_owner(path: &Path, owner: u32) -> Result<()> {
    if owner == me() {
        Ok(())
    } else {
        Err(foreign(path, owner))
    }
}

fn check_bits(path: &Path, mode: u32, forbidden: u32) -> Result<()> {
    let mode = mode & 0o7777;
    let path = path.to_owned();
    match mode & forbidden {
        0 => Ok(()),
        bits if bits & 0o044 != 0 => Err(Error::ReadableByOthers { path, mode }),
        _ => Err(Error::WritableByOthers { path, mode }),
    }
}

fn foreign(path: &Path, owner: u32) -> Error {
    Error::Foreign {
        path: path.to_owned(),
        owner,
        me: me(),
    }
}

fn me() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn folder() -> (tempfile::TempDir, Folder) {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let folder = Folder::create(&dir.path().join("artifacts")).expect("made");
        (dir, folder)
    }

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("stat").mode() & 0o7777
    }

    #[test]
    fn what_is_written_is_private_and_read_back() {
        let (_dir, folder) = folder();
        assert!(
            folder
                .read("keys", Privacy::Secret)
                .expect("read")
                .is_none()
        );
        folder.replace("keys", b"one").expect("written");
        folder.replace("keys", b"two").expect("written again");
        let read = folder.read("keys", Privacy::Secret).expect("read");
        assert_eq!(read.expect("there").as_slice(), b"two");
        assert_eq!(mode(&folder.path().join("keys")), 0o600);
        assert_eq!(mode(folder.path()), 0o700);
        assert_eq!(
            folder.names().expect("names"),
            ["keys"],
            "nothing is left over"
        );
    }

    #[test]
    fn a_secret_that_others_can_read_is_refused_with_the_command_that_mends_it() {
        let (_dir, folder) = folder();
        folder.replace("keys", b"secret").expect("written");
        let path = folder.path().join("keys");
        chmod(&path, 0o640);
        let error = folder.read("keys", Privacy::Secret).expect_err("refused");
        assert_eq!(
            error,
            Error::ReadableByOthers {
                path: path.clone(),
                mode: 0o640
            }
        );
        assert_eq!(
            error.hint(),
            Some(format!("run: chmod 600 {}", path.display()))
        );
        assert!(folder.read("keys", Privacy::Trusted).is_ok());
        chmod(&path, 0o620);
        for privacy in [Privacy::Secret, Privacy::Trusted] {
            let error = folder.read("keys", privacy).expect_err("refused");
            assert!(matches!(error, Error::WritableByOthers { mode: 0o620, .. }));
        }
    }

    #[test]
    fn a_folder_that_others_can_change_is_refused() {
        let (_dir, folder) = folder();
        chmod(folder.path(), 0o770);
        let error = Folder::open(folder.path()).expect_err("refused");
        assert!(
            matches!(error, Error::WritableByOthers { mode: 0o770, .. }),
            "{error}"
        );
    }

    #[test]
    fn links_are_followed_inside_the_folder_only() {
        let (dir, folder) = folder();
        folder.replace("real", b"inside").expect("written");
        symlink("real", folder.path().join("inner")).expect("link");
        let read = folder.read("inner", Privacy::Secret).expect("read");
        assert_eq!(read.expect("there").as_slice(), b"inside");

        let outside = dir.path().join("outside");
        fs::write(&outside, "x").expect("written");
        chmod(&outside, 0o600);
        for target in [outside.as_path(), Path::new("../outside")] {
            let link = folder.path().join("keys");
            symlink(target, &link).expect("link");
            let error = folder.read("keys", Privacy::Secret).expect_err("refused");
            assert_eq!(error, Error::LinkOut { path: link.clone() });
            fs::remove_file(link).expect("removed");
        }
    }

    #[test]
    fn a_fifo_is_refused_at_once() {
        let (_dir, folder) = folder();
        let path = folder.path().join("keys");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            FileType::Fifo,
            Mode::RUSR | Mode::WUSR,
            0,
        )
        .expect("mkfifo");
        assert_eq!(
            folder.read("keys", Privacy::Secret).err(),
            Some(Error::NotAFile { path })
        );
    }

    #[test]
    fn what_belongs_to_another_user_is_refused() {
        let (_dir, folder) = folder();
        if me() != 0 {
            return; // Only root can give files away; the check itself is the same code.
        }
        folder.replace("keys", b"x").expect("written");
        let path = folder.path().join("keys");
        std::os::unix::fs::chown(&path, Some(12345), None).expect("chown");
        let error = folder.read("keys", Privacy::Secret).expect_err("refused");
        assert_eq!(
            error,
            Error::Foreign {
                path,
                owner: 12345,
                me: 0
            }
        );
        std::os::unix::fs::chown(folder.path(), Some(12345), None).expect("chown");
        let error = Folder::open(folder.path()).expect_err("refused");
        assert!(matches!(error, Error::Foreign { owner: 12345, .. }));
    }
}
