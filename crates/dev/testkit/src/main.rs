//! The testkit for scripts: a server or a proxy that runs until it is told to end (SIGTERM,
//! SIGINT) and says in a JSON file where it listens.

mod followers;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use artifacts_testkit::anvil::{self, Anvil};
use artifacts_testkit::postgres::{Durability, Postgres};
use artifacts_testkit::proxy::Proxy;
use artifacts_testkit::seaweedfs::{Options, SeaweedFs};
use artifacts_testkit::{ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

/// Servers for test scripts, on loopback only.
#[derive(Parser)]
#[command(name = "artifacts-testkit")]
enum Arguments {
    /// Runs SeaweedFS on free ports.
    Seaweedfs {
        /// Keep the data here (default: a folder that is removed at the end).
        #[arg(long)]
        data: Option<PathBuf>,
        /// Make this bucket.
        #[arg(long)]
        bucket: Vec<String>,
        /// Roles, policies and providers (JSON, as for -s3.iam.config).
        #[arg(long)]
        iam: Option<PathBuf>,
        /// Write `{"endpoint", "access_key_id", "secret_access_key", "region"}` here when ready.
        #[arg(long)]
        ready_file: PathBuf,
    },
    /// Runs a TCP proxy that adds latency to every HTTP/1.1 request.
    Proxy {
        /// Where to listen.
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        /// Where to pass on to.
        #[arg(long)]
        to: SocketAddr,
        /// Milliseconds to add before each request.
        #[arg(long, default_value_t = 0)]
        latency_ms: u64,
        /// Write `{"endpoint"}` here when ready.
        #[arg(long)]
        ready_file: PathBuf,
    },
    /// Runs PostgreSQL with an empty database on a free port. It keeps what it answered.
    Postgres {
        /// Write `{"url", "group"}` here when ready.
        #[arg(long)]
        ready_file: PathBuf,
    },
    /// Runs anvil, an Ethereum chain that makes a block for each transaction, on a free port.
    Anvil {
        /// Write `{"endpoint", "chain_id", "keys"}` here when ready; the keys' accounts have money.
        #[arg(long)]
        ready_file: PathBuf,
    },
    /// Follows streams of events until told to end, and then prints when each event came to
    /// each of them.
    Followers {
        /// The server.
        #[arg(long)]
        to: SocketAddr,
        /// A line for each stream: its path, a space, its token.
        #[arg(long)]
        streams: PathBuf,
        /// Write `{"streams"}` here when all are open.
        #[arg(long)]
        ready_file: PathBuf,
    },
}

#[allow(
    clippy::print_stderr,
    reason = "a program says on stderr why it failed"
)]
fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("artifacts-testkit: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    match arguments {
        Arguments::Seaweedfs {
            data,
            bucket,
            iam,
            ready_file,
        } => {
            let iam = iam.map(std::fs::read).transpose()?;
            let iam = iam.map(|text| serde_json::from_slice(&text)).transpose()?;
            let server = SeaweedFs::start_with(Options { data, iam })?;
            for name in &bucket {
                server.create_bucket(name)?;
            }
            let ready = serde_json::json!({
                "endpoint": server.endpoint(),
                "access_key_id": ACCESS_KEY_ID,
                "secret_access_key": SECRET_ACCESS_KEY,
                "region": REGION,
            });
            announce(&ready_file, &ready)?;
            wait_for_the_end()?;
        }
        Arguments::Proxy {
            listen,
            to,
            latency_ms,
            ready_file,
        } => {
            let proxy = Proxy::start_on(listen, to)?;
            proxy.set_latency(Duration::from_millis(latency_ms));
            announce(
                &ready_file,
                &serde_json::json!({ "endpoint": proxy.endpoint() }),
            )?;
            wait_for_the_end()?;
        }
        Arguments::Postgres { ready_file } => {
            let server = Postgres::start_with(Durability::Full)?;
            let ready = serde_json::json!({
                "url": server.create_database()?,
                "group": server.group(),
            });
            announce(&ready_file, &ready)?;
            wait_for_the_end()?;
        }
        Arguments::Anvil { ready_file } => {
            let chain = Anvil::start()?;
            let ready = serde_json::json!({
                "endpoint": chain.endpoint(),
                "chain_id": anvil::CHAIN_ID,
                "keys": anvil::KEYS,
            });
            announce(&ready_file, &ready)?;
            wait_for_the_end()?;
        }
        Arguments::Followers {
            to,
            streams,
            ready_file,
        } => followers::run(to, &streams, &ready_file)?,
    }
    Ok(())
}

/// Renamed into place, so that a script which sees the file sees it whole.
fn announce(path: &Path, value: &serde_json::Value) -> std::io::Result<()> {
    let unfinished = path.with_extension("unfinished");
    std::fs::write(&unfinished, format!("{value}\n"))?;
    std::fs::rename(unfinished, path)
}

fn wait_for_the_end() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(told_to_end())
}

async fn told_to_end() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
