//! How the sealed file is opened and written: by a passphrase, or by a key of a KMS.

use std::sync::Arc;
use std::time::Duration;

use base::peer::TrustDomain;
use clap::Args;
use reqwest::Url;
use signer::seal::kms::KeyArn;
use signer::seal::{KmsSeal, Seal};

use super::Result;
use super::kms::AwsKms;
use super::passphrase::{NewPassphrase, PassphraseFlags};

/// What opens the file.
#[derive(Args)]
pub(super) struct Opening {
    #[command(flatten)]
    passphrase: PassphraseFlags,
    /// The key of AWS KMS (its ARN) that opens the file, instead of a passphrase. A file that is
    /// sealed by another one is refused.
    #[arg(
        long,
        value_name = "ARN",
        group = "source",
        env = "ARTIFACTS_SIGNER_KMS_KEY"
    )]
    kms_key: Option<KeyArn>,
    /// Where the KMS is, if not at Amazon's address of the key's region.
    #[arg(long, value_name = "URL", env = "ARTIFACTS_SIGNER_KMS_ENDPOINT")]
    kms_endpoint: Option<Url>,
    /// Ask the replica of a multi-Region key in this region, where the key's own does not answer.
    #[arg(long, value_name = "NAME", env = "ARTIFACTS_SIGNER_KMS_REGION")]
    kms_region: Option<String>,
    /// Seconds for which a KMS that does not answer is asked again, before nothing is opened.
    #[arg(
        long,
        value_name = "SECONDS",
        env = "ARTIFACTS_SIGNER_KMS_PATIENCE",
        default_value_t = 15,
        value_parser = clap::value_parser!(u64).range(1..=300)
    )]
    kms_patience: u64,
    /// The installation: what the names in certificates begin with (spiffe://THIS/worker), and what
    /// a KMS is told that the file's key is for.
    #[arg(
        long,
        value_name = "NAME",
        env = "ARTIFACTS_TRUST_DOMAIN",
        default_value = "artifacts"
    )]
    pub(super) trust_domain: TrustDomain,
}

/// What is to open the file from now on.
#[derive(Args)]
pub(super) struct NewSeal {
    #[command(flatten)]
    passphrase: NewPassphrase,
    /// Seal by this key of AWS KMS (its ARN).
    #[arg(long, value_name = "ARN", group = "new_source")]
    new_kms_key: Option<KeyArn>,
    /// Where the KMS of the new key is, if not at Amazon's address of the key's region.
    #[arg(long, value_name = "URL", requires = "new_kms_key")]
    new_kms_endpoint: Option<Url>,
}

impl Opening {
    /// Of a file that is there.
    pub(super) fn seal(&self) -> Result<Box<dyn Seal>> {
        match self.by_kms()? {
            Some(seal) => Ok(seal),
            None => Ok(Box::new(self.passphrase.read()?)),
        }
    }

    /// Of one that is made.
    pub(super) fn new_seal(&self) -> Result<Box<dyn Seal>> {
        match self.by_kms()? {
            Some(seal) => Ok(seal),
            None => Ok(Box::new(self.passphrase.read_new("passphrase")?)),
        }
    }

    fn by_kms(&self) -> Result<Option<Box<dyn Seal>>> {
        let Some(key) = &self.kms_key else {
            return Ok(None);
        };
        let seal = self.seal_by(key, self.kms_endpoint.as_ref())?;
        Ok(Some(Box::new(match &self.kms_region {
            Some(region) => seal.in_region(region)?,
            None => seal,
        })))
    }

    fn seal_by(&self, key: &KeyArn, endpoint: Option<&Url>) -> Result<KmsSeal> {
        let patience = Duration::from_secs(self.kms_patience);
        let service = Arc::new(AwsKms::new(endpoint.cloned(), patience)?);
        Ok(KmsSeal::new(
            service,
            key.clone(),
            self.trust_domain.clone(),
        ))
    }
}

impl NewSeal {
    /// Of the same installation as before.
    pub(super) fn read(&self, before: &Opening) -> Result<Box<dyn Seal>> {
        match &self.new_kms_key {
            Some(key) => Ok(Box::new(
                before.seal_by(key, self.new_kms_endpoint.as_ref())?,
            )),
            None => Ok(Box::new(self.passphrase.read()?)),
        }
    }
}
