//! The audit, newest first, and what is looked for in it.

use std::sync::Arc;

use api::{AuditRow, TenantId};
use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use base::Failure;
use base::extract::Parameters;
use serde::Deserialize;

use super::shell::{Section, Shell, page};
use super::visitor::Visitor;
use crate::app::App;
use crate::endpoints::audit::may_read;
use crate::store::Recorded;

/// Rows on a page.
const SHOWN: usize = 50;

/// Rows that are read at once.
const BATCH: i64 = 1_000;

/// Rows that one question looks through: whoever looks for what is rare goes on from page to page,
/// and no question takes long.
const BATCHES: usize = 20;

#[derive(Default, Deserialize)]
pub(super) struct Query {
    /// What a row has to have in it.
    search: Option<String>,
    /// The tenant that rows are about; an owner's own, always.
    tenant: Option<String>,
    /// Only rows before this number.
    before: Option<i64>,
}

#[derive(Template)]
#[template(path = "audit.html")]
struct List {
    shell: Shell,
    operator: bool,
    search: String,
    tenant: String,
    rows: Vec<AuditRow>,
    looked_back_to: Option<i64>,
    older: Option<String>,
}

/// What a search has found so far.
struct Found {
    rows: Vec<Recorded>,
    /// The oldest row that was looked at, where there are older ones.
    rest: Option<i64>,
}

/// Looks for rows.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    Parameters(query): Parameters<Query>,
) -> Result<Response, Failure> {
    let tenant = about(&visitor, &query)?;
    may_read(&visitor.caller, tenant)?;
    let search = query.search.as_deref().unwrap_or("").trim();
    let before = query.before.unwrap_or(i64::MAX);
    let _turn = app.limits.search(&visitor.caller.name()).await?;
    let found = look(&app, tenant, search, before).await?;
    let named = tenant.map(|id| id.to_string()).unwrap_or_default();
    let older = found.rest.map(|rest| older(search, &named, rest));
    let template = List {
        shell: Shell::new(&visitor, Section::Audit, "Audit"),
        operator: visitor.caller.operator().is_ok(),
        search: search.to_owned(),
        tenant: named,
        looked_back_to: found.rest,
        rows: found.rows.into_iter().map(AuditRow::from).collect(),
        older,
    };
    Ok(page(StatusCode::OK, &template))
}

/// The tenant that is asked about: an operator may ask about all.
fn about(visitor: &Visitor, query: &Query) -> Result<Option<TenantId>, Failure> {
    if visitor.caller.operator().is_err() {
        return Ok(Some(visitor.caller.owned()?.tenant_id));
    }
    let named = query.tenant.as_deref().map(str::trim);
    let named = named.filter(|text| !text.is_empty()).map(str::parse);
    named
        .transpose()
        .map_err(|_| Failure::invalid("Tenant is no tenant's number"))
}

async fn look(
    app: &App,
    tenant: Option<TenantId>,
    search: &str,
    before: i64,
) -> Result<Found, Failure> {
    let search = search.to_lowercase();
    let mut rows = Vec::new();
    let mut last = before;
    for _ in 0..BATCHES {
        let batch = app.store.recorded_before(tenant, last, BATCH).await?;
        let is_end = i64::try_from(batch.len()).unwrap_or(BATCH) < BATCH;
        for row in batch {
            last = row.seq;
            if has(&row, &search) {
                rows.push(row);
            }
            if rows.len() == SHOWN {
                let rest = (last > 1).then_some(last);
                return Ok(Found { rows, rest });
            }
        }
        if is_end {
            return Ok(Found { rows, rest: None });
        }
    }
    let rest = Some(last);
    Ok(Found { rows, rest })
}

/// Whether a row has a text anywhere in it, in capitals or not.
fn has(row: &Recorded, search: &str) -> bool {
    let texts = [
        Some(&row.action),
        row.actor.as_ref(),
        row.subject.as_ref(),
        row.reason.as_ref(),
        row.request_id.as_ref(),
    ];
    let mut texts = texts.into_iter().flatten();
    search.is_empty() || texts.any(|text| text.to_lowercase().contains(search))
}

fn older(search: &str, tenant: &str, before: i64) -> String {
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("search", search)
        .append_pair("tenant", tenant)
        .append_pair("before", &before.to_string())
        .finish();
    format!("/console/audit?{query}")
}
