//! Carries a plan out. Each action checks that what it is based on still holds, changes one
//! side at a time, and records what both sides have then.

mod blocks;
mod conflict;
mod names;
mod parts;
mod received;
mod remove;
mod rename;
mod rights;
mod times;
mod transfer;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bucket::probe::Capabilities;
use bucket::{Bucket, Condition, Error as BucketError, Key};
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};

use self::names::Names;
pub(crate) use self::parts::ABANDONED;
use self::received::Tags;
use self::rights::Rights;
use crate::entry::{BaseEntry, Kind, RemoteEntry, Seen};
use crate::error::{Result, SyncError};
use crate::folder::{Folder, FolderError};
use crate::keys::Keys;
use crate::path::TreePath;
use crate::plan::{Act, Action, Plan, Reason, Record};
use crate::settings::Settings;
use crate::state::{Outcome as Ended, Pass, State};
use crate::steps::Steps;

/// Both sides of a pair, and what a pass needs beside them.
#[derive(Clone)]
pub struct Sides {
    /// The bucket.
    pub bucket: Arc<dyn Bucket>,
    /// The workspace in it.
    pub keys: Keys,
    /// What the store honours.
    pub capabilities: Capabilities,
    /// The folder.
    pub folder: Arc<dyn Folder>,
    /// What is known from earlier passes.
    pub state: Arc<State>,
    /// Told of every step.
    pub steps: Arc<dyn Steps>,
}

/// What became of a plan.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Actions that were carried out.
    pub done: u64,
    /// Bytes of files sent and received.
    pub bytes: u64,
    /// Paths that changed meanwhile, or need one more pass: the next one sees to them.
    pub again: Vec<String>,
    /// What could not be done, with the reason.
    pub failed: Vec<(String, String)>,
    /// Those of `again` that somebody wrote to while they were read or sent.
    pub busy: Vec<String>,
    /// What else there is to say.
    pub notes: Vec<String>,
}

/// What became of an action, where it did not end the pass.
pub(crate) enum Outcome {
    /// Both sides are alike.
    Done,
    /// The next pass has to look again.
    Again,
    /// It cannot be done now; the others can.
    Failed(String),
}

/// One pass at work.
pub(crate) struct Work<'a> {
    pub(crate) sides: &'a Sides,
    pub(crate) settings: &'a Settings,
    pub(crate) pass: &'a Pass,
    pub(crate) transfers: Transfers,
    applied: Mutex<Applied>,
}

/// What transfers of one pass share.
pub(crate) struct Transfers {
    /// Blocks on their way at one time, of all files.
    pub(crate) ranges: Semaphore,
    /// Memory for what is sent, in units of [`UNIT`] bytes.
    memory: Semaphore,
    /// Whether the disk was found full.
    pub(crate) is_full: AtomicBool,
    rights: Rights,
    names: Names,
    tags: Tags,
}

impl Default for Transfers {
    fn default() -> Self {
        Self {
            ranges: Semaphore::new(RANGES),
            memory: Semaphore::new(MEMORY),
            is_full: AtomicBool::new(false),
            rights: Rights::default(),
            names: Names::default(),
            tags: Tags::default(),
        }
    }
}

/// Blocks of large files that are fetched at one time.
const RANGES: usize = 16;

/// What bodies on their way up may take of this machine's memory: 64 MiB.
const MEMORY: usize = 1024;
const UNIT: u64 = 64 * 1024;

/// The most that one body has in memory at one time.
const BODY: u64 = 8 << 20;

impl Transfers {
    /// Waits until there is memory for a body of this many bytes.
    pub(crate) async fn room(&self, size: u64) -> Option<SemaphorePermit<'_>> {
        let units = size.min(BODY) / UNIT + 1;
        let permit = self.memory.acquire_many(u32::try_from(units).unwrap_or(1));
        // It is never closed.
        permit.await.ok()
    }
}

/// Carries a plan out, phase by phase.
///
/// # Errors
/// What stands in the way of all that is left: no answer, no credentials, no room, the state.
pub(crate) async fn apply(
    sides: &Sides,
    settings: &Settings,
    pass: &Pass,
    plan: Plan,
) -> Result<Applied> {
    let work = Work {
        sides,
        settings,
        pass,
        transfers: Transfers::default(),
        applied: Mutex::default(),
    };
    let moved = plan.actions.iter().map(Action::bytes);
    let moved = moved.filter(|bytes| *bytes > 0);
    let (files, bytes) = moved.fold((0, 0), |(files, sum), bytes| (files + 1, sum + bytes));
    settings.progress.plan(files, bytes);
    work.step("plan made").await?;
    work.record(&plan.records).await?;
    let mut actions = plan.actions.into_iter().peekable();
    while let Some(first) = actions.next() {
        let phase = first.phase();
        let mut batch = vec![first];
        while let Some(next) = actions.next_if(|next| next.phase() == phase) {
            batch.push(next);
        }
        work.phase(batch).await?;
    }
    work.applied
        .lock()
        .again
        .extend(plan.fresh.iter().map(ToString::to_string));
    work.record_directories(&plan.records)?;
    work.step("plan carried out").await?;
    let mut applied = work.applied.into_inner();
    applied.failed.extend(work.transfers.rights.told());
    Ok(applied)
}

/// Puts objects that a rule leaves out into the bucket's trash. The folder's files stay.
///
/// # Errors
/// As [`apply`].
pub async fn prune(
    sides: &Sides,
    settings: &Settings,
    objects: BTreeMap<TreePath, RemoteEntry>,
) -> Result<Applied> {
    let pass = sides.state.begin_pass(sides.folder.now())?;
    let work = Work {
        sides,
        settings,
        pass: &pass,
        transfers: Transfers::default(),
        applied: Mutex::default(),
    };
    let mut running = futures::stream::iter(objects)
        .map(|(path, remote)| {
            let work = &work;
            async move { (work.prune_one(&path, &remote).await, path) }
        })
        .buffer_unordered(settings.transfers.max(1));
    while let Some((outcome, path)) = running.next().await {
        let outcome = judge(outcome)?;
        let mut applied = work.applied.lock();
        match outcome {
            Outcome::Done => applied.done += 1,
            Outcome::Again => applied.again.push(path.to_string()),
            Outcome::Failed(reason) => applied.failed.push((path.to_string(), reason)),
        }
    }
    drop(running);
    let applied = work.applied.into_inner();
    let outcome = match applied.is_whole() {
        true => Ended::Done,
        false => Ended::Partial,
    };
    let summary = format!("pruned {}", applied.done);
    sides
        .state
        .end_pass(&pass, sides.folder.now(), outcome, &summary)?;
    Ok(applied)
}

impl Work<'_> {
    async fn phase(&self, actions: Vec<Action>) -> Result<()> {
        let ordered = actions.first().is_some_and(Action::is_ordered);
        let width = if ordered { 1 } else { self.settings.transfers };
        let mut running = futures::stream::iter(actions)
            .map(|action| async move { (self.attempt(&action).await, action) })
            .buffer_unordered(width.max(1));
        while let Some((outcome, action)) = running.next().await {
            if let Some(outcome) = outcome? {
                self.note(&action, outcome);
            }
        }
        Ok(())
    }

    /// Carries an action out; `None` where the store refused it, or would.
    async fn attempt(&self, action: &Action) -> Result<Option<Outcome>> {
        let (rights, writes) = (&self.transfers.rights, action.act.writes());
        let Some(writes) = writes else {
            return judge(self.carry_out(action).await).map(Some);
        };
        if !rights.may_try(writes) {
            return Ok(None);
        }
        let answer = self.carry_out(action).await;
        if matches!(answer, Ok(Outcome::Done) | Err(_))
            && rights.is_refused(writes, action.path.as_str(), &answer)
        {
            return Ok(None);
        }
        judge(answer).map(Some)
    }

    /// Says that somebody writes to a file.
    pub(crate) fn busy(&self, path: &TreePath) {
        self.applied.lock().busy.push(path.to_string());
    }

    fn note(&self, action: &Action, outcome: Outcome) {
        let mut applied = self.applied.lock();
        match outcome {
            Outcome::Done => {
                applied.done += 1;
                applied.bytes += action.bytes();
            }
            Outcome::Again => applied.again.push(action.path.to_string()),
            Outcome::Failed(reason) => {
                tracing::warn!(path = %action.path, %reason, "{} failed", action.act.name());
                applied.failed.push((action.path.to_string(), reason));
            }
        }
    }

    async fn carry_out(&self, action: &Action) -> Result<Outcome> {
        let path = &action.path;
        if let Some(reason) = self.unfit_there(path, &action.act).await? {
            return Ok(Outcome::Failed(reason));
        }
        match &action.act {
            Act::Upload { local, over }
                if over.as_ref().is_none_or(|over| over.kind == local.kind)
                    && self.may_have_other_kind(action)?
                    && self.has_other_kind(path, local.kind).await? =>
            {
                Ok(Outcome::Again)
            }
            Act::Upload { local, over } => self.upload(path, local, over.as_ref()).await,
            Act::Download { remote, over } => self.download(path, remote, over.as_ref()).await,
            Act::DeleteRemote { remote } => self.delete_remote(path, remote).await,
            Act::DeleteLocal { local } => self.delete_local(path, local).await,
            Act::MoveRemote {
                from,
                remote,
                local,
                at,
                hash,
            } => {
                let stat = local.stat;
                let seen = Seen { stat, at: *at };
                self.move_remote(from, path, remote, local.kind, seen, *hash)
                    .await
            }
            Act::MoveLocal {
                from,
                local,
                remote,
                hash,
            } => self.move_local(from, path, local, remote, *hash).await,
            Act::KeepTheirs {
                copy,
                local,
                remote,
            } => self.keep_theirs(path, copy, local, remote).await,
            Act::KeepOurs {
                copy,
                local,
                remote,
            } => self.keep_ours(path, copy.as_ref(), local, remote).await,
            Act::SetLocalAside { copy, local } => self.set_local_aside(path, copy, local).await,
            Act::SetRemoteAside { copy, remote } => self.set_remote_aside(path, copy, remote).await,
            Act::SetTime {
                local,
                remote,
                mtime,
                hash,
            } => self.set_time(path, local, remote, *mtime, *hash).await,
            Act::SendTime {
                local,
                remote,
                at,
                hash,
            } => self.send_time(path, local, remote, *at, *hash).await,
            Act::MakeDirectory => self.make_directory(path).await,
            Act::RemoveDirectory => self.remove_directory(path).await,
            Act::PutMarker => self.put_marker(path).await,
            Act::DeleteMarker { etag } => self.delete_marker(path, etag).await,
        }
    }

    pub(crate) async fn step(&self, step: &'static str) -> Result<()> {
        Ok(self.sides.steps.reached(step).await?)
    }

    /// What only the state has to learn of files: it needs no change on either side.
    async fn record(&self, records: &[Record]) -> Result<()> {
        let mut changes = Vec::new();
        for record in records {
            match record {
                Record::Alike(path, entry) if self.is_still_there(path, entry).await? => {
                    changes.push((path.clone(), Some(entry.clone())));
                }
                Record::Alike(path, _) => self.applied.lock().again.push(path.to_string()),
                Record::LeaveOut(path) => changes.push((path.clone(), None)),
                Record::Forget(path) if self.is_gone(path).await? => {
                    changes.push((path.clone(), None));
                }
                Record::Forget(path) => self.applied.lock().again.push(path.to_string()),
                Record::Directory(_) | Record::ForgetDirectory(_) => {}
            }
        }
        Ok(self.sides.state.record_all(&changes)?)
    }

    /// Whether an object that a listing had is really there, where one of its name was deleted
    /// before: an old listing has it still, and to believe it would delete a file that a user
    /// has made anew.
    async fn is_still_there(&self, path: &TreePath, entry: &BaseEntry) -> Result<bool> {
        if self.sides.state.tombstone(path)?.is_none() {
            return Ok(true);
        }
        let Some(key) = self.sides.keys.entry(entry.kind, path) else {
            return Ok(false);
        };
        match self.sides.bucket.head(&key).await {
            Ok(there) => Ok(there.etag == entry.etag),
            Err(BucketError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the bucket has nothing of this name, whatever a listing said: what is forgotten
    /// and there all the same would come back as new.
    async fn is_gone(&self, path: &TreePath) -> Result<bool> {
        for kind in [Kind::File, Kind::Link] {
            if let Some(key) = self.sides.keys.entry(kind, path)
                && self.exists(&key).await?
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A directory is known only once everything in it was done.
    fn record_directories(&self, records: &[Record]) -> Result<()> {
        let applied = self.applied.lock();
        let failed = applied.failed.iter().map(|(path, _)| path);
        let left = failed.chain(&applied.again).map(String::as_str);
        let mut waiting: HashSet<&str> = HashSet::new();
        for path in left {
            waiting.insert(path);
            waiting.extend(path.match_indices('/').map(|(at, _)| &path[..at]));
        }
        let directories = records.iter().filter_map(|record| match record {
            Record::Directory(path) => Some((path.clone(), true)),
            Record::ForgetDirectory(path) => Some((path.clone(), false)),
            Record::Alike(..) | Record::Forget(_) | Record::LeaveOut(_) => None,
        });
        let directories = directories.filter(|(path, _)| !waiting.contains(path.as_str()));
        let directories: Vec<_> = directories.collect();
        Ok(self.sides.state.record_directories(&directories)?)
    }

    /// Runs a call on the folder.
    pub(crate) async fn local<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Folder) -> T + Send + 'static,
    ) -> T {
        crate::folder::call(&self.sides.folder, work).await
    }

    /// Whether a listing that is old may hide a file of ours under a link's name, or a link: one
    /// that was changed there, or one that we sent and whose answer was lost.
    fn may_have_other_kind(&self, action: &Action) -> Result<bool> {
        let beats = action.reason == Reason::EditBeatsDelete;
        Ok(beats || self.sides.state.was_sending(&action.path)?)
    }

    /// Whether the bucket has a link where a file is to be sent, or a file for a link, whatever
    /// a listing said: the two are different objects, so no condition would notice.
    async fn has_other_kind(&self, path: &TreePath, kind: Kind) -> Result<bool> {
        let other = match kind {
            Kind::File => Kind::Link,
            Kind::Link => Kind::File,
        };
        match self.sides.keys.entry(other, path) {
            Some(key) => self.exists(&key).await,
            None => Ok(false),
        }
    }

    /// Deletes an object of this version. Says whether it is gone; a store that knows no
    /// conditions is asked before.
    pub(crate) async fn delete(&self, key: &Key, etag: &bucket::Etag) -> Result<bool> {
        let bucket = &self.sides.bucket;
        let condition = match self.sides.capabilities.delete_if_match {
            true => Condition::Matches(etag.clone()),
            false => match bucket.head(key).await {
                Ok(meta) if meta.etag == *etag => Condition::None,
                Ok(_) => return Ok(false),
                Err(BucketError::NotFound { .. }) => return Ok(true),
                Err(error) => return Err(error.into()),
            },
        };
        match bucket.delete(key, condition).await {
            Ok(()) | Err(BucketError::NotFound { .. }) => Ok(true),
            Err(BucketError::Precondition { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether there is an object of this name now, whatever a listing said.
    pub(crate) async fn exists(&self, key: &Key) -> Result<bool> {
        match self.sides.bucket.head(key).await {
            Ok(_) => Ok(true),
            Err(BucketError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Parts what ends a pass from what concerns one file.
fn judge(outcome: Result<Outcome>) -> Result<Outcome> {
    match outcome {
        Err(SyncError::Folder(FolderError::Changed { .. })) => Ok(Outcome::Again),
        Err(SyncError::Folder(
            error @ (FolderError::BadName { .. }
            | FolderError::Denied { .. }
            | FolderError::NoSpace { .. }
            | FolderError::Io { .. }),
        )) => Ok(Outcome::Failed(error.to_string())),
        Err(SyncError::Bucket(error)) => of_bucket(error),
        other => other,
    }
}

fn of_bucket(error: BucketError) -> Result<Outcome> {
    match error {
        BucketError::NotFound { .. } | BucketError::Precondition { .. } => Ok(Outcome::Again),
        BucketError::PermissionDenied { .. }
        | BucketError::TooLarge { .. }
        | BucketError::Invalid { .. }
        | BucketError::Unsupported { .. }
        | BucketError::OutOfRange { .. }
        | BucketError::LocalBody { .. } => Ok(Outcome::Failed(error.to_string())),
        BucketError::NoSuchBucket { .. }
        | BucketError::BadCredentials { .. }
        | BucketError::ClockSkewed { .. }
        | BucketError::Unreachable { .. }
        | BucketError::Throttled { .. }
        | BucketError::NotS3 { .. } => Err(error.into()),
    }
}
