//! `artifactsd signer serve`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base::audit::AuditFile;
use base::published::PublishedKeys;
use base::{Listener, SystemClock, clients};
use clap::Args;
use reqwest::Url;
use signer::memory::Hardened;
use signer::message::LoginPlace;
use signer::{Parts, Rates, Sessions, Signer, file};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{Result, Sealed};
use crate::open_files;
use crate::serving::{self, EndSignals, announce};

#[derive(Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    sealed: Sealed,
    #[command(flatten)]
    outside: Outside,
    #[command(flatten)]
    inside: Inside,
    #[command(flatten)]
    broker: Broker,
    /// Sign logins (EIP-4361) of wallets at this place, https://HOST[:PORT]; may be given several
    /// times. Without one no login is signed.
    #[arg(long, value_name = "URL", env = "ARTIFACTS_SIGNER_LOGIN_AT", value_delimiter = ',', value_parser = login_place)]
    login_at: Vec<LoginPlace>,
    /// Keys of credentials that a worker may ask for in a minute.
    #[arg(long, value_name = "COUNT", default_value_t = Rates::default().derive)]
    derive_per_minute: u32,
    /// Keys of their own that a person may ask for in a minute.
    #[arg(long, value_name = "COUNT", default_value_t = Rates::default().own)]
    own_per_minute: u32,
    /// Signatures that a person may ask for in a minute.
    #[arg(long, value_name = "COUNT", default_value_t = Rates::default().sign)]
    sign_per_minute: u32,
    /// Requests of an address outside that are looked at in a minute.
    #[arg(long, value_name = "COUNT", default_value_t = Rates::default().address)]
    address_per_minute: u32,
    /// Write the JSON line that says "ready" into this file instead of to stdout.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

/// The door for people with a session.
#[derive(Args)]
struct Outside {
    /// Where to listen for clients; port 0 takes a free one.
    #[arg(
        long,
        value_name = "IP:PORT",
        env = "ARTIFACTS_SIGNER_LISTEN",
        default_value = "127.0.0.1:8210"
    )]
    listen: SocketAddr,
    /// The certificate chain (PEM), for TLS.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// The certificate's private key (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// Accept an address that other machines can reach without TLS: a proxy in front has it.
    #[arg(long)]
    allow_remote: bool,
    /// Where clients reach the server, if that is not where it listens: proofs by their devices
    /// name it.
    #[arg(long, value_name = "URL", env = "ARTIFACTS_SIGNER_PUBLIC_URL")]
    public_url: Option<Url>,
    /// Give people with a session, at the device that it is bound to, the keys of their own
    /// credentials, as the s3 backend needs them, and signatures for envelopes of older programs.
    /// Whoever has the broker's signing key can then open the credentials of every operator;
    /// where clients use the sidecar or http backends, leave it off.
    #[arg(long, env = "ARTIFACTS_SIGNER_OWN_KEYS")]
    own_keys: bool,
}

/// The door for other servers of the installation: mTLS.
#[derive(Args)]
struct Inside {
    /// Where to listen for workers and the broker (mTLS); port 0 takes a free one.
    #[arg(
        long,
        value_name = "IP:PORT",
        env = "ARTIFACTS_SIGNER_INTERNAL_LISTEN",
        default_value = "127.0.0.1:8211"
    )]
    internal_listen: SocketAddr,
    /// The certificate chain for it (PEM), with the role `signer` in its name.
    #[arg(
        long,
        value_name = "FILE",
        env = "ARTIFACTS_SIGNER_INTERNAL_CERTIFICATE"
    )]
    internal_certificate: PathBuf,
    /// The certificate's private key (PEM).
    #[arg(long, value_name = "FILE", env = "ARTIFACTS_SIGNER_INTERNAL_KEY")]
    internal_key: PathBuf,
    /// The authority whose certificates workers and the broker show (PEM).
    #[arg(long, value_name = "FILE", env = "ARTIFACTS_SIGNER_INTERNAL_CA")]
    internal_ca: PathBuf,
}

/// Whose sessions count outside.
#[derive(Args)]
struct Broker {
    /// The broker, exactly as its sessions name it (iss).
    #[arg(long, value_name = "URL", env = "ARTIFACTS_SIGNER_BROKER")]
    broker: Url,
    /// Where it publishes its keys, if that is not BROKER/jwks.json.
    #[arg(long, value_name = "URL", env = "ARTIFACTS_SIGNER_BROKER_KEYS")]
    broker_keys: Option<Url>,
    /// Trust these certificates (PEM) there instead of the machine's.
    #[arg(long, value_name = "FILE", env = "ARTIFACTS_SIGNER_BROKER_CA")]
    broker_ca: Option<PathBuf>,
}

fn login_place(text: &str) -> std::result::Result<LoginPlace, String> {
    LoginPlace::new(text).map_err(|error| error.to_string())
}

#[tokio::main]
pub(super) async fn run(arguments: Serve, hardened: &Hardened) -> Result {
    // Before the server is up, so that no signal finds nobody listening.
    let signals = EndSignals::take()?;
    let hang_up = signal(SignalKind::hangup())?;
    open_files::allow_many();
    let (public, internal) = listeners(&arguments).await?;
    let (here, inside) = (url_of(&public), url_of(&internal));
    let ready_file = arguments.ready_file.clone();
    let signer = open(arguments, &here).await?;
    report_memory(hardened, &signer);
    let stop = CancellationToken::new();
    tokio::spawn(signals.stop(stop.clone()));
    tokio::spawn(reload_on_signal(hang_up, Arc::clone(&signer)));
    let syncing = tokio::spawn(sync(Arc::clone(&signer), stop.clone()));
    let epoch = signer.epochs().current();
    tracing::info!(endpoint = here, internal = inside, epoch, "ready");
    let line = serde_json::json!({
        "endpoint": here,
        "internal": inside,
        "current_epoch": epoch,
        "pid": std::process::id(),
    });
    announce(&line, ready_file.as_deref())?;
    let router = signer::internal(Arc::clone(&signer));
    let for_servers = tokio::spawn(base::serve(internal, router, stop.clone()));
    base::serve(public, signer::public(Arc::clone(&signer)), stop).await;
    for_servers.await?;
    syncing.await?;
    Ok(())
}

async fn listeners(arguments: &Serve) -> Result<(Listener, Listener)> {
    let outside = &arguments.outside;
    let tls = serving::tls(outside.tls_certificate.as_ref(), outside.tls_key.as_ref());
    let public = Listener::bind(outside.listen, tls.as_ref(), outside.allow_remote).await?;
    let inside = &arguments.inside;
    let mutual = serving::mutual(
        &inside.internal_certificate,
        &inside.internal_key,
        &inside.internal_ca,
        &arguments.sealed.opening.trust_domain,
    );
    let internal = Listener::bind(inside.internal_listen, Some(&mutual), false).await?;
    Ok((public, internal))
}

fn url_of(listener: &Listener) -> String {
    format!("{}://{}", listener.scheme(), listener.address())
}

async fn open(arguments: Serve, here: &str) -> Result<Arc<Signer>> {
    let named = arguments.outside.public_url.as_ref().map(Url::as_str);
    if named.is_none() && arguments.outside.listen.ip().is_unspecified() {
        let text = "nobody reaches a server at an address of all interfaces\nhint: --public-url says where clients do";
        return Err(text.into());
    }
    let data = &arguments.sealed.data;
    let path = data.sealed();
    let seal = arguments.sealed.opening.seal()?;
    let epochs = file::open(&path, &*seal).await?;
    Ok(Signer::new(Parts {
        audit: AuditFile::open(&data.audit())?,
        path,
        seal,
        epochs,
        sessions: sessions(&arguments.broker)?,
        login_places: arguments.login_at,
        public_url: named.unwrap_or(here).trim_end_matches('/').to_owned(),
        own_keys: arguments.outside.own_keys,
        rates: Rates {
            derive: arguments.derive_per_minute,
            own: arguments.own_per_minute,
            sign: arguments.sign_per_minute,
            address: arguments.address_per_minute,
        },
        clock: Arc::new(SystemClock),
    }))
}

fn sessions(broker: &Broker) -> Result<Sessions> {
    let issuer = broker.broker.as_str().trim_end_matches('/').to_owned();
    let keys = match &broker.broker_keys {
        Some(url) => url.clone(),
        None => Url::parse(&format!("{issuer}/jwks.json"))?,
    };
    if !clients::is_safe(keys.as_str()) {
        let text = format!("the keys at {keys} could be changed on the way\nhint: https://");
        return Err(text.into());
    }
    let mut client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none());
    if let Some(path) = &broker.broker_ca {
        let wrong = |error: String| format!("{}: {error}", path.display());
        let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
        let trusted = reqwest::Certificate::from_pem_bundle(&pem);
        client = client.tls_certs_only(trusted.map_err(|error| wrong(error.to_string()))?);
    }
    let keys = PublishedKeys::new(client.build()?, keys, Arc::new(SystemClock));
    Ok(Sessions::new(issuer, keys))
}

fn report_memory(hardened: &Hardened, signer: &Signer) {
    let pages = signer.epochs().are_locked();
    if let Err(reason) = &hardened.whole_memory {
        tracing::warn!(
            reason,
            master_secrets_locked = pages,
            "not all memory is locked: derived keys may be written to swap\nhint: LimitMEMLOCK=infinity of systemd, ulimit -l unlimited, or a machine without swap"
        );
    }
}

async fn reload_on_signal(mut hang_up: Signal, signer: Arc<Signer>) {
    while hang_up.recv().await.is_some() {
        match signer.reload().await {
            Ok(epoch) => tracing::info!(epoch, "the file was read again"),
            Err(error) => tracing::error!(%error, "the epochs from before stay in use"),
        }
    }
}

async fn sync(signer: Arc<Signer>, stop: CancellationToken) {
    let mut second = tokio::time::interval(Duration::from_secs(1));
    while stop.run_until_cancelled(second.tick()).await.is_some() {
        let signer = Arc::clone(&signer);
        let _ = tokio::task::spawn_blocking(move || signer.sync_audit()).await;
    }
    signer.sync_audit();
}
