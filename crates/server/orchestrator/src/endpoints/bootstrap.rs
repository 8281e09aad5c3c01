//! `POST /bootstrap`: the first operator, by a token that counts once.

use api::{Bootstrap, Scope, SessionToken};
use axum::Json;
use axum::extract::State;
use base::Failure;
use base::extract::Body;
use model::Actor;

use super::{Answer, Shared};
use crate::auth::hash;
use crate::document::refusals;
use crate::layers::Context;
use crate::store::Entry;

/// Makes the first operator.
///
/// Uses the token up. Its bearer becomes an operator of this server's own making: later ones come from a
/// provider of people.
#[utoipa::path(
    post, path = "/bootstrap", operation_id = "bootstrap", tag = "login",
    security(()),
    request_body = Bootstrap,
    responses(
        (status = 200, description = "The operator's session", body = SessionToken),
        (status = 401, response = refusals::Unauthenticated),
        (status = 429, response = refusals::RateLimited),
    ),
)]
pub(crate) async fn begin(
    State(app): Shared,
    Context(context): Context,
    Body(request): Body<Bootstrap>,
) -> Answer<SessionToken> {
    app.limits.login()?;
    let subject = app.new_id().to_string();
    let actor = Actor::from_oidc(&app.settings.public_url, &subject);
    let actor = actor.map_err(|_| Failure::internal())?;
    let session = app.new_session(actor.clone(), None, Scope::Operator, "bootstrap");
    let entry = Entry {
        at: session.created_at,
        action: "OperatorBootstrapped",
        actor: Some(actor.to_string()),
        tenant: None,
        subject: Some(session.id.to_string()),
        reason: None,
        request_id: Some(context.id.clone()),
    };
    let hash = hash(request.token.expose());
    let counts = app.store.use_bootstrap(&hash, &session, &entry).await?;
    app.metrics
        .login("bootstrap", if counts { "let_in" } else { "refused" });
    if !counts {
        context.note_reason("a bootstrap token that does not count".into());
        return Err(Failure::unauthenticated(
            "the bootstrap token does not count\nhint: artifactsd orchestrator bootstrap makes a new one while there is no operator",
        ));
    }
    super::sessions::handed_over(&app, &session).map(Json)
}
