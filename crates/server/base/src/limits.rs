//! How often something may be done.

use std::hash::Hash;
use std::num::NonZeroU32;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, NotUntil, Quota, RateLimiter};

use crate::Failure;

/// Keys that are remembered before those that have not come for long are forgotten.
const REMEMBERED: usize = 16_384;

/// A limit of all together.
pub struct Limit(DefaultDirectRateLimiter);

/// A limit of each by its key: a tenant, an actor, a peer.
pub struct KeyedLimit<K: Hash + Eq + Clone>(DefaultKeyedRateLimiter<K>);

impl Limit {
    /// So many in a minute, at once or one after the other.
    pub fn per_minute(count: u32) -> Self {
        Self(RateLimiter::direct(quota(count)))
    }

    /// One more.
    ///
    /// # Errors
    /// 429 with the time to wait.
    pub fn check(&self) -> Result<(), Failure> {
        self.0.check().map_err(|until| too_many(&until))
    }
}

impl<K: Hash + Eq + Clone> KeyedLimit<K> {
    /// So many in a minute for each, at once or one after the other.
    pub fn per_minute(count: u32) -> Self {
        Self(RateLimiter::keyed(quota(count)))
    }

    /// One more of this one.
    ///
    /// # Errors
    /// 429 with the time to wait.
    pub fn check(&self, key: &K) -> Result<(), Failure> {
        if self.0.len() > REMEMBERED {
            self.tidy();
        }
        self.0.check_key(key).map_err(|until| too_many(&until))
    }

    /// Forgets those who have not come for long.
    pub fn tidy(&self) {
        self.0.retain_recent();
    }
}

fn quota(count: u32) -> Quota {
    Quota::per_minute(NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN))
}

fn too_many(until: &NotUntil<<DefaultClock as Clock>::Instant>) -> Failure {
    let wait = until.wait_time_from(DefaultClock::default().now());
    Failure::rate_limited(wait.as_secs() + 1)
}
