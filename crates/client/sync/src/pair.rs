//! Where the state of a pair lies on this machine, and who may use it.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::record::Record;
use crate::state::{State, StateError, beside};

/// Where they lie, below a workspace's state folder.
const PLACE: &str = "sync";

/// The files of one pair of folder and workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairFiles {
    database: PathBuf,
    lock: PathBuf,
    record: PathBuf,
}

/// The process that syncs a pair, named so that no later one can be taken for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its number.
    pub pid: u32,
    /// When it began, in the system's ticks since its boot.
    pub start: u64,
    /// In which boot.
    pub boot: String,
}

impl PairFiles {
    /// Those of a folder (by its real path) and a workspace, below the workspace's state folder.
    pub fn of(state: &Path, folder: &Path) -> Self {
        Self::named(state, &name_of(folder))
    }

    /// Those that a new pair of this folder gets: a folder that was at this path before and is
    /// elsewhere now keeps its own.
    pub(crate) fn free(state: &Path, folder: &Path) -> Self {
        let name = name_of(folder);
        let names = std::iter::once(name.clone()).chain((2..).map(|n| format!("{name}-{n}")));
        let mut all = names.map(|name| Self::named(state, &name));
        let is_free = |files: &Self| files.record().is_none_or(|r| r.folder == folder);
        all.find(|files| is_free(files))
            .unwrap_or_else(|| Self::of(state, folder))
    }

    fn named(state: &Path, name: &str) -> Self {
        let place = state.join(PLACE);
        Self {
            database: place.join(format!("{name}.db")),
            lock: place.join(format!("{name}.lock")),
            record: place.join(format!("{name}.json")),
        }
    }

    /// Those of every pair of a workspace, below the workspace's state folder.
    pub(crate) fn all(state: &Path) -> Vec<Self> {
        let entries = std::fs::read_dir(state.join(PLACE)).into_iter().flatten();
        let names = entries.flatten().filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            Some(Self::named(state, name.strip_suffix(".json")?))
        });
        names.collect()
    }

    /// What is known of the pair; `None` where it was never synced.
    pub fn record(&self) -> Option<Record> {
        Record::read(&self.record)
    }

    /// Replaces what is known of the pair; `lasting` where it has to outlive a power cut.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn tell(&self, record: &Record, lasting: bool) -> Result<(), StateError> {
        let place = self.record.parent().unwrap_or(Path::new("."));
        let written =
            std::fs::create_dir_all(place).and_then(|()| record.write(&self.record, lasting));
        written.map_err(|error| unusable(&self.record, &error))
    }

    /// The process that has the pair, or had it last; whether it still runs, the caller knows.
    pub fn holder(&self) -> Option<Holder> {
        read_holder(&mut File::open(&self.lock).ok()?)
    }

    /// Whether this pair was ever synced here.
    pub fn exist(&self) -> bool {
        self.database.exists()
    }

    /// Opens the state for a pass. Nobody else has it as long as the lock lives.
    ///
    /// # Errors
    /// [`StateError`], [`StateError::Locked`] where another process has it.
    pub fn open(&self, workspace: Uuid, own: &Holder) -> Result<(State, Lock), StateError> {
        let lock = Lock::take(&self.lock, own)?;
        Ok((State::open(&self.database, workspace)?, lock))
    }

    /// Opens the state for a new beginning: nothing that both sides had is known. One that is
    /// damaged stays beside the new one, under another name.
    ///
    /// # Errors
    /// As [`PairFiles::open`].
    pub fn open_anew(&self, workspace: Uuid, own: &Holder) -> Result<(State, Lock), StateError> {
        let lock = Lock::take(&self.lock, own)?;
        let opened = State::open(&self.database, workspace);
        match opened.and_then(|state| state.forget_everything().map(|()| state)) {
            Err(StateError::Damaged { .. }) => {
                self.set_aside()?;
                Ok((State::open(&self.database, workspace)?, lock))
            }
            opened => Ok((opened?, lock)),
        }
    }

    /// Gives the database and its log another name that is free.
    fn set_aside(&self) -> Result<(), StateError> {
        let failed = |error: std::io::Error| unusable(&self.database, &error);
        let names = (1..).map(|n| beside(&self.database, &format!(".damaged-{n}")));
        for name in names {
            if name.try_exists().map_err(failed)? {
                continue;
            }
            let log = beside(&self.database, "-wal");
            if log.try_exists().map_err(failed)? {
                std::fs::rename(&log, beside(&name, "-wal")).map_err(failed)?;
            }
            return std::fs::rename(&self.database, &name).map_err(failed);
        }
        Ok(())
    }

    /// A copy of the state, to look at: nothing of the pair's is changed or made. A pair that
    /// was never synced has an empty one. The folder with the copy goes when it is dropped.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn look(&self, workspace: Uuid) -> Result<(State, tempfile::TempDir), StateError> {
        let copy = tempfile::tempdir().map_err(|error| unusable(&self.database, &error))?;
        let state = match State::look(&self.database, copy.path(), workspace)? {
            Some(state) => state,
            None => State::in_memory(workspace)?,
        };
        Ok((state, copy))
    }
}

/// Held by the one process that may sync a pair; goes with the process, however it ends.
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Holds a folder while it is synced: homes that know nothing of each other, as those of a
    /// user and of root, may sync one. `None` where it is not there, or lies on a file system
    /// without such locks. As long as it lives its disk cannot be unmounted.
    ///
    /// # Errors
    /// [`StateError::Locked`] where another process has it.
    pub fn of_folder(folder: &Path) -> Result<Option<Self>, StateError> {
        let Ok(file) = File::open(folder) else {
            return Ok(None);
        };
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(StateError::Locked { holder: 0 }),
            Err(_) => Ok(None),
        }
    }

    fn take(path: &Path, own: &Holder) -> Result<Self, StateError> {
        let failed = |error: io::Error| unusable(path, &error);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let mut options = File::options();
        let options = options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(path).map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let holder = read_holder(&mut file).map_or(0, |holder| holder.pid);
                return Err(StateError::Locked { holder });
            }
            Err(error) => return Err(failed(error.into())),
        }
        // For whoever has to wait, or asks how the pair is. The lock is the kernel's: it goes
        // with its owner, and the next one takes the file over.
        let text = serde_json::to_string(own).map_err(|error| failed(error.into()))?;
        let told = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{text}"));
        told.map_err(failed)?;
        Ok(Self { _file: file })
    }
}

fn read_holder(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.take(1024).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// The name of a pair's files: no path is too long or too odd for it.
fn name_of(folder: &Path) -> String {
    let name = blake3::hash(folder.as_os_str().as_encoded_bytes());
    hex::encode(&name.as_bytes()[..8])
}

fn unusable(path: &Path, error: &io::Error) -> StateError {
    StateError::Unusable {
        path: path.display().to_string(),
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_has_a_pair_and_looking_needs_no_lock() {
        let state = tempfile::tempdir().unwrap();
        let files = PairFiles::of(state.path(), Path::new("/home/u/notes"));
        assert_ne!(
            files,
            PairFiles::of(state.path(), Path::new("/home/u/other"))
        );
        drop(files.look(Uuid::nil()).unwrap());
        assert!(!state.path().join("sync").exists(), "looking makes nothing");
        let own = |pid| Holder {
            pid,
            start: 7,
            boot: "b".into(),
        };
        let held = files.open(Uuid::nil(), &own(41)).unwrap();
        let refused = files.open(Uuid::nil(), &own(42)).map(drop);
        assert_eq!(refused, Err(StateError::Locked { holder: 41 }));
        drop(files.look(Uuid::nil()).unwrap());
        assert_eq!(files.holder(), Some(own(41)));
        drop(held);
        assert!(files.exist() && files.open(Uuid::nil(), &own(42)).is_ok());
        assert_eq!(files.holder(), Some(own(42)), "the last one");
    }

    #[test]
    fn a_folder_is_synced_by_one_process_whatever_home_that_has() {
        let folder = tempfile::tempdir().unwrap();
        let held = Lock::of_folder(folder.path()).unwrap();
        assert!(held.is_some());
        let refused = Lock::of_folder(folder.path()).map(drop).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "another process is syncing this folder"
        );
        drop(held);
        assert!(Lock::of_folder(folder.path()).unwrap().is_some());
        assert!(
            Lock::of_folder(&folder.path().join("gone"))
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn a_new_beginning_keeps_a_damaged_state_beside_the_new_one() {
        let state = tempfile::tempdir().unwrap();
        let files = PairFiles::of(state.path(), Path::new("/home/u/notes"));
        let own = Holder {
            pid: 1,
            start: 1,
            boot: "b".into(),
        };
        let first = files.open(Uuid::nil(), &own).unwrap();
        first.0.set_root(7).unwrap();
        drop(first);
        let garbage = b"SQLite format 3\0 and then nothing of the kind".repeat(40);
        for n in 1..3 {
            std::fs::write(&files.database, &garbage).unwrap();
            let refused = files.open(Uuid::nil(), &own).map(drop);
            assert!(
                matches!(refused, Err(StateError::Damaged { .. })),
                "{refused:?}"
            );
            let (anew, lock) = files.open_anew(Uuid::nil(), &own).unwrap();
            assert_eq!(anew.info().unwrap().root, None);
            drop((anew, lock));
            let kept = beside(&files.database, &format!(".damaged-{n}"));
            assert_eq!(std::fs::read(kept).unwrap(), garbage);
        }
        assert!(files.open(Uuid::nil(), &own).is_ok());
    }
}
