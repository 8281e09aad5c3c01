//! Makes many files last at one time: where several wait for the disk, the whole file system is
//! flushed once for all of them.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rustix::fs::{FsWord, fstatfs, fsync, syncfs};
use rustix::io::Errno;

/// With fewer at one time each flushes its own.
const TOGETHER: usize = 4;
/// A flush of everything that takes longer than this for each of those who wait has to write
/// what other programs left …
const TOO_LONG: Duration = Duration::from_millis(20);
/// … so that the next ones flush only their own.
const ALONE: u32 = 500;

/// File systems of which is known that `syncfs` keeps the promise of `fsync`, and tells of
/// errors: ext2 to ext4, Btrfs, XFS, F2FS, tmpfs (their `f_type`, see statfs(2)).
const TRUSTED: [FsWord; 5] = [0xef53, 0x9123_683e, 0x5846_5342, 0xf2f5_2010, 0x0102_1994];

/// Who waits for the disk of a folder.
pub(super) struct Flush {
    is_trusted: bool,
    queue: Mutex<Queue>,
    ended: Condvar,
}

#[derive(Default)]
struct Queue {
    /// Those who flush, or wait.
    inside: usize,
    /// Whether everything is being flushed.
    running: bool,
    /// The flushes of everything that began, and that ended.
    begun: u64,
    ended: u64,
    /// The last one that failed.
    failed: Option<(u64, Errno)>,
    /// So many flush their own, because others keep the disk busy.
    alone: u32,
}

impl Flush {
    /// For the file system of this folder.
    pub(super) fn of(root: BorrowedFd<'_>) -> Self {
        let system = fstatfs(root).map(|about| about.f_type);
        Self {
            is_trusted: system.is_ok_and(|system| TRUSTED.contains(&system)),
            queue: Mutex::default(),
            ended: Condvar::new(),
        }
    }

    /// Returns once a file, or the names in a directory, are on the disk.
    pub(super) fn wait_for(&self, own: impl AsFd) -> Result<(), Errno> {
        let is_alone = {
            let mut queue = self.queue.lock();
            queue.inside += 1;
            let is_alone = queue.inside < TOGETHER || queue.alone > 0 || !self.is_trusted;
            queue.alone = queue.alone.saturating_sub(1);
            is_alone
        };
        let answer = match is_alone {
            true => fsync(&own),
            false => self.together(own.as_fd()),
        };
        self.queue.lock().inside -= 1;
        answer
    }

    /// One of those who wait flushes for all; whoever comes meanwhile waits for the next time.
    fn together(&self, own: BorrowedFd<'_>) -> Result<(), Errno> {
        let mut queue = self.queue.lock();
        let ticket = queue.begun + 1;
        loop {
            if queue.ended >= ticket {
                let failed = queue.failed.filter(|(run, _)| *run >= ticket);
                return failed.map_or(Ok(()), |(_, error)| Err(error));
            }
            if !queue.running {
                break;
            }
            self.ended.wait(&mut queue);
        }
        queue.running = true;
        queue.begun += 1;
        let (run, waiting) = (queue.begun, queue.inside);
        drop(queue);
        let begun = Instant::now();
        let answer = syncfs(own);
        let each = begun.elapsed() / u32::try_from(waiting.max(1)).unwrap_or(u32::MAX);
        let mut queue = self.queue.lock();
        queue.running = false;
        queue.ended = run;
        if let Err(error) = answer {
            queue.failed = Some((run, error));
        }
        if each > TOO_LONG {
            queue.alone = ALONE;
        }
        drop(queue);
        self.ended.notify_all();
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn all_who_wait_are_served() {
        let folder = tempfile::tempdir().unwrap();
        let root = File::open(folder.path()).unwrap();
        let flush = Flush::of(root.as_fd());
        std::thread::scope(|scope| {
            for n in 0..24 {
                let (flush, folder) = (&flush, folder.path());
                scope.spawn(move || {
                    for m in 0..20 {
                        let path = folder.join(format!("{n}-{m}"));
                        std::fs::write(&path, "x").unwrap();
                        flush.wait_for(File::open(path).unwrap()).unwrap();
                    }
                });
            }
        });
        let queue = flush.queue.lock();
        assert_eq!((queue.inside, queue.running), (0, false));
        assert_eq!(queue.begun, queue.ended);
    }

    #[test]
    fn what_cannot_be_flushed_fails() {
        let folder = tempfile::tempdir().unwrap();
        let root = File::open(folder.path()).unwrap();
        let flush = Flush::of(root.as_fd());
        let (reader, _writer) = std::io::pipe().unwrap();
        assert_eq!(flush.wait_for(&reader), Err(Errno::INVAL));
    }
}
