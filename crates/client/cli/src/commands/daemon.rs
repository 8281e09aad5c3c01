//! `artifacts daemon`: the sidecar that gets secrets from a worker for the programs of this
//! machine.

use std::path::PathBuf;
use std::process::Command as Process;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use credentials::{Config, CredentialBackend, Folder, Privacy};
use mount::ProcessId;
use mount::supervise::{self, Announcement, Announcer};
use secrets::SidecarStore;
use secrets::sidecar::DaemonStatus;
use serde::{Deserialize, Serialize};
use sidecar::{Daemon, Policy, server};
use tokio::signal::unix::{SignalKind, signal};

use super::mount::failures::told;
use super::mount::hand_over;
use crate::context::Context;
use crate::failure::{Code, Failure, Result};
use crate::handed;
use crate::output::pairs;
use crate::variables;

/// What the background process logs where nobody chose.
const BACKGROUND_LOG: &str = "warn,artifacts_sidecar=info,sidecar=info";
/// The record of the daemon that runs.
const RECORD: &str = "daemon.json";
/// How long it may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// What can be done.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Start it, and let commands use it from now on.
    Start(Start),
    /// Show how it is.
    Status,
    /// End it.
    Stop,
}

/// How.
#[derive(Args, Default)]
pub(crate) struct Start {
    /// Stay in the foreground; SIGTERM and SIGINT end it.
    #[arg(long)]
    foreground: bool,
    /// Where it listens [default: ARTIFACTS_DAEMON_SOCKET, else artifacts/daemon.sock in
    /// XDG_RUNTIME_DIR, else daemon.sock in the state folder].
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// The background half: speaks to its parent over standard output.
    #[arg(long, hide = true, conflicts_with = "foreground")]
    supervised: bool,
    /// The descriptor out of which the background half takes the secrets.
    #[arg(long, hide = true, requires = "supervised", value_name = "NUMBER")]
    secrets_from: Option<i32>,
}

/// The daemon that runs, in the state folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    process: ProcessId,
    socket: PathBuf,
}

pub(crate) fn run(command: &Command, context: &Context) -> Result<()> {
    match command {
        Command::Start(start) if start.supervised => supervised(start, context),
        Command::Start(start) if start.foreground => {
            set_up(context)?;
            context.block_on(serve(start, context, |record| show(context, record)))
        }
        Command::Start(start) => background(start, context),
        Command::Status => status(context),
        Command::Stop => stop(context),
    }
}

/// Commands use the daemon from now on, unless another way is written.
fn set_up(context: &Context) -> Result<()> {
    if context.config()?.vault().credential_backend.is_none() {
        let word = CredentialBackend::Sidecar.as_str();
        Config::set_vault(&context.paths()?, &[("credential_backend", word)])?;
        context.output.note(
            "Secrets are asked of the daemon from now on (vault.credential_backend = \"sidecar\" in config.toml).",
        );
    }
    Ok(())
}

fn background(start: &Start, context: &Context) -> Result<()> {
    if let Some(record) = running(context)? {
        let text = format!("a daemon runs already, as process {}", record.process.pid);
        return Err(
            Failure::new(Code::SecretConflict, text).with_hint("run: artifacts daemon stop")
        );
    }
    // What cannot be had is told here and not in a log.
    let servers = context.vault_servers()?;
    servers.worker()?;
    context.vault_access(&servers)?.key()?;
    set_up(context)?;
    let program = std::env::current_exe().map_err(|e| {
        Failure::new(
            Code::Failed,
            format!("cannot find this program's file: {e}"),
        )
    })?;
    let mut command = Process::new(program);
    command.args(["daemon", "start", "--supervised"]);
    if let Some(socket) = &start.socket {
        command.arg("--socket").arg(socket);
    }
    let pipe = hand_over(&mut command, context)?;
    command.env("NO_COLOR", "1");
    let chosen = [variables::LOG, variables::RUST_LOG];
    if chosen
        .into_iter()
        .all(|name| variables::text(name).is_none())
    {
        command.env(variables::LOG, BACKGROUND_LOG);
    }
    let record: Record = supervise::launch(command, &log(context)?)?;
    drop(pipe);
    show(context, &record)
}

fn supervised(start: &Start, context: &Context) -> Result<()> {
    if let Some(descriptor) = start.secrets_from {
        variables::take_over(handed::take(descriptor)?);
    }
    let failed = |e| {
        Failure::new(
            Code::Failed,
            format!("cannot become a background process: {e}"),
        )
    };
    let mut announcer = Some(Announcer::detach().map_err(failed)?);
    let mut tell = |announcement: &Announcement<Record>| match announcer.take() {
        Some(announcer) => announcer.announce(announcement).map_err(failed),
        None => Ok(()),
    };
    let log = log(context)?;
    let served = context.block_on(async {
        let bounded = tokio::spawn(supervise::bound_log(log));
        let served = serve(start, context, |record| {
            tell(&Announcement::Ready(record.clone()))
        });
        let served = served.await;
        bounded.abort();
        served
    });
    if let Err(failure) = &served {
        tell(&Announcement::Failed(told(failure)))?;
    }
    served
}

/// Serves until somebody ends it.
async fn serve(
    start: &Start,
    context: &Context,
    ready: impl FnOnce(&Record) -> Result<()>,
) -> Result<()> {
    let paths = context.paths()?;
    let servers = context.vault_servers()?;
    let (broker, worker) = (servers.broker()?, servers.worker()?);
    let access = context.vault_access(&servers)?;
    access.key()?;
    let shown = broker.server().base().to_string();
    let daemon = Daemon::new(Arc::new(access), shown, worker, paths.clone());
    let daemon = Arc::new(daemon);
    let failed = |e| Failure::new(Code::Failed, format!("signals: {e}"));
    let mut ends = [
        signal(SignalKind::terminate()).map_err(failed)?,
        signal(SignalKind::interrupt()).map_err(failed)?,
    ];
    let socket = match &start.socket {
        Some(socket) => {
            std::path::absolute(socket).map_err(|e| credentials::Error::io("find", socket, e))?
        }
        None => context.daemon_socket()?,
    };
    let policy: Policy = daemon.policy()?;
    let listening = server::bind(&socket, policy.names_others()).await?;
    let record = write_record(context, socket)?;
    ready(&record)?;
    let following = tokio::spawn({
        let daemon = daemon.clone();
        async move { daemon.follow().await }
    });
    let serving = tokio::spawn(server::serve(listening, daemon.clone()));
    let [terminate, interrupt] = &mut ends;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = daemon.end().cancelled() => {}
    }
    daemon.end().cancel();
    // It has its own patience.
    let _ = serving.await;
    following.abort();
    Folder::create(paths.state())?.remove(RECORD)?;
    Ok(())
}

fn write_record(context: &Context, socket: PathBuf) -> Result<Record> {
    let failed = |e: std::io::Error| Failure::new(Code::Failed, format!("/proc: {e}"));
    let record = Record {
        process: ProcessId::own().map_err(failed)?,
        socket,
    };
    let bytes = serde_json::to_vec(&record)
        .map_err(|e| Failure::new(Code::Failed, format!("the record has no JSON form: {e}")))?;
    Folder::create(context.paths()?.state())?.replace(RECORD, &bytes)?;
    Ok(record)
}

/// The daemon that is recorded and still runs.
fn running(context: &Context) -> Result<Option<Record>> {
    let Some(folder) = Folder::open(context.paths()?.state())? else {
        return Ok(None);
    };
    let Some(bytes) = folder.read(RECORD, Privacy::Trusted)? else {
        return Ok(None);
    };
    let record: Option<Record> = serde_json::from_slice(&bytes).ok();
    Ok(record.filter(|record| record.process.is_alive()))
}

/// The daemon of this machine: where its record says, else at the usual place.
fn sidecar(context: &Context) -> Result<SidecarStore> {
    let socket = match running(context)? {
        Some(record) => record.socket,
        None => context.daemon_socket()?,
    };
    Ok(SidecarStore::new(socket))
}

fn status(context: &Context) -> Result<()> {
    let store = sidecar(context)?;
    let status = context.block_on(async { Ok(store.status().await?) })?;
    context.output.data(&status, || text(&status))
}

fn text(status: &DaemonStatus) -> String {
    let whole = |value: Option<String>| value.unwrap_or_else(|| "none".into());
    let events = match (status.connected, &status.trouble) {
        (true, _) => "heard".to_owned(),
        (false, Some(trouble)) => format!("not heard: {trouble}"),
        (false, None) => "not heard yet".to_owned(),
    };
    let heard = status
        .heard_seconds_ago
        .map(|seconds| format!("{seconds} s ago"));
    let policy = if status.has_policy {
        "daemon-policy.toml"
    } else {
        "none: this user's programs"
    };
    pairs(&[
        ("process", status.pid.to_string()),
        ("broker", status.broker.clone()),
        ("worker", status.worker.clone()),
        (
            "actor",
            whole(status.actor.as_ref().map(ToString::to_string)),
        ),
        (
            "device",
            whole(status.device.map(|device| device.to_string())),
        ),
        ("events", events),
        ("last heard", heard.unwrap_or_else(|| "never".into())),
        ("capabilities", status.capabilities.to_string()),
        ("policy", policy.to_owned()),
    ])
}

fn stop(context: &Context) -> Result<()> {
    let record = running(context)?;
    let store = sidecar(context)?;
    context.block_on(async { Ok(store.stop().await?) })?;
    let began = Instant::now();
    while record
        .as_ref()
        .is_some_and(|record| record.process.is_alive())
    {
        if began.elapsed() > PATIENCE {
            let text = "the daemon was told to end and still runs";
            return Err(Failure::new(Code::VaultUnavailable, text)
                .with_hint("look at daemon.log in the state folder"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    context.output.note("The daemon has ended.");
    Ok(())
}

fn show(context: &Context, record: &Record) -> Result<()> {
    let data = serde_json::json!({ "pid": record.process.pid, "socket": record.socket });
    context.output.data(&data, || {
        format!("the daemon listens at {}\n", record.socket.display())
    })
}

fn log(context: &Context) -> Result<PathBuf> {
    Ok(context.paths()?.state().join("daemon.log"))
}
