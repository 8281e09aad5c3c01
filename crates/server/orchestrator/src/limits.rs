//! How often something may be done.

use api::TenantId;
use base::Failure;
use base::limits::{KeyedLimit, Limit};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::settings::Settings;

/// The limits of one server.
pub(crate) struct Limits {
    /// Storage keys, by tenant.
    keys: KeyedLimit<TenantId>,
    /// Announcements of changes, by tenant.
    announcements: KeyedLimit<TenantId>,
    /// What mounts say of themselves, by tenant.
    reports: KeyedLimit<TenantId>,
    /// Logins that begin, whoever asks: nobody is known yet.
    logins: Limit,
    /// Codes that a person types, by actor: eight letters could be guessed otherwise.
    codes: KeyedLimit<String>,
    /// Searches of the audit, by actor.
    searches: KeyedLimit<String>,
    /// Those under way: each reads many rows, and requests that read few go first.
    searching: Semaphore,
    /// Refusals of somebody known that are written into the audit; more are in the log only.
    refusals: KeyedLimit<String>,
    /// The same of all that nobody known is behind, who so cannot hide what others try.
    nobodys: Limit,
}

impl Limits {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            keys: KeyedLimit::per_minute(settings.keys_per_minute),
            announcements: KeyedLimit::per_minute(settings.announcements_per_minute),
            reports: KeyedLimit::per_minute(settings.mount_reports_per_minute),
            logins: Limit::per_minute(settings.logins_per_minute),
            codes: KeyedLimit::per_minute(10),
            searches: KeyedLimit::per_minute(60),
            searching: Semaphore::new(2),
            refusals: KeyedLimit::per_minute(120),
            nobodys: Limit::per_minute(300),
        }
    }

    /// One more storage key of a tenant.
    pub(crate) fn key(&self, tenant: TenantId) -> Result<(), Failure> {
        self.keys.check(&tenant)
    }

    /// One more announcement of a tenant.
    pub(crate) fn announcement(&self, tenant: TenantId) -> Result<(), Failure> {
        self.announcements.check(&tenant)
    }

    /// One more report of a mount of a tenant.
    pub(crate) fn report(&self, tenant: TenantId) -> Result<(), Failure> {
        self.reports.check(&tenant)
    }

    /// One more login.
    pub(crate) fn login(&self) -> Result<(), Failure> {
        self.logins.check()
    }

    /// One more typed code of an actor.
    pub(crate) fn code(&self, actor: &str) -> Result<(), Failure> {
        self.codes.check(&actor.to_owned())
    }

    /// One more search of an actor; waits for its turn.
    pub(crate) async fn search(&self, actor: &str) -> Result<SemaphorePermit<'_>, Failure> {
        self.searches.check(&actor.to_owned())?;
        let turn = self.searching.acquire().await;
        turn.map_err(|_| Failure::internal())
    }

    /// Whether one more refusal, of this caller if one is known, is written into the audit.
    pub(crate) fn refusal(&self, caller: Option<&str>) -> bool {
        match caller {
            Some(caller) => self.refusals.check(&caller.to_owned()).is_ok(),
            None => self.nobodys.check().is_ok(),
        }
    }

    /// Forgets those who have not come for long.
    pub(crate) fn tidy(&self) {
        self.keys.tidy();
        self.announcements.tidy();
        self.reports.tidy();
        self.codes.tidy();
        self.searches.tidy();
        self.refusals.tidy();
    }
}
