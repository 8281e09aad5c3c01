//! Who follows which workspace at this server.
//!
//! The database says that something happened ([`Heard`]); this server reads it once for all of
//! its followers. A follower trusts only the numbers: whoever is not handed the very next
//! event reads the database itself, so that nothing here can lose one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use api::{EventId, TenantId, WorkspaceId};
use base::Failure;
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::store::{Happened, Heard, Result as StoreResult};

/// Events that a slow follower may be behind before it has to read the database itself.
const BACKLOG: usize = 32;

/// Events in one read.
pub(crate) const BATCH: i64 = 500;

/// Before the database is asked again to be listened to.
const PAUSE: Duration = Duration::from_secs(1);

/// The followers of this server.
#[derive(Default)]
pub(crate) struct Hub {
    followed: Mutex<HashMap<WorkspaceId, Channel>>,
    streams: Mutex<HashMap<TenantId, usize>>,
}

struct Channel {
    sender: broadcast::Sender<Arc<Happened>>,
    /// The last event that was handed on.
    last: EventId,
}

/// One stream of a tenant that follows a workspace. Dropped after the stream's receiver.
pub(crate) struct Place {
    app: Arc<App>,
    tenant: TenantId,
    workspace: WorkspaceId,
}

impl Hub {
    /// What happens in a workspace from now on. Of what happened between `newest` and now,
    /// nothing may be said: whoever follows reads the database once more afterwards.
    pub(crate) fn follow(
        &self,
        workspace: WorkspaceId,
        newest: EventId,
    ) -> broadcast::Receiver<Arc<Happened>> {
        let mut followed = self.followed.lock();
        let channel = followed.entry(workspace).or_insert_with(|| Channel {
            sender: broadcast::channel(BACKLOG).0,
            last: newest,
        });
        channel.sender.subscribe()
    }

    /// Forgets a workspace that nobody follows any more.
    fn tidy(&self, workspace: WorkspaceId) {
        let mut followed = self.followed.lock();
        let channel = followed.get(&workspace);
        if channel.is_some_and(|channel| channel.sender.receiver_count() == 0) {
            followed.remove(&workspace);
        }
    }

    /// The last event that was handed on, where somebody follows.
    fn last_of(&self, workspace: WorkspaceId) -> Option<EventId> {
        let followed = self.followed.lock();
        followed.get(&workspace).map(|channel| channel.last)
    }

    fn hand_on(&self, workspace: WorkspaceId, happened: Happened) {
        let mut followed = self.followed.lock();
        let Some(channel) = followed.get_mut(&workspace) else {
            return;
        };
        if happened.id > channel.last {
            channel.last = happened.id;
            // Without followers there is nobody to miss it.
            let _ = channel.sender.send(Arc::new(happened));
        }
    }

    fn all(&self) -> Vec<WorkspaceId> {
        self.followed.lock().keys().copied().collect()
    }

    /// How many streams there are.
    pub(crate) fn streams(&self) -> usize {
        self.streams.lock().values().sum()
    }
}

impl Place {
    /// Takes a place for one more stream of a tenant.
    pub(crate) fn take(
        app: &Arc<App>,
        tenant: TenantId,
        workspace: WorkspaceId,
    ) -> Result<Self, Failure> {
        let mut streams = app.hub.streams.lock();
        let count = streams.entry(tenant).or_default();
        if *count >= app.settings.streams_per_tenant {
            return Err(Failure::rate_limited(60));
        }
        *count += 1;
        Ok(Self {
            app: Arc::clone(app),
            tenant,
            workspace,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.app.hub.tidy(self.workspace);
        let mut streams = self.app.hub.streams.lock();
        if let Some(count) = streams.get_mut(&self.tenant) {
            *count -= 1;
            if *count == 0 {
                streams.remove(&self.tenant);
            }
        }
    }
}

/// Hands on what happens, until told to stop.
pub async fn run(app: Arc<App>, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = hear(&app) => {}
    }
}

/// Listens, and listens again when that ends.
async fn hear(app: &App) {
    loop {
        match app.store.listen().await {
            Ok(mut heard) => {
                // What happened before was not heard.
                pass_on(app, Heard::Perhaps).await;
                while let Some(next) = heard.next().await {
                    pass_on(app, next).await;
                }
            }
            Err(error) => tracing::warn!(%error, "the database cannot be listened to"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Tries until it can: nobody says the same again.
async fn pass_on(app: &App, mut heard: Heard) {
    while let Err(error) = pass_on_heard(app, heard).await {
        tracing::warn!(%error, "events were not read; they are in a second");
        tokio::time::sleep(PAUSE).await;
        heard = Heard::Perhaps;
    }
}

async fn pass_on_heard(app: &App, heard: Heard) -> StoreResult<()> {
    let workspaces = match heard {
        Heard::Workspace(workspace) => vec![workspace],
        Heard::Perhaps => app.hub.all(),
    };
    for workspace in workspaces {
        pass_on_events(app, workspace).await?;
    }
    Ok(())
}

async fn pass_on_events(app: &App, workspace: WorkspaceId) -> StoreResult<()> {
    while let Some(last) = app.hub.last_of(workspace) {
        let missed = app.store.events(workspace, last, BATCH).await?;
        let count = missed.events.len();
        for happened in missed.events {
            app.hub.hand_on(workspace, happened);
        }
        if i64::try_from(count).unwrap_or(i64::MAX) < BATCH {
            break;
        }
    }
    Ok(())
}
