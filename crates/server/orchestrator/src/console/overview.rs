//! The first page: who you are, where you are, and where else you may go.

use std::sync::Arc;
use std::time::Duration;

use api::{PageQuery, Role, Tenant, Timestamp};
use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};
use base::Failure;
use base::extract::Parameters;

use super::ListQuery;
use super::cookies::Cookie;
use super::form::Post;
use super::shell::{Section, Shell, page};
use super::visitor::Visitor;
use crate::app::App;
use crate::store::{Membership, Part};

/// For as long as a session may last.
const REMEMBERED: Duration = Duration::from_secs(12 * 3600);

#[derive(Template)]
#[template(path = "overview.html")]
struct Page {
    shell: Shell,
    actor: String,
    operator: bool,
    ends: Option<Timestamp>,
    here: Option<Here>,
    tenants: Vec<Choice>,
}

/// The tenant that the visitor is in.
struct Here {
    tenant: Tenant,
    role: &'static str,
    newest_key: Option<Timestamp>,
}

struct Choice {
    tenant: Tenant,
    role: &'static str,
    here: bool,
}

/// Shows it.
pub(super) async fn show(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    Parameters(query): Parameters<ListQuery>,
) -> Result<Response, Failure> {
    let person = visitor.caller.person()?;
    let here = match &person.member {
        None => None,
        Some((tenant, role)) => Some(Here {
            newest_key: app.store.newest_credential(tenant.tenant_id).await?,
            tenant: tenant.clone(),
            role: word(role),
        }),
    };
    let template = Page {
        shell: Shell::new(&visitor, Section::Overview, "Overview")
            .saying(query.done.as_deref(), None),
        actor: person.actor.to_string(),
        operator: person.operator,
        ends: visitor.caller.ends,
        tenants: choices(&app, &visitor).await?,
        here,
    };
    Ok(page(StatusCode::OK, &template))
}

/// The tenants of whose members the visitor is one, if their session leaves them a choice.
async fn choices(app: &App, visitor: &Visitor) -> Result<Vec<Choice>, Failure> {
    let own = visitor.caller.tenant().ok().map(|tenant| tenant.tenant_id);
    let choice = |found: Membership| Choice {
        here: own == Some(found.tenant.tenant.tenant_id),
        tenant: found.tenant.tenant,
        role: word(&found.role),
    };
    let all = memberships(app, visitor).await?;
    Ok(all.into_iter().map(choice).collect())
}

/// The same, as the store has them.
pub(super) async fn memberships(app: &App, visitor: &Visitor) -> Result<Vec<Membership>, Failure> {
    if !visitor.may_choose() {
        return Ok(Vec::new());
    }
    let person = visitor.signed_in.person()?;
    let all = Part::of(&PageQuery::default());
    Ok(app.store.memberships_part(&person.actor, all).await?)
}

pub(super) fn word(role: &Role) -> &'static str {
    match role {
        Role::Owner => "owner",
        Role::Member => "member",
    }
}

/// Goes to another tenant of the person's.
pub(super) async fn choose(State(app): State<Arc<App>>, post: Post) -> Result<Response, Failure> {
    let wanted: api::TenantId = post.fields.required("tenant_id", "Tenant")?;
    let there = post
        .visitor
        .signed_in
        .standing_in(&app, Some(wanted))
        .await?;
    if there.tenant()?.tenant_id != wanted {
        return Err(Failure::not_found("tenant"));
    }
    let cookie = Cookie::Tenant.set(&app, &wanted.to_string(), REMEMBERED);
    let cookie = AppendHeaders(cookie);
    Ok((cookie, Redirect::to("/?done=tenant-chosen")).into_response())
}
