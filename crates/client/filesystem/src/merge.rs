//! Takes a directory's listing into the tree without undoing what happened here meanwhile.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::SystemTime;

use bucket::{Etag, Key};
use model::entry_name;

use crate::attributes::IndexEntry;
use crate::clock::{Stamp, from_nanos};
use crate::core::{Core, State, attrs_of};
use crate::pending::Want;
use crate::remembered::{Memory, MemoryKind};
use crate::tree::{Content, Directory, Node, Remote};
use crate::{Change, FsError, Gone, Ino, Kind, ROOT};

pub(crate) use model::entry_name::HIDDEN;

/// The entries of one directory as the bucket listed them.
#[derive(Default)]
pub(crate) struct Listing {
    pub(crate) objects: Vec<Found>,
    pub(crate) directories: BTreeSet<String>,
    /// The directory's own marker object, if it was seen.
    pub(crate) marker: Option<(Etag, i128)>,
    /// What the directory's attribute index says, by key segment.
    pub(crate) index: HashMap<String, IndexEntry>,
}

/// One object of a listing.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) segment: String,
    pub(crate) size: u64,
    pub(crate) etag: Etag,
    pub(crate) modified: i128,
}

/// What to tell a kernel afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Notice {
    Changed(Ino, Change),
    Appeared(Ino, String),
    Removed(Gone),
    Unneeded(Ino, String),
}

impl Core {
    pub(crate) fn tell(&self, notices: Vec<Notice>) {
        for notice in notices {
            match notice {
                Notice::Changed(ino, change) => self.watcher.changed(ino, change),
                Notice::Appeared(parent, name) => self.watcher.appeared(parent, &name),
                Notice::Removed(gone) => self.watcher.removed(gone),
                Notice::Unneeded(parent, name) => self.watcher.unneeded(parent, &name),
            }
        }
    }

    /// Makes a directory's children what the listing says, save for what is newer here.
    pub(crate) fn merge(
        &self,
        state: &mut State,
        directory: Ino,
        listing: Listing,
        began: Stamp,
    ) -> Result<Vec<Notice>, FsError> {
        let prefix = state.tree.prefix_of(directory)?;
        let memories = self.recall(state, directory, &prefix)?;
        let listed_before = state.tree.directory(directory)?.listed.is_some();
        let mut merge = Merge {
            core: self,
            state,
            directory,
            prefix,
            began,
            memories,
            listed_before,
            notices: Vec::new(),
        };
        merge.run(listing)?;
        Ok(merge.notices)
    }

    fn recall(
        &self,
        state: &mut State,
        directory: Ino,
        prefix: &str,
    ) -> Result<HashMap<(String, bool), Memory>, FsError> {
        let entry = state.tree.directory_mut(directory)?;
        if std::mem::replace(&mut entry.recalled, true) {
            return Ok(HashMap::new());
        }
        Ok(self.remembered.recall(prefix))
    }
}

struct Merge<'a> {
    core: &'a Core,
    state: &'a mut State,
    directory: Ino,
    prefix: String,
    began: Stamp,
    memories: HashMap<(String, bool), Memory>,
    /// Whether a kernel may have heard that a name is not there.
    listed_before: bool,
    notices: Vec<Notice>,
}

/// A name that the listing gives.
enum Named {
    Directory { segment: String },
    Object { found: Found, kind: Kind },
}

impl Merge<'_> {
    fn run(&mut self, mut listing: Listing) -> Result<(), FsError> {
        if let Some((etag, modified)) = listing.marker.take() {
            self.take_marker(etag, modified)?;
        }
        let index = std::mem::take(&mut listing.index);
        let named = self.name(listing);
        self.drop_missing(&named)?;
        for (name, entry) in named {
            match entry {
                Named::Directory { segment } => self.take_directory(&name, segment, &index)?,
                Named::Object { found, kind } => self.take_object(&name, found, kind, &index)?,
            }
        }
        self.state.tree.directory_mut(self.directory)?.listed = Some(self.began);
        self.state.take_kept(self.directory, &self.prefix);
        Ok(())
    }

    fn take_marker(&mut self, etag: Etag, modified: i128) -> Result<(), FsError> {
        if self.directory == ROOT
            || self
                .state
                .pending
                .at(&self.state.tree.key(self.directory)?)
                .is_some()
        {
            return Ok(());
        }
        let node = self.state.tree.node_mut(self.directory)?;
        if node
            .remote
            .as_ref()
            .is_none_or(|remote| remote.seen < self.began)
        {
            if node.remote.is_none() && !node.attrs.chosen {
                node.attrs.mtime = time_of(modified);
            }
            node.remote = Some(Remote {
                at: None,
                etag,
                size: 0,
                seen: self.began,
            });
        }
        Ok(())
    }

    /// Gives every entry its file name; of two that claim one name, the directory keeps
    /// it, then the plain file.
    fn name(&self, listing: Listing) -> BTreeMap<String, Named> {
        let mut named = BTreeMap::new();
        for segment in listing.directories {
            if self.directory == ROOT && segment == HIDDEN {
                continue;
            }
            // What went away here takes no name from a file that is new.
            if self.is_gone(&format!("{}{segment}/", self.prefix)) {
                continue;
            }
            let name = entry_name::from_segment(&segment).into_owned();
            named.insert(name, Named::Directory { segment });
        }
        let (links, files): (Vec<_>, Vec<_>) = listing
            .objects
            .into_iter()
            .partition(|found| is_link(&found.segment));
        for found in files {
            let mut name = entry_name::from_segment(&found.segment).into_owned();
            if named.contains_key(&name) {
                name = entry_name::shadowed(&found.segment);
            }
            named.insert(
                name,
                Named::Object {
                    found,
                    kind: Kind::File,
                },
            );
        }
        for found in links {
            let plain = found
                .segment
                .strip_suffix(entry_name::LINK_SUFFIX)
                .unwrap_or_default();
            let name = entry_name::from_segment(plain).into_owned();
            let taken = named.contains_key(&name) || name.len() > entry_name::MAX_BYTES;
            let (name, kind) = if taken {
                (entry_name::shadowed(&found.segment), Kind::File)
            } else {
                (name, Kind::Symlink)
            };
            named.insert(name, Named::Object { found, kind });
        }
        named
    }

    /// Takes away what the bucket no longer has and nothing here still wants.
    fn drop_missing(&mut self, named: &BTreeMap<String, Named>) -> Result<(), FsError> {
        let missing: Vec<Ino> = self
            .state
            .tree
            .directory(self.directory)?
            .children
            .iter()
            .filter(|(name, _)| !named.contains_key(name.as_ref()))
            .map(|(_, ino)| *ino)
            .collect();
        for ino in missing {
            if !self.is_ours(ino)? {
                self.remove(ino)?;
            }
        }
        Ok(())
    }

    /// Whether a node holds something that this listing cannot speak about.
    fn is_ours(&self, ino: Ino) -> Result<bool, FsError> {
        let key = self.state.tree.key(ino)?;
        if self.state.pending.at(&key).is_some() || self.state.pending.is_running(&key) {
            return Ok(true);
        }
        let node = self.state.tree.node(ino)?;
        if node
            .remote
            .as_ref()
            .is_some_and(|remote| remote.seen > self.began)
            || node.writers > 0
        {
            return Ok(true);
        }
        if node.kind() == Kind::Directory {
            let pending_below = self
                .state
                .pending
                .below(key.as_str())
                .any(|(_, op)| op.want != Want::Delete);
            return Ok(pending_below || self.has_newer_below(ino));
        }
        Ok(false)
    }

    fn has_newer_below(&self, ino: Ino) -> bool {
        self.state.tree.descendants(ino).into_iter().any(|below| {
            self.state.tree.node(below).is_ok_and(|node| {
                node.writers > 0
                    || node
                        .remote
                        .as_ref()
                        .is_some_and(|remote| remote.seen > self.began)
            })
        })
    }

    fn remove(&mut self, ino: Ino) -> Result<(), FsError> {
        let mut below = self.state.tree.descendants(ino);
        below.reverse();
        for inner in below {
            self.went(inner)?;
            self.state.give_up(inner)?;
        }
        let forgotten = self.state.remembered_as(ino)?;
        self.state.forgotten.push(forgotten);
        self.notices
            .push(Notice::Removed(Gone::of(self.state, ino)?));
        self.state.give_up(ino)
    }

    /// Tells of a name inside a directory that goes, where a kernel knows of the two.
    fn went(&mut self, ino: Ino) -> Result<(), FsError> {
        let node = self.state.tree.node(ino)?;
        let known = node.references > 0 || self.state.tree.node(node.parent)?.references > 0;
        if known {
            self.notices
                .push(Notice::Removed(Gone::of(self.state, ino)?));
        }
        Ok(())
    }

    fn take_directory(
        &mut self,
        name: &str,
        segment: String,
        index: &HashMap<String, IndexEntry>,
    ) -> Result<(), FsError> {
        if let Some(ino) = self.state.tree.child(self.directory, name)? {
            if self.state.tree.node(ino)?.kind() == Kind::Directory {
                return self.refresh_directory(ino, segment, index);
            }
            if self.is_ours(ino)? {
                return Ok(());
            }
            self.remove(ino)?;
        }
        let key = format!("{}{segment}/", self.prefix);
        if self.is_gone(&key) {
            return Ok(());
        }
        let memory = self.memories.remove(&(segment.clone(), true));
        let mut attrs = self.core.default_attrs(0o755, SystemTime::now());
        let mut ino = 0;
        if let Some(memory) = memory {
            attrs = attrs_of(&memory.attrs);
            ino = memory.ino;
        }
        let indexed = format!("{segment}/");
        let stale = self.state.index.is_to_be_told(&self.prefix, &indexed);
        if let Some(entry) = index.get(&indexed).filter(|_| !stale) {
            entry.apply(&mut attrs);
        }
        let mut node = Node::new(ino, name, attrs, Content::Directory(Directory::default()));
        node.segment = (segment != name).then(|| segment.into());
        let ino = self.state.tree.add(self.directory, node)?;
        self.state.unsaved.insert(ino);
        self.appeared(name);
        Ok(())
    }

    /// A directory that is known: a walk may have made it before its own entry was seen, and
    /// another machine may have changed its attributes.
    fn refresh_directory(
        &mut self,
        ino: Ino,
        segment: String,
        index: &HashMap<String, IndexEntry>,
    ) -> Result<(), FsError> {
        let key = self.state.tree.key(ino)?;
        if self.state.pending.at(&key).is_some() || self.state.pending.is_running(&key) {
            return Ok(());
        }
        let name = format!("{segment}/");
        let speaks = self.state.index.speaks(&self.prefix, &name, self.began);
        let memory = self.memories.remove(&(segment, true));
        let node = self.state.tree.node_mut(ino)?;
        let before = node.attrs.clone();
        if let Some(memory) = memory
            && !node.attrs.chosen
        {
            node.attrs = attrs_of(&memory.attrs);
        }
        if let Some(entry) = index.get(&name).filter(|_| speaks) {
            entry.apply(&mut node.attrs);
        }
        if node.attrs != before {
            self.state.unsaved.insert(ino);
            self.notices.push(Notice::Changed(ino, Change::Attributes));
        }
        Ok(())
    }

    fn take_object(
        &mut self,
        name: &str,
        found: Found,
        kind: Kind,
        index: &HashMap<String, IndexEntry>,
    ) -> Result<(), FsError> {
        let key = format!("{}{}", self.prefix, found.segment);
        let entry = index
            .get(&found.segment)
            .filter(|entry| entry.etag == found.etag.as_str());
        if let Some(ino) = self.state.tree.child(self.directory, name)? {
            if self.is_ours(ino)? {
                return Ok(());
            }
            if self.state.tree.node(ino)?.kind() == kind {
                return self.refresh(ino, &found, entry);
            }
            self.remove(ino)?;
        }
        if self.is_gone(&key) {
            return Ok(());
        }
        let stale = (self.state.index).is_to_be_told(&self.prefix, &found.segment);
        self.add_object(name, found, kind, entry.filter(|_| !stale))
    }

    /// An object that is known: nothing to do unless its version is another.
    fn refresh(
        &mut self,
        ino: Ino,
        found: &Found,
        entry: Option<&IndexEntry>,
    ) -> Result<(), FsError> {
        let speaks = (self.state.index).speaks(&self.prefix, &found.segment, self.began);
        let node = self.state.tree.node_mut(ino)?;
        if node
            .remote
            .as_ref()
            .is_some_and(|remote| remote.etag == found.etag)
        {
            if let Some(entry) = entry.filter(|_| speaks)
                && entry.apply(&mut node.attrs)
            {
                self.state.unsaved.insert(ino);
                self.notices.push(Notice::Changed(ino, Change::Attributes));
            }
            return Ok(());
        }
        let (ino, notice) = self.state.inode_for_other_content(ino, 0)?;
        let fresh = self.core.default_attrs(0o644, time_of(found.modified));
        let node = self.state.tree.node_mut(ino)?;
        node.attrs = fresh;
        if let Some(entry) = entry {
            entry.apply(&mut node.attrs);
        }
        node.size = found.size;
        node.generation += 1;
        node.told = false;
        node.remote = Some(remote_of(found, self.began));
        if let Content::Symlink { target } = &mut node.content {
            *target = None;
        }
        self.state.unsaved.insert(ino);
        self.notices.push(notice);
        Ok(())
    }

    fn add_object(
        &mut self,
        name: &str,
        found: Found,
        kind: Kind,
        entry: Option<&IndexEntry>,
    ) -> Result<(), FsError> {
        let mode = if kind == Kind::Symlink { 0o777 } else { 0o644 };
        let mut attrs = self.core.default_attrs(mode, time_of(found.modified));
        let memory = self
            .memories
            .remove(&(found.segment.clone(), false))
            .filter(|memory| memory.etag == found.etag.as_str() && memory.size == found.size);
        let (mut ino, mut body, mut target) = (0, None, None);
        if let Some(memory) = memory {
            ino = memory.ino;
            attrs = attrs_of(&memory.attrs);
            target = memory
                .target
                .filter(|_| memory.kind == MemoryKind::Symlink)
                .map(Into::into);
            body = memory
                .body
                .and_then(|id| crate::body::BodyId::parse(&id))
                .and_then(|id| self.core.cache.reopen(id, Some(found.size)))
                .map(|(body, _)| body);
        }
        if let Some(entry) = entry {
            entry.apply(&mut attrs);
        }
        let content = match kind {
            Kind::Symlink => Content::Symlink { target },
            _ => Content::File {
                body,
                backing: false,
            },
        };
        let mut node = Node::new(ino, name, attrs, content);
        node.segment = (found.segment != name).then(|| found.segment.as_str().into());
        node.size = found.size;
        node.remote = Some(remote_of(&found, self.began));
        let ino = self.state.tree.add(self.directory, node)?;
        self.state.unsaved.insert(ino);
        self.appeared(name);
        Ok(())
    }

    fn appeared(&mut self, name: &str) {
        if self.listed_before {
            self.notices
                .push(Notice::Appeared(self.directory, name.to_owned()));
        }
    }

    /// Whether a key that the listing shows went away here after the listing began, or is
    /// still waiting to go.
    fn is_gone(&self, key: &str) -> bool {
        let Ok(parsed) = Key::new(key) else {
            return true;
        };
        let pending_delete = |key: &Key| {
            self.state
                .pending
                .at(key)
                .is_some_and(|op| op.want == Want::Delete)
        };
        if self
            .state
            .gone
            .get(&parsed)
            .is_some_and(|gone| *gone > self.began)
            || pending_delete(&parsed)
        {
            return true;
        }
        key.ends_with('/')
            && self.state.gone.contains_key(&parsed)
            && self
                .state
                .pending
                .below(key)
                .any(|(_, op)| op.want == Want::Delete)
    }
}

impl Gone {
    /// Of a node that is about to lose its name.
    pub(crate) fn of(state: &State, ino: Ino) -> Result<Self, FsError> {
        let node = state.tree.node(ino)?;
        Ok(Self {
            parent: node.parent,
            directory: state.tree.path_of(node.parent)?,
            name: node.name.to_string(),
            attr: node.attr(),
        })
    }
}

impl State {
    /// Takes the name from a node that is no longer in the bucket.
    fn give_up(&mut self, ino: Ino) -> Result<(), FsError> {
        // Who has it open goes on with it.
        if self.tree.node(ino)?.opens == 0 {
            self.release_body(ino);
        }
        self.tree.supersede(ino)
    }

    /// The inode that takes another version of a file: the same one, without its body, while
    /// no more than `own` handles are open on it; else a new one under its name, because a
    /// kernel keeps one page cache and one backing file for all handles of an inode. Gives
    /// also what the kernel must hear.
    pub(crate) fn inode_for_other_content(
        &mut self,
        ino: Ino,
        own: u32,
    ) -> Result<(Ino, Notice), FsError> {
        let node = self.tree.node(ino)?;
        if node.opens <= own {
            self.release_body(ino);
            return Ok((ino, Notice::Changed(ino, Change::Content)));
        }
        let (parent, name) = (node.parent, node.name.to_string());
        let content = Content::File {
            body: None,
            backing: false,
        };
        let mut fresh = Node::new(0, &name, node.attrs.clone(), content);
        fresh.segment.clone_from(&node.segment);
        fresh.size = node.size;
        fresh.remote.clone_from(&node.remote);
        self.tree.supersede(ino)?;
        let ino = self.tree.add(parent, fresh)?;
        Ok((ino, Notice::Appeared(parent, name)))
    }

    /// Lets go of a node's cached body; open handles keep reading theirs.
    pub(crate) fn release_body(&mut self, ino: Ino) {
        if let Ok(node) = self.tree.node_mut(ino)
            && let Content::File { body, .. } = &mut node.content
            && let Some(body) = body.take()
        {
            body.discard();
        }
    }
}

fn is_link(segment: &str) -> bool {
    segment.len() > entry_name::LINK_SUFFIX.len() && segment.ends_with(entry_name::LINK_SUFFIX)
}

fn remote_of(found: &Found, seen: Stamp) -> Remote {
    Remote {
        at: None,
        etag: found.etag.clone(),
        size: found.size,
        seen,
    }
}

fn time_of(nanos: i128) -> SystemTime {
    from_nanos(i64::try_from(nanos).unwrap_or(0))
}
