//! The folder of cached bodies and how many bytes it may hold.

use std::collections::HashSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use crate::FsError;
use crate::body::{Body, BodyId, local_error, path_of};

/// The bodies of one workspace on this machine.
pub(crate) struct Cache {
    folder: PathBuf,
    total: Arc<AtomicU64>,
}

impl Cache {
    /// Opens (and makes) the folder.
    pub(crate) fn open(cache_dir: &Path) -> std::io::Result<Self> {
        let folder = cache_dir.join("bodies");
        std::fs::create_dir_all(&folder)?;
        Ok(Self {
            folder,
            total: Arc::new(AtomicU64::new(0)),
        })
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
        Body::create(&self.folder, BodyId::random(), Arc::clone(&self.total), length)
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
        let Ok(folders) = std::fs::read_dir(&self.folder) else {
            return;
        };
        let files = folders
            .flatten()
            .filter_map(|folder| std::fs::read_dir(folder.path()).ok())
            .flat_map(|files| files.flatten());
        for file in files {
            let name = file.file_name();
            let old = file
                .metadata()
                .and_then(|meta| meta.modified())
                .is_ok_and(|modified| modified < began);
            if old && name.to_str().is_none_or(|name| !known.contains(name)) {
                let _ = std::fs::remove_file(file.path());
            }
        }
    }
}
