//! `artifacts mount`: a workspace as a folder.
//!
//! Without `--foreground` the program starts itself again in the background and returns
//! when that process says that the folder can be used.

pub(crate) mod address;
pub(crate) mod failures;
pub(crate) mod live;
pub(crate) mod progress;
pub(crate) mod serve;
pub(crate) mod settings;
mod ticket;
pub(crate) mod values;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Args;
use filesystem::Left;
use model::{WorkspaceAddress, WorkspaceName};
use mount::supervise::{self, Announcement, Announcer, Ready};
use mount::{Liveness, MountRecord, MountTable, units};
use serde_json::json;
use uuid::Uuid;

use self::failures::told;
use self::serve::Plan;
use self::settings::Flags;
use crate::context::Context;
use crate::failure::{Code, Failure, Result};
use crate::handed;
use crate::key_choice::Settled;
use crate::variables;

/// What the background process logs where nobody chose.
const BACKGROUND_LOG: &str = "warn,artifacts_mount=info,artifacts_filesystem=info";

/// Which workspace, where, and how.
#[derive(Args)]
pub(crate) struct Mount {
    /// The workspace: its name on this machine, or HANDLE/NAME at the orchestrator.
    #[arg(value_name = "NAME|HANDLE/NAME")]
    name: WorkspaceAddress,
    /// An empty folder; made when only it itself is missing.
    path: PathBuf,
    #[command(flatten)]
    flags: Flags,
    /// Stay in the foreground until it is unmounted; SIGTERM and SIGINT unmount it.
    #[arg(long)]
    foreground: bool,
    /// The background half of a mount: speaks to its parent over standard output.
    #[arg(long, hide = true, conflicts_with = "foreground")]
    supervised: bool,
    /// The descriptor out of which the background half takes the secrets.
    #[arg(long, hide = true, requires = "supervised", value_name = "NUMBER")]
    secrets_from: Option<i32>,
    /// Takes the workspace's own keys, whatever the environment says.
    #[arg(long, hide = true, requires = "supervised")]
    own_keys: bool,
}

pub(crate) fn run(args: &Mount, context: &Context) -> Result<ExitCode> {
    if let Some(descriptor) = args.secrets_from {
        variables::take_over(handed::take(descriptor)?);
    }
    let keys = match args.own_keys {
        true => args.flags.own_keys(),
        false => args.flags.settled(context)?,
    };
    let name = match args.supervised {
        // The parent has settled it.
        true => args.name.name.clone(),
        false => address::settle(&args.name, &args.flags, context)?.name,
    };
    let plan = Plan::new(&name, &args.path, &args.flags, keys, context)?;
    if args.supervised {
        return supervised(plan, context);
    }
    if args.foreground {
        return foreground(&plan, context);
    }
    let ready = background(&args.flags, &plan, context)?;
    tell(context, &ready)?;
    Ok(ExitCode::SUCCESS)
}

/// The mount table of this user.
pub(crate) fn table(context: &Context) -> Result<MountTable> {
    Ok(MountTable::open(context.paths()?.state())?)
}

/// A mount, by a living process, of a workspace that is looked for.
pub(crate) fn served(
    context: &Context,
    is_meant: impl Fn(&str) -> bool,
) -> Result<Option<MountRecord>> {
    let mut mounts = table(context)?.list()?.into_iter();
    let found = mounts
        .find(|(record, liveness)| *liveness != Liveness::Stale && is_meant(&record.workspace));
    Ok(found.map(|(record, _)| record))
}

/// What waits in a workspace's journal on this machine.
pub(crate) fn left(context: &Context, id: Uuid) -> Result<Left> {
    let (paths, id) = (context.paths()?, id.to_string());
    Left::read(&paths.state().join(&id), &paths.cache().join(&id)).map_err(serve::not_opened)
}

/// Mounts as `artifacts mount NAME PATH` does, for another command, with the workspace's own
/// keys; tells it as a note.
pub(crate) fn also(name: &WorkspaceName, path: &Path, context: &Context) -> Result<()> {
    let flags = Flags::default();
    let plan = Plan::new(name, path, &flags, Settled::Own, context)?;
    let ready = background(&flags, &plan, context)?;
    let mounted = format!(
        "Mounted {} on {}.",
        ready.workspace,
        ready.mountpoint.display()
    );
    for note in ready.notes.iter().chain([&mounted]) {
        context.output.note(note);
    }
    Ok(())
}

fn background(flags: &Flags, plan: &Plan, context: &Context) -> Result<Ready> {
    let program = std::env::current_exe().map_err(|e| {
        Failure::new(
            Code::Failed,
            format!("cannot find this program's file: {e}"),
        )
    })?;
    let mut command = Command::new(program);
    command
        .args(["mount", "--supervised"])
        .args(flags.to_words())
        .arg(word_of(&plan.keys));
    // Kept open until it has answered. Its own environment can be read as long as it runs.
    let pipe = hand_over(&mut command, context)?;
    command.args(["--", plan.name.as_str()]).arg(&plan.path);
    // Its log is a file.
    command.env("NO_COLOR", "1");
    let chosen = [variables::LOG, variables::RUST_LOG];
    if chosen
        .into_iter()
        .all(|name| variables::text(name).is_none())
    {
        command.env(variables::LOG, BACKGROUND_LOG);
    }
    let ready = supervise::launch(command, &plan.log)?;
    drop(pipe);
    Ok(ready)
}

/// Which keys the background process is to take: just those that were settled here.
fn word_of(keys: &Settled) -> String {
    match keys {
        // The ticket, too, is told in a word of its own.
        Settled::Own | Settled::Ticket => "--own-keys".into(),
        Settled::Profile(profile) => format!("--key-profile={profile}"),
        Settled::Aws(name) => format!("--aws-profile={name}"),
    }
}

/// Moves the secrets of this command from the environment of the background process into a
/// pipe to it, with the passwords that were typed here.
pub(crate) fn hand_over(command: &mut Command, context: &Context) -> Result<std::io::PipeReader> {
    let failed = |e| Failure::new(Code::Failed, format!("cannot make a pipe: {e}"));
    for name in context.secret_variables()? {
        command.env_remove(name);
    }
    let pipe = handed::give(&context.secrets_to_hand_on()?).map_err(failed)?;
    command.args(["--secrets-from", &handed::number(&pipe)]);
    Ok(pipe)
}

fn tell(context: &Context, ready: &Ready) -> Result<()> {
    for note in &ready.notes {
        context.output.note(note);
    }
    let answer = json!({
        "workspace": ready.workspace,
        "mountpoint": ready.mountpoint,
        "pid": ready.pid,
        "read_only": ready.read_only,
    });
    context.output.data(&answer, || {
        let how = if ready.read_only { " (read-only)" } else { "" };
        format!(
            "{} is mounted on {}{how}\n",
            ready.workspace,
            ready.mountpoint.display()
        )
    })
}

fn foreground(plan: &Plan, context: &Context) -> Result<ExitCode> {
    context.block_on(async {
        let mounted = serve::start(plan, None).await?;
        tell(context, &plan.ready(&mounted))?;
        let outcome = serve::until_unmounted(mounted).await?;
        if outcome.is_complete() {
            return Ok(ExitCode::SUCCESS);
        }
        Err(Failure::new(
            Code::LeftUndone,
            format!(
                "{} stay in the journal on this machine",
                units::pending(&outcome)
            ),
        )
        .with_hint(format!(
            "they go up with the next: artifacts mount {} {}",
            plan.name,
            plan.path.display()
        )))
    })
}

fn supervised(plan: Plan, context: &Context) -> Result<ExitCode> {
    let announcer = Announcer::detach()
        .map_err(|e| Failure::new(Code::Failed, format!("cannot go to the background: {e}")))?;
    context.block_on(async {
        let mounted = match serve::start(&plan, Some(plan.log.clone())).await {
            Ok(mounted) => mounted,
            Err(failure) => {
                // A parent that is gone has nobody to show it to; the log has it too.
                let _ = announcer.announce(&Announcement::<Ready>::Failed(told(&failure)));
                return Err(failure);
            }
        };
        tokio::spawn(supervise::bound_log(plan.log.clone()));
        let ready = Announcement::Ready(plan.ready(&mounted));
        if announcer.announce(&ready).is_err() {
            // The user gave up before it was ready.
            let mount = mounted.mount();
            tokio::spawn(async move { mount.stop().await });
        }
        serve::until_unmounted(mounted).await?;
        Ok(ExitCode::SUCCESS)
    })
}
