//! Modification times of files whose content both sides have already.

use super::{Outcome, Work};
use crate::entry::{BaseEntry, Hash, LocalEntry, RemoteEntry, Seen};
use crate::error::Result;
use crate::path::TreePath;

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

    /// Gives an object the time that its local file has. It is sent once more: to copy it onto
    /// itself would be less, but stores were seen to let such a copy undo another machine's
    /// write in between, whatever its conditions.
    pub(crate) async fn send_time(
        &self,
        path: &TreePath,
        local: &LocalEntry,
        remote: &RemoteEntry,
        at: i64,
        hash: Hash,
    ) -> Result<Outcome> {
        let is_small = local.stat.size <= self.settings.large;
        if is_small && self.sides.capabilities.put_if_match {
            return self.upload(path, local, Some(remote)).await;
        }
        // Too much to send for a time, or not safe: the bucket keeps the one that it has.
        let seen = Seen {
            stat: local.stat,
            at,
        };
        let size = local.stat.size;
        let base = BaseEntry {
            modified: Some(remote.modified),
            ..LocalEntry::alike(local.kind, size, hash, &remote.etag, Some(seen))
        };
        self.sides.state.record(path, &base)?;
        self.step("time in bucket: left").await?;
        Ok(Outcome::Done)
    }
}
