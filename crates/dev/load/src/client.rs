//! One client: a device, a service of its own, and what it has stored there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use api::Secret;
use api::vault::{
    CapAnswer, CapCredential, FetchCredential, FetchedCredential, PROOF_HEADER, StoreCredential,
    StoredCredential,
};
use base64_simd::STANDARD;
use model::ServiceName;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;
use vault::{DeviceKey, ProofFor, make_proof};

use crate::Failure;
use crate::trouble::{Retries, Trouble};

/// Before a request is made again.
const PAUSE: Duration = Duration::from_millis(100);

/// What all clients have in common.
pub(crate) struct Place {
    pub(crate) http: reqwest::Client,
    pub(crate) workers: Vec<String>,
    pub(crate) broker: String,
    pub(crate) retries: Arc<Retries>,
}

/// One client.
pub(crate) struct Client {
    place: Arc<Place>,
    key: DeviceKey,
    session: SecretString,
    service: ServiceName,
    size: u32,
    /// Which worker is asked next.
    turn: AtomicUsize,
    /// The credential that was stored last, by its number, and its generation.
    stored: AtomicU64,
    generation: AtomicU64,
    store_cap: Mutex<Option<HeldCap>>,
    fetch_cap: Mutex<Option<HeldCap>>,
}

struct HeldCap {
    cap: SecretString,
    until: Instant,
}

impl Client {
    /// One that has stored nothing yet.
    pub(crate) fn new(
        place: Arc<Place>,
        key: DeviceKey,
        session: SecretString,
        service: ServiceName,
        size: u32,
    ) -> Self {
        Self {
            place,
            key,
            session,
            service,
            size,
            turn: AtomicUsize::new(0),
            stored: AtomicU64::new(0),
            generation: AtomicU64::new(0),
            store_cap: Mutex::default(),
            fetch_cap: Mutex::default(),
        }
    }

    /// Stores the next credential, which is another than all before and all of others.
    pub(crate) async fn store(&self) -> Result<(), Failure> {
        let number = self.stored.load(Ordering::Acquire) + 1;
        let plaintext = self.plaintext(number);
        let stored = self.until_answered(|worker| {
            let plaintext = plaintext.clone();
            async move {
                let cap = self.cap(&self.store_cap, "store").await?;
                let body = StoreCredential {
                    cap: Secret::from(SecretString::from(cap.clone())),
                    service: self.service.clone(),
                    plaintext: Secret::from(SecretString::from(plaintext)),
                    expected_generation: None,
                };
                let url = format!("{worker}/v1/cred/store");
                self.send::<StoredCredential>(&url, &body, &cap, None).await
            }
        });
        let stored = stored.await?;
        let before = self.generation.load(Ordering::Acquire);
        if stored.service != self.service || stored.generation <= before {
            let generation = stored.generation;
            return Err(format!(
                "{} was stored as generation {generation} after {before}",
                self.service
            )
            .into());
        }
        self.generation.store(stored.generation, Ordering::Release);
        self.stored.store(number, Ordering::Release);
        Ok(())
    }

    /// Fetches, and looks that it is what was stored last, and no older envelope.
    pub(crate) async fn fetch(&self) -> Result<(), Failure> {
        let fetched = self.until_answered(|worker| async move {
            let cap = self.cap(&self.fetch_cap, "fetch").await?;
            let body = FetchCredential {
                cap: Secret::from(SecretString::from(cap.clone())),
                service: self.service.clone(),
                seen_generation: None,
            };
            let url = format!("{worker}/v1/cred/fetch");
            self.send::<FetchedCredential>(&url, &body, &cap, None)
                .await
        });
        let fetched = fetched.await?;
        let expected = self.plaintext(self.stored.load(Ordering::Acquire));
        let least = self.generation.load(Ordering::Acquire);
        let right = fetched.plaintext.expose() == expected
            && fetched.service == self.service
            && fetched.generation >= least;
        right.then_some(()).ok_or_else(|| {
            format!(
                "WRONG ANSWER: another credential than the last of {} was fetched",
                self.service
            )
            .into()
        })
    }

    /// In base64.
    fn plaintext(&self, number: u64) -> String {
        let mut text = format!("{}/{number}/", self.service).into_bytes();
        text.resize(self.size as usize, b'k');
        STANDARD.encode_to_string(text)
    }

    /// Asks one worker after the other, until one answers or refuses for good.
    async fn until_answered<'a, A, F, T>(&'a self, ask: A) -> Result<T, Failure>
    where
        A: Fn(&'a str) -> F,
        F: Future<Output = Result<T, Trouble>>,
    {
        let (begun, retries) = (Instant::now(), &self.place.retries);
        loop {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed);
            let worker = &self.place.workers[turn % self.place.workers.len()];
            let trouble = match ask(worker).await {
                Ok(answer) => return Ok(answer),
                Err(trouble) => trouble,
            };
            if begun.elapsed() > retries.patience || !retries.take(&trouble) {
                return Err(trouble.text.into());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The capability that is held, or another one where it is about to end.
    async fn cap(&self, held: &Mutex<Option<HeldCap>>, op: &str) -> Result<String, Trouble> {
        let mut held = held.lock().await;
        if let Some(held) = held.as_ref().filter(|held| Instant::now() < held.until) {
            return Ok(held.cap.expose_secret().to_owned());
        }
        let url = format!("{}/v1/cap/cred-{op}", self.place.broker);
        let body = CapCredential {
            service: Some(self.service.clone()),
        };
        let session = self.session.expose_secret();
        let answer: CapAnswer = self.send(&url, &body, session, Some(session)).await?;
        let until = Instant::now() + Duration::from_secs(answer.expires_in.saturating_sub(10));
        let cap = answer.cap.into_inner();
        let text = cap.expose_secret().to_owned();
        *held = Some(HeldCap { cap, until });
        Ok(text)
    }

    async fn send<A: DeserializeOwned>(
        &self,
        url: &str,
        body: &impl Serialize,
        token: &str,
        bearer: Option<&str>,
    ) -> Result<A, Trouble> {
        let body = serde_json::to_vec(body)?;
        let request = ProofFor {
            method: "POST",
            url,
            token: Some(token),
            body: &body,
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let jti = uuid::Uuid::new_v4().simple().to_string();
        let proof = make_proof(&self.key, &request, &jti, now.cast_signed());
        let proof = proof.ok_or_else(|| Trouble::other("the device's key signs nothing"))?;
        let mut asked = self.place.http.post(url);
        asked = asked.header("content-type", "application/json");
        asked = asked.header(PROOF_HEADER, proof);
        if let Some(bearer) = bearer {
            asked = asked.bearer_auth(bearer);
        }
        let lost = |error| Trouble::unreachable(url, &error);
        let answer = asked.body(body).send().await.map_err(lost)?;
        let status = answer.status();
        let text = answer.bytes().await.map_err(lost)?;
        match status.is_success() {
            true => Ok(serde_json::from_slice(&text)?),
            false => Err(Trouble::refused(url, status, &text)),
        }
    }
}
