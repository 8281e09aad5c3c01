//! Device authorization (RFC 8628): `POST /oauth/device_authorization`, `POST /oauth/token`,
//! `GET /device/{user_code}`, `POST /device/approve|deny`.

use api::{
    DeviceAuthorization, DeviceAuthorizationRequest, DeviceDecision, DeviceTokenError,
    DeviceTokenRequest, ErrorCode, OAuthError, PendingDevice, Scope, SessionToken, TenantId,
    UserCode,
};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use base::Failure;
use base::extract::{Body, Form, Named};
use secrecy::ExposeSecret;

use super::{Answer, Shared};
use crate::app::App;
use crate::auth::{Caller, hash};
use crate::document::refusals;
use crate::layers::RequestId;
use crate::store::{DeviceRequest, DeviceState, Entry, NewDevice, StoreError};

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// How these logins are counted.
const WAY: &str = "device";

/// A code that is in use by chance is made anew; twice in a row does not happen.
const ATTEMPTS: usize = 3;

/// A machine asks to be let in (RFC 8628 §3.1).
#[utoipa::path(
    post, path = "/oauth/device_authorization", operation_id = "device_authorization", tag = "login",
    security(()),
    request_body(
        content = DeviceAuthorizationRequest,
        content_type = "application/x-www-form-urlencoded",
    ),
    responses(
        (status = 200, description = "Its codes", body = DeviceAuthorization),
        (status = 429, response = refusals::RateLimited),
    ),
)]
pub(crate) async fn authorize(
    State(app): Shared,
    Form(request): Form<DeviceAuthorizationRequest>,
) -> Answer<DeviceAuthorization> {
    app.limits.login()?;
    let device_code = app.new_secret();
    let now = app.now();
    let mut device = NewDevice {
        device_hash: hash(device_code.expose_secret()),
        user_code: new_user_code(&app),
        client_id: request.client_id,
        machine: request.machine,
        scope: request.scope.unwrap_or(Scope::Tenant),
        created_at: now,
        expires_at: now.plus(app.settings.device_lifetime),
        interval: i64::try_from(app.settings.device_interval.as_secs()).unwrap_or(5),
    };
    for _ in 0..ATTEMPTS {
        match app.store.add_device(&device).await {
            Ok(()) => {
                app.metrics.login(WAY, "begun");
                return Ok(Json(offered(&app, device_code.into(), device.user_code)));
            }
            Err(StoreError::Exists) => device.user_code = new_user_code(&app),
            Err(error) => return Err(error.into()),
        }
    }
    Err(Failure::internal())
}

fn offered(app: &App, device_code: api::Secret, user_code: UserCode) -> DeviceAuthorization {
    let page = format!("{}/device", app.settings.public_url);
    DeviceAuthorization {
        device_code,
        verification_uri_complete: format!("{page}?user_code={user_code}"),
        verification_uri: page,
        user_code,
        expires_in: app.settings.device_lifetime.as_secs(),
        interval: app.settings.device_interval.as_secs(),
    }
}

/// 20 letters divide 240: bytes above that are drawn again, so that none is likelier.
fn new_user_code(app: &App) -> UserCode {
    let mut letters = String::with_capacity(8);
    while letters.len() < 8 {
        let mut byte = [0];
        app.fill_random(&mut byte);
        if byte[0] < 240 {
            letters.push(char::from(UserCode::LETTERS[usize::from(byte[0] % 20)]));
        }
    }
    letters.parse().expect("eight of its letters are a code")
}

/// The machine asks whether somebody has let it in (RFC 8628 §3.4).
#[utoipa::path(
    post, path = "/oauth/token", operation_id = "device_token", tag = "login",
    security(()),
    request_body(
        content = DeviceTokenRequest,
        content_type = "application/x-www-form-urlencoded",
    ),
    responses(
        (status = 200, description = "Its session", body = SessionToken),
        (status = 400, description = "There is no token (yet); `error` says why", body = OAuthError),
    ),
)]
pub(crate) async fn token(
    State(app): Shared,
    RequestId(request_id): RequestId,
    Form(request): Form<DeviceTokenRequest>,
) -> Result<Response, Failure> {
    if request.grant_type != GRANT_TYPE {
        return Ok(not_yet(&app, DeviceTokenError::UnsupportedGrantType));
    }
    let now = app.now();
    let device_hash = hash(request.device_code.expose());
    let found = app.store.poll_device(&device_hash, now).await?;
    // RFC 8628 §3.4: the code is its client's.
    let Some(poll) = found.filter(|poll| poll.request.client_id == request.client_id) else {
        return Ok(not_yet(&app, DeviceTokenError::InvalidGrant));
    };
    if poll.request.expires_at <= now {
        return Ok(not_yet(&app, DeviceTokenError::ExpiredToken));
    }
    match poll.request.state {
        DeviceState::Denied => Ok(not_yet(&app, DeviceTokenError::AccessDenied)),
        DeviceState::Used => Ok(not_yet(&app, DeviceTokenError::InvalidGrant)),
        _ if poll.too_fast => Ok(not_yet(&app, DeviceTokenError::SlowDown)),
        DeviceState::Pending => Ok(not_yet(&app, DeviceTokenError::AuthorizationPending)),
        DeviceState::Approved => {
            match hand_over(&app, &device_hash, poll.request, request_id).await? {
                Some(token) => {
                    app.metrics.login(WAY, "let_in");
                    Ok(Json(token).into_response())
                }
                None => Ok(not_yet(&app, DeviceTokenError::InvalidGrant)),
            }
        }
    }
}

async fn hand_over(
    app: &App,
    device_hash: &[u8],
    request: DeviceRequest,
    request_id: Option<String>,
) -> Result<Option<SessionToken>, Failure> {
    let actor = request.actor.ok_or_else(Failure::internal)?;
    let machine = request.machine.as_str();
    let session = app.new_session(actor.clone(), request.tenant, request.scope, machine);
    let entry = Entry {
        at: session.created_at,
        action: "SessionCreated",
        actor: Some(actor.to_string()),
        tenant: request.tenant,
        subject: Some(session.id.to_string()),
        reason: Some(format!("device {machine}")),
        request_id,
    };
    if !app.store.use_device(device_hash, &session, &entry).await? {
        return Ok(None);
    }
    super::sessions::handed_over(app, &session).map(Some)
}

/// RFC 6749 §5.2: status 400.
fn not_yet(app: &App, error: DeviceTokenError) -> Response {
    app.metrics.login(WAY, error.as_str());
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
#[utoipa::path(
    get, path = "/device/{user_code}", operation_id = "show_device", tag = "login",
    params(("user_code" = UserCode, Path, description = "What they typed")),
    responses(
        (status = 200, description = "The machine", body = PendingDevice),
        (status = 429, response = refusals::RateLimited),
    ),
)]
pub(crate) async fn show(
    State(app): Shared,
    caller: Caller,
    Named(user_code): Named<UserCode>,
) -> Answer<PendingDevice> {
    let request = pending(&app, &caller, &user_code).await?;
    Ok(Json(PendingDevice {
        user_code: request.user_code,
        machine: request.machine,
        client_id: request.client_id,
        scope: request.scope,
        requested_at: request.created_at,
        expires_at: request.expires_at,
    }))
}

/// The person says yes: the machine gets a session of theirs.
#[utoipa::path(
    post, path = "/device/approve", operation_id = "approve_device", tag = "login",
    request_body = DeviceDecision,
    responses(
        (status = 204, description = "Decided"),
        (status = 404, response = refusals::NotFound),
        (status = 429, response = refusals::RateLimited),
    ),
)]
pub(crate) async fn approve(
    State(app): Shared,
    caller: Caller,
    Body(decision): Body<DeviceDecision>,
) -> Result<StatusCode, Failure> {
    let_in(&app, &caller, &decision).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The same; answers what was let in.
pub(crate) async fn let_in(
    app: &App,
    caller: &Caller,
    decision: &DeviceDecision,
) -> Result<DeviceRequest, Failure> {
    let request = pending(app, caller, &decision.user_code).await?;
    let person = caller.person()?;
    let tenant = chosen_tenant(app, caller, decision).await?;
    if request.scope == Scope::Operator {
        caller.operator()?;
    } else if tenant.is_none() {
        return Err(Failure::invalid(
            "you belong to several tenants, or to none\nhint: name one as tenant_id",
        ));
    }
    let mut entry = caller.entry(app, "DeviceApproved", &decision.user_code);
    entry.reason = Some(format!("machine {}", request.machine));
    entry.tenant = tenant;
    let yes = Some((&person.actor, tenant));
    decide(app, &decision.user_code, yes, entry).await?;
    Ok(request)
}

/// The person says no.
#[utoipa::path(
    post, path = "/device/deny", operation_id = "deny_device", tag = "login",
    request_body = DeviceDecision,
    responses(
        (status = 204, description = "Decided"),
        (status = 404, response = refusals::NotFound),
        (status = 429, response = refusals::RateLimited),
    ),
)]
pub(crate) async fn deny(
    State(app): Shared,
    caller: Caller,
    Body(decision): Body<DeviceDecision>,
) -> Result<StatusCode, Failure> {
    turn_away(&app, &caller, &decision.user_code).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The same; answers what was turned away.
pub(crate) async fn turn_away(
    app: &App,
    caller: &Caller,
    code: &UserCode,
) -> Result<DeviceRequest, Failure> {
    let request = pending(app, caller, code).await?;
    let entry = caller.entry(app, "DeviceDenied", code);
    decide(app, code, None, entry).await?;
    Ok(request)
}

async fn decide(
    app: &App,
    code: &UserCode,
    decision: Option<(&model::Actor, Option<TenantId>)>,
    entry: Entry,
) -> Result<(), Failure> {
    let decided = app.store.decide_device(code, decision, entry.at, &entry);
    if !decided.await? {
        return Err(Failure::not_found("code"));
    }
    let word = match decision {
        Some(_) => "approved",
        None => "denied",
    };
    app.metrics.login(WAY, word);
    Ok(())
}

/// The tenant that the machine's session shall stand in: the named one if the person belongs
/// to it, else the one that their own token stands in.
async fn chosen_tenant(
    app: &App,
    caller: &Caller,
    decision: &DeviceDecision,
) -> Result<Option<TenantId>, Failure> {
    let person = caller.person()?;
    let own = person.member.as_ref().map(|(tenant, _)| tenant.tenant_id);
    let Some(named) = decision.tenant_id else {
        return Ok(own);
    };
    // A session for one tenant is not a key to others.
    if person.bound_to.is_some_and(|bound| bound != named) {
        return Err(Failure::forbidden("this session stands in another tenant"));
    }
    let found = app.store.memberships(&person.actor, Some(named)).await?;
    if found.is_empty() {
        return Err(Failure::forbidden("you do not belong to that tenant"));
    }
    Ok(Some(named))
}

/// Eight letters could be tried out: ten in a minute, and only by those who are logged in.
async fn pending(app: &App, caller: &Caller, code: &UserCode) -> Result<DeviceRequest, Failure> {
    let person = caller.person()?;
    app.limits.code(person.actor.as_str())?;
    let found = app.store.device_by_code(code).await?;
    found
        .filter(|request| request.state == DeviceState::Pending && request.expires_at > app.now())
        .ok_or_else(|| Failure::not_found("code"))
}
