//! An advisory lock between processes of one machine.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::{Error, Result};

/// Held until dropped, or until the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// How long to wait for another process. Whoever holds a lock only rewrites small files, and
/// asks nobody meanwhile; a command that cannot go on has ended after five seconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(4);
const PAUSE: Duration = Duration::from_millis(20);

impl Lock {
    /// Waits for the lock, at most for so long.
    pub(crate) fn acquire(path: &Path, patience: Duration) -> Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path)
            .map_err(|e| Error::io("lock", path, e))?;
        let deadline = Instant::now() + patience;
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { _file: file }),
                Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < deadline => {
                    std::thread::sleep(PAUSE);
                }
                Err(Errno::WOULDBLOCK | Errno::INTR) => {
                    return Err(Error::Locked {
                        path: path.to_owned(),
                    });
                }
                Err(e) => return Err(Error::io("lock", path, e)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_waits_for_the_first() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join(".lock");
        let first = Lock::acquire(&path, PATIENCE).expect("free");
        let started = Instant::now();
        let second = std::thread::spawn({
            let path = path.clone();
            move || Lock::acquire(&path, PATIENCE).map(|_| Instant::now())
        });
        std::thread::sleep(Duration::from_millis(150));
        let released = Instant::now();
        drop(first);
        let acquired = second.join().expect("no panic").expect("acquired");
        assert!(acquired >= released && released > started);
    }
}
