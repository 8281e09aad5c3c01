//! Carries pending operations to the bucket: uploads, copies, deletes, in an order that
//! never loses content, each conditional on what is believed to be there.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bucket::{
    Body as Payload, Condition, CopyOptions, Error as BucketError, Etag, Key, ObjectMeta,
    PutOptions,
};
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::body::BodyStamp;
use crate::clock::Stamp;
use crate::core::{Batch, Core, State, fs_error};
use crate::fetch;
use crate::merge::Notice;
use crate::pending::{Base, Op, Want};
use crate::sending::{self, Sending, Upload};
use crate::tree::{Content, Remote};
use crate::{FsError, Gone, Ino};

/// The name of the metadata entry that tells which upload made an object.
pub(crate) const TOKEN: &str = "artifacts-upload";
/// A file that stays open for writing is uploaded when it has been still for so long.
const STILL: Duration = Duration::from_secs(5);
/// Without a word from anybody, what is pending is looked through this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often a refused condition is looked into before the operation is put off.
const LOOKS: u32 = 5;

/// How many ready operations are found in one look through all that is pending: with
/// 100,000 files waiting, a look for each upload would cost more than the uploads.
const FOUND_AT_ONCE: usize = 1024;

/// Starts whatever may start, until the workspace is closed.
pub(crate) async fn run(core: Arc<Core>) {
    let mut queue = VecDeque::new();
    while !core.stop.is_cancelled() {
        let wait = start_ready(&core, &mut queue);
        tokio::select! {
            () = core.wake.notified() => {}
            () = tokio::time::sleep(wait) => {}
            () = core.stop.cancelled() => {}
        }
    }
}

/// Starts what is ready and says how long nothing more will be. `queue` holds what was
/// found ready and had no room yet.
fn start_ready(core: &Arc<Core>, queue: &mut VecDeque<Key>) -> Duration {
    if core.is_frozen() {
        return LOOK_EVERY;
    }
    let mut state = core.state();
    start_queued(core, &mut state, queue);
    if queue.is_empty() {
        let ready = |op: &Op| state.fits(op);
        queue.extend(state.pending.runnable(Stamp::now(), FOUND_AT_ONCE, ready));
        start_queued(core, &mut state, queue);
    }
    // What is in the queue, and what another operation stands before, waits for one to end,
    // and that wakes us.
    let now = Stamp::now();
    let next = match queue.is_empty() {
        true => state.pending.next_ready(now),
        false => None,
    };
    let wait = next
        .map_or(LOOK_EVERY, Stamp::remaining)
        .clamp(Duration::from_millis(5), LOOK_EVERY);
    state.next_look = now.after(wait);
    wait
}

fn start_queued(core: &Arc<Core>, state: &mut State, queue: &mut VecDeque<Key>) {
    let now = Stamp::now();
    while state.pending.running() < core.settings.uploads {
        let Some(key) = queue.pop_front() else {
            return;
        };
        let op = state.pending.at(&key);
        let ready = op.is_some_and(|op| op.ready <= now && state.fits(op));
        if ready
            && state.pending.is_free(&key)
            && let Some((op, cancel)) = state.pending.started(&key)
        {
            core.runtime
                .spawn(attempt(Arc::clone(core), key, op, cancel));
        }
    }
}

/// What an operation left in the bucket.
enum Done {
    /// This version, made from a body that looked so.
    Written(Etag, Option<BodyStamp>, u64),
    /// Nothing of ours.
    Gone,
    /// Nothing: this content is there already.
    Sent { open: bool },
    /// The operation was changed into another one; it will be started anew.
    Changed,
}

async fn attempt(core: Arc<Core>, key: Key, op: Op, cancel: CancellationToken) {
    let work = async {
        match &op.want {
            Want::Put { ino } => put(&core, &key, &op, *ino).await,
            Want::Marker { .. } => marker(&core, &key).await,
            Want::Copy { ino, from, etag } => copy(&core, &key, &op, *ino, from, etag).await,
            Want::Delete => delete(&core, &key, &op).await,
        }
    };
    // Only a conditional write may be given up: what else is under way could come about in
    // the store after what follows it here.
    let given_up = async {
        match op.want {
            Want::Put { .. } => cancel.cancelled().await,
            _ => std::future::pending().await,
        }
    };
    let result = tokio::select! {
        result = work => Some(result),
        () = given_up => None,
    };
    let mut state = core.state();
    let current = state.pending.ended(&key, op.order);
    let finished = match result {
        None => Ok(()),
        Some(Ok(done)) => core.finish(&mut state, &key, &op, done, current),
        Some(Err(error)) => {
            if current {
                core.put_off(&mut state, &key, &error);
            }
            Ok(())
        }
    };
    if let Err(error) = finished {
        state.report.happened(format!("{key}: {error}"));
    }
    drop(state);
    core.ended.notify_waiters();
    core.wake.notify_one();
}

impl State {
    /// All of a node's content is in the bucket.
    fn done_with(&mut self, key: &Key, ino: Ino) {
        self.pending.take(key);
        if let Ok(node) = self.tree.node_mut(ino) {
            node.sent = None;
        }
        self.unsaved.insert(ino);
    }

    /// Whether nothing is left to do for an operation until its file is written again.
    pub(crate) fn is_sent(&self, op: &Op) -> bool {
        let Want::Put { ino } = op.want else {
            return false;
        };
        self.tree.node(ino).is_ok_and(|node| {
            let stamp = node.body().and_then(|body| body.stamp().ok());
            stamp.is_some_and(|stamp| node.is_sent(stamp))
        })
    }

    /// Whether an operation's content can be sent now: a file that a program is writing
    /// only when it has been still for a while, or when someone asked for it.
    fn fits(&self, op: &Op) -> bool {
        let Want::Put { ino } = op.want else {
            return true;
        };
        let Ok(node) = self.tree.node(ino) else {
            return false;
        };
        if node.writers == 0 {
            return true;
        }
        let Some(body) = node.body() else {
            return false;
        };
        let Ok(stamp) = body.stamp() else {
            return false;
        };
        if node.is_sent(stamp) {
            return false;
        }
        self.forced.contains(&ino) || body.still_for(stamp, Stamp::now()) > STILL
    }
}

impl Core {
    /// Takes note of an operation that was carried out.
    fn finish(
        &self,
        state: &mut State,
        key: &Key,
        op: &Op,
        done: Done,
        current: bool,
    ) -> Result<(), FsError> {
        state.report.works();
        let mut batch = Batch::default();
        batch.touch(key);
        if !current {
            // Something else is wanted here by now: it must know what is in the bucket.
            if let (Done::Written(etag, ..), Some(newer)) = (done, state.pending.at_mut(key)) {
                newer.base.maybe.retain(|token| *token != op.token);
                newer.base.etag = Some(etag);
                return self.commit(state, batch);
            }
            return Ok(());
        }
        match done {
            Done::Changed => {}
            Done::Sent { open } => self.found_sent(state, key, op, open),
            Done::Gone => {
                state.pending.take(key);
                let now = Stamp::now();
                state.gone.insert(key.clone(), now);
                // A listing under way may have seen the directories that it stood for.
                for directory in crate::replay::directories_above(key) {
                    match state.gone.get_mut(&directory) {
                        Some(gone) => *gone = now,
                        None => break,
                    }
                }
            }
            Done::Written(etag, stamp, size) => {
                self.written_to_bucket(state, key, op, etag, stamp, size)?
            }
        }
        self.commit(state, batch)
    }

    fn written_to_bucket(
        &self,
        state: &mut State,
        key: &Key,
        op: &Op,
        etag: Etag,
        stamp: Option<BodyStamp>,
        size: u64,
    ) -> Result<(), FsError> {
        let Some(ino) = op.want.ino() else {
            return Ok(());
        };
        let node = state.tree.node_mut(ino)?;
        node.remote = Some(Remote {
            at: None,
            etag: etag.clone(),
            size,
            seen: Stamp::now(),
        });
        state.forced.remove(&ino);
        if let Some(ready) = self.goes_on(state, ino, stamp)? {
            state.tree.node_mut(ino)?.sent = stamp;
            if let Some(op) = state.pending.at_mut(key) {
                op.goes_on_from(etag, ready);
            }
            return Ok(());
        }
        state.done_with(key, ino);
        if state.tree.node(ino)?.attrs.chosen {
            self.index_later(state, ino)?;
        }
        Ok(())
    }

    /// When to look again at a file that went up as it was at `stamp`: it is still open or
    /// mapped for writing, or changed meanwhile. `None` when all of it is in the bucket.
    fn goes_on(
        &self,
        state: &State,
        ino: Ino,
        stamp: Option<BodyStamp>,
    ) -> Result<Option<Stamp>, FsError> {
        let node = state.tree.node(ino)?;
        let (Some(stamp), Some(body)) = (stamp, node.body()) else {
            return Ok(None);
        };
        if node.writers > 0 {
            return Ok(Some(Stamp::now()));
        }
        if node.is_backing() && body.has_writers()? {
            return Ok(Some(Stamp::now().after(STILL)));
        }
        // Asked last: what was written before the last writer went shows in it.
        Ok((body.stamp()? != stamp).then(|| self.upload_time()))
    }

    fn found_sent(&self, state: &mut State, key: &Key, op: &Op, open: bool) {
        let Some(ino) = op.want.ino() else {
            return;
        };
        state.forced.remove(&ino);
        if !open {
            return state.done_with(key, ino);
        }
        if let Some(op) = state.pending.at_mut(key) {
            op.ready = Stamp::now().after(STILL);
            op.tries = op.tries.saturating_sub(1);
        }
    }

    fn put_off(&self, state: &mut State, key: &Key, error: &BucketError) {
        use bucket::Error as E;
        let health = match error {
            E::Unreachable { .. } | E::Throttled { .. } => Some(crate::status::Health::Offline),
            E::BadCredentials { .. } | E::PermissionDenied { .. } => {
                Some(crate::status::Health::Refused)
            }
            _ => None,
        };
        if health.is_some() {
            state.report.health = health;
        }
        state.report.change_failed(key, format!("{key}: {error}"));
        tracing::warn!(%key, %error, "not uploaded yet");
        if let Some(op) = state.pending.at_mut(key) {
            let pause = Duration::from_secs(1 << op.tries.min(5));
            op.ready = Stamp::now().after(pause);
            op.error = Some(fs_error(error));
        }
    }

    /// Uploads a file that may still be open, and returns when the object is in the bucket.
    pub(crate) async fn upload_now(&self, ino: Ino) -> Result<(), FsError> {
        let mut tries = None;
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            {
                let mut state = self.state();
                let node = state.tree.node(ino)?;
                if node.unlinked {
                    return Ok(());
                }
                let stamp = node.body().map(|body| body.stamp()).transpose()?;
                let sent = stamp.is_some_and(|stamp| node.is_sent(stamp));
                let key = state.tree.key(ino)?;
                let running = state.pending.is_running(&key);
                state.forced.insert(ino);
                let Some(op) = state.pending.at_mut(&key).filter(|_| !sent) else {
                    state.forced.remove(&ino);
                    return Ok(());
                };
                if self.is_frozen() {
                    return Err(FsError::Denied);
                }
                let since = *tries.get_or_insert(op.tries);
                if let Some(error) = op.error.as_ref().filter(|_| op.tries > since && !running) {
                    return Err(error.clone());
                }
                if op.tries == since {
                    op.ready = Stamp::now();
                }
            }
            self.wake.notify_one();
            ended.await;
        }
    }
}

async fn put(core: &Arc<Core>, key: &Key, op: &Op, ino: Ino) -> Result<Done, BucketError> {
    let upload = match sending::prepare(core, key, op, ino).await? {
        Sending::Content(upload) => upload,
        Sending::Sent { open } => return Ok(Done::Sent { open }),
        Sending::Nothing => return Ok(Done::Changed),
    };
    let size = upload.payload.len();
    Ok(match put_conditionally(core, key, ino, &upload).await? {
        Some(etag) => Done::Written(etag, upload.stamp, size),
        None => Done::Changed,
    })
}

/// `None` when the operation was turned into another one (a conflict copy).
async fn put_conditionally(
    core: &Arc<Core>,
    key: &Key,
    ino: Ino,
    upload: &Upload,
) -> Result<Option<Etag>, BucketError> {
    let op = &upload.op;
    let mut base = op.base.clone();
    for _ in 0..LOOKS {
        let sent = match write_condition(core, key, &base).await {
            Ok(condition) => {
                let metadata = upload.metadata.clone();
                let options = PutOptions {
                    condition,
                    metadata,
                    ..PutOptions::default()
                };
                core.bucket.put(key, upload.payload.clone(), options).await
            }
            Err(error) => Err(error),
        };
        match sent {
            Ok(outcome) => return Ok(Some(outcome.etag)),
            Err(BucketError::Precondition { .. } | BucketError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        match look(core, key, op, &base).await? {
            Look::Absent => base = Base::default(),
            Look::Done(etag) => return Ok(Some(etag)),
            Look::Ours(etag) => base = Base::of(Some(etag)),
            Look::Foreign(meta) => {
                core.make_conflict_copy(key, op, ino, meta)?;
                return Ok(None);
            }
        }
    }
    Err(BucketError::Throttled {
        reason: format!("{key} keeps changing"),
    })
}

/// The condition that a write on this base carries. A store that ignores conditions is
/// asked what it holds right before; that narrows the gap, and cannot close it.
async fn write_condition(core: &Core, key: &Key, base: &Base) -> Result<Condition, BucketError> {
    let can = &core.settings.capabilities;
    let condition = match &base.etag {
        _ if base.any => return Ok(Condition::None),
        Some(etag) => Condition::Matches(etag.clone()),
        None => Condition::Absent,
    };
    if can.put_if_absent && can.put_if_match {
        return Ok(condition);
    }
    let there = at(core, key).await?.map(|meta| meta.etag);
    if there == base.etag {
        return Ok(Condition::None);
    }
    Err(BucketError::Precondition { key: key.clone() })
}

/// The object at a key, if there is one.
async fn at(core: &Core, key: &Key) -> Result<Option<ObjectMeta>, BucketError> {
    match core.bucket.head(key).await {
        Ok(meta) => Ok(Some(meta)),
        Err(BucketError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What is at a key whose condition was refused.
enum Look {
    Absent,
    /// Exactly this operation's content: an answer was lost.
    Done(Etag),
    /// Something that we wrote or knew.
    Ours(Etag),
    Foreign(ObjectMeta),
}

async fn look(core: &Core, key: &Key, op: &Op, base: &Base) -> Result<Look, BucketError> {
    let Some(meta) = at(core, key).await? else {
        return Ok(Look::Absent);
    };
    let token = meta.metadata.get(TOKEN);
    Ok(match token {
        Some(token) if *token == op.token => Look::Done(meta.etag),
        Some(token) if op.base.maybe.contains(token) || base.maybe.contains(token) => {
            Look::Ours(meta.etag)
        }
        _ if base.etag.as_ref() == Some(&meta.etag) => Look::Ours(meta.etag),
        _ => Look::Foreign(meta),
    })
}

async fn marker(core: &Core, key: &Key) -> Result<Done, BucketError> {
    let options = PutOptions::default();
    let outcome = core
        .bucket
        .put(key, Payload::Bytes(Bytes::new()), options)
        .await?;
    Ok(Done::Written(outcome.etag, None, 0))
}

async fn copy(
    core: &Arc<Core>,
    key: &Key,
    op: &Op,
    ino: Ino,
    from: &Key,
    etag: &Etag,
) -> Result<Done, BucketError> {
    let (attrs, size) = {
        let state = core.state();
        let Ok(node) = state.tree.node(ino) else {
            return Ok(Done::Changed);
        };
        (node.attrs.clone(), node.size)
    };
    let mut base = op.base.clone();
    for _ in 0..LOOKS {
        let condition = match destination(core, key, op, &base).await? {
            Destination::Free(condition) => condition,
            Destination::Foreign(meta) => {
                core.make_conflict_copy(key, op, ino, meta)?;
                return Ok(Done::Changed);
            }
        };
        let options = CopyOptions {
            source_if_match: Some(etag.clone()),
            condition,
            metadata: Some(sending::metadata(&attrs, &op.token)),
        };
        match core.bucket.copy(from, key, options).await {
            Ok(outcome) => return Ok(Done::Written(outcome.etag, None, size)),
            Err(BucketError::Precondition { .. } | BucketError::NotFound { .. }) => {}
            Err(
                BucketError::Unsupported { .. }
                | BucketError::TooLarge { .. }
                | BucketError::Invalid { .. },
            ) => {
                return download_instead(core, key, op, ino).await;
            }
            Err(error) => return Err(error),
        }
        match look(core, key, op, &base).await? {
            Look::Done(etag) => return Ok(Done::Written(etag, None, size)),
            Look::Foreign(meta) => {
                core.make_conflict_copy(key, op, ino, meta)?;
                return Ok(Done::Changed);
            }
            Look::Ours(found) if base.etag.as_ref() != Some(&found) => base = Base::of(Some(found)),
            Look::Absent if base.etag.is_some() => base = Base::default(),
            _ => return source_changed(core, key, op, ino, from, etag).await,
        }
    }
    Err(BucketError::Throttled {
        reason: format!("{key} keeps changing"),
    })
}

/// What a copy would replace.
enum Destination {
    /// Nothing, or what we know, under this condition.
    Free(Condition),
    Foreign(ObjectMeta),
}

/// What is at a copy's destination. Between this answer and the copy another client may
/// write there: where nothing is, a condition closes the gap if the store honours one on a
/// copy; where something of ours is, no store has a condition for it.
async fn destination(
    core: &Core,
    key: &Key,
    op: &Op,
    base: &Base,
) -> Result<Destination, BucketError> {
    let there = at(core, key).await?;
    let ours = |meta: &ObjectMeta| {
        base.etag.as_ref() == Some(&meta.etag)
            || meta
                .metadata
                .get(TOKEN)
                .is_some_and(|token| base.maybe.contains(token) || *token == op.token)
    };
    Ok(match there {
        None if core.settings.capabilities.copy_if_absent => Destination::Free(Condition::Absent),
        None => Destination::Free(Condition::None),
        Some(meta) if base.any || ours(&meta) => Destination::Free(Condition::None),
        Some(meta) => Destination::Foreign(meta),
    })
}

/// The store cannot copy this: the content goes through this machine.
async fn download_instead(
    core: &Arc<Core>,
    key: &Key,
    op: &Op,
    ino: Ino,
) -> Result<Done, BucketError> {
    let fetched = fetch::whole(core, ino).await;
    fetched.map_err(|error| BucketError::Throttled {
        reason: format!("{key} cannot be copied: {error}"),
    })?;
    core.write_instead(key, op.order, ino);
    Ok(Done::Changed)
}

impl Core {
    /// Wants a copy's content to be written from here, if that copy is still wanted.
    pub(crate) fn write_instead(&self, key: &Key, order: u64, ino: Ino) {
        let mut state = self.state();
        let Some(op) = state.pending.in_order(key, order).cloned() else {
            return;
        };
        state
            .pending
            .set(key.clone(), Want::Put { ino }, op.base, Stamp::now());
        let mut batch = Batch::default();
        batch.touch(key);
        if let Err(error) = self.commit(&state, batch) {
            state.report.happened(format!("{key}: {error}"));
        }
    }
}

/// What a rename moves was changed or removed elsewhere meanwhile: the newest content goes
/// to the new name; what is gone is gone, unless it is here whole.
async fn source_changed(
    core: &Arc<Core>,
    key: &Key,
    op: &Op,
    ino: Ino,
    from: &Key,
    etag: &Etag,
) -> Result<Done, BucketError> {
    let now = at(core, from).await?;
    let mut notices = Vec::new();
    let mut state = core.state();
    let Some(op) = state.pending.in_order(key, op.order).cloned() else {
        return Ok(Done::Changed);
    };
    let whole = state
        .tree
        .node(ino)
        .ok()
        .and_then(|node| node.body())
        .is_some_and(|body| body.is_whole());
    match now {
        Some(meta) if meta.etag != *etag => {
            let mut ino = ino;
            if let Ok((new, notice)) = state.inode_for_other_content(ino, 0) {
                ino = new;
                notices.push(notice);
            }
            if let Ok(node) = state.tree.node_mut(ino) {
                node.size = meta.size;
                node.generation += 1;
                node.remote = Some(Remote {
                    at: Some(from.clone()),
                    etag: meta.etag.clone(),
                    size: meta.size,
                    seen: Stamp::now(),
                });
                if let Content::Symlink { target } = &mut node.content {
                    *target = None;
                }
            }
            let want = Want::Copy {
                ino,
                from: from.clone(),
                etag: meta.etag,
            };
            state.pending.set(key.clone(), want, op.base, Stamp::now());
        }
        Some(_) => {
            return Err(BucketError::Throttled {
                reason: format!("{from} could not be copied to {key}"),
            });
        }
        None if whole => state
            .pending
            .set(key.clone(), Want::Put { ino }, op.base, Stamp::now()),
        None => {
            state.report.happened(format!(
                "{from} was removed elsewhere while it was being renamed to {key}"
            ));
            state.pending.take(key);
            notices.extend(Gone::of(&state, ino).map(Notice::Removed));
            let _ = state.tree.supersede(ino);
        }
    }
    let mut batch = Batch::default();
    batch.touch(key);
    let _ = core.commit(&state, batch);
    drop(state);
    core.tell(notices);
    Ok(Done::Changed)
}

async fn delete(core: &Core, key: &Key, op: &Op) -> Result<Done, BucketError> {
    if op.base.any {
        core.bucket.delete(key, Condition::None).await?;
        return Ok(Done::Gone);
    }
    let can = core.settings.capabilities.delete_if_match;
    let condition = match &op.base.etag {
        Some(etag) if can && op.base.maybe.is_empty() => Condition::Matches(etag.clone()),
        _ => match look(core, key, op, &op.base).await? {
            Look::Absent => return Ok(Done::Gone),
            Look::Done(etag) | Look::Ours(etag) if can => Condition::Matches(etag),
            Look::Done(_) | Look::Ours(_) => Condition::None,
            Look::Foreign(_) => return Ok(core.leave_foreign(key, op)),
        },
    };
    match core.bucket.delete(key, condition).await {
        Ok(()) | Err(BucketError::NotFound { .. }) => Ok(Done::Gone),
        Err(BucketError::Precondition { .. }) => match look(core, key, op, &op.base).await? {
            Look::Absent => Ok(Done::Gone),
            // It may be a write of ours that landed late: next try deletes that version.
            Look::Done(_) | Look::Ours(_) => Err(BucketError::Throttled {
                reason: format!("{key} changed while it was being deleted"),
            }),
            Look::Foreign(_) => Ok(core.leave_foreign(key, op)),
        },
        Err(error) => Err(error),
    }
}

impl Core {
    /// Another client wrote a newer version of what was deleted here: it stays, and the
    /// next listing shows it.
    fn leave_foreign(&self, key: &Key, op: &Op) -> Done {
        let mut state = self.state();
        if state.pending.in_order(key, op.order).is_none() {
            return Done::Changed;
        }
        state.report.happened(format!(
            "{key} was changed elsewhere; that version was not deleted"
        ));
        state.pending.take(key);
        state.gone.remove(key);
        let directory = key
            .as_str()
            .rfind('/')
            .map_or("", |slash| &key.as_str()[..=slash]);
        if let Some(ino) = state.tree.find_directory(directory)
            && let Ok(directory) = state.tree.directory_mut(ino)
        {
            directory.listed = None;
        }
        let mut batch = Batch::default();
        batch.touch(key);
        let _ = self.commit(&state, batch);
        Done::Changed
    }
}
