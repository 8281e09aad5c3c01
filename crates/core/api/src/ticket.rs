//! `/tickets`: one workspace, one mode, one length of time, in a signed text that can be
//! handed on.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Description, Lifetime, Mode, Secret, TicketId, Timestamp, WorkspaceId};

/// The body of `POST /tickets`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreateTicket {
    /// The workspace, one of the caller's tenant.
    pub workspace_id: WorkspaceId,
    /// What its holder may do.
    pub mode: Mode,
    /// For how long: at most seven days.
    #[schema(value_type = u32, minimum = 60, maximum = 604_800)]
    pub ttl_seconds: Lifetime,
    /// Whom it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Description>,
}

/// A ticket as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Ticket {
    /// Its number.
    pub ticket_id: TicketId,
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// What its holder may do.
    pub mode: Mode,
    /// Whom it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Description>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// When it was taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
}

/// The answer of `POST /tickets`: the one time that the signed text is shown.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct IssuedTicket {
    /// The signed text.
    pub ticket: Secret,
    /// What it is.
    #[serde(flatten)]
    pub about: Ticket,
}
