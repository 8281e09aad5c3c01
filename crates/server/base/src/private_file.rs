//! Files that nobody but their user may read: keys and passphrases.
//!
//! What is checked is the file that was opened, not the one that had its name a moment before.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::geteuid;
use zeroize::Zeroizing;

/// Why a file is not read.
#[derive(Debug, thiserror::Error)]
pub enum NotPrivate {
    /// Others may read it.
    #[error(
        "{} can be read by others (mode {mode:04o})\nhint: chmod 600 {}",
        path.display(), path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Its owner could have put anything there, and can read what is written there.
    #[error(
        "{} belongs to another user ({owner})\nhint: chown it to the user that this program runs as",
        path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Its owner's number.
        owner: u32,
    },
    /// It is a link, or no file at all.
    #[error("{} is a link, or no file\nhint: name the file itself", .0.display())]
    NoFile(PathBuf),
    /// The system.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
}

/// Opens a file that belongs to this process's user, or to root, and that only they may read. A
/// link is not followed: somebody else could have put it there.
///
/// # Errors
/// [`NotPrivate`].
pub fn open(path: &Path) -> Result<File, NotPrivate> {
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(i32::try_from(flags.bits()).unwrap_or(0))
        .open(path)
        .map_err(|source| match Errno::from_io_error(&source) {
            Some(Errno::LOOP) => NotPrivate::NoFile(path.to_owned()),
            _ => io_of(path, source),
        })?;
    let seen = file.metadata().map_err(|source| io_of(path, source))?;
    if !seen.is_file() {
        return Err(NotPrivate::NoFile(path.to_owned()));
    }
    let (mode, owner) = (seen.mode() & 0o777, seen.uid());
    if mode & 0o077 != 0 {
        let path = path.to_owned();
        return Err(NotPrivate::Exposed { path, mode });
    }
    if owner != geteuid().as_raw() && owner != 0 {
        let path = path.to_owned();
        return Err(NotPrivate::Foreign { path, owner });
    }
    Ok(file)
}

/// Reads such a file, up to a bound, into memory that is wiped.
///
/// # Errors
/// [`NotPrivate`].
pub fn read(path: &Path, longest: usize) -> Result<Zeroizing<Vec<u8>>, NotPrivate> {
    let file = open(path)?;
    // Of the final size at once: growing would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(longest));
    let limit = u64::try_from(longest).unwrap_or(u64::MAX);
    let read = file.take(limit).read_to_end(&mut bytes);
    read.map_err(|source| io_of(path, source))?;
    Ok(bytes)
}

fn io_of(path: &Path, source: io::Error) -> NotPrivate {
    NotPrivate::Io {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    fn file(folder: &Path, name: &str, mode: u32) -> PathBuf {
        let path = folder.join(name);
        fs::write(&path, "words").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn only_a_file_of_one_s_own_that_nobody_else_reads_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let good = file(folder, "good", 0o600);
        assert_eq!(*read(&good, 100).unwrap(), *b"words");
        assert_eq!(*read(&good, 3).unwrap(), *b"wor");
        let exposed = open(&file(folder, "exposed", 0o640)).unwrap_err();
        assert!(
            matches!(exposed, NotPrivate::Exposed { mode: 0o640, .. }),
            "{exposed}"
        );
        symlink(&good, folder.join("link")).unwrap();
        let link = open(&folder.join("link")).unwrap_err();
        assert!(matches!(link, NotPrivate::NoFile(_)), "{link}");
        let no_file = open(folder).unwrap_err();
        assert!(matches!(no_file, NotPrivate::NoFile(_)), "{no_file}");
        let missing = open(&folder.join("missing")).unwrap_err();
        assert!(matches!(missing, NotPrivate::Io { .. }), "{missing}");
        let foreign = file(folder, "foreign", 0o600);
        match chown(&foreign, Some(12_345), None) {
            Ok(()) => {
                let foreign = open(&foreign).unwrap_err();
                assert!(
                    matches!(foreign, NotPrivate::Foreign { owner: 12_345, .. }),
                    "{foreign}"
                );
            }
            Err(error) => testkit::skip!("a file of another user: {error}"),
        }
    }
}
