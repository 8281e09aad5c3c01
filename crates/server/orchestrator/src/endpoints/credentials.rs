//! `/tenant/mount/credentials`: storage keys to the bucket of the caller's tenant, and to
//! workspaces that were granted to it.

use api::{
    Backend, Credential, CredentialId, CredentialState, GrantId, IssueCredential, IssuedCredential,
    Mode, Page, PageQuery, Tenant, Timestamp, WorkspaceId, WorkspaceState,
};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use base::Failure;
use base::extract::{Body, Named, Parameters};

use super::{Answer, Shared, page};
use crate::app::App;
use crate::auth::{Caller, Who, only_webhooks};
use crate::document::refusals;
use crate::provision::Request;
use crate::store::{Back, CredentialRow, KeysOf, Part};

/// Issues a storage key. The secret is in this answer and nowhere else.
///
/// It opens the bucket of the caller's tenant, or one workspace. The tenant is the token's.
#[utoipa::path(
    post, path = "/tenant/mount/credentials", operation_id = "issue_credential", tag = "keys",
    request_body = IssueCredential,
    responses(
        (status = 201, description = "The key", body = IssuedCredential),
        (status = 404, response = refusals::NotFound),
        (status = 409, response = refusals::Conflict),
        (status = 429, response = refusals::RateLimited),
        (status = 502, response = refusals::ProviderFailed),
    ),
)]
pub(crate) async fn issue(
    State(app): Shared,
    caller: Caller,
    body: Option<Body<IssueCredential>>,
) -> Result<(StatusCode, Json<IssuedCredential>), Failure> {
    let wanted = body.map(|Body(wanted)| wanted).unwrap_or_default();
    let tenant = caller.tenant()?;
    app.limits.key(tenant.tenant_id)?;
    let request = allowed(&app, &caller, tenant, wanted).await?;
    let supply = app.supply()?;
    let (endpoint_url, region) = (supply.endpoint.clone(), supply.region.clone());
    let entry = caller.entry(&app, "MountCredentialCreated", "");
    let (bucket_name, prefix) = (request.bucket.clone(), request.prefix.clone());
    let (mode, expires_at) = (request.mode, request.expires_at);
    let issued = app.issue(request, entry).await?;
    let answer = IssuedCredential {
        credential_id: issued.id,
        tenant_id: tenant.tenant_id,
        bucket_name,
        prefix,
        access_key: issued.key.access_key_id,
        secret_key: issued.key.secret_access_key.into(),
        endpoint_url,
        region,
        mode,
        expires_at,
    };
    Ok((StatusCode::CREATED, Json(answer)))
}

/// What the caller may do with a place, and by what.
struct Right {
    mode: Mode,
    ends: Option<Timestamp>,
    grant: Option<GrantId>,
}

/// The request, if the caller may have that key: its mode and its end are the narrowest of
/// what was asked, what the token allows, and what was granted.
async fn allowed(
    app: &App,
    caller: &Caller,
    tenant: &Tenant,
    wanted: IssueCredential,
) -> Result<Request, Failure> {
    let (limit, token_ends, via, bound) = match &caller.who {
        Who::Person(_) => (Mode::Rw, None, None, None),
        Who::Store(_) => return Err(only_webhooks()),
        Who::Service(service) => (
            service.mode,
            caller.ends,
            Some(service.via),
            service.workspace,
        ),
    };
    let workspace = narrowed(bound, wanted.workspace_id)?;
    let mut request = match workspace {
        None => whole_bucket(tenant)?,
        Some(id) => one_workspace(app, tenant, id, limit).await?,
    };
    let right = Right {
        mode: request.mode.min(limit),
        ends: [request.expires_at, token_ends].into_iter().flatten().min(),
        grant: request.grant,
    };
    let mode = wanted.mode.unwrap_or(right.mode);
    if !right.mode.covers(mode) {
        return Err(Failure::forbidden(
            "the token or the grant allows reading only",
        ));
    }
    let asked = wanted.ttl_seconds.map(|ttl| app.now().plus(ttl.duration()));
    request.mode = mode;
    request.expires_at = [right.ends, asked].into_iter().flatten().min();
    request.grant = right.grant;
    request.via = via;
    request.description = wanted.description;
    Ok(request)
}

/// A token for one workspace is for that one, named or not.
fn narrowed(
    bound: Option<WorkspaceId>,
    wanted: Option<WorkspaceId>,
) -> Result<Option<WorkspaceId>, Failure> {
    match (bound, wanted) {
        (Some(bound), Some(wanted)) if bound != wanted => {
            Err(Failure::forbidden("the token is for another workspace"))
        }
        (bound, wanted) => Ok(bound.or(wanted)),
    }
}

fn whole_bucket(tenant: &Tenant) -> Result<Request, Failure> {
    let bucket = tenant.bucket_name.clone();
    Ok(Request {
        tenant: tenant.tenant_id,
        bucket_tenant: tenant.tenant_id,
        bucket: bucket.ok_or_else(no_keys)?,
        prefix: "".parse().map_err(|_| Failure::internal())?,
        workspace: None,
        grant: None,
        via: None,
        mode: Mode::Rw,
        description: None,
        expires_at: None,
    })
}

async fn one_workspace(
    app: &App,
    tenant: &Tenant,
    id: WorkspaceId,
    limit: Mode,
) -> Result<Request, Failure> {
    let hidden = || Failure::not_found("workspace");
    let workspace = app.store.workspace(id).await?.ok_or_else(hidden)?;
    let right = match workspace.tenant_id == tenant.tenant_id {
        true => Right {
            mode: limit,
            ends: None,
            grant: None,
        },
        false => {
            let grant = app.store.grant_for(id, tenant.tenant_id).await?;
            let now = app.now();
            let grant = grant.filter(|grant| grant.expires_at.is_none_or(|end| end > now));
            let grant = grant.ok_or_else(hidden)?;
            Right {
                mode: grant.mode,
                ends: grant.expires_at,
                grant: Some(grant.id),
            }
        }
    };
    match (workspace.backend, workspace.state) {
        (Backend::Byo, _) => return Err(no_keys()),
        (_, WorkspaceState::PendingFormat | WorkspaceState::Active) => {}
        (_, WorkspaceState::Deleting | WorkspaceState::Deleted) => return Err(hidden()),
    }
    Ok(Request {
        tenant: tenant.tenant_id,
        bucket_tenant: workspace.tenant_id,
        bucket: workspace.place.bucket,
        prefix: workspace.place.prefix,
        workspace: Some(id),
        grant: right.grant,
        via: None,
        mode: right.mode,
        description: None,
        expires_at: right.ends,
    })
}

fn no_keys() -> Failure {
    Failure::conflict("the storage is the tenant's own: this server has no keys to it")
}

/// The tenant's keys, without their secrets.
#[utoipa::path(
    get, path = "/tenant/mount/credentials", operation_id = "list_credentials", tag = "keys",
    params(PageQuery),
    responses((status = 200, description = "A part of the list", body = Page<Credential>)),
)]
pub(crate) async fn list(
    State(app): Shared,
    caller: Caller,
    Parameters(query): Parameters<PageQuery>,
) -> Answer<Page<Credential>> {
    let tenant = caller.member_of()?;
    let keys = app
        .store
        .credentials(tenant.tenant_id, Part::of(&query))
        .await?;
    Ok(Json(page(keys, &query, |key| key.credential_id.uuid())))
}

/// The same, newest first, for pages.
pub(crate) async fn newest(
    app: &App,
    caller: &Caller,
    query: &PageQuery,
) -> Result<Page<Credential>, Failure> {
    let tenant = caller.member_of()?.tenant_id;
    let found = app.store.credentials_back(tenant, Back::of(query)).await?;
    Ok(page(found, query, |item| item.credential_id.uuid()))
}

/// Revokes a key.
///
/// 200 when the provider has confirmed that it is gone, 202 while it is asked.
#[utoipa::path(
    delete, path = "/tenant/mount/credentials/{credential_id}", operation_id = "revoke_credential", tag = "keys",
    params(("credential_id" = CredentialId, Path, description = "Which")),
    responses(
        (status = 200, description = "It is gone", body = Credential),
        (status = 202, description = "It is being taken back", body = Credential),
    ),
)]
pub(crate) async fn revoke(
    State(app): Shared,
    caller: Caller,
    Named(id): Named<CredentialId>,
) -> Result<(StatusCode, Json<Credential>), Failure> {
    let tenant = caller.tenant()?;
    let found = app.store.credential(tenant.tenant_id, id).await?;
    let found = found.ok_or_else(|| Failure::not_found("key"))?;
    check_own(&caller, &found)?;
    let entry = caller.entry(&app, "MountCredentialRevoked", id);
    let key = KeysOf::One(tenant.tenant_id, id);
    let mut revoked = app.revoke(key, &entry).await?;
    // Somebody else began it earlier: nothing to do but to say how far it is.
    let row = revoked.pop().unwrap_or(found);
    let done = row.credential.state == CredentialState::Revoked;
    let status = if done {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    Ok((status, Json(row.credential)))
}

/// A program speaks for what it was given, and for nothing else.
fn check_own(caller: &Caller, key: &CredentialRow) -> Result<(), Failure> {
    match &caller.who {
        Who::Service(service) if key.via != Some(service.via) => Err(Failure::not_found("key")),
        _ => Ok(()),
    }
}

/// A mount says that it uses the key.
#[utoipa::path(
    post, path = "/tenant/mount/credentials/{credential_id}/used", operation_id = "credential_used", tag = "keys",
    params(("credential_id" = CredentialId, Path, description = "Which")),
    responses(
        (status = 204, description = "Noted"),
        (status = 409, response = refusals::Conflict),
    ),
)]
pub(crate) async fn used(
    State(app): Shared,
    caller: Caller,
    Named(id): Named<CredentialId>,
) -> Result<StatusCode, Failure> {
    let tenant = caller.tenant()?.tenant_id;
    let found = app.store.credential(tenant, id).await?;
    let found = found.ok_or_else(|| Failure::not_found("key"))?;
    check_own(&caller, &found)?;
    let now = app.now();
    let due_at = app.key_due(now, found.credential.expires_at);
    if app.store.touch_credential(tenant, id, now, due_at).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Failure::conflict("the key is not active"))
    }
}
