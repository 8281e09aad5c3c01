//! The folder of cached bodies and how many bytes it may hold.

use std::collections::HashSet;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use crate::FsError;
use crate::body::{Body, BodyId, local_error, path_of};
use crate::clock;

/// The bodies of one workspace on this machine.
pub(crate) struct Cache {
    folder: PathBuf,
    total: Arc<AtomicU64>,
}

impl Cache {
    /// Opens (and makes) the folder.
    pub(crate) fn open(cache_dir: &Path) -> std::io::Result<Self> {
        let folder = bodies_folder(cache_dir);
        std::fs::create_dir_all(&folder)?;
        Ok(Self {
            folder,
            total: Arc::new(AtomicU64::new(0)),
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

    /// Bytes of bodies on disk, clean and dirty.
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
        Body::create(
            &self.folder,
            BodyId::random(),
            Arc::clone(&self.total),
            length,
        )
        .map_err(|error| local_error(&error))
    }

    /// A whole body from an earlier mount, if its file is there with this size.
    pub(crate) fn reopen(&self, id: BodyId, size: Option<u64>) -> Option<(Arc<Body>, u64)> {
        let found = std::fs::metadata(path_of(&self.folder, &id)).ok()?.len();
        if size.is_some_and(|size| size != found) {
            return None;
        }
        let body = Body::reopen(&self.folder, id, Arc::clone(&self.total), found);
        Some((body, found))
    }

    /// Removes every body from before `began` that nobody knows (left by a crash).
    pub(crate) fn sweep(&self, known: &HashSet<String>, began: SystemTime) {
        let began = clock::to_nanos(began);
        let Ok(folders) = std::fs::read_dir(&self.folder) else {
            return;
        };
        let files = folders
            .flatten()
            .filter_map(|folder| std::fs::read_dir(folder.path()).ok())
            .flat_map(|files| files.flatten());
        for file in files {
            let name = file.file_name();
            // By `ctime`, which no program sets: a body written since may have been given an old
            // `mtime` by then (tar, cp -p).
            let changed =
                |meta: std::fs::Metadata| meta.ctime() * 1_000_000_000 + meta.ctime_nsec();
            let old = file.metadata().is_ok_and(|meta| changed(meta) < began);
            if old && name.to_str().is_none_or(|name| !known.contains(name)) {
                let _ = std::fs::remove_file(file.path());
            }
        }
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

    #[test]
    fn a_sweep_spares_what_was_written_since_whatever_its_time_says() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache::open(folder.path()).expect("opens");
        let (body, file) = cache.create().expect("a body");
        file.set_modified(SystemTime::UNIX_EPOCH)
            .expect("an old time");
        let now = SystemTime::now();
        cache.sweep(&HashSet::new(), now - Duration::from_secs(10));
        body.stamp().expect("still there");
        cache.sweep(
            &HashSet::from([body.id().as_str().to_owned()]),
            now + Duration::from_secs(10),
        );
        let path = path_of(cache.folder(), body.id());
        assert!(path.exists(), "known");
        cache.sweep(&HashSet::new(), now + Duration::from_secs(10));
        assert!(!path.exists(), "left by a crash");
    }
}
