//! The broker's public keys, from where it publishes them.

use std::sync::Arc;

use async_trait::async_trait;
use base::published::{KeysAway, PublishedKeys};
use vault::VerifyKeys;

use crate::ports::{Away, CapKeys};

/// Keys of a URL, kept for a while.
pub struct BrokerKeys(PublishedKeys);

impl BrokerKeys {
    /// Of where the broker publishes them.
    pub fn new(published: PublishedKeys) -> Self {
        Self(published)
    }
}

#[async_trait]
impl CapKeys for BrokerKeys {
    async fn current(&self) -> Result<Arc<VerifyKeys>, Away> {
        let away = |away: KeysAway| Away::for_now("the broker's keys", away.to_string());
        self.0.current().await.map_err(away)
    }

    async fn newer(&self, than: &Arc<VerifyKeys>) -> Option<Arc<VerifyKeys>> {
        let newer = match self.0.newer().await {
            Some(keys) => keys,
            // Another request may have asked a moment before.
            None => self.0.current().await.ok()?,
        };
        (!Arc::ptr_eq(&newer, than)).then_some(newer)
    }
}
