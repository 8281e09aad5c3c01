//! JSON-RPC over HTTP to one or two endpoints, which are never believed to be of another chain
//! than the one that was named.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use alloy_primitives::hex;
use parking_lot::Mutex;
use reqwest::{Client, Url};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Unavailable, address};

/// An endpoint's address. Providers put access tokens into path and query: only the host is ever
/// shown.
#[derive(Clone)]
pub struct RpcUrl(Url);

impl FromStr for RpcUrl {
    type Err = Unavailable;

    fn from_str(text: &str) -> Result<Self, Unavailable> {
        let url = Url::parse(text).map_err(|e| Unavailable(format!("an RPC's address: {e}")))?;
        let shown = Self(url.clone());
        address::check(&url).map_err(|why| Unavailable(format!("the RPC {shown}: {why}")))?;
        Ok(shown)
    }
}

impl fmt::Display for RpcUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.0.host_str().unwrap_or_default();
        write!(f, "{}://{host}", self.0.scheme())?;
        match self.0.port() {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for RpcUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}/…")
    }
}

/// One call.
#[derive(Debug, Clone)]
pub struct Call {
    method: &'static str,
    parameters: Value,
}

impl Call {
    /// A method with its parameters, an array.
    pub fn new(method: &'static str, parameters: Value) -> Self {
        Self { method, parameters }
    }
}

/// How long is waited.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For one try.
    pub one: Duration,
    /// For all of them.
    pub all: Duration,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RpcError {
    /// Nobody answered, or not in time, or not as RPCs do.
    #[error("{0}")]
    Failed(String),
    /// The endpoint refused a call; `data` is what a contract said when it reverted.
    #[error("{message}")]
    Refused {
        /// The endpoint's words.
        message: String,
        /// Bytes, in hexadecimal.
        data: Option<String>,
    },
    /// The endpoint is of another chain.
    #[error(
        "the RPC {rpc} is of chain {found}, not {wanted}\nhint: give an RPC of chain {wanted}, or the right chain id"
    )]
    OtherChain {
        /// Which endpoint.
        rpc: String,
        /// The chain that it says it is of.
        found: u64,
        /// The chain that is configured.
        wanted: u64,
    },
}

impl From<RpcError> for Unavailable {
    fn from(error: RpcError) -> Self {
        Self(error.to_string())
    }
}

/// One or two endpoints of one chain.
pub struct Rpc {
    endpoints: Vec<RpcUrl>,
    chain_id: u64,
    patience: Patience,
    client: Client,
    /// The endpoint that answered last is asked first.
    preferred: AtomicUsize,
    /// Until when each is not compared with, because it did not answer.
    silent_until: Mutex<[Option<Instant>; 2]>,
}

const TRIES: u32 = 4;
/// Before the second try; twice as long before each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(40);
const CONNECT: Duration = Duration::from_millis(400);
/// An endpoint that did not answer is not compared with for so long.
const SILENT_FOR: Duration = Duration::from_secs(5);
/// The newest block names all of its transactions.
const LONGEST_ANSWER: usize = 2 * 1024 * 1024;

impl Rpc {
    /// These endpoints, of this chain.
    ///
    /// # Errors
    /// Not one or two endpoints.
    pub fn new(
        endpoints: Vec<RpcUrl>,
        chain_id: u64,
        patience: Patience,
    ) -> Result<Self, Unavailable> {
        if !(1..=2).contains(&endpoints.len()) {
            return Err(Unavailable("give one or two RPC endpoints".into()));
        }
        let client = address::client(endpoints.iter().map(|endpoint| &endpoint.0))
            .connect_timeout(CONNECT.min(patience.one))
            .timeout(patience.one)
            .build()
            .map_err(|e| Unavailable(format!("no HTTP client: {}", address::words(&e))))?;
        Ok(Self {
            endpoints,
            chain_id,
            patience,
            client,
            preferred: AtomicUsize::new(0),
            silent_until: Mutex::default(),
        })
    }

    /// The chain.
    pub fn chain_id(&self) -> u64 {
        self.chain_id
    }

    /// When a round that begins now has to end.
    pub fn deadline(&self) -> Instant {
        Instant::now() + self.patience.all
    }

    /// Asks every endpoint once for its chain. One that does not answer is no error as long as
    /// another does.
    ///
    /// # Errors
    /// One answers another chain, or none answers.
    pub async fn check(&self) -> Result<(), RpcError> {
        let mut answered = false;
        let mut last = None;
        for endpoint in &self.endpoints {
            match self.once(endpoint, &[], self.patience.one).await {
                Ok(_) => answered = true,
                Err(error @ RpcError::OtherChain { .. }) => return Err(error),
                Err(error) => last = Some(error),
            }
        }
        match (answered, last) {
            (false, Some(error)) => Err(error),
            _ => Ok(()),
        }
    }

    /// Calls in one exchange, answered in order.
    ///
    /// # Errors
    /// No endpoint of the chain answered.
    pub async fn round(&self, calls: &[Call], deadline: Instant) -> Result<Vec<Value>, RpcError> {
        self.round_that(calls, deadline, |told| Ok(told.to_vec()))
            .await
    }

    /// The same, where an answer that is not taken counts as a failure.
    pub(super) async fn round_that<T>(
        &self,
        calls: &[Call],
        deadline: Instant,
        take: impl Fn(&[Value]) -> Result<T, String>,
    ) -> Result<T, RpcError> {
        let first = self.preferred.load(Ordering::Relaxed);
        let mut pause = FIRST_PAUSE;
        let mut last = RpcError::Failed("there was no time to ask".into());
        for (turn, attempt) in (1..=TRIES).enumerate() {
            let place = (first + turn) % self.endpoints.len();
            let endpoint = &self.endpoints[place];
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let told = self
                .once(endpoint, calls, left.min(self.patience.one))
                .await;
            if told.is_err() {
                self.is_silent(place);
            }
            let failed = |why| RpcError::Failed(format!("the RPC {endpoint}: {why}"));
            match told.and_then(|told| take(&told).map_err(failed)) {
                Ok(taken) => {
                    self.preferred.store(place, Ordering::Relaxed);
                    return Ok(taken);
                }
                // Of two, the one that is of the right chain is asked.
                Err(error @ RpcError::OtherChain { .. }) if self.endpoints.len() == 1 => {
                    return Err(error);
                }
                Err(error @ RpcError::OtherChain { .. }) => {
                    tracing::warn!("{error}");
                    last = error;
                }
                // A contract's own word does not change by asking again.
                Err(error @ RpcError::Refused { data: Some(_), .. }) => return Err(error),
                Err(error) => last = error,
            }
            if attempt < TRIES && Instant::now() + pause < deadline {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
        }
        Err(last)
    }

    /// What the endpoint that is not asked first says; `None` where there is one only, or the
    /// other does not answer or is of another chain.
    pub(super) async fn other(&self, calls: &[Call], deadline: Instant) -> Option<Vec<Value>> {
        if self.endpoints.len() < 2 {
            return None;
        }
        let place = (self.preferred.load(Ordering::Relaxed) + 1) % self.endpoints.len();
        let until = self.silent_until.lock()[place];
        if until.is_some_and(|until| Instant::now() < until) {
            return None;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let patience = left.min(self.patience.one);
        match self.once(&self.endpoints[place], calls, patience).await {
            Ok(told) => Some(told),
            Err(error) => {
                tracing::warn!("an RPC cannot be compared with the other: {error}");
                self.is_silent(place);
                None
            }
        }
    }

    fn is_silent(&self, place: usize) {
        self.silent_until.lock()[place] = Some(Instant::now() + SILENT_FOR);
    }

    /// One exchange with one endpoint. It says each time of which chain it is: behind an address
    /// may stand another machine than a moment ago.
    async fn once(
        &self,
        endpoint: &RpcUrl,
        calls: &[Call],
        patience: Duration,
    ) -> Result<Vec<Value>, RpcError> {
        let failed = |why: String| RpcError::Failed(format!("the RPC {endpoint}: {why}"));
        let chain = Call::new("eth_chainId", json!([]));
        let batch: Vec<Value> = std::iter::once(&chain)
            .chain(calls)
            .enumerate()
            .map(|(id, call)| {
                json!({ "jsonrpc": "2.0", "id": id, "method": call.method, "params": call.parameters })
            })
            .collect();
        let body = self.exchange(endpoint, Value::from(batch).to_string(), patience);
        let body = body.await.map_err(failed)?;
        let mut told = in_order(&body, calls.len() + 1)
            .map_err(failed)?
            .into_iter();
        let chain = told.next().unwrap_or(Ok(Value::Null))?;
        let found = quantity(&chain);
        let found = found.ok_or_else(|| failed("its chain is not of the form".into()))?;
        if found != self.chain_id {
            return Err(RpcError::OtherChain {
                rpc: endpoint.to_string(),
                found,
                wanted: self.chain_id,
            });
        }
        told.map(|one| one.map_err(|error| named(error, endpoint)))
            .collect()
    }

    async fn exchange(
        &self,
        endpoint: &RpcUrl,
        batch: String,
        patience: Duration,
    ) -> Result<Vec<u8>, String> {
        let words = |e: reqwest::Error| address::words(&e.without_url());
        let request = self.client.post(endpoint.0.clone()).timeout(patience);
        let request = request
            .header(reqwest::header::CONTENT_TYPE, "application/json")
            .body(batch);
        let mut response = request.send().await.map_err(words)?;
        if !response.status().is_success() {
            return Err(format!("it answers {}", response.status()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(words)? {
            body.extend_from_slice(&chunk);
            if body.len() > LONGEST_ANSWER {
                return Err(format!("it answers more than {LONGEST_ANSWER} bytes"));
            }
        }
        Ok(body)
    }
}

fn named(error: RpcError, endpoint: &RpcUrl) -> RpcError {
    match error {
        RpcError::Refused { message, data } => RpcError::Refused {
            message: format!("the RPC {endpoint} refuses: {message}"),
            data,
        },
        other => other,
    }
}

#[derive(Deserialize)]
struct Response {
    id: usize,
    #[serde(default)]
    result: Option<Value>,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    message: String,
    data: Option<Value>,
}

/// A batch is answered in any order; each call must be answered once.
fn in_order(body: &[u8], count: usize) -> Result<Vec<Result<Value, RpcError>>, String> {
    let told: Vec<Response> = serde_json::from_slice(body)
        .map_err(|e| format!("it does not answer as an RPC does to several calls: {e}"))?;
    let mut slots: Vec<Option<Result<Value, RpcError>>> = Vec::new();
    slots.resize_with(count, || None);
    for response in told {
        let slot = slots.get_mut(response.id).filter(|slot| slot.is_none());
        let slot = slot.ok_or("it answers calls that were not made")?;
        *slot = Some(match response.error {
            Some(refusal) => Err(RpcError::Refused {
                message: sentence(&refusal.message),
                data: refusal
                    .data
                    .as_ref()
                    .and_then(Value::as_str)
                    .map(str::to_owned),
            }),
            None => Ok(response.result.unwrap_or_default()),
        });
    }
    let whole: Option<Vec<_>> = slots.into_iter().collect();
    whole.ok_or_else(|| "it leaves calls without an answer".into())
}

/// A number as RPCs write it: `0x` and hexadecimal digits.
pub fn quantity(told: &Value) -> Option<u64> {
    u64::from_str_radix(told.as_str()?.strip_prefix("0x")?, 16).ok()
}

/// Bytes as RPCs write them.
pub fn bytes(told: &Value) -> Option<Vec<u8>> {
    hex::decode(told.as_str()?.strip_prefix("0x")?).ok()
}

/// As much of a stranger's words as is shown.
fn sentence(text: &str) -> String {
    let text: String = text.chars().take(300).collect();
    text.replace(char::is_control, " ")
}
