//! A worker is asked over HTTPS: this machine holds neither the key that seals nor keys to the
//! bucket.

use api::vault::{ListedCredential, Reason, StoredCredential, TornDown};
use async_trait::async_trait;
use model::ServiceName;

use super::caps::{Caps, HeldCap};
use crate::broker::Wanted;
use crate::error::{Kind, Result, SecretError};
use crate::login::Login;
use crate::seen::{self, Seen};
use crate::store::{ReadSecret, SecretStore};
use crate::value::SecretValue;
use crate::worker::Worker;

/// The secrets as a worker shows them.
pub struct HttpStore<C> {
    caps: C,
    worker: Worker,
    seen: Seen,
}

impl<C: Caps> HttpStore<C> {
    /// Through this worker, with capabilities from there.
    pub fn new(caps: C, worker: Worker, seen: Seen) -> Self {
        Self { caps, worker, seen }
    }

    /// Where capabilities come from.
    pub fn caps(&self) -> &C {
        &self.caps
    }

    /// A new capability in place of one that the worker has refused; the refusal itself where
    /// that would be no use.
    async fn again(
        &self,
        login: &Login,
        wanted: &Wanted,
        refused: HeldCap,
        error: SecretError,
    ) -> Result<HeldCap> {
        if !error.wants_new_cap() {
            return Err(error);
        }
        self.caps.refused(login, wanted, &refused.cap);
        // A new epoch may begin between broker and worker, so that even a fresh one is worth
        // another try for that reason.
        if refused.is_fresh && error.reason != Some(Reason::EpochMismatch) {
            return Err(error);
        }
        self.caps.cap(login, wanted).await
    }
}

#[async_trait]
impl<C: Caps> SecretStore for HttpStore<C> {
    async fn store(
        &self,
        service: &ServiceName,
        value: &SecretValue,
        expected: Option<u64>,
    ) -> Result<StoredCredential> {
        let login = self.caps.login().await?;
        let wanted = Wanted::Store(service.clone());
        let held = self.caps.cap(&login, &wanted).await?;
        let worker = &self.worker;
        let stored = match worker.store(held.shown(), service, value, expected).await {
            Err(error) => {
                let held = self.again(&login, &wanted, held, error).await?;
                worker.store(held.shown(), service, value, expected).await?
            }
            Ok(stored) => stored,
        };
        // The worker is not trusted with this.
        seen::refuse_made_up(service, stored.generation)?;
        self.seen.stored(&login.actor, service, stored.generation)?;
        Ok(stored)
    }

    async fn read(&self, service: &ServiceName, accept_older: bool) -> Result<ReadSecret> {
        let login = self.caps.login().await?;
        let seen = match accept_older {
            true => None,
            false => self.seen.of(&login.actor, service)?,
        };
        let wanted = Wanted::Fetch(service.clone());
        let held = self.caps.cap(&login, &wanted).await?;
        let fetched = match self.worker.fetch(held.shown(), service, seen).await {
            Err(error) => {
                let held = self.again(&login, &wanted, held, error).await?;
                self.worker.fetch(held.shown(), service, seen).await?
            }
            Ok(fetched) => fetched,
        };
        let strange = |what| SecretError::strange(&self.worker.server().shown(), what);
        if fetched.service != *service {
            return Err(strange("it answered for another service"));
        }
        // The worker is not trusted with this.
        seen::refuse_made_up(service, fetched.generation)?;
        self.seen
            .take(&login.actor, service, fetched.generation, accept_older)?;
        let value = SecretValue::from_wire(&fetched.plaintext);
        Ok(ReadSecret {
            value: value.ok_or_else(|| strange("its secret is no base64"))?,
            version: fetched.version,
            epoch: fetched.epoch,
            generation: fetched.generation,
        })
    }

    async fn list(&self) -> Result<Vec<ListedCredential>> {
        let login = self.caps.login().await?;
        let held = self.caps.cap(&login, &Wanted::List).await?;
        match self.worker.list(held.shown()).await {
            Err(error) => {
                let held = self.again(&login, &Wanted::List, held, error).await?;
                self.worker.list(held.shown()).await
            }
            listed => listed,
        }
    }

    async fn teardown(&self, label: Option<&str>) -> Result<TornDown> {
        let login = self.caps.login().await?;
        let target = match label {
            None => login.operator.clone(),
            Some(label) => login.operator.agent(label).map_err(|e| {
                let text = format!("{label:?}: {e}");
                SecretError::new(
                    Kind::Usage,
                    text,
                    "give the label that the agent was paired as",
                )
            })?,
        };
        let wanted = Wanted::Teardown {
            target: target.clone(),
            label: label.map(str::to_owned),
        };
        let held = self.caps.cap(&login, &wanted).await?;
        let done = match self.worker.teardown(held.shown(), &target, label).await {
            Err(error) => {
                let held = self.again(&login, &wanted, held, error).await?;
                self.worker.teardown(held.shown(), &target, label).await?
            }
            Ok(done) => done,
        };
        if done.failed == 0 {
            self.seen.forget(&target)?;
        }
        Ok(done)
    }
}
