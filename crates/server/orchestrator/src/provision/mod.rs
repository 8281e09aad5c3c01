//! Buckets and keys: rows in the database say what shall be, a provider makes it so.
//!
//! Each thing that has to be made or taken back is a row with a state. A step asks the
//! [provider](::provider) for one thing, which it may be asked for again at no cost, and then
//! moves the row on, if the row is still where the step began. So a crash at any moment leaves
//! a row from which anybody can go on: the request itself, the background work of this server
//! ([`upkeep`]), or another server's.

mod credential;
#[cfg(feature = "testing")]
pub mod fake;
mod supply;
mod tenant;
pub mod upkeep;
mod workspace;

pub(crate) use credential::Request;
pub use supply::Supply;

use std::time::{Duration, Instant};

use api::Timestamp;
use base::Failure;
use provider::{Error, Provider};

use crate::app::App;

/// When a step that failed so often is tried again: 1 s, 2 s, 4 s … 5 minutes.
pub(crate) fn after_failure(now: Timestamp, attempts: i64) -> Timestamp {
    let doublings = u32::try_from(attempts.clamp(0, 9)).unwrap_or(9);
    let pause = Duration::from_secs(1 << doublings).min(Duration::from_secs(300));
    now.plus(pause)
}

/// What the provider is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    MakeBucket,
    SettleBucket,
    DeleteBucket,
    /// One step of it.
    IssueKey,
    RevokeKey,
}

impl Call {
    /// The same in a sentence.
    fn action(self) -> &'static str {
        match self {
            Self::MakeBucket => "CreateBucket",
            Self::SettleBucket => "the settings of a bucket",
            Self::DeleteBucket => "DeleteBucket",
            Self::IssueKey => "issuing a key",
            Self::RevokeKey => "revoking a key",
        }
    }

    /// The same as a label.
    fn word(self) -> &'static str {
        match self {
            Self::MakeBucket => "make_bucket",
            Self::SettleBucket => "settle_bucket",
            Self::DeleteBucket => "delete_bucket",
            Self::IssueKey => "issue_key",
            Self::RevokeKey => "revoke_key",
        }
    }
}

/// What came of a call that was not done, as a label.
fn outcome(error: &Error) -> &'static str {
    match error {
        error if error.may_pass() => "unavailable",
        Error::NotFound { .. } => "not_found",
        Error::NotEmpty { .. } => "not_empty",
        _ => "refused",
    }
}

impl App {
    /// The provider's answer, or that there was none in time: it may have done the work.
    pub(crate) async fn in_time<T>(
        &self,
        call: Call,
        answer: impl Future<Output = provider::Result<T>>,
    ) -> provider::Result<T> {
        let patience = self.settings.provider_patience;
        let begun = Instant::now();
        let answer = tokio::time::timeout(patience, answer).await;
        let answer = answer.unwrap_or_else(|_| {
            Err(Error::Unavailable {
                action: call.action().into(),
                reason: format!("nothing within {} s", patience.as_secs_f32()),
                retry_after: None,
            })
        });
        let outcome = answer.as_ref().err().map_or("done", outcome);
        let took = begun.elapsed();
        self.metrics.provider_call(call.word(), outcome, took);
        answer
    }

    /// The provider, for work that a row asks for.
    fn asked_provider(&self) -> provider::Result<&dyn Provider> {
        let supply = self.supply.as_ref();
        let supply = supply.ok_or_else(|| Error::Unsupported {
            what: "a provider: this server was started without one".into(),
        })?;
        Ok(&*supply.provider)
    }
}

/// What the caller is told; the log has the reason.
#[allow(
    clippy::needless_pass_by_value,
    reason = "it is what map_err hands over"
)]
fn refusal(error: Error) -> Failure {
    tracing::warn!(%error, "the provider of buckets and keys failed");
    match &error {
        Error::Unsupported { .. } => Failure::conflict(
            "keys to this store are made elsewhere\nhint: ask the operator of this server for one",
        ),
        error if error.may_pass() => {
            let text = "the provider of buckets and keys does not answer";
            Failure::unavailable_for(text, error.retry_after())
        }
        _ => Failure::provider_failed(),
    }
}

/// What rows and the audit keep of an error: its first line, without the hint.
fn in_short(error: &Error) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_five_minutes() {
        let now = Timestamp::from_micros(0);
        let pause = |attempts| after_failure(now, attempts).seconds();
        assert_eq!([0, 1, 2, 8, 9, 1_000].map(pause), [1, 2, 4, 256, 300, 300]);
    }
}
