//! Callers who have shown no capability that counts: who they are nobody knows, and so nobody can
//! be held to a limit of their own. They share so many records of the audit in a minute; of what
//! is beyond, the number of each reason is told once the minute is over. So a stranger can neither
//! fill the disk, which would stop the worker, nor hide how much was tried.

use std::collections::BTreeMap;

use api::Timestamp;
use api::vault::Reason;
use parking_lot::Mutex;

const MINUTE: i64 = 60;

/// What strangers were refused lately.
pub(crate) struct Strangers {
    most: u32,
    now: Mutex<Minute>,
}

/// Refusals by reason.
pub(crate) type Omitted = BTreeMap<&'static str, u64>;

#[derive(Default)]
struct Minute {
    number: i64,
    recorded: u32,
    omitted: Omitted,
}

impl Strangers {
    /// So many records in a minute.
    pub(crate) fn new(most: u32) -> Self {
        Self {
            most,
            now: Mutex::default(),
        }
    }

    /// Whether this refusal has a record of its own. If not, it is counted.
    pub(crate) fn is_recorded(&self, at: Timestamp, reason: Reason) -> bool {
        let mut now = self.now.lock();
        let number = minute_of(at);
        if number != now.number {
            (now.number, now.recorded) = (number, 0);
        }
        if now.recorded < self.most {
            now.recorded += 1;
            return true;
        }
        *now.omitted.entry(reason.as_str()).or_default() += 1;
        false
    }

    /// What is to be told now: of minutes that are over, or at the end of everything.
    pub(crate) fn due(&self, at: Timestamp, is_end: bool) -> Option<Omitted> {
        let mut now = self.now.lock();
        let is_due = is_end || minute_of(at) != now.number;
        let omitted = is_due.then(|| std::mem::take(&mut now.omitted))?;
        (!omitted.is_empty()).then_some(omitted)
    }

    /// It could not be told.
    pub(crate) fn keep(&self, omitted: Omitted) {
        let mut now = self.now.lock();
        for (reason, count) in omitted {
            *now.omitted.entry(reason).or_default() += count;
        }
    }
}

fn minute_of(at: Timestamp) -> i64 {
    at.seconds().div_euclid(MINUTE)
}
