//! Tenants and their members, for operators; the members also for the tenant's owners.

use std::sync::Arc;

use api::{
    AddMember, CreateTenant, DeleteTenant, FateOfBucket, Member, Person, Tenant, TenantId,
    TenantState,
};
use askama::Template;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use base::Failure;
use base::extract::{Body, Named, Parameters};
use model::Actor;

use super::form::{Fields, Post};
use super::shell::{Section, Shell, refusal};
use super::visitor::Visitor;
use super::{ListQuery, state};
use crate::app::App;
use crate::endpoints::{members, tenants};

#[derive(Template)]
#[template(path = "tenants.html")]
struct List {
    shell: Shell,
    items: Vec<Tenant>,
    next: Option<String>,
    issuers: Vec<String>,
}

#[derive(Template)]
#[template(path = "tenant.html")]
struct One {
    shell: Shell,
    tenant: Tenant,
    operator: bool,
    members: Vec<Member>,
    next: Option<String>,
    issuers: Vec<String>,
}

/// All tenants.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    Parameters(query): Parameters<ListQuery>,
) -> Result<Response, Failure> {
    all(&app, &visitor, &query, None).await
}

async fn all(
    app: &Arc<App>,
    visitor: &Visitor,
    query: &ListQuery,
    failure: Option<Failure>,
) -> Result<Response, Failure> {
    let caller = visitor.caller.clone();
    let asked = Parameters(query.part());
    let Json(page) = tenants::list(state(app), caller, asked).await?;
    let shell = Shell::new(visitor, Section::Tenants, "Tenants");
    let template = List {
        shell: shell.saying(query.done.as_deref(), failure.as_ref()),
        items: page.items,
        next: page.next_page_token.map(|token| token.to_string()),
        issuers: app.issuers.urls(),
    };
    Ok(refusal(failure, &template))
}

/// Makes one.
pub(super) async fn create(State(app): State<Arc<App>>, post: Post) -> Result<Response, Failure> {
    let done = async {
        let request = wanted(&post.fields)?;
        tenants::create(state(&app), post.caller(), Body(request)).await
    };
    match done.await {
        Ok((_, Json(made))) => {
            let there = format!("/console/tenants/{}?done=tenant-created", made.tenant_id);
            Ok(Redirect::to(&there).into_response())
        }
        Err(failure) => all(&app, &post.visitor, &ListQuery::default(), Some(failure)).await,
    }
}

fn wanted(fields: &Fields) -> Result<CreateTenant, Failure> {
    Ok(CreateTenant {
        handle: fields.required("handle", "Handle")?,
        display_name: fields.optional("display_name", "Name")?,
        backend: fields.required("backend", "Storage")?,
        owner: person(fields)?,
    })
}

/// By actor, or by issuer and subject; `None` where nothing was filled in.
fn person(fields: &Fields) -> Result<Option<Person>, Failure> {
    if let Some(actor) = fields.optional("actor", "Actor")? {
        return Ok(Some(Person::Actor { actor }));
    }
    match (fields.text("issuer"), fields.text("subject")) {
        (Some(issuer), Some(subject)) => Ok(Some(Person::Oidc {
            issuer: issuer.to_owned(),
            subject: subject.to_owned(),
        })),
        (_, None) => Ok(None),
        (None, Some(_)) => Err(Failure::invalid("Issuer is empty")),
    }
}

/// One tenant and its members.
pub(super) async fn show(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    Named(id): Named<TenantId>,
    Parameters(query): Parameters<ListQuery>,
) -> Result<Response, Failure> {
    one(&app, &visitor, id, &query, None).await
}

async fn one(
    app: &Arc<App>,
    visitor: &Visitor,
    id: TenantId,
    query: &ListQuery,
    failure: Option<Failure>,
) -> Result<Response, Failure> {
    let tenant = visible(app, visitor, id).await?;
    let caller = visitor.caller.clone();
    let (number, asked) = (Named(id), Parameters(query.part()));
    let Json(page) = members::list(state(app), caller, number, asked).await?;
    let title = format!("Tenant {}", tenant.handle);
    let shell = Shell::new(visitor, Section::Tenants, title);
    let template = One {
        shell: shell.saying(query.done.as_deref(), failure.as_ref()),
        operator: visitor.caller.operator().is_ok(),
        members: page.items,
        next: page.next_page_token.map(|token| token.to_string()),
        issuers: app.issuers.urls(),
        tenant,
    };
    Ok(refusal(failure, &template))
}

/// Any for an operator; their own for an owner. Others' are not there.
async fn visible(app: &Arc<App>, visitor: &Visitor, id: TenantId) -> Result<Tenant, Failure> {
    let caller = visitor.caller.clone();
    if caller.operator().is_ok() {
        let Json(tenant) = tenants::show(state(app), caller, Named(id)).await?;
        return Ok(tenant);
    }
    let own = caller.owned()?;
    match own.tenant_id == id {
        true => Ok(own.clone()),
        false => Err(Failure::not_found("tenant")),
    }
}

/// Deletes one, if its handle was typed.
pub(super) async fn remove(
    State(app): State<Arc<App>>,
    Named(id): Named<TenantId>,
    post: Post,
) -> Result<Response, Failure> {
    let tenant = visible(&app, &post.visitor, id).await?;
    let done = async {
        let query = fate(&post.fields, &tenant)?;
        tenants::remove(state(&app), post.caller(), Named(id), Parameters(query)).await
    };
    back(&app, &post.visitor, id, done.await, "tenant-deleting").await
}

fn fate(fields: &Fields, tenant: &Tenant) -> Result<DeleteTenant, Failure> {
    if fields.text("handle") != Some(tenant.handle.as_str()) {
        return Err(Failure::invalid(
            "the handle that was typed is not this tenant's, so nothing was done",
        ));
    }
    Ok(DeleteTenant {
        bucket: match fields.text("bucket") {
            Some("delete") => FateOfBucket::Delete,
            _ => FateOfBucket::Keep,
        },
    })
}

/// Makes somebody a member.
pub(super) async fn add(
    State(app): State<Arc<App>>,
    Named(id): Named<TenantId>,
    post: Post,
) -> Result<Response, Failure> {
    visible(&app, &post.visitor, id).await?;
    let done = async {
        let request = newcomer(&post.fields)?;
        members::add(state(&app), post.caller(), Named(id), Body(request)).await
    };
    back(&app, &post.visitor, id, done.await, "member-put").await
}

fn newcomer(fields: &Fields) -> Result<AddMember, Failure> {
    let nobody = || Failure::invalid("nobody is named: fill in the subject, or the actor");
    Ok(AddMember {
        person: person(fields)?.ok_or_else(nobody)?,
        role: fields.required("role", "Role")?,
    })
}

/// Ends a membership.
pub(super) async fn leave(
    State(app): State<Arc<App>>,
    Named((id, actor)): Named<(TenantId, Actor)>,
    post: Post,
) -> Result<Response, Failure> {
    visible(&app, &post.visitor, id).await?;
    let done = members::remove(state(&app), post.caller(), Named((id, actor))).await;
    back(&app, &post.visitor, id, done, "member-removed").await
}

/// To the tenant's page, with what was done or why not.
async fn back<T>(
    app: &Arc<App>,
    visitor: &Visitor,
    id: TenantId,
    done: Result<T, Failure>,
    word: &str,
) -> Result<Response, Failure> {
    match done {
        Ok(_) => {
            let there = format!("/console/tenants/{id}?done={word}");
            Ok(Redirect::to(&there).into_response())
        }
        Err(failure) => one(app, visitor, id, &ListQuery::default(), Some(failure)).await,
    }
}

/// How a page shows a state.
fn tone(state: &TenantState) -> (&'static str, &'static str) {
    match state {
        TenantState::Provisioning => ("wait", "being made"),
        TenantState::Active => ("good", "active"),
        TenantState::Undoing => ("wait", "being undone"),
        TenantState::Failed => ("bad", "failed"),
        TenantState::Deleting => ("wait", "being deleted"),
        TenantState::Deleted => ("off", "deleted"),
    }
}
