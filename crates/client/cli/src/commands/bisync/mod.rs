//! `artifacts bisync`: keep a folder and a workspace alike.

mod bandwidth;
mod check;
mod filters;
pub(crate) mod ignore;
mod live;
mod pair;
mod pass;
mod progress;
mod prune;
mod screen;
pub(crate) mod service;
pub(crate) mod standing;
mod undo;
mod watch;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use credentials::KeyProfile;
use model::{Profile, WorkspaceName};
use sync::settings::{DeleteLimit, Deletes, Resolve, Settings};

use self::bandwidth::Bandwidth;
use crate::commands::mount::values::Span;
use crate::context::Context;
use crate::failure::{Code, Failure, Result};
use crate::key_choice::KeyChoice;
use crate::process::host_name;

/// Keeps a folder and a workspace alike, in both directions, or answers questions about that.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Bisync {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Run,
}

/// What else can be asked of a pair.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Say how folder and workspace differ, and change nothing; ends with 1 where they do, or
    /// where not everything could be compared.
    Check(Check),
    /// Bring back what the last pass replaced or deleted, on either side, where nobody has put
    /// anything else since. The next run carries it to the other side.
    Undo(Undo),
    /// Put objects that a rule leaves out into the bucket's trash; the folder's files stay.
    Prune(Prune),
}

/// Which keys are used.
#[derive(Args)]
pub(crate) struct Keys {
    /// Use this set of keys in place of those that the workspace was made with [default:
    /// ARTIFACTS_PROFILE, else the workspace's own].
    #[arg(long, value_name = "PROFILE")]
    key_profile: Option<KeyProfile>,
    /// Use the keys of this profile of the AWS tools. Their files are only read.
    #[arg(long, value_name = "PROFILE", conflicts_with = "key_profile")]
    aws_profile: Option<String>,
}

impl Keys {
    fn choice(&self) -> KeyChoice {
        KeyChoice {
            profile: self.key_profile.clone(),
            aws_profile: self.aws_profile.clone(),
        }
    }
}

/// One run.
#[derive(Args)]
pub(crate) struct Run {
    /// The workspace's name.
    #[arg(value_name = "NAME", required = true)]
    name: Option<WorkspaceName>,
    /// The folder.
    #[arg(value_name = "DIR", required = true)]
    folder: Option<PathBuf>,
    #[command(flatten)]
    keys: Keys,
    /// How careful: safe (keeps both versions of a conflict; 10 deletions at most), balanced
    /// (the newer keeps the name, the other lies beside it; 25) or fast (the newer wins, the
    /// other goes to the trash; 50).
    #[arg(long, value_name = "PROFILE", default_value_t)]
    profile: Profile,
    /// Show what would be done, and write nothing anywhere.
    #[arg(long)]
    dry_run: bool,
    /// Forget what was synced before and begin anew: nothing is deleted, and what was deleted
    /// on one side only comes back. Shows what that is, and asks.
    #[arg(long)]
    resync: bool,
    /// Answer the question of --resync beforehand.
    #[arg(long, requires = "resync")]
    yes: bool,
    /// The most files that may be deleted on either side within an hour: a count, or a share
    /// as 25%.
    #[arg(long, value_name = "N|N%")]
    max_delete: Option<DeleteLimit>,
    /// Which version keeps the name where both sides changed a file: none (the bucket's),
    /// newer, older, larger, smaller, path1 (the folder's) or path2 (the bucket's).
    #[arg(long, value_name = "RULE")]
    conflict_resolve: Option<Resolve>,
    /// Carry out deletions past the limit, this once.
    #[arg(long, conflicts_with = "restore")]
    approve_deletes: bool,
    /// Bring back what was deleted past the limit, from the side that still has it.
    #[arg(long)]
    restore: bool,
    /// Go on: sync whenever something here changes, and every --interval.
    #[arg(long, conflicts_with_all = ["dry_run", "approve_deletes", "restore"])]
    watch: bool,
    /// How often --watch looks at the bucket: 30s, 5m.
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "60s",
        requires = "watch"
    )]
    interval: Span,
    /// The most bytes a second, for sending and receiving each: 2M, 500k; or both apart, as
    /// UP:DOWN, where off is no limit.
    #[arg(long, value_name = "RATE", default_value = "off")]
    bwlimit: Bandwidth,
    /// Insist that the folder is the very directory that was synced before. Every profile does.
    #[arg(long)]
    check_access: bool,
    #[command(flatten)]
    filters: filters::Given,
}

/// A comparison.
#[derive(Args)]
pub(crate) struct Check {
    /// The workspace's name.
    #[arg(value_name = "NAME")]
    name: WorkspaceName,
    /// The folder.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    #[command(flatten)]
    keys: Keys,
}

/// Which pair's last pass.
#[derive(Args)]
pub(crate) struct Undo {
    /// The workspace's name.
    #[arg(value_name = "NAME")]
    name: WorkspaceName,
    /// The folder.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    #[command(flatten)]
    keys: Keys,
}

/// From which pair's bucket.
#[derive(Args)]
pub(crate) struct Prune {
    /// The workspace's name.
    #[arg(value_name = "NAME")]
    name: WorkspaceName,
    /// The folder.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Answer the question beforehand.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    keys: Keys,
}

impl Run {
    /// The workspace and the folder, which the parser requires where there is no subcommand.
    fn which(&self) -> Result<(&WorkspaceName, &Path)> {
        let both = self.name.as_ref().zip(self.folder.as_deref());
        both.ok_or_else(|| {
            Failure::new(Code::Usage, "a workspace and a folder are needed")
                .with_hint("artifacts bisync NAME DIR")
        })
    }

    fn settings(&self, pair: &pair::Pair) -> Settings {
        let mut settings = Settings::of(self.profile, host_name());
        settings.limit = self.max_delete.unwrap_or(settings.limit);
        settings.resolve = self.conflict_resolve.unwrap_or(settings.resolve);
        settings.check_access |= self.check_access;
        settings.deletes = match (self.approve_deletes, self.restore) {
            (true, _) => Deletes::Approve,
            (_, true) => Deletes::Restore,
            _ => Deletes::Ask,
        };
        settings.filters = self.filters.or(pair.filters()).to_vec();
        settings
    }
}

pub(crate) fn run(bisync: &Bisync, context: &Context) -> Result<ExitCode> {
    match &bisync.command {
        Some(Command::Check(check)) => check::run(check, context),
        Some(Command::Undo(args)) => undo::run(args, context),
        Some(Command::Prune(args)) => prune::run(args, context),
        None => pass::run(&bisync.run, context),
    }
}
