//! `artifactsd worker serve`: credentials, for those who may.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use base::Listener;
use clap::{Args, Subcommand};
use tokio_util::sync::CancellationToken;
use worker::App;
use worker::adapters::Records;

use crate::health::{self, Health};
use crate::open_files;
use crate::serving::{self, EndSignals, announce};
use crate::worker_app::{Lifetime, Opened, WorkerFlags};
use crate::{audit_file, closed_memory};

/// Run the server that stores, fetches, lists and tears down credentials.
#[derive(Args)]
pub(crate) struct Worker {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve.
    Serve(Box<Serve>),
    /// Check that no record of an audit was changed or taken out.
    Audit(Audit),
    /// Ask a server whether it takes requests, and its registry and the broker's keys are there;
    /// exit 1 if not. For the health check of a container.
    Health(WorkerHealth),
}

#[derive(Args)]
struct WorkerHealth {
    /// Where the server is.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8300")]
    url: reqwest::Url,
}

#[derive(Args)]
struct Audit {
    /// The file: audit.jsonl in the worker's folder.
    file: PathBuf,
}

#[derive(Args)]
struct Serve {
    /// Where to listen; port 0 takes a free one.
    #[arg(
        long,
        value_name = "IP:PORT",
        env = "ARTIFACTS_WORKER_LISTEN",
        default_value = "127.0.0.1:8300"
    )]
    listen: SocketAddr,
    /// Where clients reach this worker, if that is not where it listens. Proofs are made for it,
    /// so each of several workers has its own: one that shares it takes a proof once more.
    #[arg(long, value_name = "URL", env = "ARTIFACTS_WORKER_PUBLIC_URL")]
    public_url: Option<String>,
    /// The certificate chain (PEM), for TLS.
    #[arg(
        long,
        value_name = "FILE",
        env = "ARTIFACTS_WORKER_TLS_CERTIFICATE",
        requires = "tls_key"
    )]
    tls_certificate: Option<PathBuf>,
    /// The certificate's private key (PEM).
    #[arg(
        long,
        value_name = "FILE",
        env = "ARTIFACTS_WORKER_TLS_KEY",
        requires = "tls_certificate"
    )]
    tls_key: Option<PathBuf>,
    /// Accept an address that other machines can reach without TLS: a proxy in front has it.
    #[arg(long)]
    allow_remote: bool,
    #[command(flatten)]
    worker: WorkerFlags,
    /// Write the JSON line that says "ready" into this file instead of to stdout.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Runs the role, and prints what went wrong.
pub(crate) fn run(role: Worker) -> ExitCode {
    let result = match role.command {
        Command::Serve(arguments) => serve(*arguments),
        Command::Audit(arguments) => {
            audit_file::check(&arguments.file, "it is in the worker's folder")
        }
        Command::Health(WorkerHealth { url }) => health::ask(Health { url }),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn serve(arguments: Serve) -> Result {
    // Before the server is up, so that no signal finds nobody listening.
    let signals = EndSignals::take()?;
    closed_memory::close();
    open_files::allow_many();
    let tls = serving::tls(
        arguments.tls_certificate.as_ref(),
        arguments.tls_key.as_ref(),
    );
    // Before the folder: a server that may not listen changes nothing.
    let listener = Listener::bind(arguments.listen, tls.as_ref(), arguments.allow_remote).await?;
    let here = format!("{}://{}", listener.scheme(), listener.address());
    if arguments.public_url.is_none() && arguments.listen.ip().is_unspecified() {
        let text = "nobody reaches a server at an address of all interfaces\nhint: --public-url says where clients do";
        return Err(text.into());
    }
    let public_url = arguments.public_url.as_deref().unwrap_or(&here);
    let opened = arguments.worker.open(public_url, Lifetime::Long).await?;
    let stop = CancellationToken::new();
    tokio::spawn(signals.stop(stop.clone()));
    let Opened { app, records } = opened;
    let keeping = keep(Arc::clone(&app), records, stop.clone());
    let keeping = tokio::spawn(keeping);
    tracing::info!(endpoint = here, public_url, "ready");
    let line = serde_json::json!({ "endpoint": here, "pid": std::process::id() });
    announce(&line, arguments.ready_file.as_deref())?;
    base::serve(listener, worker::router(app), stop).await;
    keeping.await?;
    Ok(())
}

/// Tells the audit what is due, and puts it on the disk, each second and at the end.
async fn keep(app: Arc<App>, records: Arc<Records>, stop: CancellationToken) {
    loop {
        let stopped = tokio::select! {
            () = stop.cancelled() => true,
            () = tokio::time::sleep(Duration::from_secs(1)) => false,
        };
        app.settle(stopped).await;
        let records = Arc::clone(&records);
        let _ = tokio::task::spawn_blocking(move || records.sync()).await;
        if stopped {
            return;
        }
    }
}
