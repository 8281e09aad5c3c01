//! The attribute index: what LIST does not tell (mode, owner, a chosen mtime, xattrs), kept
//! in a few small objects per directory under `.artifacts/attrs/`.
//!
//! # Format, version 1
//!
//! The entries of directory `d/` lie in objects `.artifacts/attrs/d/B-N.json`: all names
//! whose hash has N in its lowest B bits, at most [`MAX_ENTRIES`] each. A document is
//! `{"v":1,"entries":{NAME:{"e":ETAG,"m":MODE,"u":UID,"g":GID,"t":MTIME_NS,"x":{NAME:HEX}}}}`;
//! a directory's name ends with `/` and its `e` is empty. An entry counts only while its
//! ETag is the object's. Readers take every document of a directory that they find, finer
//! splits over coarser ones; unknown fields are kept out of the way, unknown versions are
//! ignored. Documents are replaced with conditional writes and merged per entry, so that
//! two machines do not undo each other.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bucket::{
    Body, Condition, Error as BucketError, Etag, GetOptions, Key, ListRequest, PutOptions,
};
use futures::StreamExt;
use serde::{Deserialize, Serialize};

use crate::clock::{Stamp, from_nanos, to_nanos};
use crate::core::Core;
use crate::tree::{Attrs, Node};
use crate::{FsError, Ino, Kind};

/// The most entries in one document.
pub(crate) const MAX_ENTRIES: usize = 4096;

const FOLDER: &str = ".artifacts/attrs/";

/// What the index says of one name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IndexEntry {
    #[serde(rename = "e")]
    pub(crate) etag: String,
    #[serde(rename = "m")]
    mode: u32,
    #[serde(rename = "u")]
    uid: u32,
    #[serde(rename = "g")]
    gid: u32,
    #[serde(rename = "t")]
    mtime: i64,
    #[serde(rename = "x", default, skip_serializing_if = "BTreeMap::is_empty")]
    xattrs: BTreeMap<String, String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Document {
    v: u32,
    entries: BTreeMap<String, IndexEntry>,
}

/// Which directories have an index, and what is still to be told to it.
#[derive(Default)]
pub(crate) struct Index {
    /// Directory (relative to the workspace, empty or ending with `/`) → its documents.
    catalogue: HashMap<String, Vec<(Key, Etag)>>,
    loaded: Option<Stamp>,
    documents: HashMap<Key, (Etag, Arc<BTreeMap<String, IndexEntry>>)>,
    /// Directory → names whose entries are out of date.
    dirty: HashMap<String, HashSet<String>>,
    /// Directory → when it was last told something by us: what was read before may be older.
    told: HashMap<String, Stamp>,
    /// Directory → what an earlier mount was told and could not tell the index any more, until
    /// the names are known.
    kept: HashMap<String, HashMap<String, IndexEntry>>,
}

impl IndexEntry {
    fn of(node: &Node) -> Self {
        let hex = |value: &Vec<u8>| value.iter().map(|byte| format!("{byte:02x}")).collect();
        let is_directory = node.kind() == Kind::Directory;
        let etag = node.remote.as_ref().filter(|_| !is_directory);
        Self {
            etag: etag.map_or_else(String::new, |remote| remote.etag.as_str().to_owned()),
            mode: node.attrs.mode,
            uid: node.attrs.uid,
            gid: node.attrs.gid,
            mtime: to_nanos(node.attrs.mtime),
            xattrs: node
                .attrs
                .xattrs
                .iter()
                .flat_map(|xattrs| xattrs.iter())
                .map(|(name, value)| (name.clone(), hex(value)))
                .collect(),
        }
    }

    /// Sets the attributes; says whether anything changed.
    pub(crate) fn apply(&self, attrs: &mut Attrs) -> bool {
        let mut new = attrs.clone();
        new.mode = self.mode & 0o7777;
        new.uid = self.uid;
        new.gid = self.gid;
        new.mtime = from_nanos(self.mtime);
        new.chosen = true;
        let xattrs: BTreeMap<String, Vec<u8>> = self
            .xattrs
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), unhex(value)?)))
            .collect();
        new.xattrs = (!xattrs.is_empty()).then(|| Box::new(xattrs));
        let changed = new != *attrs;
        *attrs = new;
        changed
    }
}

impl Index {
    pub(crate) fn is_clean(&self) -> bool {
        self.dirty.is_empty()
    }

    /// Whether a directory has something to be told.
    pub(crate) fn is_dirty(&self, directory: &str) -> bool {
        self.dirty.contains_key(directory)
    }

    /// Whether what the index said of a name, read after `began`, is as new as what is known
    /// here.
    pub(crate) fn speaks(&self, directory: &str, name: &str, began: Stamp) -> bool {
        let dirty = self.dirty.get(directory);
        !dirty.is_some_and(|names| names.contains(name))
            && self.told.get(directory).is_none_or(|told| *told < began)
    }

    /// Directories with something to be told.
    pub(crate) fn directories(&self) -> Vec<String> {
        self.dirty.keys().cloned().collect()
    }

    pub(crate) fn mark(&mut self, directory: &str, name: String) {
        self.dirty
            .entry(directory.to_owned())
            .or_default()
            .insert(name);
    }

    /// Keeps what an earlier mount was told of a name until that is known.
    pub(crate) fn keep(&mut self, directory: &str, name: String, entry: IndexEntry) {
        self.kept
            .entry(directory.to_owned())
            .or_default()
            .insert(name, entry);
    }
}

impl Core {
    /// Says that a node's attributes must get into its directory's index, and keeps that
    /// in the journal.
    pub(crate) fn index_later(
        &self,
        state: &mut crate::core::State,
        ino: Ino,
    ) -> Result<(), FsError> {
        let node = state.tree.node(ino)?;
        if node.unlinked || ino == crate::ROOT {
            return Ok(());
        }
        let directory = state.tree.prefix_of(node.parent)?;
        let name = index_name(node);
        let value = serde_json::to_string(&IndexEntry::of(node)).unwrap_or_default();
        self.journal
            .record_attributes(&directory, &[(name.clone(), Some(value))])?;
        state.index.mark(&directory, name);
        Ok(())
    }

    /// What the index says of a directory's names. Never fails a listing: without the
    /// index the defaults are shown.
    pub(crate) async fn index_of(&self, prefix: &str) -> HashMap<String, IndexEntry> {
        if let Err(error) = self.load_catalogue().await {
            tracing::warn!(%error, "the attribute index cannot be listed");
            return HashMap::new();
        }
        let Some(relative) = prefix.strip_prefix(self.settings.prefix.as_str()) else {
            return HashMap::new();
        };
        let mut documents = self
            .state()
            .index
            .catalogue
            .get(relative)
            .cloned()
            .unwrap_or_default();
        documents.sort_by_key(|(key, _)| shard_bits(key));
        let mut entries = HashMap::new();
        for (key, etag) in documents {
            match self.document(&key, &etag).await {
                Ok(document) => {
                    entries.extend(document.iter().map(|(k, v)| (k.clone(), v.clone())))
                }
                Err(error) => tracing::warn!(%error, %key, "an attribute index cannot be read"),
            }
        }
        entries
    }

    async fn load_catalogue(&self) -> Result<(), BucketError> {
        let fresh = self.settings.attr_ttl / 2;
        if self
            .state()
            .index
            .loaded
            .is_some_and(|loaded| loaded.age() < fresh)
        {
            return Ok(());
        }
        let began = Stamp::now();
        let root = format!("{}{FOLDER}", self.settings.prefix);
        let mut request = ListRequest {
            prefix: root.clone(),
            ..ListRequest::default()
        };
        let mut catalogue: HashMap<String, Vec<(Key, Etag)>> = HashMap::new();
        loop {
            let page = self.bucket.list(&request).await?;
            for object in page.objects {
                let rest = &object.key.as_str()[root.len()..];
                let directory = rest.rfind('/').map_or("", |slash| &rest[..=slash]);
                catalogue
                    .entry(directory.to_owned())
                    .or_default()
                    .push((object.key.clone(), object.etag));
            }
            request.token = page.next;
            if request.token.is_none() {
                break;
            }
        }
        let mut state = self.state();
        if state.index.loaded.is_none_or(|loaded| loaded < began) {
            state.index.catalogue = catalogue;
            state.index.loaded = Some(began);
        }
        Ok(())
    }

    async fn document(
        &self,
        key: &Key,
        etag: &Etag,
    ) -> Result<Arc<BTreeMap<String, IndexEntry>>, BucketError> {
        if let Some((cached, document)) = self.state().index.documents.get(key)
            && cached == etag
        {
            return Ok(Arc::clone(document));
        }
        let (etag, document) = self.fetch_document(key).await?;
        let document = Arc::new(document);
        let mut state = self.state();
        if state.index.documents.len() > 2048 {
            state.index.documents.clear();
        }
        state
            .index
            .documents
            .insert(key.clone(), (etag, Arc::clone(&document)));
        Ok(document)
    }

    async fn fetch_document(
        &self,
        key: &Key,
    ) -> Result<(Etag, BTreeMap<String, IndexEntry>), BucketError> {
        let object = self.bucket.get(key, GetOptions::default()).await?;
        let bytes = bucket::collect(object.body).await?;
        let entries = match serde_json::from_slice::<Document>(&bytes) {
            Ok(document) if document.v == 1 => document.entries,
            _ => BTreeMap::new(),
        };
        Ok((object.meta.etag, entries))
    }

    /// Writes every entry that is out of date and whose object is in the bucket.
    pub(crate) async fn flush_index(&self) -> Result<(), FsError> {
        let directories: Vec<String> = self.state().index.dirty.keys().cloned().collect();
        let results: Vec<Result<(), FsError>> = futures::stream::iter(directories)
            .map(|directory| async move { self.flush_directory(&directory).await })
            .buffer_unordered(self.settings.uploads)
            .collect()
            .await;
        results.into_iter().collect()
    }

    async fn flush_directory(&self, directory: &str) -> Result<(), FsError> {
        let (ready, total) = self.ready_entries(directory);
        if ready.is_empty() {
            return Ok(());
        }
        let bits = bits_for(total);
        let mut shards: HashMap<u64, Vec<(String, Option<IndexEntry>)>> = HashMap::new();
        for (name, entry) in ready {
            shards
                .entry(hash(&name) & ((1 << bits) - 1))
                .or_default()
                .push((name, entry));
        }
        let relative = directory
            .strip_prefix(self.settings.prefix.as_str())
            .unwrap_or(directory);
        for (shard, entries) in shards {
            let key = format!(
                "{}{FOLDER}{relative}{bits}-{shard}.json",
                self.settings.prefix
            );
            let Ok(key) = Key::new(key) else {
                // The path is too long for an index; the local database keeps the values.
                self.index_done(directory, &entries)?;
                continue;
            };
            self.merge_document(&key, directory, &entries)
                .await
                .map_err(|error| self.heard("attribute index", &error))?;
            self.index_done(directory, &entries)?;
        }
        Ok(())
    }

    /// The dirty names of a directory whose content is in the bucket, with their entries
    /// (`None`: the name is gone), and how many names the directory has.
    fn ready_entries(&self, directory: &str) -> (Vec<(String, Option<IndexEntry>)>, usize) {
        let state = self.state();
        let Some(names) = state.index.dirty.get(directory) else {
            return (Vec::new(), 0);
        };
        let parent = state.tree.find_directory(directory);
        let known = parent.and_then(|ino| state.tree.directory(ino).ok());
        if known.is_some_and(|directory| directory.listed.is_none()) {
            return (Vec::new(), 0);
        }
        let total = known.map_or(0, |directory| directory.children.len());
        let mut by_name: HashMap<String, Ino> = HashMap::new();
        if let Some(parent) = parent.and_then(|ino| state.tree.directory(ino).ok()) {
            for ino in parent.children.values() {
                if let Ok(node) = state.tree.node(*ino)
                    && names.contains(&index_name(node))
                {
                    by_name.insert(index_name(node), *ino);
                }
            }
        }
        let mut ready = Vec::new();
        for name in names {
            let Some(ino) = by_name.get(name) else {
                ready.push((name.clone(), None));
                continue;
            };
            let (Ok(node), Ok(key)) = (state.tree.node(*ino), state.tree.key(*ino)) else {
                continue;
            };
            let settled = node.kind() == Kind::Directory
                || state.pending.at(&key).is_none() && node.remote.is_some() && node.writers == 0;
            if settled {
                ready.push((name.clone(), Some(IndexEntry::of(node))));
            }
        }
        (ready, total)
    }

    async fn merge_document(
        &self,
        key: &Key,
        directory: &str,
        changes: &[(String, Option<IndexEntry>)],
    ) -> Result<(), BucketError> {
        let mut tries = 0;
        loop {
            let (condition, mut entries) = match self.fetch_document(key).await {
                Ok((etag, entries)) => (Condition::Matches(etag), entries),
                Err(BucketError::NotFound { .. }) => (Condition::Absent, BTreeMap::new()),
                Err(error) => return Err(error),
            };
            let before = entries.clone();
            for (name, entry) in changes {
                match entry {
                    Some(entry) => entries.insert(name.clone(), entry.clone()),
                    None => entries.remove(name),
                };
            }
            if entries == before {
                return Ok(());
            }
            if entries.is_empty() {
                return self.drop_document(key, directory, condition).await;
            }
            let document = Document { v: 1, entries };
            let bytes = serde_json::to_vec(&document).unwrap_or_default();
            let options = PutOptions {
                condition,
                ..PutOptions::default()
            };
            match self
                .bucket
                .put(key, Body::Bytes(bytes.into()), options)
                .await
            {
                Ok(outcome) => {
                    self.document_written(key, directory, outcome.etag, document.entries);
                    return Ok(());
                }
                Err(BucketError::Precondition { .. }) if tries < 8 => tries += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// An index without entries says nothing.
    async fn drop_document(
        &self,
        key: &Key,
        directory: &str,
        condition: Condition,
    ) -> Result<(), BucketError> {
        let condition = if self.settings.capabilities.delete_if_match {
            condition
        } else {
            Condition::None
        };
        match self.bucket.delete(key, condition).await {
            Ok(()) | Err(BucketError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        let relative = directory
            .strip_prefix(self.settings.prefix.as_str())
            .unwrap_or(directory);
        let mut state = self.state();
        if let Some(documents) = state.index.catalogue.get_mut(relative) {
            documents.retain(|(known, _)| known != key);
        }
        state.index.documents.remove(key);
        Ok(())
    }

    fn document_written(
        &self,
        key: &Key,
        directory: &str,
        etag: Etag,
        entries: BTreeMap<String, IndexEntry>,
    ) {
        let relative = directory
            .strip_prefix(self.settings.prefix.as_str())
            .unwrap_or(directory);
        let mut state = self.state();
        let documents = state
            .index
            .catalogue
            .entry(relative.to_owned())
            .or_default();
        documents.retain(|(known, _)| known != key);
        documents.push((key.clone(), etag.clone()));
        state
            .index
            .documents
            .insert(key.clone(), (etag, Arc::new(entries)));
    }

    /// These entries are in the bucket; what changed again meanwhile stays dirty.
    fn index_done(
        &self,
        directory: &str,
        entries: &[(String, Option<IndexEntry>)],
    ) -> Result<(), FsError> {
        let mut state = self.state();
        let parent = state.tree.find_directory(directory);
        let mut settled = Vec::new();
        for (name, written) in entries {
            let now = parent
                .and_then(|parent| state.child_by_index_name(parent, name))
                .and_then(|ino| state.tree.node(ino).ok())
                .map(IndexEntry::of);
            let unchanged = match (&now, written) {
                (Some(entry), Some(written)) => entry == written,
                (None, _) => true,
                (Some(_), None) => false,
            };
            if unchanged {
                settled.push((name.clone(), None));
            }
        }
        state.index.told.insert(directory.to_owned(), Stamp::now());
        if let Some(dirty) = state.index.dirty.get_mut(directory) {
            for (name, _) in &settled {
                dirty.remove(name);
            }
            if dirty.is_empty() {
                state.index.dirty.remove(directory);
            }
        }
        drop(state);
        self.journal.record_attributes(directory, &settled)
    }
}

impl crate::core::State {
    /// Gives the names of a directory, as far as they are known, the attributes that an
    /// earlier mount was told. A file's hold only for the version that they were set on; once
    /// the directory is listed, what is left of them holds for nothing.
    pub(crate) fn take_kept(&mut self, directory: Ino, prefix: &str) {
        let Some(mut kept) = self.index.kept.remove(prefix) else {
            return;
        };
        let listed = self
            .tree
            .directory(directory)
            .is_ok_and(|d| d.listed.is_some());
        kept.retain(|name, entry| {
            let Some(ino) = self.child_by_index_name(directory, name) else {
                return !listed;
            };
            let waits = self
                .tree
                .key(ino)
                .is_ok_and(|key| self.pending.at(&key).is_some());
            if let Ok(node) = self.tree.node_mut(ino)
                && !waits
                && IndexEntry::of(node).etag == entry.etag
                && entry.apply(&mut node.attrs)
            {
                self.unsaved.insert(ino);
            }
            false
        });
        if !kept.is_empty() {
            self.index.kept.insert(prefix.to_owned(), kept);
        }
    }

    fn child_by_index_name(&self, parent: Ino, name: &str) -> Option<Ino> {
        let is_directory = name.ends_with('/');
        let segment = name.strip_suffix('/').unwrap_or(name);
        let children = &self.tree.directory(parent).ok()?.children;
        let direct = children.get(segment).copied();
        let node = direct
            .into_iter()
            .chain(children.values().copied())
            .filter_map(|ino| self.tree.node(ino).ok())
            .find(|node| {
                node.segment() == segment && (node.kind() == Kind::Directory) == is_directory
            })?;
        Some(node.ino)
    }
}

/// A node's name in the index: its key segment, with a slash for directories.
fn index_name(node: &Node) -> String {
    match node.kind() {
        Kind::Directory => format!("{}/", node.segment()),
        _ => node.segment().to_owned(),
    }
}

/// How many bits of the hash keep every document under [`MAX_ENTRIES`].
fn bits_for(entries: usize) -> u32 {
    let mut bits = 0;
    while entries >> bits > MAX_ENTRIES / 2 {
        bits += 1;
    }
    bits
}

fn shard_bits(key: &Key) -> u32 {
    let name = key.as_str().rsplit('/').next().unwrap_or_default();
    name.split('-')
        .next()
        .and_then(|bits| bits.parse().ok())
        .unwrap_or(0)
}

/// FNV-1a, 64 bits: part of the format.
fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok())
        .collect()
}
