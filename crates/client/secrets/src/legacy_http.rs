//! The older store of secrets over HTTP, which has them in clear: `GET /credential/list` and
//! `GET /credential/read`, with a session as bearer token. It is only read.

use api::Secret;
use credentials::Endpoint;
use model::ServiceName;
use reqwest::Method;
use serde::Deserialize;
use vault::legacy::Wallet;

use crate::error::{Result, SecretError};
use crate::server::{Asked, Server};
use crate::value::SecretValue;

/// Such a store, as one agent sees it.
pub struct LegacyHttp {
    server: Server,
    agent: Wallet,
    session: Secret,
}

#[derive(Deserialize)]
struct Listed {
    services: Vec<String>,
}

#[derive(Deserialize)]
struct Read {
    /// In base64. It was meant to be sealed by the client, and never is.
    ciphertext: Secret,
}

impl LegacyHttp {
    /// The store at an address, for the agent of a wallet.
    ///
    /// # Errors
    /// Plain HTTP to another machine.
    pub fn new(url: Endpoint, agent: Wallet, session: Secret) -> Result<Self> {
        Ok(Self {
            server: Server::new("older store", url, None)?,
            agent,
            session,
        })
    }

    /// The services that it has.
    ///
    /// # Errors
    /// It refuses, or names what is no service here.
    pub async fn list(&self) -> Result<Vec<ServiceName>> {
        let path = format!("/credential/list?agent_id={}", self.agent);
        let listed: Listed = self.get(&path).await?;
        let parse = |name: &String| {
            name.parse().map_err(|e: model::InvalidService| {
                SecretError::strange(&self.server.shown(), &format!("{name:?}: {e}"))
            })
        };
        listed.services.iter().map(parse).collect()
    }

    /// A service's secret.
    ///
    /// # Errors
    /// It refuses, or the secret is empty or too long.
    pub async fn read(&self, service: &ServiceName) -> Result<SecretValue> {
        let agent = &self.agent;
        let path = format!("/credential/read?agent_id={agent}&service={service}");
        let read: Read = self.get(&path).await?;
        let bytes = crate::value::decode(&read.ciphertext);
        let strange = || SecretError::strange(&self.server.shown(), "its secret is no base64");
        SecretValue::new(bytes.ok_or_else(strange)?)
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T> {
        let asked: Asked<'_, ()> = Asked {
            method: Method::GET,
            path,
            bearer: Some(&self.session),
            proven: None,
            body: None,
        };
        self.server.ask(asked).await
    }
}
