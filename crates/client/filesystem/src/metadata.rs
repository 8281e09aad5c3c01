//! Attributes and extended attributes.

use std::fs::FileTimes;
use std::sync::Arc;
use std::time::SystemTime;

use crate::body::local_error;
use crate::core::{Batch, Core, State};
use crate::fetch;
use crate::listing;
use crate::pending::Want;
use crate::tree::Content;
use crate::{Entry, Filesystem, FsError, Ino, Kind, SetAttr, Space, XattrMode};

/// Extended attributes that the tree answers itself.
const OWN: &str = "user.artifacts.";
/// The most bytes of one value and of all names, as ext4 takes them in one block.
const MAX_XATTR: usize = 4096;

impl Filesystem {
    /// Attributes of an inode.
    pub async fn getattr(&self, ino: Ino) -> Result<Entry, FsError> {
        let parent = {
            let state = self.core.state();
            let node = state.tree.node(ino)?;
            (ino != crate::ROOT && !node.unlinked && node.writers == 0).then_some(node.parent)
        };
        if let Some(parent) = parent {
            listing::ensure(&self.core, parent).await?;
        }
        let mut state = self.core.state();
        self.core.refresh_written(&mut state, ino);
        self.core.entry(&state, ino)
    }

    /// Changes attributes.
    pub async fn setattr(&self, ino: Ino, change: SetAttr) -> Result<Entry, FsError> {
        self.core.writable()?;
        if let Some(size) = change.size {
            self.core.resize(ino, size).await?;
        }
        let mut state = self.core.state();
        self.core.refresh_written(&mut state, ino);
        self.core.change_attrs(&mut state, ino, change)?;
        self.core.entry(&state, ino)
    }

    /// Where a link leads.
    pub async fn readlink(&self, ino: Ino) -> Result<String, FsError> {
        self.core.know_link(ino).await
    }

    /// One extended attribute. `user.artifacts.etag` and `user.artifacts.state`
    /// (`uploaded`, `pending`, `uploading`) tell of the object.
    pub async fn getxattr(&self, ino: Ino, name: &str) -> Result<Vec<u8>, FsError> {
        if !name.starts_with("user.") {
            return Err(FsError::NotSupported);
        }
        let state = self.core.state();
        let node = state.tree.node(ino)?;
        if let Some(own) = name.strip_prefix(OWN) {
            return state.own_xattr(ino, own).ok_or(FsError::NoAttribute);
        }
        let xattrs = node.attrs.xattrs.as_ref();
        xattrs
            .and_then(|xattrs| xattrs.get(name))
            .cloned()
            .ok_or(FsError::NoAttribute)
    }

    /// Sets an extended attribute in the name space `user.`.
    pub async fn setxattr(
        &self,
        ino: Ino,
        name: &str,
        value: &[u8],
        mode: XattrMode,
    ) -> Result<(), FsError> {
        self.core.writable()?;
        check_xattr(name)?;
        if value.len() > MAX_XATTR || name.len() > 255 {
            return Err(FsError::TooLarge);
        }
        let mut state = self.core.state();
        let node = state.tree.node_mut(ino)?;
        if node.kind() == Kind::Symlink {
            return Err(FsError::NotPermitted);
        }
        let xattrs = node.attrs.xattrs.get_or_insert_default();
        match (mode, xattrs.contains_key(name)) {
            (XattrMode::Create, true) => return Err(FsError::Exists),
            (XattrMode::Replace, false) => return Err(FsError::NoAttribute),
            _ => {}
        }
        xattrs.insert(name.to_owned(), value.to_vec());
        self.core.attrs_chosen(&mut state, ino)
    }

    /// The names of an inode's extended attributes, save those that tell of the object.
    pub async fn listxattr(&self, ino: Ino) -> Result<Vec<String>, FsError> {
        let state = self.core.state();
        let xattrs = state.tree.node(ino)?.attrs.xattrs.as_ref();
        Ok(xattrs.map_or_else(Vec::new, |xattrs| xattrs.keys().cloned().collect()))
    }

    /// Removes an extended attribute.
    pub async fn removexattr(&self, ino: Ino, name: &str) -> Result<(), FsError> {
        self.core.writable()?;
        check_xattr(name)?;
        let mut state = self.core.state();
        let node = state.tree.node_mut(ino)?;
        let removed = node
            .attrs
            .xattrs
            .as_mut()
            .and_then(|xattrs| xattrs.remove(name));
        removed.ok_or(FsError::NoAttribute)?;
        self.core.attrs_chosen(&mut state, ino)
    }

    /// Room for new files: a bucket has no end, so what the local disk can take counts.
    pub fn statfs(&self) -> Space {
        let free = rustix::fs::statvfs(self.core.cache.folder())
            .map_or(0, |space| space.f_bavail * space.f_frsize);
        Space {
            total: 1 << 50,
            free: free.min(1 << 50),
            entries: self.core.state().tree.len() as u64,
        }
    }
}

impl Core {
    /// Cuts or extends a file.
    async fn resize(self: &Arc<Self>, ino: Ino, size: u64) -> Result<(), FsError> {
        if self.state().tree.node(ino)?.kind() != Kind::File {
            return Err(FsError::IsADirectory);
        }
        loop {
            self.quiet(ino).await?;
            if size == 0 {
                // Nothing of what the bucket has is needed.
                let mut state = self.state();
                if state.upload_runs(ino) {
                    continue;
                }
                self.truncate_for_open(&mut state, ino)?;
                if state.tree.node(ino)?.writers == 0 {
                    self.written(&mut state, ino)?;
                }
                return Ok(());
            }
            fetch::whole(self, ino).await?;
            let mut state = self.state();
            let version = self.version_to_write(&mut state, ino)?;
            if !version.body.is_whole() {
                continue;
            }
            self.begin_writing(&mut state, ino)?;
            let done = version
                .file
                .set_len(size)
                .map_err(|error| local_error(&error));
            self.refresh_written(&mut state, ino);
            let node = state.tree.node_mut(ino)?;
            node.writers -= 1;
            node.generation += 1;
            node.sent = None;
            if node.writers == 0 {
                self.written(&mut state, ino)?;
            }
            return done;
        }
    }

    fn change_attrs(&self, state: &mut State, ino: Ino, change: SetAttr) -> Result<(), FsError> {
        let node = state.tree.node_mut(ino)?;
        let before = node.attrs.clone();
        let attrs = &mut node.attrs;
        attrs.mode = change.mode.map_or(attrs.mode, |mode| mode & 0o7777);
        attrs.uid = change.uid.unwrap_or(attrs.uid);
        attrs.gid = change.gid.unwrap_or(attrs.gid);
        attrs.atime = change.atime.unwrap_or(attrs.atime);
        attrs.mtime = change.mtime.unwrap_or(attrs.mtime);
        attrs.ctime = SystemTime::now();
        let keeps = (before.mode, before.uid, before.gid, before.mtime)
            == (attrs.mode, attrs.uid, attrs.gid, attrs.mtime);
        if let Some(mtime) = change.mtime {
            state.set_body_time(ino, mtime)?;
        }
        if keeps {
            return Ok(());
        }
        self.attrs_chosen(state, ino)
    }

    /// Attributes were set on purpose: into the journal, and later into the index.
    fn attrs_chosen(&self, state: &mut State, ino: Ino) -> Result<(), FsError> {
        let node = state.tree.node_mut(ino)?;
        node.attrs.chosen = true;
        node.attrs.ctime = SystemTime::now();
        if node.unlinked || ino == crate::ROOT {
            return Ok(());
        }
        state.unsaved.insert(ino);
        let key = state.tree.key(ino)?;
        if state.pending.at(&key).is_some() {
            let mut batch = Batch::default();
            batch.touch(&key);
            self.commit(state, batch)?;
        }
        self.index_later(state, ino)
    }

    /// Where a link leads, fetched when it is not known.
    pub(crate) async fn know_link(&self, ino: Ino) -> Result<String, FsError> {
        let known = {
            let state = self.state();
            match &state.tree.node(ino)?.content {
                Content::Symlink { target } => target.clone(),
                _ => return Err(FsError::Invalid),
            }
        };
        if let Some(target) = known {
            return Ok(target.into());
        }
        let target = self.fetch_link(ino).await?;
        let mut state = self.state();
        if let Content::Symlink { target: slot } = &mut state.tree.node_mut(ino)?.content {
            *slot = Some(target.as_str().into());
        }
        state.unsaved.insert(ino);
        Ok(target)
    }

    async fn fetch_link(&self, ino: Ino) -> Result<String, FsError> {
        let source = {
            let state = self.state();
            let node = state.tree.node(ino)?;
            crate::core::source_of(&state.tree, node).ok_or(FsError::NotFound)?
        };
        let options = bucket::GetOptions {
            range: Some(0..4096),
            if_match: None,
        };
        let read = async {
            let object = self.bucket.get(&source.key, options).await?;
            bucket::collect(object.body).await
        };
        let bytes = read
            .await
            .map_err(|error| self.heard(&format!("get {}", source.key), &error))?;
        String::from_utf8(bytes).map_err(|_| FsError::Invalid)
    }
}

impl State {
    /// A dirty body carries the modification time itself, so that a crash keeps it.
    fn set_body_time(&self, ino: Ino, mtime: SystemTime) -> Result<(), FsError> {
        let node = self.tree.node(ino)?;
        let written = node.unlinked
            || self
                .pending
                .at(&self.tree.key(ino)?)
                .is_some_and(|op| matches!(op.want, Want::Put { .. }));
        if !written && node.writers == 0 {
            return Ok(());
        }
        if let Some(body) = node.body() {
            let times = FileTimes::new().set_modified(mtime);
            body.file()?
                .set_times(times)
                .map_err(|error| local_error(&error))?;
        }
        Ok(())
    }

    fn own_xattr(&self, ino: Ino, name: &str) -> Option<Vec<u8>> {
        let node = self.tree.node(ino).ok()?;
        match name {
            "etag" => {
                let remote = node.remote.as_ref()?;
                Some(remote.etag.as_str().as_bytes().to_vec())
            }
            "state" => {
                let key = self.tree.key(ino).ok()?;
                let state = match self.pending.at(&key) {
                    Some(op) if self.is_sent(op) => "uploaded",
                    _ if self.pending.is_running(&key) => "uploading",
                    Some(_) => "pending",
                    None => "uploaded",
                };
                Some(state.as_bytes().to_vec())
            }
            _ => None,
        }
    }
}

fn check_xattr(name: &str) -> Result<(), FsError> {
    if !name.starts_with("user.") {
        return Err(FsError::NotSupported);
    }
    if name.starts_with(OWN) {
        return Err(FsError::NotPermitted);
    }
    Ok(())
}
