//! `/tokens`: service tokens, for programs that no person is logged in for.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Description, Lifetime, Mode, Secret, ServiceTokenId, Timestamp, WorkspaceId};

/// The body of `POST /tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreateServiceToken {
    /// What it is for.
    pub description: Description,
    /// What it may do.
    pub mode: Mode,
    /// The workspace that it is for; otherwise the whole tenant's bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace_id: Option<WorkspaceId>,
    /// What it is used for.
    #[serde(default)]
    pub purpose: Purpose,
    /// For how long; otherwise until it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<Lifetime>,
}

/// What a service token is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// To mount: it gets storage keys, announces and follows changes.
    #[default]
    Mount,
    /// A store's, for `POST /webhooks/…`: it says what changed, and nothing is told to it.
    Webhook,
}

/// A service token as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServiceToken {
    /// Its number.
    pub token_id: ServiceTokenId,
    /// What it is for.
    pub description: Description,
    /// What it may do.
    pub mode: Mode,
    /// The workspace that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace_id: Option<WorkspaceId>,
    /// What it is used for.
    pub purpose: Purpose,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
}

/// The answer of `POST /tokens`: the one time that the token is shown. The server keeps its
/// hash only.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct IssuedServiceToken {
    /// `art_` and 43 characters.
    pub token: Secret,
    /// What it is.
    #[serde(flatten)]
    pub about: ServiceToken,
}
