//! What all parts of an open workspace share: the state behind one lock, and how a change
//! of it reaches the journal.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use bucket::{Bucket, Error as BucketError, Etag, Key};
use parking_lot::{Mutex, MutexGuard};
use tokio::runtime::Handle as Runtime;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::body::Body;
use crate::cache::Cache;
use crate::clock::{Stamp, from_nanos, to_nanos};
use crate::fetch::Reader;
use crate::journal::{Journal, Row, RowAttrs, RowWant};
use crate::listing::Listings;
use crate::pending::{Base, Pending, Want};
use crate::remembered::{Memory, MemoryKind, Remembered};
use crate::status::{Health, Status};
use crate::tree::{Attrs, Content, Node, Tree};
use crate::watching::Watching;
use crate::{Entry, FsError, Handle, Ino, Settings, Watcher};

/// One open workspace.
pub(crate) struct Core {
    pub(crate) bucket: Arc<dyn Bucket>,
    pub(crate) settings: Settings,
    pub(crate) watcher: Arc<dyn Watcher>,
    pub(crate) journal: Journal,
    pub(crate) remembered: Remembered,
    pub(crate) cache: Cache,
    pub(crate) runtime: Runtime,
    pub(crate) stop: CancellationToken,
    /// Wakes the uploader: something became ready, or ended.
    pub(crate) wake: Notify,
    /// Tells everyone who waits that a pending operation ended.
    pub(crate) ended: Notify,
    /// Limits how many whole small files are fetched ahead at one time.
    pub(crate) ahead: Arc<tokio::sync::Semaphore>,
    /// Why this mount may write no more, once it may not.
    frozen: OnceLock<String>,
    state: Mutex<State>,
}

/// What changes while the workspace is open.
pub(crate) struct State {
    pub(crate) tree: Tree,
    pub(crate) pending: Pending,
    pub(crate) open: HashMap<Handle, Arc<Open>>,
    next_handle: Handle,
    /// Keys that went away here, and when: listings begun earlier still show them.
    pub(crate) gone: HashMap<Key, Stamp>,
    pub(crate) listings: Listings,
    pub(crate) watching: Watching,
    pub(crate) index: crate::attributes::Index,
    /// Files to be uploaded although a program still has them open for writing.
    pub(crate) forced: HashSet<Ino>,
    /// Nodes whose remembered entry is out of date.
    pub(crate) unsaved: HashSet<Ino>,
    /// Remembered entries to drop: directory prefix, segment, whether a directory.
    pub(crate) forgotten: Vec<(String, String, bool)>,
    pub(crate) report: Report,
    /// When the uploader will next look at what is pending.
    pub(crate) next_look: Stamp,
}

/// What `status` tells beside counts.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) health: Option<Health>,
    trouble: Option<Trouble>,
    pub(crate) conflicts: u64,
    pub(crate) set_aside: Option<String>,
    pub(crate) set_aside_changes: Vec<String>,
    /// Bytes waiting for upload, as last counted, and what was written by calls since.
    pub(crate) waiting_bytes: u64,
    pub(crate) counted: Option<Stamp>,
}

/// The last thing that went wrong.
struct Trouble {
    text: String,
    at: SystemTime,
    about: About,
}

/// What makes trouble a thing of the past.
enum About {
    /// Any call on the bucket that is answered.
    Call,
    /// That nothing is wrong with what is wanted at this key any more.
    Change(Key),
    /// Nothing: it happened, and somebody should know.
    Event,
}

impl Report {
    /// A call on the bucket failed.
    fn call_failed(&mut self, text: String) {
        self.note(text, About::Call);
    }

    /// A pending change could not be carried out; it is tried again.
    pub(crate) fn change_failed(&mut self, key: &Key, text: String) {
        self.note(text, About::Change(key.clone()));
    }

    /// Something happened that somebody should know.
    pub(crate) fn happened(&mut self, text: String) {
        self.note(text, About::Event);
    }

    fn note(&mut self, text: String, about: About) {
        let at = SystemTime::now();
        self.trouble = Some(Trouble { text, at, about });
    }

    /// The bucket answered.
    pub(crate) fn works(&mut self) {
        self.health = Some(Health::Ok);
        let over = |trouble: &Trouble| matches!(trouble.about, About::Call);
        if self.trouble.as_ref().is_some_and(over) {
            self.trouble = None;
        }
    }
}

/// An open handle.
pub(crate) struct Open {
    pub(crate) ino: Ino,
    pub(crate) write: bool,
    /// For files: the version that this handle reads.
    pub(crate) file: Option<OpenBody>,
    /// For directories: the names as they were when reading began.
    pub(crate) names: Mutex<Vec<(String, Ino)>>,
}

/// The body behind an open file handle. It may be exchanged once, before the first read,
/// when the object turns out to have changed.
pub(crate) struct OpenBody {
    pub(crate) current: Mutex<Version>,
    pub(crate) reader: Mutex<Reader>,
}

/// One version of a file, pinned by a handle.
#[derive(Clone)]
pub(crate) struct Version {
    pub(crate) body: Arc<Body>,
    pub(crate) file: Arc<File>,
    pub(crate) size: u64,
    pub(crate) source: Option<Source>,
}

/// Where missing bytes come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) key: Key,
    pub(crate) etag: Etag,
}

/// Keys whose wanted state changed, to be recorded in one step.
#[derive(Default)]
pub(crate) struct Batch(Vec<Key>);

impl Batch {
    pub(crate) fn touch(&mut self, key: &Key) {
        self.0.push(key.clone());
    }
}

impl Core {
    #[allow(clippy::too_many_arguments)] // assembled once, from parts that are opened one by one
    pub(crate) fn new(
        bucket: Arc<dyn Bucket>,
        settings: Settings,
        watcher: Arc<dyn Watcher>,
        journal: Journal,
        remembered: Remembered,
        cache: Cache,
    ) -> Self {
        let now = SystemTime::now();
        let root = Attrs::new(0o755, settings.uid, settings.gid, now);
        let mut tree = Tree::new(&settings.prefix, root);
        tree.reserve_inos(remembered.largest_ino());
        Self {
            bucket,
            watcher,
            journal,
            remembered,
            cache,
            runtime: Runtime::current(),
            stop: CancellationToken::new(),
            wake: Notify::new(),
            ended: Notify::new(),
            ahead: Arc::new(tokio::sync::Semaphore::new(48)),
            frozen: OnceLock::new(),
            state: Mutex::new(State {
                tree,
                pending: Pending::default(),
                open: HashMap::new(),
                next_handle: 1,
                gone: HashMap::new(),
                listings: Listings::default(),
                watching: Watching::default(),
                index: crate::attributes::Index::default(),
                forced: HashSet::new(),
                unsaved: HashSet::new(),
                forgotten: Vec::new(),
                next_look: Stamp::now(),
                report: Report::default(),
            }),
            settings,
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Writes the wanted state of all touched keys to the journal.
    pub(crate) fn commit(&self, state: &State, batch: Batch) -> Result<(), FsError> {
        let mut keys = batch.0;
        keys.sort_unstable();
        keys.dedup();
        let soonest = keys
            .iter()
            .filter_map(|key| Some(state.pending.at(key)?.ready))
            .min();
        let changes: Vec<_> = keys
            .into_iter()
            .map(|key| {
                let row = state.row(&key);
                (key, row)
            })
            .collect();
        self.journal.record(&changes)?;
        if let Some(ready) = soonest {
            self.look_by(state, ready);
        }
        Ok(())
    }

    /// The same for a node that was added a moment ago; it goes again when that fails.
    pub(crate) fn commit_new(
        &self,
        state: &mut State,
        ino: Ino,
        batch: Batch,
    ) -> Result<(), FsError> {
        self.forget_before(state, ino)?;
        let recorded = self.commit(state, batch);
        if recorded.is_err() {
            state.pending.take(&state.tree.key(ino)?);
            state.release_body(ino);
            state.tree.unlink(ino)?;
        }
        recorded
    }

    /// What had a name before is forgotten before something else is known by it: the same
    /// content has the same ETag, so after a kill the attributes of what went away would be
    /// taken for those of what came.
    pub(crate) fn forget_before(&self, state: &mut State, ino: Ino) -> Result<(), FsError> {
        let name = state.remembered_as(ino)?;
        if let Some(at) = state.forgotten.iter().rposition(|gone| *gone == name) {
            state.forgotten.swap_remove(at);
            self.remembered.store(&[], &[name]);
        }
        Ok(())
    }

    /// Wakes the uploader when it would look too late for what is ready then.
    pub(crate) fn look_by(&self, state: &State, ready: Stamp) {
        if ready < state.next_look {
            self.wake.notify_one();
        }
    }

    /// Attributes of what the bucket says nothing more about.
    pub(crate) fn default_attrs(&self, mode: u32, mtime: SystemTime) -> Attrs {
        Attrs::new(mode, self.settings.uid, self.settings.gid, mtime)
    }

    pub(crate) fn writable(&self) -> Result<(), FsError> {
        if self.is_read_only() {
            return Err(FsError::ReadOnly);
        }
        Ok(())
    }

    fn is_read_only(&self) -> bool {
        self.settings.read_only || self.is_frozen()
    }

    /// Whether nothing may go to the bucket any more.
    pub(crate) fn is_frozen(&self) -> bool {
        self.frozen.get().is_some()
    }

    /// From now on changes are refused, and what is pending stays in the journal.
    pub(crate) fn freeze(&self, reason: String) {
        // The first reason stays.
        let _ = self.frozen.set(reason);
        self.wake.notify_one();
        self.ended.notify_waiters();
    }

    /// When an upload of something that changed now may begin.
    pub(crate) fn upload_time(&self) -> Stamp {
        Stamp::now().after(self.settings.upload_delay)
    }

    /// Notes how a call on the bucket went, and gives the error as the tree says it.
    pub(crate) fn heard(&self, what: &str, error: &BucketError) -> FsError {
        let health = match error {
            BucketError::Unreachable { .. } | BucketError::Throttled { .. } => {
                Some(Health::Offline)
            }
            BucketError::BadCredentials { .. } => Some(Health::Refused),
            _ => None,
        };
        let mut state = self.state();
        if health.is_some() {
            state.report.health = health;
        }
        state.report.call_failed(format!("{what}: {error}"));
        drop(state);
        tracing::warn!(%error, what, "a call on the bucket failed");
        fs_error(error)
    }

    pub(crate) fn heard_ok(&self) {
        self.state().report.works();
    }

    pub(crate) fn status(&self) -> Status {
        let state = self.state();
        let (files, bytes) = state.waiting();
        let trouble = state.trouble();
        let frozen = self.frozen.get().cloned();
        let health = state.report.health.unwrap_or(Health::Ok);
        Status {
            health: if frozen.is_some() {
                Health::Refused
            } else {
                health
            },
            pending_changes: state.pending.len() as u64,
            pending_files: files,
            pending_bytes: bytes,
            running: state.pending.running() as u64,
            cache_bytes: self.cache.bytes(),
            cache_limit: self.settings.cache_size,
            known_entries: state.tree.len() as u64,
            known_bytes: state.memory_used(),
            memory_limit: self.settings.memory_limit,
            dirty_limit: self.settings.dirty_limit(),
            dirty_files_limit: self.settings.dirty_files as u64,
            conflicts: state.report.conflicts,
            last_error: frozen.or_else(|| trouble.map(|trouble| trouble.text.clone())),
            last_error_at: trouble.map(|trouble| to_nanos(trouble.at).div_euclid(1_000_000_000)),
            journal_set_aside: state.report.set_aside.clone(),
            changes_set_aside: state.report.set_aside_changes.clone(),
            read_only: self.is_read_only(),
        }
    }

    /// How long a kernel may reuse what it learns about entries of this directory: until
    /// half of the listing's remaining life is over, so that names in use are listed again
    /// in the background before anyone has to wait.
    pub(crate) fn ttl(&self, state: &State, directory: Ino) -> Duration {
        let age = state.tree.directory(directory).ok();
        let age = age.and_then(|directory| directory.age());
        let lifetime = self.lifetime(state, directory);
        age.map_or(Duration::ZERO, |age| lifetime.saturating_sub(age) / 2)
    }

    pub(crate) fn entry(&self, state: &State, ino: Ino) -> Result<Entry, FsError> {
        let node = state.tree.node(ino)?;
        Ok(Entry {
            attr: node.attr(),
            ttl: if node.unlinked {
                Duration::ZERO
            } else if ino == crate::ROOT {
                self.settings.attr_ttl
            } else {
                self.ttl(state, node.parent)
            },
        })
    }
}

impl State {
    pub(crate) fn add_handle(&mut self, open: Open) -> Handle {
        let handle = self.next_handle;
        self.next_handle += 1;
        self.open.insert(handle, Arc::new(open));
        handle
    }

    pub(crate) fn handle(&self, handle: Handle) -> Result<Arc<Open>, FsError> {
        self.open.get(&handle).cloned().ok_or(FsError::BadHandle)
    }

    /// What is still wrong, or happened.
    fn trouble(&self) -> Option<&Trouble> {
        let is_wrong = |trouble: &&Trouble| match &trouble.about {
            About::Change(key) => self.pending.at(key).is_some_and(|op| op.error.is_some()),
            About::Call | About::Event => true,
        };
        self.report.trouble.as_ref().filter(is_wrong)
    }

    /// Files and bytes that wait for upload.
    pub(crate) fn waiting(&self) -> (u64, u64) {
        let (mut files, mut bytes) = (0, 0);
        for (_, op) in self.pending.iter() {
            if let Want::Put { ino } = op.want
                && let Ok(node) = self.tree.node(ino)
                && (node.sent.is_none() || !self.is_sent(op))
            {
                files += 1;
                bytes += node.size;
            }
        }
        (files, bytes)
    }

    /// What the bucket is believed to hold at a node's own key.
    pub(crate) fn base(&self, ino: Ino) -> Result<Base, FsError> {
        let node = self.tree.node(ino)?;
        let key = self.tree.key(ino)?;
        if let Content::Directory(_) = node.content {
            return Ok(match &node.remote {
                Some(_) => Base::anything(),
                None => self.pending.base_at(&key, None),
            });
        }
        let seen = node
            .remote
            .as_ref()
            .filter(|remote| remote.at.is_none())
            .map(|remote| remote.etag.clone());
        Ok(self.pending.base_at(&key, seen))
    }

    /// Wants a node's content at its key.
    pub(crate) fn want_put(
        &mut self,
        ino: Ino,
        ready: Stamp,
        batch: &mut Batch,
    ) -> Result<(), FsError> {
        let key = self.tree.key(ino)?;
        let base = self.base(ino)?;
        let want = match self.tree.node(ino)?.content {
            Content::Directory(_) => Want::Marker { ino },
            _ => Want::Put { ino },
        };
        self.is_back(&key, batch);
        self.pending.set(key.clone(), want, base, ready);
        batch.touch(&key);
        Ok(())
    }

    /// Wants nothing at a node's key any more.
    pub(crate) fn want_gone(
        &mut self,
        ino: Ino,
        ready: Stamp,
        batch: &mut Batch,
    ) -> Result<(), FsError> {
        let key = self.tree.key(ino)?;
        let base = self.base(ino)?;
        self.pending.remove_object(&key, base, ready);
        self.gone.insert(key.clone(), Stamp::now());
        batch.touch(&key);
        Ok(())
    }

    /// The journal's row for what is wanted at a key.
    pub(crate) fn row(&self, key: &Key) -> Option<Row> {
        let op = self.pending.at(key)?;
        let node = op.want.ino().and_then(|ino| self.tree.node(ino).ok());
        let want = match (&op.want, node.map(|node| (&node.content, node))) {
            (Want::Delete, _) => RowWant::Delete,
            (Want::Marker { .. }, _) => RowWant::Marker,
            (
                Want::Put { .. },
                Some((
                    Content::File {
                        body: Some(body), ..
                    },
                    _,
                )),
            ) => RowWant::Body {
                id: body.id().as_str().to_owned(),
                synced: body.synced().map(Into::into),
            },
            (
                Want::Put { .. },
                Some((
                    Content::Symlink {
                        target: Some(target),
                    },
                    _,
                )),
            ) => RowWant::Link {
                target: target.to_string(),
            },
            (Want::Copy { from, etag, .. }, Some((content, node))) => RowWant::Copy {
                from: from.clone(),
                etag: etag.clone(),
                size: node.size,
                link: matches!(content, Content::Symlink { .. }),
            },
            _ => return None,
        };
        Some(Row {
            want,
            base: op.base.etag.clone(),
            maybe: op.base.maybe.clone(),
            any: op.base.any,
            token: op.token.clone(),
            attrs: node.map(|node| row_attrs(&node.attrs)),
            gone: match op.want {
                Want::Delete => self.topmost_gone(key),
                _ => None,
            },
        })
    }

    /// The topmost directory on the way to a key that went away here.
    fn topmost_gone(&self, key: &Key) -> Option<Key> {
        let above = crate::replay::directories_above(key);
        above
            .take_while(|directory| self.gone.contains_key(directory))
            .last()
    }

    /// A name that went away is there again. What is still to be deleted below a directory no
    /// longer takes it along.
    pub(crate) fn is_back(&mut self, key: &Key, batch: &mut Batch) {
        if self.gone.remove(key).is_none() || !key.as_str().ends_with('/') {
            return;
        }
        for (below, op) in self.pending.below(key.as_str()) {
            if op.want == Want::Delete {
                batch.touch(below);
            }
        }
    }

    /// The directory's own times move when an entry comes or goes.
    pub(crate) fn touch_directory(&mut self, ino: Ino, now: SystemTime) {
        if let Ok(node) = self.tree.node_mut(ino) {
            node.attrs.mtime = now;
            node.attrs.ctime = now;
            self.unsaved.insert(ino);
        }
    }

    /// By what a node is found among what is remembered: directory prefix, segment, whether a
    /// directory.
    pub(crate) fn remembered_as(&self, ino: Ino) -> Result<(String, String, bool), FsError> {
        let node = self.tree.node(ino)?;
        let directory = self.tree.prefix_of(node.parent)?;
        let is_directory = node.kind() == crate::Kind::Directory;
        Ok((directory, node.segment().to_owned(), is_directory))
    }

    /// What to remember of a node.
    pub(crate) fn memory(&self, ino: Ino) -> Option<(String, Memory)> {
        let node = self.tree.node(ino).ok()?;
        if node.unlinked || ino == crate::ROOT {
            return None;
        }
        let directory = self.tree.prefix_of(node.parent).ok()?;
        let (kind, target) = match &node.content {
            Content::File { .. } => (MemoryKind::File, None),
            Content::Directory(_) => (MemoryKind::Directory, None),
            Content::Symlink { target } => (MemoryKind::Symlink, target.clone()),
        };
        let clean = node.remote.as_ref().filter(|remote| remote.at.is_none());
        if kind != MemoryKind::Directory && clean.is_none() {
            return None;
        }
        let body = node
            .body()
            .filter(|body| node.writers == 0 && body.is_whole());
        let memory = Memory {
            segment: node.segment().to_owned(),
            kind,
            ino,
            etag: clean.map_or_else(String::new, |remote| remote.etag.as_str().to_owned()),
            size: node.size,
            attrs: row_attrs(&node.attrs),
            body: body.map(|body| body.id().as_str().to_owned()),
            target: target.map(String::from),
        };
        Some((directory, memory))
    }
}

/// A node's attributes as they lie on disk.
pub(crate) fn row_attrs(attrs: &Attrs) -> RowAttrs {
    RowAttrs {
        mode: attrs.mode,
        uid: attrs.uid,
        gid: attrs.gid,
        mtime: to_nanos(attrs.mtime),
        xattrs: attrs.xattrs.as_deref().cloned(),
        chosen: attrs.chosen,
    }
}

/// The inverse of [`row_attrs`]; times that are not kept are the modification time.
pub(crate) fn attrs_of(row: &RowAttrs) -> Attrs {
    let mtime = from_nanos(row.mtime);
    Attrs {
        mode: row.mode,
        uid: row.uid,
        gid: row.gid,
        mtime,
        ctime: mtime,
        atime: mtime,
        xattrs: row.xattrs.clone().map(Box::new),
        chosen: row.chosen,
    }
}

/// A bucket's error as the tree says it.
pub(crate) fn fs_error(error: &BucketError) -> FsError {
    match error {
        BucketError::NotFound { .. } | BucketError::OutOfRange { .. } => FsError::Changed,
        BucketError::Precondition { .. } => FsError::Changed,
        BucketError::PermissionDenied { .. } | BucketError::BadCredentials { .. } => {
            FsError::Denied
        }
        BucketError::TooLarge { .. } => FsError::FileTooLarge,
        BucketError::LocalBody { reason } => FsError::Local(reason.clone()),
        BucketError::NoSuchBucket { .. }
        | BucketError::ClockSkewed { .. }
        | BucketError::Unreachable { .. }
        | BucketError::Throttled { .. }
        | BucketError::NotS3 { .. }
        | BucketError::Unsupported { .. }
        | BucketError::Invalid { .. } => FsError::Unreachable,
    }
}

/// The node's content source: where its bytes lie in the bucket now.
pub(crate) fn source_of(tree: &Tree, node: &Node) -> Option<Source> {
    let remote = node.remote.as_ref()?;
    let key = match &remote.at {
        Some(key) => key.clone(),
        None => tree.key(node.ino).ok()?,
    };
    Some(Source {
        key,
        etag: remote.etag.clone(),
    })
}
