//! One pass, and a run of passes until both sides are alike.

use std::time::Duration;

use bucket::{Body, Error as BucketError, Key, ListRequest, PutOptions};

use crate::apply::{ABANDONED, Applied, Sides, apply};
use crate::error::{Result, SyncError};
use crate::look::look;
use crate::marker::Marker;
use crate::plan::Plan;
use crate::remote::Pages;
use crate::settings::{Deletes, Settings};
use crate::state::Outcome;

/// So often a run looks again where something changed while it worked.
const PASSES: usize = 4;

/// How long trashes and logs are kept, in nanoseconds.
const KEPT: i64 = 30 * DAY;
const DAY: i64 = 24 * 3_600 * 1_000_000_000;

/// Makes one pass: looks, plans, shows the plan, carries it out. Says what was done.
///
/// # Errors
/// [`SyncError`]; what was done until then is recorded.
pub async fn pass(
    sides: &Sides,
    settings: &Settings,
    show: &mut (dyn FnMut(&Plan) + Send),
) -> Result<Applied> {
    let (plan, _) = look(sides, settings).await?;
    show(&plan);
    if let Some(stop) = plan.stop {
        return Err(SyncError::Stopped(stop));
    }
    mark(sides)?;
    if plan.actions.is_empty() && plan.records.is_empty() {
        return Ok(Applied {
            again: plan.fresh.iter().map(ToString::to_string).collect(),
            ..Applied::default()
        });
    }
    let state = &sides.state;
    let log = state.begin_pass(sides.folder.now())?;
    let answer = apply(sides, settings, &log, plan).await;
    if settings.deletes == Deletes::Approve && !matches!(answer, Err(SyncError::Halted(_))) {
        state.approve_deletes(sides.folder.now())?;
    }
    let (outcome, summary) = match &answer {
        // As after a crash: nothing more is written.
        Err(SyncError::Halted(_)) => return answer,
        Ok(applied) if applied.is_whole() => (Outcome::Done, applied.summary()),
        Ok(applied) => (Outcome::Partial, applied.summary()),
        Err(error) => (Outcome::Failed, error.to_string()),
    };
    state.end_pass(&log, sides.folder.now(), outcome, &summary)?;
    answer
}

/// Makes passes until nothing has to be looked at again, or nothing more can be done.
///
/// # Errors
/// [`SyncError`]; what was done until then is recorded.
pub async fn run(
    sides: &Sides,
    settings: &Settings,
    show: &mut (dyn FnMut(&Plan) + Send),
) -> Result<Applied> {
    let mut applied = passes(sides, settings, show).await?;
    applied.notes = give_up(sides).await?;
    Ok(applied)
}

async fn passes(
    sides: &Sides,
    settings: &Settings,
    show: &mut (dyn FnMut(&Plan) + Send),
) -> Result<Applied> {
    let mut total = Applied::default();
    for round in 0..PASSES {
        if round > 0 && sides.folder.is_slow() {
            let step = settings.time_step.unsigned_abs();
            tokio::time::sleep(Duration::from_nanos(step)).await;
        }
        let applied = pass(sides, settings, show).await?;
        total.done += applied.done;
        total.bytes = total.bytes.saturating_add(applied.bytes);
        total.failed = applied.failed;
        total.again = applied.again;
        let before = std::mem::replace(&mut total.busy, applied.busy);
        // A file that is being written all the while is left to the next run: to send it again
        // and again would help nobody.
        let is_still_written = |path: &String| before.contains(path) && total.busy.contains(path);
        if total.again.iter().all(is_still_written) {
            break;
        }
    }
    Ok(total)
}

/// Ends transfers that were begun more than a day ago and that nobody went on with. Says what
/// they were.
async fn give_up(sides: &Sides) -> Result<Vec<String>> {
    let now = sides.folder.now();
    let is_old = |begun: i64| now.saturating_sub(begun) > ABANDONED;
    let mut notes = Vec::new();
    for upload in sides.state.uploads()? {
        let Ok(key) = Key::new(upload.key) else {
            continue;
        };
        if !is_old(upload.begun) {
            continue;
        }
        let became = match sides.bucket.abandon(&key, &upload.upload).await {
            Ok(()) => "what the bucket had of it is removed".to_owned(),
            Err(error) if error.is_temporary() => continue,
            Err(error) => format!(
                "what the bucket has of it stays ({error}), until a lifecycle rule for \
                 unfinished uploads removes it"
            ),
        };
        sides.state.forget_upload(&upload.path)?;
        notes.push(format!(
            "the upload of {} was begun more than a day ago and is given up: {became}",
            upload.path
        ));
    }
    let mut wanted = Vec::new();
    for download in sides.state.downloads()? {
        match is_old(download.begun) {
            true => sides.state.forget_download(&download.path)?,
            false => wanted.push(download.name),
        }
    }
    let is_left = move |name: &str| !wanted.iter().any(|wanted| wanted == name);
    let cleaned = crate::folder::call(&sides.folder, move |folder| folder.clean_received(&is_left));
    cleaned.await?;
    Ok(notes)
}

/// Makes the folder known as this pair's.
fn mark(sides: &Sides) -> Result<()> {
    let info = sides.state.info()?;
    let identity = sides.folder.identity()?;
    let marker = Marker::of(&info);
    let known = identity.marker.as_deref().and_then(Marker::parse);
    if known.as_ref() != Some(&marker) {
        sides.folder.mark(&marker.text())?;
    }
    if info.root != Some(identity.ino) {
        sides.state.set_root(identity.ino)?;
    }
    Ok(())
}

/// Drops what trashes and logs have of more than 30 days ago, once a day.
///
/// # Errors
/// The folder's, the bucket's and the state's.
pub async fn clean(sides: &Sides) -> Result<()> {
    let now = sides.folder.now();
    let lately = |at: i64| now.saturating_sub(at).saturating_abs() < DAY;
    if sides.state.cleaned()?.is_some_and(lately) {
        return Ok(());
    }
    // A clock that is ahead makes nothing older than the store has it.
    let there = time_there(sides).await?;
    let agreed = there.map_or(now, |there| now.min(i64::try_from(there).unwrap_or(now)));
    let before = agreed.saturating_sub(KEPT);
    sides.state.forget_before(before)?;
    let oldest = format!("{:020}", before.max(0));
    if let Some(there) = there {
        clean_bucket(sides, &oldest, there - i128::from(KEPT)).await?;
    }
    let is_old = move |pass: &str| is_pass(pass) && pass < oldest.as_str();
    let cleaned = crate::folder::call(&sides.folder, move |folder| folder.clean(&is_old));
    cleaned.await?;
    Ok(sides.state.set_cleaned(now)?)
}

/// What time it is by the store's clock, in nanoseconds since 1970, by an object that it takes
/// now. `None` where this machine may put nothing there; then it may delete nothing either.
async fn time_there(sides: &Sides) -> Result<Option<i128>> {
    let Some(key) = sides.keys.hidden("clock") else {
        return Ok(None);
    };
    let empty = Body::Bytes(bytes::Bytes::new());
    match sides.bucket.put(&key, empty, PutOptions::default()).await {
        Ok(_) => Ok(Some(sides.bucket.head(&key).await?.last_modified)),
        Err(BucketError::PermissionDenied { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Deletes what lies in the bucket's trash from passes before this one, if the store took it
/// before that time: the passes' names are of machines whose clocks may be wrong.
async fn clean_bucket(sides: &Sides, oldest: &str, before: i128) -> Result<()> {
    let Some(trash) = sides.keys.hidden("trash/") else {
        return Ok(());
    };
    let end = format!("{trash}{oldest}");
    let mut pages = Pages::default();
    let mut request = ListRequest {
        prefix: trash.as_str().to_owned(),
        ..ListRequest::default()
    };
    loop {
        let page = sides.bucket.list(&request).await?;
        let objects = page.objects.len();
        let is_over = |key: &Key| key.as_str() >= end.as_str();
        let is_last = page.objects.last().is_some_and(|last| is_over(&last.key));
        let taken = page.objects.into_iter();
        let keys = taken.filter(|object| object.last_modified < before);
        let keys = keys.map(|object| object.key);
        // A store may list what was not asked for.
        let is_old = |key: &Key| pass_of(key, &trash).is_some_and(|pass| pass < oldest);
        let old: Vec<Key> = keys.filter(is_old).collect();
        if !old.is_empty() {
            for outcome in sides.bucket.delete_many(&old).await? {
                outcome.result?;
            }
        }
        if is_last {
            return Ok(());
        }
        match pages.next(objects, page.next)? {
            Some(token) => request.token = Some(token),
            None => return Ok(()),
        }
    }
}

/// The pass whose trash holds an object; `None` for what lies in no trash.
fn pass_of<'k>(key: &'k Key, trash: &Key) -> Option<&'k str> {
    let (pass, _) = key.as_str().strip_prefix(trash.as_str())?.split_once('/')?;
    is_pass(pass).then_some(pass)
}

/// Whether a name is one of a pass, as [`State::begin_pass`](crate::state::State) gives them.
fn is_pass(name: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let mut parts = name.splitn(3, '-');
    let at = parts.next().filter(|at| at.len() == 20 && is_number(at));
    let id = parts.next().filter(|id| is_number(id));
    at.is_some() && id.is_some() && parts.next().is_some_and(|pair| !pair.is_empty())
}

impl Applied {
    /// Whether nothing was left.
    pub fn is_whole(&self) -> bool {
        self.again.is_empty() && self.failed.is_empty()
    }

    fn summary(&self) -> String {
        let (again, failed) = (self.again.len(), self.failed.len());
        format!(
            "{} done, {again} to look at again, {failed} failed",
            self.done
        )
    }
}
