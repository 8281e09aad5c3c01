//! The broker, as far as the daemon needs it; tests stand in for it.

use std::sync::Arc;

use api::vault::CapAnswer;
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use secrets::{Access, DeviceKey, Login, Result, Wanted};

/// What of a stream of events arrives, as it arrives.
pub type Chunks = BoxStream<'static, std::result::Result<Bytes, String>>;

/// Who gives logins, capabilities and events.
#[async_trait]
pub trait Upstream: Send + Sync + 'static {
    /// The login that counts now.
    async fn login(&self) -> Result<Login>;

    /// This machine's key.
    fn key(&self) -> Result<Arc<DeviceKey>>;

    /// A capability.
    async fn cap(&self, login: &Login, wanted: &Wanted) -> Result<CapAnswer>;

    /// The operator's events after `last`.
    async fn events(&self, login: &Login, last: Option<&str>) -> Result<Chunks>;

    /// Renews the login where it ends soon.
    async fn renew(&self) -> Result<bool>;
}

/// A session of a device is renewed so long before it ends, in seconds.
const RENEW_AHEAD: i64 = 600;

#[async_trait]
impl Upstream for Access {
    async fn login(&self) -> Result<Login> {
        Access::login(self).await
    }

    fn key(&self) -> Result<Arc<DeviceKey>> {
        Access::key(self).cloned()
    }

    async fn cap(&self, login: &Login, wanted: &Wanted) -> Result<CapAnswer> {
        self.broker().cap(login, Access::key(self)?, wanted).await
    }

    async fn events(&self, login: &Login, last: Option<&str>) -> Result<Chunks> {
        let response = self.broker().events(login, last).await?;
        let chunks = response.bytes_stream();
        Ok(chunks.map(|chunk| chunk.map_err(|e| e.to_string())).boxed())
    }

    async fn renew(&self) -> Result<bool> {
        Access::renew(self, RENEW_AHEAD).await
    }
}
