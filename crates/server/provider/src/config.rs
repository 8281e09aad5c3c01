//! Which store, and where.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::generic::Generic;
use crate::iam::{Dialect, IamProvider};
use crate::{AdminKeys, Endpoint, Error, Namespace, Place, Provider, Result};

/// The kinds of stores that are known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Amazon S3 and IAM.
    Aws,
    /// Tigris: keys without users.
    Tigris,
    /// SeaweedFS, whose IAM API is at the address of its S3.
    Seaweedfs,
    /// The store of `artifactsd dev`.
    Embedded,
    /// Any other S3 store: buckets, but no keys.
    Generic,
}

/// How to reach a store.
pub struct Config {
    /// Which kind.
    pub kind: Kind,
    /// Where its S3 is; `None` for the kind's own (AWS, Tigris).
    pub endpoint: Option<Endpoint>,
    /// Where its IAM is; `None` for the kind's own, or the same as S3.
    pub iam_endpoint: Option<Endpoint>,
    /// `None` for the kind's own.
    pub region: Option<String>,
    /// What names of users and policies begin with.
    pub namespace: Namespace,
    /// The administrator's keys.
    pub admin: AdminKeys,
    /// Certificates (PEM) to trust instead of the machine's.
    pub ca_pem: Option<Vec<u8>>,
    /// The most time that one call may take.
    pub patience: Duration,
}

const TIGRIS_S3: &str = "https://t3.storage.dev";
const TIGRIS_IAM: &str = "https://iam.storage.dev";

/// Opens a store. No call is made yet.
///
/// # Errors
/// [`Error::Invalid`] where something is missing or does not fit the kind.
pub fn open(config: Config) -> Result<Arc<dyn Provider>> {
    let place = config.place()?;
    Ok(match config.kind.dialect() {
        Some(dialect) => Arc::new(IamProvider::open(config, place, dialect)?),
        None => Arc::new(Generic::open(config, place)?),
    })
}

impl Config {
    /// The settings of a kind of store, at its own address.
    pub fn new(kind: Kind, admin: AdminKeys) -> Self {
        Self {
            kind,
            endpoint: None,
            iam_endpoint: None,
            region: None,
            namespace: Namespace::default(),
            admin,
            ca_pem: None,
            patience: Duration::from_secs(20),
        }
    }

    /// Where IAM is called; `None` for AWS's own address.
    pub(crate) fn iam_place(&self) -> Result<Option<Endpoint>> {
        let own = match self.kind {
            Kind::Aws => None,
            Kind::Tigris => Some(TIGRIS_IAM.parse()?),
            Kind::Seaweedfs | Kind::Embedded | Kind::Generic => self.endpoint.clone(),
        };
        Ok(self.iam_endpoint.clone().or(own))
    }

    fn place(&self) -> Result<Place> {
        let endpoint = match (&self.endpoint, self.kind) {
            (Some(endpoint), _) => Some(endpoint.clone()),
            (None, Kind::Aws) => None,
            (None, Kind::Tigris) => Some(TIGRIS_S3.parse()?),
            (None, kind) => {
                return Err(Error::invalid(format!(
                    "a store of the kind {kind} needs an endpoint\nhint: name it with --endpoint"
                )));
            }
        };
        let region = match (&self.region, self.kind) {
            (Some(region), _) => region.clone(),
            (None, Kind::Tigris) => "auto".into(),
            (None, _) => "us-east-1".into(),
        };
        Ok(Place { endpoint, region })
    }
}

impl Kind {
    /// All kinds, by name.
    pub const ALL: [Self; 5] = [
        Self::Aws,
        Self::Tigris,
        Self::Seaweedfs,
        Self::Embedded,
        Self::Generic,
    ];

    /// The name that people write.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::Tigris => "tigris",
            Self::Seaweedfs => "seaweedfs",
            Self::Embedded => "embedded",
            Self::Generic => "generic",
        }
    }

    fn dialect(self) -> Option<Dialect> {
        match self {
            Self::Aws => Some(Dialect::Aws),
            Self::Tigris => Some(Dialect::Tigris),
            Self::Seaweedfs => Some(Dialect::Seaweedfs),
            Self::Embedded => Some(Dialect::Embedded),
            Self::Generic => None,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let named = Self::ALL.into_iter().find(|kind| kind.name() == name);
        named.ok_or_else(|| {
            Error::invalid(format!(
                "{name:?} is not a kind of store\nhint: aws, tigris, seaweedfs, embedded or generic"
            ))
        })
    }
}
