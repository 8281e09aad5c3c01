//! Where the state of a pair lies on this machine, and who may use it.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use uuid::Uuid;

use crate::state::{State, StateError, beside};

/// The files of one pair of folder and workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairFiles {
    database: PathBuf,
    lock: PathBuf,
}

impl PairFiles {
    /// Those of a folder (by its real path) and a workspace, below the workspace's state folder.
    pub fn of(state: &Path, folder: &Path) -> Self {
        let name = blake3::hash(folder.as_os_str().as_encoded_bytes());
        let name = hex::encode(&name.as_bytes()[..8]);
        let place = state.join("sync");
        Self {
            database: place.join(format!("{name}.db")),
            lock: place.join(format!("{name}.lock")),
        }
    }

    /// Whether this pair was ever synced here.
    pub fn exist(&self) -> bool {
        self.database.exists()
    }

    /// Opens the state for a pass. Nobody else has it as long as the lock lives.
    ///
    /// # Errors
    /// [`StateError`], [`StateError::Locked`] where another process has it.
    pub fn open(&self, workspace: Uuid) -> Result<(State, Lock), StateError> {
        let lock = Lock::take(&self.lock)?;
        Ok((State::open(&self.database, workspace)?, lock))
    }

    /// Opens the state for a new beginning: nothing that both sides had is known. One that is
    /// damaged stays beside the new one, under another name.
    ///
    /// # Errors
    /// As [`PairFiles::open`].
    pub fn open_anew(&self, workspace: Uuid) -> Result<(State, Lock), StateError> {
        let lock = Lock::take(&self.lock)?;
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
    fn take(path: &Path) -> Result<Self, StateError> {
        let failed = |error: std::io::Error| unusable(path, &error);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let mut options = File::options();
        let options = options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(path).map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                let _ = file.take(32).read_to_string(&mut holder);
                let holder = holder.trim().to_owned();
                return Err(StateError::Locked { holder });
            }
            Err(error) => return Err(failed(error.into())),
        }
        // Only to be shown to whoever has to wait.
        let told = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        told.map_err(failed)?;
        Ok(Self { _file: file })
    }
}

fn unusable(path: &Path, error: &std::io::Error) -> StateError {
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
        let held = files.open(Uuid::nil()).unwrap();
        let refused = files.open(Uuid::nil()).map(drop);
        let holder = std::process::id().to_string();
        assert_eq!(refused, Err(StateError::Locked { holder }));
        drop(files.look(Uuid::nil()).unwrap());
        drop(held);
        assert!(files.exist() && files.open(Uuid::nil()).is_ok());
    }
    #[test]
    fn a_new_beginning_keeps_a_damaged_state_beside_the_new_one() {
        let state = tempfile::tempdir().unwrap();
        let files = PairFiles::of(state.path(), Path::new("/home/u/notes"));
        let first = files.open(Uuid::nil()).unwrap();
        first.0.set_root(7).unwrap();
        drop(first);
        let garbage = b"SQLite format 3\0 and then nothing of the kind".repeat(40);
        for n in 1..3 {
            std::fs::write(&files.database, &garbage).unwrap();
            let refused = files.open(Uuid::nil()).map(drop);
            assert!(
                matches!(refused, Err(StateError::Damaged { .. })),
                "{refused:?}"
            );
            let (anew, lock) = files.open_anew(Uuid::nil()).unwrap();
            assert_eq!(anew.info().unwrap().root, None);
            drop((anew, lock));
            let kept = beside(&files.database, &format!(".damaged-{n}"));
            assert_eq!(std::fs::read(kept).unwrap(), garbage);
        }
        assert!(files.open(Uuid::nil()).is_ok());
    }
}
