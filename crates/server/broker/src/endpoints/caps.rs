//! `POST /v1/cap/cred-{store,fetch,list,teardown}`: leave for one operation, for one device.

use api::vault::{CapAnswer, CapCredential, CapTeardown, Reason};
use axum::Json;
use axum::extract::State;
use base::Failure;
use model::{Actor, ServiceName};
use vault::{Cap, Op, mint_cap};

use super::Shared;
use crate::app::App;
use crate::audit::Record;
use crate::caller::{Caller, Proved, remembered};
use crate::judge::Wanted;
use crate::refusal::Refusal;
use crate::store::Watched;

type Answer = Result<Json<CapAnswer>, Refusal>;

/// Leave to store.
pub(crate) async fn store(app: Shared, caller: Caller, request: Proved) -> Answer {
    answer(app, caller, request, Op::Store).await
}

/// Leave to fetch.
pub(crate) async fn fetch(app: Shared, caller: Caller, request: Proved) -> Answer {
    answer(app, caller, request, Op::Fetch).await
}

/// Leave to list.
pub(crate) async fn list(app: Shared, caller: Caller, request: Proved) -> Answer {
    answer(app, caller, request, Op::List).await
}

/// Leave to tear down.
pub(crate) async fn teardown(app: Shared, caller: Caller, request: Proved) -> Answer {
    answer(app, caller, request, Op::Teardown).await
}

/// What a capability shall be about.
#[derive(Default)]
struct About {
    service: Option<ServiceName>,
    target: Option<Actor>,
}

async fn answer(State(app): Shared, caller: Caller, request: Proved, op: Op) -> Answer {
    let mut record = Record::by(&app, format!("cap.{}", op.as_str()), &caller);
    let minted = mint(&app, &caller, &request, op, &mut record).await;
    match minted {
        Ok(answer) => Ok(Json(answer)),
        Err(refusal) => Err(app.refused(record, refusal).await),
    }
}

async fn mint(
    app: &App,
    caller: &Caller,
    request: &Proved,
    op: Op,
    record: &mut Record,
) -> Result<CapAnswer, Refusal> {
    app.limits.caps.check(&caller.session.sub)?;
    let session = &caller.session;
    let about = about(request, op, &session.operator)?;
    record.service.clone_from(&about.service);
    record.target.clone_from(&about.target);
    let proof = request.proof(app, Some(&caller.token), session.device.as_ref())?;
    record.device = Some(proof.device);
    let wanted = Wanted {
        operator: &session.operator,
        actor: &session.sub,
        device: &proof.device,
        op,
        service: about.service.as_ref(),
    };
    let epoch = app.judge(&wanted).await?;
    let now = app.now();
    let lifetime = app.settings.cap_lifetime.as_secs();
    let ends = now.saturating_add(i64::try_from(lifetime).unwrap_or(0));
    let cap = Cap {
        iss: app.settings.public_url.clone(),
        sub: session.sub.clone(),
        operator: session.operator.clone(),
        op,
        service: about.service,
        target: about.target,
        epoch,
        iat: now,
        nbf: now,
        exp: ends,
        jti: app.new_id(),
        device: proof.device,
    };
    let token = mint_cap(&cap, &*app.signer()?).ok_or_else(Failure::internal)?;
    let (hash, until) = remembered(&proof);
    let watched = Watched {
        operator: cap.operator,
        actor: cap.sub,
        device: cap.device,
        op: op.as_str().to_owned(),
        service: cap.service,
    };
    if !app.store.watch((&hash, until), &watched, ends).await? {
        return Err(Reason::ProofReplayed.into());
    }
    record.token = Some(cap.jti);
    app.record(record).await?;
    Ok(CapAnswer {
        cap: token.into(),
        expires_in: lifetime,
    })
}

/// Reads the body: a service for store and fetch, none for list, a target for teardown.
fn about(request: &Proved, op: Op, operator: &Actor) -> Result<About, Refusal> {
    if op == Op::Teardown {
        let CapTeardown { target, label } = request.read()?;
        let known = match &label {
            None => operator.clone(),
            Some(label) => {
                let agent = operator.agent(label);
                agent.map_err(|_| Reason::RequestInvalid)?
            }
        };
        if known != target {
            return Err(Reason::CapServiceMismatch.into());
        }
        return Ok(About {
            service: None,
            target: Some(target),
        });
    }
    let CapCredential { service } = request.read()?;
    match (op, service) {
        (Op::Store | Op::Fetch, Some(service)) => Ok(About {
            service: Some(service),
            target: None,
        }),
        (Op::List, None) => Ok(About::default()),
        _ => Err(Reason::RequestInvalid.into()),
    }
}
