//! Where the capability for a request comes from.

use std::sync::Arc;

use api::Secret;
use async_trait::async_trait;
use vault::DeviceKey;

use crate::access::Access;
use crate::broker::Wanted;
use crate::error::Result;
use crate::login::Login;
use crate::worker::Shown;

/// A capability and what goes with it.
pub struct HeldCap {
    /// The capability.
    pub cap: Arc<Secret>,
    /// The device's key that it is bound to.
    pub key: Arc<DeviceKey>,
    /// Whether the broker gave it just now: where such a one is refused, another is no use.
    pub is_fresh: bool,
}

impl HeldCap {
    pub(crate) fn shown(&self) -> Shown<'_> {
        Shown {
            key: &self.key,
            cap: &self.cap,
        }
    }
}

/// Gives capabilities.
#[async_trait]
pub trait Caps: Send + Sync {
    /// Whose they are.
    ///
    /// # Errors
    /// There is no login.
    async fn login(&self) -> Result<Login>;

    /// One for what is wanted.
    ///
    /// # Errors
    /// The broker's refusal, or it is away.
    async fn cap(&self, login: &Login, wanted: &Wanted) -> Result<HeldCap>;

    /// A worker has refused this one.
    fn refused(&self, login: &Login, wanted: &Wanted, cap: &Secret);
}

/// Asks the broker for each.
pub struct AskedEachTime(Access);

impl AskedEachTime {
    /// With this machine's login.
    pub fn new(access: Access) -> Self {
        Self(access)
    }
}

#[async_trait]
impl Caps for AskedEachTime {
    async fn login(&self) -> Result<Login> {
        self.0.login().await
    }

    async fn cap(&self, login: &Login, wanted: &Wanted) -> Result<HeldCap> {
        let key = self.0.key()?;
        let answer = self.0.broker().cap(login, key, wanted).await?;
        Ok(HeldCap {
            cap: Arc::new(answer.cap),
            key: key.clone(),
            is_fresh: true,
        })
    }

    fn refused(&self, _login: &Login, _wanted: &Wanted, _cap: &Secret) {}
}

#[async_trait]
impl<C: Caps + ?Sized> Caps for Arc<C> {
    async fn login(&self) -> Result<Login> {
        self.as_ref().login().await
    }

    async fn cap(&self, login: &Login, wanted: &Wanted) -> Result<HeldCap> {
        self.as_ref().cap(login, wanted).await
    }

    fn refused(&self, login: &Login, wanted: &Wanted, cap: &Secret) {
        self.as_ref().refused(login, wanted, cap);
    }
}
