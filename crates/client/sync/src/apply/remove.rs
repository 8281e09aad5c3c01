//! Deletions, and empty directories.

use bucket::{Body, Condition, CopyOptions, Error as BucketError, Etag, Key, PutOptions};

use super::transfer::too_long;
use super::{Outcome, Work};
use crate::entry::{LocalEntry, RemoteEntry};
use crate::error::Result;
use crate::path::TreePath;
use crate::state::Tombstone;

impl Work<'_> {
    /// Deletes an object that the user deleted here, if both sides are still so. A copy goes
    /// to the bucket's trash.
    pub(crate) async fn delete_remote(
        &self,
        path: &TreePath,
        remote: &RemoteEntry,
    ) -> Result<Outcome> {
        let Some(key) = self.sides.keys.entry(remote.kind, path) else {
            return Ok(too_long(path));
        };
        let of = path.clone();
        if self.local(move |folder| folder.stat(&of)).await?.is_some() {
            return Ok(Outcome::Again);
        }
        if let Some(failed) = self.trash_remote(path, remote).await? {
            return Ok(failed);
        }
        self.step("delete in bucket: in the trash").await?;
        // Whatever becomes of the answer: should the file be here again by then, it is the
        // user's, and not deleted elsewhere.
        let begun = self.tombstone(&remote.etag, true);
        self.sides.state.begin_deleting(path, &begun)?;
        if !self.delete(&key, &remote.etag).await? {
            self.sides.state.end_deleting(path)?;
            return Ok(Outcome::Again);
        }
        self.step("delete in bucket: gone").await?;
        self.bury(path, &remote.etag, true)?;
        Ok(Outcome::Done)
    }

    /// Puts an object that a rule leaves out into the bucket's trash.
    pub(crate) async fn prune_one(&self, path: &TreePath, remote: &RemoteEntry) -> Result<Outcome> {
        let Some(key) = self.sides.keys.entry(remote.kind, path) else {
            return Ok(too_long(path));
        };
        if let Some(failed) = self.trash_remote(path, remote).await? {
            return Ok(failed);
        }
        match self.delete(&key, &remote.etag).await? {
            true => Ok(Outcome::Done),
            false => Ok(Outcome::Again),
        }
    }

    /// Copies an object into the bucket's trash. Gives what becomes of the action where that
    /// cannot be: what could not be brought back is not taken away.
    pub(crate) async fn trash_remote(
        &self,
        path: &TreePath,
        remote: &RemoteEntry,
    ) -> Result<Option<Outcome>> {
        let keys = &self.sides.keys;
        let place = format!("trash/{}/{path}", self.pass.name);
        let Some(from) = keys.entry(remote.kind, path) else {
            return Ok(Some(too_long(path)));
        };
        let Some(to) = keys.hidden(&place) else {
            return Ok(Some(no_trash(
                "its path is too long for the bucket's trash",
            )));
        };
        if !self.sides.capabilities.copy {
            return Ok(Some(no_trash(
                "the store makes no copies for the bucket's trash",
            )));
        }
        self.take(path, remote.kind, false)?;
        let options = CopyOptions {
            source_if_match: Some(remote.etag.clone()),
            ..CopyOptions::default()
        };
        match self.sides.bucket.copy(&from, &to, options).await {
            Ok(_) | Err(BucketError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Puts a file into the trash that was deleted elsewhere, if both sides are still so. The
    /// object is asked for by name: a listing may be old.
    pub(crate) async fn delete_local(
        &self,
        path: &TreePath,
        local: &LocalEntry,
    ) -> Result<Outcome> {
        let Some(key) = self.sides.keys.entry(local.kind, path) else {
            return Ok(too_long(path));
        };
        if self.exists(&key).await? {
            return Ok(Outcome::Again);
        }
        self.step("delete here: surely gone there").await?;
        self.take(path, local.kind, true)?;
        let (of, stat, trash) = (path.clone(), local.stat, self.pass.name.clone());
        self.local(move |folder| folder.discard(&of, &stat, &trash))
            .await?;
        self.step("delete here: in the trash").await?;
        self.bury(path, &Etag::new(""), false)?;
        Ok(Outcome::Done)
    }

    fn bury(&self, path: &TreePath, etag: &Etag, here: bool) -> Result<()> {
        let tombstone = self.tombstone(etag, here);
        Ok(self.sides.state.forget(path, Some(&tombstone))?)
    }

    fn tombstone(&self, etag: &Etag, here: bool) -> Tombstone {
        Tombstone {
            etag: etag.as_str().to_owned(),
            here,
            at: self.sides.folder.now(),
        }
    }

    pub(crate) async fn make_directory(&self, path: &TreePath) -> Result<Outcome> {
        let of = path.clone();
        self.local(move |folder| folder.make_directory(&of)).await?;
        self.step("directory made").await?;
        Ok(Outcome::Done)
    }

    pub(crate) async fn remove_directory(&self, path: &TreePath) -> Result<Outcome> {
        let of = path.clone();
        let gone = self
            .local(move |folder| folder.remove_directory(&of))
            .await?;
        self.step("directory removed").await?;
        Ok(if gone { Outcome::Done } else { Outcome::Again })
    }

    pub(crate) async fn put_marker(&self, path: &TreePath) -> Result<Outcome> {
        let Some(key) = self.sides.keys.directory(path) else {
            return Ok(too_long(path));
        };
        let condition = match self.sides.capabilities.put_if_absent {
            true => Condition::Absent,
            false => Condition::None,
        };
        match self.put_empty(&key, condition).await {
            Ok(()) => {}
            Err(BucketError::Precondition { .. }) if !self.put_onto_directory(&key).await? => {
                return Ok(Outcome::Again);
            }
            Err(BucketError::Precondition { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        self.step("marker put").await?;
        Ok(Outcome::Done)
    }

    /// A store that keeps objects as files says of a directory that it is there, though no
    /// listing has it, and takes no condition for it. So what is there and has no bytes is
    /// written over; nobody writes bytes under such a name, and those that are there stay. Says
    /// whether the marker is there now.
    async fn put_onto_directory(&self, key: &Key) -> Result<bool> {
        match self.sides.bucket.head(key).await {
            Ok(there) if there.size > 0 => Ok(true),
            Ok(_) => {
                self.put_empty(key, Condition::None).await?;
                Ok(true)
            }
            Err(BucketError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn put_empty(&self, key: &Key, condition: Condition) -> bucket::Result<()> {
        let options = PutOptions {
            condition,
            ..PutOptions::default()
        };
        let empty = Body::Bytes(bytes::Bytes::new());
        self.sides.bucket.put(key, empty, options).await.map(drop)
    }

    pub(crate) async fn delete_marker(&self, path: &TreePath, etag: &Etag) -> Result<Outcome> {
        let Some(key) = self.sides.keys.directory(path) else {
            return Ok(too_long(path));
        };
        let gone = self.delete(&key, etag).await?;
        self.step("marker deleted").await?;
        Ok(if gone { Outcome::Done } else { Outcome::Again })
    }
}

fn no_trash(why: &str) -> Outcome {
    Outcome::Failed(format!(
        "{why}, so it stays in the bucket until it is deleted there by other means"
    ))
}
