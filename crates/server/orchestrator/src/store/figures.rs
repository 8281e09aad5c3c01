//! Numbers of all tenants together, for those who watch over the server.

use api::Timestamp;
use async_trait::async_trait;

use super::Result;

/// Rows whose next step is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DueRows {
    /// How many.
    pub count: i64,
    /// Since when the oldest is.
    pub oldest: Option<Timestamp>,
}

/// What is counted in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figures {
    /// Mounts that said something lately.
    pub live_mounts: i64,
    /// Rows of the audit.
    pub audit_rows: i64,
    /// What the background work has before it, by kind of row.
    pub due: [(&'static str, DueRows); 3],
}

/// The connections to the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connections {
    /// How many there are.
    pub open: usize,
    /// How many of these do nothing.
    pub idle: usize,
    /// How many there may be.
    pub most: usize,
}

/// Counting.
#[async_trait]
pub trait Watched {
    /// The figures at `now`; mounts that said something at `since` or later are alive.
    async fn figures(&self, now: Timestamp, since: Timestamp) -> Result<Figures>;

    /// The connections right now, without asking the database.
    fn connections(&self) -> Connections;
}
