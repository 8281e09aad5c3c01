//! The whole vault on one machine: broker, signer and worker beside the store, each a process with
//! files of its own below `DATA/vault`, and a certificate authority that is made at the first start.

mod files;
mod storage;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use embedded::Server;
use futures::future::select_all;
use serde_json::{Value, json};

use super::ports::Ports;
use super::role::Role;
use files::Files;

pub(super) use files::Registry;

/// The bucket of the envelopes.
const BUCKET: &str = "vault";

/// Everything that runs beside the store.
pub(super) struct Vault {
    roles: Vec<Role>,
    said: Value,
}

impl Vault {
    /// Makes what is missing, and starts the roles in the order in which they need each other.
    pub(super) async fn start(
        data: &Path,
        server: &Server,
        registry: &Registry,
    ) -> Result<Self, String> {
        let folder = data.join("vault");
        let files = Files::open(&folder, registry).await?;
        let mut ports = Ports::open(folder.join("ports.json"))?;
        let addresses = Addresses::choose(&mut ports)?;
        storage::prepare(server, &addresses.broker).await?;
        let store = server.endpoint();
        let plan = Plan {
            files: &files,
            addresses: &addresses,
            store: &store,
        };
        let mut roles = Vec::new();
        for (name, arguments) in [
            ("broker", plan.broker()?),
            ("signer", plan.signer()),
            ("worker", plan.worker()),
        ] {
            roles.push(Role::start(name, arguments, &files.of(name)).await?);
        }
        let config = files.client_config(&addresses, BUCKET, &store)?;
        let pids = roles
            .iter()
            .map(|role| (role.name().to_owned(), json!(role.pid())));
        let said = json!({
            "broker": addresses.broker,
            "worker": addresses.worker,
            "signer": addresses.signer,
            "bucket": BUCKET,
            "ca_file": files.ca(),
            "client_config": config,
            "bootstrap_token_file": files.bootstrap_token().await?,
            "pids": pids.collect::<serde_json::Map<_, _>>(),
        });
        Ok(Self { roles, said })
    }

    /// What clients need to know; no secret.
    pub(super) fn said(&self) -> &Value {
        &self.said
    }

    /// Returns once a role has ended, which none should while the others run.
    pub(super) async fn ended(&mut self) -> String {
        let ended = self.roles.iter_mut().map(|role| Box::pin(role.ended()));
        select_all(ended).await.0
    }

    /// Ends all, those first that need the others.
    pub(super) async fn stop(self) {
        for role in self.roles.into_iter().rev() {
            role.stop().await;
        }
    }
}

/// Where each listener is; the same at every start.
pub(super) struct Addresses {
    broker: String,
    broker_internal: String,
    signer: String,
    signer_internal: String,
    worker: String,
}

impl Addresses {
    /// The broker speaks plain HTTP on this machine, because the store fetches its keys so; what
    /// carries secrets of the vault has TLS.
    fn choose(ports: &mut Ports) -> Result<Self, String> {
        let mut url =
            |name: &str, scheme: &str| Ok::<_, String>(format!("{scheme}://{}", ports.of(name)?));
        Ok(Self {
            broker: url("broker", "http")?,
            broker_internal: url("broker-internal", "https")?,
            signer: url("signer", "https")?,
            signer_internal: url("signer-internal", "https")?,
            worker: url("worker", "https")?,
        })
    }
}

/// The arguments of each role.
struct Plan<'a> {
    files: &'a Files,
    addresses: &'a Addresses,
    store: &'a str,
}

impl Plan<'_> {
    fn broker(&self) -> Result<Vec<OsString>, String> {
        let mut words = words(["serve"]);
        put(&mut words, "--config", self.files.broker_config()?);
        self.own(&mut words, "broker", &self.addresses.broker);
        self.internal_listener(&mut words, "broker", &self.addresses.broker_internal);
        words.extend(self.files.registry_flags());
        Ok(words)
    }

    fn signer(&self) -> Vec<OsString> {
        let mut words = words(["serve"]);
        self.own(&mut words, "signer", &self.addresses.signer);
        self.internal_listener(&mut words, "signer", &self.addresses.signer_internal);
        self.tls(&mut words);
        put(&mut words, "--passphrase-file", self.files.passphrase());
        put(&mut words, "--broker", &self.addresses.broker);
        put(&mut words, "--login-at", &self.addresses.broker);
        // What the backend s3 needs, which clients take by default.
        words.push("--own-keys".into());
        words
    }

    fn worker(&self) -> Vec<OsString> {
        let mut words = words(["serve"]);
        self.own(&mut words, "worker", &self.addresses.worker);
        self.tls(&mut words);
        let (certificate, key) = self.files.certificate("worker");
        put(&mut words, "--internal-certificate", certificate);
        put(&mut words, "--internal-key", key);
        put(&mut words, "--internal-ca", self.files.ca());
        put(&mut words, "--broker", &self.addresses.broker);
        put(
            &mut words,
            "--broker-internal",
            &self.addresses.broker_internal,
        );
        put(&mut words, "--signer", &self.addresses.signer_internal);
        put(&mut words, "--bucket", BUCKET);
        put(&mut words, "--endpoint", self.store);
        put(&mut words, "--role-arn", storage::ROLE_ARN);
        words.extend(self.files.registry_flags());
        words
    }

    fn own(&self, words: &mut Vec<OsString>, role: &str, url: &str) {
        put(words, "--data", self.files.of(role));
        put(words, "--listen", address(url));
    }

    fn internal_listener(&self, words: &mut Vec<OsString>, role: &str, url: &str) {
        let (certificate, key) = self.files.certificate(role);
        put(words, "--internal-listen", address(url));
        put(words, "--internal-certificate", certificate);
        put(words, "--internal-key", key);
        put(words, "--internal-ca", self.files.ca());
    }

    fn tls(&self, words: &mut Vec<OsString>) {
        let (certificate, key) = self.files.certificate("tls");
        put(words, "--tls-certificate", certificate);
        put(words, "--tls-key", key);
    }
}

fn put(words: &mut Vec<OsString>, flag: &str, value: impl Into<OsString>) {
    words.extend([flag.into(), value.into()]);
}

fn words<const N: usize>(words: [&str; N]) -> Vec<OsString> {
    words.map(OsString::from).to_vec()
}

fn address(url: &str) -> &str {
    url.split_once("://").map_or(url, |(_, address)| address)
}

/// A folder of a role alone.
fn private(folder: &Path) -> Result<PathBuf, String> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder);
    made.map_err(|e| format!("{}: {e}", folder.display()))?;
    Ok(folder.to_owned())
}
