//! Where the storage keys come from.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_sdk_s3::config::Credentials;
use secrecy::{ExposeSecret, SecretString};

use crate::Result;

/// Session keys are replaced this long before they end, so that neither a request dies on its
/// way nor a short trouble of whoever gives the next ones is felt.
pub const EARLY: Duration = Duration::from_secs(5 * 60);

/// How soon the source is asked again where the next ones were not to be had.
const AGAIN: Duration = Duration::from_secs(30);

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
    /// The keys to use. `refused` is the access key id that the store has just refused: where
    /// others are to be had, a cached answer of the same will not do. Errors are handed to
    /// the caller of the bucket, unless the keys that it has still count.
    async fn keys(&self, refused: Option<&str>) -> Result<Keys>;
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
    async fn keys(&self, _refused: Option<&str>) -> Result<Keys> {
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

    /// When to ask for the next keys, once these are in use at `now`.
    pub(super) fn renew_at(&self, now: SystemTime) -> Option<SystemTime> {
        self.expires.map(|end| next_ask(end, now))
    }
}

/// Before the end, but not with every call where that time has come and nothing newer was
/// there.
pub(super) fn next_ask(end: SystemTime, now: SystemTime) -> SystemTime {
    let early = end - EARLY;
    if early > now {
        early
    } else {
        end.min(now + AGAIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_keys_are_asked_for_early_then_now_and_again_and_at_the_end() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let asked = |left: u64| {
            let at = next_ask(now + Duration::from_secs(left), now);
            at.duration_since(now).map(|wait| wait.as_secs())
        };
        for (left, wait) in [
            (3600, 3300),
            (301, 1),
            (300, 30),
            (60, 30),
            (29, 29),
            (0, 0),
        ] {
            assert_eq!(asked(left).expect("not before now"), wait, "{left} s left");
        }
    }
}
