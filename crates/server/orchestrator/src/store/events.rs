//! What happened in workspaces, for those who follow it.
//!
//! Each workspace counts its events from 1 without gaps, by a counter in its own row: whoever
//! adds one holds that row until the transaction ends, so that an event with a higher number
//! is never seen before one with a lower number. Rows are kept for a while and then forgotten;
//! whoever comes later is told that they missed something.

use api::{BucketName, Event, EventId, Prefix, TenantId, Timestamp, WorkspaceId};
use async_trait::async_trait;
use futures::stream::BoxStream;

use super::Result;

/// An event of a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happened {
    /// Its number within the workspace.
    pub id: EventId,
    /// What it says.
    pub event: Event,
}

/// A part of the events behind a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missed {
    /// The events, in order and without gaps.
    pub events: Vec<Happened>,
    /// The workspace's newest number.
    pub newest: EventId,
    /// Whether events behind the number are forgotten, or the number is none of this
    /// workspace's.
    pub gap: bool,
}

/// A workspace that lies in a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Situated {
    /// Which.
    pub workspace: WorkspaceId,
    /// Whose.
    pub tenant: TenantId,
    /// What its keys begin with.
    pub prefix: Prefix,
    /// Whether the bucket is of this server's making.
    pub managed: bool,
}

/// What is heard from all servers of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Something happened in this workspace.
    Workspace(WorkspaceId),
    /// Something may have happened anywhere: the connection was lost for a while.
    Perhaps,
}

/// Events.
#[async_trait]
pub trait Events {
    /// Adds events, in order; answers the last one's number, or nothing if the workspace is
    /// not there (any more).
    async fn add_events(
        &self,
        workspace: WorkspaceId,
        now: Timestamp,
        events: &[Event],
    ) -> Result<Option<EventId>>;

    /// The events behind a number, at most `limit`.
    async fn events(&self, workspace: WorkspaceId, after: EventId, limit: i64) -> Result<Missed>;

    /// The newest event's number; 0 if there was none.
    async fn newest_event(&self, workspace: WorkspaceId) -> Result<EventId>;

    /// The workspaces in a bucket that are not being deleted.
    async fn workspaces_in(&self, bucket: &BucketName) -> Result<Vec<Situated>>;

    /// Those of them whose part of the bucket begins just here.
    async fn workspaces_at(&self, bucket: &BucketName, prefix: &str) -> Result<Vec<Situated>>;

    /// Forgets events before a time.
    async fn forget_events(&self, before: Timestamp) -> Result<()>;

    /// What happens from now on, at this server and at others. Ends with the store.
    async fn listen(&self) -> Result<BoxStream<'static, Heard>>;
}
