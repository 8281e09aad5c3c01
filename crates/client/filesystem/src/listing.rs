//! Learns names from the bucket: one directory at a time, or, when a tree is being walked,
//! all that follows in one flat pass of 1,000 keys a page.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bucket::{Error as BucketError, ListPage, ListRequest, ObjectMeta};
use futures::future::{BoxFuture, Shared};
use futures::{FutureExt, StreamExt};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::clock::Stamp;
use crate::core::{Core, State};
use crate::merge::{Found, Listing};
use crate::status::Health;
use crate::{FsError, Ino, ROOT};

/// A directory read this recently makes the listing of one of its children a walk.
const WALK_MEMORY: Duration = Duration::from_secs(3);
/// So many directories of one parent, entered in the order of their names, are a walk too:
/// a program that has a list of paths reads no directory.
const WALK_STEPS: u32 = 3;
/// A walk whose names nobody wants any more ends.
const WALK_PATIENCE: Duration = Duration::from_secs(2);
/// While the bucket does not answer, names are served as last known for this long before
/// it is asked again.
const OFFLINE_PAUSE: Duration = Duration::from_secs(3);
/// A listing that took longer is remembered as slow.
const SLOW: Duration = Duration::from_secs(1);
/// Who needs names that are known, only not fresh, waits for the bucket no longer than this.
const PATIENCE: Duration = Duration::from_secs(2);

/// How many directories' attribute indexes a walk fetches at one time.
const INDEXES_AT_ONCE: usize = 32;

type Wait = Shared<BoxFuture<'static, Result<(), FsError>>>;

/// Listings under way.
#[derive(Default)]
pub(crate) struct Listings {
    running: HashMap<Ino, Running>,
    /// How long the last listing of a directory took, where that was long.
    slow: HashMap<Ino, Duration>,
    walk: Option<Walk>,
    step: Option<Step>,
    wanted: Option<Stamp>,
    failed: Option<Stamp>,
}

struct Running {
    began: Stamp,
    wait: Wait,
}

/// The directory that was entered last, and how many before it in the order of names.
struct Step {
    parent: Ino,
    name: Box<str>,
    at: Stamp,
    count: u32,
}

/// A flat pass over everything below `prefix`, from `from` on.
#[derive(Clone)]
struct Walk {
    prefix: String,
    from: String,
    began: Stamp,
    /// The last key seen; `None` when the pass is over.
    cursor: watch::Receiver<Option<String>>,
}

impl Walk {
    /// Whether the pass will come, or has come, to this directory.
    fn covers(&self, prefix: &str) -> bool {
        prefix.starts_with(&self.prefix) && prefix >= self.from.as_str()
    }
}

/// Returns when the names of a directory are known and young enough.
pub(crate) async fn ensure(core: &Arc<Core>, directory: Ino) -> Result<(), FsError> {
    let (wait, patience) = {
        let mut state = core.state();
        state.listings.wanted = Some(Stamp::now());
        let known = state.tree.directory(directory)?;
        let (listed, age) = (known.listed, known.age());
        if state.tree.node(directory)?.unlinked {
            return Ok(());
        }
        let limit = core.lifetime(&state, directory);
        match age {
            Some(age) if age < limit / 2 => return Ok(()),
            Some(age) if age < limit => {
                // In the background: the names at hand are young enough for this caller.
                drop(begin(core, &mut state, directory, true)?);
                return Ok(());
            }
            _ => {}
        }
        if state.listings.is_offline() {
            return known_or(listed.is_some());
        }
        let wait = begin(core, &mut state, directory, true)?;
        (
            wait,
            listed.map(|_| state.listings.patience(&state, directory)),
        )
    };
    let Some(patience) = patience else {
        return wait.await;
    };
    // Without an answer, names as last known are better than none.
    match tokio::time::timeout(patience, wait).await {
        Err(_) | Ok(Err(FsError::Unreachable | FsError::Denied)) => Ok(()),
        Ok(other) => other,
    }
}

/// Returns when the names of a directory have been listed at least once.
pub(crate) async fn known(core: &Arc<Core>, directory: Ino) -> Result<(), FsError> {
    if core.state().tree.directory(directory)?.listed.is_some() {
        return Ok(());
    }
    ensure(core, directory).await
}

/// Lists a directory anew, without waiting for it and without taking part in a walk.
pub(crate) fn again(core: &Arc<Core>, directory: Ino) -> Result<(), FsError> {
    let mut state = core.state();
    if state.tree.node(directory)?.unlinked {
        return Ok(());
    }
    drop(begin(core, &mut state, directory, false)?);
    Ok(())
}

/// Without the bucket, names as last known are better than none.
fn known_or(known: bool) -> Result<(), FsError> {
    if known {
        Ok(())
    } else {
        Err(FsError::Unreachable)
    }
}

impl Listings {
    /// Whether the bucket did not answer moments ago.
    pub(crate) fn is_offline(&self) -> bool {
        self.failed
            .is_some_and(|failed| failed.age() < OFFLINE_PAUSE)
    }

    /// Whether a directory is being listed.
    pub(crate) fn is_running(&self, directory: Ino) -> bool {
        self.running.contains_key(&directory)
    }
}

/// Starts listing a directory, or joins whoever does so already; `may_walk` where a program
/// asks for its names.
fn begin(
    core: &Arc<Core>,
    state: &mut State,
    directory: Ino,
    may_walk: bool,
) -> Result<Wait, FsError> {
    if let Some(running) = state.listings.running.get(&directory) {
        return Ok(running.wait.clone());
    }
    let began = Stamp::now();
    let prefix = state.tree.prefix_of(directory)?;
    let walk = may_walk
        .then(|| current_walk(core, state, directory, &prefix))
        .flatten();
    let task = {
        let core = Arc::clone(core);
        core.runtime.clone().spawn(async move {
            let result = match walk {
                Some(walk) => follow(&core, directory, &prefix, walk).await,
                None => list(&core, directory, &prefix, may_walk).await,
            };
            let mut state = core.state();
            state.listings.running.remove(&directory);
            state.listings.took(directory, began.age());
            state.watching.took(directory, began);
            match &result {
                Err(FsError::Unreachable) => state.listings.failed = Some(Stamp::now()),
                Ok(()) => state.listings.failed = None,
                Err(_) => {}
            }
            drop(state);
            result
        })
    };
    let wait = async move { task.await.unwrap_or(Err(FsError::Unreachable)) }
        .boxed()
        .shared();
    let running = Running {
        began,
        wait: wait.clone(),
    };
    state.listings.running.insert(directory, running);
    Ok(wait)
}

impl Listings {
    /// How long to wait for a directory whose names are known.
    fn patience(&self, state: &State, directory: Ino) -> Duration {
        if state.report.health == Some(Health::Offline) {
            return Duration::ZERO;
        }
        let waited = self.running.get(&directory);
        PATIENCE.saturating_sub(waited.map_or(Duration::ZERO, |running| running.began.age()))
    }

    /// How many directories of this parent were entered one after the other, this one included.
    fn entered(&mut self, parent: Ino, name: Box<str>) -> u32 {
        let before = self.step.take().filter(|step| {
            step.parent == parent && step.name < name && step.at.age() <= WALK_MEMORY
        });
        let count = before.map_or(0, |step| step.count) + 1;
        self.step = Some(Step {
            parent,
            name,
            at: Stamp::now(),
            count,
        });
        count
    }

    fn took(&mut self, directory: Ino, took: Duration) {
        if took > SLOW {
            self.slow.insert(directory, took);
        } else {
            self.slow.remove(&directory);
        }
    }
}

impl Core {
    /// How long a listing of this directory holds: what takes longer to list than it would
    /// hold could never be used.
    pub(crate) fn lifetime(&self, state: &State, directory: Ino) -> Duration {
        let slow = state.listings.slow.get(&directory);
        slow.map_or(self.settings.attr_ttl, |took| {
            self.settings.attr_ttl.max(*took * 2)
        })
    }
}

/// The walk that covers a directory: one under way, or a new one when the directory's
/// parent was read moments ago, or its siblings are entered one after the other.
fn current_walk(core: &Arc<Core>, state: &mut State, directory: Ino, prefix: &str) -> Option<Walk> {
    if core.settings.lazy || directory == ROOT {
        return None;
    }
    let oldest = Stamp::now().before(core.settings.attr_ttl / 2);
    if let Some(walk) = &state.listings.walk
        && walk.covers(prefix)
        && walk.began > oldest
        && walk
            .cursor
            .borrow()
            .as_ref()
            .is_some_and(|cursor| passed(cursor, prefix).is_none())
    {
        return Some(walk.clone());
    }
    let node = state.tree.node(directory).ok()?;
    let (parent, name) = (node.parent, node.name.clone());
    let steps = state.listings.entered(parent, name);
    let around = state.tree.directory(parent).ok()?;
    let read = around.read.is_some_and(|read| read.age() <= WALK_MEMORY);
    if !(read || steps >= WALK_STEPS) || around.subdirectories < 2 {
        return None;
    }
    let parent = state.tree.prefix_of(parent).ok()?;
    Some(begin_walk(core, state, parent, prefix.to_owned()))
}

fn begin_walk(core: &Arc<Core>, state: &mut State, prefix: String, from: String) -> Walk {
    let (sender, cursor) = watch::channel(Some(String::new()));
    let walk = Walk {
        prefix,
        from,
        began: Stamp::now(),
        cursor,
    };
    state.listings.walk = Some(walk.clone());
    core.runtime
        .spawn(pass(Arc::clone(core), walk.clone(), sender));
    walk
}

/// `Some` when a pass at `cursor` has left this directory behind.
fn passed(cursor: &str, prefix: &str) -> Option<()> {
    (cursor > prefix && !cursor.starts_with(prefix)).then_some(())
}

/// Waits for a walk to come by; lists the directory alone when that takes too long.
async fn follow(
    core: &Arc<Core>,
    directory: Ino,
    prefix: &str,
    mut walk: Walk,
) -> Result<(), FsError> {
    for _ in 0..3 {
        let changed = walk.cursor.changed().await;
        {
            let state = core.state();
            let listed = state.tree.directory(directory)?.listed;
            if listed.is_some_and(|listed| listed >= walk.began) {
                return Ok(());
            }
        }
        let cursor = walk.cursor.borrow().clone();
        match cursor {
            Some(cursor) if changed.is_ok() && passed(&cursor, prefix).is_none() => {}
            _ => break,
        }
    }
    list(core, directory, prefix, true).await
}

/// Lists one directory.
async fn list(
    core: &Arc<Core>,
    directory: Ino,
    prefix: &str,
    may_walk: bool,
) -> Result<(), FsError> {
    let began = Stamp::now();
    let (listing, index) = futures::join!(
        one_level(core, prefix, may_walk),
        core.index_of(prefix, None, began)
    );
    let mut listing = match listing {
        Ok(listing) => listing,
        Err(error) => {
            let error = core.heard("list", &error);
            return recall_offline(core, directory, prefix, error);
        }
    };
    core.heard_ok();
    listing.index = index;
    let notices = {
        let mut state = core.state();
        if !state.tree.contains(directory) || state.tree.prefix_of(directory)? != prefix {
            // It was renamed meanwhile: the answer speaks of another place.
            return Ok(());
        }
        let notices = core.merge(&mut state, directory, listing, began)?;
        state.watching.listed(directory, !notices.is_empty());
        notices
    };
    core.tell(notices);
    Ok(())
}

/// Without the bucket, a directory never listed in this mount shows what an earlier mount
/// knew of it.
fn recall_offline(
    core: &Arc<Core>,
    directory: Ino,
    prefix: &str,
    error: FsError,
) -> Result<(), FsError> {
    let mut state = core.state();
    if error != FsError::Unreachable || state.tree.directory(directory)?.listed.is_some() {
        return Err(error);
    }
    let mut listing = Listing::default();
    for ((segment, is_directory), memory) in core.remembered.recall(prefix) {
        if is_directory {
            listing.directories.insert(segment);
        } else {
            listing.objects.push(Found {
                segment,
                size: memory.size,
                etag: bucket::Etag::new(&memory.etag),
                modified: i128::from(memory.attrs.mtime),
            });
        }
    }
    if listing.directories.is_empty() && listing.objects.is_empty() {
        return Err(error);
    }
    let long_ago = Stamp::now().before(core.settings.attr_ttl);
    let notices = core.merge(&mut state, directory, listing, long_ago)?;
    drop(state);
    core.tell(notices);
    Ok(())
}

async fn one_level(core: &Arc<Core>, prefix: &str, may_walk: bool) -> Result<Listing, BucketError> {
    let mut listing = Listing::default();
    let mut request = ListRequest {
        prefix: prefix.to_owned(),
        delimiter: Some('/'),
        ..ListRequest::default()
    };
    loop {
        let page = core.bucket.list(&request).await?;
        if request.token.is_none() && may_walk {
            walk_on(core, prefix, &page);
        }
        for directory in &page.prefixes {
            let segment = directory.strip_prefix(prefix).unwrap_or(directory);
            listing
                .directories
                .insert(segment.strip_suffix('/').unwrap_or(segment).to_owned());
        }
        for object in page.objects {
            listing.take(prefix, object);
        }
        request.token = page.next;
        if request.token.is_none() {
            return Ok(listing);
        }
    }
}

/// Who asks for more subdirectories than fit on a page is likely to enter them: their
/// names are fetched while the list goes on. When nobody enters, the walk soon ends.
fn walk_on(core: &Arc<Core>, prefix: &str, first: &ListPage) {
    if core.settings.lazy || first.next.is_none() || first.prefixes.len() <= first.objects.len() {
        return;
    }
    let Some(from) = first.prefixes.first() else {
        return;
    };
    let mut state = core.state();
    let covered = |walk: &Walk| walk.covers(from) && walk.cursor.borrow().is_some();
    if !state.listings.walk.as_ref().is_some_and(covered) {
        begin_walk(core, &mut state, prefix.to_owned(), from.clone());
    }
}

impl Listing {
    /// Takes an object that lies directly in the directory `prefix`.
    fn take(&mut self, prefix: &str, object: ObjectMeta) {
        let segment = object.key.as_str().strip_prefix(prefix).unwrap_or_default();
        if segment.is_empty() {
            self.marker = Some((object.etag, object.last_modified));
            return;
        }
        self.objects.push(Found {
            segment: segment.to_owned(),
            size: object.size,
            etag: object.etag,
            modified: object.last_modified,
        });
    }
}

/// The flat pass: pages until the end, or until nobody lists any more. While the names of
/// one page are taken in, the next is on its way.
async fn pass(core: Arc<Core>, walk: Walk, cursor: watch::Sender<Option<String>>) {
    let mut sorter = Sorter::new(&walk.prefix);
    let mut request = ListRequest {
        prefix: walk.prefix.clone(),
        // From just before the first directory's own marker.
        start_after: Some(walk.from.trim_end_matches('/').to_owned()),
        ..ListRequest::default()
    };
    let mut coming = Some(next_page(&core, &request));
    while let Some(page) = coming.take() {
        let Ok((began, page)) = page.await else {
            break;
        };
        let page = match page {
            Ok(page) => page,
            Err(error) => {
                core.heard("list", &error);
                break;
            }
        };
        request.token = page.next.clone();
        if request.token.is_some() && !nobody_walks(&core) {
            coming = Some(next_page(&core, &request));
        }
        let last = page
            .objects
            .last()
            .map(|object| object.key.as_str().to_owned());
        let mut complete = sorter.take(page, began);
        if request.token.is_none() {
            complete.extend(sorter.finish());
        }
        take_directories(&core, &walk.prefix, complete).await;
        if let Some(last) = last {
            let _ = cursor.send(Some(last));
        }
    }
    let _ = cursor.send(None);
}

/// A page under way, with the time at which it was asked for.
fn next_page(
    core: &Arc<Core>,
    request: &ListRequest,
) -> JoinHandle<(Stamp, Result<ListPage, BucketError>)> {
    let (core_, request) = (Arc::clone(core), request.clone());
    core.runtime.spawn(async move {
        let began = Stamp::now();
        (began, core_.bucket.list(&request).await)
    })
}

fn nobody_walks(core: &Core) -> bool {
    let wanted = core.state().listings.wanted;
    wanted.is_none_or(|wanted| wanted.age() > WALK_PATIENCE) || core.stop.is_cancelled()
}

/// Takes in the directories that a walk of `walked` has completed.
async fn take_directories(core: &Arc<Core>, walked: &str, complete: Vec<(String, Listing, Stamp)>) {
    let ready: Vec<_> = futures::stream::iter(complete)
        .map(|(prefix, mut listing, began)| async move {
            listing.index = core.index_of(&prefix, Some(walked), began).await;
            (prefix, listing, began)
        })
        .buffered(INDEXES_AT_ONCE)
        .collect()
        .await;
    let mut notices = Vec::new();
    let mut state = core.state();
    for (prefix, listing, began) in ready {
        if let Some(directory) = ensure_directory(core, &mut state, &prefix) {
            match core.merge(&mut state, directory, listing, began) {
                Ok(more) => notices.extend(more),
                Err(error) => tracing::warn!(%error, prefix, "a listing could not be taken in"),
            }
        }
    }
    drop(state);
    core.tell(notices);
}

/// The directory of a key prefix, with every directory on the way to it: a pass finishes
/// children before their parents. What went away here is not brought back.
fn ensure_directory(core: &Core, state: &mut State, prefix: &str) -> Option<Ino> {
    let hidden = format!("{}{}/", core.settings.prefix, crate::merge::HIDDEN);
    let State { tree, gone, .. } = state;
    tree.make_directories(
        prefix,
        &core.default_attrs(0o755, SystemTime::now()),
        |path| path != hidden && bucket::Key::new(path).is_ok_and(|key| !gone.contains_key(&key)),
    )
}

/// Sorts a flat listing, whose keys come in byte order, into directories. The keys of one
/// directory's subtree are contiguous, so a directory is complete once a key outside its
/// prefix is seen.
struct Sorter {
    open: Vec<(String, Listing, Stamp)>,
}

impl Sorter {
    fn new(prefix: &str) -> Self {
        // The pass began somewhere inside the bottom directory: it is never complete.
        Self {
            open: vec![(prefix.to_owned(), Listing::default(), Stamp::now())],
        }
    }

    fn take(&mut self, page: ListPage, began: Stamp) -> Vec<(String, Listing, Stamp)> {
        let mut complete = Vec::new();
        for object in page.objects {
            let key = object.key.as_str().to_owned();
            let directory = key.rfind('/').map_or("", |slash| &key[..=slash]);
            while self.open.len() > 1 && !directory.starts_with(self.top()) {
                complete.extend(self.open.pop());
            }
            while self.top().len() < directory.len() {
                self.enter(directory, began);
            }
            if let Some((prefix, listing, _)) = self.open.last_mut() {
                listing.take(prefix, object);
            }
        }
        complete
    }

    fn finish(&mut self) -> Vec<(String, Listing, Stamp)> {
        let mut open = std::mem::take(&mut self.open);
        open.drain(..).skip(1).rev().collect()
    }

    fn top(&self) -> &str {
        self.open.last().map_or("", |(prefix, ..)| prefix)
    }

    /// Opens the next directory on the way to `directory`.
    fn enter(&mut self, directory: &str, began: Stamp) {
        let Some((prefix, listing, _)) = self.open.last_mut() else {
            return;
        };
        let rest = &directory[prefix.len()..];
        let segment = rest.split('/').next().unwrap_or_default();
        listing.directories.insert(segment.to_owned());
        let inner = format!("{prefix}{segment}/");
        self.open.push((inner, Listing::default(), began));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use bucket::{Etag, Key, Metadata};

    fn page(keys: &[&str]) -> ListPage {
        let objects = keys
            .iter()
            .map(|key| ObjectMeta {
                key: Key::new(*key).expect("a key"),
                size: 1,
                etag: Etag::new("e"),
                last_modified: 0,
                metadata: Metadata::new(),
            })
            .collect();
        ListPage {
            objects,
            ..ListPage::default()
        }
    }

    fn names(
        complete: &[(String, Listing, Stamp)],
    ) -> Vec<(String, Vec<String>, BTreeSet<String>)> {
        complete
            .iter()
            .map(|(prefix, listing, _)| {
                let objects = listing
                    .objects
                    .iter()
                    .map(|found| found.segment.clone())
                    .collect();
                (prefix.clone(), objects, listing.directories.clone())
            })
            .collect()
    }

    #[test]
    fn a_flat_page_gives_whole_directories() {
        let mut sorter = Sorter::new("");
        let now = Stamp::now();
        let first = sorter.take(page(&["a/", "a/1", "a/b//x", "a/b/c/2", "a/z"]), now);
        assert_eq!(
            names(&first),
            [
                ("a/b//".into(), vec!["x".into()], BTreeSet::new()),
                ("a/b/c/".into(), vec!["2".into()], BTreeSet::new()),
                (
                    "a/b/".into(),
                    vec![],
                    BTreeSet::from([String::new(), "c".into()])
                ),
            ]
        );
        let second = sorter.take(page(&["b/3"]), now);
        assert_eq!(second.len(), 1);
        assert_eq!(second[0].0, "a/");
        assert!(second[0].1.marker.is_some());
        assert_eq!(names(&sorter.finish())[0].0, "b/");
    }
}
