//! The chain as the bucket adapter's source of keys.

use async_trait::async_trait;
use bucket::s3;

use crate::{Error, Keys, Place, Result, Sourced, StorageKeys};

#[async_trait]
impl s3::KeySource for StorageKeys {
    /// Walks the chain anew each time, so that keys renewed in the cache file by anybody
    /// are found once the store refuses the old ones; a refused session of an identity is
    /// replaced by a new one.
    async fn keys(&self, refused: Option<&str>) -> bucket::Result<s3::Keys> {
        let keys = match self.place() {
            Place::Cache | Place::Aws(_) => self.resolve(),
            // A keyring may take its time: not on a thread that serves others.
            Place::Keyring(_) | Place::Identity(..) => {
                let (chain, refused) = (self.clone(), refused.map(str::to_owned));
                let runtime = tokio::runtime::Handle::current();
                let looked = tokio::task::spawn_blocking(move || {
                    runtime.block_on(chain.renewed(refused.as_deref()))
                })
                .await;
                looked.map_err(|e| bad(format!("the keyring's client failed: {e}"), false))?
            }
        };
        let keys = keys.map_err(refusal)?;
        let secret = |found: &Sourced| found.value.to_secret();
        Ok(s3::Keys {
            access_key_id: keys.access_key_id.value.expose().to_owned(),
            secret_access_key: secret(&keys.secret_access_key),
            session_token: keys.session_token.as_ref().map(secret),
            // Files do not say; then the store does, by refusing them.
            expires: keys.expires.map(Into::into),
        })
    }
}

impl StorageKeys {
    async fn renewed(&self, refused: Option<&str>) -> Result<Keys> {
        match refused {
            Some(refused) => self.replace(refused).await?,
            None => self.refresh().await?,
        }
        self.resolve()
    }
}

/// A trouble of the chain as one of the bucket: what passes is told from what does not.
fn refusal(error: Error) -> bucket::Error {
    match error {
        Error::StsUnreachable { endpoint, reason } => {
            bucket::Error::Unreachable { endpoint, reason }
        }
        Error::SessionOver { .. } | Error::NotLoggedIn { .. } => bad(error.to_string(), true),
        other => bad(other.to_string(), false),
    }
}

fn bad(reason: String, expired: bool) -> bucket::Error {
    bucket::Error::BadCredentials { reason, expired }
}
