//! Files on their way, in both directions.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bucket::{
    Body, Condition, Error as BucketError, Etag, GetOptions, Key, Metadata, PutOptions, Resume,
};
use futures::StreamExt;
use md5::{Digest, Md5};
use model::file_metadata;

use super::parts::Parts;
use super::received::Verdict;
use super::{Outcome, Work};
use crate::entry::{BaseEntry, Hash, Kind, LocalEntry, RemoteEntry, Seen, Stat};
use crate::error::{Result, SyncError};
use crate::folder::{About, FolderError, Incoming, Reading, Ready};
use crate::look::mtime_of;
use crate::path::TreePath;
use crate::plan::Sending;
use crate::progress::Moving;
use crate::state::Taken;

/// What systems allow (PATH_MAX with the zero at its end).
const LONGEST_TARGET: u64 = 4_095;

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
        let _memory = self.transfers.room(stat.size).await;
        let at = self.sides.folder.now();
        let read = self
            .local(move |folder| folder.read(&of, kind, &stat))
            .await;
        let reading = self.unless_busy(path, read)?;
        let hash = reading.hash;
        if let Some(md5) = reading.md5 {
            let sending = Sending {
                hash,
                size: local.stat.size,
                etag: Etag::new(&hex::encode(md5)),
                is_copy: false,
            };
            self.sides.state.begin_sending(path, &sending)?;
        }
        self.step("upload: about to send").await?;
        let other_kind = over.filter(|over| over.kind != local.kind);
        if let Some(over) = other_kind
            && !self.clear(path, over).await?
        {
            return Ok(Outcome::Again);
        }
        let over = over.filter(|_| other_kind.is_none());
        let moving = self.settings.progress.begin(local.stat.size);
        let etag = self.put(path, &key, local, reading, over, &moving).await?;
        moving.end();
        self.step("upload: sent").await?;
        let of = path.clone();
        let now = self.local(move |folder| folder.stat(&of)).await?;
        let is_same = now == Some((local.kind, local.stat));
        let stat = local.stat;
        let seen = is_same.then_some(Seen { stat, at });
        let base = LocalEntry::alike(local.kind, stat.size, hash, &etag, seen);
        self.sides.state.record(path, &base)?;
        self.step("upload: recorded").await?;
        if is_same {
            return Ok(Outcome::Done);
        }
        self.busy(path);
        Ok(Outcome::Again)
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

    /// Notes a file that somebody wrote to while it was read.
    fn unless_busy<T>(&self, path: &TreePath, read: crate::folder::Result<T>) -> Result<T> {
        if let Err(FolderError::Changed { .. }) = &read {
            self.busy(path);
        }
        Ok(read?)
    }

    /// Sends a body: a small one from memory, so that it is one version; a large one in parts,
    /// which become an object only if the file is still what it was.
    async fn put(
        &self,
        path: &TreePath,
        key: &Key,
        local: &LocalEntry,
        reading: Reading,
        over: Option<&RemoteEntry>,
        moving: &Moving,
    ) -> Result<Etag> {
        let condition = self.condition(key, over.map(|over| &over.etag)).await?;
        let metadata = Metadata::from([
            (
                "mtime".to_owned(),
                file_metadata::mtime_text(local.stat.mtime),
            ),
            ("mode".to_owned(), format!("{:o}", reading.mode)),
        ]);
        let is_large = local.stat.size > self.settings.large;
        let parts = (is_large || matches!(reading.body, Body::File { .. }))
            .then(|| Arc::new(Parts::of(self, path, key, local, reading.hash, &metadata)));
        let options = PutOptions {
            condition,
            metadata,
            meter: Some(moving.meter().clone()),
            resume: parts.clone().map(|parts| parts as Arc<dyn Resume>),
            pace: None,
        };
        let answer = self.sides.bucket.put(key, reading.body, options).await;
        if let Some(parts) = parts {
            if let Some(error) = parts.failed() {
                return Err(error);
            }
            parts.ended(answer.as_ref().err())?;
            if answer.is_err() && parts.is_changed() {
                self.busy(path);
                let path = path.to_string();
                return Err(FolderError::Changed { path }.into());
            }
        }
        Ok(answer?.etag)
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
        if remote.kind == Kind::Link && !(1..=LONGEST_TARGET).contains(&remote.size) {
            return Ok(Outcome::Failed(format!(
                "a link's target has 1 to {LONGEST_TARGET} bytes, this one has {}",
                remote.size
            )));
        }
        let moving = self.settings.progress.begin(remote.size);
        self.has_room(path, remote)?;
        let received = match remote.size > self.settings.large && remote.kind == Kind::File {
            true => self.receive_large(&key, path, remote, &moving).await,
            false => self.receive(&key, path, remote, &moving).await,
        };
        let (ready, hash) = received.map_err(|error| self.with_shortage(remote, error))?;
        self.step("download: received").await?;
        if over.is_some() {
            self.take(path, remote.kind, true)?;
        }
        let (to, over, trash) = (path.clone(), over.copied(), self.pass.name.clone());
        let installed = self
            .local(move |_| ready.install(&to, over.as_ref(), &trash))
            .await?;
        moving.end();
        self.step("download: in place").await?;
        let at = self.sides.folder.now();
        let base = BaseEntry {
            kind: remote.kind,
            size: remote.size,
            hash,
            etag: remote.etag.clone(),
            modified: Some(remote.modified),
            seen: installed.map(|stat| Seen { stat, at }),
        };
        self.sides.state.record(path, &base)?;
        if remote.size > self.settings.large {
            self.sides.state.forget_download(path)?;
        }
        self.step("download: recorded").await?;
        Ok(match installed {
            Some(_) => Outcome::Done,
            None => Outcome::Again,
        })
    }

    /// Once the disk was found full, what surely does not fit is not begun.
    fn has_room(&self, path: &TreePath, remote: &RemoteEntry) -> Result<()> {
        if !self.transfers.is_full.load(Ordering::Relaxed) {
            return Ok(());
        }
        match self.sides.folder.free() {
            Some(free) if free < remote.size => Err(FolderError::NoSpace {
                path: path.to_string(),
                short: Some((remote.size, free)),
            }
            .into()),
            _ => Ok(()),
        }
    }

    fn with_shortage(&self, remote: &RemoteEntry, error: SyncError) -> SyncError {
        let SyncError::Folder(FolderError::NoSpace { path, .. }) = error else {
            return error;
        };
        self.transfers.is_full.store(true, Ordering::Relaxed);
        let free = self.sides.folder.free();
        let short = free.map(|free| (remote.size, free));
        FolderError::NoSpace { path, short }.into()
    }

    async fn receive(
        &self,
        key: &Key,
        path: &TreePath,
        remote: &RemoteEntry,
        moving: &Moving,
    ) -> Result<(Box<dyn Ready>, Hash)> {
        let mut before = None;
        loop {
            let (incoming, about, hash, md5) = self.fetch(key, path, remote, moving).await?;
            match self.transfers.tags.judge(path, remote, md5, before)? {
                Verdict::Again => before = Some(md5),
                Verdict::Taken => {
                    let ready = self.local(move |_| incoming.finish(&about)).await?;
                    return Ok((ready, hash));
                }
            }
        }
    }

    /// Fetches all bytes of an object, with what they are by two hashes.
    async fn fetch(
        &self,
        key: &Key,
        path: &TreePath,
        remote: &RemoteEntry,
        moving: &Moving,
    ) -> Result<(Box<dyn Incoming>, About, Hash, [u8; 16])> {
        let options = GetOptions {
            range: None,
            if_match: Some(remote.etag.clone()),
        };
        let object = self.sides.bucket.get(key, options).await?;
        let about = about_of(remote, &object.meta.metadata);
        let of = path.clone();
        let mut incoming = self.local(move |folder| folder.receive(&of)).await?;
        let (mut blake, mut md5, mut bytes) = (blake3::Hasher::new(), Md5::new(), 0);
        let mut body = object.body;
        while let Some(chunk) = body.next().await {
            let chunk = chunk?;
            blake.update(&chunk);
            md5.update(&chunk);
            bytes += chunk.len() as u64;
            moving.meter().add(chunk.len() as u64);
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
        let hash = Hash(*blake.finalize().as_bytes());
        Ok((incoming, about, hash, md5.finalize().into()))
    }

    /// Notes what goes to a trash, before it does.
    pub(crate) fn take(&self, path: &TreePath, kind: Kind, here: bool) -> Result<()> {
        let path = path.clone();
        let taken = Taken { path, here, kind };
        Ok(self.sides.state.take(self.pass, &taken)?)
    }
}

/// What a file shall be, as its object says.
pub(crate) fn about_of(remote: &RemoteEntry, told: &Metadata) -> About {
    let mode = told.get("mode");
    About {
        kind: remote.kind,
        mtime: mtime_of(told).unwrap_or(remote.modified),
        mode: mode.and_then(|text| file_metadata::mode(text)),
    }
}

pub(crate) fn too_long(path: &TreePath) -> Outcome {
    Outcome::Failed(format!("{path} is too long for an object's key"))
}
