//! Moves: nothing is sent.

use bucket::{Condition, CopyOptions, Error as BucketError, Etag, Key};

use super::transfer::too_long;
use super::{Outcome, Work};
use crate::entry::{Hash, Kind, LocalEntry, RemoteEntry, Seen, Stat};
use crate::error::Result;
use crate::path::TreePath;
use crate::plan::Sending;

impl Work<'_> {
    /// Gives an object the name that the local file has now.
    pub(crate) async fn move_remote(
        &self,
        from: &TreePath,
        to: &TreePath,
        remote: &RemoteEntry,
        kind: Kind,
        seen: Seen,
        hash: Hash,
    ) -> Result<Outcome> {
        let keys = &self.sides.keys;
        let pair = keys.entry(remote.kind, from).zip(keys.entry(kind, to));
        let Some((old, new)) = pair else {
            return Ok(too_long(to));
        };
        if !self.is_moved_here(from, to, (kind, seen.stat)).await? {
            return Ok(Outcome::Again);
        }
        let size = seen.stat.size;
        // Whatever becomes of the answer, the copy is known for ours.
        let sending = Sending {
            hash,
            size,
            etag: remote.etag.clone(),
            is_copy: true,
        };
        self.sides.state.begin_sending(to, &sending)?;
        let etag = self.copy(&old, &new, &remote.etag).await?;
        self.step("move in bucket: copied").await?;
        // Before the old name goes: a crash in between must not leave it known as what both
        // sides had, because a user may give the file its old name back meanwhile.
        let base = LocalEntry::alike(kind, size, hash, &etag, Some(seen));
        self.sides.state.record_moved(to, &base, from, &sending)?;
        self.step("move in bucket: recorded").await?;
        let gone = self.delete(&old, &remote.etag).await?;
        self.step("move in bucket: old name gone").await?;
        self.sides.state.forget(from, None)?;
        Ok(if gone { Outcome::Done } else { Outcome::Again })
    }

    /// Whether the folder is still as the plan saw it.
    async fn is_moved_here(
        &self,
        from: &TreePath,
        to: &TreePath,
        seen: (Kind, Stat),
    ) -> Result<bool> {
        let (old, new) = (from.clone(), to.clone());
        let stats = move |folder: &dyn crate::folder::Folder| {
            Ok::<_, crate::folder::FolderError>((folder.stat(&old)?, folder.stat(&new)?))
        };
        let (there, here) = self.local(stats).await?;
        Ok(there.is_none() && here == Some(seen))
    }

    /// Copies a version to a name that is free, or has that copy already.
    pub(crate) async fn copy(&self, from: &Key, to: &Key, etag: &Etag) -> Result<Etag> {
        let bucket = &self.sides.bucket;
        let condition = match self.sides.capabilities.copy_if_absent {
            true => Condition::Absent,
            false if self.exists(to).await? => return self.copied_before(to, etag).await,
            false => Condition::None,
        };
        let options = CopyOptions {
            source_if_match: Some(etag.clone()),
            condition,
            metadata: None,
        };
        match bucket.copy(from, to, options).await {
            Ok(outcome) => Ok(outcome.etag),
            Err(BucketError::Precondition { .. }) => self.copied_before(to, etag).await,
            Err(error) => Err(error.into()),
        }
    }

    /// A copy that an earlier pass made, and whose record was lost, is as good.
    async fn copied_before(&self, to: &Key, etag: &Etag) -> Result<Etag> {
        let there = self.sides.bucket.head(to).await?;
        match there.etag == *etag {
            true => Ok(there.etag),
            false => Err(BucketError::Precondition { key: to.clone() }.into()),
        }
    }

    /// Gives a local file the name that the object has now. The old name is asked for: a
    /// listing may be old.
    pub(crate) async fn move_local(
        &self,
        from: &TreePath,
        to: &TreePath,
        local: &LocalEntry,
        remote: &RemoteEntry,
        hash: Hash,
    ) -> Result<Outcome> {
        let Some(old) = self.sides.keys.entry(local.kind, from) else {
            return Ok(too_long(from));
        };
        if self.exists(&old).await? {
            return Ok(Outcome::Again);
        }
        self.step("move here: surely gone there").await?;
        let (source, target, stat) = (from.clone(), to.clone(), local.stat);
        let renamed = self
            .local(move |folder| folder.rename(&source, &stat, &target))
            .await?;
        self.step("move here: renamed").await?;
        let at = self.sides.folder.now();
        let seen = renamed.map(|stat| Seen { stat, at });
        let base = LocalEntry::alike(local.kind, stat.size, hash, &remote.etag, seen);
        let changes = [(to.clone(), Some(base)), (from.clone(), None)];
        self.sides.state.record_all(&changes)?;
        self.step("move here: recorded").await?;
        Ok(match renamed {
            Some(_) => Outcome::Done,
            None => Outcome::Again,
        })
    }
}
