//! The chain as the bucket adapter's source of keys.

use async_trait::async_trait;
use bucket::s3;

use crate::{Sourced, StorageKeys};

#[async_trait]
impl s3::KeySource for StorageKeys {
    /// Walks the chain anew each time, so that keys renewed in the cache file by anybody
    /// are found once the store refuses the old ones.
    async fn keys(&self, _refused: bool) -> bucket::Result<s3::Keys> {
        let keys = self.resolve().map_err(|e| bucket::Error::BadCredentials {
            reason: e.to_string(),
            expired: false,
        })?;
        let secret = |found: &Sourced| found.value.to_secret();
        Ok(s3::Keys {
            access_key_id: keys.access_key_id.value.expose().to_owned(),
            secret_access_key: secret(&keys.secret_access_key),
            session_token: keys.session_token.as_ref().map(secret),
            // The file does not say; the store does, by refusing them.
            expires: None,
        })
    }
}
