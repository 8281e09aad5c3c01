//! Large files on their way up: in parts, gone on with, and never a mixture of two versions.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bucket::{Bucket, Error as BucketError, Etag, Key, Metadata, Resume};
use parking_lot::Mutex;

use super::Work;
use crate::entry::{Hash, LocalEntry};
use crate::error::{Result, SyncError};
use crate::folder::{self, Folder};
use crate::path::TreePath;
use crate::plan::Sending;
use crate::state::{PartialUpload, State};
use crate::steps::Steps;

/// How long a half sent file waits for somebody to go on with it, in nanoseconds.
pub(crate) const ABANDONED: i64 = 24 * 3_600 * 1_000_000_000;

/// One upload in parts.
pub(crate) struct Parts {
    bucket: Arc<dyn Bucket>,
    folder: Arc<dyn Folder>,
    state: Arc<State>,
    steps: Arc<dyn Steps>,
    path: TreePath,
    key: Key,
    local: LocalEntry,
    hash: Hash,
    about: String,
    is_changed: AtomicBool,
    /// What ended it that is not the store's.
    failed: Mutex<Option<SyncError>>,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Parts").field(&self.path).finish()
    }
}

impl Parts {
    pub(crate) fn of(
        work: &Work<'_>,
        path: &TreePath,
        key: &Key,
        local: &LocalEntry,
        hash: Hash,
        metadata: &Metadata,
    ) -> Self {
        let sides = work.sides;
        // An upload bears what was said when it was begun.
        let about: Vec<String> = metadata.iter().map(|(n, v)| format!("{n} {v}")).collect();
        Self {
            bucket: Arc::clone(&sides.bucket),
            folder: Arc::clone(&sides.folder),
            state: Arc::clone(&sides.state),
            steps: Arc::clone(&sides.steps),
            path: path.clone(),
            key: key.clone(),
            local: local.clone(),
            hash,
            about: about.join(", "),
            is_changed: AtomicBool::new(false),
            failed: Mutex::default(),
        }
    }

    /// Whether the file was found changed before it was whole in the bucket.
    pub(crate) fn is_changed(&self) -> bool {
        self.is_changed.load(Ordering::Relaxed)
    }

    /// What ended the upload, if it was not the store.
    pub(crate) fn failed(&self) -> Option<SyncError> {
        self.failed.lock().take()
    }

    /// Forgets the upload, unless it ended so that it can be gone on with.
    pub(crate) fn ended(&self, error: Option<&BucketError>) -> Result<()> {
        match error {
            Some(error) if error.leaves_upload() => Ok(()),
            _ => Ok(self.state.forget_upload(&self.path)?),
        }
    }

    fn note<T>(&self, answer: Result<T>) -> bucket::Result<T> {
        answer.map_err(|error| {
            let reason = error.to_string();
            self.failed.lock().get_or_insert(error);
            // Of the kind that leaves the upload as it is.
            BucketError::Unreachable {
                endpoint: self.key.to_string(),
                reason,
            }
        })
    }

    async fn step(&self, step: &'static str) -> bucket::Result<()> {
        self.note(self.steps.reached(step).await.map_err(SyncError::from))
    }

    async fn is_as_planned(&self) -> Result<bool> {
        let path = self.path.clone();
        let now = folder::call(&self.folder, move |folder| folder.stat(&path)).await?;
        Ok(now == Some((self.local.kind, self.local.stat)))
    }
}

#[async_trait]
impl Resume for Parts {
    async fn known(&self) -> Option<String> {
        let known = self.state.upload(&self.path).ok()??;
        if known.key == self.key.as_str() && known.about == self.about {
            return Some(known.upload);
        }
        // Of another version of the file.
        if let Ok(key) = Key::new(known.key) {
            let _ = self.bucket.abandon(&key, &known.upload).await;
        }
        None
    }

    async fn begun(&self, upload: &str) -> bucket::Result<()> {
        let row = PartialUpload {
            path: self.path.clone(),
            key: self.key.as_str().to_owned(),
            upload: upload.to_owned(),
            about: self.about.clone(),
            begun: self.folder.now(),
        };
        self.note(self.state.begin_upload(&row).map_err(SyncError::from))?;
        self.step("upload: parts begun").await
    }

    async fn sent(&self) -> bucket::Result<()> {
        self.step("upload: part sent").await
    }

    async fn may_complete(&self, etag: Option<&Etag>) -> bucket::Result<bool> {
        self.step("upload: parts sent").await?;
        if !self.note(self.is_as_planned().await)? {
            self.is_changed.store(true, Ordering::Relaxed);
            return Ok(false);
        }
        if let Some(etag) = etag {
            let sending = Sending {
                hash: self.hash,
                size: self.local.stat.size,
                etag: etag.clone(),
                is_copy: false,
            };
            let begun = self.state.begin_sending(&self.path, &sending);
            self.note(begun.map_err(SyncError::from))?;
        }
        self.step("upload: to be put together").await?;
        Ok(true)
    }
}
