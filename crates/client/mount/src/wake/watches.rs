//! What programs of this machine watch by inotify: the kernel tells a FUSE file system
//! nothing of it, but `/proc/PID/fdinfo` shows each watch with the inode and the file system
//! (proc_pid_fdinfo(5)), for the processes that this user may look into.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use filesystem::{Filesystem, Ino};
use parking_lot::RwLock;

use crate::mountinfo;

/// The longest between two looks.
const SELDOM: Duration = Duration::from_secs(5);
/// At most the hundredth part of one processor is spent on looking.
const SHARE: u32 = 100;
const INOTIFY: &str = "anon_inode:inotify";

/// The inodes that somebody watches, as last seen.
#[derive(Default)]
pub(crate) struct Watched {
    inos: RwLock<Arc<HashSet<Ino>>>,
    /// Requests of programs, by which it is known that somebody uses the mount at all.
    requests: AtomicU64,
}

impl Watched {
    pub(crate) fn now(&self) -> Arc<HashSet<Ino>> {
        self.inos.read().clone()
    }

    /// Notes that a program uses the mount.
    pub(crate) fn used(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }
}

/// Looks again and again, as long as programs use the mount or something is watched.
/// A new watch needs attributes that the kernel keeps for half of the profile's time, so
/// whoever sets one has asked for something not long ago. Never returns.
pub(crate) async fn follow(tree: Filesystem, device: u64, watched: Arc<Watched>) {
    let promised = tree.others_changes_within();
    let mut pause = (promised / 2).min(SELDOM);
    let (mut seen, mut used) = (0, Instant::now());
    loop {
        tokio::time::sleep(pause).await;
        let requests = watched.requests.load(Ordering::Relaxed);
        if requests != seen {
            (seen, used) = (requests, Instant::now());
        }
        if watched.now().is_empty() && used.elapsed() > promised * 2 {
            continue;
        }
        let begun = Instant::now();
        let found = tokio::task::spawn_blocking(move || inodes(Path::new("/proc"), device)).await;
        let Ok(found) = found else { continue };
        pause = (promised / 2).min(SELDOM).max(begun.elapsed() * SHARE);
        if !(found.is_empty() && watched.now().is_empty()) {
            tree.watch(&found);
            *watched.inos.write() = Arc::new(found);
        }
    }
}

/// The number by which the kernel shows the file system mounted at a path in its lists of
/// watches: major and minor in one.
pub(crate) fn device_at(mountpoint: &Path) -> Option<u64> {
    let mounts = mountinfo::mounts().ok()?;
    let (major, minor) = mountinfo::at(&mounts, mountpoint)?.device.split_once(':')?;
    Some(major.parse::<u64>().ok()? << 20 | minor.parse::<u64>().ok()?)
}

/// The watched inodes of one file system.
fn inodes(proc: &Path, device: u64) -> HashSet<Ino> {
    let Ok(processes) = fs::read_dir(proc) else {
        return HashSet::new();
    };
    processes
        .flatten()
        .filter(|entry| {
            let name = entry.file_name();
            name.as_encoded_bytes().iter().all(u8::is_ascii_digit)
        })
        .flat_map(|entry| watches_of(&entry.path()))
        .filter_map(|(at, ino)| (at == device).then_some(ino))
        .collect()
}

/// Device and inode of each watch of a process; nothing where it may not be looked into.
fn watches_of(process: &Path) -> Vec<(u64, Ino)> {
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else {
        return Vec::new();
    };
    descriptors
        .flatten()
        .filter(|fd| fs::read_link(fd.path()).is_ok_and(|to| to == Path::new(INOTIFY)))
        .filter_map(|fd| fs::read_to_string(process.join("fdinfo").join(fd.file_name())).ok())
        .flat_map(|text| text.lines().filter_map(watch).collect::<Vec<_>>())
        .collect()
}

/// `inotify wd:1 ino:2a sdev:3c mask:…`, all in hexadecimal.
fn watch(line: &str) -> Option<(u64, Ino)> {
    let fields = line.strip_prefix("inotify ")?;
    let field = |name: &str| {
        let mut words = fields.split(' ');
        let value = words.find_map(|word| word.strip_prefix(name))?;
        u64::from_str_radix(value, 16).ok()
    };
    Some((field("sdev:")?, field("ino:")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_kernel_is_read() {
        let line = "inotify wd:3 ino:9e7e sdev:800013 mask:800afce ignored_mask:0 \
                    fhandle-bytes:8 fhandle-type:1 f_handle:7e9e0000640d1b6d";
        assert_eq!(watch(line), Some((0x80_0013, 0x9e7e)));
        assert_eq!(watch("pos:\t0"), None);
        assert_eq!(watch("inotify wd:3 ino:zz sdev:1"), None);
    }

    #[test]
    fn a_watch_of_this_process_is_seen_and_its_end_too() {
        use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
        use std::os::unix::fs::MetadataExt;

        let folder = tempfile::tempdir().expect("a folder");
        let meta = folder.path().metadata().expect("there");
        let numbers = (rustix::fs::major(meta.dev()), rustix::fs::minor(meta.dev()));
        let device = u64::from(numbers.0) << 20 | u64::from(numbers.1);
        assert!(!inodes(Path::new("/proc"), device).contains(&meta.ino()));
        let inotify = init(CreateFlags::CLOEXEC).expect("inotify");
        add_watch(&inotify, folder.path(), WatchFlags::CREATE).expect("a watch");
        assert!(inodes(Path::new("/proc"), device).contains(&meta.ino()));
        assert!(!inodes(Path::new("/proc"), device + 1).contains(&meta.ino()));
        drop(inotify);
        assert!(!inodes(Path::new("/proc"), device).contains(&meta.ino()));
    }
}
