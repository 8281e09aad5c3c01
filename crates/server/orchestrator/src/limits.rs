//! How often something may be done.

use std::hash::Hash;
use std::num::NonZeroU32;

use api::TenantId;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::failure::Failure;
use crate::settings::Settings;

/// The limits of one server.
pub(crate) struct Limits {
    /// Storage keys, by tenant.
    keys: DefaultKeyedRateLimiter<TenantId>,
    /// Announcements of changes, by tenant.
    announcements: DefaultKeyedRateLimiter<TenantId>,
    /// What mounts say of themselves, by tenant.
    reports: DefaultKeyedRateLimiter<TenantId>,
    /// Logins that begin, whoever asks: nobody is known yet.
    logins: DefaultDirectRateLimiter,
    /// Codes that a person types, by actor: eight letters could be guessed otherwise.
    codes: DefaultKeyedRateLimiter<String>,
    /// Searches of the audit, by actor.
    searches: DefaultKeyedRateLimiter<String>,
    /// Those under way: each reads many rows, and requests that read few go first.
    searching: Semaphore,
    /// Refusals of somebody known that are written into the audit; more are in the log only.
    refusals: DefaultKeyedRateLimiter<String>,
    /// The same of all that nobody known is behind, who so cannot hide what others try.
    nobodys: DefaultDirectRateLimiter,
}

impl Limits {
    pub(crate) fn new(settings: &Settings) -> Self {
        let per_minute =
            |count: u32| Quota::per_minute(NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN));
        Self {
            keys: RateLimiter::keyed(per_minute(settings.keys_per_minute)),
            announcements: RateLimiter::keyed(per_minute(settings.announcements_per_minute)),
            reports: RateLimiter::keyed(per_minute(settings.mount_reports_per_minute)),
            logins: RateLimiter::direct(per_minute(settings.logins_per_minute)),
            codes: RateLimiter::keyed(per_minute(10)),
            searches: RateLimiter::keyed(per_minute(60)),
            searching: Semaphore::new(2),
            refusals: RateLimiter::keyed(per_minute(120)),
            nobodys: RateLimiter::direct(per_minute(300)),
        }
    }

    /// One more storage key of a tenant.
    pub(crate) fn key(&self, tenant: TenantId) -> Result<(), Failure> {
        keyed(&self.keys, &tenant)
    }

    /// One more announcement of a tenant.
    pub(crate) fn announcement(&self, tenant: TenantId) -> Result<(), Failure> {
        keyed(&self.announcements, &tenant)
    }

    /// One more report of a mount of a tenant.
    pub(crate) fn report(&self, tenant: TenantId) -> Result<(), Failure> {
        keyed(&self.reports, &tenant)
    }

    /// One more login.
    pub(crate) fn login(&self) -> Result<(), Failure> {
        self.logins.check().map_err(|wait| too_many(&wait))
    }

    /// One more typed code of an actor.
    pub(crate) fn code(&self, actor: &str) -> Result<(), Failure> {
        keyed(&self.codes, &actor.to_owned())
    }

    /// One more search of an actor; waits for its turn.
    pub(crate) async fn search(&self, actor: &str) -> Result<SemaphorePermit<'_>, Failure> {
        keyed(&self.searches, &actor.to_owned())?;
        let turn = self.searching.acquire().await;
        turn.map_err(|_| Failure::internal())
    }

    /// Whether one more refusal, of this caller if one is known, is written into the audit.
    pub(crate) fn refusal(&self, caller: Option<&str>) -> bool {
        match caller {
            Some(caller) => self.refusals.check_key(&caller.to_owned()).is_ok(),
            None => self.nobodys.check().is_ok(),
        }
    }

    /// Forgets those who have not come for long.
    pub(crate) fn tidy(&self) {
        self.keys.retain_recent();
        self.announcements.retain_recent();
        self.reports.retain_recent();
        self.codes.retain_recent();
        self.searches.retain_recent();
        self.refusals.retain_recent();
    }
}

fn keyed<K: Hash + Eq + Clone>(limit: &DefaultKeyedRateLimiter<K>, key: &K) -> Result<(), Failure> {
    limit.check_key(key).map_err(|wait| too_many(&wait))
}

fn too_many(until: &governor::NotUntil<<DefaultClock as Clock>::Instant>) -> Failure {
    let wait = until.wait_time_from(DefaultClock::default().now());
    Failure::rate_limited(wait.as_secs() + 1)
}
