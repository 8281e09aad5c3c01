//! A file's key from a service that keeps a key which never leaves it (AWS KMS).
//!
//! The file's key is random for each writing of the file; beside the sealed epochs lies that key
//! as the service has wrapped it. The service is told what it is for ([`KmsSeal::context`]) and
//! opens it for nothing else. Which key of the service it is stands in the file *and* is the
//! caller's to say: whoever can write the file could otherwise bring one of their own, sealed by
//! a key of their own, and have it believed.
//!
//! [`KeyService`] is what is asked of the service; who reaches it over a network is elsewhere, so
//! that this crate links nothing for it.

mod arn;
mod error;

use std::sync::Arc;

use async_trait::async_trait;
use base::peer::TrustDomain;
use zeroize::Zeroizing;

use super::{FileKey, Seal, SealError};

pub use arn::{InvalidKeyArn, KeyArn};
pub use error::KmsError;

/// What the keys are for, as the service is told and writes down.
const PURPOSE: &str = "signer-master-secrets";

/// KMS API Reference, "Decrypt": the most bytes of a `CiphertextBlob`.
const LONGEST_WRAPPED: usize = 6144;

/// A key that the service has made or opened. Neither `Debug` nor `Clone`; wiped when dropped.
pub struct DataKey {
    /// Its bytes.
    pub plaintext: Zeroizing<Vec<u8>>,
    /// The service's key that wraps it, as the service names it.
    pub under: String,
}

/// What the service is told, and tells apart, about a key: names and values.
pub type Context = [(&'static str, String); 2];

/// The service.
#[async_trait]
pub trait KeyService: Send + Sync {
    /// A new random key of 32 bytes, and its wrapped form.
    async fn new_data_key(
        &self,
        under: &KeyArn,
        context: &Context,
    ) -> Result<(DataKey, Vec<u8>), KmsError>;

    /// The key of a wrapped form.
    async fn open_data_key(
        &self,
        under: &KeyArn,
        context: &Context,
        wrapped: &[u8],
    ) -> Result<DataKey, KmsError>;
}

/// Seals by a key of the service.
pub struct KmsSeal {
    service: Arc<dyn KeyService>,
    /// As files name it.
    key: KeyArn,
    /// As the service is asked for it: the same key, or its replica elsewhere.
    asked: KeyArn,
    trust_domain: TrustDomain,
}

impl KmsSeal {
    /// By this key, for the signer of this trust domain.
    pub fn new(service: Arc<dyn KeyService>, key: KeyArn, trust_domain: TrustDomain) -> Self {
        Self {
            asked: key.clone(),
            service,
            key,
            trust_domain,
        }
    }

    /// Asks the key's replica in another region; what files say stays.
    ///
    /// # Errors
    /// [`InvalidKeyArn`]: it is no key of several regions, or that is no region's name.
    pub fn in_region(mut self, region: &str) -> Result<Self, InvalidKeyArn> {
        self.asked = self.key.replica_in(region)?;
        Ok(self)
    }

    /// What the service is told. Its log and the key's policy can name these.
    pub fn context(&self) -> Context {
        [
            ("artifacts:purpose", PURPOSE.to_owned()),
            ("artifacts:trust-domain", self.trust_domain.to_string()),
        ]
    }

    fn checked(&self, key: &DataKey) -> Result<FileKey, SealError> {
        if key.under != self.asked.as_str() {
            return Err(KmsError::AnotherKey {
                asked: self.asked.clone(),
            }
            .into());
        }
        let mut bytes = Zeroizing::new([0; 32]);
        let wrong = KmsError::Strange("its key is not one of 32 bytes");
        if key.plaintext.len() != bytes.len() {
            return Err(wrong.into());
        }
        bytes.copy_from_slice(&key.plaintext);
        Ok(FileKey(bytes))
    }
}

#[async_trait]
impl Seal for KmsSeal {
    fn kind(&self) -> u8 {
        super::BY_KMS
    }

    async fn new_key(&self) -> Result<(Vec<u8>, FileKey), SealError> {
        let context = self.context();
        let made = self.service.new_data_key(&self.asked, &context);
        let (key, wrapped) = made.await?;
        let parameters = Parameters {
            key: self.key.as_str(),
            trust_domain: &self.trust_domain.to_string(),
            wrapped: &wrapped,
        };
        let parameters = parameters.to_bytes();
        let parameters = parameters.ok_or(KmsError::Strange("its wrapped key is too long"))?;
        Ok((parameters, self.checked(&key)?))
    }

    async fn key_of(&self, parameters: &[u8]) -> Result<FileKey, SealError> {
        let file = Parameters::read(parameters).ok_or(SealError::Damaged)?;
        if file.key != self.key.as_str() {
            return Err(SealError::OtherKey {
                file: file.key.to_owned(),
                named: self.key.clone(),
            });
        }
        let here = self.trust_domain.to_string();
        if file.trust_domain != here {
            return Err(SealError::OtherTrustDomain {
                file: file.trust_domain.to_owned(),
                here,
            });
        }
        let context = self.context();
        let opened = self
            .service
            .open_data_key(&self.asked, &context, file.wrapped);
        self.checked(&opened.await?)
    }
}

/// What a file says of its key: three texts with their lengths before them (2 bytes).
pub(super) struct Parameters<'a> {
    pub(super) key: &'a str,
    trust_domain: &'a str,
    wrapped: &'a [u8],
}

impl<'a> Parameters<'a> {
    /// `None` where it is none, or a text holds what no text of ours does: it is shown to people.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let (key, rest) = take(bytes)?;
        let (trust_domain, rest) = take(rest)?;
        let (wrapped, rest) = take(rest)?;
        let key = std::str::from_utf8(key).ok()?;
        let trust_domain = std::str::from_utf8(trust_domain).ok()?;
        key.parse::<KeyArn>().ok()?;
        trust_domain.parse::<TrustDomain>().ok()?;
        let long = wrapped.is_empty() || wrapped.len() > LONGEST_WRAPPED;
        (rest.is_empty() && !long).then_some(Self {
            key,
            trust_domain,
            wrapped,
        })
    }

    fn to_bytes(&self) -> Option<Vec<u8>> {
        if self.wrapped.len() > LONGEST_WRAPPED {
            return None;
        }
        let mut bytes = Vec::new();
        for part in [
            self.key.as_bytes(),
            self.trust_domain.as_bytes(),
            self.wrapped,
        ] {
            bytes.extend_from_slice(&u16::try_from(part.len()).ok()?.to_be_bytes());
            bytes.extend_from_slice(part);
        }
        Some(bytes)
    }
}

fn take(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

#[cfg(test)]
mod tests;
