//! The folder of cached bodies and how many bytes it may hold.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use parking_lot::Mutex;

use crate::FsError;
use crate::body::{Body, BodyId, BodyStamp, local_error, path_of};
use crate::clock;

/// The bodies of one workspace on this machine.
pub(crate) struct Cache {
    folder: PathBuf,
    total: Arc<AtomicU64>,
    stock: Mutex<Stock>,
}

/// Bodies of earlier mounts that nobody asked for yet.
struct Stock {
    /// They are counted in the total.
    resting: HashMap<String, Resting>,
    /// Bodies made or asked for, until the folder was looked through: they count themselves.
    taken: Option<HashSet<String>>,
}

struct Resting {
    bytes: u64,
    /// Nanoseconds since 1970.
    used: i128,
    /// The bucket has it too.
    clean: bool,
}

impl Cache {
    /// Opens (and makes) the folder.
    pub(crate) fn open(cache_dir: &Path) -> std::io::Result<Self> {
        let folder = bodies_folder(cache_dir);
        std::fs::create_dir_all(&folder)?;
        Ok(Self {
            folder,
            total: Arc::new(AtomicU64::new(0)),
            stock: Mutex::new(Stock {
                resting: HashMap::new(),
                taken: Some(HashSet::new()),
            }),
        })
    }

    /// Whether a kernel may be given bodies to be read, written and mapped without us: only
    /// where it tells of what mappings change. tmpfs keeps no times of that, overlayfs does
    /// not know who maps the file below, and some file systems know no leases.
    pub(crate) fn tells_of_mappings(&self) -> bool {
        // statfs(2): tmpfs, ramfs, overlayfs.
        const UNTOLD: [u32; 3] = [0x0102_1994, 0x8584_58f6, 0x794c_7630];
        let untold = rustix::fs::statfs(&self.folder).is_ok_and(|found| {
            u32::try_from(found.f_type).is_ok_and(|kind| UNTOLD.contains(&kind))
        });
        let asked = || {
            let (body, file) = self.create().ok()?;
            let seen = body.has_writers().ok()?;
            drop(file);
            let over = !body.has_writers().ok()?;
            body.discard();
            Some(seen && over)
        };
        !untold && asked() == Some(true)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Bytes of bodies on disk, clean and dirty; those of earlier mounts from
    /// [`Self::take_stock`] on.
    pub(crate) fn bytes(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// An empty body for a file written here.
    pub(crate) fn create(&self) -> Result<(Arc<Body>, Arc<File>), FsError> {
        self.make(None)
    }

    /// A sparse body of `length` bytes to be fetched.
    pub(crate) fn sparse(&self, length: u64) -> Result<(Arc<Body>, Arc<File>), FsError> {
        self.make(Some(length))
    }

    fn make(&self, length: Option<u64>) -> Result<(Arc<Body>, Arc<File>), FsError> {
        let id = BodyId::random();
        self.stock.lock().take(id.as_str());
        Body::create(&self.folder, id, Arc::clone(&self.total), length)
            .map_err(|error| local_error(&error))
    }

    /// A whole body from an earlier mount, if its file is there with this size.
    pub(crate) fn reopen(&self, id: BodyId, size: Option<u64>) -> Option<(Arc<Body>, u64)> {
        let mut stock = self.stock.lock();
        let found = std::fs::metadata(path_of(&self.folder, &id)).ok()?.len();
        if size.is_some_and(|size| size != found) {
            return None;
        }
        if let Some(resting) = stock.take(id.as_str()) {
            self.total.fetch_sub(resting.bytes, Ordering::Relaxed);
        }
        let body = Body::reopen(&self.folder, id, Arc::clone(&self.total), found);
        Some((body, found))
    }

    /// How a body's file looks, if it is there.
    pub(crate) fn look_at(&self, id: &BodyId) -> Option<BodyStamp> {
        let meta = std::fs::metadata(path_of(&self.folder, id)).ok()?;
        Some(BodyStamp::of(&meta))
    }

    /// Counts the bodies of earlier mounts; `clean` are those that the bucket has too. Of the
    /// others removes those from before `began` (left by a crash), if that is given.
    pub(crate) fn take_stock(&self, clean: &HashSet<String>, began: Option<SystemTime>) {
        let began = began.map(clock::to_nanos);
        let folders = std::fs::read_dir(&self.folder);
        let files = folders
            .into_iter()
            .flat_map(|folders| folders.flatten())
            .filter_map(|folder| std::fs::read_dir(folder.path()).ok())
            .flat_map(|files| files.flatten());
        for file in files {
            let Ok(meta) = file.metadata() else {
                continue;
            };
            let name = file.file_name().to_string_lossy().into_owned();
            let mut stock = self.stock.lock();
            if stock
                .taken
                .as_ref()
                .is_some_and(|taken| taken.contains(&name))
            {
                continue;
            }
            let clean = clean.contains(&name);
            // By `ctime`, which no program sets: a body written since may have been given an old
            // `mtime` by then (tar, cp -p).
            let changed = meta.ctime() * 1_000_000_000 + meta.ctime_nsec();
            if !clean && began.is_some_and(|began| changed < began) {
                let _ = std::fs::remove_file(file.path());
                continue;
            }
            let bytes = match clean {
                true => meta.len(),
                false => meta.len().min(meta.blocks() * 512),
            };
            let read = i128::from(meta.atime()) * 1_000_000_000 + i128::from(meta.atime_nsec());
            let resting = Resting {
                bytes,
                used: read.max(i128::from(changed)),
                clean,
            };
            stock.resting.insert(name, resting);
            self.total.fetch_add(bytes, Ordering::Relaxed);
        }
        self.stock.lock().taken = None;
    }

    /// Lets bodies of earlier mounts go that the bucket has too, the longest unused first,
    /// until `bytes` are free. Says how many are.
    pub(crate) fn evict_resting(&self, bytes: u64) -> u64 {
        let mut stock = self.stock.lock();
        let mut oldest: Vec<(i128, String)> = stock
            .resting
            .iter()
            .filter(|(_, resting)| resting.clean)
            .map(|(name, resting)| (resting.used, name.clone()))
            .collect();
        oldest.sort_unstable();
        let mut freed = 0;
        for (_, name) in oldest {
            if freed >= bytes {
                break;
            }
            let Some(id) = BodyId::parse(&name) else {
                continue;
            };
            if let Some(resting) = stock.resting.remove(&name)
                && std::fs::remove_file(path_of(&self.folder, &id)).is_ok()
            {
                freed += resting.bytes;
                self.total.fetch_sub(resting.bytes, Ordering::Relaxed);
            }
        }
        freed
    }
}

impl Stock {
    /// From now on the body counts itself.
    fn take(&mut self, id: &str) -> Option<Resting> {
        if let Some(taken) = &mut self.taken {
            taken.insert(id.to_owned());
        }
        self.resting.remove(id)
    }
}

/// Where bodies lie in a workspace's cache folder.
pub(crate) fn bodies_folder(cache_dir: &Path) -> PathBuf {
    cache_dir.join("bodies")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn cache() -> (tempfile::TempDir, Cache) {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache::open(folder.path()).expect("opens");
        (folder, cache)
    }

    #[test]
    fn a_sweep_spares_what_was_written_since_whatever_its_time_says() {
        let (folder, cache) = cache();
        let (body, file) = cache.create().expect("a body");
        file.set_modified(SystemTime::UNIX_EPOCH)
            .expect("an old time");
        let path = path_of(cache.folder(), body.id());
        let name = body.id().as_str().to_owned();
        let now = SystemTime::now();
        let later = Some(now + Duration::from_secs(10));
        cache.take_stock(&HashSet::new(), later);
        assert!(path.exists(), "made by this mount");
        let after = |known: &HashSet<String>, began| {
            let next = Cache::open(folder.path()).expect("opens");
            next.take_stock(known, began);
            path.exists()
        };
        let earlier = Some(now - Duration::from_secs(10));
        assert!(after(&HashSet::new(), earlier), "written since");
        assert!(after(&HashSet::from([name]), later), "known");
        assert!(after(&HashSet::new(), None), "not to be swept");
        assert!(!after(&HashSet::new(), later), "left by a crash");
    }

    #[test]
    fn what_is_fetched_after_the_discard_counts_for_nothing() {
        let (_folder, cache) = cache();
        let (body, file) = cache.sparse(100).expect("a body");
        body.fill(&file, 0, &[1; 40]).expect("fills");
        assert_eq!(cache.bytes(), 40);
        body.discard();
        assert_eq!(cache.bytes(), 0);
        body.fill(&file, 40, &[1; 60]).expect("fills");
        body.recount(100);
        body.discard();
        assert_eq!(cache.bytes(), 0);
    }

    #[test]
    fn a_file_that_was_cut_counts_for_what_is_left() {
        let (_folder, cache) = cache();
        let (body, _file) = cache.create().expect("a body");
        body.recount(100);
        body.recount(30);
        assert_eq!(cache.bytes(), 30);
    }

    #[test]
    fn bodies_of_earlier_mounts_are_counted_once_and_the_oldest_clean_one_goes_first() {
        let (folder, before) = cache();
        let make = |size: usize| {
            let (body, file) = before.sparse(size as u64).expect("a body");
            body.fill(&file, 0, &vec![1; size]).expect("fills");
            body.id().as_str().to_owned()
        };
        let (old, young, dirty) = (make(100), make(200), make(400));
        let id = |name: &str| BodyId::parse(name).expect("an id");
        let open = |name: &str| {
            let path = path_of(before.folder(), &id(name));
            std::fs::File::options()
                .write(true)
                .open(path)
                .expect("opens")
        };
        let times = |at: SystemTime| std::fs::FileTimes::new().set_accessed(at);
        let later = SystemTime::now() + Duration::from_secs(100);
        open(&young).set_times(times(later)).expect("a time");
        let cache = Cache::open(folder.path()).expect("opens");
        let clean = HashSet::from([old.clone(), young.clone()]);
        cache.take_stock(&clean, None);
        // The unknown one counts as the blocks that it takes, at most its length.
        assert!((300..=700).contains(&cache.bytes()), "{}", cache.bytes());
        let before_ = cache.bytes();
        assert_eq!(cache.evict_resting(1), 100);
        assert_eq!(cache.bytes(), before_ - 100);
        assert!(cache.look_at(&id(&old)).is_none());
        let (body, _) = cache.reopen(id(&young), Some(200)).expect("there");
        assert_eq!(cache.bytes(), before_ - 100, "counted once");
        assert_eq!(
            cache.evict_resting(1000),
            0,
            "neither in use nor the only copy"
        );
        assert!(cache.look_at(&id(&dirty)).is_some());
        body.discard();
        assert_eq!(cache.bytes(), before_ - 300);
    }
}
