//! Large files on their way down: in blocks, several at one time, and gone on with.

use std::sync::Arc;

use bucket::{Error as BucketError, GetOptions, Key};
use futures::{StreamExt, TryStreamExt};
use parking_lot::Mutex;
use uuid::Uuid;

use super::Work;
use super::received::{Verdict, may_be};
use super::transfer::about_of;
use crate::entry::{Hash, RemoteEntry};
use crate::error::{Result, SyncError};
use crate::folder::{Blocks, FolderError, Ready};
use crate::path::TreePath;
use crate::progress::Moving;
use crate::state::PartialDownload;

/// Blocks of one file that are fetched at one time.
const AT_ONCE: usize = 4;

impl Work<'_> {
    /// Fetches a large object into a file under a name of ours.
    pub(crate) async fn receive_large(
        &self,
        key: &Key,
        path: &TreePath,
        remote: &RemoteEntry,
        moving: &Moving,
    ) -> Result<(Box<dyn Ready>, Hash)> {
        let object = self.sides.bucket.head(key).await?;
        if object.etag != remote.etag || object.size != remote.size {
            return Err(BucketError::Precondition { key: key.clone() }.into());
        }
        let mut before = None;
        let (blocks, hash) = loop {
            let (download, blocks) = self.begin_blocks(path, remote).await?;
            let is_resumed = download.done.contains(&true);
            let filled = self.fill(key, download, &blocks, moving).await;
            if let Err(SyncError::Folder(FolderError::NoSpace { .. })) = &filled {
                // What is left of the disk is not ours to fill.
                self.give_back(path, &blocks)?;
            }
            filled?;
            let hashing = Arc::clone(&blocks);
            let (hash, md5) = self.local(move |_| hashing.hashes()).await?;
            if is_resumed && !may_be(remote, md5) {
                self.give_back(path, &blocks)?;
                // The next pass fetches it from the beginning.
                return Err(FolderError::Changed {
                    path: path.to_string(),
                }
                .into());
            }
            match self.transfers.tags.judge(path, remote, md5, before) {
                Ok(Verdict::Taken) => break (blocks, hash),
                // Into a file of its own: in this one, zeros that are holes would let what was
                // wrong before stay.
                Ok(Verdict::Again) => before = Some(md5),
                Err(error) => {
                    self.give_back(path, &blocks)?;
                    return Err(error.into());
                }
            }
            self.give_back(path, &blocks)?;
        };
        let about = about_of(remote, &object.metadata);
        let ready = self.local(move |_| blocks.finish(&about)).await?;
        Ok((ready, hash))
    }

    /// Removes what was received of a file.
    fn give_back(&self, path: &TreePath, blocks: &Arc<dyn Blocks>) -> Result<()> {
        blocks.discard();
        Ok(self.sides.state.forget_download(path)?)
    }

    /// Goes on with what an earlier pass has of this version, or begins.
    async fn begin_blocks(
        &self,
        path: &TreePath,
        remote: &RemoteEntry,
    ) -> Result<(PartialDownload, Arc<dyn Blocks>)> {
        let block = self.settings.block.max(1);
        let known = self.sides.state.downloads()?.into_iter();
        let known = known.filter(|known| known.path == *path);
        let fits = |known: &PartialDownload| {
            known.etag == remote.etag && known.size == remote.size && known.block == block
        };
        let count = usize::try_from(remote.size.div_ceil(block)).unwrap_or(usize::MAX);
        let fresh = || PartialDownload {
            path: path.clone(),
            etag: remote.etag.clone(),
            size: remote.size,
            block,
            name: Uuid::new_v4().to_string(),
            done: vec![false; count],
            begun: self.sides.folder.now(),
        };
        let mut download = known.last().filter(fits).unwrap_or_else(fresh);
        let (of, name, size) = (path.clone(), download.name.clone(), remote.size);
        let blocks = self
            .local(move |folder| folder.receive_blocks(&of, &name, size))
            .await?;
        if blocks.is_new() || download.done.len() != count {
            download.done = vec![false; count];
        }
        self.sides.state.note_download(&download)?;
        self.step("download: blocks begun").await?;
        Ok((download, blocks))
    }

    async fn fill(
        &self,
        key: &Key,
        download: PartialDownload,
        blocks: &Arc<dyn Blocks>,
        moving: &Moving,
    ) -> Result<()> {
        let mut missing = Vec::new();
        for (n, done) in download.done.iter().enumerate() {
            let from = download.block * n as u64;
            let range = from..download.size.min(from + download.block);
            match done {
                true => moving.meter().add(range.end - range.start),
                false => missing.push((n, range)),
            }
        }
        let download = Mutex::new(download);
        let download = &download;
        futures::stream::iter(missing)
            .map(|(n, range)| async move {
                let _lane = self.transfers.ranges.acquire().await;
                self.block(key, download, range, blocks, moving).await?;
                self.count(download, n)?;
                self.step("download: block received").await
            })
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await
    }

    /// Notes that a block is there.
    fn count(&self, download: &Mutex<PartialDownload>, n: usize) -> Result<()> {
        let mut now = download.lock();
        now.done[n] = true;
        Ok(self.sides.state.note_download(&now)?)
    }

    /// Fetches one block; it is on the disk before it counts.
    async fn block(
        &self,
        key: &Key,
        download: &Mutex<PartialDownload>,
        range: std::ops::Range<u64>,
        blocks: &Arc<dyn Blocks>,
        moving: &Moving,
    ) -> Result<()> {
        let options = GetOptions {
            range: Some(range.clone()),
            if_match: Some(download.lock().etag.clone()),
        };
        let mut body = self.sides.bucket.get(key, options).await?.body;
        let mut at = range.start;
        while let Some(chunk) = body.next().await {
            let chunk = chunk?;
            let (to, from, len) = (Arc::clone(blocks), at, chunk.len() as u64);
            if len > range.end - at {
                return Err(short(download, at - range.start + len, &range));
            }
            self.local(move |_| to.write_at(from, &chunk)).await?;
            moving.meter().add(len);
            at += len;
        }
        if at != range.end {
            return Err(short(download, at - range.start, &range));
        }
        let to = Arc::clone(blocks);
        Ok(self.local(move |_| to.sync()).await?)
    }
}

fn short(download: &Mutex<PartialDownload>, came: u64, range: &std::ops::Range<u64>) -> SyncError {
    FolderError::Io {
        action: "receive",
        path: download.lock().path.to_string(),
        reason: format!("{came} of {} bytes came", range.end - range.start),
    }
    .into()
}
