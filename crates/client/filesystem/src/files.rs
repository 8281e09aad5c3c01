//! Open files: create, open, read, write, flush, fsync, release.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::SystemTime;

use bucket::Key;
use bytes::Bytes;
use parking_lot::Mutex;

use crate::body::{Body, BodyStamp, local_error};
use crate::clock::Stamp;
use crate::core::{Batch, Core, Open, OpenBody, State, Version};
use crate::fetch;
use crate::listing;
use crate::pending::Want;
use crate::tree::{Content, Node};
use crate::{Access, Entry, Filesystem, FsError, Handle, Ino, Kind, OpenMode, Opened, Owner};

impl Filesystem {
    /// Makes a file and opens it. Counts one reference.
    pub async fn create(
        &self,
        parent: Ino,
        name: &str,
        mode: u32,
        owner: Owner,
        open: OpenMode,
    ) -> Result<(Entry, Opened), FsError> {
        self.check_new(parent, name, Kind::File).await?;
        self.core.room().await?;
        let (body, file) = self.core.cache.create()?;
        let mut state = self.core.state();
        if state.tree.child(parent, name)?.is_some() {
            body.discard();
            return Err(FsError::Exists);
        }
        let now = SystemTime::now();
        let attrs = self.core.new_attrs(mode, 0o644, owner, now);
        let chosen = attrs.chosen;
        let content = Content::File {
            body: Some(Arc::clone(&body)),
            backing: false,
        };
        let ino = state.tree.add(parent, Node::new(0, name, attrs, content))?;
        let node = state.tree.node_mut(ino)?;
        node.writers = u32::from(open.write);
        let mut batch = Batch::default();
        state.want_put(ino, self.core.upload_time(), &mut batch)?;
        state.touch_directory(parent, now);
        self.core.commit_new(&mut state, ino, batch)?;
        if chosen {
            self.core.index_later(&mut state, ino)?;
        }
        let version = Version {
            body,
            file,
            size: 0,
            source: None,
        };
        state.tree.node_mut(ino)?.references = 1;
        let opened = self.core.handle(&mut state, ino, version, open.write)?;
        Ok((self.core.entry(&state, ino)?, opened))
    }

    /// Opens a file.
    pub async fn open_file(&self, ino: Ino, mode: OpenMode) -> Result<Opened, FsError> {
        let parent = {
            let state = self.core.state();
            let node = state.tree.node(ino)?;
            node.check_current()?;
            match node.kind() {
                Kind::Directory => return Err(FsError::IsADirectory),
                Kind::Symlink => return Err(FsError::Invalid),
                // Who asks to write is refused by the kernel while the file runs; who only cuts
                // it (`O_RDONLY | O_TRUNC`, which POSIX leaves open) would be refused after
                // the cut, and the running program would lose its text.
                Kind::File if mode.truncate && !mode.write && node.opens > 0 => {
                    return Err(FsError::InUse);
                }
                Kind::File => (!node.unlinked).then_some(node.parent),
            }
        };
        if let Some(parent) = parent {
            listing::ensure(&self.core, parent).await?;
        }
        if mode.write || mode.truncate {
            return self.core.open_for_writing(ino, mode).await;
        }
        let mut state = self.core.state();
        state.tree.node(ino)?.check_current()?;
        let version = self.core.version(&mut state, ino)?;
        if !version.body.is_whole() {
            self.core.fetch_ahead(&mut state, ino);
        }
        self.core.handle(&mut state, ino, version, false)
    }

    /// Reads; short only at the file's end.
    pub async fn read(&self, handle: Handle, offset: u64, size: u32) -> Result<Bytes, FsError> {
        let open = self.core.state().handle(handle)?;
        let file = open.file.as_ref().ok_or(FsError::IsADirectory)?;
        fetch::read(&self.core, open.ino, file, offset, size).await
    }

    /// Writes at an offset.
    pub async fn write(&self, handle: Handle, offset: u64, data: &[u8]) -> Result<u32, FsError> {
        let open = self.core.state().handle(handle)?;
        let file = open
            .file
            .as_ref()
            .filter(|_| open.write)
            .ok_or(FsError::BadHandle)?;
        self.core.room_to_write(open.ino).await?;
        let version = file.current.lock().clone();
        version
            .file
            .write_all_at(data, offset)
            .map_err(|error| local_error(&error))?;
        let mut state = self.core.state();
        self.core.refresh_written(&mut state, open.ino);
        u32::try_from(data.len()).map_err(|_| FsError::Invalid)
    }

    /// One `close(2)` of a handle. In the profile `safe` it returns when the object is in
    /// the bucket.
    pub async fn flush(&self, handle: Handle) -> Result<(), FsError> {
        let open = self.core.state().handle(handle)?;
        if !open.write {
            return Ok(());
        }
        self.core.refresh_written(&mut self.core.state(), open.ino);
        if self.core.settings.profile.waits_for_upload() {
            self.core.upload_now(open.ino).await?;
        }
        Ok(())
    }

    /// Returns when the content is on this machine's disk; in the profile `safe` when it
    /// is in the bucket.
    pub async fn fsync(&self, handle: Handle) -> Result<(), FsError> {
        let open = self.core.state().handle(handle)?;
        let body = open
            .file
            .as_ref()
            .map(|file| Arc::clone(&file.current.lock().body));
        let (core, ino) = (Arc::clone(&self.core), open.ino);
        let sync = move || -> Result<(), FsError> {
            if let Some(body) = body {
                body.sync()?;
                core.record_synced([ino])?;
            }
            core.journal.sync()
        };
        let done = self.core.runtime.spawn_blocking(sync).await;
        done.map_err(|error| FsError::Local(error.to_string()))??;
        if self.core.settings.profile.waits_for_upload() && open.write {
            self.core.upload_now(open.ino).await?;
        }
        Ok(())
    }

    /// The last close of a handle.
    pub async fn release(&self, handle: Handle) {
        let mut state = self.core.state();
        let Some(open) = state.open.remove(&handle) else {
            return;
        };
        if let Err(error) = self.core.released(&mut state, &open) {
            tracing::warn!(%error, "a file could not be released in order");
        }
    }

    /// Reserves room, extending the file unless `keep_size`.
    pub async fn fallocate(
        &self,
        handle: Handle,
        offset: u64,
        length: u64,
        keep_size: bool,
    ) -> Result<(), FsError> {
        let open = self.core.state().handle(handle)?;
        let file = open
            .file
            .as_ref()
            .filter(|_| open.write)
            .ok_or(FsError::BadHandle)?;
        self.core.room_to_write(open.ino).await?;
        let version = file.current.lock().clone();
        let flags = if keep_size {
            rustix::fs::FallocateFlags::KEEP_SIZE
        } else {
            rustix::fs::FallocateFlags::empty()
        };
        rustix::fs::fallocate(&version.file, flags, offset, length)
            .map_err(|error| local_error(&error.into()))?;
        self.core.refresh_written(&mut self.core.state(), open.ino);
        Ok(())
    }
}

impl Core {
    async fn open_for_writing(
        self: &Arc<Self>,
        ino: Ino,
        mode: OpenMode,
    ) -> Result<Opened, FsError> {
        self.writable()?;
        self.room().await?;
        loop {
            self.quiet(ino).await?;
            if !mode.truncate {
                fetch::whole(self, ino).await?;
            }
            let mut state = self.state();
            state.tree.node(ino)?.check_current()?;
            if state.upload_runs(ino) {
                continue;
            }
            if mode.truncate {
                self.truncate_for_open(&mut state, ino)?;
            }
            let version = self.version_to_write(&mut state, ino)?;
            if !version.body.is_whole() {
                // It was evicted or replaced between the fetch and the lock.
                continue;
            }
            if mode.write {
                self.begin_writing(&mut state, ino)?;
            }
            return self.handle(&mut state, ino, version, mode.write);
        }
    }

    /// Keeps in the journal that a file is being written, before its first byte changes.
    pub(crate) fn begin_writing(&self, state: &mut State, ino: Ino) -> Result<(), FsError> {
        let node = state.tree.node(ino)?;
        let stamp = node.body().and_then(|body| body.stamp().ok());
        let unlinked = node.unlinked;
        if !unlinked {
            let key = state.tree.key(ino)?;
            let wanted = state.pending.at(&key).map(|op| op.want.clone());
            self.record_writing(state, ino, &key, wanted, stamp)?;
        }
        state.tree.node_mut(ino)?.writers += 1;
        Ok(())
    }

    fn record_writing(
        &self,
        state: &mut State,
        ino: Ino,
        key: &Key,
        wanted: Option<Want>,
        stamp: Option<BodyStamp>,
    ) -> Result<(), FsError> {
        let mut batch = Batch::default();
        if matches!(wanted, Some(Want::Put { .. })) {
            if state.pending.renew_token(key, None) {
                batch.touch(key);
            }
            return self.commit(state, batch);
        }
        state.want_put(ino, self.upload_time(), &mut batch)?;
        let recorded = self.commit(state, batch);
        if wanted.is_none() {
            // Only this call wanted it, and it fails: nothing is to be done.
            if recorded.is_err() {
                state.pending.take(key);
            } else {
                state.tree.node_mut(ino)?.sent = stamp.filter(|stamp| !stamp.is_recent());
            }
        }
        recorded
    }

    pub(crate) fn truncate_for_open(&self, state: &mut State, ino: Ino) -> Result<(), FsError> {
        let body = state.tree.node(ino)?.body().cloned();
        let in_place = body
            .clone()
            .filter(|body| body.is_whole() && !body.is_gone());
        if let (None, Some(body)) = (&in_place, body)
            && state.replaceable(ino, &body)?.is_some()
        {
            self.exchange_lost(state, ino)?;
        }
        self.begin_writing(state, ino)?;
        let node = state.tree.node_mut(ino)?;
        node.writers -= 1;
        node.sent = None;
        if let Some(body) = in_place {
            body.file()?
                .set_len(0)
                .map_err(|error| local_error(&error))?;
        } else {
            state.release_body(ino);
            let (fresh, file) = self.cache.create()?;
            state.readers_take(ino, &fresh, &file);
            if let Content::File { body, .. } = &mut state.tree.node_mut(ino)?.content {
                *body = Some(fresh);
            }
            if !state.tree.node(ino)?.unlinked {
                let mut batch = Batch::default();
                batch.touch(&state.tree.key(ino)?);
                self.commit(state, batch)?;
            }
        }
        let now = SystemTime::now();
        let node = state.tree.node_mut(ino)?;
        node.size = 0;
        node.generation += 1;
        node.attrs.mtime = now;
        node.attrs.ctime = now;
        Ok(())
    }

    /// Makes the handle; decides how its bytes are reached.
    fn handle(
        &self,
        state: &mut State,
        ino: Ino,
        version: Version,
        write: bool,
    ) -> Result<Opened, FsError> {
        let whole = version.body.is_whole();
        // The kernel opens it anew by this one; one for writing would look like a writer.
        let reading = version.body.reading()?;
        let node = state.tree.node_mut(ino)?;
        let first = node.opens == 0;
        node.opens += 1;
        // Pages that the kernel has of a version that must still be fetched may not be mixed
        // with those of the next one.
        let keep_cache = whole && node.opened_generation == Some(node.generation);
        node.opened_generation = Some(node.generation);
        let Content::File { backing, .. } = &mut node.content else {
            return Err(FsError::IsADirectory);
        };
        if first {
            *backing = self.settings.backing && whole;
        }
        let access = if *backing {
            Access::Backing(reading)
        } else {
            Access::Calls
        };
        let open = Open {
            ino,
            write,
            file: Some(OpenBody {
                current: Mutex::new(version),
                reader: Mutex::default(),
            }),
            names: Mutex::new(Vec::new()),
        };
        Ok(Opened {
            handle: state.add_handle(open),
            access,
            keep_cache,
            flushes: write && self.settings.profile.waits_for_upload(),
        })
    }

    /// Stops an upload of this file that is under way, so that its body may be written.
    pub(crate) async fn quiet(&self, ino: Ino) -> Result<(), FsError> {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            {
                let mut state = self.state();
                if !state.upload_runs(ino) {
                    return Ok(());
                }
                let key = state.tree.key(ino)?;
                state.pending.interrupt(&key);
                // Its new token must outlive a crash, or its upload would seem a stranger's.
                let mut batch = Batch::default();
                batch.touch(&key);
                self.commit(&state, batch)?;
            }
            ended.await;
        }
    }

    /// On a full disk nothing new is begun: it could not be recorded.
    pub(crate) fn room_to_record(&self) -> Result<(), FsError> {
        if !self.journal.has_room() {
            self.evict();
            if !self.journal.has_room() {
                return Err(FsError::NoSpace);
            }
        }
        Ok(())
    }

    /// Size and times of a file that is being written are what its body's are.
    pub(crate) fn refresh_written(&self, state: &mut State, ino: Ino) {
        let Ok(node) = state.tree.node_mut(ino) else {
            return;
        };
        if node.writers == 0 {
            return;
        }
        let Some(Ok(stamp)) = node.body().map(|body| body.stamp()) else {
            return;
        };
        if node.sent != Some(stamp) {
            let before = node.size;
            node.take_stamp(stamp);
            let waiting = &mut state.report.waiting_bytes;
            *waiting = waiting.saturating_sub(before).saturating_add(stamp.size);
        }
    }

    fn released(&self, state: &mut State, open: &Open) -> Result<(), FsError> {
        if open.write {
            self.refresh_written(state, open.ino);
        }
        let node = state.tree.node_mut(open.ino)?;
        node.opens = node.opens.saturating_sub(1);
        if open.write {
            node.writers = node.writers.saturating_sub(1);
            node.generation += 1;
        }
        if open.write && node.writers == 0 {
            self.written(state, open.ino)?;
        }
        state.collect(open.ino);
        Ok(())
    }

    /// The last writer is gone: upload what changed.
    pub(crate) fn written(&self, state: &mut State, ino: Ino) -> Result<(), FsError> {
        let node = state.tree.node_mut(ino)?;
        if node.unlinked {
            return Ok(());
        }
        let stamp = node.body().map(|body| body.stamp()).transpose()?;
        let unchanged = stamp.is_some_and(|stamp| node.is_sent(stamp));
        // What the kernel was given may still be mapped: the uploader looks into that.
        let certain = !node.is_backing();
        let key = state.tree.key(ino)?;
        state.unsaved.insert(ino);
        if unchanged && certain && !state.pending.is_running(&key) {
            state.tree.node_mut(ino)?.sent = None;
            state.pending.take(&key);
            let mut batch = Batch::default();
            batch.touch(&key);
            return self.commit(state, batch);
        }
        let ready = if unchanged {
            Stamp::now()
        } else {
            self.upload_time()
        };
        if let Some(op) = state.pending.at_mut(&key) {
            op.ready = ready;
        }
        self.look_by(state, ready);
        Ok(())
    }
}

impl State {
    /// What is written here from now on shows to those who have the file open, as on any disk.
    fn readers_take(&self, ino: Ino, body: &Arc<Body>, file: &Arc<File>) {
        for open in self.open.values().filter(|open| open.ino == ino) {
            if let Some(open) = &open.file {
                *open.current.lock() = Version {
                    body: Arc::clone(body),
                    file: Arc::clone(file),
                    size: 0,
                    source: None,
                };
            }
        }
    }

    pub(crate) fn upload_runs(&self, ino: Ino) -> bool {
        let unlinked = self.tree.node(ino).is_ok_and(|node| node.unlinked);
        !unlinked
            && self
                .tree
                .key(ino)
                .is_ok_and(|key| self.pending.is_running(&key))
    }
}
