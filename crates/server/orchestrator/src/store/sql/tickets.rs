//! The rows of tickets.

use api::{TenantId, Ticket, TicketId, Timestamp};
use async_trait::async_trait;

use super::columns::{id, some_time, some_value, time, value};
use super::steps::{back_of, part_of};
use super::tenants::tenant_row;
use super::{Adapter, DbRow};
use crate::store::decode::word;
use crate::store::{Back, Entry, NewTicket, Part, Result, TicketRow, Tickets};

statements! {
    ADD = "INSERT INTO tickets (id, tenant_id, workspace_id, mode, description, created_by,
               created_at, expires_at, revoked_at)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, NULL)";
    BY_ID = "SELECT t.*, k.id AS ticket_id, k.workspace_id, k.mode, k.description,
                 k.created_at AS made_at, k.expires_at, k.revoked_at
             FROM tickets k JOIN tenants t ON t.id = k.tenant_id
             WHERE k.id = $1";
    PART = "SELECT id AS ticket_id, workspace_id, mode, description, created_at AS made_at,
                expires_at, revoked_at
            FROM tickets WHERE tenant_id = $1 AND id > $2 ORDER BY id LIMIT $3";
    BACK = "SELECT id AS ticket_id, workspace_id, mode, description, created_at AS made_at,
                expires_at, revoked_at
            FROM tickets WHERE tenant_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3";
    REVOKE = "UPDATE tickets SET revoked_at = $3
              WHERE id = $1 AND tenant_id = $2 AND revoked_at IS NULL";
}

#[async_trait]
impl Tickets for Adapter {
    async fn add_ticket(&self, ticket: &NewTicket, entry: &Entry) -> Result<()> {
        let statement = sqlx::query(ADD)
            .bind(ticket.id.uuid())
            .bind(ticket.tenant.uuid())
            .bind(ticket.workspace.uuid())
            .bind(word(&ticket.mode)?)
            .bind(ticket.description.as_ref().map(|text| text.as_str()))
            .bind(&ticket.created_by)
            .bind(ticket.created_at.micros())
            .bind(ticket.expires_at.micros());
        self.add(statement, entry).await
    }

    async fn ticket(&self, id: TicketId) -> Result<Option<TicketRow>> {
        let read = |row: &DbRow| {
            Ok(TicketRow {
                ticket: ticket(row)?,
                tenant: tenant_row(row)?,
            })
        };
        self.one(sqlx::query(BY_ID).bind(id.uuid()), read).await
    }

    async fn tickets(&self, tenant: TenantId, part: Part) -> Result<Vec<Ticket>> {
        self.all(part_of(sqlx::query(PART).bind(tenant.uuid()), part), ticket)
            .await
    }

    async fn tickets_back(&self, tenant: TenantId, back: Back) -> Result<Vec<Ticket>> {
        let statement = sqlx::query(BACK).bind(tenant.uuid());
        self.all(back_of(statement, back), ticket).await
    }

    async fn revoke_ticket(
        &self,
        tenant: TenantId,
        id: TicketId,
        now: Timestamp,
        entry: &Entry,
    ) -> Result<bool> {
        let statement = sqlx::query(REVOKE)
            .bind(id.uuid())
            .bind(tenant.uuid())
            .bind(now.micros());
        self.change(statement, entry).await
    }
}

fn ticket(row: &DbRow) -> Result<Ticket> {
    Ok(Ticket {
        ticket_id: id(row, "ticket_id")?,
        workspace_id: id(row, "workspace_id")?,
        mode: value(row, "mode")?,
        description: some_value(row, "description")?,
        created_at: time(row, "made_at")?,
        expires_at: time(row, "expires_at")?,
        revoked_at: some_time(row, "revoked_at")?,
    })
}
