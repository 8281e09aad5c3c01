//! `/tokens`: service tokens, for programs that no person is logged in for.

use api::{
    CreateServiceToken, IssuedServiceToken, Page, PageQuery, Purpose, ServiceToken, ServiceTokenId,
};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use base::Failure;
use base::extract::{Body, Named, Parameters};
use secrecy::{ExposeSecret, SecretString};

use super::{Answer, Shared, page};
use crate::app::App;
use crate::auth::{Caller, SERVICE_PREFIX, hash};
use crate::document::refusals;
use crate::store::{Back, KeysOf, NewServiceToken, Part};

/// Makes a service token; it is in this answer only.
#[utoipa::path(
    post, path = "/tokens", operation_id = "create_token", tag = "sharing",
    request_body = CreateServiceToken,
    responses(
        (status = 201, description = "The token", body = IssuedServiceToken),
        (status = 404, response = refusals::NotFound),
    ),
)]
pub(crate) async fn create(
    State(app): Shared,
    caller: Caller,
    Body(request): Body<CreateServiceToken>,
) -> Result<(StatusCode, Json<IssuedServiceToken>), Failure> {
    let tenant = caller.owned()?.tenant_id;
    if request.purpose == Purpose::Webhook && request.workspace_id.is_some() {
        return Err(Failure::invalid(
            "a store announces for all of its tenant's buckets\nhint: leave workspace_id out",
        ));
    }
    if let Some(id) = request.workspace_id {
        super::grants::own_workspace(&app, &caller, id).await?;
    }
    let random = app.new_secret();
    let token = SecretString::from(format!("{SERVICE_PREFIX}{}", random.expose_secret()));
    let id = ServiceTokenId::from(app.new_id());
    let entry = caller.entry(&app, "ServiceTokenCreated", id);
    let new = NewServiceToken {
        id,
        tenant,
        hash: hash(token.expose_secret()),
        description: request.description,
        mode: request.mode,
        purpose: request.purpose,
        workspace: request.workspace_id,
        created_by: caller.name(),
        created_at: entry.at,
        expires_at: request.ttl_seconds.map(|ttl| entry.at.plus(ttl.duration())),
    };
    app.store.add_service_token(&new, &entry).await?;
    let about = ServiceToken {
        token_id: id,
        description: new.description,
        mode: new.mode,
        purpose: new.purpose,
        workspace_id: new.workspace,
        created_at: new.created_at,
        expires_at: new.expires_at,
        revoked_at: None,
    };
    let token = token.into();
    Ok((
        StatusCode::CREATED,
        Json(IssuedServiceToken { token, about }),
    ))
}

/// The tenant's service tokens, without the tokens.
#[utoipa::path(
    get, path = "/tokens", operation_id = "list_tokens", tag = "sharing",
    params(PageQuery),
    responses((status = 200, description = "A part of the list", body = Page<ServiceToken>)),
)]
pub(crate) async fn list(
    State(app): Shared,
    caller: Caller,
    Parameters(query): Parameters<PageQuery>,
) -> Answer<Page<ServiceToken>> {
    let tenant = caller.member_of()?.tenant_id;
    let tokens = app.store.service_tokens(tenant, Part::of(&query)).await?;
    Ok(Json(page(tokens, &query, |token| token.token_id.uuid())))
}

/// The same, newest first, for pages.
pub(crate) async fn newest(
    app: &App,
    caller: &Caller,
    query: &PageQuery,
) -> Result<Page<ServiceToken>, Failure> {
    let tenant = caller.member_of()?.tenant_id;
    let found = app
        .store
        .service_tokens_back(tenant, Back::of(query))
        .await?;
    Ok(page(found, query, |item| item.token_id.uuid()))
}

/// Revokes a service token, and every key that was issued through it.
#[utoipa::path(
    delete, path = "/tokens/{token_id}", operation_id = "revoke_token", tag = "sharing",
    params(("token_id" = ServiceTokenId, Path, description = "Which")),
    responses((status = 204, description = "It has ended")),
)]
pub(crate) async fn revoke(
    State(app): Shared,
    caller: Caller,
    Named(id): Named<ServiceTokenId>,
) -> Result<StatusCode, Failure> {
    let tenant = caller.owned()?.tenant_id;
    let entry = caller.entry(&app, "ServiceTokenRevoked", id);
    if !app
        .store
        .revoke_service_token(tenant, id, entry.at, &entry)
        .await?
    {
        return Err(Failure::not_found("token"));
    }
    app.revoke_because(KeysOf::Via(id.uuid()), &entry, "its token was revoked")
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
