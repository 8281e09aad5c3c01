//! What each role finds in its folder, made at the first start.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::ca::{Authority, Order};
use base::peer::TrustDomain;
use base::{Clock, SystemClock};
use serde::Deserialize;

use super::{Addresses, private, put};
use crate::{registry, whole_file};

/// Renewed at every start.
const CERTIFICATES_LAST: Duration = Duration::from_secs(90 * 24 * 3600);

/// Which registry the roles ask.
pub(in crate::dev) enum Registry {
    /// Documents in a folder of the vault's own.
    Documents,
    /// Contracts on a chain: what `[vault.registry]` of clients says, from this file.
    Chain(PathBuf),
}

/// What roles and clients are told of the registry.
struct Told {
    flags: Vec<OsString>,
    client_toml: String,
    /// The chain whose wallets log in.
    chain: Option<u64>,
}

/// The folder of the vault.
pub(super) struct Files {
    folder: PathBuf,
    registry: Told,
}

impl Files {
    /// Makes what is missing: folders, authority, certificates, the signer's file, the registry.
    pub(super) async fn open(folder: &Path, registry: &Registry) -> Result<Self, String> {
        private(folder)?;
        for role in ["ca", "broker", "signer", "worker", "registry", "tls"] {
            private(&folder.join(role))?;
        }
        let told = Told::prepare(&folder.join("registry"), registry).await?;
        let files = Self {
            folder: folder.to_owned(),
            registry: told,
        };
        files.issue()?;
        files.seal().await?;
        Ok(files)
    }

    pub(super) fn of(&self, role: &str) -> PathBuf {
        self.folder.join(role)
    }

    pub(super) fn ca(&self) -> PathBuf {
        self.folder.join("ca/ca.pem")
    }

    /// The certificate and the key of a role, for mTLS; of `tls`, for clients.
    pub(super) fn certificate(&self, role: &str) -> (PathBuf, PathBuf) {
        let folder = self.folder.join(role);
        (
            folder.join("certificate.pem"),
            folder.join("certificate-key.pem"),
        )
    }

    pub(super) fn passphrase(&self) -> PathBuf {
        self.folder.join("signer/passphrase")
    }

    pub(super) fn registry_flags(&self) -> Vec<OsString> {
        self.registry.flags.clone()
    }

    /// The broker's configuration file, written at every start.
    pub(super) fn broker_config(&self) -> Result<PathBuf, String> {
        let path = self.folder.join("broker/broker.toml");
        let chains = self
            .registry
            .chain
            .map_or(String::new(), |id| id.to_string());
        let text = format!("# Written by artifactsd dev.\nwallet_chains = [{chains}]\n");
        write_secret(&path, &text)?;
        Ok(path)
    }

    fn issue(&self) -> Result<(), String> {
        let domain: TrustDomain = "artifacts".parse().map_err(|e| format!("{e}"))?;
        let now = SystemClock.now();
        let authority = Authority::open_or_make(&self.folder.join("ca"), &domain, now);
        let authority = authority.map_err(|e| e.to_string())?;
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        for role in ["broker", "signer", "worker", "tls"] {
            let order = Order {
                role: (role != "tls").then_some(role),
                names: &names,
                lifetime: CERTIFICATES_LAST,
            };
            let (certificate, key) = self.certificate(role);
            let issued = authority.issue(&order, now).map_err(|e| e.to_string())?;
            issued
                .write(&certificate, &key)
                .map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    /// The signer's secrets, under a passphrase that lies beside them: on one machine for
    /// development, nothing is safer elsewhere.
    async fn seal(&self) -> Result<(), String> {
        if self.folder.join("signer/signer.sealed").exists() {
            return Ok(());
        }
        if !self.passphrase().exists() {
            let random = embedded::AccessKey::random().secret;
            write_secret(
                &self.passphrase(),
                secrecy::ExposeSecret::expose_secret(&random),
            )?;
        }
        let mut words = vec!["signer".into(), "init".into()];
        put(&mut words, "--data", self.of("signer"));
        put(&mut words, "--passphrase-file", self.passphrase());
        own_program(words).await.map(drop)
    }

    /// A one-time token for the first operator, in a file; a new one at each start.
    pub(super) async fn bootstrap_token(&self) -> Result<PathBuf, String> {
        let mut words = vec!["broker".into(), "bootstrap".into()];
        put(&mut words, "--data", self.of("broker"));
        let token = own_program(words).await?;
        let file = self.folder.join("bootstrap-token");
        write_secret(&file, token.trim())?;
        Ok(file)
    }

    /// What a client's config.toml needs.
    pub(super) fn client_config(
        &self,
        addresses: &Addresses,
        bucket: &str,
        store: &str,
    ) -> Result<PathBuf, String> {
        let path = self.folder.join("client.toml");
        let text = format!(
            "# For ~/.config/artifacts/config.toml of whoever uses this vault.\n\
             [vault]\n\
             broker = \"{}\"\nworker = \"{}\"\nsigner = \"{}\"\n\
             bucket = \"{bucket}\"\nendpoint = \"{store}\"\nregion = \"{}\"\n\
             role_arn = \"{}\"\nca_file = \"{}\"\n\n{}",
            addresses.broker,
            addresses.worker,
            addresses.signer,
            embedded::REGION,
            super::storage::ROLE_ARN,
            self.ca().display(),
            self.registry.client_toml,
        );
        write_secret(&path, &text)?;
        Ok(path)
    }
}

impl Told {
    async fn prepare(folder: &Path, registry: &Registry) -> Result<Self, String> {
        match registry {
            Registry::Documents => Self::documents(folder).await,
            Registry::Chain(file) => Self::chain(file),
        }
    }

    async fn documents(folder: &Path) -> Result<Self, String> {
        registry::prepare(folder).await.map_err(|e| e.to_string())?;
        let (documents, pins) = (registry::documents(folder), registry::pins(folder));
        let client_toml = format!(
            "[vault.registry]\nkind = \"documents\"\nfolder = \"{}\"\n",
            documents.display()
        );
        let mut flags = Vec::new();
        put(&mut flags, "--registry-documents", documents);
        put(&mut flags, "--registry-pins", pins);
        Ok(Self {
            flags,
            client_toml,
            chain: None,
        })
    }

    /// From what `artifacts registry deploy` has printed.
    fn chain(file: &Path) -> Result<Self, String> {
        let wrong = |e: String| format!("{}: {e}", file.display());
        let client_toml = std::fs::read_to_string(file).map_err(|e| wrong(e.to_string()))?;
        let written: Written = toml::from_str(&client_toml).map_err(|e| wrong(e.to_string()))?;
        let Chain {
            rpc,
            chain_id,
            device_registry,
            scope_contract,
            epoch_counter,
        } = written.vault.registry;
        let mut flags = Vec::new();
        put(&mut flags, "--registry-rpc", rpc.join(","));
        put(&mut flags, "--registry-chain-id", chain_id.to_string());
        put(&mut flags, "--registry-devices", device_registry);
        put(&mut flags, "--registry-scopes", scope_contract);
        put(&mut flags, "--registry-epochs", epoch_counter);
        // A chain for development makes a block only when there is something to put into it.
        put(&mut flags, "--registry-oldest-head", "0");
        Ok(Self {
            flags,
            client_toml,
            chain: Some(chain_id),
        })
    }
}

#[derive(Deserialize)]
struct Written {
    vault: WrittenVault,
}

#[derive(Deserialize)]
struct WrittenVault {
    registry: Chain,
}

#[derive(Deserialize)]
struct Chain {
    rpc: Vec<String>,
    chain_id: u64,
    device_registry: String,
    scope_contract: String,
    epoch_counter: String,
}

/// What this program prints when it is called so.
async fn own_program(words: Vec<OsString>) -> Result<String, String> {
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let done = tokio::process::Command::new(program)
        .args(words)
        .output()
        .await;
    let done = done.map_err(|e| e.to_string())?;
    if !done.status.success() {
        return Err(String::from_utf8_lossy(&done.stderr).trim().to_owned());
    }
    String::from_utf8(done.stdout).map_err(|e| e.to_string())
}

/// Nobody else's to read.
fn write_secret(path: &Path, text: &str) -> Result<(), String> {
    whole_file::write(path, text.as_bytes(), 0o600)
}
