//! Who follows whose events. What happened is in the database; here followers are only woken, so
//! one that reads slowly holds no memory and misses nothing.

use std::collections::HashMap;
use std::sync::Arc;

use base::Failure;
use model::Actor;
use parking_lot::Mutex;
use tokio::sync::watch;

/// Streams of all operators together.
const MOST: usize = 20_000;

/// The followers of each operator.
#[derive(Default)]
pub(crate) struct Hub(Mutex<HashMap<Actor, Followed>>);

struct Followed {
    wakes: watch::Sender<()>,
    /// How many streams each device or session has; none is 0.
    streams: HashMap<String, usize>,
}

impl Followed {
    fn count(&self) -> usize {
        self.streams.values().sum()
    }
}

/// How many streams there may be.
#[derive(Clone, Copy)]
pub(crate) struct Most {
    /// Of an operator, with all of their agents.
    pub(crate) of_operator: usize,
    /// Of one device or session, so that an agent does not take the places of all others.
    pub(crate) of_one: usize,
}

/// One follower; it is none any more when this is dropped.
pub(crate) struct Follower {
    hub: Arc<Hub>,
    operator: Actor,
    one: String,
    /// Changes when there is something to read.
    pub(crate) woken: watch::Receiver<()>,
}

impl Hub {
    /// One more follower of an operator: a device, or a session that has none.
    pub(crate) fn follow(
        self: &Arc<Self>,
        operator: &Actor,
        one: String,
        most: Most,
    ) -> Result<Follower, Failure> {
        let mut all = self.0.lock();
        let count: usize = all.values().map(Followed::count).sum();
        let (of_operator, of_one) = all.get(operator).map_or((0, 0), |followed| {
            let of_one = followed.streams.get(&one).copied();
            (followed.count(), of_one.unwrap_or(0))
        });
        if of_one >= most.of_one || of_operator >= most.of_operator || count >= MOST {
            return Err(Failure::rate_limited(30));
        }
        let followed = all.entry(operator.clone()).or_insert_with(|| Followed {
            wakes: watch::Sender::new(()),
            streams: HashMap::new(),
        });
        *followed.streams.entry(one.clone()).or_default() += 1;
        Ok(Follower {
            woken: followed.wakes.subscribe(),
            hub: Arc::clone(self),
            operator: operator.clone(),
            one,
        })
    }

    /// Wakes an operator's followers.
    pub(crate) fn wake(&self, operator: &Actor) {
        if let Some(followed) = self.0.lock().get(operator) {
            followed.wakes.send_replace(());
        }
    }

    /// Wakes everybody.
    pub(crate) fn wake_all(&self) {
        for followed in self.0.lock().values() {
            followed.wakes.send_replace(());
        }
    }

    /// Whether nobody follows anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut all = self.hub.0.lock();
        let Some(followed) = all.get_mut(&self.operator) else {
            return;
        };
        if let Some(count) = followed.streams.get_mut(&self.one) {
            *count -= 1;
            if *count == 0 {
                followed.streams.remove(&self.one);
            }
        }
        if followed.streams.is_empty() {
            all.remove(&self.operator);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Most = Most {
        of_operator: 3,
        of_one: 2,
    };

    fn follow(hub: &Arc<Hub>, operator: &Actor, one: &str) -> Option<Follower> {
        hub.follow(operator, one.to_owned(), MOST).ok()
    }

    #[test]
    fn places_are_counted_and_given_back() {
        let hub = Arc::new(Hub::default());
        let ada = Actor::from_oidc("https://a", "ada").unwrap();
        let first = follow(&hub, &ada, "a").unwrap();
        let second = follow(&hub, &ada, "a").unwrap();
        // One that has taken its places leaves the others theirs.
        assert!(follow(&hub, &ada, "a").is_none());
        let mut third = follow(&hub, &ada, "b").unwrap();
        assert!(follow(&hub, &ada, "c").is_none());
        drop(first);
        drop(follow(&hub, &ada, "c").unwrap());
        hub.wake(&ada);
        assert!(third.woken.has_changed().unwrap());
        third.woken.mark_unchanged();
        drop((second, third));
        assert!(hub.is_empty());
    }

    #[test]
    fn who_is_refused_leaves_nothing_behind() {
        let hub = Arc::new(Hub::default());
        let ada = Actor::from_oidc("https://a", "ada").unwrap();
        let none = Most {
            of_operator: 0,
            of_one: 0,
        };
        assert!(hub.follow(&ada, "a".into(), none).is_err());
        assert!(hub.is_empty());
    }
}
