//! The chain as the bucket adapter's source of keys.

use async_trait::async_trait;
use bucket::s3;
use time::Duration;

use crate::login::EARLY;
use crate::{Error, Place, Sourced, StorageKeys};

#[async_trait]
impl s3::KeySource for StorageKeys {
    /// Walks the chain anew each time, so that keys renewed in the cache file by anybody
    /// are found once the store refuses the old ones.
    async fn keys(&self, _refused: bool) -> bucket::Result<s3::Keys> {
        let keys = match self.place() {
            Place::Cache | Place::Aws(_) => self.resolve(),
            // A keyring may take its time: not on a thread that serves others.
            Place::Keyring(_) | Place::Identity(..) => {
                let (chain, runtime) = (self.clone(), tokio::runtime::Handle::current());
                let looked = tokio::task::spawn_blocking(move || {
                    runtime.block_on(chain.refresh())?;
                    chain.resolve()
                })
                .await;
                looked.map_err(|e| bad(format!("the keyring's client failed: {e}"), false))?
            }
        };
        let keys = keys.map_err(|e| {
            let over = matches!(e, Error::SessionOver { .. } | Error::NotLoggedIn { .. });
            bad(e.to_string(), over)
        })?;
        let secret = |found: &Sourced| found.value.to_secret();
        Ok(s3::Keys {
            access_key_id: keys.access_key_id.value.expose().to_owned(),
            secret_access_key: secret(&keys.secret_access_key),
            session_token: keys.session_token.as_ref().map(secret),
            // Files do not say; then the store does, by refusing them.
            // The adapter asks anew one minute before; an identity is renewed five before.
            expires: keys
                .expires
                .map(|end| (end - (EARLY - Duration::MINUTE)).into()),
        })
    }
}

fn bad(reason: String, expired: bool) -> bucket::Error {
    bucket::Error::BadCredentials { reason, expired }
}
