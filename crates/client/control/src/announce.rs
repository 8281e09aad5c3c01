//! A mount tells what it has put into the bucket, so that others look at once.
//!
//! Counted at the port, where a write has just succeeded. What is told is a courtesy: those
//! who hear nothing see the change by their profile's time. So it never holds a write up, and
//! what cannot be told for long is dropped, the oldest first.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use api::{Announcement, Change, Description, ErrorCode, WorkspaceId};
use async_trait::async_trait;
use bucket::{
    Body, Bucket, Condition, CopyOptions, DeleteOutcome, GetOptions, Key, ListPage, ListRequest,
    Object, ObjectMeta, PutOptions, PutOutcome, Result,
};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::client::Orchestrator;
use crate::error::ControlError;

/// What succeeds within so long is told together.
const GATHER: Duration = Duration::from_millis(5);
/// Changes that wait for an orchestrator which is away.
const MOST: usize = 10_000;
/// Half of what one announcement may hold, in bytes: keys are escaped in it.
const BYTES_AT_ONCE: usize = 400_000;
/// Between two tries.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A bucket whose successful writes are noted in an [`Outbox`].
pub struct Announcing {
    inner: Arc<dyn Bucket>,
    outbox: Outbox,
}

/// What is to be told. Clones are the same outbox.
#[derive(Clone, Default)]
pub struct Outbox(Arc<Inner>);

#[derive(Default)]
struct Inner {
    waiting: Mutex<Waiting>,
    more: Notify,
    sent: Notify,
}

#[derive(Default)]
struct Waiting {
    /// The last that happened at each key, and its place in the order.
    changes: HashMap<Key, (u64, What)>,
    /// The same by place.
    order: BTreeMap<u64, Key>,
    next: u64,
    /// Taken out and not yet told.
    under_way: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Changed(String),
    Deleted,
}

impl Announcing {
    /// Notes this bucket's writes.
    pub fn new(inner: Arc<dyn Bucket>, outbox: Outbox) -> Self {
        Self { inner, outbox }
    }
}

impl Outbox {
    fn note(&self, key: &Key, what: What) {
        let mut waiting = self.0.waiting.lock();
        let place = waiting.next;
        waiting.next += 1;
        waiting.put(key.clone(), place, what);
        if waiting.changes.len() > MOST {
            waiting.take_oldest();
        }
        drop(waiting);
        self.0.more.notify_one();
    }

    /// Takes note of a try; with `again` what was taken out waits anew.
    fn tried(&self, taken: Vec<(Key, u64, What)>, again: bool) {
        let mut waiting = self.0.waiting.lock();
        if again {
            waiting.put_back(taken);
        } else {
            waiting.under_way = false;
        }
        drop(waiting);
        self.0.sent.notify_waiters();
    }

    /// Waits until everything is told, or for so long.
    pub async fn emptied(&self, patience: Duration) {
        let _ = timeout(patience, async {
            loop {
                let sent = self.0.sent.notified();
                tokio::pin!(sent);
                sent.as_mut().enable();
                if self.0.waiting.lock().is_empty() {
                    return;
                }
                sent.await;
            }
        })
        .await;
    }
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.changes.is_empty() && !self.under_way
    }

    fn put(&mut self, key: Key, place: u64, what: What) {
        self.order.insert(place, key.clone());
        if let Some((before, _)) = self.changes.insert(key, (place, what)) {
            self.order.remove(&before);
        }
    }

    fn take_oldest(&mut self) -> Option<(Key, u64, What)> {
        let (place, key) = self.order.pop_first()?;
        let (_, what) = self.changes.remove(&key)?;
        Some((key, place, what))
    }

    /// The oldest changes, as many as one announcement holds.
    fn take(&mut self) -> Vec<(Key, u64, What)> {
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while taken.len() < Announcement::MOST && bytes < BYTES_AT_ONCE {
            let Some(change) = self.take_oldest() else {
                break;
            };
            bytes += change.0.as_str().len() + 100;
            taken.push(change);
        }
        self.under_way = !taken.is_empty();
        taken
    }

    /// What could not be told waits again, unless something newer happened there.
    fn put_back(&mut self, taken: Vec<(Key, u64, What)>) {
        for (key, place, what) in taken {
            if !self.changes.contains_key(&key) {
                self.put(key, place, what);
            }
        }
        self.under_way = false;
    }
}

/// Tells what is in the outbox, for ever.
pub async fn run(
    orchestrator: Orchestrator,
    workspace: WorkspaceId,
    origin: Description,
    outbox: Outbox,
) {
    let mut pause = FIRST_PAUSE;
    loop {
        if outbox.0.waiting.lock().changes.is_empty() {
            outbox.0.more.notified().await;
            sleep(GATHER).await;
        }
        let taken = outbox.0.waiting.lock().take();
        if taken.is_empty() {
            continue;
        }
        let said = announcement(workspace, &origin, &taken);
        let told = orchestrator.announce(&said).await;
        // A login can be renewed, and a keyring unlocked; what may not be told never may be.
        let again = match &told {
            Ok(_) => false,
            Err(error) => !(error.is(ErrorCode::Forbidden) || error.is(ErrorCode::NotFound)),
        };
        outbox.tried(taken, again);
        let Err(error) = told else {
            pause = FIRST_PAUSE;
            continue;
        };
        tracing::warn!(%error, "others are not told of changes");
        let asked = match &error {
            ControlError::Refused { retry_after, .. } => *retry_after,
            _ => None,
        };
        // Whoever may only read, or whose login has ended, need not ask often.
        let rest = match asked {
            Some(seconds) => Duration::from_secs(seconds).min(LONGEST_PAUSE),
            None if error.is_temporary() => pause,
            None => LONGEST_PAUSE,
        };
        sleep(rest).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn announcement(
    workspace: WorkspaceId,
    origin: &Description,
    taken: &[(Key, u64, What)],
) -> Announcement {
    let mut said = Announcement {
        workspace_id: workspace,
        changed: Vec::new(),
        deleted: Vec::new(),
        origin: Some(origin.clone()),
    };
    for (key, _, what) in taken {
        // Every key of a bucket is one of an announcement: both have 1 to 1,024 bytes.
        let Ok(key) = key.as_str().parse() else {
            continue;
        };
        match what {
            What::Changed(etag) => said.changed.push(Change {
                key,
                etag: Some(etag.clone()),
            }),
            What::Deleted => said.deleted.push(Change { key, etag: None }),
        }
    }
    said
}

#[async_trait]
impl Bucket for Announcing {
    async fn get(&self, key: &Key, options: GetOptions) -> Result<Object> {
        self.inner.get(key, options).await
    }

    async fn head(&self, key: &Key) -> Result<ObjectMeta> {
        self.inner.head(key).await
    }

    async fn put(&self, key: &Key, body: Body, options: PutOptions) -> Result<PutOutcome> {
        let outcome = self.inner.put(key, body, options).await?;
        let etag = outcome.etag.as_str().to_owned();
        self.outbox.note(key, What::Changed(etag));
        Ok(outcome)
    }

    async fn copy(&self, from: &Key, to: &Key, options: CopyOptions) -> Result<PutOutcome> {
        let outcome = self.inner.copy(from, to, options).await?;
        let etag = outcome.etag.as_str().to_owned();
        self.outbox.note(to, What::Changed(etag));
        Ok(outcome)
    }

    async fn delete(&self, key: &Key, condition: Condition) -> Result<()> {
        self.inner.delete(key, condition).await?;
        self.outbox.note(key, What::Deleted);
        Ok(())
    }

    async fn delete_many(&self, keys: &[Key]) -> Result<Vec<DeleteOutcome>> {
        let outcomes = self.inner.delete_many(keys).await?;
        let gone = outcomes.iter().filter(|outcome| outcome.result.is_ok());
        for outcome in gone {
            self.outbox.note(&outcome.key, What::Deleted);
        }
        Ok(outcomes)
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

    #[test]
    fn the_last_change_of_a_key_is_told_and_in_order() {
        let outbox = Outbox::default();
        outbox.note(&key("a"), What::Changed("1".into()));
        outbox.note(&key("b"), What::Changed("1".into()));
        outbox.note(&key("a"), What::Deleted);
        let mut waiting = outbox.0.waiting.lock();
        let taken = waiting.take();
        let names: Vec<_> = taken.iter().map(|(key, ..)| key.as_str()).collect();
        assert_eq!(names, ["b", "a"]);
        assert_eq!(taken[1].2, What::Deleted);
        assert!(!waiting.is_empty(), "it is under way");
        waiting.under_way = false;
        assert!(waiting.is_empty());
    }

    #[test]
    fn what_could_not_be_told_waits_unless_something_newer_does() {
        let outbox = Outbox::default();
        outbox.note(&key("a"), What::Changed("1".into()));
        outbox.note(&key("b"), What::Changed("1".into()));
        let taken = outbox.0.waiting.lock().take();
        outbox.note(&key("a"), What::Deleted);
        let mut waiting = outbox.0.waiting.lock();
        waiting.put_back(taken);
        let again = waiting.take();
        let what: Vec<_> = again.iter().map(|(key, _, w)| (key.as_str(), w)).collect();
        assert_eq!(
            what,
            [("b", &What::Changed("1".into())), ("a", &What::Deleted)]
        );
    }

    #[test]
    fn one_announcement_is_never_larger_than_the_server_takes() {
        let outbox = Outbox::default();
        let long = "x".repeat(1_000);
        for at in 0..1_500 {
            outbox.note(&key(&format!("{at:05}{long}")), What::Deleted);
        }
        let mut waiting = outbox.0.waiting.lock();
        let (mut seen, mut rounds) = (0, 0);
        while !waiting.changes.is_empty() {
            let taken = waiting.take();
            assert!(taken.len() <= Announcement::MOST && !taken.is_empty());
            let id = uuid::Uuid::nil().into();
            let said = announcement(id, &"m".parse().expect("a name"), &taken);
            let bytes = serde_json::to_vec(&said).expect("JSON").len();
            assert!(bytes < 1024 * 1024, "{bytes}");
            seen += taken.len();
            rounds += 1;
        }
        assert_eq!((seen, rounds), (1_500, 5));
    }

    #[test]
    fn an_orchestrator_that_is_away_for_long_costs_no_more_memory() {
        let outbox = Outbox::default();
        for at in 0..MOST + 10 {
            outbox.note(&key(&at.to_string()), What::Deleted);
        }
        let waiting = outbox.0.waiting.lock();
        assert_eq!(waiting.changes.len(), MOST);
        assert!(!waiting.changes.contains_key(&key("9")));
        assert!(waiting.changes.contains_key(&key("10")));
    }
}
