//! Brings bytes from the bucket: parallel ranged GETs that adapt to the reader, and small
//! files ahead of a walk. One read never mixes two versions: every GET carries `If-Match`.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bucket::{Error as BucketError, GetOptions, Key};
use bytes::{Bytes, BytesMut};
use futures::future::{BoxFuture, Shared};
use futures::{FutureExt, StreamExt};

use crate::body::Body;
use crate::clock::Stamp;
use crate::core::{Core, OpenBody, Source, State, Version, source_of};
use crate::pending::Want;
use crate::tree::{Content, Remote};
use crate::{FsError, Ino};

/// The result of one part's fetch, to be waited for by any number of readers.
pub(crate) type Wait = Shared<BoxFuture<'static, Result<(), FsError>>>;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
/// The largest single GET.
const PART: u64 = 8 * MIB;
/// The most that is fetched ahead of a sequential reader.
const WINDOW: u64 = 64 * MIB;
/// What a random read fetches around itself.
const BLOCK: u64 = 256 * KIB;
/// After so many random misses in one file the rest of it is worth having.
const RANDOM_MISSES: u32 = 48;
/// Files up to this size are fetched whole, and ahead of a walk.
const SMALL: u64 = MIB;
/// How many names a walk looks ahead.
const AHEAD: usize = 192;
/// A directory read this recently is being walked.
const WALK_MEMORY: Duration = Duration::from_secs(60);
/// Fetched bytes are written in pieces of this size, so that the kernel caches them in
/// large folios: later reads are a third faster than after writes of one network packet…
const GATHER: usize = MIB as usize;
/// … but not later than this after the piece before, because a reader may wait.
const GATHER_TIME: Duration = Duration::from_millis(10);
/// How often a GET whose stream breaks off is taken up again.
const RESUMES: u32 = 4;

/// How one handle reads.
#[derive(Default)]
pub(crate) struct Reader {
    /// Where the next read begins if the reader is sequential.
    next: u64,
    window: u64,
    misses: u32,
    /// Bytes of this version were given out: it must not be exchanged any more.
    served: bool,
}

/// Reads from an open file; short only at its end.
pub(crate) async fn read(
    core: &Arc<Core>,
    ino: Ino,
    open: &OpenBody,
    offset: u64,
    size: u32,
) -> Result<Bytes, FsError> {
    let version = open.current.lock().clone();
    match read_version(core, ino, open, &version, offset, size).await {
        Err(FsError::Changed) if !open.reader.lock().served => {
            let version = newer_version(core, ino, &version, 1).await?;
            *open.current.lock() = version.clone();
            read_version(core, ino, open, &version, offset, size).await
        }
        other => other,
    }
}

async fn read_version(
    core: &Arc<Core>,
    ino: Ino,
    open: &OpenBody,
    version: &Version,
    offset: u64,
    size: u32,
) -> Result<Bytes, FsError> {
    let length = core.state().length(ino, version);
    let end = offset.saturating_add(u64::from(size)).min(length);
    if offset >= end {
        return Ok(Bytes::new());
    }
    let range = offset..end;
    let hit = version.body.has(&range);
    let wanted = open.reader.lock().plan(&range, length, hit);
    if !hit || wanted.end > range.end {
        start(core, ino, version, &wanted);
    }
    if !hit {
        arrive(core, ino, version, &range).await?;
    }
    open.reader.lock().served = true;
    version.body.read(&version.file, range)
}

impl Reader {
    /// What to have on the way for a read of `range`, and keeps count.
    fn plan(&mut self, range: &Range<u64>, length: u64, hit: bool) -> Range<u64> {
        let sequential = range.start <= self.next + MIB && range.end + MIB >= self.next;
        self.next = range.end;
        if sequential {
            if range.end > self.window / 2 {
                self.window = (self.window * 2).clamp(MIB, WINDOW);
            }
            return range.start..(range.end + self.window).min(length);
        }
        self.window = 0;
        if hit {
            return range.clone();
        }
        self.misses += 1;
        if self.misses > RANDOM_MISSES && length <= 16 * WINDOW {
            let ahead = (u64::from(self.misses) * MIB).min(WINDOW);
            let start = range.start / PART * PART;
            return start..(start + ahead.max(PART)).max(range.end).min(length);
        }
        let start = range.start / BLOCK * BLOCK;
        start..range.end.next_multiple_of(BLOCK).min(length)
    }
}

/// Starts fetching what is missing of `wanted` and not on its way.
fn start(core: &Arc<Core>, ino: Ino, version: &Version, wanted: &Range<u64>) {
    let Some(source) = &version.source else {
        return;
    };
    let mut fetches = version.body.fetches.lock();
    let mut at = wanted.start;
    while let Some(gap) = version.body.first_gap(at) {
        if gap.start >= wanted.end || fetches.len() >= 12 {
            return;
        }
        let gap = gap.start..gap.end.min(wanted.end);
        if let Some((covering, _)) = fetches.iter().find(|(part, _)| part.contains(&gap.start)) {
            at = covering.end;
            continue;
        }
        let next = fetches
            .iter()
            .map(|(part, _)| part.start)
            .filter(|s| *s > gap.start)
            .min();
        let span = (wanted.end - wanted.start).div_ceil(4).clamp(MIB, PART);
        let end = gap.end.min(gap.start + span).min(next.unwrap_or(u64::MAX));
        let part = gap.start..end;
        at = end;
        fetches.push((part.clone(), spawn_part(core, ino, version, source, part)));
    }
}

fn spawn_part(
    core: &Arc<Core>,
    ino: Ino,
    version: &Version,
    source: &Source,
    part: Range<u64>,
) -> Wait {
    let (core_, version, source) = (Arc::clone(core), version.clone(), source.clone());
    let task = core.runtime.spawn(async move {
        let result = fetch_part(&core_, ino, &version, source, part.clone()).await;
        version
            .body
            .fetches
            .lock()
            .retain(|(range, _)| *range != part);
        version.body.arrived.notify_waiters();
        if result.is_ok() && version.body.is_whole() {
            core_.state().unsaved.insert(ino);
        }
        result
    });
    async move { task.await.unwrap_or(Err(FsError::Unreachable)) }
        .boxed()
        .shared()
}

/// One ranged GET into the body's file; a stream that breaks off is taken up where it
/// ended, and a source that moved is looked for once more.
async fn fetch_part(
    core: &Core,
    ino: Ino,
    version: &Version,
    mut source: Source,
    part: Range<u64>,
) -> Result<(), FsError> {
    let mut at = part.start;
    let mut tries = 0;
    let mut made_room = false;
    loop {
        let error = match fetch_once(core, ino, version, &source, &mut at, part.end).await {
            Ok(()) => {
                core.heard_ok();
                return Ok(());
            }
            Err(Failure::Local(FsError::NoSpace)) if !made_room => {
                core.evict();
                made_room = true;
                continue;
            }
            Err(Failure::Local(error)) => return Err(error),
            Err(Failure::Bucket(error)) => error,
        };
        tries += 1;
        if matches!(
            error,
            BucketError::NotFound { .. } | BucketError::Precondition { .. }
        ) && let Some(moved) = core.state().moved_source(ino, &version.body, &source)
        {
            source = moved;
        } else if tries > RESUMES || !error.is_temporary() || at == part.start {
            return Err(core.heard(&format!("get {}", source.key), &error));
        }
    }
}

enum Failure {
    Bucket(BucketError),
    Local(FsError),
}

async fn fetch_once(
    core: &Core,
    ino: Ino,
    version: &Version,
    source: &Source,
    at: &mut u64,
    end: u64,
) -> Result<(), Failure> {
    let whole = *at == 0 && end == version.size;
    let options = GetOptions {
        range: (!whole).then_some(*at..end),
        if_match: Some(source.etag.clone()),
    };
    let object = core
        .bucket
        .get(&source.key, options)
        .await
        .map_err(Failure::Bucket)?;
    core.take_foreign(ino, &object.meta.etag, &object.meta.metadata);
    let mut body = object.body;
    let mut gathered = BytesMut::new();
    let mut written = Stamp::now();
    loop {
        let chunk = body.next().await;
        if let Some(Ok(bytes)) = &chunk {
            gathered.extend_from_slice(bytes);
        }
        // What arrived before the stream broke off is kept.
        let over = !matches!(chunk, Some(Ok(_)));
        if over || gathered.len() >= GATHER || written.age() > GATHER_TIME {
            gathered.truncate(usize::try_from(end - *at).unwrap_or(usize::MAX));
            version
                .body
                .fill(&version.file, *at, &gathered)
                .map_err(Failure::Local)?;
            *at += gathered.len() as u64;
            gathered.clear();
            written = Stamp::now();
        }
        match chunk {
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(Failure::Bucket(error)),
            None => break,
        }
    }
    if *at < end {
        let reason = format!("the body of {} ended early", source.key);
        return Err(Failure::Bucket(BucketError::Throttled { reason }));
    }
    Ok(())
}

/// Returns when a range is here.
async fn arrive(
    core: &Arc<Core>,
    ino: Ino,
    version: &Version,
    range: &Range<u64>,
) -> Result<(), FsError> {
    loop {
        let arrived = version.body.arrived.notified();
        tokio::pin!(arrived);
        arrived.as_mut().enable();
        if version.body.has(range) {
            return Ok(());
        }
        let Some(gap) = version.body.first_gap(range.start) else {
            return Ok(());
        };
        let part = covering(&version.body, gap.start);
        let Some(part) = part else {
            if version.source.is_none() {
                return Err(FsError::Local(
                    "bytes of a file written here are missing".to_owned(),
                ));
            }
            start(core, ino, version, range);
            if covering(&version.body, gap.start).is_none() && !version.body.has(range) {
                // Every slot is taken by parts elsewhere in the file: one of them will end.
                arrived.await;
            }
            continue;
        };
        tokio::select! {
            () = arrived => {}
            done = part => done?,
        }
    }
}

fn covering(body: &Body, offset: u64) -> Option<Wait> {
    let fetches = body.fetches.lock();
    fetches
        .iter()
        .find(|(part, _)| part.contains(&offset))
        .map(|(_, wait)| wait.clone())
}

/// Brings a file here whole.
pub(crate) async fn whole(core: &Arc<Core>, ino: Ino) -> Result<Version, FsError> {
    for _ in 0..3 {
        let version = core.version(&mut core.state(), ino)?;
        match fetch_all(core, ino, &version).await {
            Err(FsError::Changed) => newer_version(core, ino, &version, 0).await.map(|_| ())?,
            Err(error) => return Err(error),
            Ok(()) => return Ok(version),
        }
    }
    Err(FsError::Changed)
}

async fn fetch_all(core: &Arc<Core>, ino: Ino, version: &Version) -> Result<(), FsError> {
    while let Some(gap) = version.body.first_gap(0) {
        let window = gap.start..(gap.start + WINDOW).min(version.size);
        start(core, ino, version, &window);
        arrive(core, ino, version, &(gap.start..gap.start + 1)).await?;
    }
    Ok(())
}

/// The object is no longer the version that a handle began with: learns the present one. Who
/// asks has `own` of the handles that are open on the inode. Where there are others, the name
/// gets another inode, and who asks has to look it up.
async fn newer_version(
    core: &Arc<Core>,
    ino: Ino,
    old: &Version,
    own: u32,
) -> Result<Version, FsError> {
    let key = {
        let mut state = core.state();
        match state.replaceable(ino, &old.body)? {
            // What is at the key may not be what a rename is bringing there.
            Some(key) if state.pending.at(&key).is_some() => return Err(FsError::Changed),
            Some(key) => key,
            None => return core.version(&mut state, ino),
        }
    };
    let began = Stamp::now();
    let meta = core
        .bucket
        .head(&key)
        .await
        .map_err(|error| core.heard(&format!("head {key}"), &error))?;
    let (version, notice) = {
        let mut state = core.state();
        if state.replaceable(ino, &old.body)?.as_ref() != Some(&key) {
            // Meanwhile a program began to write it, or it was moved or replaced.
            return core.version(&mut state, ino);
        }
        let (new, notice) = state.inode_for_other_content(ino, own)?;
        let node = state.tree.node_mut(new)?;
        node.size = meta.size;
        node.generation += 1;
        node.told = false;
        node.remote = Some(Remote {
            at: None,
            etag: meta.etag,
            size: meta.size,
            seen: began,
        });
        state.unsaved.insert(new);
        let same = new == ino;
        (same.then(|| core.version(&mut state, ino)), notice)
    };
    core.tell(vec![notice]);
    version.unwrap_or(Err(FsError::Changed))
}

impl Core {
    /// The version of a file that a handle opened now reads: its cached body, or an empty
    /// one to be filled.
    pub(crate) fn version(&self, state: &mut State, ino: Ino) -> Result<Version, FsError> {
        self.version_by(state, ino, |body| match body.is_whole() {
            true => body.reading(),
            false => body.file(),
        })
    }

    /// The same for a handle that writes.
    pub(crate) fn version_to_write(&self, state: &mut State, ino: Ino) -> Result<Version, FsError> {
        self.version_by(state, ino, Body::file)
    }

    fn version_by(
        &self,
        state: &mut State,
        ino: Ino,
        open: impl FnOnce(&Body) -> Result<Arc<File>, FsError>,
    ) -> Result<Version, FsError> {
        let node = state.tree.node(ino)?;
        let source = source_of(&state.tree, node);
        let size = node.size;
        if let Some(body) = node.body() {
            let body = Arc::clone(body);
            match open(&body) {
                Ok(file) => {
                    return Ok(Version {
                        body,
                        file,
                        size,
                        source,
                    });
                }
                // Someone emptied the cache folder: what is clean the bucket still has.
                Err(_) if body.is_gone() && state.replaceable(ino, &body)?.is_some() => {
                    self.exchange_lost(state, ino)?;
                }
                Err(error) => return Err(error),
            }
        }
        let (body, file) = if size == 0 {
            self.cache.create()?
        } else {
            self.cache.sparse(size)?
        };
        match &mut state.tree.node_mut(ino)?.content {
            Content::File { body: slot, .. } => *slot = Some(Arc::clone(&body)),
            _ => return Err(FsError::IsADirectory),
        }
        Ok(Version {
            body,
            file,
            size,
            source,
        })
    }

    /// Lets go of a body whose file was removed from the cache folder. A kernel that has it as
    /// backing file keeps using it: then the name gets another inode, to be looked up.
    pub(crate) fn exchange_lost(&self, state: &mut State, ino: Ino) -> Result<(), FsError> {
        let node = state.tree.node(ino)?;
        if node.opens == 0 || !node.is_backing() {
            state.release_body(ino);
            return Ok(());
        }
        let (_, notice) = state.inode_for_other_content(ino, 0)?;
        self.tell(vec![notice]);
        Err(FsError::Changed)
    }

    /// A cold file is opened: when its directory is being walked, the next small files are
    /// fetched too, so that the walk does not pay a round trip for each.
    pub(crate) fn fetch_ahead(self: &Arc<Self>, state: &mut State, ino: Ino) {
        let Ok(node) = state.tree.node(ino) else {
            return;
        };
        let walked = state
            .tree
            .directory(node.parent)
            .is_ok_and(|directory| directory.read.is_some_and(|read| read.age() < WALK_MEMORY));
        if !walked || self.settings.lazy {
            return;
        }
        for next in state.tree.files_after(ino, AHEAD) {
            let cold = state.tree.node(next).is_ok_and(|node| {
                node.body().is_none() && node.remote.is_some() && (1..=SMALL).contains(&node.size)
            });
            if !cold {
                continue;
            }
            let Ok(permit) = Arc::clone(&self.ahead).try_acquire_owned() else {
                return;
            };
            let Ok(version) = self.version(state, next) else {
                return;
            };
            start(self, next, &version, &(0..version.size));
            let wait = covering(&version.body, 0);
            self.runtime.spawn(async move {
                if let Some(wait) = wait {
                    let _ = wait.await;
                }
                drop((permit, version));
            });
        }
    }
}

impl State {
    /// The key of a node whose body may give way to another version: it is still `body`,
    /// and nothing that was written here is in it.
    pub(crate) fn replaceable(&self, ino: Ino, body: &Arc<Body>) -> Result<Option<Key>, FsError> {
        let node = self.tree.node(ino)?;
        let same = node.body().is_some_and(|now| Arc::ptr_eq(now, body));
        if !same || node.writers > 0 || node.unlinked || node.remote.is_none() {
            return Ok(None);
        }
        let key = self.tree.key(ino)?;
        let dirty =
            matches!(self.pending.at(&key), Some(op) if matches!(op.want, Want::Put { .. }));
        Ok((!dirty).then_some(key))
    }

    /// How long the file is for a handle on this version.
    fn length(&self, ino: Ino, version: &Version) -> u64 {
        match self.tree.node(ino) {
            Ok(node)
                if node
                    .body()
                    .is_some_and(|body| Arc::ptr_eq(body, &version.body)) =>
            {
                node.size
            }
            _ if version.body.is_whole() => version
                .body
                .stamp()
                .map_or(version.size, |stamp| stamp.size),
            _ => version.size,
        }
    }

    /// Where the content of a body lies now, when that is no longer where it was.
    fn moved_source(&self, ino: Ino, body: &Arc<Body>, tried: &Source) -> Option<Source> {
        let node = self.tree.node(ino).ok()?;
        if !node
            .body()
            .is_some_and(|current| Arc::ptr_eq(current, body))
        {
            return None;
        }
        source_of(&self.tree, node).filter(|source| source != tried)
    }
}
