//! How to reach the store that makes buckets and keys: the flags that several roles share.

use std::path::PathBuf;

use clap::Args;
use provider::{AdminKeys, Config, Kind};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[derive(Args)]
pub(crate) struct StoreFlags {
    /// Where the store's S3 is; needed but for aws and tigris.
    #[arg(long, value_name = "URL", env = "ARTIFACTS_PROVIDER_ENDPOINT")]
    endpoint: Option<String>,
    /// Where its IAM is, if that is somewhere else.
    #[arg(long, value_name = "URL", env = "ARTIFACTS_PROVIDER_IAM_ENDPOINT")]
    iam_endpoint: Option<String>,
    /// The region to sign for.
    #[arg(long, value_name = "NAME", env = "ARTIFACTS_PROVIDER_REGION")]
    region: Option<String>,
    /// Take the administrator's keys from this file (TOML, mode 0600) instead of
    /// ARTIFACTS_PROVIDER_ACCESS_KEY_ID and ARTIFACTS_PROVIDER_SECRET_ACCESS_KEY.
    #[arg(long, value_name = "FILE", env = "ARTIFACTS_PROVIDER_ADMIN_KEYS")]
    admin_keys: Option<PathBuf>,
    /// Trust these certificates (PEM) instead of the machine's.
    #[arg(long, value_name = "FILE", env = "ARTIFACTS_PROVIDER_CA_CERTIFICATE")]
    ca_certificate: Option<PathBuf>,
    /// What names of users and policies begin with.
    #[arg(
        long,
        value_name = "NAME",
        env = "ARTIFACTS_PROVIDER_NAMESPACE",
        default_value = "artifacts"
    )]
    namespace: String,
}

impl StoreFlags {
    /// The settings of a store of this kind, with the administrator's keys.
    pub(crate) fn config(self, kind: Kind) -> Result<Config> {
        let admin = match &self.admin_keys {
            Some(path) => AdminKeys::from_file(path)?,
            None => AdminKeys::from_environment(|name| std::env::var(name).ok())?,
        };
        let certificates = |path: PathBuf| {
            std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))
        };
        Ok(Config {
            endpoint: self.endpoint.map(|text| text.parse()).transpose()?,
            iam_endpoint: self.iam_endpoint.map(|text| text.parse()).transpose()?,
            region: self.region,
            namespace: self.namespace.parse()?,
            ca_pem: self.ca_certificate.map(certificates).transpose()?,
            ..Config::new(kind, admin)
        })
    }
}
