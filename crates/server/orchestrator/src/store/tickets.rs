//! Tickets.

use api::{Description, Mode, TenantId, Ticket, TicketId, Timestamp, WorkspaceId};
use async_trait::async_trait;

use super::{Back, Entry, Part, Result, TenantRow};

/// A ticket that is made.
#[derive(Debug, Clone)]
pub struct NewTicket {
    /// Its number, the `jti` of its text.
    pub id: TicketId,
    /// Whose workspace.
    pub tenant: TenantId,
    /// Which.
    pub workspace: WorkspaceId,
    /// What its holder may do.
    pub mode: Mode,
    /// Whom it is for.
    pub description: Option<Description>,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// What a ticket opens now.
#[derive(Debug, Clone)]
pub struct TicketRow {
    /// The ticket.
    pub ticket: Ticket,
    /// Whose workspace it is for.
    pub tenant: TenantRow,
}

/// Tickets.
#[async_trait]
pub trait Tickets {
    /// Adds one.
    async fn add_ticket(&self, ticket: &NewTicket, entry: &Entry) -> Result<()>;

    /// One by number, with its tenant.
    async fn ticket(&self, id: TicketId) -> Result<Option<TicketRow>>;

    /// A part of a tenant's, also of those that have ended.
    async fn tickets(&self, tenant: TenantId, part: Part) -> Result<Vec<Ticket>>;

    /// The same, newest first.
    async fn tickets_back(&self, tenant: TenantId, back: Back) -> Result<Vec<Ticket>>;

    /// Takes one of the tenant's back; `false` if there is none that counts. The keys through
    /// it are the caller's to revoke.
    async fn revoke_ticket(
        &self,
        tenant: TenantId,
        id: TicketId,
        now: Timestamp,
        entry: &Entry,
    ) -> Result<bool>;
}
