//! Tickets: one workspace, one mode, one length of time, signed.

use api::{TicketId, WorkspaceId};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use base::tokens::Peek;

use super::{AUDIENCE, Refused, check_times};
use crate::app::App;
use crate::store::NewTicket;

/// The `typ` of tickets.
pub(super) const TYPE: &str = "ticket+jwt";

/// What a ticket says. What it may do stands in its row, where it can be taken back; it is
/// repeated here for whoever holds it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Claims {
    iss: String,
    sub: String,
    aud: String,
    exp: i64,
    iat: i64,
    pub(super) jti: TicketId,
    workspace: WorkspaceId,
    mode: api::Mode,
}

impl App {
    pub(crate) fn ticket_text(&self, ticket: &NewTicket) -> Option<SecretString> {
        let claims = Claims {
            iss: self.settings.public_url.clone(),
            sub: audit_name(ticket.id),
            aud: AUDIENCE.into(),
            exp: ticket.expires_at.seconds(),
            iat: ticket.created_at.seconds(),
            jti: ticket.id,
            workspace: ticket.workspace,
            mode: ticket.mode,
        };
        self.key.sign(TYPE, &claims)
    }

    pub(super) fn verify_ticket(&self, token: &str, seen: &Peek) -> Result<Claims, Refused> {
        let claims: Claims = self.key.verify(token, seen, TYPE)?;
        check_times(self.now(), claims.iat, None, claims.exp)?;
        Ok(claims)
    }
}

/// How the audit names a ticket.
pub(super) fn audit_name(id: TicketId) -> String {
    format!("ticket:{id}")
}
