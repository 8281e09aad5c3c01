//! `artifactsd dev`: the embedded store, and the vault with all of its roles, on one machine.

mod keys;
mod ports;
mod role;
mod vault;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use embedded::{AccessKey, Durability, Options, Server};
use tokio::signal::unix::{SignalKind, signal};

use self::vault::{Registry, Vault};
use crate::serving;

/// The environment variables that fix the root key, for scripts.
const ROOT_ID: &str = "ARTIFACTS_DEV_ACCESS_KEY_ID";
const ROOT_SECRET: &str = "ARTIFACTS_DEV_SECRET_ACCESS_KEY";

/// Run an S3 store on a local folder, and a vault in it: broker, signer and worker, each in a
/// process of its own.
///
/// DATA/vault/client.toml is what clients need of the vault, DATA/vault/bootstrap-token the
/// one-time token of its first operator. The root key is made at the first start and kept in DATA/keys.json (mode 0600);
/// `artifactsd dev keys --data DATA list --secrets` shows it. To fix it, set
/// ARTIFACTS_DEV_ACCESS_KEY_ID and ARTIFACTS_DEV_SECRET_ACCESS_KEY.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Dev {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Option<Serve>,
}

#[derive(Subcommand)]
enum Command {
    /// List, add and revoke access keys (also while a server runs).
    Keys(keys::KeysArguments),
}

#[derive(Args)]
struct Serve {
    /// The folder that holds everything; made when missing.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Where to listen; port 0 takes a free one.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:9000")]
    listen: SocketAddr,
    /// Write the JSON line that says "ready" into this file instead of to stdout.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// Accept an address that other machines can reach. The store speaks plain HTTP.
    #[arg(long)]
    allow_remote: bool,
    /// Run the store alone, without the vault.
    #[arg(long)]
    store_only: bool,
    /// Ask the contracts of a chain who may do what, in place of signed documents, and let wallets
    /// of this chain log in: the file with what `artifacts registry deploy` prints.
    #[arg(long, value_name = "FILE", conflicts_with = "store_only")]
    chain_registry: Option<PathBuf>,
    /// What a power cut may take; a kill of the server takes nothing in any case.
    #[arg(long, value_enum, default_value = "consistent")]
    durability: DurabilityArgument,
}

#[derive(Clone, Copy, ValueEnum)]
enum DurabilityArgument {
    /// Never flush: a power cut may damage the store. For tests.
    Process,
    /// A power cut may take the last seconds' changes, and damages nothing.
    Consistent,
    /// Flush before every answer.
    Full,
}

impl From<DurabilityArgument> for Durability {
    fn from(argument: DurabilityArgument) -> Self {
        match argument {
            DurabilityArgument::Process => Self::Process,
            DurabilityArgument::Consistent => Self::Consistent,
            DurabilityArgument::Full => Self::Full,
        }
    }
}

/// Runs the role, and prints what went wrong.
pub(crate) fn run(dev: Dev) -> ExitCode {
    let result = match (dev.command, dev.serve) {
        (Some(Command::Keys(arguments)), _) => keys::run(arguments),
        (None, Some(arguments)) => serve(arguments),
        (None, None) => Err("--data is needed".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

type Result = std::result::Result<(), Box<dyn std::error::Error>>;

#[tokio::main(flavor = "current_thread")]
async fn serve(arguments: Serve) -> Result {
    // Before the server is up, so that no signal finds nobody listening.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let options = Options {
        listen: arguments.listen,
        allow_remote: arguments.allow_remote,
        durability: arguments.durability.into(),
        root: root_from_environment()?,
        // Clients are told where files are, and may be started anywhere.
        ..Options::new(std::path::absolute(arguments.data)?)
    };
    let data = options.data.clone();
    let registry = match arguments.chain_registry {
        Some(file) => Registry::Chain(file),
        None => Registry::Documents,
    };
    let server = Server::start(options).await?;
    tracing::info!(
        endpoint = server.endpoint(),
        data = %data.display(),
        keys = %server.keys().path().display(),
        "ready; show the root key with: artifactsd dev keys --data {} list --secrets",
        data.display()
    );
    let mut vault = match arguments.store_only {
        true => None,
        false => Some(Vault::start(&data, &server, &registry).await?),
    };
    announce(
        &server,
        &data,
        vault.as_ref(),
        arguments.ready_file.as_deref(),
    )?;
    let ended = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        ended = role_ended(vault.as_mut()) => Some(ended),
    };
    tracing::info!("stopping");
    if let Some(vault) = vault {
        vault.stop().await;
    }
    server.stop().await;
    ended.map_or(Ok(()), |ended| Err(ended.into()))
}

/// Never returns where there is no vault.
async fn role_ended(vault: Option<&mut Vault>) -> String {
    match vault {
        Some(vault) => vault.ended().await,
        None => std::future::pending().await,
    }
}

/// Says that the server takes requests: one JSON line, without any secret.
fn announce(server: &Server, data: &Path, vault: Option<&Vault>, file: Option<&Path>) -> Result {
    let mut line = serde_json::json!({
        "endpoint": server.endpoint(),
        "region": embedded::REGION,
        "access_key_id": server.root().id,
        "keys_file": server.keys().path(),
        "data": data,
        "pid": std::process::id(),
    });
    if let Some(vault) = vault {
        line["vault"] = vault.said().clone();
    }
    serving::announce(&line, file)
}

fn root_from_environment() -> std::result::Result<Option<AccessKey>, String> {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    match (variable(ROOT_ID), variable(ROOT_SECRET)) {
        (None, None) => Ok(None),
        (Some(id), Some(secret)) => Ok(Some(AccessKey {
            id,
            secret: secret.into(),
        })),
        _ => Err(format!(
            "only one of {ROOT_ID} and {ROOT_SECRET} is set\nhint: set both or neither"
        )),
    }
}
