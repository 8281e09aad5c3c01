//! Names: look up, list, make, remove, move.

use std::time::SystemTime;

use bucket::Key;
use model::entry_name;
use parking_lot::{Mutex, MutexGuard};

use crate::clock::Stamp;
use crate::core::{Batch, Core, Open, State};
use crate::listing;
use crate::pending::{Base, Want};
use crate::tree::{Attrs, Content, Directory, Node, Remote, segment_for};
use crate::{DirEntry, Entry, Filesystem, FsError, Handle, Ino, Kind, Owner, RenameMode};

impl Filesystem {
    /// Looks a name up. Counts one reference, to be given back with [`Self::forget`].
    pub async fn lookup(&self, parent: Ino, name: &str) -> Result<Entry, FsError> {
        if name.len() > entry_name::MAX_BYTES {
            return Err(FsError::NameTooLong);
        }
        listing::ensure(&self.core, parent).await?;
        let found = self.core.state().tree.child(parent, name)?;
        if let Some(ino) = found {
            self.core.ask_foreign(ino).await?;
        }
        let mut state = self.core.state();
        let ino = state.tree.child(parent, name)?.ok_or(FsError::NotFound)?;
        self.core.refresh_written(&mut state, ino);
        state.tree.node_mut(ino)?.references += 1;
        self.core.entry(&state, ino)
    }

    /// For how long "no such name in this directory" may be reused.
    pub fn absence_ttl(&self, parent: Ino) -> std::time::Duration {
        self.core.ttl(&self.core.state(), parent)
    }

    /// Counts one more reference to an inode (an entry given out by [`Self::readdir`]).
    pub fn reference(&self, ino: Ino) {
        if let Ok(node) = self.core.state().tree.node_mut(ino) {
            node.references += 1;
        }
    }

    /// Gives references back.
    pub fn forget(&self, ino: Ino, count: u64) {
        let mut state = self.core.state();
        if let Ok(node) = state.tree.node_mut(ino) {
            node.references = node.references.saturating_sub(count);
        }
        state.collect(ino);
    }

    /// Opens a directory for reading its names.
    pub async fn opendir(&self, ino: Ino) -> Result<Handle, FsError> {
        listing::ensure(&self.core, ino).await?;
        let mut state = self.core.state();
        state.tree.directory_mut(ino)?.read = Some(Stamp::now());
        state.tree.node_mut(ino)?.opens += 1;
        let open = Open {
            ino,
            write: false,
            file: None,
            names: Mutex::new(Vec::new()),
        };
        Ok(state.add_handle(open))
    }

    /// Names from `offset` on, at most `max`. Offset 0 begins anew; each entry carries the
    /// offset that goes on behind it.
    pub async fn readdir(
        &self,
        handle: Handle,
        offset: u64,
        max: usize,
    ) -> Result<Vec<DirEntry>, FsError> {
        let state = self.core.state();
        let open = state.handle(handle)?;
        let mut names = open.names.lock();
        if offset == 0 {
            *names = state.names(open.ino)?;
        }
        let skip = usize::try_from(offset).map_err(|_| FsError::Invalid)?;
        let there = names
            .iter()
            .enumerate()
            .skip(skip)
            .filter_map(|(at, (name, ino))| {
                // A name removed since the reading began is left out.
                let entry = self.core.entry(&state, *ino).ok()?;
                Some(DirEntry {
                    name: name.clone(),
                    entry,
                    next: at as u64 + 1,
                })
            });
        Ok(there.take(max).collect())
    }

    /// Closes a directory.
    pub async fn releasedir(&self, handle: Handle) {
        let mut state = self.core.state();
        if let Some(open) = state.open.remove(&handle) {
            if let Ok(node) = state.tree.node_mut(open.ino) {
                node.opens = node.opens.saturating_sub(1);
            }
            state.collect(open.ino);
        }
    }

    /// Makes a directory. Counts one reference.
    pub async fn mkdir(
        &self,
        parent: Ino,
        name: &str,
        mode: u32,
        owner: Owner,
    ) -> Result<Entry, FsError> {
        self.check_new(parent, name, Kind::Directory).await?;
        let mut state = self.core.state();
        let now = SystemTime::now();
        let directory = Directory {
            listed: Some(Stamp::now()),
            recalled: true,
            ..Directory::default()
        };
        let attrs = self.core.new_attrs(mode, 0o755, owner, now);
        let node = Node::new(0, name, attrs, Content::Directory(directory));
        self.add_new(&mut state, parent, node)
    }

    /// Makes a symbolic link. Counts one reference.
    pub async fn symlink(
        &self,
        parent: Ino,
        name: &str,
        target: &str,
        owner: Owner,
    ) -> Result<Entry, FsError> {
        self.check_new(parent, name, Kind::Symlink).await?;
        if target.is_empty() {
            return Err(FsError::NotFound);
        }
        let mut state = self.core.state();
        let content = Content::Symlink {
            target: Some(target.into()),
        };
        let attrs = self.core.new_attrs(0o777, 0o777, owner, SystemTime::now());
        let mut node = Node::new(0, name, attrs, content);
        node.size = target.len() as u64;
        self.add_new(&mut state, parent, node)
    }

    fn add_new(&self, state: &mut State, parent: Ino, node: Node) -> Result<Entry, FsError> {
        if state.tree.child(parent, &node.name)?.is_some() {
            return Err(FsError::Exists);
        }
        let (now, chosen) = (node.attrs.mtime, node.attrs.chosen);
        let ino = state.tree.add(parent, node)?;
        let mut batch = Batch::default();
        state.want_put(ino, self.core.upload_time(), &mut batch)?;
        state.touch_directory(parent, now);
        self.core.commit_new(state, ino, batch)?;
        state.tree.node_mut(ino)?.references = 1;
        state.unsaved.insert(ino);
        if chosen {
            self.core.index_later(state, ino)?;
        }
        self.core.entry(state, ino)
    }

    /// Whether an entry of this name may be made here.
    pub(crate) async fn check_new(
        &self,
        parent: Ino,
        name: &str,
        kind: Kind,
    ) -> Result<(), FsError> {
        self.core.writable()?;
        self.core.room_to_record()?;
        check_name(parent, name, kind)?;
        listing::ensure(&self.core, parent).await?;
        let state = self.core.state();
        if state.tree.node(parent)?.unlinked {
            return Err(FsError::NotFound);
        }
        if state.tree.child(parent, name)?.is_some() {
            return Err(FsError::Exists);
        }
        state.tree.key_for(parent, name, kind).map(|_| ())
    }

    /// Removes a file or link.
    pub async fn unlink(&self, parent: Ino, name: &str) -> Result<(), FsError> {
        self.core.writable()?;
        listing::ensure(&self.core, parent).await?;
        let mut state = self.core.state();
        let ino = state.tree.child(parent, name)?.ok_or(FsError::NotFound)?;
        if state.tree.node(ino)?.kind() == Kind::Directory {
            return Err(FsError::IsADirectory);
        }
        let mut batch = Batch::default();
        self.core.remove(&mut state, ino, &mut batch)?;
        self.core.keep_directory(&mut state, parent, &mut batch)?;
        self.core.commit(&state, batch)
    }

    /// Removes an empty directory.
    pub async fn rmdir(&self, parent: Ino, name: &str) -> Result<(), FsError> {
        self.core.writable()?;
        listing::ensure(&self.core, parent).await?;
        let ino = self
            .core
            .state()
            .tree
            .child(parent, name)?
            .ok_or(FsError::NotFound)?;
        let mut state = self.known_subtree(ino).await?;
        if !state.tree.directory(ino)?.children.is_empty() {
            return Err(FsError::NotEmpty);
        }
        let mut batch = Batch::default();
        self.core.remove(&mut state, ino, &mut batch)?;
        self.core.keep_directory(&mut state, parent, &mut batch)?;
        self.core.commit(&state, batch)
    }

    /// Moves a name, replacing what the new name meant before as rename(2) does.
    pub async fn rename(
        &self,
        parent: Ino,
        name: &str,
        new_parent: Ino,
        new_name: &str,
        mode: RenameMode,
    ) -> Result<(), FsError> {
        self.core.writable()?;
        self.core.room_to_record()?;
        listing::ensure(&self.core, parent).await?;
        listing::ensure(&self.core, new_parent).await?;
        let (ino, target) = {
            let state = self.core.state();
            let ino = state.tree.child(parent, name)?.ok_or(FsError::NotFound)?;
            (ino, state.tree.child(new_parent, new_name)?)
        };
        if let Some(target) = target {
            drop(self.known_subtree(target).await?);
        }
        let mut state = self.known_subtree(ino).await?;
        check_name(new_parent, new_name, state.tree.node(ino)?.kind())?;
        if state.tree.child(parent, name)? != Some(ino)
            || state.tree.child(new_parent, new_name)? != target
        {
            // Someone was faster between the look and the lock.
            return Err(FsError::NotFound);
        }
        let mut batch = Batch::default();
        match (mode, target) {
            (RenameMode::NoReplace, Some(_)) => return Err(FsError::Exists),
            (RenameMode::Exchange, None) => return Err(FsError::NotFound),
            (RenameMode::Exchange, Some(target)) => {
                self.core.exchange(&mut state, ino, target, &mut batch)?;
            }
            (_, Some(target)) if target == ino => return Ok(()),
            (_, target) => {
                if let Some(target) = target {
                    state.check_replace(ino, target)?;
                }
                self.core
                    .move_to(&mut state, ino, new_parent, new_name, target, &mut batch)?;
            }
        }
        self.core.keep_directory(&mut state, parent, &mut batch)?;
        self.core.commit(&state, batch)
    }

    /// The state, locked while everything below a node is known: a directory is moved or
    /// removed with all that is in it.
    async fn known_subtree(&self, ino: Ino) -> Result<MutexGuard<'_, State>, FsError> {
        for _ in 0..8 {
            self.know_subtree(ino).await?;
            let state = self.core.state();
            if state.tree.is_known(ino) {
                return Ok(state);
            }
        }
        Err(FsError::Changed)
    }

    async fn know_subtree(&self, ino: Ino) -> Result<(), FsError> {
        let mut open = vec![ino];
        while let Some(at) = open.pop() {
            if self.core.state().tree.node(at)?.kind() != Kind::Directory {
                continue;
            }
            listing::ensure(&self.core, at).await?;
            let mut state = self.core.state();
            state.tree.directory_mut(at)?.read = Some(Stamp::now());
            open.extend(state.tree.directory(at)?.children.values().rev());
        }
        Ok(())
    }
}

impl Core {
    /// Attributes of something made here; remembered in the index when they are not what a
    /// listing would show anyway.
    pub(crate) fn new_attrs(&self, mode: u32, usual: u32, owner: Owner, now: SystemTime) -> Attrs {
        let mut attrs = Attrs::new(mode & 0o7777, owner.uid, owner.gid, now);
        attrs.chosen =
            attrs.mode != usual || owner.uid != self.settings.uid || owner.gid != self.settings.gid;
        attrs
    }

    /// Takes a node's name away and wants its object gone.
    pub(crate) fn remove(
        &self,
        state: &mut State,
        ino: Ino,
        batch: &mut Batch,
    ) -> Result<(), FsError> {
        state.want_gone(ino, self.upload_time(), batch)?;
        let now = SystemTime::now();
        let node = state.tree.node_mut(ino)?;
        node.attrs.ctime = now;
        let parent = node.parent;
        let forgotten = state.remembered_as(ino)?;
        self.index_leaves(state, ino)?;
        state.forgotten.push(forgotten);
        state.touch_directory(parent, now);
        if state.tree.node(ino)?.opens == 0 {
            state.release_body(ino);
        }
        state.tree.unlink(ino)
    }

    /// A directory that had entries goes on existing when the last one is gone: it gets a
    /// marker where it had none.
    fn keep_directory(
        &self,
        state: &mut State,
        ino: Ino,
        batch: &mut Batch,
    ) -> Result<(), FsError> {
        if ino == crate::ROOT
            || !state.tree.directory(ino)?.children.is_empty()
            || state.tree.node(ino)?.unlinked
        {
            return Ok(());
        }
        let key = state.tree.key(ino)?;
        if state.tree.node(ino)?.remote.is_some() || state.pending.at(&key).is_some() {
            return Ok(());
        }
        state.want_put(ino, self.upload_time(), batch)
    }

    /// Moves a node to a name, in place of `target`.
    fn move_to(
        &self,
        state: &mut State,
        ino: Ino,
        parent: Ino,
        name: &str,
        target: Option<Ino>,
        batch: &mut Batch,
    ) -> Result<(), FsError> {
        let kind = state.tree.node(ino)?.kind();
        if kind == Kind::Directory && state.tree.is_within(parent, ino) {
            return Err(FsError::Invalid);
        }
        state.check_lengths(ino, parent, name)?;
        if let Some(target) = target {
            self.remove(state, target, batch)?;
        }
        let now = SystemTime::now();
        let old_parent = state.tree.node(ino)?.parent;
        self.index_leaves(state, ino)?;
        let moving = state.take_out(ino, self.upload_time(), batch)?;
        let segment = segment_for(name, kind);
        let segment = (segment != name).then(|| segment.into_boxed_str());
        state.tree.relink(ino, parent, name, segment)?;
        self.forget_before(state, ino)?;
        state.put_in(moving, self.upload_time(), batch)?;
        state.tree.node_mut(ino)?.attrs.ctime = now;
        state.touch_directory(old_parent, now);
        state.touch_directory(parent, now);
        self.index_moved(state, ino)
    }

    fn exchange(
        &self,
        state: &mut State,
        one: Ino,
        other: Ino,
        batch: &mut Batch,
    ) -> Result<(), FsError> {
        if state.tree.is_within(one, other) || state.tree.is_within(other, one) {
            return Err(FsError::Invalid);
        }
        let place = |state: &State, ino| -> Result<(Ino, Box<str>, Kind), FsError> {
            let node = state.tree.node(ino)?;
            Ok((node.parent, node.name.clone(), node.kind()))
        };
        let (parent, name, kind) = place(state, one)?;
        let (other_parent, other_name, other_kind) = place(state, other)?;
        let ready = self.upload_time();
        self.index_leaves(state, one)?;
        self.index_leaves(state, other)?;
        let first = state.take_out(one, ready, batch)?;
        let second = state.take_out(other, ready, batch)?;
        let aside = format!("{}exchange", entry_name::MARK);
        let segment = |name: &str, kind| {
            let segment = segment_for(name, kind);
            (segment != name).then(|| segment.into_boxed_str())
        };
        state.tree.relink(one, parent, &aside, None)?;
        state
            .tree
            .relink(other, parent, &name, segment(&name, other_kind))?;
        state
            .tree
            .relink(one, other_parent, &other_name, segment(&other_name, kind))?;
        state.put_in(first, ready, batch)?;
        state.put_in(second, ready, batch)?;
        self.index_moved(state, one)?;
        self.index_moved(state, other)
    }

    /// Index entries go with the names.
    fn index_moved(&self, state: &mut State, ino: Ino) -> Result<(), FsError> {
        let mut moved = state.tree.descendants(ino);
        moved.push(ino);
        for ino in moved {
            state.unsaved.insert(ino);
            if state.tree.node(ino)?.attrs.chosen {
                self.index_later(state, ino)?;
            }
        }
        Ok(())
    }
}

/// A node on its way from one key to another.
struct Moving {
    ino: Ino,
    /// What must come about at the new key; `None` where only the tree knows of the node.
    want: Option<Moved>,
}

enum Moved {
    /// The body, the link's target or the marker is to be written.
    Write,
    /// The content is copied inside the bucket.
    Copy { from: Key, etag: bucket::Etag },
}

impl State {
    /// rename(2)'s rules for a name that is taken.
    fn check_replace(&self, ino: Ino, target: Ino) -> Result<(), FsError> {
        let kind = self.tree.node(ino)?.kind();
        match (&self.tree.node(target)?.content, kind) {
            (Content::Directory(directory), Kind::Directory) => {
                if directory.children.is_empty() && directory.listed.is_some() {
                    Ok(())
                } else {
                    Err(FsError::NotEmpty)
                }
            }
            (Content::Directory(_), _) => Err(FsError::IsADirectory),
            (_, Kind::Directory) => Err(FsError::NotADirectory),
            _ => Ok(()),
        }
    }

    /// No key may grow past what S3 takes.
    fn check_lengths(&self, ino: Ino, parent: Ino, name: &str) -> Result<(), FsError> {
        let old = self.tree.key(ino)?.as_str().len();
        let new = self
            .tree
            .key_for(parent, name, self.tree.node(ino)?.kind())?
            .as_str()
            .len();
        for below in self.tree.descendants(ino) {
            if self.tree.key(below)?.as_str().len() - old + new > Key::MAX_BYTES {
                return Err(FsError::NameTooLong);
            }
        }
        Ok(())
    }

    /// Prepares a node and everything below it to leave their keys: what is in the bucket
    /// there will be deleted, what is wanted there is remembered.
    fn take_out(
        &mut self,
        ino: Ino,
        ready: Stamp,
        batch: &mut Batch,
    ) -> Result<Vec<Moving>, FsError> {
        let mut nodes = vec![ino];
        nodes.extend(self.tree.descendants(ino));
        let now = Stamp::now();
        let mut moving = Vec::with_capacity(nodes.len());
        for ino in nodes {
            let key = self.tree.key(ino)?;
            let want = self.what_moves(ino, &key)?;
            let base = self.base(ino)?;
            self.pending.remove_object(&key, base, ready);
            self.gone.insert(key.clone(), now);
            let forgotten = self.remembered_as(ino)?;
            self.forgotten.push(forgotten);
            batch.touch(&key);
            moving.push(Moving { ino, want });
        }
        Ok(moving)
    }

    fn what_moves(&self, ino: Ino, key: &Key) -> Result<Option<Moved>, FsError> {
        let node = self.tree.node(ino)?;
        if node.kind() == Kind::Directory {
            let marked = node.remote.is_some() || self.pending.at(key).is_some();
            return Ok(marked.then_some(Moved::Write));
        }
        let wanted = self.pending.at(key).map(|op| &op.want);
        Ok(match (wanted, &node.remote) {
            (Some(Want::Copy { from, etag, .. }), _) => Some(Moved::Copy {
                from: from.clone(),
                etag: etag.clone(),
            }),
            (None, Some(remote)) => Some(Moved::Copy {
                from: remote.at.clone().unwrap_or_else(|| key.clone()),
                etag: remote.etag.clone(),
            }),
            _ => Some(Moved::Write),
        })
    }

    /// Wants the moved nodes at their new keys.
    fn put_in(
        &mut self,
        moving: Vec<Moving>,
        ready: Stamp,
        batch: &mut Batch,
    ) -> Result<(), FsError> {
        for Moving { ino, want } in moving {
            let key = self.tree.key(ino)?;
            self.is_back(&key, batch);
            let base = self.pending.base_at(&key, None);
            let node = self.tree.node_mut(ino)?;
            match want {
                None => continue,
                Some(Moved::Write) => {
                    node.leave_bucket();
                    let want = match node.kind() {
                        Kind::Directory => Want::Marker { ino },
                        _ => Want::Put { ino },
                    };
                    self.pending.set(key.clone(), want, base, ready);
                }
                Some(Moved::Copy { from, etag }) => {
                    self.copy_in(ino, &key, from, etag, base, ready)?
                }
            }
            batch.touch(&key);
        }
        Ok(())
    }

    fn copy_in(
        &mut self,
        ino: Ino,
        key: &Key,
        from: Key,
        etag: bucket::Etag,
        base: Base,
        ready: Stamp,
    ) -> Result<(), FsError> {
        let node = self.tree.node_mut(ino)?;
        let size = node.remote.as_ref().map_or(node.size, |remote| remote.size);
        let home_again = from == *key;
        node.remote = Some(Remote {
            at: (!home_again).then(|| from.clone()),
            etag: etag.clone(),
            size,
            seen: Stamp::now(),
        });
        if home_again {
            // Moved away and back before anything happened in the bucket.
            self.pending.take(key);
        } else {
            self.pending
                .set(key.clone(), Want::Copy { ino, from, etag }, base, ready);
        }
        Ok(())
    }

    /// Names of a directory as a reader sees them, `.` and `..` first.
    fn names(&self, ino: Ino) -> Result<Vec<(String, Ino)>, FsError> {
        let parent = self.tree.node(ino)?.parent;
        let children = &self.tree.directory(ino)?.children;
        let mut names = Vec::with_capacity(children.len() + 2);
        names.push((".".to_owned(), ino));
        names.push(("..".to_owned(), parent));
        names.extend(children.iter().map(|(name, ino)| (name.to_string(), *ino)));
        Ok(names)
    }

    /// Forgets a node that nothing reaches any more, with its cached body.
    pub(crate) fn collect(&mut self, ino: Ino) {
        if let Some(node) = self.tree.collect(ino)
            && let Some(body) = node.body()
        {
            body.discard();
        }
    }
}

/// Whether a program may make an entry of this name.
fn check_name(parent: Ino, name: &str, kind: Kind) -> Result<(), FsError> {
    if segment_for(name, kind).len() > entry_name::MAX_BYTES {
        return Err(FsError::NameTooLong);
    }
    let hidden = parent == crate::ROOT && name == crate::merge::HIDDEN;
    let clashes = kind == Kind::File
        && name.ends_with(entry_name::LINK_SUFFIX)
        && name.len() > entry_name::LINK_SUFFIX.len();
    if name.is_empty() || name.contains('\0') || !entry_name::may_create(name) || hidden || clashes
    {
        return Err(FsError::Invalid);
    }
    Ok(())
}
