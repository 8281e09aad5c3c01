//! `artifactsd broker`: identity for the vault.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use base::audit::AuditFile;
use base::peer::TrustDomain;
use base::tokens::Issuers;
use base::{Clock, Listener, SystemClock, SystemRandom};
use broker::{App, File, FileAudit, Parts, SigningKeys, Store, keys};
use clap::{Args, Subcommand};
use secrecy::ExposeSecret;
use tokio_util::sync::CancellationToken;

use crate::health::{self, Health};
use crate::open_files;
use crate::registry_flags::RegistryFlags;
use crate::serving::{self, EndSignals, announce};
use crate::{audit_file, closed_memory, own_folder};

/// Run the server of sessions, capabilities and identities.
#[derive(Args)]
pub(crate) struct Broker {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve.
    Serve(Box<Serve>),
    /// Make a one-time token that begins a session of the first operator, and print it.
    Bootstrap(Data),
    /// The keys that sign.
    Keys(Keys),
    /// Check that no record of the audit was changed or taken out.
    Audit(Data),
    /// Ask a server whether it takes requests, and its database and registry answer; exit 1 if
    /// not. For the health check of a container.
    Health(BrokerHealth),
}

#[derive(Args)]
struct BrokerHealth {
    /// Where the server is.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8200")]
    url: reqwest::Url,
}

/// Where the broker keeps what is its own.
#[derive(Args)]
struct Data {
    /// The folder of its database, keys and audit; made when missing (mode 0700).
    #[arg(long, value_name = "DIR", env = "ARTIFACTS_BROKER_DATA")]
    data: PathBuf,
}

#[derive(Args)]
struct Keys {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Subcommand)]
enum KeysCommand {
    /// Make the next key. It is published now and signs in a quarter of an hour; the one before is
    /// published until the last token that it signed has ended. A server that runs notices.
    Rotate(Rotate),
}

#[derive(Args)]
struct Rotate {
    #[command(flatten)]
    data: Data,
    /// The configuration file of the server (TOML): it says how long sessions last.
    #[arg(long, value_name = "FILE", env = "ARTIFACTS_BROKER_CONFIG")]
    config: Option<PathBuf>,
    /// Take all older keys back now: every session and capability ends.
    #[arg(long)]
    compromised: bool,
}

#[derive(Args)]
struct Serve {
    #[command(flatten)]
    data: Data,
    /// The configuration file (TOML).
    #[arg(long, value_name = "FILE", env = "ARTIFACTS_BROKER_CONFIG")]
    config: Option<PathBuf>,
    /// Where to listen for clients; port 0 takes a free one.
    #[arg(
        long,
        value_name = "IP:PORT",
        env = "ARTIFACTS_BROKER_LISTEN",
        default_value = "127.0.0.1:8200"
    )]
    listen: SocketAddr,
    /// Where clients reach the server, if that is not where it listens. It is the issuer of all
    /// that is signed here.
    #[arg(long, value_name = "URL", env = "ARTIFACTS_BROKER_PUBLIC_URL")]
    public_url: Option<String>,
    /// The certificate chain (PEM), for TLS.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// The certificate's private key (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// Accept an address that other machines can reach without TLS: a proxy in front has it.
    #[arg(long)]
    allow_remote: bool,
    #[command(flatten)]
    internal: Internal,
    #[command(flatten)]
    registry: RegistryFlags,
    /// Write the JSON line that says "ready" into this file instead of to stdout.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

/// The listener for other servers of the installation: mTLS.
#[derive(Args)]
struct Internal {
    /// Where to listen for workers (mTLS); port 0 takes a free one.
    #[arg(
        long,
        value_name = "IP:PORT",
        env = "ARTIFACTS_BROKER_INTERNAL_LISTEN",
        default_value = "127.0.0.1:8201"
    )]
    internal_listen: SocketAddr,
    /// The certificate chain for it (PEM), with the role `broker` in its name.
    #[arg(
        long,
        value_name = "FILE",
        env = "ARTIFACTS_BROKER_INTERNAL_CERTIFICATE"
    )]
    internal_certificate: PathBuf,
    /// The certificate's private key (PEM).
    #[arg(long, value_name = "FILE", env = "ARTIFACTS_BROKER_INTERNAL_KEY")]
    internal_key: PathBuf,
    /// The authority whose certificates workers show (PEM).
    #[arg(long, value_name = "FILE", env = "ARTIFACTS_BROKER_INTERNAL_CA")]
    internal_ca: PathBuf,
    /// What the names in certificates begin with: spiffe://THIS/worker.
    #[arg(
        long,
        value_name = "NAME",
        env = "ARTIFACTS_TRUST_DOMAIN",
        default_value = "artifacts"
    )]
    trust_domain: TrustDomain,
}

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Runs the role, and prints what went wrong.
pub(crate) fn run(role: Broker) -> ExitCode {
    let result = match role.command {
        Command::Serve(arguments) => serve(*arguments),
        Command::Bootstrap(arguments) => bootstrap(&arguments),
        Command::Keys(Keys {
            command: KeysCommand::Rotate(arguments),
        }) => rotate(&arguments),
        Command::Audit(arguments) => {
            audit_file::check(&arguments.audit(), "--data is the folder of the server")
        }
        Command::Health(BrokerHealth { url }) => health::ask(Health { url }),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Data {
    /// The folder, made when missing.
    fn folder(&self) -> Result<&Path> {
        own_folder::make(&self.data)?;
        Ok(&self.data)
    }

    fn keys(&self) -> PathBuf {
        self.data.join("keys")
    }

    fn audit(&self) -> PathBuf {
        self.data.join("audit.jsonl")
    }

    async fn store(&self) -> Result<Store> {
        Ok(Store::open(&self.folder()?.join("broker.db")).await?)
    }
}

/// The token goes to stdout and nowhere else; the database keeps its hash.
#[tokio::main(flavor = "current_thread")]
async fn bootstrap(arguments: &Data) -> Result {
    let store = arguments.store().await?;
    let now = SystemClock.now().seconds();
    let token = broker::new_bootstrap(&store, &SystemRandom::default(), now).await?;
    store.close().await;
    writeln!(io::stdout(), "{}", token.expose_secret())?;
    Ok(())
}

fn rotate(arguments: &Rotate) -> Result {
    let folder = arguments.data.keys();
    let now = SystemClock.now().seconds();
    if !folder.join("keys.json").exists() {
        let text = format!(
            "there are no keys in {}\nhint: --data is the folder of the server; it makes the first key when it starts",
            folder.display()
        );
        return Err(text.into());
    }
    let rotated = if arguments.compromised {
        keys::replace_all(&folder, now)?
    } else {
        let file = arguments.config.as_deref().map(File::read).transpose()?;
        let settings = file.unwrap_or_default().settings(String::new());
        keys::rotate(&folder, now, settings.longest_lifetime())?
    };
    let line = serde_json::json!({
        "kid": rotated.kid,
        "signs_from": rotated.signs_from,
        "old_until": rotated.old_until,
    });
    writeln!(io::stdout(), "{line}")?;
    Ok(())
}

#[tokio::main]
async fn serve(arguments: Serve) -> Result {
    // Before the server is up, so that no signal finds nobody listening.
    let signals = EndSignals::take()?;
    closed_memory::close();
    open_files::allow_many();
    let file = arguments.config.as_deref().map(File::read).transpose()?;
    let file = file.unwrap_or_default();
    // Before the folder: a server that may not listen changes nothing.
    let (public, internal) = listeners(&arguments).await?;
    let here = format!("{}://{}", public.scheme(), public.address());
    let public_url = arguments.public_url.clone().or(file.public_url.clone());
    if public_url.is_none() && arguments.listen.ip().is_unspecified() {
        let text = "nobody reaches a server at an address of all interfaces\nhint: --public-url says where clients do";
        return Err(text.into());
    }
    let folder = arguments.data.folder()?;
    let audit = Arc::new(FileAudit::new(AuditFile::open(&arguments.data.audit())?));
    let store = arguments.data.store().await?;
    let stop = CancellationToken::new();
    let app = App::new(Parts {
        settings: file.settings(public_url.unwrap_or_else(|| here.clone())),
        store: store.clone(),
        keys: SigningKeys::open(&arguments.data.keys(), SystemClock.now().seconds())?,
        issuers: Issuers::new(file.issuers.clone())?,
        registry: arguments.registry.open(folder).await?,
        audit: Arc::clone(&audit) as _,
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom::default()),
        stop: stop.clone(),
    });
    let watching = tokio::spawn(broker::watch::run(Arc::clone(&app), stop.clone()));
    let syncing = tokio::spawn(sync(audit, stop.clone()));
    tokio::spawn(signals.stop(stop.clone()));
    let inside = format!("{}://{}", internal.scheme(), internal.address());
    tracing::info!(endpoint = here, internal = inside, "ready");
    let line = serde_json::json!({
        "endpoint": here,
        "internal": inside,
        "pid": std::process::id(),
    });
    announce(&line, arguments.ready_file.as_deref())?;
    let for_workers = base::serve(internal, broker::internal(Arc::clone(&app)), stop.clone());
    let for_workers = tokio::spawn(for_workers);
    base::serve(public, broker::public(app), stop).await;
    for_workers.await?;
    watching.await?;
    syncing.await?;
    store.close().await;
    Ok(())
}

async fn listeners(arguments: &Serve) -> Result<(Listener, Listener)> {
    let tls = serving::tls(
        arguments.tls_certificate.as_ref(),
        arguments.tls_key.as_ref(),
    );
    let public = Listener::bind(arguments.listen, tls.as_ref(), arguments.allow_remote).await?;
    let inside = &arguments.internal;
    let mutual = serving::mutual(
        &inside.internal_certificate,
        &inside.internal_key,
        &inside.internal_ca,
        &inside.trust_domain,
    );
    let internal = Listener::bind(inside.internal_listen, Some(&mutual), false).await?;
    Ok((public, internal))
}

/// Puts the audit on the disk, each second and at the end.
async fn sync(audit: Arc<FileAudit>, stop: CancellationToken) {
    loop {
        let stopped = tokio::select! {
            () = stop.cancelled() => true,
            () = tokio::time::sleep(Duration::from_secs(1)) => false,
        };
        let audit = Arc::clone(&audit);
        let _ = tokio::task::spawn_blocking(move || audit.sync()).await;
        if stopped {
            return;
        }
    }
}
