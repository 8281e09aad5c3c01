//! Files on their way, in both directions.

use bucket::{Body, Condition, Error as BucketError, Etag, GetOptions, Key, Metadata, PutOptions};
use futures::StreamExt;
use model::file_metadata;

use super::{Outcome, Work};
use crate::entry::{BaseEntry, Hash, LocalEntry, RemoteEntry, Seen, Stat};
use crate::error::Result;
use crate::folder::{About, FolderError, Reading, Ready};
use crate::path::TreePath;
use crate::plan::Sending;
use crate::state::Taken;

impl Work<'_> {
    /// Sends a file, if it is still what the plan saw, onto what the plan saw.
    pub(crate) async fn upload(
        &self,
        path: &TreePath,
        local: &LocalEntry,
        over: Option<&RemoteEntry>,
    ) -> Result<Outcome> {
        let Some(key) = self.sides.keys.entry(local.kind, path) else {
            return Ok(too_long(path));
        };
        let (kind, stat, of) = (local.kind, local.stat, path.clone());
        let at = self.sides.folder.now();
        let reading = self
            .local(move |folder| folder.read(&of, kind, &stat))
            .await?;
        let sending = Sending {
            hash: reading.hash,
            size: local.stat.size,
            etag: Etag::new(&hex::encode(reading.md5)),
            is_copy: false,
        };
        self.sides.state.begin_sending(path, &sending)?;
        self.step("upload: about to send").await?;
        let other_kind = over.filter(|over| over.kind != local.kind);
        if let Some(over) = other_kind
            && !self.clear(path, over).await?
        {
            return Ok(Outcome::Again);
        }
        let over = over.filter(|_| other_kind.is_none());
        let is_whole = matches!(reading.body, Body::Bytes(_));
        let etag = self.put(&key, local, reading, over).await?;
        self.step("upload: sent").await?;
        let of = path.clone();
        let now = self.local(move |folder| folder.stat(&of)).await?;
        let is_same = now == Some((local.kind, local.stat));
        let hash = match is_same || is_whole {
            true => sending.hash,
            // What was read while somebody wrote is no version of the file: the next pass
            // sends a whole one onto it.
            false => Hash([0; 32]),
        };
        let stat = local.stat;
        let seen = is_same.then_some(Seen { stat, at });
        let base = LocalEntry::alike(local.kind, stat.size, hash, &etag, seen);
        self.sides.state.record(path, &base)?;
        self.step("upload: recorded").await?;
        Ok(if is_same {
            Outcome::Done
        } else {
            Outcome::Again
        })
    }

    /// Removes what has this name in the bucket under the other kind's key.
    async fn clear(&self, path: &TreePath, over: &RemoteEntry) -> Result<bool> {
        let Some(key) = self.sides.keys.entry(over.kind, path) else {
            return Ok(true);
        };
        let gone = self.delete(&key, &over.etag).await?;
        self.step("upload: other kind removed").await?;
        Ok(gone)
    }

    async fn put(
        &self,
        key: &Key,
        local: &LocalEntry,
        reading: Reading,
        over: Option<&RemoteEntry>,
    ) -> Result<Etag> {
        let condition = self.condition(key, over.map(|over| &over.etag)).await?;
        let mode = if reading.executable { "755" } else { "644" };
        let metadata = Metadata::from([
            (
                "mtime".to_owned(),
                file_metadata::mtime_text(local.stat.mtime),
            ),
            ("mode".to_owned(), mode.to_owned()),
        ]);
        let options = PutOptions {
            condition,
            metadata,
            meter: None,
        };
        Ok(self
            .sides
            .bucket
            .put(key, reading.body, options)
            .await?
            .etag)
    }

    /// The condition of a write. A store that does not honour it is asked before.
    async fn condition(&self, key: &Key, over: Option<&Etag>) -> Result<Condition> {
        let honoured = match over {
            Some(_) => self.sides.capabilities.put_if_match,
            None => self.sides.capabilities.put_if_absent,
        };
        if !honoured {
            let there = match self.sides.bucket.head(key).await {
                Ok(meta) => Some(meta.etag),
                Err(BucketError::NotFound { .. }) => None,
                Err(error) => return Err(error.into()),
            };
            if there.as_ref() != over {
                return Err(BucketError::Precondition { key: key.clone() }.into());
            }
            return Ok(Condition::None);
        }
        Ok(over.map_or(Condition::Absent, |etag| Condition::Matches(etag.clone())))
    }

    /// Fetches an object, if it is still what the plan saw, onto what the plan saw.
    pub(crate) async fn download(
        &self,
        path: &TreePath,
        remote: &RemoteEntry,
        over: Option<&Stat>,
    ) -> Result<Outcome> {
        let Some(key) = self.sides.keys.entry(remote.kind, path) else {
            return Ok(too_long(path));
        };
        let (ready, hash) = self.receive(&key, path, remote).await?;
        self.step("download: received").await?;
        if over.is_some() {
            self.take(path, remote.kind, true)?;
        }
        let (to, over, trash) = (path.clone(), over.copied(), self.pass.name.clone());
        let installed = self
            .local(move |_| ready.install(&to, over.as_ref(), &trash))
            .await?;
        self.step("download: in place").await?;
        let at = self.sides.folder.now();
        let base = BaseEntry {
            kind: remote.kind,
            size: remote.size,
            hash,
            etag: remote.etag.clone(),
            seen: installed.map(|stat| Seen { stat, at }),
        };
        self.sides.state.record(path, &base)?;
        self.step("download: recorded").await?;
        Ok(match installed {
            Some(_) => Outcome::Done,
            None => Outcome::Again,
        })
    }

    async fn receive(
        &self,
        key: &Key,
        path: &TreePath,
        remote: &RemoteEntry,
    ) -> Result<(Box<dyn Ready>, Hash)> {
        let options = GetOptions {
            range: None,
            if_match: Some(remote.etag.clone()),
        };
        let object = self.sides.bucket.get(key, options).await?;
        let told = &object.meta.metadata;
        let about = About {
            kind: remote.kind,
            mtime: told
                .get("mtime")
                .and_then(|text| file_metadata::mtime(text))
                .unwrap_or(remote.modified),
            executable: told
                .get("mode")
                .and_then(|text| file_metadata::mode(text))
                .is_some_and(|mode| mode & 0o100 != 0),
        };
        let of = path.clone();
        let mut incoming = self.local(move |folder| folder.receive(&of)).await?;
        let (mut hasher, mut bytes) = (blake3::Hasher::new(), 0);
        let mut body = object.body;
        while let Some(chunk) = body.next().await {
            let chunk = chunk?;
            hasher.update(&chunk);
            bytes += chunk.len() as u64;
            incoming = self
                .local(move |_| incoming.write(&chunk).map(|()| incoming))
                .await?;
        }
        if bytes != remote.size {
            return Err(FolderError::Io {
                action: "receive",
                path: path.to_string(),
                reason: format!("{bytes} of {} bytes came", remote.size),
            }
            .into());
        }
        let ready = self.local(move |_| incoming.finish(&about)).await?;
        Ok((ready, Hash(*hasher.finalize().as_bytes())))
    }

    /// Notes what goes to a trash, before it does.
    pub(crate) fn take(&self, path: &TreePath, kind: crate::entry::Kind, here: bool) -> Result<()> {
        let path = path.clone();
        let taken = Taken { path, here, kind };
        Ok(self.sides.state.take(self.pass, &taken)?)
    }
}

pub(crate) fn too_long(path: &TreePath) -> Outcome {
    Outcome::Failed(format!("{path} is too long for an object's key"))
}
