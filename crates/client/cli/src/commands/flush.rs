//! `artifacts flush`: return when everything is in the bucket.

use std::process::ExitCode;

use clap::Args;
use mount::{Liveness, MountError};
use serde_json::json;

use super::mount::progress::Progress;
use super::mount::{self as mounting, values::Span};
use crate::context::Context;
use crate::failure::Result;

/// Which mount, and how patiently.
#[derive(Args)]
pub(crate) struct Flush {
    /// The mounted folder, or the workspace's name.
    #[arg(value_name = "PATH|NAME")]
    what: String,
    /// Stop waiting when nothing has moved for so long.
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    give_up_after: Span,
}

pub(crate) fn run(args: &Flush, context: &Context) -> Result<ExitCode> {
    let (record, liveness) = mounting::table(context)?.find(&args.what)?;
    if liveness == Liveness::Stale {
        return Err(MountError::Stale {
            path: record.mountpoint,
            workspace: record.workspace,
        }
        .into());
    }
    let mut progress = Progress::new("uploading");
    let outcome = context.block_on(async {
        let client = mount::control::Client::new(&record);
        let result = client
            .flush(Some(args.give_up_after.0), |status| progress.show(status))
            .await;
        progress.end();
        Ok(result?)
    })?;
    let answer = json!({
        "workspace": record.workspace,
        "mountpoint": record.mountpoint,
        "pending": outcome,
    });
    context.output.data(&answer, || {
        format!(
            "everything in {} is in the bucket\n",
            record.mountpoint.display()
        )
    })?;
    Ok(ExitCode::SUCCESS)
}
