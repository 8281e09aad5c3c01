//! Looking at the registry while capabilities are live, so that a revocation made anywhere
//! reaches daemons without anybody telling; and forgetting what has ended.
//!
//! A worker refuses what was revoked in any case: this only lets daemons drop it too.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use api::vault::{DropEvent, OperatorEvent, Reason};
use futures::{FutureExt, StreamExt};
use model::Actor;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use vault::Op;

use crate::app::App;
use crate::judge::Wanted;
use crate::refusal::Refusal;
use crate::store::Watched;

/// What is asked of the registry at the same time.
const AT_ONCE: usize = 16;

/// Between two tidyings.
const TIDY: Duration = Duration::from_secs(60);

/// The epoch that was seen last, in the database: one that begins while the broker is away is
/// told when it is back.
const EPOCH: &str = "epoch";

/// Looks and tidies until told to stop.
pub async fn run(app: Arc<App>, stop: CancellationToken) {
    let mut look = tokio::time::interval(app.settings.watch_interval);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut tidy = tokio::time::interval(TIDY);
    tidy.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let done = tokio::select! {
            () = stop.cancelled() => return,
            _ = look.tick() => AssertUnwindSafe(self::look(&app)).catch_unwind().await,
            _ = tidy.tick() => AssertUnwindSafe(self::tidy(&app)).catch_unwind().await,
        };
        // Without the watch no revocation would reach a daemon until the broker is started anew:
        // a defect costs one look, not all that follow.
        let Ok(failed) = done else {
            tracing::error!("the watch over capabilities broke down in a look; it goes on");
            continue;
        };
        // A registry that is away has been complained of.
        let away = Refusal::Reason(Reason::RegistryUnavailable);
        if let Err(refusal) = failed
            && refusal != away
        {
            tracing::warn!(
                reason = refusal.word(),
                "the watch over capabilities was disturbed"
            );
        }
    }
}

async fn tidy(app: &App) -> Result<(), Refusal> {
    let now = app.now();
    app.store.tidy(now).await?;
    let kept = i64::try_from(app.settings.events_kept.as_secs()).unwrap_or(i64::MAX);
    let most = app.settings.events_per_operator;
    app.store
        .forget_events(now.saturating_sub(kept), most)
        .await?;
    app.limits.tidy();
    Ok(())
}

/// Looks once.
pub(crate) async fn look(app: &App) -> Result<(), Refusal> {
    let all = in_turn(app).await?;
    if all.is_empty() && app.hub.is_empty() {
        return Ok(());
    }
    let epoch = app.registry.current_epoch().await;
    let epoch = epoch.map_err(|error| app.unavailable(&error))?;
    // What is watched stays so: some of it was minted in the new epoch, before this look.
    if epoch_began(app, epoch).await? {
        app.happened_to_all(&OperatorEvent::Epoch { epoch }).await?;
    }
    let judged = futures::stream::iter(all).map(async |watched| {
        let verdict = verdict(app, &watched).await;
        (watched, verdict)
    });
    let mut judged = std::pin::pin!(judged.buffer_unordered(AT_ONCE));
    let mut told = HashSet::new();
    while let Some((watched, verdict)) = judged.next().await {
        if let Some(reason) = verdict {
            drop_it(app, &watched, reason, &mut told).await?;
        }
    }
    Ok(())
}

/// What is looked at this time: all that is live, or, where that is more than fits one look, what
/// comes after the last look's; the next one after the end begins anew.
async fn in_turn(app: &App) -> Result<Vec<Watched>, Refusal> {
    let most = app.settings.watched_at_once;
    let after = app.looked_at.lock().take();
    let all = app.store.watched(app.now(), after.as_ref(), most).await?;
    if i64::try_from(all.len()).unwrap_or(i64::MAX) >= most {
        *app.looked_at.lock() = all.last().cloned();
    }
    Ok(all)
}

/// Whether it is another epoch than the one before. The first one ever is none.
async fn epoch_began(app: &App, epoch: u32) -> Result<bool, Refusal> {
    let seen = *app.epoch.lock();
    if seen == Some(epoch) {
        return Ok(false);
    }
    let before = match seen {
        Some(before) => Some(before),
        None => {
            let kept = app.store.meta(EPOCH).await?;
            kept.and_then(|text| text.parse().ok())
        }
    };
    app.store.set_meta(EPOCH, &epoch.to_string()).await?;
    *app.epoch.lock() = Some(epoch);
    Ok(before.is_some_and(|before| before != epoch))
}

/// Why a capability counts no more; `None` while it does, or while nobody knows.
async fn verdict(app: &App, watched: &Watched) -> Option<Reason> {
    let ops = Op::ALL.into_iter();
    let op = ops.into_iter().find(|op| op.as_str() == watched.op)?;
    let wanted = Wanted {
        operator: &watched.operator,
        actor: &watched.actor,
        device: &watched.device,
        op,
        service: watched.service.as_ref(),
    };
    match app.judge(&wanted).await {
        Ok(_) | Err(Reason::RegistryUnavailable) => None,
        Err(reason) => Some(reason),
    }
}

/// Tells the operator's daemons, once for all capabilities that ended for the same reason.
async fn drop_it(
    app: &App,
    watched: &Watched,
    reason: Reason,
    told: &mut HashSet<(Actor, String)>,
) -> Result<(), Refusal> {
    let event = match reason {
        Reason::DeviceRevoked => OperatorEvent::DeviceRevoked {
            device: watched.device,
        },
        _ => OperatorEvent::Drop(DropEvent {
            actor: Some(watched.actor.clone()),
            // Without a service where the device is at fault: all that it has.
            service: match reason {
                Reason::ScopeDenied | Reason::ScopeReadOnly => watched.service.clone(),
                _ => None,
            },
        }),
    };
    // Before anybody hears of it.
    if reason == Reason::DeviceRevoked {
        let now = app.now();
        app.store.revoke_sessions_of(&watched.device, now).await?;
    }
    let text = serde_json::to_string(&event).unwrap_or_default();
    if told.insert((watched.operator.clone(), text)) {
        tracing::info!(operator = %watched.operator, reason = reason.as_str(), "dropped");
        app.happened(&watched.operator, &event).await?;
    }
    app.store.unwatch(watched).await?;
    Ok(())
}
