//! `artifactsd orchestrator`: tenants, buckets, storage keys, workspaces.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use base::{Clock, Listener, SystemClock, SystemRandom};
use clap::{Args, Subcommand};
use orchestrator::provision::{Supply, upkeep};
use orchestrator::store::Entry;
use orchestrator::{App, File, Issuers, Parts, SigningKey};
use provider::Kind;
use secrecy::{ExposeSecret, SecretString};
use tokio_util::sync::CancellationToken;

use crate::database::Database;
use crate::health::{self, Health};
use crate::open_files;
use crate::serving::{self, EndSignals, announce};
use crate::store_flags::StoreFlags;

/// Run the server of tenants, buckets, storage keys and workspaces.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Orchestrator {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Subcommand)]
enum Command {
    /// Make the one-time token of the first operator, and print it.
    Bootstrap(Bootstrap),
    /// Ask a server whether it takes requests and its database answers; exit 1 if not. For the
    /// health check of a container.
    Health(Health),
}

#[derive(Args)]
struct Bootstrap {
    #[command(flatten)]
    database: Database,
}

#[derive(Args)]
struct Serve {
    #[command(flatten)]
    database: Database,
    /// The configuration file (TOML).
    #[arg(long, value_name = "FILE", env = "ARTIFACTS_ORCHESTRATOR_CONFIG")]
    config: Option<PathBuf>,
    /// Where to listen; port 0 takes a free one.
    #[arg(
        long,
        value_name = "IP:PORT",
        env = "ARTIFACTS_ORCHESTRATOR_LISTEN",
        default_value = "127.0.0.1:8100"
    )]
    listen: SocketAddr,
    /// Where clients reach the server, if that is not where it listens.
    #[arg(long, value_name = "URL", env = "ARTIFACTS_ORCHESTRATOR_PUBLIC_URL")]
    public_url: Option<String>,
    /// The key that signs sessions and tickets; made when missing. With SQLite it is beside
    /// the database unless named; servers that share a database share the key.
    #[arg(long, value_name = "FILE", env = "ARTIFACTS_ORCHESTRATOR_SIGNING_KEY")]
    signing_key: Option<PathBuf>,
    /// The certificate chain (PEM), for TLS.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// The certificate's private key (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// Accept an address that other machines can reach without TLS: a proxy in front has it.
    #[arg(long)]
    allow_remote: bool,
    /// The kind of store that makes buckets and keys: aws, tigris, seaweedfs, embedded or
    /// generic. Without one there are bring-your-own tenants only.
    #[arg(long, value_name = "KIND", env = "ARTIFACTS_PROVIDER")]
    provider: Option<Kind>,
    #[command(flatten)]
    store: StoreFlags,
    /// Write the JSON line that says "ready" into this file instead of to stdout.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Runs the role, and prints what went wrong.
pub(crate) fn run(role: Orchestrator) -> ExitCode {
    let result = match role.command {
        Some(Command::Bootstrap(arguments)) => bootstrap(arguments),
        Some(Command::Health(arguments)) => health::ask(arguments),
        None => serve(role.serve),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The token goes to stdout and nowhere else; the database keeps its hash.
#[tokio::main(flavor = "current_thread")]
async fn bootstrap(arguments: Bootstrap) -> Result {
    let store = arguments.database.open().await?;
    if store.has_operator().await? {
        let text = "there is an operator already\nhint: operators are people of a configured issuer; ask one of them";
        return Err(text.into());
    }
    let now = SystemClock.now();
    let (token, hash) = orchestrator::new_bootstrap(&SystemRandom::default());
    let entry = Entry {
        at: now,
        action: "BootstrapTokenCreated",
        actor: None,
        tenant: None,
        subject: None,
        reason: None,
        request_id: None,
    };
    let ends = now.plus(orchestrator::BOOTSTRAP_LIFETIME);
    store.put_bootstrap(&hash, ends, &entry).await?;
    store.close().await;
    writeln!(io::stdout(), "{}", token.expose_secret())?;
    Ok(())
}

#[tokio::main]
async fn serve(arguments: Serve) -> Result {
    // Before the server is up, so that no signal finds nobody listening.
    let signals = EndSignals::take()?;
    open_files::allow_many();
    let file = arguments.config.as_deref().map(File::read).transpose()?;
    let file = file.unwrap_or_default();
    let tls = serving::tls(
        arguments.tls_certificate.as_ref(),
        arguments.tls_key.as_ref(),
    );
    // Before the database: a server that may not listen changes nothing.
    let listener = Listener::bind(arguments.listen, tls.as_ref(), arguments.allow_remote).await?;
    let here = format!("{}://{}", listener.scheme(), listener.address());
    let public_url = arguments.public_url.clone().or(file.public_url.clone());
    if public_url.is_none() && arguments.listen.ip().is_unspecified() {
        return Err(format!(
            "nobody reaches a server at {}\nhint: --public-url says where clients do",
            arguments.listen
        )
        .into());
    }
    let key = signing_key(&arguments, &file)?;
    let supply = supply(arguments.provider, arguments.store)?;
    let store = arguments.database.open().await?;
    let stop = CancellationToken::new();
    let mut settings = file.settings(public_url.unwrap_or_else(|| here.clone()));
    settings.webhook_token = token_hash("ARTIFACTS_ORCHESTRATOR_WEBHOOK_TOKEN")?;
    settings.metrics_token = token_hash("ARTIFACTS_ORCHESTRATOR_METRICS_TOKEN")?;
    let app = App::new(Parts {
        settings,
        store: Arc::clone(&store),
        supply,
        key: SigningKey::open(&key)?,
        issuers: Issuers::new(file.issuers.clone())?,
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom::default()),
        stop: stop.clone(),
    });
    let hearing = tokio::spawn(orchestrator::hub::run(Arc::clone(&app), stop.clone()));
    let background = tokio::spawn(upkeep::run(Arc::clone(&app), stop.clone()));
    tokio::spawn(signals.stop(stop.clone()));
    tracing::info!(endpoint = here, "ready");
    let line = serde_json::json!({ "endpoint": here, "pid": std::process::id() });
    announce(&line, arguments.ready_file.as_deref())?;
    base::serve(listener, orchestrator::router(app), stop).await;
    background.await?;
    hearing.await?;
    store.close().await;
    Ok(())
}

/// A token that others are to show, from the environment. Only its hash is kept.
fn token_hash(variable: &str) -> Result<Option<Vec<u8>>> {
    let token = std::env::var(variable)
        .ok()
        .filter(|token| !token.is_empty());
    match token.map(SecretString::from) {
        Some(token) if token.expose_secret().len() < 32 => {
            Err(format!("{variable} can be guessed\nhint: 32 characters or more").into())
        }
        token => Ok(token.map(|token| orchestrator::token_hash(token.expose_secret()))),
    }
}

fn supply(kind: Option<Kind>, store: StoreFlags) -> Result<Option<Supply>> {
    let Some(kind) = kind else {
        return Ok(None);
    };
    let provider = provider::open(store.config(kind)?)?;
    Ok(Some(Supply::new(provider)?))
}

/// The flag, the file, or beside an SQLite database.
fn signing_key(arguments: &Serve, file: &File) -> Result<PathBuf> {
    let named = arguments.signing_key.clone().or(file.signing_key.clone());
    let beside = || {
        let path = arguments.database.sqlite_path()?;
        Some(path.with_extension("session-key.pem"))
    };
    let text = "with PostgreSQL the signing key must be named\nhint: --signing-key FILE, the same for every server of the database";
    named.or_else(beside).ok_or_else(|| text.into())
}
