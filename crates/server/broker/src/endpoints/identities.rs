//! Identities for an STS: `POST /v1/mint-oidc-jwt` for a session, and over mTLS
//! `POST /v1/worker/web-identity` for what a worker does under a capability.

use api::vault::{MintWebIdentity, WebIdentity as Answer, WorkerWebIdentity};
use axum::Json;
use axum::extract::State;
use base::Failure;
use model::Actor;
use vault::{WebIdentity, mint_web_identity, verify_cap};

use super::Shared;
use crate::app::App;
use crate::audit::Record;
use crate::caller::{Caller, Proved, Whole, read};
use crate::judge::Wanted;
use crate::refusal::Refusal;

/// An identity of the operator whom the session is for, for the client-side backend. An agent
/// gets none: its storage keys would reach past the worker, which knows its scope and records
/// what it does.
pub(crate) async fn own(
    State(app): Shared,
    caller: Caller,
    request: Proved,
) -> Result<Json<Answer>, Refusal> {
    let record = Record::by(&app, "identity.own", &caller);
    let minted = async {
        app.limits.caps.check(&caller.session.sub)?;
        if !caller.is_operator() {
            let text = "an agent gets no keys to the bucket: the worker reaches it for the agent, service by service\nhint: --credential-backend sidecar or http";
            return Err(Failure::forbidden(text).into());
        }
        let MintWebIdentity {} = request.read()?;
        let proof = caller.proved(&app, &request)?;
        caller.require_device(&app).await?;
        app.first_time(&proof).await?;
        mint(&app, &caller.session.sub, record.clone()).await
    };
    match minted.await {
        Ok(answer) => Ok(Json(answer)),
        Err(refusal) => Err(app.refused(record, refusal).await),
    }
}

/// An identity of whose credentials a capability is about, for a worker that is about to do what
/// it allows. The capability is judged as the worker judges it.
pub(crate) async fn of_cap(
    State(app): Shared,
    Whole(body): Whole,
) -> Result<Json<Answer>, Refusal> {
    let mut record = Record::of(&app, "identity.worker");
    match for_cap(&app, &body, &mut record).await {
        Ok(answer) => Ok(Json(answer)),
        Err(refusal) => Err(app.refused(record, refusal).await),
    }
}

async fn for_cap(app: &App, body: &[u8], record: &mut Record) -> Result<Answer, Refusal> {
    let WorkerWebIdentity { cap } = read(body)?;
    let issuer = &app.settings.public_url;
    let cap = verify_cap(cap.expose(), &app.verify_keys()?, issuer, app.now())?;
    record.operator = Some(cap.operator.clone());
    record.actor = Some(cap.sub.clone());
    record.device = Some(cap.device);
    record.service.clone_from(&cap.service);
    record.target.clone_from(&cap.target);
    record.note = Some(format!("for capability {}", cap.jti));
    cap.check(cap.op, cap.service.as_ref(), cap.target.as_ref())?;
    let wanted = Wanted {
        operator: &cap.operator,
        actor: &cap.sub,
        device: &cap.device,
        op: cap.op,
        service: cap.service.as_ref(),
    };
    if app.judge(&wanted).await? != cap.epoch {
        return Err(api::vault::Reason::EpochMismatch.into());
    }
    let actor = cap.target.as_ref().unwrap_or(&cap.sub);
    mint(app, actor, record.clone()).await
}

async fn mint(app: &App, actor: &Actor, mut record: Record) -> Result<Answer, Refusal> {
    let identity = WebIdentity {
        iss: app.settings.public_url.clone(),
        actor: actor.clone(),
        iat: app.now(),
        jti: app.new_id(),
    };
    let token = mint_web_identity(&identity, &*app.signer()?).ok_or_else(Failure::internal)?;
    record.target = Some(identity.actor);
    record.token = Some(identity.jti);
    app.record(&record).await?;
    Ok(Answer {
        token: token.into(),
        expires_in: vault::token::WEB_IDENTITY_LIFETIME.unsigned_abs(),
    })
}
