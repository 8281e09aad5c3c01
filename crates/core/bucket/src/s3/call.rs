//! One call to the store: watched, bounded in time, retried where that can help.

use std::error::Error as StdError;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use tokio::time::Instant;
use tracing::Dispatch;
use tracing::instrument::WithSubscriber;

use super::S3;
use super::connect::Live;
use super::error::{Asked, Failure, Remedy, classify};
use super::upload::Progress;
use crate::{Error, Key, Result};

/// The wait before the second attempt; doubled for each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

impl S3 {
    /// Names a call for the words of its errors.
    pub(super) fn asked<'a>(&'a self, verb: &'static str, key: Option<&'a Key>) -> Asked<'a> {
        Asked {
            verb,
            key,
            bucket: &self.config.bucket,
            endpoint: &self.endpoint,
        }
    }

    /// Runs `attempt` until it succeeds or nothing more can be done in time.
    pub(super) async fn call<T, E, F>(
        &self,
        asked: Asked<'_>,
        attempt: impl Fn(Client, Arc<Progress>) -> F,
    ) -> Result<T>
    where
        F: Future<Output = std::result::Result<T, SdkError<E>>>,
        E: ProvideErrorMetadata + StdError + 'static,
    {
        self.call_knowing(asked, attempt)
            .await
            .map_err(|failure| failure.error)
    }

    /// As [`call`](Self::call); tells the caller also what might have helped.
    pub(super) async fn call_knowing<T, E, F>(
        &self,
        asked: Asked<'_>,
        attempt: impl Fn(Client, Arc<Progress>) -> F,
    ) -> std::result::Result<T, Failure>
    where
        F: Future<Output = std::result::Result<T, SdkError<E>>>,
        E: ProvideErrorMetadata + StdError + 'static,
    {
        let begun = Instant::now();
        let end = begun + self.config.operation_timeout;
        let mut tried = 0;
        let mut keys_renewed = false;
        loop {
            let live = self.connection.live(&self.config).await.map_err(given_up)?;
            let failure = match self.watched(asked, end, &live, &attempt).await {
                Ok(answer) => {
                    let key = asked.key.map(Key::as_str);
                    tracing::trace!(verb = asked.verb, key, took = ?begun.elapsed(), "answered");
                    return Ok(answer);
                }
                Err(failure) => failure,
            };
            tried += 1;
            match failure.remedy {
                Remedy::None | Remedy::AskAgain => return Err(failure),
                Remedy::NewKeys if keys_renewed => return Err(failure),
                Remedy::NewKeys => {
                    keys_renewed = true;
                    let renewed = self.connection.renew_keys(&self.config, &live).await;
                    if !renewed.map_err(given_up)? {
                        return Err(failure);
                    }
                    continue;
                }
                Remedy::Reconnect => self.connection.reconnect(&self.config, &live),
                Remedy::Wait => {}
            }
            let pause = pause_before(tried);
            if tried >= self.config.max_attempts || Instant::now() + pause >= end {
                return Err(failure);
            }
            tracing::debug!(verb = asked.verb, tried, error = %failure.error, "trying again");
            tokio::time::sleep(pause).await;
        }
    }

    /// One attempt, ended when nothing moves for the read time-out. The SDK's own log
    /// lines hold headers and signatures, so they are not let out.
    async fn watched<T, E, F>(
        &self,
        asked: Asked<'_>,
        end: Instant,
        live: &Live,
        attempt: &impl Fn(Client, Arc<Progress>) -> F,
    ) -> std::result::Result<T, Failure>
    where
        F: Future<Output = std::result::Result<T, SdkError<E>>>,
        E: ProvideErrorMetadata + StdError + 'static,
    {
        let progress = Arc::new(Progress::default());
        let call = attempt(live.client.clone(), progress.clone()).with_subscriber(Dispatch::none());
        let calm = self.config.read_timeout;
        tokio::select! {
            answer = call => answer.map_err(|error| match progress.local_error() {
                Some(local) => given_up(local),
                None => classify(asked, &error),
            }),
            () = stalled(&progress, calm, end) => {
                let error = asked.no_answer("no answer in time".into());
                Err(Failure { error, remedy: Remedy::Reconnect })
            }
        }
    }
}

/// Ends when nothing has moved for `calm`, or since `end` where that is sooner.
async fn stalled(progress: &Progress, calm: Duration, end: Instant) {
    let mut wait_until = end.min(Instant::now() + calm);
    let mut seen = progress.moved();
    loop {
        tokio::time::sleep_until(wait_until).await;
        let moved = progress.moved();
        if moved == seen {
            return;
        }
        seen = moved;
        wait_until = Instant::now() + calm;
    }
}

fn given_up(error: Error) -> Failure {
    Failure {
        error,
        remedy: Remedy::None,
    }
}

/// Exponential, with half of it left to chance, so that many clients do not come back at once.
fn pause_before(attempt: u32) -> Duration {
    let full = FIRST_PAUSE
        .saturating_mul(1 << attempt.clamp(1, 10) >> 1)
        .min(LONGEST_PAUSE);
    let chance = (uuid::Uuid::new_v4().as_u128() as u32) as f64 / f64::from(u32::MAX);
    full.mul_f64(0.5 + chance / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        for _ in 0..100 {
            assert!((50..=100).contains(&pause_before(1).as_millis()));
            assert!((100..=200).contains(&pause_before(2).as_millis()));
            assert!((2500..=5000).contains(&pause_before(30).as_millis()));
        }
    }
}
