//! Who is logged in.

use std::fmt;

use model::{Actor, Handle};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Mode, Role, Secret, SessionId, TenantId, Timestamp, WorkspaceId, schemas};

/// The body of `POST /bootstrap`, which makes the first operator.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct Bootstrap {
    /// The one-time token that `artifactsd orchestrator bootstrap` printed.
    pub token: Secret,
}

/// A session token, as RFC 6749 §5.1 answers it.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct SessionToken {
    /// The token.
    pub access_token: Secret,
    /// `Bearer`.
    pub token_type: String,
    /// For how many seconds it counts.
    pub expires_in: u64,
    /// What it may be used for.
    pub scope: Scope,
}

/// What a session may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// What its person may do in one tenant.
    Tenant,
    /// The same, and what an operator may do.
    Operator,
}

impl Scope {
    /// The word on the wire and in rows.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Operator => "operator",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The answer of `GET /whoami`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Whoami {
    /// What kind of token was shown.
    pub identity: Identity,
    /// The tenant that it stands in, if it stands in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<TenantId>,
    /// The same, by its short name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schemas::Handle>)]
    pub handle: Option<Handle>,
    /// When the token ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// Whom a token stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Identity {
    /// A person or an agent with a session.
    Person {
        /// Who.
        #[schema(value_type = schemas::Actor)]
        actor: Actor,
        /// Their role in the tenant.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        role: Option<Role>,
        /// Whether they are an operator in this session.
        operator: bool,
        /// The session, where it was begun here.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session_id: Option<SessionId>,
    },
    /// A store that says what changed in its buckets, and may do nothing else.
    Store,
    /// A program with a service token or a ticket.
    Service {
        /// What it may do.
        mode: Mode,
        /// With which workspace; absent for the whole tenant.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        workspace_id: Option<WorkspaceId>,
    },
}
