//! Clients of a worker: a capability for each, renewed before it ends, a fresh proof for each
//! request, and a look at every answer.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use api::Secret;
use api::vault::{
    CapAnswer, CapCredential, FetchCredential, FetchedCredential, PROOF_HEADER, StoreCredential,
    StoredCredential,
};
use base64_simd::STANDARD;
use clap::{Args, ValueEnum};
use model::ServiceName;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;
use vault::{DeviceKey, ProofFor, make_proof};

use crate::figures::measure;
use crate::{Failure, devices};

#[derive(Args)]
pub(crate) struct Arguments {
    #[arg(long, value_enum)]
    what: What,
    /// The worker's public URL.
    #[arg(long)]
    worker: String,
    /// The broker's public URL.
    #[arg(long)]
    broker: String,
    /// The certificate authority (PEM) of both.
    #[arg(long)]
    ca: Option<PathBuf>,
    /// The file with a session of the operator.
    #[arg(long)]
    session_file: PathBuf,
    /// The folder with the devices' keys, made by `devices`.
    #[arg(long)]
    devices: PathBuf,
    /// How many of them are used; more clients than these share them.
    #[arg(long, default_value_t = 16)]
    device_count: usize,
    /// Bytes of a credential.
    #[arg(long, default_value_t = 64)]
    size: usize,
    #[arg(long, default_value_t = 16)]
    clients: usize,
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    Store,
    Fetch,
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let session: SecretString = std::fs::read_to_string(&arguments.session_file)?
        .trim()
        .to_owned()
        .into();
    let session = Arc::new(session);
    let http = http(arguments.ca.as_ref())?;
    let keys = devices::read(&arguments.devices, arguments.device_count)?;
    let plaintext = STANDARD.encode_to_string(vec![b'k'; arguments.size]);
    let clients: Result<Vec<_>, Failure> = keys
        .into_iter()
        .enumerate()
        .map(|(number, key)| {
            Ok(Client {
                http: http.clone(),
                worker: arguments.worker.trim_end_matches('/').to_owned(),
                broker: arguments.broker.trim_end_matches('/').to_owned(),
                session: Arc::clone(&session),
                key,
                service: format!("load-{number}").parse()?,
                plaintext: plaintext.clone(),
                store_cap: Mutex::default(),
                fetch_cap: Mutex::default(),
            })
        })
        .collect();
    let clients = Arc::new(clients?);
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
            }
        }
    };
    measure(arguments.clients, arguments.seconds, ask).await
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

struct Client {
    http: reqwest::Client,
    worker: String,
    broker: String,
    session: Arc<SecretString>,
    key: DeviceKey,
    service: ServiceName,
    plaintext: String,
    store_cap: Mutex<Option<HeldCap>>,
    fetch_cap: Mutex<Option<HeldCap>>,
}

struct HeldCap {
    cap: SecretString,
    until: Instant,
}

impl Client {
    async fn store(&self) -> Result<(), Failure> {
        let cap = self.cap(&self.store_cap, "store").await?;
        let body = StoreCredential {
            cap: Secret::from(SecretString::from(cap.clone())),
            service: self.service.clone(),
            plaintext: Secret::from(SecretString::from(self.plaintext.clone())),
            expected_generation: None,
        };
        let url = format!("{}/v1/cred/store", self.worker);
        let answer: StoredCredential = self.send(&url, &body, &cap, None).await?;
        (answer.generation > 0)
            .then_some(())
            .ok_or_else(|| "stored as no generation".into())
    }

    async fn fetch(&self) -> Result<(), Failure> {
        let cap = self.cap(&self.fetch_cap, "fetch").await?;
        let body = FetchCredential {
            cap: Secret::from(SecretString::from(cap.clone())),
            service: self.service.clone(),
            seen_generation: None,
        };
        let url = format!("{}/v1/cred/fetch", self.worker);
        let answer: FetchedCredential = self.send(&url, &body, &cap, None).await?;
        let right = answer.plaintext.expose() == self.plaintext;
        right
            .then_some(())
            .ok_or_else(|| "another credential was fetched".into())
    }

    /// The capability that is held, or another one where it is about to end.
    async fn cap(&self, held: &Mutex<Option<HeldCap>>, op: &str) -> Result<String, Failure> {
        let mut held = held.lock().await;
        if let Some(held) = held.as_ref().filter(|held| Instant::now() < held.until) {
            return Ok(held.cap.expose_secret().to_owned());
        }
        let url = format!("{}/v1/cap/cred-{op}", self.broker);
        let body = CapCredential {
            service: Some(self.service.clone()),
        };
        let session = self.session.expose_secret();
        let answer: CapAnswer = self.send(&url, &body, session, Some(session)).await?;
        let until = Instant::now() + Duration::from_secs(answer.expires_in.saturating_sub(10));
        let cap = answer.cap.into_inner();
        let text = cap.expose_secret().to_owned();
        *held = Some(HeldCap { cap, until });
        Ok(text)
    }

    async fn send<A: DeserializeOwned>(
        &self,
        url: &str,
        body: &impl Serialize,
        token: &str,
        bearer: Option<&str>,
    ) -> Result<A, Failure> {
        let body = serde_json::to_vec(body)?;
        let request = ProofFor {
            method: "POST",
            url,
            token: Some(token),
            body: &body,
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let jti = uuid::Uuid::new_v4().simple().to_string();
        let proof = make_proof(&self.key, &request, &jti, i64::try_from(now)?);
        let mut asked = self
            .http
            .post(url)
            .header("content-type", "application/json");
        asked = asked.header(PROOF_HEADER, proof.ok_or("the device's key signs nothing")?);
        if let Some(bearer) = bearer {
            asked = asked.bearer_auth(bearer);
        }
        let answer = asked.body(body).send().await?;
        let status = answer.status();
        let text = answer.bytes().await?;
        if !status.is_success() {
            return Err(format!("{url}: {status}: {}", String::from_utf8_lossy(&text)).into());
        }
        Ok(serde_json::from_slice(&text)?)
    }
}
