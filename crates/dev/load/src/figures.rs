//! What many clients that ask at the same time found.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use crate::Failure;

/// Lets `clients` ask until the time is over or SIGTERM comes, and says how often and how long it took. The first
/// failure ends it: a figure of a load that failed in part is none.
pub(crate) async fn measure<A, F>(clients: usize, seconds: f64, ask: A) -> Result<Value, Failure>
where
    A: Fn(usize, u64) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let begun = Instant::now();
    let length = Duration::from_secs_f64(seconds);
    let mut told = signal(SignalKind::terminate())?;
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    tokio::spawn(async move {
        told.recv().await;
        stopped.store(true, Ordering::Relaxed);
    });
    let running = (0..clients).map(|client| {
        let (ask, stop) = (ask.clone(), Arc::clone(&stop));
        let own = async move {
            let mut times = Vec::new();
            while begun.elapsed() < length && !stop.load(Ordering::Relaxed) {
                let since = Instant::now();
                ask(client, times.len() as u64).await?;
                times.push(since.elapsed());
            }
            Ok::<_, Failure>(times)
        };
        async { tokio::spawn(own).await? }
    });
    let mut times: Vec<Duration> = try_join_all(running).await?.concat();
    let took = begun.elapsed();
    times.sort_unstable();
    let at = |share: f64| {
        let place = (times.len() as f64 * share) as usize;
        times
            .get(place.min(times.len().saturating_sub(1)))
            .map_or(0.0, |t| t.as_secs_f64() * 1000.0)
    };
    Ok(json!({
        "count": times.len(),
        "per_second": times.len() as f64 / took.as_secs_f64(),
        "p50_ms": at(0.5),
        "p99_ms": at(0.99),
        "longest_ms": at(1.0),
    }))
}

#[allow(clippy::print_stdout, reason = "the figures are what is asked for")]
pub(crate) fn print(figures: &Value) {
    println!("{figures}");
}
