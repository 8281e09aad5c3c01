//! `artifacts unmount`: upload what waits, then take the folder off.

use std::process::ExitCode;

use clap::Args;
use model::WorkspaceName;
use mount::control::Outcome;
use mount::{Liveness, MountError, MountRecord, units};
use serde_json::json;

use super::mount::progress::Progress;
use super::mount::{self as mounting, values::Span};
use crate::context::Context;
use crate::failure::{Code, Failure, Result};

/// Which mount, and how patiently.
#[derive(Args)]
pub(crate) struct Unmount {
    /// The mounted folder, or the workspace's name.
    #[arg(value_name = "PATH|NAME")]
    what: String,
    /// Do not upload first: what waits stays in the journal on this machine.
    #[arg(long)]
    no_wait: bool,
    /// Take the folder off even while programs use it; they keep what they have open.
    #[arg(long)]
    lazy: bool,
    /// Stop waiting when nothing has moved for so long; the folder then stays mounted.
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    give_up_after: Span,
}

pub(crate) fn run(args: &Unmount, context: &Context) -> Result<ExitCode> {
    let table = mounting::table(context)?;
    let (record, liveness) = table.find(&args.what)?;
    if liveness == Liveness::Stale {
        mount::clear_stale(&table, &record)?;
        context.output.note(&format!(
            "The process that served {} was gone.",
            record.mountpoint.display()
        ));
        return print(context, &record, &left_by(&record, context)?);
    }
    let outcome = context.block_on(unmount(args, &record))?;
    print(context, &record, &outcome)
}

/// What a process that is gone left in the journal.
fn left_by(record: &MountRecord, context: &Context) -> Result<Outcome> {
    let name = record.workspace.parse::<WorkspaceName>();
    let name = name.map_err(|e| Failure::new(Code::Failed, e.to_string()))?;
    let config = context.workspaces()?.load(&name)?;
    Ok(mounting::left(context, config.id)?.into())
}

async fn unmount(args: &Unmount, record: &MountRecord) -> Result<Outcome> {
    let client = mount::control::Client::new(record);
    let mut progress = Progress::new("uploading");
    let result = client
        .unmount(
            !args.no_wait,
            args.lazy,
            Some(args.give_up_after.0),
            |status| {
                progress.show(status);
            },
        )
        .await;
    progress.end();
    result.map_err(|error| {
        let pending = matches!(error, MountError::LeftPending { .. });
        let failure = Failure::from(error);
        if pending {
            failure.with_hint(format!(
                "{} is still mounted and goes on trying; to leave the rest in the journal: \
                 artifacts unmount --no-wait {}",
                record.mountpoint.display(),
                record.mountpoint.display()
            ))
        } else {
            failure
        }
    })
}

fn print(context: &Context, record: &MountRecord, outcome: &Outcome) -> Result<ExitCode> {
    let answer = json!({
        "workspace": record.workspace,
        "mountpoint": record.mountpoint,
        "pending": outcome,
    });
    context.output.data(&answer, || {
        format!(
            "{} is not mounted on {} any more\n",
            record.workspace,
            record.mountpoint.display()
        )
    })?;
    if outcome.is_complete() {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Failure::new(
        Code::LeftUndone,
        format!(
            "{} stay in the journal on this machine",
            units::pending(outcome)
        ),
    )
    .with_hint(format!(
        "they go up with the next: artifacts mount {} {}",
        record.workspace,
        record.mountpoint.display()
    )))
}
