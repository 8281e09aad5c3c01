//! A machine gets a person's session (RFC 8628): `POST /oauth/device_authorization`,
//! `POST /oauth/token` by the machine; `GET|POST /v1/device/{user_code}` by the person. The page
//! for browsers is in `pages`.

use api::vault::{LoginDecision, PendingLogin};
use api::{
    DeviceAuthorization, DeviceAuthorizationRequest, DeviceTokenError, DeviceTokenRequest,
    ErrorCode, OAuthError, SessionToken, Timestamp, UserCode,
};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use base::Failure;
use base::extract::{Form, Named};
use base::peer::Peer;
use model::Actor;
use secrecy::ExposeSecret;

use super::Shared;
use crate::app::{App, hash};
use crate::audit::Record;
use crate::caller::{Caller, Proved, Whole, read};
use crate::refusal::Refusal;
use crate::store::{NewLogin, Standing};

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// Machines that wait at the same time, of all together.
const MOST: i64 = 2_000;

/// A code that is in use by chance is made anew; twice in a row does not happen.
const ATTEMPTS: usize = 3;

/// A machine asks to be let in (RFC 8628 §3.1).
pub(crate) async fn authorize(
    State(app): Shared,
    peer: Peer,
    Form(request): Form<DeviceAuthorizationRequest>,
) -> Result<Json<DeviceAuthorization>, Refusal> {
    app.limits.machines.check(&peer)?;
    let device_code = app.new_secret();
    let now = app.now();
    let lifetime = app.settings.approval_lifetime.as_secs();
    let interval = app.settings.poll_interval.as_secs();
    let mut new = NewLogin {
        device_hash: hash(device_code.expose_secret()),
        user_code: app.new_user_code().ok_or_else(Failure::internal)?,
        client_id: request.client_id.as_str().to_owned(),
        machine: request.machine.as_str().to_owned(),
        created_at: now,
        expires_at: now.saturating_add(i64::try_from(lifetime).unwrap_or(0)),
        interval: i64::try_from(interval).unwrap_or(5),
    };
    for _ in 0..ATTEMPTS {
        match app.store.add_login(&new, MOST).await? {
            None => return Err(Failure::rate_limited(60).into()),
            Some(false) => new.user_code = app.new_user_code().ok_or_else(Failure::internal)?,
            Some(true) => {
                let page = app.url("/device");
                return Ok(Json(DeviceAuthorization {
                    device_code: device_code.into(),
                    verification_uri_complete: format!("{page}?user_code={}", new.user_code),
                    verification_uri: page,
                    user_code: new.user_code,
                    expires_in: lifetime,
                    interval,
                }));
            }
        }
    }
    Err(Failure::internal().into())
}

/// The machine asks whether somebody has let it in (RFC 8628 §3.4).
pub(crate) async fn token(State(app): Shared, request: Proved) -> Result<Response, Refusal> {
    match exchanged(&app, &request).await? {
        Ok(token) => Ok(Json(token).into_response()),
        Err(error) => Ok(not_yet(error)),
    }
}

type Exchanged = Result<SessionToken, DeviceTokenError>;

async fn exchanged(app: &App, proved: &Proved) -> Result<Exchanged, Refusal> {
    use DeviceTokenError as No;
    let request: DeviceTokenRequest = proved.form().await?;
    if request.grant_type != GRANT_TYPE {
        return Ok(Err(No::UnsupportedGrantType));
    }
    let hash = hash(request.device_code.expose());
    let now = app.now();
    let found = app.store.poll_login(&hash, now).await?;
    // RFC 8628 §3.4: the code is its client's.
    let found = found.filter(|polled| polled.login.client_id == request.client_id.as_str());
    let Some(polled) = found else {
        return Ok(Err(No::InvalidGrant));
    };
    if polled.login.expires_at <= now {
        return Ok(Err(No::ExpiredToken));
    }
    match polled.login.state {
        Standing::Denied => Ok(Err(No::AccessDenied)),
        Standing::Used => Ok(Err(No::InvalidGrant)),
        _ if polled.too_fast => Ok(Err(No::SlowDown)),
        Standing::Pending => Ok(Err(No::AuthorizationPending)),
        Standing::Approved => {
            let actor = polled.login.actor.ok_or_else(Failure::internal)?;
            let device = app.bound_to(proved.proof_at_login(app)?).await?;
            let row = app.new_session(&actor, device, "device");
            if !app.store.use_login(&hash, &row).await? {
                return Ok(Err(No::InvalidGrant));
            }
            let machine = format!("machine {}", polled.login.machine);
            app.record(&app.record_of(&row).saying(machine)).await?;
            app.handed_over(&row).map(Ok)
        }
    }
}

/// RFC 6749 §5.2: status 400.
fn not_yet(error: DeviceTokenError) -> Response {
    let text = match error {
        DeviceTokenError::AuthorizationPending => "nobody has approved yet: ask again",
        DeviceTokenError::SlowDown => "ask less often: five seconds more between questions",
        DeviceTokenError::AccessDenied => "the login was refused",
        DeviceTokenError::ExpiredToken => "the code has ended: begin again",
        DeviceTokenError::InvalidGrant => "the device code does not count",
        DeviceTokenError::UnsupportedGrantType => "only device codes are exchanged here",
    };
    let code = match error {
        DeviceTokenError::AccessDenied => ErrorCode::Forbidden,
        _ => ErrorCode::Invalid,
    };
    let body = OAuthError {
        error,
        error_description: text.into(),
        code,
        message: text.into(),
    };
    (StatusCode::BAD_REQUEST, Json(body)).into_response()
}

/// What the person who typed a code is about to let in.
pub(crate) async fn show(
    State(app): Shared,
    caller: Caller,
    Named(code): Named<UserCode>,
) -> Result<Json<PendingLogin>, Refusal> {
    caller.require_operator()?;
    waiting(&app, &caller.session.sub, code).await.map(Json)
}

/// The machine that waits with a code. Eight letters could be tried out: ten in a minute, and only
/// by those who are logged in.
pub(crate) async fn waiting(
    app: &App,
    actor: &Actor,
    user_code: UserCode,
) -> Result<PendingLogin, Refusal> {
    app.limits.codes.check(actor)?;
    let found = app.store.waiting_login(&user_code, app.now()).await?;
    let found = found.ok_or_else(|| Failure::not_found("code"))?;
    let text = |text: String| text.try_into().map_err(|_| Failure::internal());
    Ok(PendingLogin {
        user_code,
        machine: text(found.machine)?,
        client_id: text(found.client_id)?,
        expires_at: Timestamp::from_micros(found.expires_at.saturating_mul(1_000_000)),
    })
}

/// The person says yes, and the machine gets a session of theirs; or no.
pub(crate) async fn decide(
    State(app): Shared,
    caller: Caller,
    Named(code): Named<UserCode>,
    Whole(body): Whole,
) -> Result<StatusCode, Refusal> {
    let record = Record::by(&app, "device.decide", &caller);
    let done = async {
        caller.require_operator()?;
        let LoginDecision { approve } = read(&body)?;
        decided(&app, &caller, code, approve).await
    };
    match done.await {
        Ok(_) => Ok(StatusCode::NO_CONTENT),
        Err(refusal) => Err(app.refused(record, refusal).await),
    }
}

/// Decides; answers what was decided about.
pub(crate) async fn decided(
    app: &App,
    caller: &Caller,
    code: UserCode,
    approve: bool,
) -> Result<PendingLogin, Refusal> {
    let actor = &caller.session.sub;
    let login = waiting(app, actor, code).await?;
    let word = if approve { "approve" } else { "deny" };
    let record = Record::by(app, format!("device.{word}"), caller);
    app.record(&record.saying(format!("machine {}", login.machine)))
        .await?;
    let yes = Some(actor).filter(|_| approve);
    match app
        .store
        .decide_login(&login.user_code, yes, app.now())
        .await?
    {
        true => Ok(login),
        false => Err(Failure::not_found("code").into()),
    }
}
