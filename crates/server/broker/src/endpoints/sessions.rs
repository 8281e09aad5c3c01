//! Sessions: `POST /v1/bootstrap`, `POST /v1/session/exchange`, `POST /v1/session/renew`,
//! `GET /v1/session`, `POST /v1/session/end`.

use std::time::Duration;

use api::vault::{CurrentSession, ExchangeToken, RenewSession};
use api::{Bootstrap, SessionToken, Timestamp};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use base::peer::Peer;
use base::tokens::{Refused, peek};
use base::{Failure, Random};
use model::Actor;
use secrecy::{ExposeSecret, SecretString};

use super::Shared;
use crate::app::{App, hash};
use crate::audit::Record;
use crate::caller::{Caller, Proved};
use crate::refusal::Refusal;
use crate::store::{Store, StoreError};

/// What bootstrap tokens begin with, so that scanners for leaked secrets know them.
const BOOTSTRAP_PREFIX: &str = "artboot_";

/// For how long a bootstrap token counts.
const BOOTSTRAP_LIFETIME: i64 = 3600;

/// Who the first operator is, in the database. All bootstrap tokens of a broker are theirs.
const FIRST_OPERATOR: &str = "first_operator";

/// Makes a token that begins one session of the first operator. Older ones count no more.
///
/// # Errors
/// The database's.
pub async fn new_bootstrap(
    store: &Store,
    random: &dyn Random,
    now: i64,
) -> Result<SecretString, StoreError> {
    let mut bytes = [0; 32];
    random.fill(&mut bytes);
    let text = base64_simd::URL_SAFE_NO_PAD.encode_to_string(bytes);
    let token = SecretString::from(format!("{BOOTSTRAP_PREFIX}{text}"));
    if store.meta(FIRST_OPERATOR).await?.is_none() {
        let mut number = [0; 16];
        random.fill(&mut number);
        let subject = hex::encode(number);
        let actor = Actor::from_oidc("urn:artifacts:broker:first-operator", &subject);
        let actor = actor.map_err(|_| StoreError::Row("first operator"))?;
        store.set_meta(FIRST_OPERATOR, actor.as_str()).await?;
    }
    let ends = now + BOOTSTRAP_LIFETIME;
    store
        .put_bootstrap(&hash(token.expose_secret()), ends)
        .await?;
    Ok(token)
}

/// Uses a bootstrap token up.
pub(crate) async fn bootstrap(
    State(app): Shared,
    peer: Peer,
    request: Proved,
) -> Result<Json<SessionToken>, Refusal> {
    let record = Record::of(&app, "session.bootstrap");
    match bootstrapped(&app, &peer, &request).await {
        Ok(answer) => Ok(Json(answer)),
        Err(refusal) => Err(app.refused(record, refusal).await),
    }
}

async fn bootstrapped(app: &App, peer: &Peer, request: &Proved) -> Result<SessionToken, Refusal> {
    app.limits.logins.check(peer)?;
    let Bootstrap { token } = request.read()?;
    let proof = request.proof_at_login(app)?;
    let refused = || {
        let text =
            "the bootstrap token does not count\nhint: artifactsd broker bootstrap makes a new one";
        Failure::unauthenticated(text)
    };
    let first = app.store.meta(FIRST_OPERATOR).await?;
    let first = first.and_then(|text| text.parse::<Actor>().ok());
    let first = first.ok_or_else(refused)?;
    let device = app.bound_to(proof).await?;
    let row = app.new_session(&first, device, "bootstrap");
    if !app.store.use_bootstrap(&hash(token.expose()), &row).await? {
        return Err(refused().into());
    }
    app.record(&app.record_of(&row)).await?;
    app.handed_over(&row)
}

/// A session for a token of a configured issuer.
pub(crate) async fn exchange(
    State(app): Shared,
    peer: Peer,
    request: Proved,
) -> Result<Json<SessionToken>, Refusal> {
    let mut record = Record::of(&app, "session.exchange");
    match exchanged(&app, &peer, &request, &mut record).await {
        Ok(answer) => Ok(Json(answer)),
        Err(refusal) => Err(app.refused(record, refusal).await),
    }
}

async fn exchanged(
    app: &App,
    peer: &Peer,
    request: &Proved,
    record: &mut Record,
) -> Result<SessionToken, Refusal> {
    app.limits.logins.check(peer)?;
    let ExchangeToken { token } = request.read()?;
    let proof = request.proof_at_login(app)?;
    let (actor, ends) = foreign(app, token.expose(), record).await?;
    let device = app.bound_to(proof).await?;
    let mut row = app.new_session(&actor, device, "exchange");
    // No longer than the word that it rests on, or a token that ends in a minute would be worth a
    // day.
    row.expires_at = row.expires_at.min(ends);
    app.begin_session(&row).await
}

async fn foreign(app: &App, token: &str, record: &mut Record) -> Result<(Actor, i64), Refusal> {
    let now = app.clock.now();
    let verified = match peek(token) {
        Ok(seen) => app.issuers.verify(token, &seen, now).await,
        Err(error) => Err(error),
    };
    match verified {
        Ok(foreign) => Ok((foreign.actor, foreign.ends.seconds())),
        Err(Refused::KeysUnavailable) => {
            let text = "the keys of the token's issuer cannot be fetched\nhint: try again";
            Err(Failure::unavailable(text).into())
        }
        Err(reason) => {
            record.note = Some(reason.to_string());
            let text = "the token does not count\nhint: a token of a configured issuer, for the audience \"artifacts\"";
            Err(Failure::unauthenticated(text).into())
        }
    }
}

/// A new session in place of one of an agent's device, for the same identity. A person's is not
/// renewed by the device that it is bound to: the person logs in.
pub(crate) async fn renew(
    State(app): Shared,
    caller: Caller,
    request: Proved,
) -> Result<Json<SessionToken>, Refusal> {
    let record = Record::by(&app, "session.renew", &caller);
    match renewed(&app, &caller, &request).await {
        Ok(answer) => Ok(Json(answer)),
        Err(refusal) => Err(app.refused(record, refusal).await),
    }
}

/// The old session ends a little later by itself: other requests of the device are under way.
const OVERLAP: Duration = Duration::from_secs(60);

async fn renewed(app: &App, caller: &Caller, request: &Proved) -> Result<SessionToken, Refusal> {
    let session = &caller.session;
    app.limits.caps.check(&session.sub)?;
    let RenewSession {} = request.read()?;
    let Some(device) = session.device.filter(|_| !caller.is_operator()) else {
        let text = "only sessions of agents' devices are renewed\nhint: log in again";
        return Err(Failure::forbidden(text).into());
    };
    let proof = request.proof(app, Some(&caller.token), Some(&device))?;
    caller.require_device(app).await?;
    app.first_time(&proof).await?;
    let row = app.new_agent_session(&session.operator, &session.sub, device, "renew");
    let answer = app.begin_session(&row).await?;
    let ends = app.clock.now().plus(OVERLAP).seconds();
    app.store.shorten_session(&session.jti, ends).await?;
    Ok(answer)
}

/// Whom the session is for.
pub(crate) async fn show(caller: Caller) -> Json<CurrentSession> {
    let session = caller.session;
    Json(CurrentSession {
        actor: session.sub,
        operator: session.operator,
        device: session.device,
        expires_at: Timestamp::from_micros(session.exp.saturating_mul(1_000_000)),
    })
}

/// Ends the session.
pub(crate) async fn end(State(app): Shared, caller: Caller) -> Result<StatusCode, Refusal> {
    app.end_session(&caller).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl App {
    /// Records that a session ends, and ends it.
    pub(crate) async fn end_session(&self, caller: &Caller) -> Result<(), Refusal> {
        let mut record = Record::by(self, "session.end", caller);
        record.token = Some(caller.session.jti.clone());
        self.record(&record).await?;
        let now = self.now();
        self.store.revoke_session(&caller.session.jti, now).await?;
        Ok(())
    }
}
