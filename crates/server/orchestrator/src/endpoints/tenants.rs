//! `/tenants`: for operators.

use api::{
    Backend, BucketName, CreateTenant, DeleteTenant, FateOfBucket, Page, PageQuery, Person, Role,
    Tenant, TenantId, TenantState,
};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use base::Failure;
use base::extract::{Body, Named, Parameters};
use model::Actor;
use std::time::Duration;

use super::{Answer, Shared, page};
use crate::app::App;
use crate::auth::Caller;
use crate::document::refusals;
use crate::store::{NewMember, NewTenant, Part, StoreError};

/// When the background work takes over a tenant whose request was cut off.
const TAKEN_OVER: Duration = Duration::from_secs(30);

/// Makes a tenant, with a bucket unless it brings its own.
///
/// 201 when its bucket is there, 202 while it is being made in the background. For operators.
#[utoipa::path(
    post, path = "/tenants", operation_id = "create_tenant", tag = "tenants",
    request_body = CreateTenant,
    responses(
        (status = 201, description = "It can be used", body = Tenant),
        (status = 202, description = "Its bucket is being made", body = Tenant),
        (status = 409, response = refusals::Conflict),
        (status = 502, response = refusals::ProviderFailed),
    ),
)]
pub(crate) async fn create(
    State(app): Shared,
    caller: Caller,
    Body(request): Body<CreateTenant>,
) -> Result<(StatusCode, Json<Tenant>), Failure> {
    caller.operator()?;
    let id = TenantId::from(app.new_id());
    let bucket = match request.backend {
        Backend::Byo => None,
        Backend::Managed => {
            app.supply()?;
            Some(bucket_name(&app, id)?)
        }
    };
    let entry = caller.entry(&app, "TenantCreated", id);
    let owner = request
        .owner
        .map(|person| new_member(&app, person, Role::Owner));
    let tenant = NewTenant {
        id,
        handle: request.handle,
        display_name: request.display_name,
        backend: request.backend,
        state: match &bucket {
            Some(_) => TenantState::Provisioning,
            None => TenantState::Active,
        },
        due_at: bucket.as_ref().map(|_| entry.at.plus(TAKEN_OVER)),
        bucket,
        created_by: caller.name(),
        created_at: entry.at,
        owner: owner.transpose()?,
    };
    app.store.add_tenant(&tenant, &entry).await.map_err(taken)?;
    let row = app.bring_on(id).await?.ok_or_else(Failure::internal)?;
    match row.tenant.state {
        TenantState::Active => Ok((StatusCode::CREATED, Json(row.tenant))),
        TenantState::Failed => Err(Failure::provider_failed()),
        _ => Ok((StatusCode::ACCEPTED, Json(row.tenant))),
    }
}

fn taken(error: StoreError) -> Failure {
    match error {
        StoreError::Exists => Failure::conflict("a tenant has this handle"),
        other => other.into(),
    }
}

/// The tenant's whole number: no name that somebody else could take before us.
fn bucket_name(app: &App, id: TenantId) -> Result<BucketName, Failure> {
    let name = format!("{}{}", app.settings.bucket_prefix, id.uuid().simple());
    name.parse().map_err(|_| Failure::internal())
}

/// A person of a request as a member.
pub(super) fn new_member(app: &App, person: Person, role: Role) -> Result<NewMember, Failure> {
    let actor = match person {
        Person::Actor { actor } => actor,
        Person::Oidc { issuer, subject } => Actor::from_oidc(&issuer, &subject)
            .map_err(|error| Failure::invalid(error.to_string()))?,
    };
    Ok(NewMember {
        id: app.new_id(),
        actor,
        role,
        created_at: app.now(),
    })
}

/// All tenants, also those that are gone. For operators.
#[utoipa::path(
    get, path = "/tenants", operation_id = "list_tenants", tag = "tenants",
    params(PageQuery),
    responses((status = 200, description = "A part of the list", body = Page<Tenant>)),
)]
pub(crate) async fn list(
    State(app): Shared,
    caller: Caller,
    Parameters(query): Parameters<PageQuery>,
) -> Answer<Page<Tenant>> {
    caller.operator()?;
    let tenants = app.store.tenants(Part::of(&query)).await?;
    Ok(Json(page(tenants, &query, |tenant| {
        tenant.tenant_id.uuid()
    })))
}

/// One tenant. For operators.
#[utoipa::path(
    get, path = "/tenants/{tenant_id}", operation_id = "show_tenant", tag = "tenants",
    params(("tenant_id" = TenantId, Path, description = "Which")),
    responses((status = 200, description = "The tenant", body = Tenant)),
)]
pub(crate) async fn show(
    State(app): Shared,
    caller: Caller,
    Named(id): Named<TenantId>,
) -> Answer<Tenant> {
    caller.operator()?;
    let row = app.store.tenant(id).await?;
    let row = row.ok_or_else(|| Failure::not_found("tenant"))?;
    Ok(Json(row.tenant))
}

/// Ends a tenant. For operators.
///
/// Its keys die first. 200 when all is gone, 202 while something is left to do.
#[utoipa::path(
    delete, path = "/tenants/{tenant_id}", operation_id = "delete_tenant", tag = "tenants",
    params(("tenant_id" = TenantId, Path, description = "Which"), DeleteTenant),
    responses(
        (status = 200, description = "It is gone", body = Tenant),
        (status = 202, description = "It is ending", body = Tenant),
        (status = 409, response = refusals::Conflict),
    ),
)]
pub(crate) async fn remove(
    State(app): Shared,
    caller: Caller,
    Named(id): Named<TenantId>,
    Parameters(query): Parameters<DeleteTenant>,
) -> Result<(StatusCode, Json<Tenant>), Failure> {
    caller.operator()?;
    let entry = caller.entry(&app, "TenantDeletionBegun", id);
    let delete_bucket = query.bucket == FateOfBucket::Delete;
    let store = &app.store;
    let began = store
        .begin_tenant_end(id, delete_bucket, entry.at, &entry)
        .await?;
    let row = app.store.tenant(id).await?;
    let row = row.ok_or_else(|| Failure::not_found("tenant"))?;
    if !began && row.tenant.state != TenantState::Deleting {
        return Err(Failure::conflict("the tenant is gone already"));
    }
    let row = app.bring_on(id).await?.ok_or_else(Failure::internal)?;
    let done = row.tenant.state == TenantState::Deleted;
    let status = if done {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    Ok((status, Json(row.tenant)))
}
