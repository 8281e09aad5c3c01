//! Other issuers whose tokens count: OpenID Connect providers as the source of people, and
//! the broker, whose session tokens name an actor already.
//!
//! Only issuers of the operator's configuration are ever asked. Their keys are fetched by
//! discovery, kept, and fetched again when they are old or a token names an unknown one, but
//! not more often than a pause allows: a stranger who sends tokens with invented key ids
//! makes one request each half minute, not one each.

mod relying;

use std::path::PathBuf;
use std::time::Duration;

use api::{Scope, TenantId, Timestamp};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey};
use model::Actor;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::{AUDIENCE, Peek, Refused, check_times, refused_by_library, validation};
use crate::clients::{Clients, is_safe};

pub use relying::{Attempt, Door, NotLetIn};

/// Between two requests for an issuer's keys.
const COOL_DOWN: Duration = Duration::from_secs(30);

/// Keys older than this are fetched again; the old ones stay if that fails.
const FRESH: Duration = Duration::from_secs(600);

/// How long an issuer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// More than any key set needs.
const LONGEST: usize = 256 * 1024;

/// An issuer, as the operator configures it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerConfig {
    /// Its `iss`, exactly; discovery is below it.
    pub url: String,
    /// What its `sub` is.
    #[serde(default)]
    pub kind: IssuerKind,
    /// The algorithms that it signs with.
    #[serde(default = "usual_algorithms")]
    pub algorithms: Vec<PinnedAlgorithm>,
    /// What the console's sign-in page calls it; otherwise its URL.
    #[serde(default)]
    pub name: Option<String>,
    /// As whom the console is registered there; without it nobody signs in to the console by it.
    #[serde(default)]
    pub client_id: Option<String>,
    /// The file (mode 0600) of the secret that goes with it.
    #[serde(default)]
    pub client_secret_file: Option<PathBuf>,
    /// The environment variable that has the secret instead.
    #[serde(default)]
    pub client_secret_env: Option<String>,
}

/// What an issuer's `sub` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IssuerKind {
    /// Somebody's name at a provider; the actor follows from it and the issuer.
    #[default]
    Oidc,
    /// An actor: the tokens are the broker's sessions.
    Broker,
}

/// An algorithm that may be pinned: none that signs with a shared secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum PinnedAlgorithm {
    /// ECDSA on P-256.
    Es256,
    /// ECDSA on P-384.
    Es384,
    /// RSA, PKCS#1 v1.5.
    Rs256,
    /// RSA-PSS.
    Ps256,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

/// Who a token of another issuer stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// Who.
    pub actor: Actor,
    /// The tenant that a broker's token is for.
    pub tenant: Option<TenantId>,
    /// What a broker's token may be used for.
    pub scope: Option<Scope>,
    /// When it ends.
    pub ends: Timestamp,
}

/// All configured issuers.
pub struct Issuers {
    all: Vec<Issuer>,
}

struct Issuer {
    config: IssuerConfig,
    secret: Option<SecretString>,
    clients: Clients,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    keys: Vec<Jwk>,
    discovery: Option<Discovery>,
    fetched: Option<Timestamp>,
    tried: Option<Timestamp>,
}

#[derive(Clone, Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
    authorization_endpoint: Option<String>,
    token_endpoint: Option<String>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

#[derive(Debug, Clone, Deserialize)]
struct Claims {
    sub: String,
    exp: i64,
    iat: i64,
    nbf: Option<i64>,
    nonce: Option<String>,
    azp: Option<String>,
    // These two may be anything where they are a provider's own.
    tenant: Option<serde_json::Value>,
    scope: Option<serde_json::Value>,
}

/// A provider's keys; some may be of kinds that are not known here.
#[derive(Deserialize)]
struct KeySet {
    keys: Vec<serde_json::Value>,
}

impl Issuers {
    /// Nobody is asked for anything yet.
    ///
    /// # Errors
    /// An issuer that is not reached by TLS (on this machine it need not be), or that is named
    /// twice, or without algorithms.
    pub fn new(configs: Vec<IssuerConfig>) -> Result<Self, String> {
        let clients = Clients::new(|client| client.timeout(PATIENCE))
            .map_err(|error| format!("no HTTPS client can be made: {error}"))?;
        let mut all: Vec<Issuer> = Vec::new();
        for config in configs {
            if !is_safe(&config.url) {
                return Err(format!("the issuer {} is not https://", config.url));
            }
            if config.algorithms.is_empty() {
                return Err(format!("the issuer {} has no algorithms", config.url));
            }
            if config.client_id.as_deref() == Some(AUDIENCE) {
                return Err(format!(
                    "the issuer {}: client_id cannot be {AUDIENCE:?}, or tokens that say who signed in would open the interface too\nhint: register the console under another name",
                    config.url
                ));
            }
            if all.iter().any(|issuer| issuer.config.url == config.url) {
                return Err(format!("the issuer {} is named twice", config.url));
            }
            all.push(Issuer {
                secret: relying::client_secret(&config)?,
                config,
                clients: clients.clone(),
                known: Mutex::default(),
            });
        }
        Ok(Self { all })
    }

    /// The issuers' URLs.
    pub fn urls(&self) -> Vec<String> {
        let urls = self.all.iter().map(|issuer| issuer.config.url.clone());
        urls.collect()
    }

    /// Verifies a token by the issuer that it names.
    ///
    /// # Errors
    /// Why it does not count.
    pub async fn verify(
        &self,
        token: &str,
        seen: &Peek,
        now: Timestamp,
    ) -> Result<Foreign, Refused> {
        let mut issuers = self.all.iter();
        let issuer = issuers.find(|issuer| issuer.config.url == seen.issuer);
        issuer
            .ok_or(Refused::Issuer)?
            .verify(token, seen, now)
            .await
    }
}

impl Issuer {
    async fn verify(&self, token: &str, seen: &Peek, now: Timestamp) -> Result<Foreign, Refused> {
        // RFC 9068's type, the usual one, or none: no token of another purpose.
        let kind = seen.kind.as_deref().map(str::to_ascii_lowercase);
        if !matches!(
            kind.as_deref(),
            None | Some("jwt" | "at+jwt" | "application/at+jwt" | "session+jwt")
        ) {
            return Err(Refused::Type);
        }
        let claims = self.claims(token, seen, AUDIENCE, now).await?;
        self.foreign(claims)
    }

    /// What a token says, if it is this issuer's, for this audience, and counts now.
    async fn claims(
        &self,
        token: &str,
        seen: &Peek,
        audience: &str,
        now: Timestamp,
    ) -> Result<Claims, Refused> {
        let algorithm = self.allowed(&seen.algorithm)?;
        let key = self.key(seen, now).await?;
        let key = DecodingKey::from_jwk(&key).map_err(|_| Refused::Key)?;
        let validation = validation(&[algorithm], &self.config.url, audience);
        let claims = jsonwebtoken::decode::<Claims>(token, &key, &validation);
        let claims = claims.map_err(|error| refused_by_library(&error))?.claims;
        check_times(now, claims.iat, claims.nbf, claims.exp)?;
        Ok(claims)
    }

    fn foreign(&self, claims: Claims) -> Result<Foreign, Refused> {
        let ends = Timestamp::from_micros(claims.exp.saturating_mul(1_000_000));
        let wrong = |_| Refused::Claims;
        match self.config.kind {
            IssuerKind::Oidc => Ok(Foreign {
                actor: Actor::from_oidc(&self.config.url, &claims.sub).map_err(wrong)?,
                tenant: None,
                scope: None,
                ends,
            }),
            IssuerKind::Broker => Ok(Foreign {
                actor: claims.sub.parse().map_err(wrong)?,
                tenant: claims.tenant.map(parsed).transpose()?,
                scope: claims.scope.map(parsed).transpose()?,
                ends,
            }),
        }
    }

    fn allowed(&self, name: &str) -> Result<Algorithm, Refused> {
        let mut pinned = self.config.algorithms.iter().map(|pinned| pinned.library());
        let named = name.parse::<Algorithm>().map_err(|_| Refused::Algorithm)?;
        pinned
            .find(|algorithm| *algorithm == named)
            .ok_or(Refused::Algorithm)
    }

    /// The key that a token names; the only one if it names none.
    async fn key(&self, seen: &Peek, now: Timestamp) -> Result<Jwk, Refused> {
        // One request at a time: others wait here and find what it brought.
        let mut known = self.known.lock().await;
        let lacking = choose(&known.keys, seen).is_none();
        self.renew(&mut known, lacking, now).await;
        choose(&known.keys, seen)
            .cloned()
            .ok_or(match known.fetched {
                Some(_) => Refused::Key,
                None => Refused::KeysUnavailable,
            })
    }

    /// Asks the issuer again if something is lacking or old, and the last question is long enough
    /// ago. What was known stays if that fails.
    async fn renew(&self, known: &mut Known, lacking: bool, now: Timestamp) {
        let age =
            |since: Option<Timestamp>, length| since.is_none_or(|then| then.plus(length) <= now);
        if !(lacking || age(known.fetched, FRESH)) || !age(known.tried, COOL_DOWN) {
            return;
        }
        known.tried = Some(now);
        match self.fetch().await {
            Ok((discovery, keys)) => {
                known.discovery = Some(discovery);
                known.keys = keys;
                known.fetched = Some(now);
            }
            Err(error) => tracing::warn!(
                issuer = self.config.url,
                error,
                "its keys cannot be fetched"
            ),
        }
    }

    async fn fetch(&self) -> Result<(Discovery, Vec<Jwk>), String> {
        let base = self.config.url.trim_end_matches('/');
        let discovery: Discovery = self
            .get(&format!("{base}/.well-known/openid-configuration"))
            .await?;
        // OpenID Connect Discovery §4.3.
        if discovery.issuer != self.config.url {
            return Err("its discovery document names another issuer".into());
        }
        if !is_safe(&discovery.jwks_uri) {
            return Err("its jwks_uri is not https://".into());
        }
        let set: KeySet = self.get(&discovery.jwks_uri).await?;
        let keys = set.keys.into_iter();
        let keys = keys
            .filter_map(|key| serde_json::from_value(key).ok())
            .collect();
        Ok((discovery, keys))
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, url: &str) -> Result<T, String> {
        let response = self.clients.for_url(url).get(url).send().await;
        let response = response.map_err(|e| e.to_string())?;
        if response.status() != reqwest::StatusCode::OK {
            return Err(format!("{url} answered {}", response.status()));
        }
        let body = read(response).await?;
        serde_json::from_slice(&body).map_err(|e| format!("{url}: {e}"))
    }
}

/// An answer's body, if it is no longer than what is asked for can be.
async fn read(mut response: reqwest::Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| e.to_string())? {
        if body.len() + chunk.len() > LONGEST {
            return Err(format!("the answer has more than {LONGEST} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

impl PinnedAlgorithm {
    fn library(self) -> Algorithm {
        match self {
            Self::Es256 => Algorithm::ES256,
            Self::Es384 => Algorithm::ES384,
            Self::Rs256 => Algorithm::RS256,
            Self::Ps256 => Algorithm::PS256,
            Self::EdDsa => Algorithm::EdDSA,
        }
    }
}

/// The broker's claims are of our form, or the token is refused.
fn parsed<T: serde::de::DeserializeOwned>(claim: serde_json::Value) -> Result<T, Refused> {
    serde_json::from_value(claim).map_err(|_| Refused::Claims)
}

fn usual_algorithms() -> Vec<PinnedAlgorithm> {
    vec![PinnedAlgorithm::Rs256, PinnedAlgorithm::Es256]
}

fn choose<'a>(keys: &'a [Jwk], seen: &Peek) -> Option<&'a Jwk> {
    match (&seen.key, keys) {
        (Some(id), keys) => keys
            .iter()
            .find(|key| key.common.key_id.as_ref() == Some(id)),
        (None, [only]) => Some(only),
        (None, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_console_is_not_registered_under_the_name_of_the_interface() {
        let config = |client_id: &str| IssuerConfig {
            url: "https://a".into(),
            kind: IssuerKind::Oidc,
            algorithms: usual_algorithms(),
            name: None,
            client_id: Some(client_id.into()),
            client_secret_file: None,
            client_secret_env: None,
        };
        assert!(Issuers::new(vec![config("console")]).is_ok());
        let refused = Issuers::new(vec![config(AUDIENCE)]).err();
        assert!(refused.is_some_and(|reason| reason.contains("client_id cannot be")));
    }
}
