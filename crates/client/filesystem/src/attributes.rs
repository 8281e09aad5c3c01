//! The attribute index: what LIST does not tell (mode, owner, a chosen mtime, xattrs), kept
//! in a few small objects per directory under `.artifacts/attrs/`.
//!
//! # Format, version 1
//!
//! The entries of directory `d/` lie in objects `.artifacts/attrs/d/B-N.json`: all names
//! whose hash has N in its lowest B bits, about [`MAX_ENTRIES`] each at most. A document is
//! `{"v":1,"entries":{NAME:{"e":ETAG,"m":MODE,"u":UID,"g":GID,"t":MTIME_NS,"x":{NAME:HEX}}}}`;
//! a directory's name ends with `/` and its `e` is empty. NAME is the last segment of the key.
//! The hash is FNV-1a of 64 bits. An entry counts only while its ETag is the object's.
//!
//! Readers take every document of a directory that they find, finer splits over coarser ones;
//! a name in a document of another split counts for nothing.
//! So writers never split coarser than what exists, and take a name that is gone out of every
//! document that may hold it. Documents are replaced with conditional writes and merged per
//! entry, so that two machines do not undo each other.
//!
//! What is so in version 1 stays so: fields may be added, and a reader ignores those it does
//! not know; anything else gets another version, which readers of this one ignore and leave as
//! it is. `tests/vectors/attribute-index.json` holds documents, names and hashes for other
//! implementations.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bucket::{Body, Condition, Error as BucketError, Etag, GetOptions, Key, PutOptions};
use futures::StreamExt;
use serde::{Deserialize, Serialize};

use crate::catalogue::{Catalogue, Known};
use crate::clock::{Stamp, from_nanos, to_nanos};
use crate::core::Core;
use crate::tree::{Attrs, Node};
use crate::{FsError, Ino, Kind};

/// About the most entries in one document: a directory is split so that half of it is usual.
pub(crate) const MAX_ENTRIES: usize = 4096;
/// What the keys of all documents begin with, after the workspace's prefix.
pub(crate) const FOLDER: &str = ".artifacts/attrs/";
const VERSION: u32 = 1;
/// What one entry takes in memory beside its strings, about.
const BYTES_AN_ENTRY: u64 = 160;

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
    pub(crate) catalogue: Catalogue,
    documents: Documents,
    /// Directory → names whose entries are out of date.
    dirty: HashMap<String, HashSet<String>>,
    /// Directory → when it was last told something by us: what was read before may be older.
    told: HashMap<String, Stamp>,
    /// Directory → what an earlier mount was told and could not tell the index any more, until
    /// the names are known.
    kept: HashMap<String, HashMap<String, IndexEntry>>,
}

type Entries = BTreeMap<String, IndexEntry>;

/// Documents as last fetched, the most recently used of them.
#[derive(Default)]
struct Documents {
    by_key: HashMap<Key, Cached>,
    bytes: u64,
}

struct Cached {
    etag: Etag,
    entries: Arc<Entries>,
    bytes: u64,
    used: Stamp,
}

/// Which names a document holds: those whose hash has `number` in its lowest `bits` bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Shard {
    bits: u32,
    number: u64,
}

impl Shard {
    /// From the last segment of a document's key.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (bits, number) = name.strip_suffix(".json")?.split_once('-')?;
        let shard = Self {
            bits: bits.parse().ok().filter(|bits| *bits < 64)?,
            number: number.parse().ok()?,
        };
        (shard.name() == name).then_some(shard)
    }

    fn of(name: &str, bits: u32) -> Self {
        let number = hash(name) & ((1 << bits) - 1);
        Self { bits, number }
    }

    fn name(self) -> String {
        format!("{}-{}.json", self.bits, self.number)
    }

    fn holds(self, name: &str) -> bool {
        Self::of(name, self.bits) == self
    }
}

impl Documents {
    fn get(&mut self, key: &Key, etag: &Etag) -> Option<Arc<Entries>> {
        let cached = self
            .by_key
            .get_mut(key)
            .filter(|cached| cached.etag == *etag)?;
        cached.used = Stamp::now();
        Some(Arc::clone(&cached.entries))
    }

    /// Keeps a document, and of all of them at most `most` bytes.
    fn put(&mut self, key: Key, etag: Etag, entries: Arc<Entries>, most: u64) {
        let bytes: u64 = entries.iter().map(|(name, entry)| entry.bytes(name)).sum();
        self.remove(&key);
        self.bytes += bytes;
        let cached = Cached {
            etag,
            entries,
            bytes,
            used: Stamp::now(),
        };
        self.by_key.insert(key, cached);
        if self.bytes > most {
            self.shrink(most / 4 * 3);
        }
    }

    fn remove(&mut self, key: &Key) {
        if let Some(cached) = self.by_key.remove(key) {
            self.bytes -= cached.bytes;
        }
    }

    fn shrink(&mut self, most: u64) {
        let mut oldest: Vec<(Stamp, Key)> = self
            .by_key
            .iter()
            .map(|(key, cached)| (cached.used, key.clone()))
            .collect();
        oldest.sort_unstable();
        for (_, key) in oldest {
            if self.bytes <= most {
                return;
            }
            self.remove(&key);
        }
    }
}

impl IndexEntry {
    /// Bytes of memory that it takes under its name, about.
    fn bytes(&self, name: &str) -> u64 {
        let xattrs = self
            .xattrs
            .iter()
            .map(|(name, value)| name.len() + value.len() + 80);
        BYTES_AN_ENTRY + (name.len() + self.etag.len() + xattrs.sum::<usize>()) as u64
    }

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
    /// Bytes of memory that it takes, about.
    pub(crate) fn bytes(&self) -> u64 {
        let waiting = self.dirty.values().map(HashSet::len).sum::<usize>()
            + self.kept.values().map(HashMap::len).sum::<usize>();
        self.catalogue.bytes() + self.documents.bytes + waiting as u64 * BYTES_AN_ENTRY
    }

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
        !self.is_to_be_told(directory, name)
            && self.told.get(directory).is_none_or(|told| *told < began)
    }

    /// Whether what the index says of a name is out of date.
    pub(crate) fn is_to_be_told(&self, directory: &str, name: &str) -> bool {
        let dirty = self.dirty.get(directory);
        dirty.is_some_and(|names| names.contains(name))
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

    /// Says that a node and everything below it leaves its place: what the index says of the
    /// names there must not hold for what gets them next. Keeps that in the journal.
    pub(crate) fn index_leaves(
        &self,
        state: &mut crate::core::State,
        ino: Ino,
    ) -> Result<(), FsError> {
        let mut leaving = state.tree.descendants(ino);
        leaving.push(ino);
        let mut names: BTreeMap<String, Vec<(String, Option<String>)>> = BTreeMap::new();
        for ino in leaving {
            let node = state.tree.node(ino)?;
            if node.attrs.chosen {
                let directory = state.tree.prefix_of(node.parent)?;
                let nothing = Some(String::new());
                names
                    .entry(directory)
                    .or_default()
                    .push((index_name(node), nothing));
            }
        }
        for (directory, names) in names {
            self.journal.record_attributes(&directory, &names)?;
            for (name, _) in names {
                state.index.mark(&directory, name);
            }
        }
        Ok(())
    }

    /// What the index says of a directory's names, as it was at `since` or later; `walked` as
    /// for [`Self::documents_of`]. Never fails a listing: without the index the defaults are
    /// shown.
    pub(crate) async fn index_of(
        &self,
        prefix: &str,
        walked: Option<&str>,
        since: Stamp,
    ) -> HashMap<String, IndexEntry> {
        let since = since.before(self.settings.attr_ttl / 2);
        let (directory, walked) = (
            self.relative(prefix),
            walked.map(|walked| self.relative(walked)),
        );
        let known = match self.documents_of(directory, walked, since).await {
            Ok(known) => known,
            Err(error) => {
                tracing::warn!(%error, "the attribute index cannot be listed");
                return HashMap::new();
            }
        };
        let mut entries = HashMap::new();
        for known in known {
            match self.document(&known).await {
                Ok(document) => {
                    let held = document
                        .iter()
                        .filter(|(name, _)| known.shard.holds(name))
                        .map(|(name, entry)| (name.clone(), entry.clone()));
                    entries.extend(held);
                }
                // It went away since it was listed.
                Err(BucketError::NotFound { .. }) => {}
                Err(error) => {
                    tracing::warn!(%error, key = %known.key, "an attribute index cannot be read")
                }
            }
        }
        entries
    }

    /// A key or key prefix without the workspace's prefix.
    fn relative<'a>(&self, prefix: &'a str) -> &'a str {
        prefix
            .strip_prefix(self.settings.prefix.as_str())
            .unwrap_or(prefix)
    }

    async fn document(&self, known: &Known) -> Result<Arc<Entries>, BucketError> {
        if let Some(cached) = self.state().index.documents.get(&known.key, &known.etag) {
            return Ok(cached);
        }
        let (etag, entries) = self.fetch_document(&known.key).await?;
        let entries = Arc::new(entries);
        self.cache_document(known.key.clone(), etag, Arc::clone(&entries));
        Ok(entries)
    }

    fn cache_document(&self, key: Key, etag: Etag, entries: Arc<Entries>) {
        let most = self.settings.memory_limit / 8;
        let mut state = self.state();
        state.index.documents.put(key, etag, entries, most);
    }

    async fn fetch_document(&self, key: &Key) -> Result<(Etag, Entries), BucketError> {
        let object = self.bucket.get(key, GetOptions::default()).await?;
        let bytes = bucket::collect(object.body).await?;
        Ok((object.meta.etag, read_document(&bytes)))
    }

    /// Writes every entry that is out of date and whose object is in the bucket.
    pub(crate) async fn flush_index(&self) -> Result<(), FsError> {
        if self.is_frozen() {
            return Err(FsError::Denied);
        }
        let began = Stamp::now();
        let directories = self.state().index.directories();
        let results: Vec<Result<(), FsError>> = futures::stream::iter(directories)
            .map(|directory| async move { self.flush_directory(&directory, began).await })
            .buffer_unordered(self.settings.uploads)
            .collect()
            .await;
        results.into_iter().collect()
    }

    async fn flush_directory(&self, directory: &str, began: Stamp) -> Result<(), FsError> {
        let (ready, total) = self.ready_entries(directory);
        if ready.is_empty() {
            return Ok(());
        }
        let heard = |error: BucketError| self.heard("attribute index", &error);
        let existing: Vec<Shard> = self
            .documents_of(self.relative(directory), None, began)
            .await
            .map_err(heard)?
            .into_iter()
            .map(|known| known.shard)
            .collect();
        for (shard, entries) in distribute(&ready, total, &existing) {
            let place = format!("{}{}", self.relative(directory), shard.name());
            let Ok(key) = Key::new(format!("{}{FOLDER}{place}", self.settings.prefix)) else {
                // The path is too long for an index; the local database keeps the values.
                continue;
            };
            self.merge_document(&key, &place, &entries)
                .await
                .map_err(heard)?;
        }
        self.index_done(directory, &ready)
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
        place: &str,
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
                return self.drop_document(key, place, condition).await;
            }
            let document = Document {
                v: VERSION,
                entries,
            };
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
                    let etag = outcome.etag;
                    let place = place.to_owned();
                    self.state().index.catalogue.wrote(place, etag.clone());
                    self.cache_document(key.clone(), etag, Arc::new(document.entries));
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
        place: &str,
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
        let mut state = self.state();
        state.index.catalogue.dropped(place);
        state.index.documents.remove(key);
        Ok(())
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

/// One document's changes: names with their entries, `None` for those to be taken out.
type Changes = Vec<(String, Option<IndexEntry>)>;

/// Which document is told what: of a directory with `total` names and these documents.
fn distribute(
    ready: &[(String, Option<IndexEntry>)],
    total: usize,
    existing: &[Shard],
) -> BTreeMap<Shard, Changes> {
    // What is finer wins: never coarser than what exists.
    let finest = existing.iter().map(|shard| shard.bits).max().unwrap_or(0);
    let bits = bits_for(total).max(finest);
    let mut documents: BTreeMap<Shard, Changes> = BTreeMap::new();
    for (name, entry) in ready {
        let told: Vec<Shard> = match entry {
            Some(_) => vec![Shard::of(name, bits)],
            None => existing
                .iter()
                .copied()
                .filter(|shard| shard.holds(name))
                .collect(),
        };
        for shard in told {
            let change = (name.clone(), entry.clone());
            documents.entry(shard).or_default().push(change);
        }
    }
    documents
}

/// The entries of a document; none where it is of another version or none at all.
fn read_document(bytes: &[u8]) -> Entries {
    match serde_json::from_slice::<Document>(bytes) {
        Ok(document) if document.v == VERSION => document.entries,
        _ => BTreeMap::new(),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Vectors {
        hashes: Vec<(String, String)>,
        splits: Vec<(usize, u32)>,
        shards: Vec<(String, u32, String)>,
        documents: Vec<Vector>,
    }

    #[derive(Deserialize)]
    struct Vector {
        what: String,
        document: serde_json::Value,
        /// Name → mode, owner, group, modification time, extended attributes.
        read: BTreeMap<String, Read>,
        /// Whether writing what was read gives the document back.
        #[serde(default)]
        same: bool,
    }

    type Read = (String, u32, u32, u32, i64, BTreeMap<String, Vec<u8>>);

    fn vectors() -> Vectors {
        serde_json::from_str(include_str!("../tests/vectors/attribute-index.json"))
            .expect("vectors")
    }

    fn read(entry: &IndexEntry) -> Read {
        let mut attrs = Attrs::new(0o644, 0, 0, from_nanos(0));
        entry.apply(&mut attrs);
        let xattrs = attrs.xattrs.map(|xattrs| *xattrs).unwrap_or_default();
        let mtime = to_nanos(attrs.mtime);
        (
            entry.etag.clone(),
            attrs.mode,
            attrs.uid,
            attrs.gid,
            mtime,
            xattrs,
        )
    }

    #[test]
    fn documents_read_and_write_as_the_vectors_say() {
        for vector in vectors().documents {
            let bytes = vector.document.to_string();
            let entries = read_document(bytes.as_bytes());
            let found: BTreeMap<_, _> = entries
                .iter()
                .map(|(name, entry)| (name.clone(), read(entry)))
                .collect();
            assert_eq!(found, vector.read, "{}", vector.what);
            if vector.same {
                let document = Document {
                    v: VERSION,
                    entries,
                };
                let written = serde_json::to_value(&document).expect("serialises");
                assert_eq!(written, vector.document, "{}", vector.what);
            }
        }
    }

    #[test]
    fn names_are_split_as_the_vectors_say() {
        let vectors = vectors();
        for (name, expected) in vectors.hashes {
            assert_eq!(format!("{:016x}", hash(&name)), expected, "{name}");
        }
        for (entries, bits) in vectors.splits {
            assert_eq!(bits_for(entries), bits, "{entries} entries");
        }
        for (name, bits, expected) in vectors.shards {
            let shard = Shard::of(&name, bits);
            assert_eq!(shard.name(), expected, "{name}");
            assert_eq!(Shard::parse(&expected), Some(shard));
            assert!(shard.holds(&name));
        }
        for no in [
            "0-0",
            "00-0.json",
            "1-x.json",
            "-1.json",
            "x",
            "64-0.json",
            "1-2-3.json",
        ] {
            assert_eq!(Shard::parse(no), None, "{no}");
        }
    }

    fn entry() -> IndexEntry {
        IndexEntry {
            etag: "e".to_owned(),
            mode: 0o600,
            uid: 0,
            gid: 0,
            mtime: 0,
            xattrs: BTreeMap::new(),
        }
    }

    #[test]
    fn a_directory_that_shrank_is_not_split_coarser_than_it_was() {
        let existing = [Shard::of("a", 0), Shard::of("a", 2), Shard::of("b", 2)];
        let told = distribute(&[("a".to_owned(), Some(entry()))], 3, &existing);
        let shards: Vec<Shard> = told.into_keys().collect();
        assert_eq!(shards, [Shard::of("a", 2)]);
    }

    #[test]
    fn a_name_that_is_gone_is_taken_out_of_every_split() {
        let elsewhere = Shard {
            bits: 2,
            number: Shard::of("a", 2).number ^ 1,
        };
        let existing = [Shard::of("a", 0), Shard::of("a", 2), elsewhere];
        let told = distribute(&[("a".to_owned(), None)], 3, &existing);
        let shards: Vec<Shard> = told.into_keys().collect();
        assert_eq!(shards, [Shard::of("a", 0), Shard::of("a", 2)]);
        assert!(distribute(&[("a".to_owned(), None)], 3, &[]).is_empty());
    }

    #[test]
    fn the_least_used_documents_give_way() {
        let mut documents = Documents::default();
        let entries = Arc::new(BTreeMap::from([("n".to_owned(), entry())]));
        let each = entry().bytes("n");
        let key = |n: u32| Key::new(format!("k{n}")).expect("a key");
        for n in 0..10 {
            documents.put(key(n), Etag::new("e"), Arc::clone(&entries), each * 10);
        }
        assert_eq!(documents.bytes, each * 10);
        assert!(documents.get(&key(0), &Etag::new("e")).is_some());
        documents.put(key(10), Etag::new("e"), Arc::clone(&entries), each * 10);
        assert!(documents.bytes <= each * 10);
        assert!(
            documents.get(&key(0), &Etag::new("e")).is_some(),
            "just used"
        );
        assert!(documents.get(&key(1), &Etag::new("e")).is_none());
        assert!(documents.get(&key(0), &Etag::new("other")).is_none());
    }
}
