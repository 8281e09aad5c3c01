//! Agents' devices: `POST /v1/pairing` and `POST /v1/pairing/token` by the device,
//! `GET|POST /v1/pairing/{user_code}` by the operator.
//!
//! A device asks with its key, and is shown a code. An operator who types the code sees which
//! device asks, registers it, and approves. The session comes only once the registry itself says
//! that the device is the operator's agent of this name: an approval alone opens nothing.

use api::vault::{
    PairingAnswer, PairingApproval, PairingPoll, PairingRequest, PairingStanding, PendingPairing,
    Reason,
};
use api::{SessionToken, UserCode};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use base::Failure;
use base::extract::Named;
use base::peer::Peer;
use model::Actor;
use secrecy::ExposeSecret;
use vault::Op;

use super::Shared;
use crate::app::{App, hash};
use crate::audit::Record;
use crate::caller::{Caller, Proved, Whole, read};
use crate::judge::Wanted;
use crate::refusal::Refusal;
use crate::store::{NewPairing, Pairing, Standing};

/// Devices that wait at the same time, of all together.
const MOST: i64 = 2_000;

/// A code that is in use by chance is made anew; twice in a row does not happen.
const ATTEMPTS: usize = 3;

/// A device asks to belong to somebody.
pub(crate) async fn ask(
    State(app): Shared,
    peer: Peer,
    request: Proved,
) -> Result<Json<PairingAnswer>, Refusal> {
    let mut record = Record::of(&app, "pairing.ask");
    match asked(&app, &peer, &request, &mut record).await {
        Ok(answer) => Ok(Json(answer)),
        Err(refusal) => Err(app.refused(record, refusal).await),
    }
}

async fn asked(
    app: &App,
    peer: &Peer,
    request: &Proved,
    record: &mut Record,
) -> Result<PairingAnswer, Refusal> {
    app.limits.pairings.check(peer)?;
    let PairingRequest { label } = request.read()?;
    // Whose agent it will be is not known yet; whether the label can be one is.
    let anybody = Actor::from_oidc("urn:artifacts:nobody", "nobody");
    let labelled = anybody.and_then(|anybody| anybody.agent(&label));
    labelled.map_err(|error| Failure::invalid(error.to_string()))?;
    let proof = request.proof(app, None, None)?;
    app.first_time(&proof).await?;
    record.device = Some(proof.device);
    record.note = Some(format!("agent {label}"));
    let secret = app.new_secret();
    let lifetime = app.settings.approval_lifetime.as_secs();
    let now = app.now();
    let mut new = NewPairing {
        secret_hash: hash(secret.expose_secret()),
        user_code: app.new_user_code().ok_or_else(Failure::internal)?,
        label,
        device: proof.device,
        expires_at: now.saturating_add(i64::try_from(lifetime).unwrap_or(0)),
    };
    for _ in 0..ATTEMPTS {
        match app.store.add_pairing(&new, now, MOST).await? {
            None => return Err(Failure::rate_limited(60).into()),
            Some(false) => new.user_code = app.new_user_code().ok_or_else(Failure::internal)?,
            Some(true) => {
                app.record(record).await?;
                return Ok(PairingAnswer {
                    pairing: secret.into(),
                    user_code: new.user_code,
                    expires_in: lifetime,
                    interval: app.settings.poll_interval.as_secs(),
                });
            }
        }
    }
    Err(Failure::internal().into())
}

/// The device asks whether somebody has taken it: 200 with its session, or 202.
pub(crate) async fn poll(State(app): Shared, request: Proved) -> Result<Response, Refusal> {
    let mut record = Record::of(&app, "pairing.token");
    match polled(&app, &request, &mut record).await {
        Ok(Some(token)) => Ok(Json(token).into_response()),
        Ok(None) => Ok(StatusCode::ACCEPTED.into_response()),
        Err(refusal) => Err(app.refused(record, refusal).await),
    }
}

async fn polled(
    app: &App,
    request: &Proved,
    record: &mut Record,
) -> Result<Option<SessionToken>, Refusal> {
    let PairingPoll { pairing } = request.read()?;
    let hash = hash(pairing.expose());
    // The proof first: nobody else slows the device down, or learns whether a secret counts.
    let proof = request.proof(app, None, None)?;
    record.device = Some(proof.device);
    let now = app.now();
    let unknown = || Failure::not_found("pairing");
    // Looked at before anything is written: an invented secret costs a stranger more than us.
    let found = app.store.pairing(&hash).await?;
    let found = found.filter(|found| found.expires_at > now);
    if found.ok_or_else(unknown)?.device != proof.device {
        return Err(Reason::ProofInvalid.into());
    }
    app.first_time(&proof).await?;
    let found = app.store.poll_pairing(&hash, now).await?;
    let found = found.ok_or_else(unknown)?;
    let interval = app.settings.poll_interval.as_secs();
    let next = found
        .polled_at
        .saturating_add(i64::try_from(interval).unwrap_or(0));
    if now < next {
        return Err(Failure::rate_limited(interval).into());
    }
    match found.state {
        Standing::Pending => Ok(None),
        Standing::Denied => {
            let text = "the operator refused this device\nhint: ask them, and pair again";
            Err(Failure::forbidden(text).into())
        }
        Standing::Used => Err(unknown().into()),
        Standing::Approved => hand_over(app, &hash, found, record).await,
    }
}

/// The registry has the last word.
async fn hand_over(
    app: &App,
    hash: &[u8],
    found: Pairing,
    record: &mut Record,
) -> Result<Option<SessionToken>, Refusal> {
    let operator = found.operator.ok_or_else(Failure::internal)?;
    let actor = operator
        .agent(&found.label)
        .map_err(|_| Failure::internal())?;
    record.operator = Some(operator.clone());
    record.actor = Some(actor.clone());
    let wanted = Wanted {
        operator: &operator,
        actor: &actor,
        device: &found.device,
        op: Op::List,
        service: None,
    };
    match app.judge(&wanted).await {
        // Approved, and not registered yet.
        Err(Reason::DeviceUnknown) => return Ok(None),
        other => other?,
    };
    let row = app.new_agent_session(&operator, &actor, found.device, "pairing");
    if !app.store.use_pairing(hash, &row).await? {
        return Err(Failure::not_found("pairing").into());
    }
    app.record(&app.record_of(&row)).await?;
    app.handed_over(&row).map(Some)
}

/// What the operator who typed a code is about to take.
pub(crate) async fn show(
    State(app): Shared,
    caller: Caller,
    Named(code): Named<UserCode>,
) -> Result<Json<PendingPairing>, Refusal> {
    let record = Record::by(&app, "pairing.show", &caller);
    match pending(&app, &caller, &code).await {
        Ok(found) => Ok(Json(found)),
        Err(refusal) => Err(app.refused(record, refusal).await),
    }
}

async fn pending(app: &App, caller: &Caller, code: &UserCode) -> Result<PendingPairing, Refusal> {
    caller.require_operator()?;
    let operator = &caller.session.operator;
    app.limits.codes.check(operator)?;
    let found = app.store.pairing_by_code(code).await?;
    let now = app.now();
    let found = found.filter(|found| found.expires_at > now);
    let (found, state) = found
        .and_then(|found| Some((standing(&found, operator)?, found)))
        .map(|(state, found)| (found, state))
        .ok_or_else(|| Failure::not_found("code"))?;
    let actor = operator.agent(&found.label);
    Ok(PendingPairing {
        actor: actor.map_err(|_| Failure::internal())?,
        label: found.label,
        state,
        device: found.device,
    })
}

/// `None` for what is not this operator's to see.
fn standing(found: &Pairing, operator: &Actor) -> Option<PairingStanding> {
    match found.state {
        Standing::Pending => Some(PairingStanding::Pending),
        Standing::Approved if found.operator.as_ref() == Some(operator) => {
            Some(PairingStanding::Approved)
        }
        _ => None,
    }
}

/// The operator decides about exactly the device that they have seen.
pub(crate) async fn decide(
    State(app): Shared,
    caller: Caller,
    Named(code): Named<UserCode>,
    Whole(body): Whole,
) -> Result<StatusCode, Refusal> {
    let mut record = Record::by(&app, "pairing.decide", &caller);
    match decided(&app, &caller, &code, &body, &mut record).await {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(refusal) => Err(app.refused(record, refusal).await),
    }
}

async fn decided(
    app: &App,
    caller: &Caller,
    code: &UserCode,
    body: &[u8],
    record: &mut Record,
) -> Result<(), Refusal> {
    caller.require_operator()?;
    let PairingApproval { approve, device } = read(body)?;
    record.device = Some(device);
    let found = pending(app, caller, code).await?;
    if found.device != device {
        let text = "another device waits with this code than the one that you have seen\nhint: look at it again";
        return Err(Failure::conflict(text).into());
    }
    record.action = format!("pairing.{}", if approve { "approve" } else { "deny" });
    record.target = Some(found.actor);
    app.record(record).await?;
    let operator = Some(&caller.session.operator).filter(|_| approve);
    let now = app.now();
    // Time for the registry to learn of it, too.
    let lifetime = app.settings.approval_lifetime.as_secs();
    let ends = now.saturating_add(i64::try_from(lifetime).unwrap_or(0));
    let changed = app.store.decide_pairing(code, &device, operator, now, ends);
    match changed.await? {
        true => Ok(()),
        false => Err(Failure::not_found("code").into()),
    }
}
