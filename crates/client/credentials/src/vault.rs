//! `[vault]`: where broker, worker, signer, bucket and registry are, and which way a command
//! takes to a secret. Never a secret.
//!
//! Each value may come from a variable instead, which wins over the file. A name that this
//! version does not know is an error: who mistypes what a secret is protected by is told.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::Deserialize;

use crate::{BucketName, Endpoint, Error, Result};

/// `[vault]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaultSettings {
    /// Logins, capabilities, web identities, drop events.
    pub broker: Option<Endpoint>,
    /// Stores and fetches for whoever shows a capability.
    pub worker: Option<Endpoint>,
    /// Derives keys for the backend `s3`.
    pub signer: Option<Endpoint>,
    /// The bucket of the envelopes, for the backend `s3`.
    pub bucket: Option<BucketName>,
    /// The bucket's store; none for AWS.
    pub endpoint: Option<Endpoint>,
    /// The store's STS; none for that of the store.
    pub sts_endpoint: Option<Endpoint>,
    /// The store's region.
    pub region: Option<String>,
    /// The role that a web identity assumes.
    pub role_arn: Option<String>,
    /// Certificates (PEM) to trust for these servers instead of the machine's.
    pub ca_file: Option<PathBuf>,
    /// The way to a secret; none for `sidecar` where a daemon is set up, else `s3`.
    pub credential_backend: Option<CredentialBackend>,
    /// Which envelopes of older programs are opened; none of them where nothing is written.
    #[serde(default)]
    pub allow: Vec<OldVersion>,
    /// The wallet of envelopes of older programs, `0x` and 40 digits of 0-9 and a-f.
    pub wallet: Option<String>,
    /// Where devices and scopes are registered.
    pub registry: Option<RegistrySettings>,
}

/// The ways to a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CredentialBackend {
    /// This machine seals and opens, with keys of its own to the bucket.
    S3,
    /// A worker seals and opens; it is asked over HTTPS.
    Http,
    /// A worker seals and opens; it is asked by the daemon of this machine.
    Sidecar,
}

/// A version of envelopes that older programs have written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
pub enum OldVersion {
    /// 0x01.
    #[serde(rename = "01")]
    V01,
    /// 0x02.
    #[serde(rename = "02")]
    V02,
}

/// `[vault.registry]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum RegistrySettings {
    /// Contracts on a chain.
    Chain {
        /// One or two RPC addresses. They may hold an access token: not to be printed whole.
        rpc: Vec<RpcAddress>,
        /// The chain that must answer there.
        chain_id: u64,
        /// The contract DeviceRegistry.
        device_registry: ContractAddress,
        /// The contract ScopeContract.
        scope_contract: ContractAddress,
        /// The contract EpochCounter.
        epoch_counter: ContractAddress,
        /// The contract CredentialAudit, where one is used.
        credential_audit: Option<ContractAddress>,
        /// The file (mode 0600) of the wallet's key, 64 hexadecimal digits; none for the key that
        /// `artifacts registry key import` has kept.
        key_file: Option<PathBuf>,
    },
    /// Documents that the operator signs.
    Documents {
        /// The folder that they are written to, which the worker's source is a copy of.
        folder: PathBuf,
        /// The file (mode 0600) of the operator's key, PKCS #8; none for the one that is made and
        /// kept where this machine keeps its own.
        key_file: Option<PathBuf>,
    },
}

/// An RPC's address: `https://…`, or `http://…` on this machine; with a path. Printed without
/// path and query, where providers put access tokens.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct RpcAddress(String);

/// A contract's address: `0x` and 40 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ContractAddress(String);

/// The variable that stands for [`VaultSettings::broker`].
pub const BROKER_VARIABLE: &str = "ARTIFACTS_VAULT_BROKER";
/// The variable that stands for [`VaultSettings::worker`].
pub const WORKER_VARIABLE: &str = "ARTIFACTS_VAULT_WORKER";
/// The variable that stands for [`VaultSettings::signer`].
pub const SIGNER_VARIABLE: &str = "ARTIFACTS_VAULT_SIGNER";
/// The variable that stands for [`VaultSettings::bucket`].
pub const BUCKET_VARIABLE: &str = "ARTIFACTS_VAULT_BUCKET";
/// The variable that stands for [`VaultSettings::endpoint`].
pub const ENDPOINT_VARIABLE: &str = "ARTIFACTS_VAULT_ENDPOINT";
/// The variable that stands for [`VaultSettings::sts_endpoint`].
pub const STS_ENDPOINT_VARIABLE: &str = "ARTIFACTS_VAULT_STS_ENDPOINT";
/// The variable that stands for [`VaultSettings::region`].
pub const REGION_VARIABLE: &str = "ARTIFACTS_VAULT_REGION";
/// The variable that stands for [`VaultSettings::role_arn`].
pub const ROLE_VARIABLE: &str = "ARTIFACTS_VAULT_ROLE_ARN";
/// The variable that stands for [`VaultSettings::ca_file`].
pub const CA_VARIABLE: &str = "ARTIFACTS_VAULT_CA_FILE";
/// The variable that stands for [`VaultSettings::credential_backend`].
pub const BACKEND_VARIABLE: &str = "ARTIFACTS_VAULT_CREDENTIAL_BACKEND";

impl VaultSettings {
    /// The same with what variables say in place of what is written.
    ///
    /// # Errors
    /// A variable's value that cannot be what it stands for; the error names the variable.
    pub fn with_variables(mut self, text: impl Fn(&str) -> Option<String>) -> Result<Self> {
        fn put<T: FromStr<Err = Error>>(
            place: &mut Option<T>,
            name: &str,
            value: Option<String>,
        ) -> Result<()> {
            if let Some(value) = value {
                let parsed = value.parse().map_err(|e: Error| Error::InvalidVariable {
                    name: name.to_owned(),
                    reason: e.to_string(),
                })?;
                *place = Some(parsed);
            }
            Ok(())
        }
        let given = |name: &str| text(name).filter(|value| !value.is_empty());
        let at = |name: &'static str| (name, given(name));
        for (place, (name, value)) in [
            (&mut self.broker, at(BROKER_VARIABLE)),
            (&mut self.worker, at(WORKER_VARIABLE)),
            (&mut self.signer, at(SIGNER_VARIABLE)),
            (&mut self.endpoint, at(ENDPOINT_VARIABLE)),
            (&mut self.sts_endpoint, at(STS_ENDPOINT_VARIABLE)),
        ] {
            put(place, name, value)?;
        }
        put(&mut self.bucket, BUCKET_VARIABLE, given(BUCKET_VARIABLE))?;
        let backend = given(BACKEND_VARIABLE);
        put(&mut self.credential_backend, BACKEND_VARIABLE, backend)?;
        self.region = given(REGION_VARIABLE).or(self.region);
        self.role_arn = given(ROLE_VARIABLE).or(self.role_arn);
        self.ca_file = given(CA_VARIABLE).map(PathBuf::from).or(self.ca_file);
        Ok(self)
    }
}

impl RpcAddress {
    /// The whole address, for whoever calls it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl ContractAddress {
    /// The address in small letters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RpcAddress {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (scheme, rest) = text.split_once("://").unwrap_or_default();
        let host = rest.split(['/', '?']).next().unwrap_or_default();
        // The rules for hosts are those of every other server.
        let endpoint: Endpoint = format!("{scheme}://{host}").parse()?;
        if endpoint.is_in_clear() || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            let what = "is neither an https:// address nor one of this machine";
            return Err(Error::invalid("rpc", what));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for RpcAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.0.split_once("://").unwrap_or_default();
        let host = rest.split(['/', '?']).next().unwrap_or_default();
        write!(f, "{scheme}://{host}")
    }
}

impl fmt::Debug for RpcAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}/…")
    }
}

impl TryFrom<String> for RpcAddress {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl FromStr for ContractAddress {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let digits = text.strip_prefix("0x").unwrap_or_default();
        if digits.len() != 40 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            let what = "is not 0x and 40 hexadecimal digits";
            return Err(Error::invalid("a contract's address", what));
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

impl TryFrom<String> for ContractAddress {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl CredentialBackend {
    /// The word in files and options.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Http => "http",
            Self::Sidecar => "sidecar",
        }
    }
}

impl fmt::Display for CredentialBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for CredentialBackend {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        [Self::S3, Self::Http, Self::Sidecar]
            .into_iter()
            .find(|known| known.as_str() == text)
            .ok_or_else(|| Error::invalid("a credential backend", "is s3, http or sidecar"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"
        broker = "https://broker.example"
        worker = "https://worker.example"
        signer = "https://signer.example"
        bucket = "vault"
        credential_backend = "http"
        allow = ["01"]
        [registry]
        kind = "chain"
        rpc = ["https://rpc.example/v3/token"]
        chain_id = 31337
        device_registry = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
        scope_contract = "0x5fbdb2315678afecb367f032d93f642f64180aa4"
        epoch_counter = "0x5fbdb2315678afecb367f032d93f642f64180aa5"
    "#;

    #[test]
    fn all_of_it_is_read_and_an_access_token_is_not_printed() {
        let settings: VaultSettings = toml::from_str(WHOLE).expect("good");
        assert_eq!(settings.credential_backend, Some(CredentialBackend::Http));
        assert_eq!(settings.allow, [OldVersion::V01]);
        let printed = format!("{settings:?}");
        assert!(!printed.contains("token"), "{printed}");
        let Some(RegistrySettings::Chain {
            rpc,
            device_registry,
            ..
        }) = settings.registry
        else {
            panic!("a chain");
        };
        assert_eq!(rpc[0].expose(), "https://rpc.example/v3/token");
        assert_eq!(rpc[0].to_string(), "https://rpc.example");
        assert!(device_registry.as_str().starts_with("0x5fbdb"));
    }

    #[test]
    fn what_makes_no_sense_is_an_error_that_says_so() {
        for (text, said) in [
            ("brokr = \"https://b\"", "unknown field `brokr`"),
            ("broker = \"b\"", "https://"),
            ("credential_backend = \"disk\"", "unknown variant `disk`"),
            ("allow = [\"03\"]", "unknown variant `03`"),
            ("[registry]\nkind = \"paper\"", "unknown variant `paper`"),
            (
                "[registry]\nkind = \"documents\"\nfolder = \"/d\"\nrpc = []",
                "unknown field `rpc`",
            ),
            (
                "[registry]\nkind = \"chain\"\nrpc = [\"http://far.example\"]",
                "neither an https:// address nor one of this machine",
            ),
        ] {
            let error = toml::from_str::<VaultSettings>(text).expect_err("refused");
            assert!(error.to_string().contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn variables_win_and_a_wrong_one_is_named() {
        let written: VaultSettings = toml::from_str(WHOLE).expect("good");
        let given = |name: &str| match name {
            WORKER_VARIABLE => Some("https://other.example".to_owned()),
            BACKEND_VARIABLE => Some("sidecar".to_owned()),
            REGION_VARIABLE => Some(String::new()),
            _ => None,
        };
        let settings = written.clone().with_variables(given).expect("good");
        let worker = settings.worker.expect("one");
        assert_eq!(worker.as_str(), "https://other.example");
        assert_eq!(settings.broker, written.broker);
        assert_eq!(settings.region, None, "an empty variable counts as unset");
        assert_eq!(
            settings.credential_backend,
            Some(CredentialBackend::Sidecar)
        );
        let wrong = |name: &str| (name == BUCKET_VARIABLE).then(|| "a/b".to_owned());
        let error = written.with_variables(wrong).expect_err("refused");
        assert!(error.to_string().starts_with(BUCKET_VARIABLE), "{error}");
    }
}
