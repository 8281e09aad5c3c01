//! `/tenants/{tenant_id}/members`: for operators, and for the tenant's owners.

use api::{AddMember, Member, Page, PageQuery, PageToken, TenantId};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use base::Failure;
use base::extract::{Body, Named, Parameters};
use model::Actor;

use super::{Answer, Shared};
use crate::app::App;
use crate::auth::Caller;
use crate::store::Part;

/// Makes somebody a member, or changes their role.
///
/// For operators, and for owners of the tenant.
#[utoipa::path(
    post, path = "/tenants/{tenant_id}/members", operation_id = "add_member", tag = "tenants",
    params(("tenant_id" = TenantId, Path, description = "Whose")),
    request_body = AddMember,
    responses((status = 201, description = "They are a member", body = Member)),
)]
pub(crate) async fn add(
    State(app): Shared,
    caller: Caller,
    Named(tenant): Named<TenantId>,
    Body(request): Body<AddMember>,
) -> Result<(StatusCode, Json<Member>), Failure> {
    may_manage(&app, &caller, tenant).await?;
    let member = super::tenants::new_member(&app, request.person, request.role)?;
    let mut entry = caller.entry(&app, "MemberAdded", &member.actor);
    entry.tenant = Some(tenant);
    app.store.put_member(tenant, &member, &entry).await?;
    let member = Member {
        actor: member.actor,
        role: member.role,
        created_at: member.created_at,
    };
    Ok((StatusCode::CREATED, Json(member)))
}

/// The tenant's members.
///
/// For operators, and for owners of the tenant.
#[utoipa::path(
    get, path = "/tenants/{tenant_id}/members", operation_id = "list_members", tag = "tenants",
    params(("tenant_id" = TenantId, Path, description = "Whose"), PageQuery),
    responses((status = 200, description = "A part of the list", body = Page<Member>)),
)]
pub(crate) async fn list(
    State(app): Shared,
    caller: Caller,
    Named(tenant): Named<TenantId>,
    Parameters(query): Parameters<PageQuery>,
) -> Answer<Page<Member>> {
    may_manage(&app, &caller, tenant).await?;
    let rows = app.store.members(tenant, Part::of(&query)).await?;
    let page = super::page(rows, &query, |(id, _)| *id);
    let next_page_token: Option<PageToken> = page.next_page_token;
    Ok(Json(Page {
        items: page.items.into_iter().map(|(_, member)| member).collect(),
        next_page_token,
    }))
}

/// Ends a membership.
///
/// Keys that the person made stay: they are the tenant's.
#[utoipa::path(
    delete, path = "/tenants/{tenant_id}/members/{actor}", operation_id = "remove_member", tag = "tenants",
    params(
        ("tenant_id" = TenantId, Path, description = "Whose"),
        ("actor" = api::schemas::Actor, Path, description = "Who"),
    ),
    responses((status = 204, description = "It has ended")),
)]
pub(crate) async fn remove(
    State(app): Shared,
    caller: Caller,
    Named((tenant, actor)): Named<(TenantId, Actor)>,
) -> Result<StatusCode, Failure> {
    may_manage(&app, &caller, tenant).await?;
    let mut entry = caller.entry(&app, "MemberRemoved", &actor);
    entry.tenant = Some(tenant);
    if app.store.remove_member(tenant, &actor, &entry).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Failure::not_found("member"))
    }
}

async fn may_manage(app: &App, caller: &Caller, tenant: TenantId) -> Result<(), Failure> {
    if caller.operator().is_ok() {
        let found = app.store.tenant(tenant).await?;
        return found.map(drop).ok_or_else(|| Failure::not_found("tenant"));
    }
    match caller.owned()?.tenant_id == tenant {
        true => Ok(()),
        false => Err(Failure::forbidden(
            "only an owner of the tenant may do this",
        )),
    }
}
