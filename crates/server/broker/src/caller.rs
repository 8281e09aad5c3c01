//! Who asks: the session of a request, and the proof by a device.

use std::sync::Arc;

use api::vault::{PROOF_HEADER, Reason};
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use base::Failure;
use base::extract::Form;
use model::DeviceId;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use vault::{Op, Proof, ProofFor, Session, verify_proof, verify_session};

use crate::app::App;
use crate::audit::Record;
use crate::judge::Wanted;
use crate::refusal::Refusal;

/// A proof counts for a minute before and after its time; so long it is remembered.
const PROOF_KEPT: i64 = 130;

/// Who asks, by the session in `Authorization`.
pub(crate) struct Caller {
    pub(crate) session: Session,
    pub(crate) token: SecretString,
}

impl Caller {
    /// Who holds this token.
    pub(crate) async fn of_token(app: &App, token: SecretString) -> Result<Self, Refusal> {
        let keys = app.verify_keys()?;
        let issuer = &app.settings.public_url;
        let session = verify_session(token.expose_secret(), &keys, issuer, app.now());
        let session = session.map_err(|error| Failure::unauthenticated(error.to_string()))?;
        let row = app.store.session(&session.jti).await?;
        let known = row.is_some_and(|row| {
            row.expires_at > app.now()
                && row.actor == session.sub
                && row.operator == session.operator
                && row.device == session.device
        });
        if !known {
            let text = "the session was ended\nhint: log in again";
            return Err(Failure::unauthenticated(text).into());
        }
        Ok(Self { session, token })
    }

    /// Whether an operator asks, in their own name.
    pub(crate) fn is_operator(&self) -> bool {
        self.session.sub == self.session.operator
    }

    /// That an operator asks.
    pub(crate) fn require_operator(&self) -> Result<(), Refusal> {
        match self.is_operator() {
            true => Ok(()),
            false => {
                let text =
                    "this is for an operator's own session\nhint: the agent's operator does this";
                Err(Failure::forbidden(text).into())
            }
        }
    }

    /// That the device which the session is bound to proves this request. Whether the proof was
    /// seen before is still to be asked.
    pub(crate) fn proved(&self, app: &App, request: &Proved) -> Result<Proof, Refusal> {
        let Some(device) = &self.session.device else {
            let text = "the session is bound to no device\nhint: log in again by `artifacts vault login` on the machine that asks";
            return Err(Failure::forbidden(text).into());
        };
        Ok(request.proof(app, Some(&self.token), Some(device))?)
    }

    /// That the session may follow events: an agent's device has to stand; an operator's may not
    /// be registered yet.
    pub(crate) async fn require_follower(&self, app: &App) -> Result<(), Refusal> {
        match self.require_device(app).await {
            Err(Refusal::Reason(Reason::DeviceUnknown | Reason::RoleMissing))
                if self.is_operator() =>
            {
                Ok(())
            }
            other => other,
        }
    }

    /// That the session still stands: one of a device does while the registry knows the device as
    /// whom it was given to.
    pub(crate) async fn require_device(&self, app: &App) -> Result<(), Refusal> {
        let Some(device) = &self.session.device else {
            return Ok(());
        };
        let wanted = Wanted {
            operator: &self.session.operator,
            actor: &self.session.sub,
            device,
            op: Op::List,
            service: None,
        };
        app.judge(&wanted).await?;
        Ok(())
    }
}

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refusal> {
        let token = bearer(&parts.headers)?;
        match Self::of_token(app, token).await {
            Ok(caller) => Ok(caller),
            Err(refusal) => {
                let action = format!("session {}", parts.uri.path());
                Err(app.refused(Record::of(app, action), refusal).await)
            }
        }
    }
}

fn bearer(headers: &HeaderMap) -> Result<SecretString, Failure> {
    let missing =
        || Failure::unauthenticated("a session is needed\nhint: Authorization: Bearer TOKEN");
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (all.next(), all.next()) else {
        return Err(missing());
    };
    let value = value.to_str().map_err(|_| missing())?;
    let (scheme, token) = value.split_once(' ').ok_or_else(missing)?;
    let token = Some(token.trim()).filter(|_| scheme.eq_ignore_ascii_case("bearer"));
    Ok(token.ok_or_else(missing)?.into())
}

/// A whole body.
pub(crate) struct Whole(pub(crate) Bytes);

impl<S: Send + Sync> FromRequest<S> for Whole {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let body = Bytes::from_request(request, state).await;
        let body = body.map_err(|_| Refusal::Reason(Reason::TooLarge))?;
        Ok(Self(body))
    }
}

/// A request with its whole body, for endpoints that want a proof of it.
pub(crate) struct Proved {
    method: Method,
    path: String,
    proof: Option<String>,
    kind: Option<HeaderValue>,
    pub(crate) body: Bytes,
}

impl<S: Send + Sync> FromRequest<S> for Proved {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let method = request.method().clone();
        let path = request.uri().path().to_owned();
        let mut proofs = request.headers().get_all(PROOF_HEADER).iter();
        let proof = match (proofs.next(), proofs.next()) {
            (None, _) => None,
            // Two are none: who knows which one another part of the way looked at.
            (Some(_), Some(_)) => Some(String::new()),
            (Some(proof), None) => Some(proof.to_str().unwrap_or("").to_owned()),
        };
        let kind = request.headers().get(header::CONTENT_TYPE).cloned();
        let Whole(body) = Whole::from_request(request, state).await?;
        Ok(Self {
            method,
            path,
            proof,
            kind,
            body,
        })
    }
}

impl Proved {
    /// The body as what the endpoint reads.
    pub(crate) fn read<T: serde::de::DeserializeOwned>(&self) -> Result<T, Refusal> {
        read(&self.body)
    }

    /// The body as a form (RFC 6749).
    pub(crate) async fn form<T: serde::de::DeserializeOwned>(&self) -> Result<T, Refusal> {
        let mut request = Request::new(self.body.clone().into());
        *request.method_mut() = Method::POST;
        if let Some(kind) = &self.kind {
            let headers = request.headers_mut();
            headers.insert(header::CONTENT_TYPE, kind.clone());
        }
        let Form(value) = Form::from_request(request, &()).await?;
        Ok(value)
    }

    /// The proof by the device that a session shall be bound to, if there is one: a session that
    /// begins without is bound to none. Whether it was seen before is still to be asked.
    pub(crate) fn proof_at_login(&self, app: &App) -> Result<Option<Proof>, Reason> {
        match self.proof {
            None => Ok(None),
            Some(_) => self.proof(app, None, None).map(Some),
        }
    }

    /// The device that proves this request, with this session if it has one. Whether it was seen
    /// before is still to be asked.
    pub(crate) fn proof(
        &self,
        app: &App,
        token: Option<&SecretString>,
        expected: Option<&DeviceId>,
    ) -> Result<Proof, Reason> {
        let url = app.url(&self.path);
        let request = ProofFor {
            method: self.method.as_str(),
            url: &url,
            token: token.map(ExposeSecret::expose_secret),
            body: &self.body,
        };
        verify_proof(self.proof.as_deref(), &request, expected, app.now())
    }
}

/// A body as what an endpoint reads: a JSON object. The parser would take a list for one, its
/// items for the fields in their order; its words could repeat a secret.
pub(crate) fn read<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    let mut begin = body.iter().skip_while(|byte| byte.is_ascii_whitespace());
    if begin.next() != Some(&b'{') {
        return Err(Reason::RequestInvalid.into());
    }
    serde_json::from_slice(body).map_err(|_| Reason::RequestInvalid.into())
}

/// What is remembered of a proof, and until when.
pub(crate) fn remembered(proof: &Proof) -> (Vec<u8>, i64) {
    let mut hash = Sha256::new();
    hash.update(proof.device.as_bytes());
    hash.update(&proof.jti);
    (
        hash.finalize().to_vec(),
        proof.iat.saturating_add(PROOF_KEPT),
    )
}

impl App {
    /// The device of a proof that a login came with, if one did; the proof is used up.
    pub(crate) async fn bound_to(&self, proof: Option<Proof>) -> Result<Option<DeviceId>, Refusal> {
        let Some(proof) = proof else { return Ok(None) };
        self.first_time(&proof).await?;
        Ok(Some(proof.device))
    }

    /// That a proof was not seen before.
    pub(crate) async fn first_time(&self, proof: &Proof) -> Result<(), Refusal> {
        let (hash, until) = remembered(proof);
        match self.store.see_proof(&hash, until).await? {
            true => Ok(()),
            false => Err(Reason::ProofReplayed.into()),
        }
    }
}
