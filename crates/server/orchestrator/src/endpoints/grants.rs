//! `/grants`: another tenant may mount a workspace.

use api::{CreateGrant, Grant, GrantId, Page, PageQuery, Workspace, WorkspaceId};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use base::Failure;
use base::extract::{Body, Named, Parameters};

use super::{Answer, Shared, page};
use crate::app::App;
use crate::auth::Caller;
use crate::document::refusals;
use crate::store::{KeysOf, NewGrant, Part, StoreError};

/// Lets another tenant mount a workspace.
///
/// For owners of the workspace's tenant.
#[utoipa::path(
    post, path = "/grants", operation_id = "create_grant", tag = "sharing",
    request_body = CreateGrant,
    responses(
        (status = 201, description = "The grant", body = Grant),
        (status = 404, response = refusals::NotFound),
        (status = 409, response = refusals::Conflict),
    ),
)]
pub(crate) async fn create(
    State(app): Shared,
    caller: Caller,
    Body(request): Body<CreateGrant>,
) -> Result<(StatusCode, Json<Grant>), Failure> {
    let workspace = own_workspace(&app, &caller, request.workspace_id).await?;
    let grantee = app.store.tenant_by_handle(&request.grantee).await?;
    let grantee = grantee.ok_or_else(|| Failure::invalid("there is no tenant of that handle"))?;
    if grantee.tenant.tenant_id == workspace.tenant_id {
        return Err(Failure::invalid("the workspace is that tenant's own"));
    }
    let id = GrantId::from(app.new_id());
    let entry = caller.entry(&app, "GrantCreated", id);
    let new = NewGrant {
        id,
        workspace: workspace.workspace_id,
        tenant: workspace.tenant_id,
        grantee: grantee.tenant.tenant_id,
        mode: request.mode,
        created_by: caller.name(),
        created_at: entry.at,
        expires_at: request.ttl_seconds.map(|ttl| entry.at.plus(ttl.duration())),
    };
    app.store
        .add_grant(&new, &entry)
        .await
        .map_err(|error| match error {
            StoreError::Exists => Failure::conflict(
                "the tenant has a grant of this workspace\nhint: take that back first",
            ),
            other => other.into(),
        })?;
    let grant = Grant {
        grant_id: id,
        workspace_id: new.workspace,
        tenant_id: new.tenant,
        grantee: request.grantee,
        mode: new.mode,
        created_at: new.created_at,
        expires_at: new.expires_at,
    };
    Ok((StatusCode::CREATED, Json(grant)))
}

/// A workspace of the caller's tenant, for an owner.
pub(super) async fn own_workspace(
    app: &App,
    caller: &Caller,
    id: WorkspaceId,
) -> Result<Workspace, Failure> {
    let tenant = caller.owned()?.tenant_id;
    let found = app.store.workspace(id).await?;
    let gone = |workspace: &Workspace| {
        use api::WorkspaceState::{Deleted, Deleting};
        matches!(workspace.state, Deleting | Deleted)
    };
    found
        .filter(|workspace| workspace.tenant_id == tenant && !gone(workspace))
        .ok_or_else(|| Failure::not_found("workspace"))
}

/// What the tenant has given.
#[utoipa::path(
    get, path = "/grants", operation_id = "list_grants", tag = "sharing",
    params(PageQuery),
    responses((status = 200, description = "A part of the list", body = Page<Grant>)),
)]
pub(crate) async fn list(
    State(app): Shared,
    caller: Caller,
    Parameters(query): Parameters<PageQuery>,
) -> Answer<Page<Grant>> {
    let tenant = caller.member_of()?.tenant_id;
    let grants = app.store.grants_by(tenant, Part::of(&query)).await?;
    Ok(Json(page(grants, &query, |grant| grant.grant_id.uuid())))
}

/// What the tenant was given.
#[utoipa::path(
    get, path = "/grants/received", operation_id = "list_received_grants", tag = "sharing",
    params(PageQuery),
    responses((status = 200, description = "A part of the list", body = Page<Grant>)),
)]
pub(crate) async fn received(
    State(app): Shared,
    caller: Caller,
    Parameters(query): Parameters<PageQuery>,
) -> Answer<Page<Grant>> {
    let tenant = caller.member_of()?.tenant_id;
    let grants = app.store.grants_to(tenant, Part::of(&query)).await?;
    Ok(Json(page(grants, &query, |grant| grant.grant_id.uuid())))
}

/// Takes a grant back, and every key that was issued by it.
#[utoipa::path(
    delete, path = "/grants/{grant_id}", operation_id = "revoke_grant", tag = "sharing",
    params(("grant_id" = GrantId, Path, description = "Which")),
    responses((status = 204, description = "It has ended")),
)]
pub(crate) async fn remove(
    State(app): Shared,
    caller: Caller,
    Named(id): Named<GrantId>,
) -> Result<StatusCode, Failure> {
    let tenant = caller.owned()?.tenant_id;
    let entry = caller.entry(&app, "GrantRevoked", id);
    if !app.store.revoke_grant(tenant, id, entry.at, &entry).await? {
        return Err(Failure::not_found("grant"));
    }
    app.revoke_because(KeysOf::Grant(id), &entry, "its grant was taken back")
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
