//! `GET /audit`: for operators, and for a tenant's owners what concerns it.

use api::{AuditQuery, AuditRow, Page, PageToken, TenantId};
use axum::Json;
use axum::extract::State;
use base::Failure;
use base::extract::Parameters;
use uuid::Uuid;

use super::{Answer, Shared};
use crate::auth::Caller;

/// The audit: who did what, and who was refused what; oldest first.
///
/// For operators; an owner of a tenant asks for their `tenant_id`.
#[utoipa::path(
    get, path = "/audit", operation_id = "list_audit", tag = "audit",
    params(AuditQuery),
    responses((status = 200, description = "A part of the list", body = Page<AuditRow>)),
)]
pub(crate) async fn list(
    State(app): Shared,
    caller: Caller,
    Parameters(query): Parameters<AuditQuery>,
) -> Answer<Page<AuditRow>> {
    may_read(&caller, query.tenant_id)?;
    let after = query.page_token.map_or(0, number);
    let limit = i64::from(u32::from(query.limit));
    let mut rows = match query.tenant_id {
        Some(tenant) => app.store.recorded_of(tenant, after, limit + 1).await?,
        None => app.store.recorded(after, limit + 1).await?,
    };
    let more = i64::try_from(rows.len()).is_ok_and(|count| count > limit);
    if more {
        rows.pop();
    }
    let last = rows.last().filter(|_| more);
    let next_page_token = last.map(|row| token(row.seq));
    Ok(Json(Page {
        items: rows.into_iter().map(AuditRow::from).collect(),
        next_page_token,
    }))
}

/// That the caller may read what concerns a tenant, or all tenants.
pub(crate) fn may_read(caller: &Caller, tenant: Option<TenantId>) -> Result<(), Failure> {
    if caller.operator().is_ok() {
        return Ok(());
    }
    let own = caller.owned()?.tenant_id;
    if tenant != Some(own) {
        return Err(Failure::forbidden(
            "only an operator may do this\nhint: an owner asks for their tenant_id",
        ));
    }
    Ok(())
}

/// Rows are numbered; a token has room for a UUID.
fn token(seq: i64) -> PageToken {
    PageToken::after(Uuid::from_u128(u128::try_from(seq).unwrap_or(0)))
}

/// One that no page had leads to the end.
fn number(token: PageToken) -> i64 {
    i64::try_from(token.last().as_u128()).unwrap_or(i64::MAX)
}
