//! Grants to other tenants, and tickets.

use std::sync::Arc;

use api::{CreateGrant, CreateTicket, Grant, GrantId, PageQuery, Ticket, TicketId, Workspace};
use askama::Template;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use base::Failure;
use base::extract::{Body, Named, Parameters};
use serde::Deserialize;

use super::form::{Fields, Post};
use super::shell::{Section, Shell, page, refusal};
use super::state;
use super::tokens::Handed;
use super::visitor::Visitor;
use super::workspaces::Names;
use crate::app::App;
use crate::endpoints::{grants, tickets};

/// Three lists on one page, each with its own place to go on.
#[derive(Default, Deserialize)]
pub(super) struct Query {
    done: Option<String>,
    given: Option<api::PageToken>,
    received: Option<api::PageToken>,
    tickets: Option<api::PageToken>,
}

#[derive(Template)]
#[template(path = "sharing.html")]
struct List {
    shell: Shell,
    owner: bool,
    workspaces: Vec<Workspace>,
    given: Vec<(String, Grant)>,
    next_given: Option<String>,
    received: Vec<(String, Grant)>,
    next_received: Option<String>,
    tickets: Vec<TicketRow>,
    next_tickets: Option<String>,
}

struct TicketRow {
    opens: String,
    ticket: Ticket,
    state: (&'static str, &'static str),
}

/// What the tenant has given and was given.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    Parameters(query): Parameters<Query>,
) -> Result<Response, Failure> {
    all(&app, &visitor, &query, None).await
}

async fn all(
    app: &Arc<App>,
    visitor: &Visitor,
    query: &Query,
    failure: Option<Failure>,
) -> Result<Response, Failure> {
    let caller = || visitor.caller.clone();
    let state = || state(app);
    let part = |page_token| PageQuery {
        page_token,
        ..Default::default()
    };
    let asked = |token| Parameters(part(token));
    let Json(given) = grants::list(state(), caller(), asked(query.given)).await?;
    let Json(received) = grants::received(state(), caller(), asked(query.received)).await?;
    let tickets = tickets::newest(app, &visitor.caller, &part(query.tickets)).await?;
    let names = Names::read(app, &visitor.caller).await?;
    let named = |grant: Grant| (names.of(Some(grant.workspace_id)), grant);
    let row = |ticket: Ticket| TicketRow {
        opens: names.of(Some(ticket.workspace_id)),
        state: tone(&ticket, app.now()),
        ticket,
    };
    let shell = Shell::new(visitor, Section::Sharing, "Grants and tickets");
    let template = List {
        shell: shell.saying(query.done.as_deref(), failure.as_ref()),
        owner: visitor.caller.owned().is_ok(),
        given: given.items.into_iter().map(named).collect(),
        next_given: given.next_page_token.map(|token| token.to_string()),
        received: received.items.into_iter().map(named).collect(),
        next_received: received.next_page_token.map(|token| token.to_string()),
        tickets: tickets.items.into_iter().map(row).collect(),
        next_tickets: tickets.next_page_token.map(|token| token.to_string()),
        workspaces: names.into_usable(),
    };
    Ok(refusal(failure, &template))
}

fn tone(ticket: &Ticket, now: api::Timestamp) -> (&'static str, &'static str) {
    match ticket.revoked_at {
        Some(_) => ("off", "taken back"),
        None if ticket.expires_at <= now => ("off", "ended"),
        None => ("good", "active"),
    }
}

/// Lets another tenant mount a workspace.
pub(super) async fn grant(State(app): State<Arc<App>>, post: Post) -> Result<Response, Failure> {
    let done = async {
        let request = wanted_grant(&post.fields)?;
        grants::create(state(&app), post.caller(), Body(request)).await
    };
    back(&app, &post.visitor, done.await, "grant-created").await
}

fn wanted_grant(fields: &Fields) -> Result<CreateGrant, Failure> {
    Ok(CreateGrant {
        workspace_id: fields.required("workspace_id", "Workspace")?,
        grantee: fields.required("grantee", "Tenant")?,
        mode: fields.required("mode", "Access")?,
        ttl_seconds: fields.lifetime("ttl_seconds", "Lifetime")?,
    })
}

/// Takes a grant back.
pub(super) async fn end_grant(
    State(app): State<Arc<App>>,
    Named(id): Named<GrantId>,
    post: Post,
) -> Result<Response, Failure> {
    let done = grants::remove(state(&app), post.caller(), Named(id)).await;
    back(&app, &post.visitor, done, "grant-revoked").await
}

/// Makes a ticket; its text is on this page and nowhere else.
pub(super) async fn ticket(State(app): State<Arc<App>>, post: Post) -> Result<Response, Failure> {
    let done = async {
        let request = wanted_ticket(&post.fields)?;
        tickets::create(state(&app), post.caller(), Body(request)).await
    };
    match done.await {
        Ok((_, Json(issued))) => {
            let template = Handed {
                shell: Shell::new(&post.visitor, Section::Sharing, "Your new ticket"),
                what: "ticket",
                how: "Whoever holds it mounts the workspace with it: artifacts mount HANDLE/NAME PATH --ticket FILE",
                text: issued.ticket,
                back: "/console/sharing",
            };
            Ok(page(StatusCode::CREATED, &template))
        }
        Err(failure) => all(&app, &post.visitor, &Query::default(), Some(failure)).await,
    }
}

fn wanted_ticket(fields: &Fields) -> Result<CreateTicket, Failure> {
    let missing = || Failure::invalid("Lifetime is empty");
    Ok(CreateTicket {
        workspace_id: fields.required("workspace_id", "Workspace")?,
        mode: fields.required("mode", "Access")?,
        ttl_seconds: fields
            .lifetime("ttl_seconds", "Lifetime")?
            .ok_or_else(missing)?,
        description: fields.optional("description", "Description")?,
    })
}

/// Takes a ticket back.
pub(super) async fn end_ticket(
    State(app): State<Arc<App>>,
    Named(id): Named<TicketId>,
    post: Post,
) -> Result<Response, Failure> {
    let done = tickets::revoke(state(&app), post.caller(), Named(id)).await;
    back(&app, &post.visitor, done, "ticket-revoked").await
}

async fn back<T>(
    app: &Arc<App>,
    visitor: &Visitor,
    done: Result<T, Failure>,
    word: &str,
) -> Result<Response, Failure> {
    match done {
        Ok(_) => Ok(Redirect::to(&format!("/console/sharing?done={word}")).into_response()),
        Err(failure) => all(app, visitor, &Query::default(), Some(failure)).await,
    }
}
