//! The way to the vault: its settings, this machine's key and login, and the backend that is
//! chosen.

use std::path::PathBuf;

use clap::Args;
use credentials::vault::{self as settings, OldVersion};
use credentials::{CredentialBackend, Endpoint, KeyProfile, VaultSettings, expand_home};
use secrets::{
    Access, AskedEachTime, Broker, Devices, HttpStore, Place, S3Settings, S3Store, SecretError,
    SecretStore, Seen, Server, SidecarStore, Signer, Worker, sidecar,
};
use vault::OldVersions;

use crate::context::Context;
use crate::failure::{Code, Failure, Result};
use crate::variables;

/// Which way a command takes.
#[derive(Args, Default)]
pub(crate) struct BackendChoice {
    /// The way to a secret: s3, http or sidecar [default: as `vault.credential_backend` says,
    /// else s3].
    #[arg(long, value_name = "BACKEND")]
    credential_backend: Option<CredentialBackend>,
}

/// Servers of the vault, with the certificates to trust.
pub(crate) struct Servers {
    pub(crate) settings: VaultSettings,
    ca: Option<Vec<u8>>,
}

impl Context {
    /// What `config.toml` says about the vault, with what variables say in its place.
    pub(crate) fn vault_settings(&self) -> Result<VaultSettings> {
        let written = self.config()?.vault().clone();
        Ok(written.with_variables(variables::text)?)
    }

    /// Where this machine keeps its own key and login: in the keyring that is configured, else
    /// in files.
    pub(crate) fn vault_place(&self) -> Result<Place> {
        let settings = self.keyring_settings(&self.config()?, &KeyProfile::default())?;
        Ok(match settings {
            Some(settings) => Place::Keyring(self.open_keyring(&settings)?),
            None => Place::in_files(&self.paths()?),
        })
    }

    /// Where this machine's device key is.
    pub(crate) fn devices(&self) -> Result<Devices> {
        Ok(Devices::new(self.vault_place()?))
    }

    /// The vault's servers, as they are configured.
    pub(crate) fn vault_servers(&self) -> Result<Servers> {
        Servers::new(self.vault_settings()?)
    }

    /// This machine at the broker.
    pub(crate) fn vault_access(&self, servers: &Servers) -> Result<Access> {
        Ok(Access::open(servers.broker()?, &self.vault_place()?)?)
    }

    /// The daemon's socket.
    pub(crate) fn daemon_socket(&self) -> Result<PathBuf> {
        Ok(match variables::text(variables::DAEMON_SOCKET) {
            Some(socket) => PathBuf::from(socket),
            None => sidecar::socket(&self.paths()?),
        })
    }

    /// The secrets, in the way that is chosen.
    pub(crate) async fn secret_store(
        &self,
        choice: &BackendChoice,
    ) -> Result<Box<dyn SecretStore>> {
        let settings = self.vault_settings()?;
        let chosen = choice.credential_backend.or(settings.credential_backend);
        match chosen.unwrap_or(CredentialBackend::S3) {
            CredentialBackend::Sidecar => Ok(Box::new(SidecarStore::new(self.daemon_socket()?))),
            CredentialBackend::Http => {
                let servers = Servers::new(settings)?;
                let caps = AskedEachTime::new(self.vault_access(&servers)?);
                let seen = Seen::new(&self.paths()?);
                Ok(Box::new(HttpStore::new(caps, servers.worker()?, seen)))
            }
            CredentialBackend::S3 => Ok(Box::new(self.s3_store(settings).await?)),
        }
    }

    /// The secrets, sealed and opened here.
    pub(crate) async fn s3_store(&self, settings: VaultSettings) -> Result<S3Store> {
        let servers = Servers::new(settings)?;
        let access = self.vault_access(&servers)?;
        let seen = Seen::new(&self.paths()?);
        let s3 = servers.s3()?;
        Ok(S3Store::open(access, servers.signer()?, &s3, seen).await?)
    }
}

impl Servers {
    pub(crate) fn new(settings: VaultSettings) -> Result<Self> {
        let ca = match &settings.ca_file {
            None => None,
            Some(path) => {
                let path = expand_home(path, "vault.ca_file")?;
                let read = std::fs::read(&path);
                Some(read.map_err(|e| credentials::Error::io("read", &path, e))?)
            }
        };
        Ok(Self { settings, ca })
    }

    pub(crate) fn ca(&self) -> Option<&[u8]> {
        self.ca.as_deref()
    }

    pub(crate) fn broker(&self) -> Result<Broker> {
        let url = needed(&self.settings.broker, "broker", settings::BROKER_VARIABLE)?;
        Ok(Broker::new(self.at("broker", url)?))
    }

    pub(crate) fn worker(&self) -> Result<Worker> {
        let url = needed(&self.settings.worker, "worker", settings::WORKER_VARIABLE)?;
        Ok(Worker::new(self.at("worker", url)?))
    }

    fn signer(&self) -> Result<Signer> {
        let url = needed(&self.settings.signer, "signer", settings::SIGNER_VARIABLE)?;
        Ok(Signer::new(self.at("signer", url)?))
    }

    fn at(&self, role: &'static str, url: &Endpoint) -> Result<Server> {
        Ok(Server::new(role, url.clone(), self.ca())?)
    }

    fn s3(&self) -> Result<S3Settings> {
        let known = &self.settings;
        let wallet = known.wallet.as_deref().map(str::parse).transpose();
        let wallet = wallet.map_err(|e: vault::legacy::InvalidWallet| {
            Failure::new(Code::InvalidValue, format!("vault.wallet: {e}"))
        })?;
        Ok(S3Settings {
            bucket: needed(&known.bucket, "bucket", settings::BUCKET_VARIABLE)?.clone(),
            endpoint: known.endpoint.clone(),
            sts_endpoint: known.sts_endpoint.clone(),
            region: known.region.clone().unwrap_or_else(|| "us-east-1".into()),
            role_arn: needed(&known.role_arn, "role_arn", settings::ROLE_VARIABLE)?.clone(),
            old: OldVersions {
                allow_01: known.allow.contains(&OldVersion::V01),
                allow_02: known.allow.contains(&OldVersion::V02),
            },
            wallet,
        })
    }
}

fn needed<'a, T>(value: &'a Option<T>, name: &str, variable: &str) -> Result<&'a T> {
    let unset = || SecretError::unset(name, variable);
    Ok(value.as_ref().ok_or_else(unset)?)
}
