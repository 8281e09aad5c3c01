//! The broker's endpoints, one method each.

use std::future::Future;
use std::time::Duration;

use api::vault::{
    CapAnswer, CapCredential, CapTeardown, DropEvent, MintWebIdentity, PairingAnswer,
    PairingApproval, PairingPoll, PairingRequest, PendingPairing, RenewSession, WalletChallenge,
    WalletLogin, WebIdentity,
};
use api::{Bootstrap, Secret, SessionToken};
use model::{Actor, ServiceName};
use reqwest::{Method, Response, StatusCode};
use secrecy::SecretString;
use serde::Serialize;
use serde::de::DeserializeOwned;
use vault::{DeviceKey, Op};

use crate::error::{Result, SecretError};
use crate::login::Login;
use crate::server::{Asked, Proven, Server};

/// What a capability is wanted for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// To store a service's secret.
    Store(ServiceName),
    /// To fetch one.
    Fetch(ServiceName),
    /// To list their names.
    List,
    /// To delete all of an actor's.
    Teardown {
        /// The operator's own actor, or an agent's.
        target: Actor,
        /// The agent's label; none for the operator's own.
        label: Option<String>,
    },
}

impl Wanted {
    /// The operation.
    pub fn op(&self) -> Op {
        match self {
            Self::Store(_) => Op::Store,
            Self::Fetch(_) => Op::Fetch,
            Self::List => Op::List,
            Self::Teardown { .. } => Op::Teardown,
        }
    }

    /// The service, where it is about one.
    pub fn service(&self) -> Option<&ServiceName> {
        match self {
            Self::Store(service) | Self::Fetch(service) => Some(service),
            Self::List | Self::Teardown { .. } => None,
        }
    }
}

/// A broker that is there says within two seconds what its registry says, or that this one is
/// away. Somebody waits for it.
const PATIENCE: Duration = Duration::from_secs(4);

/// A broker. Cheap to clone.
#[derive(Clone)]
pub struct Broker {
    server: Server,
    patience: Duration,
}

impl Broker {
    /// At this server.
    pub fn new(server: Server) -> Self {
        Self {
            server,
            patience: PATIENCE,
        }
    }

    /// Where it is.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// A capability, bound to the device whose key this is.
    ///
    /// # Errors
    /// The broker's refusal.
    pub async fn cap(&self, login: &Login, key: &DeviceKey, wanted: &Wanted) -> Result<CapAnswer> {
        let path = format!("/v1/cap/cred-{}", wanted.op().as_str());
        let proven = Proven {
            key,
            token: Some(&login.token),
        };
        match wanted {
            Wanted::Teardown { target, label } => {
                let body = CapTeardown {
                    target: target.clone(),
                    label: label.clone(),
                };
                let asked = self.post(&path, Some(&login.token), Some(proven), &body);
                self.soon(asked).await
            }
            other => {
                let body = CapCredential {
                    service: other.service().cloned(),
                };
                let asked = self.post(&path, Some(&login.token), Some(proven), &body);
                self.soon(asked).await
            }
        }
    }

    /// An answer that somebody waits for: a broker that hangs is told as one that is away.
    async fn soon<T>(&self, asked: impl Future<Output = Result<T>>) -> Result<T> {
        let answered = tokio::time::timeout(self.patience, asked).await;
        answered.unwrap_or_else(|_| {
            let why = format!("nothing came within {} s", self.patience.as_secs_f32());
            Err(SecretError::unreachable(&self.server.shown(), &why))
        })
    }

    /// A token for the store's STS, tagged with the session's actor: an operator's, by the device
    /// that the session is bound to.
    ///
    /// # Errors
    /// The broker's refusal.
    pub async fn web_identity(&self, login: &Login, key: &DeviceKey) -> Result<WebIdentity> {
        let proven = Proven {
            key,
            token: Some(&login.token),
        };
        let body = MintWebIdentity {};
        let path = "/v1/mint-oidc-jwt";
        let asked = self.post(path, Some(&login.token), Some(proven), &body);
        self.soon(asked).await
    }

    /// The stream of an operator's events, from after the event `last` on.
    ///
    /// # Errors
    /// The broker's refusal, or it is away.
    pub async fn events(&self, login: &Login, last: Option<&str>) -> Result<Response> {
        let path = format!("/v1/sse/operator/{}", login.operator);
        self.server.stream(&path, &login.token, last).await
    }

    /// Says what was revoked, so that daemons hear of it at once.
    ///
    /// # Errors
    /// The broker's refusal.
    pub async fn tell_drop(&self, login: &Login, event: &DropEvent) -> Result<()> {
        let asked = asked("/v1/drop", Some(&login.token), None, event);
        self.soon(self.server.ask_whole(asked)).await.map(drop)
    }
}

/// Logins.
impl Broker {
    /// The session of the first operator, for the one-time token; bound to the device.
    ///
    /// # Errors
    /// The token does not count.
    pub async fn bootstrap(&self, token: Secret, key: &DeviceKey) -> Result<SessionToken> {
        let proven = Proven { key, token: None };
        self.post("/v1/bootstrap", None, Some(proven), &Bootstrap { token })
            .await
    }

    /// What a wallet's message must say. Whoever signs one makes it themselves, and compares.
    ///
    /// # Errors
    /// No wallet logs in there, or the broker is away.
    pub async fn wallet_challenge(&self) -> Result<WalletChallenge> {
        let asked = bare(Method::POST, "/v1/wallet/nonce", None);
        self.server.ask(asked).await
    }

    /// The session of a wallet's holder, for its signed message; bound to the device.
    ///
    /// # Errors
    /// The message does not count.
    pub async fn wallet_login(
        &self,
        signed: &WalletLogin,
        key: &DeviceKey,
    ) -> Result<SessionToken> {
        let proven = Proven { key, token: None };
        self.post("/v1/wallet/login", None, Some(proven), signed)
            .await
    }

    /// A new session of the same identity, for a session that was given to a device.
    ///
    /// # Errors
    /// The broker's refusal.
    pub async fn renew(&self, login: &Login, key: &DeviceKey) -> Result<SessionToken> {
        let proven = Proven {
            key,
            token: Some(&login.token),
        };
        let body = RenewSession {};
        self.post("/v1/session/renew", Some(&login.token), Some(proven), &body)
            .await
    }

    /// Ends a session.
    ///
    /// # Errors
    /// The broker's refusal, or it is away.
    pub async fn logout(&self, login: &Login) -> Result<()> {
        let asked = bare(Method::POST, "/v1/session/end", Some(&login.token));
        self.server.ask_whole(asked).await.map(drop)
    }
}

/// Pairing an agent's machine.
impl Broker {
    /// An agent's device asks to belong to an operator.
    ///
    /// # Errors
    /// The broker's refusal.
    pub async fn pair(&self, key: &DeviceKey, label: &str) -> Result<PairingAnswer> {
        let body = PairingRequest {
            label: label.to_owned(),
        };
        let proven = Proven { key, token: None };
        self.post("/v1/pairing", None, Some(proven), &body).await
    }

    /// The agent's session, once the operator has approved; `None` before.
    ///
    /// # Errors
    /// It was refused, or the code has ended.
    pub async fn poll_pairing(
        &self,
        key: &DeviceKey,
        pairing: &Secret,
    ) -> Result<Option<SessionToken>> {
        let body = PairingPoll {
            pairing: SecretString::from(pairing.expose()).into(),
        };
        let proven = Proven { key, token: None };
        let asked = asked("/v1/pairing/token", None, Some(proven), &body);
        let (status, answer) = self.server.ask_whole(asked).await?;
        match status {
            StatusCode::ACCEPTED => Ok(None),
            _ => self.server.parse(&answer).map(Some),
        }
    }

    /// Which device asks under a code.
    ///
    /// # Errors
    /// There is none.
    pub async fn pending(&self, login: &Login, code: &str) -> Result<PendingPairing> {
        let path = format!("/v1/pairing/{code}");
        let asked = bare(Method::GET, &path, Some(&login.token));
        self.server.ask(asked).await
    }

    /// Lets that device in, or not.
    ///
    /// # Errors
    /// The broker's refusal.
    pub async fn decide(&self, login: &Login, code: &str, word: &PairingApproval) -> Result<()> {
        let path = format!("/v1/pairing/{code}");
        let asked = asked(&path, Some(&login.token), None, word);
        self.server.ask_whole(asked).await.map(drop)
    }

    async fn post<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        bearer: Option<&Secret>,
        proven: Option<Proven<'_>>,
        body: &B,
    ) -> Result<T> {
        self.server.ask(asked(path, bearer, proven, body)).await
    }
}

fn asked<'a, B>(
    path: &'a str,
    bearer: Option<&'a Secret>,
    proven: Option<Proven<'a>>,
    body: &'a B,
) -> Asked<'a, B> {
    Asked {
        method: Method::POST,
        path,
        bearer,
        proven,
        body: Some(body),
    }
}

/// A request without a body and a proof.
fn bare<'a>(method: Method, path: &'a str, bearer: Option<&'a Secret>) -> Asked<'a, ()> {
    Asked {
        method,
        path,
        bearer,
        proven: None,
        body: None,
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::error::Kind;

    #[tokio::test]
    async fn a_broker_that_takes_the_question_and_says_nothing_is_named_soon() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        let server = Server::new("broker", url.parse().unwrap(), None).unwrap();
        let broker = Broker {
            patience: Duration::from_millis(200),
            ..Broker::new(server)
        };
        let operator = Actor::from_oidc("https://issuer.example", "ada").unwrap();
        let claims = serde_json::json!({ "sub": operator, "operator": operator, "exp": i64::MAX });
        let claims = base64_simd::URL_SAFE_NO_PAD.encode_to_string(claims.to_string());
        let token = SecretString::from(format!("e30.{claims}.x"));
        let login = Login::of(token.into()).unwrap();
        let key = DeviceKey::generate().unwrap();
        let wanted = Wanted::Fetch("openrouter".parse().unwrap());
        let refused = broker.cap(&login, &key, &wanted).await.map(drop);
        let error = refused.unwrap_err();
        assert_eq!(error.kind, Kind::Temporary);
        let expected = format!("the broker {url} does not answer: nothing came within 0.2 s");
        assert_eq!(error.message, expected);
    }
}
