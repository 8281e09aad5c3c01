//! Clients of workers: a capability for each, renewed before it ends, a fresh proof for each
//! request, and a look at every answer.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use secrecy::SecretString;
use serde_json::json;

use crate::client::{Client, Place};
use crate::figures::{measure, print};
use crate::trouble::Retries;
use crate::{Failure, devices};

#[derive(Args)]
pub(crate) struct Arguments {
    #[arg(long, value_enum)]
    what: What,
    /// A worker's public URL; several are asked in turn, by every client.
    #[arg(long, required = true)]
    worker: Vec<String>,
    /// The broker's public URL.
    #[arg(long)]
    broker: String,
    /// The certificate authority (PEM) of all.
    #[arg(long)]
    ca: Option<PathBuf>,
    /// The file with sessions of the operator, a line for each device: a session is of the first
    /// device that it is used by.
    #[arg(long)]
    sessions: PathBuf,
    /// The folder with the devices' keys, made by `devices`.
    #[arg(long)]
    devices: PathBuf,
    /// How many of them are used; more clients than these share them.
    #[arg(long, default_value_t = 16)]
    device_count: usize,
    /// Bytes of a credential.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(40..=65_536))]
    size: u32,
    #[arg(long, default_value_t = 16)]
    clients: usize,
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// A refusal's reason, or `unreachable`, for which a request is made again, at the next worker,
    /// and counted. Everything else ends the load.
    #[arg(long, value_name = "REASON", value_delimiter = ',')]
    retry: Vec<String>,
    /// For how many seconds one request is made again.
    #[arg(long, default_value_t = 60)]
    retry_for: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    Store,
    Fetch,
    /// Stores another credential each time, and fetches it.
    Both,
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    if arguments.what != What::Fetch && arguments.clients > arguments.device_count {
        return Err("each client that stores needs a device of its own: --device-count".into());
    }
    let retries = Arc::new(Retries::new(
        &arguments.retry,
        Duration::from_secs(arguments.retry_for),
    )?);
    let clients = Arc::new(clients(&arguments, &retries)?);
    for client in clients.iter() {
        client.store().await?;
    }
    let what = arguments.what;
    let ask = move |client: usize, _| {
        let clients = Arc::clone(&clients);
        async move {
            let client = &clients[client % clients.len()];
            match what {
                What::Store => client.store().await,
                What::Fetch => client.fetch().await,
                What::Both => {
                    client.store().await?;
                    client.fetch().await
                }
            }
        }
    };
    let mut figures = measure(arguments.clients, arguments.seconds, ask).await?;
    figures["retries"] = json!(retries.counts());
    figures["quiet_seconds"] = json!(retries.quiet().as_secs_f64());
    print(&figures);
    Ok(())
}

fn clients(arguments: &Arguments, retries: &Arc<Retries>) -> Result<Vec<Client>, Failure> {
    let bare = |url: &String| url.trim_end_matches('/').to_owned();
    let place = Arc::new(Place {
        http: http(arguments.ca.as_ref())?,
        workers: arguments.worker.iter().map(bare).collect(),
        broker: bare(&arguments.broker),
        retries: Arc::clone(retries),
    });
    let keys = devices::read(&arguments.devices, arguments.device_count)?;
    let sessions = sessions(&arguments.sessions, arguments.device_count)?;
    let one = |(number, (key, session))| {
        let service = format!("load-{number}").parse()?;
        let place = Arc::clone(&place);
        Ok(Client::new(place, key, session, service, arguments.size))
    };
    keys.into_iter()
        .zip(sessions)
        .enumerate()
        .map(one)
        .collect()
}

fn sessions(file: &Path, count: usize) -> Result<Vec<SecretString>, Failure> {
    let text = std::fs::read_to_string(file)?;
    let sessions: Vec<_> = text.lines().take(count).map(SecretString::from).collect();
    match sessions.len() == count {
        true => Ok(sessions),
        false => Err(format!("{} sessions for {count} devices", sessions.len()).into()),
    }
}

fn http(ca: Option<&PathBuf>) -> Result<reqwest::Client, Failure> {
    let mut builder = reqwest::Client::builder()
        .timeout(Duration::from_secs(30))
        .redirect(reqwest::redirect::Policy::none());
    if let Some(ca) = ca {
        let pem = std::fs::read(ca)?;
        builder = builder.tls_certs_only(reqwest::Certificate::from_pem_bundle(&pem)?);
    }
    Ok(builder.build()?)
}
