//! `artifacts bisync-status`: how every synced folder of this machine is. Asks no store, and
//! nobody who syncs has to wait for it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use ::mount::ProcessId;
use clap::Args;
use serde::Serialize;
use sync::apply::Applied;
use sync::places::{Known, Places};
use sync::record::{Seen, Standing, Trouble};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::pair::real;
use crate::context::Context;
use crate::failure::{Code, Failure, Result};
use crate::output::{pairs, table};

/// Which folders; all of them without a word.
#[derive(Args)]
pub(crate) struct Status {
    /// The workspace's name, or the folder.
    #[arg(value_name = "NAME|DIR")]
    what: Option<String>,
}

/// What a pair is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// A process syncs it now.
    Syncing,
    /// A process waits for the next run.
    Waiting,
    /// Nobody has it.
    Idle,
    /// Its folder is not where it was.
    Gone,
}

/// How one pair is.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    workspace: String,
    folder: PathBuf,
    state: State,
    healthy: bool,
    pid: Option<u32>,
    last_success: Option<String>,
    last_error: Option<Shown>,
    failures_in_a_row: u32,
    next_run: Option<String>,
    files: u64,
    conflicts: u64,
    ignored_here: u64,
    ignored_in_bucket: u64,
    left_alone: u64,
    filters: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Shown {
    at: String,
    code: String,
    message: String,
    hint: Option<String>,
    #[serde(skip)]
    exit: u8,
}

pub(crate) fn run(args: &Status, context: &Context) -> Result<ExitCode> {
    let all = Places::new(context.paths()?.state()).all();
    let chosen = match &args.what {
        Some(what) => chosen(all, what)?,
        None => all,
    };
    let reports: Vec<Report> = chosen.iter().map(Report::of).collect();
    match (reports.as_slice(), &args.what) {
        ([], _) => {
            context.output.data(&reports, String::new)?;
            context.output.note("no folder is synced on this machine");
        }
        ([one], Some(_)) => context.output.data(&reports, || one.text())?,
        (all, _) => context.output.data(&all, || overview(all))?,
    }
    let worst = reports.iter().map(Report::exit).max();
    Ok(ExitCode::from(worst.unwrap_or(0)))
}

/// The pairs that are meant by a workspace's name, or by a folder.
pub(super) fn chosen(all: Vec<Known>, what: &str) -> Result<Vec<Known>> {
    let folder = real(Path::new(what)).ok();
    let is_meant =
        |known: &Known| known.record.name == what || folder.as_ref() == Some(&known.record.folder);
    let chosen: Vec<Known> = all.into_iter().filter(is_meant).collect();
    match chosen.is_empty() {
        false => Ok(chosen),
        true => {
            let text = format!("{what} is no synced folder, and no workspace that has one here");
            Err(Failure::new(Code::NotSynced, text).with_hint(
                "artifacts bisync-status lists all; begin with artifacts bisync NAME DIR",
            ))
        }
    }
}

impl Report {
    pub(super) fn of(known: &Known) -> Self {
        let (record, standing) = (&known.record, &known.record.standing);
        let holder = known.files.holder().map(|holder| ProcessId {
            pid: holder.pid,
            start: holder.start,
            boot: holder.boot,
        });
        let pid = holder.filter(ProcessId::is_alive).map(|holder| holder.pid);
        let next = standing.next.filter(|next| pid.is_some() && *next > now());
        let state = match (pid, next) {
            (Some(_), Some(_)) => State::Waiting,
            (Some(_), None) => State::Syncing,
            (None, _) if !known.is_there() => State::Gone,
            (None, _) => State::Idle,
        };
        let mut report = Self {
            workspace: record.name.clone(),
            folder: record.folder.clone(),
            state,
            healthy: false,
            pid,
            last_success: standing.alike.map(at),
            last_error: standing.trouble.as_ref().map(Shown::of),
            failures_in_a_row: standing.failures,
            next_run: next.map(at),
            files: standing.seen.files,
            conflicts: standing.seen.conflicts,
            ignored_here: standing.seen.ignored_here,
            ignored_in_bucket: standing.seen.ignored_there,
            left_alone: standing.seen.left_alone,
            filters: record.filters.iter().map(ToString::to_string).collect(),
        };
        report.healthy = report.exit() == 0;
        report
    }

    /// What the command ends with: as the last run did; 8 where there was none that ended.
    pub(super) fn exit(&self) -> u8 {
        match (&self.last_error, &self.last_success) {
            _ if self.state == State::Gone => Code::FolderNotFound.exit(),
            (Some(error), _) => error.exit,
            (None, Some(_)) => 0,
            (None, None) => Code::LeftUndone.exit(),
        }
    }

    pub(super) fn text(&self) -> String {
        let or_none = |text: &Option<String>, none: &str| text.clone().unwrap_or(none.to_owned());
        let state = match self.pid {
            Some(pid) => format!("{} (process {pid})", self.state.word()),
            None => self.state.word().to_owned(),
        };
        let mut rows = vec![
            ("workspace", self.workspace.clone()),
            ("folder", self.folder.display().to_string()),
            ("state", state),
            ("last success", or_none(&self.last_success, "never")),
            ("last error", self.error_text()),
        ];
        if let Some(hint) = self
            .last_error
            .as_ref()
            .and_then(|error| error.hint.clone())
        {
            rows.push(("hint", hint));
        }
        rows.extend([
            (
                "next run",
                or_none(&self.next_run, "when somebody starts it"),
            ),
            ("files", self.files.to_string()),
            ("conflicts", self.conflicts.to_string()),
            (
                "ignored",
                format!(
                    "{} here, {} in the bucket",
                    self.ignored_here, self.ignored_in_bucket
                ),
            ),
            ("left alone", self.left_alone.to_string()),
        ]);
        if !self.filters.is_empty() {
            rows.push(("filters", self.filters.join(" ")));
        }
        pairs(&rows)
    }

    fn error_text(&self) -> String {
        match (&self.last_error, self.failures_in_a_row) {
            (None, _) => "none".to_owned(),
            (Some(error), 0 | 1) => format!("{} {}", error.at, error.message),
            (Some(error), times) => {
                format!("{} {} ({times} times in a row)", error.at, error.message)
            }
        }
    }
}

impl Shown {
    fn of(trouble: &Trouble) -> Self {
        Self {
            at: at(trouble.at),
            code: trouble.code.clone(),
            message: trouble.message.clone(),
            hint: trouble.hint.clone(),
            exit: trouble.exit,
        }
    }
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Syncing => "syncing",
            Self::Waiting => "waiting",
            Self::Idle => "idle",
            Self::Gone => "gone",
        }
    }
}

fn overview(reports: &[Report]) -> String {
    let heading = [
        "WORKSPACE",
        "FOLDER",
        "STATE",
        "PID",
        "LAST SUCCESS",
        "NEXT RUN",
        "CONFLICTS",
        "IGNORED",
        "LAST ERROR",
    ];
    let rows = reports.iter().map(|report| {
        vec![
            report.workspace.clone(),
            report.folder.display().to_string(),
            report.state.word().to_owned(),
            report.pid.map_or("-".to_owned(), |pid| pid.to_string()),
            report.last_success.clone().unwrap_or("never".to_owned()),
            report.next_run.clone().unwrap_or("-".to_owned()),
            report.conflicts.to_string(),
            (report.ignored_here + report.ignored_in_bucket).to_string(),
            report.error_text(),
        ]
    });
    table(&heading, rows.collect())
}

/// Writes down how a run ended. Gives what is wrong with one that came to its end and has left
/// something.
pub(super) fn end(
    standing: &mut Standing,
    seen: Option<Seen>,
    answer: &Result<Applied>,
) -> Option<Failure> {
    standing.seen = seen.unwrap_or(standing.seen);
    match answer {
        Ok(applied) if applied.is_whole() => {
            standing.well(now());
            None
        }
        Ok(applied) => {
            let failure = left(applied);
            standing.ill(trouble(&failure));
            Some(failure)
        }
        Err(failure) => {
            standing.ill(trouble(failure));
            None
        }
    }
}

fn left(applied: &Applied) -> Failure {
    let (failed, again) = (applied.failed.len(), applied.again.len());
    let first = applied.failed.first();
    let first = first.map_or(String::new(), |(path, reason)| {
        format!(" (the first is {path}: {reason})")
    });
    let text = format!("{failed} files failed{first}, {again} changed all the while");
    Failure::new(Code::LeftUndone, text)
        .with_hint("run the same command again; what failed is listed above with its reason")
}

fn trouble(failure: &Failure) -> Trouble {
    Trouble {
        at: now(),
        code: failure.code.as_str().to_owned(),
        exit: failure.code.exit(),
        message: failure.message.clone(),
        hint: failure.hint.clone(),
    }
}

/// Now, in nanoseconds since 1970.
pub(crate) fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_nanos()).unwrap_or(i64::MAX))
}

/// A time of the state, as people and programs read it.
fn at(nanos: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp(nanos.div_euclid(1_000_000_000));
    time.ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_default()
}
