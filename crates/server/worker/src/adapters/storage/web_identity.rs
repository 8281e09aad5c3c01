//! The broker, over mTLS: a web identity for a capability's actor.

use api::vault::{WebIdentity, WorkerWebIdentity};
use secrecy::SecretString;

use crate::adapters::call;
use crate::ports::Away;
use crate::retry::Budget;

const WHO: &str = "the broker";

/// Asks the broker's internal listener.
pub struct WebIdentities {
    client: reqwest::Client,
    url: String,
    budget: Budget,
}

impl WebIdentities {
    /// With a client that shows the worker's certificate and accepts only a broker's, and the
    /// broker's URL.
    pub fn new(client: reqwest::Client, url: &str, budget: Budget) -> Self {
        Self {
            client,
            url: format!("{}/v1/worker/web-identity", url.trim_end_matches('/')),
            budget,
        }
    }

    /// The broker reads from the capability whose identity it is; it verifies it again.
    pub(super) async fn for_cap(&self, cap: &str) -> Result<SecretString, Away> {
        let ask = async || {
            let body = WorkerWebIdentity {
                cap: SecretString::from(cap).into(),
            };
            call::json::<WebIdentity>(WHO, self.client.post(&self.url), &body).await
        };
        let identity = self.budget.ask(WHO, ask).await?;
        Ok(identity.token.into_inner())
    }
}
