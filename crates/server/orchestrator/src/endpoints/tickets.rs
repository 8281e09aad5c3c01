//! `/tickets`: one workspace, one mode, one length of time.

use std::time::Duration;

use api::{CreateTicket, IssuedTicket, Page, PageQuery, Ticket, TicketId};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use base::Failure;
use base::extract::{Body, Named, Parameters};

use super::{Answer, Shared, page};
use crate::app::App;
use crate::auth::Caller;
use crate::document::refusals;
use crate::store::{Back, KeysOf, NewTicket, Part};

/// What is meant for a moment is not for months.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// Makes a ticket; its text is in this answer only.
#[utoipa::path(
    post, path = "/tickets", operation_id = "create_ticket", tag = "sharing",
    request_body = CreateTicket,
    responses(
        (status = 201, description = "The ticket", body = IssuedTicket),
        (status = 404, response = refusals::NotFound),
    ),
)]
pub(crate) async fn create(
    State(app): Shared,
    caller: Caller,
    Body(request): Body<CreateTicket>,
) -> Result<(StatusCode, Json<IssuedTicket>), Failure> {
    let workspace = super::grants::own_workspace(&app, &caller, request.workspace_id).await?;
    let lifetime = request.ttl_seconds.duration();
    if lifetime > LONGEST {
        return Err(Failure::invalid(
            "a ticket lasts seven days at most (ttl_seconds 604800)",
        ));
    }
    let id = TicketId::from(app.new_id());
    let entry = caller.entry(&app, "TicketCreated", id);
    let new = NewTicket {
        id,
        tenant: workspace.tenant_id,
        workspace: workspace.workspace_id,
        mode: request.mode,
        description: request.description,
        created_by: caller.name(),
        created_at: entry.at,
        expires_at: entry.at.plus(lifetime),
    };
    let text = app.ticket_text(&new).ok_or_else(Failure::internal)?;
    app.store.add_ticket(&new, &entry).await?;
    let about = Ticket {
        ticket_id: id,
        workspace_id: new.workspace,
        mode: new.mode,
        description: new.description,
        created_at: new.created_at,
        expires_at: new.expires_at,
        revoked_at: None,
    };
    let ticket = text.into();
    Ok((StatusCode::CREATED, Json(IssuedTicket { ticket, about })))
}

/// The tenant's tickets, without their texts.
#[utoipa::path(
    get, path = "/tickets", operation_id = "list_tickets", tag = "sharing",
    params(PageQuery),
    responses((status = 200, description = "A part of the list", body = Page<Ticket>)),
)]
pub(crate) async fn list(
    State(app): Shared,
    caller: Caller,
    Parameters(query): Parameters<PageQuery>,
) -> Answer<Page<Ticket>> {
    let tenant = caller.member_of()?.tenant_id;
    let tickets = app.store.tickets(tenant, Part::of(&query)).await?;
    Ok(Json(page(tickets, &query, |ticket| {
        ticket.ticket_id.uuid()
    })))
}

/// The same, newest first, for pages.
pub(crate) async fn newest(
    app: &App,
    caller: &Caller,
    query: &PageQuery,
) -> Result<Page<Ticket>, Failure> {
    let tenant = caller.member_of()?.tenant_id;
    let found = app.store.tickets_back(tenant, Back::of(query)).await?;
    Ok(page(found, query, |item| item.ticket_id.uuid()))
}

/// Takes a ticket back, and every key that was issued to its holder.
#[utoipa::path(
    delete, path = "/tickets/{ticket_id}", operation_id = "revoke_ticket", tag = "sharing",
    params(("ticket_id" = TicketId, Path, description = "Which")),
    responses((status = 204, description = "It has ended")),
)]
pub(crate) async fn revoke(
    State(app): Shared,
    caller: Caller,
    Named(id): Named<TicketId>,
) -> Result<StatusCode, Failure> {
    let tenant = caller.owned()?.tenant_id;
    let entry = caller.entry(&app, "TicketRevoked", id);
    if !app
        .store
        .revoke_ticket(tenant, id, entry.at, &entry)
        .await?
    {
        return Err(Failure::not_found("ticket"));
    }
    app.revoke_because(KeysOf::Via(id.uuid()), &entry, "its ticket was taken back")
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
