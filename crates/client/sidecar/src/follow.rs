//! Hearing the broker's events, for ever.
//!
//! After a break the broker replays from the last event that was heard, or says `resync`. While
//! it is away, what is held goes on until it ends by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use api::vault::OperatorEvent;
use futures::StreamExt;
use model::Actor;
use secrets::{Kind, Result, SecretError};
use sse_stream::{Sse, SseByteStream};
use tokio::time::{Instant, sleep, timeout};

use crate::caps::CapCache;
use crate::liveness::{Liveness, SILENCE};
use crate::upstream::{Chunks, Upstream};

/// Between two tries to connect.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A stream that lasted so long was a good one.
const GOOD: Duration = Duration::from_secs(10);
/// More than any event of ours.
const LARGEST_EVENT: usize = 64 * 1024;
/// How often it is looked whether the login ends soon.
const RENEW_LOOK: Duration = Duration::from_secs(60);

/// Follows the events of the login's operator.
pub async fn run(upstream: Arc<dyn Upstream>, caps: Arc<CapCache>, liveness: Arc<Liveness>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let began = Instant::now();
        let why = match stream(upstream.as_ref(), &caps, &liveness).await {
            Ok(()) => "the broker ended the stream; connecting again".to_owned(),
            Err(error) => error.message,
        };
        tracing::info!(%why, "the broker's events are interrupted");
        liveness.broke(why);
        if began.elapsed() >= GOOD {
            pause = FIRST_PAUSE;
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
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
async fn stream(upstream: &dyn Upstream, caps: &CapCache, liveness: &Liveness) -> Result<()> {
    let login = upstream.login().await?;
    let last = liveness.last_event(&login.operator);
    let chunks = timeout(SILENCE, upstream.events(&login, last.as_deref())).await;
    let chunks = chunks.map_err(|_| silent())??;
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
    liveness: &Liveness,
) -> Result<()> {
    // Bytes since the last whole event; heartbeats are comments and end none.
    let pending = AtomicUsize::new(0);
    let bytes = futures::stream::unfold(chunks, async |mut chunks| {
        let chunk = match timeout(SILENCE, chunks.next()).await {
            Err(_) => return Some((Err(silent()), chunks)),
            Ok(None) => return None,
            Ok(Some(Err(why))) => Err(broken(&why)),
            Ok(Some(Ok(chunk))) => {
                liveness.heard();
                let is_comment = chunk.starts_with(b":");
                let grown = match is_comment {
                    true => 0,
                    false => pending.fetch_add(chunk.len(), Ordering::Relaxed) + chunk.len(),
                };
                match grown > LARGEST_EVENT {
                    true => Err(broken("an event without end")),
                    false => Ok(chunk),
                }
            }
        };
        Some((chunk, chunks))
    });
    let mut messages = std::pin::pin!(SseByteStream::new(bytes));
    while let Some(message) = messages.next().await {
        pending.store(0, Ordering::Relaxed);
        take(operator, &message.map_err(cause)?, caps, liveness);
    }
    Ok(())
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

fn silent() -> SecretError {
    broken(&format!("nothing came for {} s", SILENCE.as_secs()))
}
