//! What many clients that ask at the same time found.

use std::future::Future;
use std::time::{Duration, Instant};

use futures::future::try_join_all;

use crate::Failure;

/// Lets `clients` ask until the time is over, and prints how often and how long it took. The first
/// failure ends it: a figure of a load that failed in part is none.
#[allow(clippy::print_stdout, reason = "the figures are what is asked for")]
pub(crate) async fn measure<A, F>(clients: usize, seconds: f64, ask: A) -> Result<(), Failure>
where
    A: Fn(usize, u64) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let begun = Instant::now();
    let length = Duration::from_secs_f64(seconds);
    let running = (0..clients).map(|client| {
        let ask = ask.clone();
        let own = async move {
            let mut times = Vec::new();
            while begun.elapsed() < length {
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
    let found = serde_json::json!({
        "count": times.len(),
        "per_second": times.len() as f64 / took.as_secs_f64(),
        "p50_ms": at(0.5),
        "p99_ms": at(0.99),
    });
    println!("{found}");
    Ok(())
}
