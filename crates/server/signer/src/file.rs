//! The file of master secrets: made once, added to, sealed anew; whole at every moment.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base::private_file::{self, NotPrivate};
use rustix::fs::{FlockOperation, flock};

use crate::seal::{self, LONGEST, Seal, SealError};
use crate::secrets::Epochs;

/// Why the file is not used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// There is one already.
    #[error(
        "{} is there already\nhint: without its secrets no credential sealed under them can be read; `artifactsd signer epoch advance` adds a new one",
        .0.display()
    )]
    Exists(PathBuf),
    /// It is not this user's alone.
    #[error(transparent)]
    NotPrivate(NotPrivate),
    /// Its content.
    #[error("{} cannot be opened: {source}", path.display())]
    Seal {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: SealError,
    },
    /// It was not sealed anew, and is as it was.
    #[error("{} is not written: {source}", path.display())]
    NotSealed {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: SealError,
    },
    /// There are as many epochs as there can be.
    #[error("there can be no more epochs")]
    Full,
    /// The system.
    #[error("{}: {source}{}", path.display(), hint(source))]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
}

fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::NotFound => "\nhint: `artifactsd signer init` makes the file",
        io::ErrorKind::WouldBlock => "\nhint: another command changes the file; try again",
        _ => "",
    }
}

/// Makes the file, with the first epoch.
///
/// # Errors
/// [`FileError`]; a file that is there is never written over.
pub async fn init(path: &Path, seal: &dyn Seal, now: i64) -> Result<Epochs, FileError> {
    if path.exists() {
        return Err(FileError::Exists(path.to_owned()));
    }
    let _turn = turn(path)?;
    let epochs = Epochs::first(now).ok_or(FileError::Full)?;
    write(path, &epochs, seal, Way::New).await?;
    Ok(epochs)
}

/// Opens the file.
///
/// # Errors
/// [`FileError`].
pub async fn open(path: &Path, seal: &dyn Seal) -> Result<Epochs, FileError> {
    let bytes = read(path)?;
    let epochs = seal::open(&bytes, seal).await;
    epochs.map_err(|source| FileError::Seal {
        path: path.to_owned(),
        source,
    })
}

/// Adds an epoch with a new random secret.
///
/// # Errors
/// [`FileError`].
pub async fn advance(path: &Path, seal: &dyn Seal, now: i64) -> Result<Epochs, FileError> {
    let _turn = turn(path)?;
    let mut epochs = open(path, seal).await?;
    epochs.advance(now).ok_or(FileError::Full)?;
    write(path, &epochs, seal, Way::Over).await?;
    Ok(epochs)
}

/// Seals the file anew, in another way.
///
/// # Errors
/// [`FileError`].
pub async fn reseal(path: &Path, from: &dyn Seal, to: &dyn Seal) -> Result<(), FileError> {
    let _turn = turn(path)?;
    let epochs = open(path, from).await?;
    write(path, &epochs, to, Way::Over).await
}

/// Of two commands that change the file, one waits for nobody: it says that it is not its turn.
fn turn(path: &Path) -> Result<File, FileError> {
    let lock = path.with_extension("lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&lock)
        .map_err(io_of(&lock))?;
    let locked = flock(&file, FlockOperation::NonBlockingLockExclusive);
    locked.map_err(|error| io_of(path)(error.into()))?;
    Ok(file)
}

fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    let file = private_file::open(path).map_err(|refused| match refused {
        NotPrivate::Io { path, source } => FileError::Io { path, source },
        refused => FileError::NotPrivate(refused),
    })?;
    let mut bytes = Vec::new();
    let limit = LONGEST as u64 + 1;
    file.take(limit)
        .read_to_end(&mut bytes)
        .map_err(io_of(path))?;
    Ok(bytes)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// There must be no file yet.
    New,
    /// In the place of the one that is there.
    Over,
}

/// The file of before stays until the new one has been opened: a service may let somebody seal who
/// may not open.
async fn write(path: &Path, epochs: &Epochs, seal: &dyn Seal, way: Way) -> Result<(), FileError> {
    let sealed = proven(epochs, seal).await;
    let sealed = sealed.map_err(|source| FileError::NotSealed {
        path: path.to_owned(),
        source,
    })?;
    put(path, &sealed, way, &|_| ())
}

async fn proven(epochs: &Epochs, seal: &dyn Seal) -> Result<Vec<u8>, SealError> {
    let sealed = seal::seal(epochs, seal).await?;
    let opened = seal::open(&sealed, seal).await?;
    if opened.continues(epochs) && epochs.continues(&opened) {
        return Ok(sealed);
    }
    Err(SealError::Crypto("opening what was sealed"))
}

/// What was done last; tests end the process there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Made,
    HalfWritten,
    Written,
    Synced,
    Renamed,
    FolderSynced,
}

/// Whole or as before, whenever the process or the machine ends.
fn put(path: &Path, bytes: &[u8], way: Way, done: &dyn Fn(Step)) -> Result<(), FileError> {
    let partial = path.with_extension("partial");
    // Left behind by a process that was killed; nobody else writes it: it is our turn.
    let _ = fs::remove_file(&partial);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&partial)
        .map_err(io_of(&partial))?;
    done(Step::Made);
    let (first, second) = bytes.split_at(bytes.len() / 2);
    file.write_all(first).map_err(io_of(&partial))?;
    done(Step::HalfWritten);
    file.write_all(second).map_err(io_of(&partial))?;
    done(Step::Written);
    file.sync_all().map_err(io_of(&partial))?;
    done(Step::Synced);
    if fs::read(&partial).map_err(io_of(&partial))? != bytes {
        let text = "what is read is not what was written; nothing was changed";
        return Err(io_of(&partial)(io::Error::other(text)));
    }
    match way {
        Way::Over => fs::rename(&partial, path).map_err(io_of(path))?,
        Way::New => {
            let linked = fs::hard_link(&partial, path);
            let _ = fs::remove_file(&partial);
            linked.map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => FileError::Exists(path.to_owned()),
                _ => io_of(path)(error),
            })?;
        }
    }
    done(Step::Renamed);
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(io_of(folder))?;
    done(Step::FolderSynced);
    Ok(())
}

fn io_of(path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |source| FileError::Io { path, source }
}

#[cfg(test)]
mod tests;
