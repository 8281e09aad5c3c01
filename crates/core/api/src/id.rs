//! Numbers of things: UUIDs of version 7, so that later ones sort behind earlier ones.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an id is a UUID, such as 0190f5a4-7b1c-7d2e-8f3a-4b5c6d7e8f90")]
pub struct InvalidId;

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
        )]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// The number itself, for a row.
            pub fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Uuid::parse_str(text).map(Self).map_err(|_| InvalidId)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id_type!(
    /// A tenant.
    TenantId
);
id_type!(
    /// A storage key that was issued; its own number, not the access key id.
    CredentialId
);
id_type!(
    /// A workspace.
    WorkspaceId
);
id_type!(
    /// A grant.
    GrantId
);
id_type!(
    /// A ticket.
    TicketId
);
id_type!(
    /// A mount of a workspace on some machine.
    MountId
);
id_type!(
    /// A service token.
    ServiceTokenId
);
id_type!(
    /// A session: the `jti` of its token.
    SessionId
);
