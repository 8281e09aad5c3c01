//! Whether anything moves towards the bucket. Counted at the port, because only there a try
//! that gets further can be told from one that fails again.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use bucket::{
    Body, Bucket, Condition, CopyOptions, DeleteOutcome, Error, GetOptions, Key, ListPage,
    ListRequest, Meter, Object, ObjectMeta, PutOptions, PutOutcome, Result,
};
use parking_lot::Mutex;

/// A bucket whose writes are watched. Reads pass through and count as nothing: a store that
/// still answers them may refuse every write.
pub struct Metered {
    inner: Arc<dyn Bucket>,
    movement: Movement,
}

/// A count that grows while something moves. Clones are the same count.
#[derive(Debug, Clone, Default)]
pub struct Movement(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    count: u64,
    trouble: Trouble,
    running: HashMap<u64, Running>,
    next: u64,
    /// Writes that failed and have not succeeded since.
    failed: HashMap<Key, Failed>,
}

/// How a write failed.
#[derive(Debug)]
struct Failed {
    /// Bytes that the connection took, at the most.
    furthest: u64,
    /// The last try got no further than one before.
    again: bool,
}

/// What the last write that said anything about it says of the next ones.
#[derive(Debug, Default)]
enum Trouble {
    /// Writes succeed: one that is under way will, too, or be ended by its time limit.
    #[default]
    None,
    /// The store failed or did not answer: only bytes are progress, and only those that no
    /// try sent before once a try got no further than the one before it.
    Shaky,
    /// The store refuses: only a write that succeeds is progress.
    Refused,
}

/// A write under way.
#[derive(Debug)]
struct Running {
    key: Key,
    meter: Meter,
    counted: u64,
}

/// Ends with the call, also with one that is dropped.
struct Call<'m> {
    movement: &'m Movement,
    id: u64,
}

impl Metered {
    /// Watches the writes of a bucket.
    pub fn new(inner: Arc<dyn Bucket>, movement: Movement) -> Self {
        Self { inner, movement }
    }
}

impl Movement {
    /// The count now: another one than before means that something has moved.
    pub(crate) fn count(&self) -> u64 {
        let mut state = self.0.lock();
        let State {
            count,
            trouble,
            running,
            failed,
            ..
        } = &mut *state;
        for run in running.values_mut() {
            let known = failed.get(&run.key).map_or(0, Failed::known);
            let sent = run.meter.bytes();
            match trouble {
                Trouble::None => *count += 1,
                Trouble::Shaky => *count += sent.saturating_sub(known.max(run.counted)),
                Trouble::Refused => {}
            }
            run.counted = run.counted.max(sent);
        }
        *count
    }

    fn begin(&self, key: &Key, meter: Meter) -> Call<'_> {
        let mut state = self.0.lock();
        let id = state.next;
        state.next += 1;
        let run = Running {
            key: key.clone(),
            meter,
            counted: 0,
        };
        state.running.insert(id, run);
        Call { movement: self, id }
    }

    fn succeeded(&self, key: &Key) {
        let mut state = self.0.lock();
        state.count += 1;
        state.trouble = Trouble::None;
        state.failed.remove(key);
    }

    fn failed(&self, key: &Key, sent: u64, error: &Error) {
        let mut state = self.0.lock();
        state.trouble = match error {
            // The store answered in good order; the caller looks what to do.
            Error::Precondition { .. } | Error::NotFound { .. } => return,
            Error::PermissionDenied { .. } | Error::BadCredentials { .. } => Trouble::Refused,
            _ => Trouble::Shaky,
        };
        match state.failed.get_mut(key) {
            Some(before) => before.once_more(sent),
            None => {
                let first = Failed {
                    furthest: sent,
                    again: false,
                };
                state.failed.insert(key.clone(), first);
            }
        }
    }

    fn ended<T>(&self, key: &Key, sent: u64, result: Result<T>) -> Result<T> {
        match &result {
            Ok(_) => self.succeeded(key),
            Err(error) => self.failed(key, sent, error),
        }
        result
    }
}

impl Failed {
    fn once_more(&mut self, sent: u64) {
        self.again = sent <= self.furthest;
        self.furthest = self.furthest.max(sent);
    }

    /// Bytes whose sending is no progress any more.
    fn known(&self) -> u64 {
        if self.again { self.furthest } else { 0 }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.movement.0.lock().running.remove(&self.id);
    }
}

#[async_trait]
impl Bucket for Metered {
    async fn get(&self, key: &Key, options: GetOptions) -> Result<Object> {
        self.inner.get(key, options).await
    }

    async fn head(&self, key: &Key) -> Result<ObjectMeta> {
        self.inner.head(key).await
    }

    async fn put(&self, key: &Key, body: Body, mut options: PutOptions) -> Result<PutOutcome> {
        let meter = options.meter.get_or_insert_default().clone();
        let _call = self.movement.begin(key, meter.clone());
        let result = self.inner.put(key, body, options).await;
        self.movement.ended(key, meter.bytes(), result)
    }

    async fn copy(&self, from: &Key, to: &Key, options: CopyOptions) -> Result<PutOutcome> {
        let _call = self.movement.begin(to, Meter::default());
        let result = self.inner.copy(from, to, options).await;
        self.movement.ended(to, 0, result)
    }

    async fn delete(&self, key: &Key, condition: Condition) -> Result<()> {
        let _call = self.movement.begin(key, Meter::default());
        let result = self.inner.delete(key, condition).await;
        self.movement.ended(key, 0, result)
    }

    async fn delete_many(&self, keys: &[Key]) -> Result<Vec<DeleteOutcome>> {
        self.inner.delete_many(keys).await
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage> {
        self.inner.list(request).await
    }

    async fn abandon(&self, key: &Key, upload: &str) -> Result<()> {
        self.inner.abandon(key, upload).await
    }

    async fn versions_listed(&self) -> Result<bool> {
        self.inner.versions_listed().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key::new(name).expect("a key")
    }

    fn refusal() -> Error {
        Error::PermissionDenied {
            action: "put".into(),
        }
    }

    fn outage() -> Error {
        Error::Throttled {
            reason: "SlowDown".into(),
        }
    }

    /// Whether the count grows while `sent` bytes of a write under way have gone.
    fn moves(movement: &Movement, name: &str, sent: u64) -> bool {
        let meter = Meter::default();
        let _call = movement.begin(&key(name), meter.clone());
        let before = movement.count();
        meter.add(sent);
        movement.count() > before
    }

    #[test]
    fn a_write_under_way_moves_while_writes_succeed() {
        let movement = Movement::default();
        assert_eq!(movement.count(), movement.count(), "nothing is under way");
        assert!(moves(&movement, "a", 0));
        movement.failed(&key("a"), 0, &refusal());
        movement.succeeded(&key("b"));
        assert!(moves(&movement, "a", 0));
    }

    #[test]
    fn the_same_try_again_is_no_progress_and_a_longer_one_is() {
        let movement = Movement::default();
        movement.failed(&key("a"), 1000, &outage());
        assert!(moves(&movement, "a", 1), "begun anew");
        movement.failed(&key("a"), 1000, &outage());
        assert!(!moves(&movement, "a", 1000));
        assert!(moves(&movement, "a", 1001));
        assert!(!moves(&movement, "b", 0));
        assert!(moves(&movement, "b", 1), "its first bytes");
    }

    #[test]
    fn what_is_refused_does_not_move_however_much_is_sent() {
        let movement = Movement::default();
        movement.failed(&key("a"), 10, &refusal());
        assert!(!moves(&movement, "a", 1000) && !moves(&movement, "b", 1000));
        let before = movement.count();
        movement.succeeded(&key("c"));
        assert!(movement.count() > before);
    }

    #[test]
    fn a_refused_condition_says_nothing_of_other_writes() {
        let movement = Movement::default();
        movement.failed(&key("a"), 0, &Error::Precondition { key: key("a") });
        assert!(moves(&movement, "b", 0));
    }

    #[test]
    fn a_call_that_is_dropped_is_over() {
        let movement = Movement::default();
        drop(movement.begin(&key("a"), Meter::default()));
        assert_eq!(movement.count(), movement.count());
    }
}
