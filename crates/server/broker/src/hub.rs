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
    followers: usize,
}

/// One follower; it is none any more when this is dropped.
pub(crate) struct Follower {
    hub: Arc<Hub>,
    operator: Actor,
    /// Changes when there is something to read.
    pub(crate) woken: watch::Receiver<()>,
}

impl Hub {
    /// One more follower of an operator.
    pub(crate) fn follow(
        self: &Arc<Self>,
        operator: &Actor,
        most: usize,
    ) -> Result<Follower, Failure> {
        let mut all = self.0.lock();
        let count: usize = all.values().map(|followed| followed.followers).sum();
        let followed = all.entry(operator.clone()).or_insert_with(|| Followed {
            wakes: watch::Sender::new(()),
            followers: 0,
        });
        if followed.followers >= most || count >= MOST {
            return Err(Failure::rate_limited(30));
        }
        followed.followers += 1;
        Ok(Follower {
            woken: followed.wakes.subscribe(),
            hub: Arc::clone(self),
            operator: operator.clone(),
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
        if let Some(followed) = all.get_mut(&self.operator) {
            followed.followers -= 1;
            if followed.followers == 0 {
                all.remove(&self.operator);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_and_given_back() {
        let hub = Arc::new(Hub::default());
        let ada = Actor::from_oidc("https://a", "ada").unwrap();
        let first = hub.follow(&ada, 2).ok().unwrap();
        let mut second = hub.follow(&ada, 2).ok().unwrap();
        assert!(hub.follow(&ada, 2).is_err());
        drop(first);
        assert!(hub.follow(&ada, 2).is_ok());
        hub.wake(&ada);
        assert!(second.woken.has_changed().unwrap());
        second.woken.mark_unchanged();
        drop(second);
        assert!(hub.is_empty());
    }
}
