//! Asking again, while that can help and there is time.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

use crate::ports::Away;

/// How long and how hard one question may be asked again.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// The most time in all, pauses and answers included.
    pub time: Duration,
    /// The first pause; doubled each time.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
}

impl Default for Budget {
    /// As long as a server of ours takes to be started anew.
    fn default() -> Self {
        Self {
            time: Duration::from_secs(12),
            first_pause: Duration::from_millis(25),
            longest_pause: Duration::from_millis(800),
        }
    }
}

impl Budget {
    /// Asks until there is an answer, a failure that lasts, or no time left.
    pub(crate) async fn ask<T, F>(&self, who: &'static str, ask: impl Fn() -> F) -> Result<T, Away>
    where
        F: Future<Output = Result<T, Away>>,
    {
        let end = Instant::now() + self.time;
        let mut pause = self.first_pause;
        loop {
            let answer = tokio::time::timeout_at(end, ask()).await;
            let late = |_| Err(Away::for_now(who, "no answer in time"));
            let away = match answer.unwrap_or_else(late) {
                Ok(answer) => return Ok(answer),
                Err(away) => away,
            };
            let wait = pause.mul_f64(jitter());
            if !away.temporary || Instant::now() + wait >= end {
                return Err(away);
            }
            tracing::debug!(error = %away, "asking again");
            tokio::time::sleep(wait).await;
            pause = (pause * 2).min(self.longest_pause);
        }
    }
}

/// 0.5 to 1.0: those who failed together do not come back together.
fn jitter() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    let chance = RandomState::new().hash_one(0u8) as u32;
    0.5 + f64::from(chance) / f64::from(u32::MAX) / 2.0
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const SHORT: Budget = Budget {
        time: Duration::from_millis(200),
        first_pause: Duration::from_millis(1),
        longest_pause: Duration::from_millis(20),
    };

    #[tokio::test]
    async fn what_passes_is_asked_again_and_what_lasts_is_not() {
        let asked = AtomicU32::new(0);
        let answer = SHORT.ask("it", async || match asked.fetch_add(1, Ordering::SeqCst) {
            3 => Ok("yes"),
            _ => Err(Away::for_now("it", "busy")),
        });
        assert_eq!(answer.await, Ok("yes"));
        let asked = AtomicU32::new(0);
        let answer = SHORT.ask("it", async || {
            asked.fetch_add(1, Ordering::SeqCst);
            Err::<(), _>(Away::for_good("it", "no"))
        });
        assert_eq!(answer.await, Err(Away::for_good("it", "no")));
        assert_eq!(asked.into_inner(), 1);
    }

    #[tokio::test]
    async fn the_time_ends_a_question_that_hangs_or_fails_for_ever() {
        let hanging = SHORT.ask("it", std::future::pending::<Result<(), Away>>);
        assert_eq!(hanging.await, Err(Away::for_now("it", "no answer in time")));
        let failing = SHORT.ask("it", async || Err::<(), _>(Away::for_now("it", "busy")));
        assert_eq!(failing.await, Err(Away::for_now("it", "busy")));
    }
}
