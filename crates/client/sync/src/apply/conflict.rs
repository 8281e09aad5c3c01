//! Two versions of one name: both are kept.

use super::transfer::too_long;
use super::{Outcome, Work};
use crate::entry::{LocalEntry, RemoteEntry};
use crate::error::Result;
use crate::path::TreePath;

impl Work<'_> {
    /// The local version goes up beside the bucket's.
    pub(crate) async fn keep_theirs(
        &self,
        path: &TreePath,
        copy: &TreePath,
        local: &LocalEntry,
        remote: &RemoteEntry,
    ) -> Result<Outcome> {
        let aside = self.set_local_aside(path, copy, local).await?;
        let fetched = self.download(path, remote, None).await?;
        Ok(both(aside, fetched))
    }

    /// Renames the local file, and sends it under its new name.
    pub(crate) async fn set_local_aside(
        &self,
        path: &TreePath,
        copy: &TreePath,
        local: &LocalEntry,
    ) -> Result<Outcome> {
        let (from, to, stat) = (path.clone(), copy.clone(), local.stat);
        let renamed = self
            .local(move |folder| folder.rename(&from, &stat, &to))
            .await?;
        self.step("conflict: ours is aside").await?;
        let Some(stat) = renamed else {
            return Ok(Outcome::Again);
        };
        let renamed = LocalEntry {
            stat,
            ..local.clone()
        };
        self.upload(copy, &renamed, None).await
    }

    /// The bucket's version is copied beside ours, or to the bucket's trash; then ours goes
    /// onto it.
    pub(crate) async fn keep_ours(
        &self,
        path: &TreePath,
        copy: Option<&TreePath>,
        local: &LocalEntry,
        remote: &RemoteEntry,
    ) -> Result<Outcome> {
        let Some(copy) = copy else {
            if let Some(failed) = self.trash_remote(path, remote).await? {
                return Ok(failed);
            }
            self.step("conflict: theirs is in the trash").await?;
            return self.upload(path, local, Some(remote)).await;
        };
        let Some(there) = self.copy_aside(path, copy, remote).await? else {
            return Ok(too_long(copy));
        };
        let sent = self.upload(path, local, Some(remote)).await?;
        let fetched = self.download(copy, &there, None).await?;
        Ok(both(sent, fetched))
    }

    /// Renames an object.
    pub(crate) async fn set_remote_aside(
        &self,
        path: &TreePath,
        copy: &TreePath,
        remote: &RemoteEntry,
    ) -> Result<Outcome> {
        let Some(key) = self.sides.keys.entry(remote.kind, path) else {
            return Ok(too_long(path));
        };
        if self.copy_aside(path, copy, remote).await?.is_none() {
            return Ok(too_long(copy));
        }
        self.delete(&key, &remote.etag).await?;
        self.step("conflict: the name is free").await?;
        // The next pass fetches the copy.
        Ok(Outcome::Again)
    }

    async fn copy_aside(
        &self,
        path: &TreePath,
        copy: &TreePath,
        remote: &RemoteEntry,
    ) -> Result<Option<RemoteEntry>> {
        let keys = &self.sides.keys;
        let pair = keys
            .entry(remote.kind, path)
            .zip(keys.entry(remote.kind, copy));
        let Some((from, to)) = pair else {
            return Ok(None);
        };
        let etag = self.copy(&from, &to, &remote.etag).await?;
        self.step("conflict: theirs is aside").await?;
        let there = RemoteEntry {
            etag,
            ..remote.clone()
        };
        Ok(Some(there))
    }
}

/// The worse of two outcomes.
fn both(first: Outcome, second: Outcome) -> Outcome {
    match (first, second) {
        (failed @ Outcome::Failed(_), _) | (_, failed @ Outcome::Failed(_)) => failed,
        (Outcome::Again, _) | (_, Outcome::Again) => Outcome::Again,
        (Outcome::Done, Outcome::Done) => Outcome::Done,
    }
}
