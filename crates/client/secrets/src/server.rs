//! One request to a server of the vault's, and its answer.

use std::time::Duration;

use api::vault::{PROOF_HEADER, Refusal};
use api::{ErrorBody, Secret};
use bytes::Bytes;
use credentials::Endpoint;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Method, RequestBuilder, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use vault::{DeviceKey, ProofFor, make_proof};
use zeroize::Zeroizing;

use crate::error::{Kind, Result, SecretError};

/// Connecting to a server that is there takes less.
const CONNECT: Duration = Duration::from_secs(5);
/// A worker asks a registry, a signer and a bucket, each with tries of its own.
const PATIENCE: Duration = Duration::from_secs(30);
/// No answer is larger: a page of a thousand names, or a secret in base64.
const ANSWER_LIMIT: usize = 1024 * 1024;
/// A stream says something every 15 s; three that did not come mean that nobody is there.
pub(crate) const SILENCE: Duration = Duration::from_secs(50);

/// A server: broker, worker or signer. Cheap to clone.
#[derive(Clone)]
pub struct Server {
    role: &'static str,
    base: Endpoint,
    http: Client,
    /// Without a limit for the whole answer.
    streaming: Client,
}

/// What proves who asks, and for what.
#[derive(Clone, Copy)]
pub(crate) struct Proven<'a> {
    /// The device's key.
    pub(crate) key: &'a DeviceKey,
    /// The session or capability that the proof is bound to.
    pub(crate) token: Option<&'a Secret>,
}

/// One request.
pub(crate) struct Asked<'a, B> {
    pub(crate) method: Method,
    pub(crate) path: &'a str,
    pub(crate) bearer: Option<&'a Secret>,
    pub(crate) proven: Option<Proven<'a>>,
    pub(crate) body: Option<&'a B>,
}

impl Server {
    /// The server of a role at an address; nothing is asked of it yet. `ca` are certificates
    /// (PEM) to trust instead of the machine's.
    ///
    /// # Errors
    /// Plain HTTP to another machine, or certificates that are none.
    pub fn new(role: &'static str, base: Endpoint, ca: Option<&[u8]>) -> Result<Self> {
        if base.is_in_clear() {
            return Err(SecretError::new(
                Kind::Usage,
                format!("{base} would send secrets over the network unencrypted"),
                "give its https:// address; http:// is for this machine",
            ));
        }
        let certificates = match ca {
            Some(pem) => Certificate::from_pem_bundle(pem).map_err(|_| not_pem())?,
            None => Vec::new(),
        };
        let builder = || {
            let builder = Client::builder()
                .redirect(Policy::none())
                .connect_timeout(CONNECT)
                .user_agent(concat!("artifacts/", env!("CARGO_PKG_VERSION")));
            // Without TLS it stays on this machine: no proxy of the environment reads it.
            let builder = match base.as_str().starts_with("http://") {
                true => builder.no_proxy(),
                false => builder,
            };
            match ca {
                Some(_) => builder.tls_certs_only(certificates.clone()),
                None => builder,
            }
        };
        let failed = |e: reqwest::Error| SecretError::unreachable(role, &words(&e));
        Ok(Self {
            role,
            http: builder().timeout(PATIENCE).build().map_err(failed)?,
            streaming: builder().read_timeout(SILENCE).build().map_err(failed)?,
            base,
        })
    }

    /// Its address.
    pub fn base(&self) -> &Endpoint {
        &self.base
    }

    /// As messages call it.
    pub fn shown(&self) -> String {
        format!("the {} {}", self.role, self.base)
    }

    /// Sends a request and reads the answer.
    pub(crate) async fn ask<B: Serialize, T: DeserializeOwned>(
        &self,
        asked: Asked<'_, B>,
    ) -> Result<T> {
        let (_, body) = self.ask_whole(asked).await?;
        self.parse(&body)
    }

    /// The same, for who looks at the status too.
    pub(crate) async fn ask_whole<B: Serialize>(
        &self,
        asked: Asked<'_, B>,
    ) -> Result<(StatusCode, Zeroizing<Vec<u8>>)> {
        let request = self.build(&self.http, &asked)?;
        let response = self.send(request).await?;
        let status = response.status();
        Ok((status, self.bytes(response).await?))
    }

    /// Opens a stream of events.
    pub(crate) async fn stream(
        &self,
        path: &str,
        bearer: &Secret,
        last: Option<&str>,
    ) -> Result<Response> {
        let request = self.streaming.get(self.address(path));
        let mut request = request
            .header(AUTHORIZATION, self.authorization(bearer)?)
            .header("accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = self.send(request).await?;
        let kind = response.headers().get(CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind.starts_with("text/event-stream") {
            return Err(SecretError::strange(
                &self.shown(),
                "it does not answer with events",
            ));
        }
        Ok(response)
    }

    /// An answer of ours.
    pub(crate) fn parse<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T> {
        // The words of serde may quote the value, and the answer may hold a secret.
        serde_json::from_slice(bytes).map_err(|error| {
            let place = format!("line {}, column {}", error.line(), error.column());
            SecretError::strange(
                &self.shown(),
                &format!("its answer breaks its form at {place}"),
            )
        })
    }

    fn build<B: Serialize>(&self, http: &Client, asked: &Asked<'_, B>) -> Result<RequestBuilder> {
        let body = match asked.body {
            Some(body) => serialised(body)?,
            None => Zeroizing::default(),
        };
        let mut request = http.request(asked.method.clone(), self.address(asked.path));
        if let Some(token) = asked.bearer {
            request = request.header(AUTHORIZATION, self.authorization(token)?);
        }
        if let Some(proven) = asked.proven {
            let url = self.address(asked.path);
            let proof = ProofFor {
                method: asked.method.as_str(),
                url: &url,
                token: proven.token.map(Secret::expose),
                body: &body,
            };
            request = request.header(PROOF_HEADER, proof_of(proven.key, &proof)?);
        }
        if asked.body.is_some() {
            request = request
                .header(CONTENT_TYPE, "application/json")
                .body(Bytes::from_owner(body));
        }
        Ok(request)
    }

    fn address(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn authorization(&self, token: &Secret) -> Result<HeaderValue> {
        let text = Zeroizing::new(format!("Bearer {}", token.expose()));
        let mut value = HeaderValue::from_str(&text).map_err(|_| {
            SecretError::new(
                Kind::Login,
                "the login has characters that no token has",
                "run: artifacts vault login",
            )
        })?;
        value.set_sensitive(true);
        Ok(value)
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response> {
        let sent = request.send().await;
        let response = sent.map_err(|e| SecretError::unreachable(&self.shown(), &words(&e)))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = self.bytes(response).await?;
        Err(self.refusal(status, &body))
    }

    fn refusal(&self, status: StatusCode, body: &[u8]) -> SecretError {
        if let Ok(refusal) = serde_json::from_slice::<Refusal>(body) {
            return SecretError::refused(refusal.reason, &refusal.error);
        }
        match serde_json::from_slice::<ErrorBody>(body) {
            Ok(body) => SecretError::told(&self.shown(), &body),
            // A proxy on the way speaks for a server that is away.
            Err(_) if matches!(status.as_u16(), 502..=504) => {
                SecretError::unreachable(&self.shown(), &format!("a proxy says {status}"))
            }
            Err(_) => SecretError::strange(&self.shown(), &format!("it answered {status}")),
        }
    }

    /// The body, which may hold a secret, up to a bound.
    async fn bytes(&self, mut response: Response) -> Result<Zeroizing<Vec<u8>>> {
        let lost = |e: reqwest::Error| SecretError::unreachable(&self.shown(), &words(&e));
        let mut bytes = Zeroizing::new(Vec::with_capacity(128 * 1024));
        while let Some(chunk) = response.chunk().await.map_err(lost)? {
            if bytes.len() + chunk.len() > ANSWER_LIMIT {
                return Err(SecretError::strange(&self.shown(), "its answer has no end"));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }
}

/// A proof by a device for a POST that carries no token, made now.
///
/// # Errors
/// [`Kind::Temporary`] where the system gives no random numbers.
pub fn prove_login(key: &DeviceKey, url: &str, body: &[u8]) -> Result<String> {
    let request = ProofFor {
        method: "POST",
        url,
        token: None,
        body,
    };
    proof_of(key, &request)
}

/// A proof for one request, made now.
fn proof_of(key: &DeviceKey, request: &ProofFor<'_>) -> Result<String> {
    let failed = || {
        SecretError::new(
            Kind::Temporary,
            "the system gives no random numbers, so that no proof can be made",
            "try again",
        )
    };
    let mut number = [0; 16];
    aws_lc_rs::rand::fill(&mut number).map_err(|_| failed())?;
    let jti = base64_simd::URL_SAFE_NO_PAD.encode_to_string(number);
    make_proof(key, request, &jti, crate::now()).ok_or_else(failed)
}

/// In a buffer that does not grow, so that no half of a secret stays behind.
pub(crate) fn serialised(body: &impl Serialize) -> Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(api::vault::LONGEST_BODY));
    serde_json::to_writer(&mut *bytes, body).map_err(|_| {
        SecretError::new(
            Kind::Failed,
            "a request has no JSON form",
            "report this as a defect",
        )
    })?;
    Ok(bytes)
}

pub(crate) fn not_pem() -> SecretError {
    SecretError::new(
        Kind::Usage,
        "vault.ca_file holds no certificates in PEM",
        "name the file that the operator gave, or leave the setting out",
    )
}

/// What happened, in the words of each cause; never the address.
pub(crate) fn words(error: &reqwest::Error) -> String {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |e| e.source());
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
