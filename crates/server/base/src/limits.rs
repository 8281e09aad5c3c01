//! How often something may be done, and how much of something one of many may hold.

use std::collections::HashMap;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, NotUntil, Quota, RateLimiter};
use parking_lot::{Mutex, RwLock};

use crate::Failure;

/// Keys that are remembered before those that have not come for long are forgotten.
const REMEMBERED: usize = 16_384;

/// Whoever comes with more keys than this gets all of them forgotten: memory has an end, and so
/// many keys are no limit to their holder anyway.
const MOST: usize = 16 * REMEMBERED;

/// Looking for those to forget takes a look at all: not with each request.
const TIDY: Duration = Duration::from_secs(1);

/// A limit of all together.
pub struct Limit(DefaultDirectRateLimiter);

/// A limit of each by its key: a tenant, an actor, a peer.
pub struct KeyedLimit<K: Hash + Eq + Clone> {
    quota: Quota,
    each: RwLock<DefaultKeyedRateLimiter<K>>,
    tidied: Mutex<Option<Instant>>,
}

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
        let quota = quota(count);
        Self {
            quota,
            each: RwLock::new(RateLimiter::keyed(quota)),
            tidied: Mutex::new(None),
        }
    }

    /// One more of this one.
    ///
    /// # Errors
    /// 429 with the time to wait.
    pub fn check(&self, key: &K) -> Result<(), Failure> {
        if self.each.read().len() > REMEMBERED {
            self.tidy_at(Instant::now());
        }
        let checked = self.each.read().check_key(key);
        checked.map_err(|until| too_many(&until))
    }

    /// Forgets those who have not come for long.
    pub fn tidy(&self) {
        self.each.read().retain_recent();
    }

    fn tidy_at(&self, now: Instant) {
        if self.each.read().len() > MOST {
            *self.each.write() = RateLimiter::keyed(self.quota);
            return;
        }
        // Whoever finds it locked knows that somebody tidies.
        let Some(mut tidied) = self.tidied.try_lock() else {
            return;
        };
        if tidied.is_none_or(|last| now.saturating_duration_since(last) >= TIDY) {
            *tidied = Some(now);
            self.tidy();
        }
    }
}

/// What each of many may hold at most of something, so that nobody holds all of it.
pub struct Shares {
    most: usize,
    held: Mutex<HashMap<String, usize>>,
}

/// What one request or connection holds; given back when it goes.
pub struct Share {
    all: Arc<Shares>,
    key: String,
    amount: usize,
}

impl Shares {
    /// So much for each.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            held: Mutex::default(),
        })
    }

    /// Nothing yet, on this one's account.
    pub fn of(self: &Arc<Self>, key: impl Into<String>) -> Share {
        Share {
            all: Arc::clone(self),
            key: key.into(),
            amount: 0,
        }
    }
}

impl Share {
    /// Takes so much more, unless it is more than its holder may have.
    #[must_use]
    pub fn grow(&mut self, amount: usize) -> bool {
        let mut held = self.all.held.lock();
        let now = held.get(&self.key).copied().unwrap_or(0);
        let fits = now
            .checked_add(amount)
            .is_some_and(|sum| sum <= self.all.most);
        if fits && amount > 0 {
            held.insert(self.key.clone(), now + amount);
            self.amount += amount;
        }
        fits
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.all.held.lock();
        if let Some(now) = held.get_mut(&self.key) {
            *now = now.saturating_sub(self.amount);
            if *now == 0 {
                held.remove(&self.key);
            }
        }
    }
}

fn quota(count: u32) -> Quota {
    Quota::per_minute(NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN))
}

fn too_many(until: &NotUntil<<DefaultClock as Clock>::Instant>) -> Failure {
    let wait = until.wait_time_from(DefaultClock::default().now());
    Failure::rate_limited(wait.as_secs() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_a_share_gets_no_more_and_others_theirs() {
        let shares = Shares::new(10);
        let (mut first, mut second, mut other) = (shares.of("a"), shares.of("a"), shares.of("b"));
        assert!(first.grow(6) && second.grow(4) && other.grow(10));
        assert!(!first.grow(1) && !second.grow(1) && !other.grow(usize::MAX));
        drop(first);
        assert!(second.grow(6) && !second.grow(1));
        drop((second, other));
        assert!(shares.held.lock().is_empty(), "nothing is kept of who left");
    }

    #[test]
    fn any_number_of_keys_takes_bounded_memory_and_is_looked_through_once_a_second() {
        let limit = KeyedLimit::<u32>::per_minute(1);
        for key in 0..u32::try_from(MOST).unwrap() + 10 {
            assert!(limit.check(&key).is_ok());
        }
        let kept = limit.each.read().len();
        assert!(kept <= MOST + 1, "{kept}");
        let now = Instant::now();
        *limit.tidied.lock() = Some(now);
        limit.tidy_at(now + TIDY / 2);
        assert_eq!(*limit.tidied.lock(), Some(now), "too soon to look again");
        limit.tidy_at(now + TIDY);
        assert_eq!(*limit.tidied.lock(), Some(now + TIDY));
    }
}
