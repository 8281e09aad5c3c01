//! One request to the orchestrator and its answer.

use std::sync::Arc;
use std::time::Duration;

use api::vault::PROOF_HEADER;
use api::{ErrorBody, Page, PageToken, WorkspaceConflict};
use credentials::Endpoint;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Method, RequestBuilder, Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::device::Prove;
use crate::error::{ControlError, Result};

/// Connecting to a server that is there takes less.
const CONNECT: Duration = Duration::from_secs(5);
/// Issuing a key takes the provider several steps.
const PATIENCE: Duration = Duration::from_secs(60);
/// No answer of a list or a key is larger.
const ANSWER_LIMIT: usize = 8 * 1024 * 1024;
/// Characters of a server's sentence that are shown.
const LONGEST_SENTENCE: usize = 500;
/// Items of one list.
const LONGEST_LIST: usize = 2_000_000;
/// A stream says something every 15 s; three that did not come mean that nobody is there.
const SILENCE: Duration = Duration::from_secs(50);

/// Where the bearer token of a call comes from. Asked anew for each call, because a login can
/// be replaced while a mount runs. May block.
pub trait Tokens: Send + Sync {
    /// The token; `None` where there is none.
    ///
    /// # Errors
    /// What keeps it is unreadable or locked.
    fn token(&self) -> credentials::Result<Option<SecretString>>;
}

impl Tokens for SecretString {
    fn token(&self) -> credentials::Result<Option<SecretString>> {
        Ok(Some(self.clone()))
    }
}

/// An orchestrator, as seen by the holder of a token. Cheap to clone.
#[derive(Clone)]
pub struct Orchestrator {
    url: Endpoint,
    http: Client,
    /// Without a limit for the whole answer.
    streaming: Client,
    tokens: Option<Arc<dyn Tokens>>,
}

impl Orchestrator {
    /// The server at this address; nothing is asked of it yet.
    ///
    /// # Errors
    /// [`ControlError::InClear`] for plain HTTP to another machine.
    pub fn new(url: Endpoint) -> Result<Self> {
        Self::trusting(url, None)
    }

    /// The same, with certificates (PEM) to trust instead of the machine's.
    ///
    /// # Errors
    /// As [`new`](Self::new), or they are no certificates.
    pub fn trusting(url: Endpoint, ca: Option<&[u8]>) -> Result<Self> {
        if url.is_in_clear() {
            return Err(ControlError::InClear { url });
        }
        let failed = |error: reqwest::Error| ControlError::Unreachable {
            url: url.clone(),
            reason: words(&error),
        };
        let trusted = ca.map(Certificate::from_pem_bundle).transpose();
        let trusted = trusted.map_err(failed)?;
        let builder = || {
            let builder = Client::builder()
                .redirect(Policy::none())
                .connect_timeout(CONNECT)
                .user_agent(concat!("artifacts/", env!("CARGO_PKG_VERSION")));
            // Without TLS it stays on this machine: no proxy of the environment reads it.
            let builder = match url.as_str().starts_with("http://") {
                true => builder.no_proxy(),
                false => builder,
            };
            match &trusted {
                Some(trusted) => builder.tls_certs_only(trusted.clone()),
                None => builder,
            }
        };
        Ok(Self {
            http: builder().timeout(PATIENCE).build().map_err(failed)?,
            streaming: builder().read_timeout(SILENCE).build().map_err(failed)?,
            url,
            tokens: None,
        })
    }

    /// The same for the holder of a token.
    #[must_use]
    pub fn with(self, tokens: Arc<dyn Tokens>) -> Self {
        Self {
            tokens: Some(tokens),
            ..self
        }
    }

    /// Its address.
    pub fn url(&self) -> &Endpoint {
        &self.url
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let request = self.request(&self.http, Method::GET, path).await?;
        self.read(self.send(request).await?).await
    }

    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T> {
        let response = self.send_json(Method::POST, path, body).await?;
        self.read(response).await
    }

    /// For an answer without a body.
    pub(crate) async fn tell(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<()> {
        self.send_json(method, path, body).await.map(drop)
    }

    /// For an answer without a body, to a request without one.
    pub(crate) async fn bare(&self, method: Method, path: &str) -> Result<()> {
        let request = self.request(&self.http, method, path).await?;
        self.send(request).await.map(drop)
    }

    pub(crate) async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let request = self.request(&self.http, Method::DELETE, path).await?;
        self.read(self.send(request).await?).await
    }

    /// A whole list, page by page.
    pub(crate) async fn list<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>> {
        let mut items = Vec::new();
        let mut token: Option<PageToken> = None;
        loop {
            let from = token.map(|token| format!("&page_token={token}"));
            let join = if path.contains('?') { '&' } else { '?' };
            let path = format!("{path}{join}limit=1000{}", from.unwrap_or_default());
            let page: Page<T> = self.get(&path).await?;
            items.extend(page.items);
            if items.len() > LONGEST_LIST {
                return Err(self.strange("a list without an end"));
            }
            match page.next_page_token {
                None => return Ok(items),
                // A server that sends us round in a circle does not hold us.
                next if next == token => return Err(self.strange("a list without an end")),
                next => token = next,
            }
        }
    }

    /// A form as OAuth has them (RFC 6749 §3.2), and the whole answer.
    pub(crate) async fn form(
        &self,
        path: &str,
        fields: &[(&str, &str)],
    ) -> Result<std::result::Result<Zeroizing<Vec<u8>>, Refused>> {
        self.proven_form(path, fields, None).await
    }

    /// The same, with a proof by this machine's device.
    pub(crate) async fn proven_form(
        &self,
        path: &str,
        fields: &[(&str, &str)],
        prove: Option<Prove<'_>>,
    ) -> Result<std::result::Result<Zeroizing<Vec<u8>>, Refused>> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(fields);
        let (address, form) = (self.address(path), form.finish());
        let proof = prove.and_then(|prove| prove(&address, form.as_bytes()));
        let mut request = self.http.post(address);
        if let Some(proof) = proof {
            request = request.header(PROOF_HEADER, proof);
        }
        let request = request
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form);
        let response = request.send().await.map_err(|e| self.unreachable(&e))?;
        let (status, retry_after) = (response.status(), retry_after(&response));
        let body = self.bytes(response).await?;
        if status.is_success() {
            return Ok(Ok(body));
        }
        let error = self.refusal(status, retry_after, &body);
        Ok(Err(Refused { error, body }))
    }

    /// Opens a stream of events.
    pub(crate) async fn stream(&self, path: &str, last: Option<api::EventId>) -> Result<Response> {
        let request = self.request(&self.streaming, Method::GET, path).await?;
        let mut request = request.header(ACCEPT, "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last.to_string());
        }
        let response = self.send(request).await?;
        let kind = response.headers().get(CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind.starts_with("text/event-stream") {
            return Err(self.strange("it answered with something else than events"));
        }
        Ok(response)
    }

    pub(crate) fn parse<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T> {
        // The words of serde name fields and places, and for a wrong value the value: an
        // answer that was to hold a secret might be quoted.
        serde_json::from_slice(bytes).map_err(|error| {
            let place = format!("line {}, column {}", error.line(), error.column());
            self.strange(&format!("its answer breaks its form at {place}"))
        })
    }

    pub(crate) fn strange(&self, reason: &str) -> ControlError {
        ControlError::Strange {
            url: self.url.clone(),
            reason: reason.to_owned(),
        }
    }

    pub(crate) fn unreachable(&self, error: &reqwest::Error) -> ControlError {
        ControlError::Unreachable {
            url: self.url.clone(),
            reason: words(error),
        }
    }

    fn address(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    async fn request(&self, http: &Client, method: Method, path: &str) -> Result<RequestBuilder> {
        let bearer = self.bearer().await?;
        let mut value = Zeroizing::new(String::with_capacity(bearer.expose_secret().len() + 8));
        value.push_str("Bearer ");
        value.push_str(bearer.expose_secret());
        let mut value = HeaderValue::from_str(&value)
            .map_err(|_| self.strange("the token has characters that no token has"))?;
        value.set_sensitive(true);
        Ok(http
            .request(method, self.address(path))
            .header(AUTHORIZATION, value))
    }

    async fn bearer(&self) -> Result<SecretString> {
        let missing = || ControlError::NotLoggedIn {
            url: self.url.clone(),
        };
        let tokens = self.tokens.clone().ok_or_else(missing)?;
        let read = tokio::task::spawn_blocking(move || tokens.token()).await;
        let read = read.map_err(|_| self.strange("the thread that reads the login ended"))?;
        read?.ok_or_else(missing)
    }

    async fn send_json(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Response> {
        let body = serde_json::to_vec(body).map_err(|_| self.strange("a body of ours"))?;
        let request = self.request(&self.http, method, path).await?;
        let request = request.header(CONTENT_TYPE, "application/json").body(body);
        self.send(request).await
    }

    /// The answer, if it is none of refusal.
    async fn send(&self, request: RequestBuilder) -> Result<Response> {
        let response = request.send().await.map_err(|e| self.unreachable(&e))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let (status, retry_after) = (response.status(), retry_after(&response));
        let body = self.bytes(response).await?;
        Err(self.refusal(status, retry_after, &body))
    }

    fn refusal(&self, status: StatusCode, retry_after: Option<u64>, body: &[u8]) -> ControlError {
        if let Ok(conflict) = serde_json::from_slice::<WorkspaceConflict>(body) {
            let existing = Box::new(conflict.existing);
            return ControlError::Exists { existing };
        }
        match serde_json::from_slice::<ErrorBody>(body) {
            Ok(body) => ControlError::Refused {
                code: body.code,
                message: in_bounds(&body.message),
                retry_after,
            },
            // A proxy on the way speaks for a server that is away.
            Err(_) if matches!(status.as_u16(), 502..=504) => ControlError::Unreachable {
                url: self.url.clone(),
                reason: format!("a proxy on the way says {status}"),
            },
            Err(_) => self.strange(&format!("it answered {status}")),
        }
    }

    async fn read<T: DeserializeOwned>(&self, response: Response) -> Result<T> {
        let bytes = self.bytes(response).await?;
        self.parse(&bytes)
    }

    /// The body, which may hold a secret, up to a bound.
    async fn bytes(&self, mut response: Response) -> Result<Zeroizing<Vec<u8>>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(4096));
        while let Some(chunk) = response.chunk().await.map_err(|e| self.unreachable(&e))? {
            if bytes.len() + chunk.len() > ANSWER_LIMIT {
                return Err(self.strange("its answer has no end"));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }
}

/// A refusal, and its body for those who know more of its form.
pub(crate) struct Refused {
    pub(crate) error: ControlError,
    pub(crate) body: Zeroizing<Vec<u8>>,
}

impl From<Refused> for ControlError {
    fn from(refused: Refused) -> Self {
        refused.error
    }
}

fn retry_after(response: &Response) -> Option<u64> {
    let value = response.headers().get(RETRY_AFTER)?;
    value.to_str().ok()?.parse().ok()
}

/// A server's message: a sentence and the next step, and no more of either than a person
/// reads. What it makes of the lines is no one else's.
fn in_bounds(message: &str) -> String {
    let cut = |line: &str| line.chars().take(LONGEST_SENTENCE).collect::<String>();
    let mut lines = message.lines();
    let first = cut(lines.next().unwrap_or_default());
    match lines.find(|line| line.starts_with("hint: ")) {
        Some(hint) => format!("{first}\n{}", cut(hint)),
        None => first,
    }
}

/// What happened, in the words of each cause; never the address with its query.
fn words(error: &reqwest::Error) -> String {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| {
        error.source()
    });
    let mut words: Vec<String> = causes.map(ToString::to_string).collect();
    // The first one quotes the address.
    if words.len() > 1 {
        words.remove(0);
    }
    words.dedup();
    if error.is_timeout() {
        words.push("no answer in time".into());
    }
    words.join(": ")
}
