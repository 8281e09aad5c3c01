//! Hearing the broker's events, for ever.
//!
//! After a break the broker replays from the last event that was heard, or says `resync`. While
//! it is away, what is held goes on until it ends by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use api::vault::OperatorEvent;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use model::Actor;
use secrets::{Kind, Result, SecretError};
use sse_stream::{Sse, SseByteStream};
use tokio::time::{Instant, sleep, timeout};

use crate::caps::CapCache;
use crate::liveness::Liveness;
use crate::upstream::{Chunks, Upstream};

/// More than any event of ours.
const LARGEST_EVENT: usize = 64 * 1024;
/// How often it is looked whether the login ends soon.
const RENEW_LOOK: Duration = Duration::from_secs(60);

/// Follows the events of the login's operator.
pub async fn run(upstream: Arc<dyn Upstream>, caps: Arc<CapCache>, liveness: Arc<Liveness>) {
    let pace = liveness.pace();
    let mut pause = pace.first_pause;
    loop {
        let began = Instant::now();
        let why = match stream(upstream.as_ref(), &caps, &liveness).await {
            Ok(()) => "the broker ended the stream; connecting again".to_owned(),
            Err(error) => error.message,
        };
        tracing::info!(%why, "the broker's events are interrupted");
        liveness.broke(why);
        if began.elapsed() >= pace.good {
            pause = pace.first_pause;
        }
        sleep(pace.first_pause).await;
        // An idle daemon waits longer.
        let rest = pause.saturating_sub(pace.first_pause);
        let _ = timeout(rest, liveness.nudged()).await;
        pause = (pause * 2).min(pace.longest_pause);
    }
}

/// Keeps the login from ending, where it is a device's.
pub async fn keep_login(upstream: Arc<dyn Upstream>) {
    loop {
        match upstream.renew().await {
            Ok(true) => tracing::info!("the login was renewed"),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "the login could not be renewed"),
        }
        sleep(RENEW_LOOK).await;
    }
}

/// One stream, from its beginning to its end.
async fn stream(upstream: &dyn Upstream, caps: &CapCache, liveness: &Arc<Liveness>) -> Result<()> {
    let login = upstream.login().await?;
    let last = liveness.last_event(&login.operator);
    let chunks = timeout(
        liveness.pace().silence,
        upstream.events(&login, last.as_deref()),
    )
    .await;
    let chunks = chunks.map_err(|_| silent(liveness))??;
    if last.is_none() {
        // What happened before now was told to nobody.
        caps.heed(&OperatorEvent::Resync);
    }
    liveness.opened();
    take_all(&login.operator, chunks, caps, liveness).await
}

async fn take_all(
    operator: &Actor,
    chunks: Chunks,
    caps: &CapCache,
    liveness: &Arc<Liveness>,
) -> Result<()> {
    // Bytes since the last whole event; heartbeats are comments and end none.
    let pending = Arc::new(AtomicUsize::new(0));
    let bytes = watched(chunks, liveness.clone(), pending.clone());
    let mut messages = std::pin::pin!(SseByteStream::new(bytes));
    while let Some(message) = messages.next().await {
        pending.store(0, Ordering::Relaxed);
        take(operator, &message.map_err(cause)?, caps, liveness);
    }
    Ok(())
}

/// What comes, with an error in place of a silence or of an event without end.
fn watched(
    chunks: Chunks,
    liveness: Arc<Liveness>,
    pending: Arc<AtomicUsize>,
) -> BoxStream<'static, Result<Bytes>> {
    let next = |(mut chunks, liveness, pending): (Chunks, Arc<Liveness>, Arc<AtomicUsize>)| async move {
        let chunk = match timeout(liveness.pace().silence, chunks.next()).await {
            Err(_) => Err(silent(&liveness)),
            Ok(chunk) => chunk?.map_err(|why| broken(&why)),
        };
        let chunk = chunk.and_then(|chunk| {
            liveness.heard();
            // A heartbeat. What merely begins like one may go on with a line that never ends.
            let length = if chunk.starts_with(b":") && chunk.ends_with(b"\n\n") {
                0
            } else {
                chunk.len()
            };
            match pending.fetch_add(length, Ordering::Relaxed) + length > LARGEST_EVENT {
                true => Err(broken("an event without end")),
                false => Ok(chunk),
            }
        });
        Some((chunk, (chunks, liveness, pending)))
    };
    futures::stream::unfold((chunks, liveness, pending), next).boxed()
}

fn take(operator: &Actor, message: &Sse, caps: &CapCache, liveness: &Liveness) {
    let data = message.data.as_deref().filter(|data| !data.is_empty());
    if let Some(data) = data {
        match serde_json::from_str(data) {
            Ok(event) => caps.heed(&event),
            // A later version's: whatever it is about may count no more.
            Err(_) => caps.heed(&OperatorEvent::Resync),
        }
    }
    if let Some(id) = message.id.clone().filter(|id| !id.is_empty()) {
        liveness.took(operator, id);
    }
}

fn cause(error: sse_stream::Error) -> SecretError {
    match error {
        sse_stream::Error::Body(cause) => match cause.downcast::<SecretError>() {
            Ok(known) => *known,
            Err(other) => broken(&other.to_string()),
        },
        other => broken(&other.to_string()),
    }
}

fn broken(why: &str) -> SecretError {
    let text = format!("the broker's events broke off: {why}");
    SecretError::new(Kind::Temporary, text, "it is connected to again by itself")
}

fn silent(liveness: &Liveness) -> SecretError {
    let seconds = liveness.pace().silence.as_secs_f32();
    broken(&format!("nothing came for {seconds} s"))
}
