//! `artifacts status`: how every mount on this machine is.

use std::process::ExitCode;

use clap::Args;
use filesystem::Health;
use futures::future::join_all;
use mount::control::{Client, Live, MountStatus};
use mount::{Liveness, MountRecord, Passthrough, units};
use serde::Serialize;

use super::mount as mounting;
use crate::context::Context;
use crate::failure::Result;
use crate::output::{pairs, table};

/// Which mount; all of them without a word.
#[derive(Args)]
pub(crate) struct Status {
    /// The mounted folder, or the workspace's name.
    #[arg(value_name = "PATH|NAME")]
    what: Option<String>,
}

/// How one mount is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// All is well.
    Mounted,
    /// Unmounted; the last uploads go on.
    Detached,
    /// The bucket does not answer.
    Offline,
    /// The store refuses the keys.
    Refused,
    /// Its process does not answer.
    Silent,
    /// Its process is gone.
    Stale,
}

#[derive(Serialize)]
struct Report {
    workspace: String,
    mountpoint: std::path::PathBuf,
    state: State,
    healthy: bool,
    pid: u32,
    log: Option<std::path::PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<MountStatus>,
}

pub(crate) fn run(args: &Status, context: &Context) -> Result<ExitCode> {
    let mounts = mounting::table(context)?;
    let chosen = match &args.what {
        Some(what) => vec![mounts.find(what)?],
        None => mounts.list()?,
    };
    let reports = context.block_on(async {
        Ok(join_all(
            chosen
                .into_iter()
                .map(|(record, liveness)| report(record, liveness)),
        )
        .await)
    })?;
    match (&args.what, reports.first()) {
        (Some(_), Some(report)) => context.output.data(report, || detailed(report))?,
        (_, None) => {
            context.output.data(&reports, String::new)?;
            context.output.note("nothing is mounted");
        }
        _ => context.output.data(&reports, || overview(&reports))?,
    }
    let worst = reports.iter().map(|report| report.state.exit()).max();
    Ok(ExitCode::from(worst.unwrap_or(0)))
}

async fn report(record: MountRecord, liveness: Liveness) -> Report {
    let answer = match liveness {
        Liveness::Stale => None,
        Liveness::Mounted | Liveness::Detached => Some(Client::new(&record).status().await),
    };
    let (state, trouble, details) = match answer {
        None => (State::Stale, Some(stale(&record)), None),
        Some(Err(error)) => (State::Silent, Some(error.to_string()), None),
        Some(Ok(status)) => {
            let trouble = status.filesystem.last_error.clone();
            (State::of(&status, liveness), trouble, Some(status))
        }
    };
    Report {
        workspace: record.workspace,
        mountpoint: record.mountpoint,
        healthy: state.exit() == 0,
        state,
        pid: record.process.pid,
        log: record.log,
        trouble,
        details,
    }
}

fn stale(record: &MountRecord) -> String {
    format!(
        "its process is gone; mend it with: artifacts mount {} {}",
        record.workspace,
        record.mountpoint.display()
    )
}

impl State {
    fn of(status: &MountStatus, liveness: Liveness) -> Self {
        match status.filesystem.health {
            Health::Offline => Self::Offline,
            Health::Refused => Self::Refused,
            Health::Ok if status.detached || liveness == Liveness::Detached => Self::Detached,
            Health::Ok => Self::Mounted,
        }
    }

    /// What the command ends with (formats §1).
    fn exit(self) -> u8 {
        match self {
            Self::Mounted | Self::Detached => 0,
            Self::Refused => 3,
            Self::Offline | Self::Silent => 7,
            Self::Stale => 8,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Mounted => "mounted",
            Self::Detached => "detached",
            Self::Offline => "offline",
            Self::Refused => "refused",
            Self::Silent => "silent",
            Self::Stale => "stale",
        }
    }
}

fn overview(reports: &[Report]) -> String {
    let heading = [
        "WORKSPACE",
        "FOLDER",
        "STATE",
        "PENDING",
        "CACHE",
        "MEMORY",
        "TROUBLE",
    ];
    let rows = reports.iter().map(|report| {
        let of = |show: &dyn Fn(&MountStatus) -> String| {
            report.details.as_ref().map_or_else(|| "?".to_owned(), show)
        };
        vec![
            report.workspace.clone(),
            report.mountpoint.display().to_string(),
            report.state.word().to_owned(),
            of(&pending),
            of(&|status| units::bytes(status.filesystem.cache_bytes)),
            of(&|status| units::bytes(status.memory_bytes)),
            report.trouble.clone().unwrap_or_default(),
        ]
    });
    table(&heading, rows.collect())
}

fn detailed(report: &Report) -> String {
    let mut rows = vec![
        ("workspace", report.workspace.clone()),
        ("folder", report.mountpoint.display().to_string()),
        ("state", report.state.word().to_owned()),
    ];
    if let Some(status) = &report.details {
        let tree = &status.filesystem;
        let cache = format!(
            "{} of {}",
            units::bytes(tree.cache_bytes),
            units::bytes(tree.cache_limit)
        );
        let access = if tree.read_only {
            "read-only"
        } else {
            "read and write"
        };
        rows.extend([
            ("access", access.to_owned()),
            ("pending", pending(status)),
            ("under way", tree.running.to_string()),
            ("cache", cache),
            ("memory", units::bytes(status.memory_bytes)),
            ("names known", tree.known_entries.to_string()),
            ("conflicts", tree.conflicts.to_string()),
            ("passthrough", passthrough(&status.passthrough)),
        ]);
        rows.extend(
            status
                .live
                .iter()
                .map(|live| ("live changes", live_changes(live))),
        );
        rows.extend(
            tree.journal_set_aside
                .iter()
                .map(|path| ("set aside", path.clone())),
        );
    }
    rows.push(("process", report.pid.to_string()));
    rows.extend(
        report
            .log
            .iter()
            .map(|log| ("log", log.display().to_string())),
    );
    rows.extend(report.trouble.iter().map(|text| ("trouble", text.clone())));
    pairs(&rows)
}

fn pending(status: &MountStatus) -> String {
    let tree = &status.filesystem;
    if tree.pending_changes == 0 && tree.pending_files == 0 {
        return "nothing".to_owned();
    }
    units::pending(&mount::control::Outcome {
        pending_changes: tree.pending_changes,
        pending_files: tree.pending_files,
        pending_bytes: tree.pending_bytes,
        ..mount::control::Outcome::default()
    })
}

fn live_changes(live: &Live) -> String {
    match (&live.trouble, live.connected, live.revoked) {
        (_, _, true) => "the key of this mount was revoked".to_owned(),
        (_, true, _) => "on".to_owned(),
        (Some(trouble), ..) => format!("off: {trouble}"),
        (None, ..) => "off".to_owned(),
    }
}

fn passthrough(passthrough: &Passthrough) -> String {
    match passthrough {
        Passthrough::On => "on".to_owned(),
        Passthrough::Off { reason } => format!("off: {reason}"),
    }
}
