//! Where the storage keys come from.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_sdk_s3::config::Credentials;
use secrecy::{ExposeSecret, SecretString};

use crate::Result;

/// Session keys are replaced this long before they end, so that a request does not die
/// on its way.
const EARLY: Duration = Duration::from_secs(60);

/// One set of storage keys. It has no `Debug` and no `Clone`; the secrets are wiped from
/// memory when it is dropped.
pub struct Keys {
    /// The key's public name.
    pub access_key_id: String,
    /// The key itself.
    pub secret_access_key: SecretString,
    /// The third part of session keys.
    pub session_token: Option<SecretString>,
    /// When session keys end; `None` where that is not known or never.
    pub expires: Option<SystemTime>,
}

/// Gives the adapter its keys, and new ones when a session has ended.
#[async_trait]
pub trait KeySource: Send + Sync + 'static {
    /// The keys to use. `refused` says that the store has refused the last ones, so that
    /// a cached answer will not do. Errors are handed to the caller of the bucket.
    async fn keys(&self, refused: bool) -> Result<Keys>;
}

/// Keys that never change.
pub struct StaticKeys(Keys);

impl StaticKeys {
    /// Always answers with these keys.
    pub fn new(keys: Keys) -> Self {
        Self(keys)
    }
}

#[async_trait]
impl KeySource for StaticKeys {
    async fn keys(&self, _refused: bool) -> Result<Keys> {
        let again = |secret: &SecretString| SecretString::from(secret.expose_secret());
        Ok(Keys {
            access_key_id: self.0.access_key_id.clone(),
            secret_access_key: again(&self.0.secret_access_key),
            session_token: self.0.session_token.as_ref().map(again),
            expires: self.0.expires,
        })
    }
}

impl Keys {
    /// The SDK's form, which is wiped on drop and prints no secret. The end of the session
    /// is kept from it: renewing is this crate's matter.
    pub(super) fn to_sdk(&self) -> Credentials {
        Credentials::new(
            self.access_key_id.clone(),
            self.secret_access_key.expose_secret(),
            self.session_token
                .as_ref()
                .map(|token| token.expose_secret().to_owned()),
            None,
            "artifacts",
        )
    }

    /// When to ask for the next keys.
    pub(super) fn renew_at(&self) -> Option<SystemTime> {
        self.expires.map(|end| end - EARLY)
    }
}
