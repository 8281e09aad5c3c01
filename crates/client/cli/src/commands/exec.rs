//! `artifacts exec`: mount, run a command, upload, unmount. The entry point of a container.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use clap::Args;
use filesystem::Status;
use model::{WorkspaceAddress, WorkspaceName};
use mount::MountError;
use mount::control::Outcome;
use mount::units;
use rustix::process::{Pid, Signal, WaitOptions};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::mount::address;
use super::mount::progress::Progress;
use super::mount::serve::{self, Plan, Running};
use super::mount::settings::Flags;
use super::mount::values::Span;
use crate::context::Context;
use crate::failure::{Code, Failure, Result};
use crate::key_choice::Settled;
use crate::process::{CoresAllowed, without_secrets};
use crate::registered::{Right, give_back};

/// Where the command finds the folder.
const FOLDER_VARIABLE: &str = "ARTIFACTS_MOUNT";

/// The exit codes of a command that is not there, or cannot be run, as shells and env(1)
/// have them.
pub(super) const NOT_FOUND: u8 = 127;
pub(super) const NOT_RUNNABLE: u8 = 126;

/// Signals that are passed on to the command.
const PASSED_ON: [Signal; 7] = [
    Signal::TERM,
    Signal::INT,
    Signal::HUP,
    Signal::QUIT,
    Signal::USR1,
    Signal::USR2,
    Signal::WINCH,
];

/// Those that ask to end.
const ENDING: [Signal; 4] = [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT];

/// A terminal, and `kill` of a process group, signal the command and us at once: what comes
/// this soon after the command's end is what ended it.
const WITH_THE_COMMAND: Duration = Duration::from_millis(500);

/// Which workspace, where, and what to run.
#[derive(Args)]
pub(crate) struct Exec {
    /// The workspace: its name on this machine, or HANDLE/NAME at the orchestrator.
    #[arg(value_name = "NAME|HANDLE/NAME")]
    name: WorkspaceAddress,
    /// An empty folder; the command finds its name in ARTIFACTS_MOUNT.
    path: PathBuf,
    #[command(flatten)]
    flags: Flags,
    /// Leave the rest in the journal when nothing has moved for so long at the end.
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    give_up_after: Span,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

pub(crate) fn run(args: &Exec, context: &Context) -> Result<ExitCode> {
    let keys = args.flags.settled(context)?;
    let meant = address::settle(&args.name, &args.flags, context)?;
    let ended = mounted(args, &meant.name, keys, context);
    // A sandbox is gone with its command, and with it the key that nobody else knows.
    if let Some(right) = meant.issued {
        return_key(&meant.name, right, &args.flags, context);
    }
    ended
}

fn return_key(name: &WorkspaceName, right: Right, flags: &Flags, context: &Context) {
    let returned = address::orchestrator_of(name, flags, context)
        .and_then(|orchestrator| give_back(context, &orchestrator, name, &[right]));
    if let Err(left) = returned {
        let hint = left.hint.as_deref().unwrap_or_default();
        context.output.warn(&left.message, hint);
    }
}

fn mounted(
    args: &Exec,
    name: &WorkspaceName,
    keys: Settled,
    context: &Context,
) -> Result<ExitCode> {
    let plan = Plan::new(name, &args.path, &args.flags, keys, context)?;
    context.block_on(async {
        // Before anything is mounted, so that no signal ends us half-way.
        let mut signals = signals()?;
        let running = serve::start(&plan, None).await?;
        let ready = plan.ready(&running);
        for note in &ready.notes {
            context.output.note(note);
        }
        let mount = running.mount();
        let serving = tokio::spawn(Running::run(running));
        let (ended, outcome) = match asked_to_end(&mut signals) {
            Some(signal) => (
                Ok(exit_code_of(signal)),
                mount.stop().await.map_err(Failure::from),
            ),
            None => {
                let ended = run_command(args, &ready.mountpoint, &mut signals, context).await;
                (ended, finish(&mount, &mut signals, args).await)
            }
        };
        // A folder that cannot be taken off goes with this process, and must not hold it.
        if outcome.is_ok() {
            // It has ended: `finish` waits for that.
            let _ = serving.await;
        }
        conclude(&plan, context, ended, outcome)
    })
}

/// Runs the command to its end and gives its exit code.
async fn run_command(
    args: &Exec,
    folder: &Path,
    signals: &mut Signals,
    context: &Context,
) -> Result<u8> {
    let (program, rest) = args
        .command
        .split_first()
        .ok_or_else(|| Failure::new(Code::Usage, "there is no command to run"))?;
    let mut command = Command::new(program);
    command.args(rest).env(FOLDER_VARIABLE, folder);
    without_secrets(&mut command, context)?;
    let allowed = CoresAllowed::now();
    let spawned = command.spawn();
    drop(allowed);
    let child = match spawned {
        Ok(child) => child,
        Err(error) => {
            let text = format!("cannot run {}: {error}", program.display());
            context.output.failure(&Failure::new(Code::Failed, text));
            return Ok(if error.kind() == io::ErrorKind::NotFound {
                NOT_FOUND
            } else {
                NOT_RUNNABLE
            });
        }
    };
    let pid = Pid::from_child(&child);
    let mut ended = tokio::task::spawn_blocking(move || reap_until(pid));
    loop {
        tokio::select! {
            status = &mut ended => {
                drop(child);
                let status = status.map_err(io::Error::other).and_then(|status| status);
                return status
                    .map(exit_code)
                    .map_err(|e| Failure::new(Code::Failed, format!("lost the command: {e}")));
            }
            Some(signal) = signals.recv() => {
                if !came_from_terminal(signal) {
                    // It may have ended just now.
                    let _ = rustix::process::kill_process(pid, signal);
                }
            }
        }
    }
}

/// Signals as they come; one receiver from before the mount to its end, for what nobody
/// receives is lost.
type Signals = mpsc::UnboundedReceiver<Signal>;

/// All signals that are passed on.
fn signals() -> Result<Signals> {
    let (sender, receiver) = mpsc::unbounded_channel();
    for passed in PASSED_ON {
        let mut stream = signal(SignalKind::from_raw(passed.as_raw()))
            .map_err(|e| Failure::new(Code::Failed, format!("signals: {e}")))?;
        let sender = sender.clone();
        tokio::spawn(async move {
            while stream.recv().await.is_some() && sender.send(passed).is_ok() {}
        });
    }
    Ok(receiver)
}

/// A signal to end that came before there was a command to pass it on to. Others are
/// dropped: nobody is there to know what they mean.
fn asked_to_end(signals: &mut Signals) -> Option<Signal> {
    std::iter::from_fn(|| signals.try_recv().ok()).find(|signal| ENDING.contains(signal))
}

/// Whether the terminal has sent this signal to the command already: it sends to its whole
/// foreground group, and the command is in ours.
fn came_from_terminal(signal: Signal) -> bool {
    let by_key = [Signal::INT, Signal::QUIT, Signal::WINCH].contains(&signal);
    by_key
        && io::stdin().is_terminal()
        && rustix::termios::tcgetpgrp(io::stdin())
            .is_ok_and(|group| group == rustix::process::getpgrp())
}

/// Waits for the command; as process 1 of a container, also for every orphan on the way.
fn reap_until(command: Pid) -> io::Result<ExitStatus> {
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == command => {
                return Ok(ExitStatus::from_raw(status.as_raw()));
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Uploads and unmounts; a signal to end cuts the uploads short.
async fn finish(mount: &mount::Mount, signals: &mut Signals, args: &Exec) -> Result<Outcome> {
    let patience = Some(args.give_up_after.0);
    let mut progress = Progress::new("uploading");
    let mut show = |status: &Status| progress.show(status);
    let result = tokio::select! {
        result = mount.unmount(true, false, patience, &mut show) => Some(result),
        () = told_to_end(signals) => None,
    };
    progress.end();
    let Some(result) = result else {
        return Ok(mount.stop().await?);
    };
    match result {
        Ok(outcome) => Ok(outcome),
        // A process that the command left behind, or a bucket that does not answer: what
        // waits stays in the journal.
        Err(MountError::Busy { .. } | MountError::LeftPending { .. }) => Ok(mount.stop().await?),
        Err(error) => Err(error.into()),
    }
}

/// Returns when a signal to end comes that was meant for us and not for the command.
async fn told_to_end(signals: &mut Signals) {
    let begun = Instant::now();
    while let Some(signal) = signals.recv().await {
        if ENDING.contains(&signal) && begun.elapsed() > WITH_THE_COMMAND {
            return;
        }
    }
    std::future::pending().await
}

/// The command's own exit code, unless it succeeded and its files did not arrive.
fn conclude(
    plan: &Plan,
    context: &Context,
    ended: Result<u8>,
    outcome: Result<Outcome>,
) -> Result<ExitCode> {
    let code = ended?;
    let outcome = outcome?;
    if outcome.is_complete() {
        return Ok(ExitCode::from(code));
    }
    let failure = Failure::new(
        Code::LeftUndone,
        format!(
            "{} stay in the journal on this machine",
            units::pending(&outcome)
        ),
    )
    .with_hint(format!(
        "keep this machine's state folder; they go up with the next: artifacts mount {} {}",
        plan.name,
        plan.path.display()
    ));
    if code == 0 {
        return Err(failure);
    }
    context.output.failure(&failure);
    Ok(ExitCode::from(code))
}

/// As shells say it: 128 and the signal's number where a signal ended it.
fn exit_code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(1);
    u8::try_from(code).unwrap_or(1)
}

/// As shells say that a signal ended a program.
fn exit_code_of(signal: Signal) -> u8 {
    u8::try_from(128 + signal.as_raw()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_a_shell() {
        let status = |script: &str| {
            let status = Command::new("sh").args(["-c", script]).status();
            exit_code(status.expect("sh"))
        };
        assert_eq!(status("exit 0"), 0);
        assert_eq!(status("exit 77"), 77);
        assert_eq!(status("kill -TERM $$"), 143);
    }
}
