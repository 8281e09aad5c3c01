//! The background work: whatever row is due, at this server or left by another.

use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::endpoints::mounts::silent_since;
use crate::store::{Due, Result as StoreResult};

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// A row that was taken is due again after this: longer than its step may take.
const LEASE: Duration = Duration::from_secs(30);

/// Rows of one kind in one look.
const BATCH: i64 = 50;

/// Keys that the provider is asked about at the same time: 50 of them are done within the lease
/// unless the provider is silent, and then asking twice costs nothing.
const AT_ONCE: usize = 8;

/// For how long ended sessions can be told from those that never were.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

/// Looks every second until told to stop.
pub async fn run(app: Arc<App>, stop: CancellationToken) {
    loop {
        if let Err(error) = round(&app).await {
            tracing::warn!(%error, "the background work was cut short; it goes on in a second");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

/// One look: takes what is due and brings each a step on. Keys come first, because tenants
/// and workspaces wait for them.
///
/// # Errors
/// The database's; what was not done is due again.
pub async fn round(app: &App) -> StoreResult<()> {
    let now = app.now();
    let due = Due {
        now,
        again: now.plus(LEASE),
        limit: BATCH,
    };
    let mut keys = app.store.due_credentials(due).await?;
    while !keys.is_empty() {
        let rest = keys.split_off(keys.len().min(AT_ONCE));
        try_join_all(keys.into_iter().map(|row| app.tend_credential(row))).await?;
        keys = rest;
    }
    for workspace in app.store.due_workspaces(due).await? {
        app.tend_workspace(&workspace).await?;
    }
    for row in app.store.due_tenants(due).await? {
        app.bring_on(row.tenant.tenant_id).await?;
    }
    app.store.forget_ended(now.minus(REMEMBERED)).await?;
    let kept = app.settings.events_kept;
    app.store.forget_events(now.minus(kept)).await?;
    app.store.forget_mounts(silent_since(now)).await?;
    app.limits.tidy();
    Ok(())
}
