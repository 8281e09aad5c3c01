//! Modification times of files whose content both sides have already.

use bucket::{Condition, CopyOptions, Error as BucketError, Etag, Key};
use model::file_metadata;

use super::transfer::too_long;
use super::{Outcome, Work};
use crate::entry::{BaseEntry, Hash, LocalEntry, RemoteEntry, Seen};
use crate::error::Result;
use crate::path::TreePath;

/// A file up to this size is sent once more where its object's time cannot be set safely.
const SENT_AGAIN: u64 = 1 << 20;

impl Work<'_> {
    /// Gives a local file the time that its object has.
    pub(crate) async fn set_time(
        &self,
        path: &TreePath,
        local: &LocalEntry,
        remote: &RemoteEntry,
        mtime: i64,
        hash: Hash,
    ) -> Result<Outcome> {
        let (of, stat) = (path.clone(), local.stat);
        self.local(move |folder| folder.set_time(&of, &stat, mtime))
            .await?;
        self.step("time here: set").await?;
        // Whoever wrote in the same moment would not be seen by the time that is there now: how
        // the file looks is known once it was read again.
        let base = BaseEntry {
            modified: Some(remote.modified),
            ..LocalEntry::alike(local.kind, local.stat.size, hash, &remote.etag, None)
        };
        self.sides.state.record(path, &base)?;
        self.step("time here: recorded").await?;
        Ok(Outcome::Done)
    }

    /// Gives an object the time that its local file has.
    pub(crate) async fn send_time(
        &self,
        path: &TreePath,
        local: &LocalEntry,
        remote: &RemoteEntry,
        at: i64,
        hash: Hash,
    ) -> Result<Outcome> {
        let Some(key) = self.sides.keys.entry(local.kind, path) else {
            return Ok(too_long(path));
        };
        let of = path.clone();
        let now = self.local(move |folder| folder.stat(&of)).await?;
        if now != Some((local.kind, local.stat)) {
            return Ok(Outcome::Again);
        }
        let can = &self.sides.capabilities;
        // A copy makes one part of several, which other machines would take for new content.
        let is_one_part = !remote.etag.as_str().contains('-');
        let mut modified = None;
        let etag = if can.copy_if_match && is_one_part {
            let etag = self.stamp(&key, remote, local.stat.mtime).await?;
            self.step("time in bucket: set").await?;
            etag
        } else if can.put_if_match && local.stat.size <= SENT_AGAIN {
            return self.upload(path, local, Some(remote)).await;
        } else {
            // Too much to send for a time: the bucket keeps the one that it has.
            modified = Some(remote.modified);
            remote.etag.clone()
        };
        let seen = Seen {
            stat: local.stat,
            at,
        };
        let size = local.stat.size;
        let base = BaseEntry {
            modified,
            ..LocalEntry::alike(local.kind, size, hash, &etag, Some(seen))
        };
        self.sides.state.record(path, &base)?;
        self.step("time in bucket: recorded").await?;
        Ok(Outcome::Done)
    }

    /// Copies a version onto itself with another time; all else that it says stays.
    async fn stamp(&self, key: &Key, remote: &RemoteEntry, mtime: i64) -> Result<Etag> {
        let bucket = &self.sides.bucket;
        let mut metadata = bucket.head(key).await?.metadata;
        metadata.insert("mtime".to_owned(), file_metadata::mtime_text(mtime));
        let options = CopyOptions {
            source_if_match: Some(remote.etag.clone()),
            condition: Condition::Matches(remote.etag.clone()),
            metadata: Some(metadata),
        };
        match bucket.copy(key, key, options).await {
            Ok(outcome) => Ok(outcome.etag),
            Err(error @ BucketError::Unsupported { .. }) => {
                tracing::info!(%key, %error, "its time stays as it is");
                Ok(remote.etag.clone())
            }
            Err(error) => Err(error.into()),
        }
    }
}
