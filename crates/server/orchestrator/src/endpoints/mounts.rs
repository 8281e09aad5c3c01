//! `/workspaces/{workspace_id}/mounts` and `/tenant/mounts`: the mounts that are alive, by what
//! they say of themselves.

use std::time::Duration;

use api::{LiveMount, MountId, Page, PageQuery, ReportMount, Timestamp, WorkspaceId};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use base::Failure;
use base::extract::{Body, Named, Parameters};

use super::workspaces::visible_by_id;
use super::{Answer, Shared, page};
use crate::app::App;
use crate::auth::{Caller, Who};
use crate::document::refusals;
use crate::store::{MountsOf, NewReport, Part};

/// What an `int64` has room for, which the document says that counts are.
const MOST: u64 = i64::MAX.unsigned_abs();

/// Takes what a mount says of itself. Its number is its own for as long as it says something.
///
/// To be said when the mount begins, whenever it changes (at most once a second), and at least every 15 seconds.
#[utoipa::path(
    put, path = "/workspaces/{handle}/mounts/{mount_id}", operation_id = "report_mount", tag = "mounts",
    params(
        ("handle" = WorkspaceId, Path, description = "The workspace's number"),
        ("mount_id" = MountId, Path, description = "The mount's number, which it chose"),
    ),
    request_body = ReportMount,
    responses(
        (status = 204, description = "Noted"),
        (status = 409, response = refusals::Conflict),
        (status = 429, response = refusals::RateLimited),
    ),
)]
pub(crate) async fn report(
    State(app): Shared,
    caller: Caller,
    Named((workspace, mount)): Named<(WorkspaceId, MountId)>,
    Body(report): Body<ReportMount>,
) -> Result<StatusCode, Failure> {
    let tenant = caller.tenant()?.tenant_id;
    app.limits.report(tenant)?;
    let (found, mode) = visible_by_id(&app, &caller, workspace).await?;
    if !mode.covers(report.mode) {
        return Err(Failure::forbidden(
            "the token or the grant allows reading only\nhint: report the mount as ro",
        ));
    }
    let counts = [
        Some(report.pending),
        Some(report.pending_bytes),
        report.oldest_pending_seconds,
    ];
    if counts.iter().flatten().any(|count| *count > MOST) {
        return Err(Failure::invalid(format!("no count is above {MOST}")));
    }
    let new = NewReport {
        mount,
        workspace,
        owner: found.tenant_id,
        tenant,
        actor: caller.name(),
        report,
        at: app.now(),
    };
    match app.store.report_mount(&new).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Failure::conflict(
            "another mount has this number\nhint: choose a new one for each mount, and when it changes its token",
        )),
    }
}

/// A mount has ended in good order. Asked twice, it is so.
#[utoipa::path(
    delete, path = "/workspaces/{handle}/mounts/{mount_id}", operation_id = "end_mount", tag = "mounts",
    params(
        ("handle" = WorkspaceId, Path, description = "The workspace's number"),
        ("mount_id" = MountId, Path, description = "The mount's number"),
    ),
    responses((status = 204, description = "It is not listed any more")),
)]
pub(crate) async fn end(
    State(app): Shared,
    caller: Caller,
    Named((workspace, mount)): Named<(WorkspaceId, MountId)>,
) -> Result<StatusCode, Failure> {
    visible_by_id(&app, &caller, workspace).await?;
    app.store
        .end_mount(mount, workspace, &caller.name())
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The mounts of a workspace that are alive.
///
/// Those whom another tenant granted it see their own tenant's only, and a program with a token or a ticket its
/// own: these open files, and tell nothing of other machines.
#[utoipa::path(
    get, path = "/workspaces/{handle}/mounts", operation_id = "list_mounts", tag = "mounts",
    params(("handle" = WorkspaceId, Path, description = "The workspace's number"), PageQuery),
    responses((status = 200, description = "A part of the list", body = Page<LiveMount>)),
)]
pub(crate) async fn list(
    State(app): Shared,
    caller: Caller,
    Named(workspace): Named<WorkspaceId>,
    Parameters(query): Parameters<PageQuery>,
) -> Answer<Page<LiveMount>> {
    let (found, _) = visible_by_id(&app, &caller, workspace).await?;
    let tenant = caller.tenant()?.tenant_id;
    let of = match found.tenant_id == tenant {
        true => MountsOf::Workspace(workspace),
        false => MountsOf::Visitor(tenant, workspace),
    };
    let Json(mut found) = alive(&app, of, &query).await?;
    if let Who::Service(_) = caller.who {
        let own = caller.name();
        found.items.retain(|mount| mount.actor == own);
    }
    Ok(Json(found))
}

/// The mounts of all workspaces of the tenant, whoever mounts them.
#[utoipa::path(
    get, path = "/tenant/mounts", operation_id = "list_mounts_of_tenant", tag = "mounts",
    params(PageQuery),
    responses((status = 200, description = "A part of the list", body = Page<LiveMount>)),
)]
pub(crate) async fn of_tenant(
    State(app): Shared,
    caller: Caller,
    Parameters(query): Parameters<PageQuery>,
) -> Answer<Page<LiveMount>> {
    let tenant = caller.member_of()?.tenant_id;
    alive(&app, MountsOf::Owner(tenant), &query).await
}

async fn alive(app: &App, of: MountsOf, query: &PageQuery) -> Answer<Page<LiveMount>> {
    let since = silent_since(app.now());
    let mounts = app.store.mounts(of, since, Part::of(query)).await?;
    Ok(Json(page(mounts, query, |mount| mount.mount_id.uuid())))
}

/// Whoever said nothing since is gone, whether the background work has forgotten them or not.
pub(crate) fn silent_since(now: Timestamp) -> Timestamp {
    now.minus(Duration::from_secs(LiveMount::FORGOTTEN_AFTER_SECONDS))
}
