//! One pass, and a run of passes until both sides are alike.

use std::time::Duration;

use crate::apply::{Applied, Sides, apply};
use crate::error::{Result, SyncError};
use crate::look::look;
use crate::marker::Marker;
use crate::plan::Plan;
use crate::settings::Settings;
use crate::state::Outcome;

/// So often a run looks again where something changed while it worked.
const PASSES: usize = 4;

/// How long trashes and logs are kept, in nanoseconds.
const KEPT: i64 = 30 * 24 * 3_600 * 1_000_000_000;

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
    let mut total = Applied::default();
    for round in 0..PASSES {
        if round > 0 && sides.folder.is_slow() {
            let step = settings.time_step.unsigned_abs();
            tokio::time::sleep(Duration::from_nanos(step)).await;
        }
        let applied = pass(sides, settings, show).await?;
        total.done += applied.done;
        total.bytes += applied.bytes;
        total.failed = applied.failed;
        total.again = applied.again;
        if total.again.is_empty() {
            break;
        }
    }
    Ok(total)
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

/// Drops what trashes and logs have of more than 30 days ago.
///
/// # Errors
/// The folder's and the state's.
pub async fn clean(sides: &Sides) -> Result<()> {
    let before = sides.folder.now().saturating_sub(KEPT);
    sides.state.forget_before(before)?;
    let oldest = format!("{:020}", before.max(0));
    let is_old = move |pass: &str| pass < oldest.as_str();
    let cleaned = crate::folder::call(&sides.folder, move |folder| folder.clean(&is_old));
    Ok(cleaned.await?)
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
