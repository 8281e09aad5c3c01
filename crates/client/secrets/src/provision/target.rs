//! What is to be provisioned: one bucket, one role, one issuer of tokens.

use std::num::NonZeroU16;
use std::str::FromStr;

use credentials::{BucketName, Endpoint};
use vault::isolation::{Isolation, Issuer, RoleArn};

use crate::error::{Kind, SecretError};
use crate::server::not_pem;

/// What kind of store it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreKind {
    /// Amazon's.
    Aws,
    /// The embedded store, or another with IAM's calls.
    Embedded,
    /// SeaweedFS, whose roles are in a file.
    SeaweedFs,
}

/// Everything that the documents depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The store.
    pub kind: StoreKind,
    /// The bucket. It is the vault's alone.
    pub bucket: BucketName,
    /// Where the store is; none for AWS.
    pub endpoint: Option<Endpoint>,
    /// Where its STS is; none for that of the store.
    pub sts_endpoint: Option<Endpoint>,
    /// The certificates that are trusted for the two beside the machine's.
    pub ca: Option<Authorities>,
    /// The store's region.
    pub region: String,
    /// The role that tokens assume.
    pub role: RoleArn,
    /// Whose tokens: the broker, as it names itself.
    pub issuer: Issuer,
    /// After how many days a credential ends, so that it is renewed.
    pub expire_days: Option<NonZeroU16>,
}

/// Certificates in PEM that are trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorities(Vec<u8>);

impl Authorities {
    /// Of a file's content.
    ///
    /// # Errors
    /// It holds no certificates.
    pub fn from_pem(pem: &[u8]) -> Result<Self, SecretError> {
        match reqwest::Certificate::from_pem_bundle(pem) {
            Ok(all) if !all.is_empty() => Ok(Self(pem.to_vec())),
            _ => Err(not_pem()),
        }
    }

    pub(super) fn as_pem(&self) -> &[u8] {
        &self.0
    }
}

impl StoreKind {
    /// The name that people write.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::Embedded => "embedded",
            Self::SeaweedFs => "seaweedfs",
        }
    }
}

impl FromStr for StoreKind {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, SecretError> {
        [Self::Aws, Self::Embedded, Self::SeaweedFs]
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| wrong("store", text, "write aws, embedded or seaweedfs"))
    }
}

impl Target {
    /// The STS's address, where it is not AWS's.
    pub fn sts(&self) -> Option<&Endpoint> {
        self.sts_endpoint.as_ref().or(self.endpoint.as_ref())
    }

    /// Whether the store is reached without TLS.
    pub fn is_in_clear(&self) -> bool {
        let plain = |endpoint: &Endpoint| endpoint.as_str().starts_with("http://");
        self.endpoint.as_ref().is_some_and(plain)
    }

    /// What the policies depend on.
    pub(super) fn isolation(&self) -> Isolation<'_> {
        Isolation {
            bucket: self.bucket.as_str(),
            role: &self.role,
            issuer: &self.issuer,
            in_clear: self.is_in_clear(),
        }
    }
}

fn wrong(what: &str, text: &str, hint: &str) -> SecretError {
    let text: String = text.chars().take(200).collect();
    SecretError::new(Kind::Usage, format!("{text:?} is no {what}"), hint)
}
