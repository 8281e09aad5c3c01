//! What the orchestrator remembers, behind traits: one adapter for SQLite, one for
//! PostgreSQL, and `conformance` that both keep.
//!
//! A method is one transaction. Whatever changes something takes the [`Entry`] that goes into
//! the audit with it, so that there is no change without a record and no record without its
//! change. Changes of state are conditional: they name the states that they start from, and
//! answer whether they took place, so that two replicas never do one thing twice. Time is a
//! parameter.

/// Names statements, and lists them all for the test that looks at their plans.
macro_rules! statements {
    ($($name:ident = $text:expr;)+) => {
        $(const $name: &str = $text;)+
        /// Every statement of this file.
        #[cfg(feature = "testing")]
        pub(super) const ALL: &[(&str, &str)] = &[$((stringify!($name), $name)),+];
    };
}

mod audit;
mod credentials;
mod decode;
mod devices;
mod error;
mod events;
mod figures;
mod grants;
mod migrate;
mod mounts;
mod open;
mod people;
mod postgres;
mod sqlite;
mod tenants;
mod tickets;
mod tokens;
mod workspaces;

use async_trait::async_trait;
use uuid::Uuid;

pub use audit::{Audit, Entry, Recorded};
pub use credentials::{CredentialRow, Credentials, KeysOf, NewCredential};
pub use devices::{DevicePoll, DeviceRequest, DeviceState, Devices, NewDevice};
pub use error::StoreError;
pub use events::{Events, Happened, Heard, Missed, Situated};
pub use figures::{Connections, DueRows, Figures, Watched};
pub use grants::{GrantRow, Grants, NewGrant};
pub use mounts::{Mounts, MountsOf, NewReport};
pub use open::{open, sqlite_path};
pub use people::{Membership, NewSession, People, SessionRow};
pub use postgres::PostgresStore;
pub use sqlite::SqliteStore;
pub use tenants::{NewMember, NewTenant, TenantChange, TenantRow, Tenants};
pub use tickets::{NewTicket, TicketRow, Tickets};
pub use tokens::{NewServiceToken, ServiceTokenRow, ServiceTokens};
pub use workspaces::{NewWorkspace, Workspaces};

/// Shorthand for a result with [`StoreError`].
pub type Result<T> = std::result::Result<T, StoreError>;

/// All of it.
#[async_trait]
pub trait Store:
    Audit
    + Credentials
    + Devices
    + Events
    + Grants
    + Mounts
    + People
    + ServiceTokens
    + Tenants
    + Tickets
    + Watched
    + Workspaces
    + Send
    + Sync
{
    /// Whether the database answers.
    async fn ping(&self) -> Result<()>;

    /// Closes the connections.
    async fn close(&self);
}

/// Which part of a list: behind `after`, at most `limit` items.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    /// The last item of the part before; nil for the first part.
    pub after: Uuid,
    /// How many.
    pub limit: i64,
}

impl Part {
    /// The part that a query asks for, and one item more, which tells whether there is a next.
    pub fn of(query: &api::PageQuery) -> Self {
        Self {
            after: query.page_token.map_or(Uuid::nil(), |token| token.last()),
            limit: i64::from(u32::from(query.limit)) + 1,
        }
    }
}

/// The same from the end of a list: before `before`, newest first, at most `limit` items.
#[derive(Debug, Clone, Copy)]
pub struct Back {
    /// The last item of the part before; the largest number there is for the first part.
    pub before: Uuid,
    /// How many.
    pub limit: i64,
}

impl Back {
    /// The part that a query asks for, and one item more.
    pub fn of(query: &api::PageQuery) -> Self {
        Self {
            before: query.page_token.map_or(Uuid::max(), |token| token.last()),
            limit: Part::of(query).limit,
        }
    }
}

/// Which rows the background work takes: those due at `now`, at most `limit`. They are due
/// again at `again`, so that another replica does not take them at the same time, and somebody
/// does if this one is killed.
#[derive(Debug, Clone, Copy)]
pub struct Due {
    /// The time.
    pub now: api::Timestamp,
    /// When a row that was taken is due again.
    pub again: api::Timestamp,
    /// How many.
    pub limit: i64,
}
