//! The signer, over mTLS.

use api::vault::{DeriveCredKek, DerivedKek};
use async_trait::async_trait;
use model::Actor;
use tokio::sync::Semaphore;
use vault::Kek;
use zeroize::Zeroizing;

use super::call;
use crate::ports::{Away, Signer};
use crate::retry::Budget;

const WHO: &str = "the signer";

/// Questions that are under way at once: each has a connection, which stays open for the next.
const AT_ONCE: usize = 32;

/// Asks the signer's internal listener. No key is kept: one that nobody keeps cannot leak, and a
/// warm connection answers in less than a millisecond.
pub struct MutualSigner {
    client: reqwest::Client,
    url: String,
    budget: Budget,
    places: Semaphore,
}

impl MutualSigner {
    /// With a client that shows the worker's certificate and accepts only a signer's, and the
    /// signer's URL.
    pub fn new(client: reqwest::Client, url: &str, budget: Budget) -> Self {
        Self {
            client,
            url: format!("{}/v1/derive-cred-kek", url.trim_end_matches('/')),
            budget,
            places: Semaphore::new(AT_ONCE),
        }
    }

    async fn ask(&self, question: &DeriveCredKek) -> Result<Kek, Away> {
        let _place = self.places.acquire().await;
        let request = self.client.post(&self.url);
        let answer: DerivedKek = call::json(WHO, request, question).await?;
        if answer.epoch != question.epoch {
            return Err(Away::for_good(
                WHO,
                "it answered with the key of another epoch",
            ));
        }
        let odd = || Away::for_good(WHO, "its key has not 32 bytes");
        let bytes = base64_simd::STANDARD.decode_to_vec(answer.kek.expose());
        let bytes = Zeroizing::new(bytes.map_err(|_| odd())?);
        let key: Zeroizing<[u8; 32]> =
            Zeroizing::new(bytes.as_slice().try_into().map_err(|_| odd())?);
        Ok(Kek::from_bytes(*key))
    }
}

#[async_trait]
impl Signer for MutualSigner {
    async fn derive(&self, operator: &Actor, actor: &Actor, epoch: u32) -> Result<Kek, Away> {
        let question = DeriveCredKek {
            operator: operator.clone(),
            actor: actor.clone(),
            epoch,
        };
        self.budget.ask(WHO, || self.ask(&question)).await
    }
}
