//! What is made of files, and made again when they change: certificates are renewed while a
//! server runs.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

/// A value that comes from files.
pub struct Reloaded<T> {
    files: Vec<PathBuf>,
    current: Mutex<(Stamp, Arc<T>)>,
}

/// What changes when a file is written or replaced.
type Stamp = Vec<Option<(u64, i64, i64, u64)>>;

impl<T> Reloaded<T> {
    /// Makes the value for the first time.
    ///
    /// # Errors
    /// What `load` says.
    pub fn new<E>(files: Vec<PathBuf>, load: impl FnOnce() -> Result<T, E>) -> Result<Self, E> {
        let stamp = stamp(&files);
        let current = Mutex::new((stamp, Arc::new(load()?)));
        Ok(Self { files, current })
    }

    /// The value; made again if a file has changed since. While the files are of no use (one of
    /// a pair is written, the other not yet) the value from before stays.
    pub fn get<E: std::fmt::Display>(&self, load: impl FnOnce() -> Result<T, E>) -> Arc<T> {
        let seen = stamp(&self.files);
        let mut current = self.current.lock();
        if current.0 != seen {
            current.0 = seen;
            match load() {
                Ok(value) => {
                    tracing::info!(files = ?self.files, "read again");
                    current.1 = Arc::new(value);
                }
                Err(error) => tracing::warn!(%error, "what was read before stays in use"),
            }
        }
        Arc::clone(&current.1)
    }
}

fn stamp(files: &[PathBuf]) -> Stamp {
    let one = |path: &PathBuf| {
        let seen = std::fs::metadata(path).ok()?;
        Some((seen.ino(), seen.mtime(), seen.mtime_nsec(), seen.size()))
    };
    files.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_is_read_and_a_bad_one_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        let load = || std::fs::read_to_string(&path).unwrap().parse::<u32>();
        std::fs::write(&path, "1").unwrap();
        let number = Reloaded::new(vec![path.clone()], load).unwrap();
        assert_eq!(*number.get(load), 1);
        std::fs::write(&path, "none").unwrap();
        assert_eq!(*number.get(load), 1);
        std::fs::write(&path, "23").unwrap();
        assert_eq!(*number.get(load), 23);
    }
}
