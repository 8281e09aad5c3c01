//! The namespace in memory: inodes, names, and how a node's place gives its object key.
//!
//! Pure bookkeeping: nothing here does I/O, knows what is pending, or asks the clock.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bucket::{Etag, Key};
use model::entry_name;

use crate::body::{Body, BodyStamp};
use crate::clock::{Stamp, from_nanos};
use crate::{Attr, FsError, Ino, Kind, ROOT};

/// All inodes and their names.
pub(crate) struct Tree {
    nodes: HashMap<Ino, Node>,
    next_ino: Ino,
    prefix: String,
}

impl Directory {
    /// How old the listing is that the children reflect; `None` when never listed.
    pub(crate) fn age(&self) -> Option<Duration> {
        let listed = self.listed?;
        let is_doubted = self.doubted.is_some_and(|doubted| listed < doubted);
        Some(if is_doubted {
            Duration::MAX
        } else {
            listed.age()
        })
    }
}

/// One inode.
pub(crate) struct Node {
    pub(crate) ino: Ino,
    /// The directory that holds it; meaningless once `unlinked`.
    pub(crate) parent: Ino,
    pub(crate) name: Box<str>,
    /// The key segment, where it is not the name itself (escaped names, links).
    pub(crate) segment: Option<Box<str>>,
    pub(crate) attrs: Attrs,
    pub(crate) size: u64,
    /// The object that holds the content, as last seen; `None` before the first upload.
    pub(crate) remote: Option<Remote>,
    pub(crate) content: Content,
    /// References that a kernel holds.
    pub(crate) references: u64,
    /// Handles open on it, and how many of them may write.
    pub(crate) opens: u32,
    pub(crate) writers: u32,
    /// Grows whenever the content changes behind a kernel's page cache.
    pub(crate) generation: u64,
    /// The generation at the last open, to know whether cached pages still hold.
    pub(crate) opened_generation: Option<u64>,
    /// What the body looked like when its content was last known to be in the bucket, while
    /// it is pending: opened for writing while clean, or uploaded while open. The content
    /// is still there as long as the body looks so.
    pub(crate) sent: Option<BodyStamp>,
    /// The metadata of this version's object was read.
    pub(crate) told: bool,
    /// No name leads here any more; it lives on for its open handles.
    pub(crate) unlinked: bool,
    /// Its name was taken by what happened elsewhere, and a kernel may not have heard yet:
    /// who comes by the name is to look it up again.
    pub(crate) superseded: bool,
}

/// What the node is made of.
pub(crate) enum Content {
    File {
        /// The local copy, whole or in part.
        body: Option<Arc<Body>>,
        /// Whether all handles go to the backing file; kept after the last close, because
        /// mappings outlive descriptors.
        backing: bool,
    },
    Directory(Directory),
    Symlink {
        /// Known for links made here or read before.
        target: Option<Box<str>>,
    },
}

/// A directory's names.
#[derive(Default)]
pub(crate) struct Directory {
    pub(crate) children: BTreeMap<Box<str>, Ino>,
    /// When the listing began that `children` reflects; `None` when never listed.
    pub(crate) listed: Option<Stamp>,
    /// Until then something may have happened that was not told.
    pub(crate) doubted: Option<Stamp>,
    /// Whether remembered entries were taken in.
    pub(crate) recalled: bool,
    /// Subdirectories among the children.
    pub(crate) subdirectories: u32,
    /// When a program last read this directory's names (a walk is recognised by it).
    pub(crate) read: Option<Stamp>,
}

/// Attributes other than size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attrs {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: SystemTime,
    pub(crate) ctime: SystemTime,
    pub(crate) atime: SystemTime,
    #[allow(
        clippy::box_collection,
        reason = "most nodes have none, and there are many nodes"
    )]
    pub(crate) xattrs: Option<Box<BTreeMap<String, Vec<u8>>>>,
    /// Something here was set on purpose, so it belongs in the attribute index.
    pub(crate) chosen: bool,
}

/// An object as last seen in the bucket.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    /// Where it is, while that is not yet the node's own key (a rename being carried out).
    pub(crate) at: Option<Key>,
    pub(crate) etag: Etag,
    pub(crate) size: u64,
    /// When this was learned: listings begun earlier say nothing about it.
    pub(crate) seen: Stamp,
}

impl Tree {
    /// A tree with only the root. `prefix` is empty or ends with `/`.
    pub(crate) fn new(prefix: &str, root: Attrs) -> Self {
        let mut tree = Self {
            nodes: HashMap::new(),
            next_ino: ROOT + 1,
            prefix: prefix.to_owned(),
        };
        let mut node = Node::new(ROOT, "", root, Content::Directory(Directory::default()));
        node.ino = ROOT;
        node.references = 1;
        tree.nodes.insert(ROOT, node);
        tree
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Inode numbers given out after this are larger than `ino`.
    pub(crate) fn reserve_inos(&mut self, ino: Ino) {
        self.next_ino = self.next_ino.max(ino + 1);
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    pub(crate) fn contains(&self, ino: Ino) -> bool {
        self.nodes.contains_key(&ino)
    }

    pub(crate) fn node(&self, ino: Ino) -> Result<&Node, FsError> {
        self.nodes.get(&ino).ok_or(FsError::NotFound)
    }

    pub(crate) fn node_mut(&mut self, ino: Ino) -> Result<&mut Node, FsError> {
        self.nodes.get_mut(&ino).ok_or(FsError::NotFound)
    }

    pub(crate) fn directory(&self, ino: Ino) -> Result<&Directory, FsError> {
        match &self.node(ino)?.content {
            Content::Directory(directory) => Ok(directory),
            _ => Err(FsError::NotADirectory),
        }
    }

    /// Lets a listing that began before count as old.
    pub(crate) fn doubt(&mut self, directory: Ino, before: Stamp) {
        if let Ok(directory) = self.directory_mut(directory) {
            directory.doubted = Some(before);
        }
    }

    /// Lets every listing that began before count as old, and gives the directories whose
    /// names were used last, at most so many.
    pub(crate) fn doubt_listings(&mut self, before: Stamp, most: usize) -> Vec<Ino> {
        let mut known = Vec::new();
        for (ino, node) in &mut self.nodes {
            if let Content::Directory(directory) = &mut node.content
                && directory.listed.is_some()
            {
                directory.doubted = Some(before);
                known.push((directory.read.max(directory.listed), *ino));
            }
        }
        known.sort_unstable_by(|one, other| other.cmp(one));
        known.truncate(most);
        known.into_iter().map(|(_, ino)| ino).collect()
    }

    pub(crate) fn directory_mut(&mut self, ino: Ino) -> Result<&mut Directory, FsError> {
        match &mut self.node_mut(ino)?.content {
            Content::Directory(directory) => Ok(directory),
            _ => Err(FsError::NotADirectory),
        }
    }

    pub(crate) fn child(&self, parent: Ino, name: &str) -> Result<Option<Ino>, FsError> {
        Ok(self.directory(parent)?.children.get(name).copied())
    }

    /// Adds a node under `parent`; the name must be free. Keeps `node.ino` when it is free
    /// (a remembered number), otherwise gives a new one.
    pub(crate) fn add(&mut self, parent: Ino, mut node: Node) -> Result<Ino, FsError> {
        if node.ino <= ROOT || self.nodes.contains_key(&node.ino) {
            node.ino = self.next_ino;
        }
        self.next_ino = self.next_ino.max(node.ino + 1);
        let ino = node.ino;
        node.parent = parent;
        self.link(parent, &node.name.clone(), ino, node.kind())?;
        self.nodes.insert(ino, node);
        Ok(ino)
    }

    /// Takes the name away. The node stays while it is open or referenced; see
    /// [`Self::collect`].
    pub(crate) fn unlink(&mut self, ino: Ino) -> Result<(), FsError> {
        let node = self.node(ino)?;
        let (parent, name, kind) = (node.parent, node.name.clone(), node.kind());
        self.unhook(parent, &name, kind)?;
        self.node_mut(ino)?.unlinked = true;
        self.collect(ino);
        Ok(())
    }

    /// The same for a node whose name was taken by what happened elsewhere.
    pub(crate) fn supersede(&mut self, ino: Ino) -> Result<(), FsError> {
        self.node_mut(ino)?.superseded = true;
        self.unlink(ino)
    }

    /// Moves a node to another place; the name there must be free.
    pub(crate) fn relink(
        &mut self,
        ino: Ino,
        parent: Ino,
        name: &str,
        segment: Option<Box<str>>,
    ) -> Result<(), FsError> {
        let node = self.node(ino)?;
        let (old_parent, old_name, kind) = (node.parent, node.name.clone(), node.kind());
        self.unhook(old_parent, &old_name, kind)?;
        self.link(parent, name, ino, kind)?;
        let node = self.node_mut(ino)?;
        node.parent = parent;
        node.name = name.into();
        node.segment = segment;
        Ok(())
    }

    /// Forgets a node that nothing can reach any more.
    pub(crate) fn collect(&mut self, ino: Ino) -> Option<Node> {
        let node = self.nodes.get(&ino)?;
        if node.unlinked && node.opens == 0 && node.references == 0 {
            return self.nodes.remove(&ino);
        }
        None
    }

    fn link(&mut self, parent: Ino, name: &str, ino: Ino, kind: Kind) -> Result<(), FsError> {
        let directory = self.directory_mut(parent)?;
        directory.children.insert(name.into(), ino);
        if kind == Kind::Directory {
            directory.subdirectories += 1;
        }
        Ok(())
    }

    fn unhook(&mut self, parent: Ino, name: &str, kind: Kind) -> Result<(), FsError> {
        let directory = self.directory_mut(parent)?;
        directory.children.remove(name);
        if kind == Kind::Directory {
            directory.subdirectories = directory.subdirectories.saturating_sub(1);
        }
        Ok(())
    }

    /// The key prefix of everything in a directory: empty, or ending with `/`.
    pub(crate) fn prefix_of(&self, ino: Ino) -> Result<String, FsError> {
        let mut segments = Vec::new();
        let mut at = ino;
        while at != ROOT {
            let node = self.node(at)?;
            segments.push(node.segment());
            at = node.parent;
        }
        let mut prefix = self.prefix.clone();
        for segment in segments.iter().rev() {
            prefix.push_str(segment);
            prefix.push('/');
        }
        Ok(prefix)
    }

    /// The path of a directory by names, as a program in the workspace would say it: empty
    /// for the root.
    pub(crate) fn path_of(&self, directory: Ino) -> Result<String, FsError> {
        let mut names = Vec::new();
        let mut at = directory;
        while at != ROOT {
            let node = self.node(at)?;
            names.push(&*node.name);
            at = node.parent;
        }
        names.reverse();
        Ok(names.join("/"))
    }

    /// The object key of a node; a directory's is its marker's.
    pub(crate) fn key(&self, ino: Ino) -> Result<Key, FsError> {
        let node = self.node(ino)?;
        let mut key = self.prefix_of(node.parent)?;
        key.push_str(node.segment());
        if node.kind() == Kind::Directory {
            key.push('/');
        }
        Key::new(key).map_err(|_| FsError::NameTooLong)
    }

    /// The key that a new entry would have.
    pub(crate) fn key_for(&self, parent: Ino, name: &str, kind: Kind) -> Result<Key, FsError> {
        let mut key = self.prefix_of(parent)?;
        key.push_str(&segment_for(name, kind));
        if kind == Kind::Directory {
            key.push('/');
        }
        Key::new(key).map_err(|_| FsError::NameTooLong)
    }

    /// The directory whose entries have this key prefix, if it is known.
    pub(crate) fn find_directory(&self, prefix: &str) -> Option<Ino> {
        let path = prefix.strip_prefix(self.prefix.as_str())?;
        let mut at = ROOT;
        for segment in path.split_terminator('/') {
            at = self.child_directory(at, segment)?;
        }
        Some(at)
    }

    /// The directory whose entries have this key prefix, made with all directories on the
    /// way; `None` when a file has the name, or where `may_make` refuses a prefix.
    pub(crate) fn make_directories(
        &mut self,
        prefix: &str,
        attrs: &Attrs,
        may_make: impl Fn(&str) -> bool,
    ) -> Option<Ino> {
        let relative = prefix.strip_prefix(self.prefix.as_str())?;
        let mut path = self.prefix.clone();
        let mut at = ROOT;
        for segment in relative.split_terminator('/') {
            path.push_str(segment);
            path.push('/');
            if let Some(known) = self.child_directory(at, segment) {
                at = known;
                continue;
            }
            let name = entry_name::from_segment(segment);
            if self.child(at, &name).ok()?.is_some() || !may_make(&path) {
                return None;
            }
            let mut node = Node::new(
                0,
                &name,
                attrs.clone(),
                Content::Directory(Directory::default()),
            );
            node.segment = (name != segment).then(|| segment.into());
            at = self.add(at, node).ok()?;
        }
        Some(at)
    }

    /// The directory child of one key segment.
    pub(crate) fn child_directory(&self, parent: Ino, segment: &str) -> Option<Ino> {
        let name = entry_name::from_segment(segment);
        let ino = self.child(parent, &name).ok()??;
        matches!(self.node(ino).ok()?.content, Content::Directory(_)).then_some(ino)
    }

    /// Whether `ino` is `ancestor` or lies below it.
    pub(crate) fn is_within(&self, ino: Ino, ancestor: Ino) -> bool {
        let mut at = ino;
        loop {
            if at == ancestor {
                return true;
            }
            if at == ROOT {
                return false;
            }
            match self.node(at) {
                Ok(node) if !node.unlinked => at = node.parent,
                _ => return false,
            }
        }
    }

    /// Every node below a directory (not the directory itself), parents before children.
    pub(crate) fn descendants(&self, ino: Ino) -> Vec<Ino> {
        let mut found = Vec::new();
        let mut open = vec![ino];
        while let Some(at) = open.pop() {
            if let Ok(directory) = self.directory(at) {
                for child in directory.children.values() {
                    found.push(*child);
                    open.push(*child);
                }
            }
        }
        found
    }

    /// Whether every directory at and below `ino` was listed.
    pub(crate) fn is_known(&self, ino: Ino) -> bool {
        let listed = |ino: &Ino| {
            self.directory(*ino)
                .is_ok_and(|directory| directory.listed.is_some())
        };
        let is_directory = |ino: &Ino| self.directory(*ino).is_ok();
        let below = self.descendants(ino);
        std::iter::once(ino)
            .chain(below)
            .filter(is_directory)
            .all(|ino| listed(&ino))
    }

    /// The next files in reading order (names sorted, directories entered where they
    /// stand), beginning after `ino`, at most `limit` nodes looked at.
    pub(crate) fn files_after(&self, ino: Ino, limit: usize) -> Vec<Ino> {
        let mut files = Vec::new();
        let mut at = ino;
        let mut looked = 0;
        // Up the tree from `ino`: at each level the younger siblings, entered.
        for level in 0.. {
            let Ok(node) = self.node(at) else { break };
            let Ok(parent) = self.directory(node.parent) else {
                break;
            };
            let after = (
                std::ops::Bound::Excluded(node.name.as_ref()),
                std::ops::Bound::Unbounded,
            );
            for sibling in parent.children.range::<str, _>(after).map(|(_, ino)| *ino) {
                self.files_below(sibling, limit, &mut looked, &mut files);
                if looked >= limit {
                    return files;
                }
            }
            at = node.parent;
            if at == ROOT || level == 2 {
                break;
            }
        }
        files
    }

    fn files_below(&self, ino: Ino, limit: usize, looked: &mut usize, files: &mut Vec<Ino>) {
        *looked += 1;
        if *looked > limit {
            return;
        }
        match self.node(ino).map(|node| &node.content) {
            Ok(Content::File { .. }) => files.push(ino),
            Ok(Content::Directory(directory)) => {
                for child in directory.children.values() {
                    self.files_below(*child, limit, looked, files);
                }
            }
            _ => {}
        }
    }
}

impl Node {
    /// A node that is not in a tree yet.
    pub(crate) fn new(ino: Ino, name: &str, attrs: Attrs, content: Content) -> Self {
        let mut node = Self {
            ino,
            parent: ROOT,
            name: name.into(),
            segment: None,
            attrs,
            size: 0,
            remote: None,
            content,
            references: 0,
            opens: 0,
            writers: 0,
            generation: 0,
            opened_generation: None,
            sent: None,
            told: false,
            unlinked: false,
            superseded: false,
        };
        let segment = segment_for(name, node.kind());
        if segment != name {
            node.segment = Some(segment.into());
        }
        node
    }

    pub(crate) fn kind(&self) -> Kind {
        match self.content {
            Content::File { .. } => Kind::File,
            Content::Directory(_) => Kind::Directory,
            Content::Symlink { .. } => Kind::Symlink,
        }
    }

    pub(crate) fn segment(&self) -> &str {
        self.segment.as_deref().unwrap_or(&self.name)
    }

    pub(crate) fn body(&self) -> Option<&Arc<Body>> {
        match &self.content {
            Content::File { body, .. } => body.as_ref(),
            _ => None,
        }
    }

    /// Whether the content that looks so is in the bucket.
    pub(crate) fn is_sent(&self, stamp: BodyStamp) -> bool {
        self.sent == Some(stamp)
    }

    /// Refuses a node that nobody should reach by its name any more.
    pub(crate) fn check_current(&self) -> Result<(), FsError> {
        if self.superseded {
            return Err(FsError::Changed);
        }
        Ok(())
    }

    /// What this node holds is not at its key in the bucket, in no version.
    pub(crate) fn leave_bucket(&mut self) {
        self.remote = None;
        self.sent = None;
    }

    /// Whether a kernel reads and writes the body without telling us.
    pub(crate) fn is_backing(&self) -> bool {
        matches!(self.content, Content::File { backing: true, .. })
    }

    /// Size and times as a body that was written here has them.
    pub(crate) fn take_stamp(&mut self, stamp: BodyStamp) {
        if let Some(body) = self.body() {
            body.recount(stamp.size);
        }
        self.size = stamp.size;
        self.attrs.mtime = stamp.modified();
        let changed = from_nanos(i64::try_from(stamp.ctime).unwrap_or(i64::MAX));
        self.attrs.ctime = self.attrs.ctime.max(changed);
    }

    pub(crate) fn attr(&self) -> Attr {
        let nlink = match &self.content {
            Content::Directory(directory) => 2 + directory.subdirectories,
            _ => u32::from(!self.unlinked),
        };
        Attr {
            ino: self.ino,
            kind: self.kind(),
            size: self.size,
            mode: self.attrs.mode,
            uid: self.attrs.uid,
            gid: self.attrs.gid,
            nlink,
            mtime: self.attrs.mtime,
            ctime: self.attrs.ctime,
            atime: self.attrs.atime,
        }
    }
}

impl Attrs {
    pub(crate) fn new(mode: u32, uid: u32, gid: u32, now: SystemTime) -> Self {
        Self {
            mode,
            uid,
            gid,
            mtime: now,
            ctime: now,
            atime: now,
            xattrs: None,
            chosen: false,
        }
    }
}

/// The key segment of an entry made here: the name, with the link suffix for symlinks.
pub(crate) fn segment_for(name: &str, kind: Kind) -> String {
    match kind {
        Kind::Symlink => format!("{name}{}", entry_name::LINK_SUFFIX),
        _ => name.to_owned(),
    }
}
