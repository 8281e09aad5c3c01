//! Who this machine is: a login at the broker and a device's key.

use std::sync::Arc;

use vault::DeviceKey;

use crate::broker::Broker;
use crate::device::Devices;
use crate::error::{Kind, Result, SecretError};
use crate::login::{Login, Logins};
use crate::place::Place;

/// The login and the key, read from their place when they are needed: a login can be renewed
/// while a daemon runs.
pub struct Access {
    broker: Broker,
    logins: Logins,
    key: Option<Arc<DeviceKey>>,
}

impl Access {
    /// What is kept in a place for a broker. The device's key is read now; blocks.
    ///
    /// # Errors
    /// The place is unreadable, exposed or locked.
    pub fn open(broker: Broker, place: &Place) -> Result<Self> {
        let key = Devices::new(place.clone()).load()?;
        Ok(Self {
            broker,
            logins: Logins::new(place.clone()),
            key: key.map(Arc::new),
        })
    }

    /// The broker.
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// The login, which counts for now.
    ///
    /// # Errors
    /// [`Kind::Login`] where there is none, or it has ended.
    pub async fn login(&self) -> Result<Login> {
        let (logins, url) = (self.logins.clone(), self.broker.server().base().clone());
        let read = tokio::task::spawn_blocking(move || logins.load(&url)).await;
        let read = read.map_err(|_| thread_ended())?;
        let url = self.broker.server().base();
        let login = read?.ok_or_else(|| SecretError::not_logged_in(url))?;
        if login.ends <= crate::now() {
            return Err(SecretError {
                message: format!("the login at the broker {url} has ended"),
                ..SecretError::not_logged_in(url)
            });
        }
        Ok(login)
    }

    /// Begins a new session in place of one of an agent's device that ends within `ahead` seconds;
    /// whether it did. A person's session is the person's to renew.
    ///
    /// # Errors
    /// There is no login that counts, or the broker refuses.
    pub async fn renew(&self, ahead: i64) -> Result<bool> {
        let login = self.login().await?;
        if login.ends - crate::now() > ahead || !login.is_renewable() {
            return Ok(false);
        }
        let session = self.broker.renew(&login, self.key()?).await?;
        let (logins, url) = (self.logins.clone(), self.broker.server().base().clone());
        let kept = tokio::task::spawn_blocking(move || logins.save(&url, &session.access_token));
        kept.await.map_err(|_| thread_ended())??;
        Ok(true)
    }

    /// The device's key.
    ///
    /// # Errors
    /// [`Kind::Login`] where none was made yet.
    pub fn key(&self) -> Result<&Arc<DeviceKey>> {
        self.key.as_ref().ok_or_else(SecretError::no_device)
    }
}

fn thread_ended() -> SecretError {
    SecretError::new(
        Kind::Failed,
        "the thread that reads the login ended",
        "try again",
    )
}
