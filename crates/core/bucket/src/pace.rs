//! A rate that bytes may not pass.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// So much of a second may pass at once after a pause.
const BURST: Duration = Duration::from_millis(250);

/// Lets bytes through at a rate. Clones share it: all that use one together keep to it.
///
/// Whoever asks is let through in the order of asking, and at once where the rate allows it;
/// more than that is owed, and the next one waits until it is paid.
#[derive(Clone, Debug)]
pub struct Pace(Arc<Rate>);

#[derive(Debug)]
struct Rate {
    bytes_per_second: u64,
    /// When all that was let through so far is paid for.
    paid: Mutex<Instant>,
}

impl Pace {
    /// A rate in bytes a second; at least one.
    pub fn new(bytes_per_second: u64) -> Self {
        Self(Arc::new(Rate {
            bytes_per_second: bytes_per_second.max(1),
            paid: Mutex::new(Instant::now()),
        }))
    }

    /// Waits until so many bytes may pass.
    pub async fn take(&self, bytes: u64) {
        let until = self.reserve(bytes);
        if until > Instant::now() {
            tokio::time::sleep_until(until).await;
        }
    }

    /// From when so many bytes may pass; they count from now on.
    pub(crate) fn reserve(&self, bytes: u64) -> Instant {
        let Rate {
            bytes_per_second,
            paid,
        } = &*self.0;
        let now = Instant::now();
        let mut paid = paid.lock();
        let from = now.checked_sub(BURST).map_or(*paid, |from| from.max(*paid));
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(*bytes_per_second);
        *paid = from + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        *paid
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_share_a_rate_keep_to_it_together() {
        let pace = Pace::new(1_000);
        let begun = Instant::now();
        let until = (0..100).map(|_| pace.clone().reserve(100));
        let until: Vec<Instant> = until.collect();
        assert!(until.is_sorted(), "in the order of asking");
        let last = until[99].duration_since(begun).as_millis();
        assert!((9_700..=10_100).contains(&last), "{last} ms");
    }

    #[test]
    fn a_pause_saves_up_no_more_than_a_moment() {
        let pace = Pace::new(1_000);
        let begun = Instant::now();
        *pace.0.paid.lock() = begun.checked_sub(Duration::from_secs(60)).unwrap();
        let until = pace.reserve(2_000).duration_since(begun).as_millis();
        assert!((1_750..=1_850).contains(&until), "{until} ms");
    }

    #[tokio::test]
    async fn what_is_too_fast_waits() {
        let pace = Pace::new(1_000_000);
        let begun = Instant::now();
        pace.take(400_000).await;
        assert!(begun.elapsed() >= Duration::from_millis(150));
    }
}
