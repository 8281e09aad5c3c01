//! `/workspaces`: names, and where they lie.

use api::{
    Backend, CreateWorkspace, ErrorCode, Mode, Page, PageQuery, Place, Prefix, Tenant, Workspace,
    WorkspaceConflict, WorkspaceId, WorkspaceState,
};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use base::Failure;
use base::extract::{Body, Named, Parameters};
use model::{Handle, WorkspaceName};

use super::{Answer, Shared, page};
use crate::app::App;
use crate::auth::{Caller, Who, only_webhooks};
use crate::document::refusals;
use crate::store::{NewWorkspace, Part, StoreError};

/// `/workspaces/…/events` and `/workspaces/…/mounts` are other endpoints.
const RESERVED: &[&str] = &["events", "mounts"];

/// Reserves a name: 201, or 409 with what has it.
///
/// For owners of the tenant.
#[utoipa::path(
    post, path = "/workspaces", operation_id = "create_workspace", tag = "workspaces",
    request_body = CreateWorkspace,
    responses(
        (status = 201, description = "It is reserved", body = Workspace),
        (
            status = 409,
            description = "There is one of that name (`existing`), or the tenant has no bucket of ours",
            body = WorkspaceConflict,
        ),
    ),
)]
pub(crate) async fn create(
    State(app): Shared,
    caller: Caller,
    Body(request): Body<CreateWorkspace>,
) -> Result<Response, Failure> {
    match reserve(&app, &caller, &request).await? {
        Reserved::Made(made) => Ok((StatusCode::CREATED, Json(made)).into_response()),
        Reserved::Taken(existing) => {
            let body = WorkspaceConflict {
                code: ErrorCode::Conflict,
                message: format!("there is a workspace {}/{}", existing.handle, existing.name),
                existing,
            };
            Ok((StatusCode::CONFLICT, Json(body)).into_response())
        }
    }
}

/// What became of a name that was asked for.
pub(crate) enum Reserved {
    Made(Workspace),
    Taken(Workspace),
}

/// Reserves a name for the caller's tenant, or says what has it.
pub(crate) async fn reserve(
    app: &App,
    caller: &Caller,
    request: &CreateWorkspace,
) -> Result<Reserved, Failure> {
    let tenant = caller.owned()?;
    if RESERVED.contains(&request.name.as_str()) {
        return Err(Failure::invalid(format!(
            "no workspace can be called \"{}\": its path is another endpoint's",
            request.name
        )));
    }
    let place = place(app, tenant, request)?;
    let id = WorkspaceId::from(app.new_id());
    let entry = caller.entry(app, "WorkspaceCreated", id);
    let new = NewWorkspace {
        id,
        tenant: tenant.tenant_id,
        name: request.name.clone(),
        backend: request.backend,
        place,
        created_by: caller.name(),
        created_at: entry.at,
    };
    match app.store.add_workspace(&new, &entry).await {
        Ok(()) => {
            let made = app
                .store
                .workspace(id)
                .await?
                .ok_or_else(Failure::internal)?;
            Ok(Reserved::Made(made))
        }
        Err(StoreError::Exists) => existing(app, tenant, &request.name).await,
        Err(error) => Err(error.into()),
    }
}

/// A managed workspace is a folder in its tenant's bucket. Of a place that the tenant brings,
/// names are kept and nothing is asked.
fn place(app: &App, tenant: &Tenant, request: &CreateWorkspace) -> Result<Place, Failure> {
    match (request.backend, &request.place) {
        (Backend::Byo, Some(place)) => Ok(place.clone()),
        (Backend::Byo, None) => Err(Failure::invalid("a byo workspace needs its place")),
        (Backend::Managed, Some(_)) => Err(Failure::invalid(
            "the server chooses the place of a managed workspace",
        )),
        (Backend::Managed, None) => {
            let bucket = tenant.bucket_name.clone();
            let no_bucket = || {
                Failure::conflict("the tenant has no bucket of this server\nhint: --backend byo")
            };
            let supply = app.supply()?;
            Ok(Place {
                bucket: bucket.ok_or_else(no_bucket)?,
                endpoint_url: supply.endpoint.clone(),
                region: supply.region.clone(),
                prefix: folder(&request.name)?,
            })
        }
    }
}

fn folder(name: &WorkspaceName) -> Result<Prefix, Failure> {
    format!("{name}/").parse().map_err(|_| Failure::internal())
}

async fn existing(app: &App, tenant: &Tenant, name: &WorkspaceName) -> Result<Reserved, Failure> {
    let existing = app.store.workspace_by_name(&tenant.handle, name).await?;
    // It went between the two questions.
    let existing = existing.ok_or_else(|| Failure::unavailable("try again"))?;
    Ok(Reserved::Taken(existing))
}

/// The tenant's workspaces, also those that are gone.
#[utoipa::path(
    get, path = "/workspaces", operation_id = "list_workspaces", tag = "workspaces",
    params(PageQuery),
    responses((status = 200, description = "A part of the list", body = Page<Workspace>)),
)]
pub(crate) async fn list(
    State(app): Shared,
    caller: Caller,
    Parameters(query): Parameters<PageQuery>,
) -> Answer<Page<Workspace>> {
    let tenant = caller.member_of()?.tenant_id;
    let all = app.store.workspaces(tenant, Part::of(&query)).await?;
    Ok(Json(page(all, &query, |workspace| {
        workspace.workspace_id.uuid()
    })))
}

/// One, by name: the tenant's own, or one that was granted to it.
#[utoipa::path(
    get, path = "/workspaces/{handle}/{name}", operation_id = "show_workspace", tag = "workspaces",
    params(
        ("handle" = api::schemas::Handle, Path, description = "Whose it is"),
        ("name" = api::schemas::WorkspaceName, Path, description = "Which"),
    ),
    responses((status = 200, description = "The workspace", body = Workspace)),
)]
pub(crate) async fn show(
    State(app): Shared,
    caller: Caller,
    Named((handle, name)): Named<(Handle, WorkspaceName)>,
) -> Answer<Workspace> {
    visible(&app, &caller, &handle, &name).await.map(Json)
}

/// Ends a workspace. The objects stay.
///
/// Its keys die first. 200 when they have, 202 while they do. For owners of the tenant.
#[utoipa::path(
    delete, path = "/workspaces/{handle}/{name}", operation_id = "delete_workspace", tag = "workspaces",
    params(
        ("handle" = api::schemas::Handle, Path, description = "Whose it is"),
        ("name" = api::schemas::WorkspaceName, Path, description = "Which"),
    ),
    responses(
        (status = 200, description = "It is gone", body = Workspace),
        (status = 202, description = "It is ending", body = Workspace),
    ),
)]
pub(crate) async fn remove(
    State(app): Shared,
    caller: Caller,
    Named((handle, name)): Named<(Handle, WorkspaceName)>,
) -> Result<(StatusCode, Json<Workspace>), Failure> {
    let workspace = own(&app, &caller, &handle, &name).await?;
    let id = workspace.workspace_id;
    let entry = caller.entry(&app, "WorkspaceDeletionBegun", id);
    app.store.begin_workspace_end(id, entry.at, &entry).await?;
    app.tend_workspace(&workspace).await?;
    let now = app
        .store
        .workspace(id)
        .await?
        .ok_or_else(Failure::internal)?;
    let done = now.state == WorkspaceState::Deleted;
    let status = if done {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    Ok((status, Json(now)))
}

/// Its marker is in the bucket. Asked twice, it is so.
///
/// For owners of the tenant.
#[utoipa::path(
    post, path = "/workspaces/{handle}/{name}/format-completed", operation_id = "workspace_formatted", tag = "workspaces",
    params(
        ("handle" = api::schemas::Handle, Path, description = "Whose it is"),
        ("name" = api::schemas::WorkspaceName, Path, description = "Which"),
    ),
    responses(
        (status = 200, description = "It can be mounted", body = Workspace),
        (status = 409, response = refusals::Conflict),
    ),
)]
pub(crate) async fn format_completed(
    State(app): Shared,
    caller: Caller,
    Named((handle, name)): Named<(Handle, WorkspaceName)>,
) -> Answer<Workspace> {
    let workspace = own(&app, &caller, &handle, &name).await?;
    let id = workspace.workspace_id;
    let entry = caller.entry(&app, "WorkspaceFormatted", id);
    app.store.format_workspace(id, entry.at, &entry).await?;
    let now = app
        .store
        .workspace(id)
        .await?
        .ok_or_else(Failure::internal)?;
    match now.state {
        WorkspaceState::Active => Ok(Json(now)),
        _ => Err(Failure::conflict("the workspace is being deleted")),
    }
}

/// One of the tenant's, for an owner.
async fn own(
    app: &App,
    caller: &Caller,
    handle: &Handle,
    name: &WorkspaceName,
) -> Result<Workspace, Failure> {
    let tenant = caller.owned()?.tenant_id;
    let found = visible(app, caller, handle, name).await?;
    match found.tenant_id == tenant {
        true => Ok(found),
        false => Err(Failure::forbidden("the workspace is another tenant's")),
    }
}

/// What is not there and what may not be known of get the same answer.
async fn visible(
    app: &App,
    caller: &Caller,
    handle: &Handle,
    name: &WorkspaceName,
) -> Result<Workspace, Failure> {
    caller.tenant()?;
    let found = app.store.workspace_by_name(handle, name).await?;
    let found = found.ok_or_else(hidden)?;
    mode_in(app, caller, &found).await?;
    Ok(found)
}

/// One by its number, with what the caller may do in it. One that is gone is not there.
pub(crate) async fn visible_by_id(
    app: &App,
    caller: &Caller,
    id: WorkspaceId,
) -> Result<(Workspace, Mode), Failure> {
    caller.tenant()?;
    let found = app.store.workspace(id).await?;
    let found = found.filter(|found| found.state != WorkspaceState::Deleted);
    let found = found.ok_or_else(hidden)?;
    let mode = mode_in(app, caller, &found).await?;
    Ok((found, mode))
}

/// What the caller may do in a workspace: all in one of their own tenant, what was granted in
/// another's, and never more than their token says.
async fn mode_in(app: &App, caller: &Caller, workspace: &Workspace) -> Result<Mode, Failure> {
    let tenant = caller.tenant()?.tenant_id;
    let limit = match &caller.who {
        Who::Service(service) => {
            let elsewhere = |id| id != workspace.workspace_id;
            if service.workspace.is_some_and(elsewhere) {
                return Err(hidden());
            }
            service.mode
        }
        Who::Person(_) => Mode::Rw,
        Who::Store(_) => return Err(only_webhooks()),
    };
    if workspace.tenant_id == tenant {
        return Ok(limit);
    }
    let grant = app.store.grant_for(workspace.workspace_id, tenant).await?;
    let now = app.now();
    let grant = grant.filter(|grant| grant.expires_at.is_none_or(|end| end > now));
    let grant = grant.ok_or_else(hidden)?;
    Ok(grant.mode.min(limit))
}

fn hidden() -> Failure {
    Failure::not_found("workspace")
}
