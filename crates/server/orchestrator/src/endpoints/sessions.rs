//! `GET /whoami`, `POST /logout`.

use api::{Identity, SessionToken, Whoami};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use base::Failure;

use super::Shared;
use crate::app::App;
use crate::auth::{Caller, Who};
use crate::document::refusals;
use crate::store::NewSession;

/// Whom the token stands for.
#[utoipa::path(
    get, path = "/whoami", operation_id = "whoami", tag = "login",
    responses((status = 200, description = "Who", body = Whoami)),
)]
pub(crate) async fn whoami(caller: Caller) -> Json<Whoami> {
    let (identity, tenant) = match &caller.who {
        Who::Person(person) => {
            let identity = Identity::Person {
                actor: person.actor.clone(),
                role: person.member.as_ref().map(|(_, role)| *role),
                operator: person.operator,
                session_id: person.session,
            };
            (identity, person.member.as_ref().map(|(tenant, _)| tenant))
        }
        Who::Store(store) => (Identity::Store, Some(&store.tenant)),
        Who::Service(service) => {
            let identity = Identity::Service {
                mode: service.mode,
                workspace_id: service.workspace,
            };
            (identity, Some(&service.tenant))
        }
    };
    Json(Whoami {
        identity,
        tenant_id: tenant.map(|tenant| tenant.tenant_id),
        handle: tenant.map(|tenant| tenant.handle.clone()),
        expires_at: caller.ends,
    })
}

/// Ends the session of the token.
///
/// A token of another issuer is ended there.
#[utoipa::path(
    post, path = "/logout", operation_id = "logout", tag = "login",
    responses(
        (status = 204, description = "It has ended"),
        (status = 409, response = refusals::Conflict),
    ),
)]
pub(crate) async fn logout(State(app): Shared, caller: Caller) -> Result<StatusCode, Failure> {
    let Some(session) = caller.person()?.session else {
        return Err(Failure::conflict(
            "this token comes from another issuer\nhint: log out there",
        ));
    };
    let entry = caller.entry(&app, "SessionRevoked", session);
    app.store.revoke_session(session, entry.at, &entry).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The answer that hands a session over.
pub(super) fn handed_over(app: &App, session: &NewSession) -> Result<SessionToken, Failure> {
    let token = app.session_token(session).ok_or_else(Failure::internal)?;
    Ok(SessionToken {
        access_token: token.into(),
        token_type: "Bearer".into(),
        expires_in: app.settings.session_lifetime.as_secs(),
        scope: session.scope,
    })
}
