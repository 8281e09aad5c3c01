//! The worker's endpoints, one method each. Each request carries a capability, and a proof by
//! the device that the capability is bound to.

use api::Secret;
use api::vault::{
    FetchCredential, FetchedCredential, ListCredentials, ListedCredential, ListedCredentials,
    StoreCredential, StoredCredential, Teardown, TornDown,
};
use model::{Actor, ServiceName};
use reqwest::Method;
use secrecy::SecretString;
use serde::Serialize;
use serde::de::DeserializeOwned;
use vault::DeviceKey;

use crate::error::{Result, SecretError};
use crate::server::{Asked, Proven, Server};
use crate::value::SecretValue;

/// Names of one actor's list; more than anybody has services.
const LONGEST_LIST: usize = 100_000;

/// A worker. Cheap to clone.
#[derive(Clone)]
pub struct Worker(Server);

/// With what a worker is asked.
#[derive(Clone, Copy)]
pub(crate) struct Shown<'a> {
    /// The device's key.
    pub key: &'a DeviceKey,
    /// The capability.
    pub cap: &'a Secret,
}

impl Worker {
    /// At this server.
    pub fn new(server: Server) -> Self {
        Self(server)
    }

    /// Where it is.
    pub fn server(&self) -> &Server {
        &self.0
    }

    pub(crate) async fn store(
        &self,
        shown: Shown<'_>,
        service: &ServiceName,
        value: &SecretValue,
        expected: Option<u64>,
    ) -> Result<StoredCredential> {
        let body = StoreCredential {
            cap: copy(shown.cap),
            service: service.clone(),
            plaintext: value.to_wire(),
            expected_generation: expected,
        };
        self.post("/v1/cred/store", shown, &body).await
    }

    pub(crate) async fn fetch(
        &self,
        shown: Shown<'_>,
        service: &ServiceName,
        seen: Option<u64>,
    ) -> Result<FetchedCredential> {
        let body = FetchCredential {
            cap: copy(shown.cap),
            service: service.clone(),
            seen_generation: seen,
        };
        self.post("/v1/cred/fetch", shown, &body).await
    }

    pub(crate) async fn list(&self, shown: Shown<'_>) -> Result<Vec<ListedCredential>> {
        let mut all = Vec::new();
        let mut page_token = None;
        loop {
            let body = ListCredentials {
                cap: copy(shown.cap),
                page_token: page_token.clone(),
            };
            let page: ListedCredentials = self.post("/v1/cred/list", shown, &body).await?;
            all.extend(page.credentials);
            let is_endless = all.len() > LONGEST_LIST || page.next_page_token == page_token;
            match page.next_page_token {
                None => return Ok(all),
                Some(_) if is_endless => {
                    let name = self.0.shown();
                    return Err(SecretError::strange(&name, "a list without an end"));
                }
                next => page_token = next,
            }
        }
    }

    pub(crate) async fn teardown(
        &self,
        shown: Shown<'_>,
        target: &Actor,
        label: Option<&str>,
    ) -> Result<TornDown> {
        let body = Teardown {
            cap: copy(shown.cap),
            target: target.clone(),
            label: label.map(str::to_owned),
        };
        self.post("/v1/cred/teardown", shown, &body).await
    }

    async fn post<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        shown: Shown<'_>,
        body: &B,
    ) -> Result<T> {
        let asked = Asked {
            method: Method::POST,
            path,
            bearer: None,
            proven: Some(Proven {
                key: shown.key,
                token: Some(shown.cap),
            }),
            body: Some(body),
        };
        self.0.ask(asked).await
    }
}

fn copy(secret: &Secret) -> Secret {
    SecretString::from(secret.expose()).into()
}
