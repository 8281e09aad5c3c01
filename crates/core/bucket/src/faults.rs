//! A bucket that misbehaves by rule, around any other bucket.
//!
//! ```
//! # use std::sync::Arc;
//! # use artifacts_bucket::{Error, faults::{Fault, Faulty, Rule, Verb}, memory::MemoryBucket};
//! let faulty = Faulty::new(Arc::new(MemoryBucket::new()));
//! // The answer to the second write of this file is lost.
//! let lost = Error::Unreachable { endpoint: "test".into(), reason: "lost answer".into() };
//! let rule = faulty.add(Rule::new(Fault::FailAfter(lost)).on(Verb::Put).key("a.txt").nth(2));
//! // The store goes away and comes back.
//! faulty.set_down(true);
//! faulty.set_down(false);
//! assert_eq!(rule.fired(), 0);
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{
    Body, Bucket, ByteStream, Condition, CopyOptions, DeleteOutcome, Error, GetOptions, Key,
    ListPage, ListRequest, Object, ObjectMeta, PutOptions, PutOutcome, Result,
};

/// A method of the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// [`Bucket::get`]
    Get,
    /// [`Bucket::head`]
    Head,
    /// [`Bucket::put`]
    Put,
    /// [`Bucket::copy`]; its key is the destination.
    Copy,
    /// [`Bucket::delete`]
    Delete,
    /// [`Bucket::delete_many`]; a rule fits where any of its keys does.
    DeleteMany,
    /// [`Bucket::list`]; its key is the prefix.
    List,
}

/// What goes wrong.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The call takes this much longer.
    Delay(Duration),
    /// The call fails and has no effect: a lost request.
    FailBefore(Error),
    /// The call has its effect and then fails: a lost answer.
    FailAfter(Error),
    /// The body of a [`Bucket::get`] breaks off with [`Error::Unreachable`] after so many
    /// bytes.
    Truncate(u64),
    /// The call waits, without effect, until [`RuleHandle::release`].
    Hang,
}

/// When a rule applies, and what it does then. A rule without limits applies always.
pub struct Rule {
    fault: Fault,
    verbs: Vec<Verb>,
    keys: Box<dyn Fn(&str) -> bool + Send + Sync>,
    when: When,
}

enum When {
    Always,
    Nth(u64),
    First(u64),
    Chance { probability: f64, state: AtomicU64 },
}

impl Rule {
    /// A rule that applies to every call.
    pub fn new(fault: Fault) -> Self {
        Self {
            fault,
            verbs: Vec::new(),
            keys: Box::new(|_| true),
            when: When::Always,
        }
    }

    /// Only to this method; given several times, to each of them.
    pub fn on(mut self, verb: Verb) -> Self {
        self.verbs.push(verb);
        self
    }

    /// Only to this key.
    pub fn key(self, key: impl Into<String>) -> Self {
        let wanted = key.into();
        self.keys(move |key| key == wanted)
    }

    /// Only to keys with this prefix.
    pub fn prefix(self, prefix: impl Into<String>) -> Self {
        let prefix = prefix.into();
        self.keys(move |key| key.starts_with(&prefix))
    }

    /// Only to keys that the function picks.
    pub fn keys(mut self, pick: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        self.keys = Box::new(pick);
        self
    }

    /// Only to the `n`th fitting call, counted from 1.
    pub fn nth(mut self, n: u64) -> Self {
        self.when = When::Nth(n);
        self
    }

    /// Only to the first `n` fitting calls.
    pub fn first(mut self, n: u64) -> Self {
        self.when = When::First(n);
        self
    }

    /// To each fitting call with this probability. The same seed gives the same sequence.
    pub fn chance(mut self, probability: f64, seed: u64) -> Self {
        self.when = When::Chance {
            probability,
            state: AtomicU64::new(seed),
        };
        self
    }

    fn fits(&self, verb: Verb, keys: &[&str]) -> bool {
        (self.verbs.is_empty() || self.verbs.contains(&verb))
            && keys.iter().any(|key| (self.keys)(key))
    }
}

/// A rule in force.
#[derive(Clone)]
pub struct RuleHandle {
    active: Arc<Active>,
}

struct Active {
    rule: Rule,
    seen: AtomicU64,
    fired: AtomicU64,
    removed: AtomicBool,
    released: watch::Sender<bool>,
}

impl RuleHandle {
    /// How often the rule has applied.
    pub fn fired(&self) -> u64 {
        self.active.fired.load(Ordering::SeqCst)
    }

    /// Ends the rule for later calls; calls that hang go on hanging.
    pub fn remove(&self) {
        self.active.removed.store(true, Ordering::SeqCst);
    }

    /// Lets calls that hang go on, now and in future.
    pub fn release(&self) {
        self.active.released.send_replace(true);
    }
}

/// The wrapper. Clones share rules and bucket.
#[derive(Clone)]
pub struct Faulty {
    inner: Arc<dyn Bucket>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    rules: Mutex<Vec<Arc<Active>>>,
    calls: Mutex<BTreeMap<Verb, u64>>,
    down: AtomicBool,
}

/// What the rules have decided for one call.
#[derive(Default)]
struct Plan {
    delay: Duration,
    hang: Option<watch::Receiver<bool>>,
    before: Option<Error>,
    after: Option<Error>,
    truncate: Option<u64>,
}

impl Faulty {
    /// Wraps a bucket; without rules nothing changes.
    pub fn new(inner: Arc<dyn Bucket>) -> Self {
        Self {
            inner,
            shared: Arc::default(),
        }
    }

    /// Puts a rule in force. Where several fit a call, their delays add up and the first
    /// failure counts.
    pub fn add(&self, rule: Rule) -> RuleHandle {
        let active = Arc::new(Active {
            rule,
            seen: AtomicU64::new(0),
            fired: AtomicU64::new(0),
            removed: AtomicBool::new(false),
            released: watch::Sender::new(false),
        });
        self.shared.rules.lock().push(active.clone());
        RuleHandle { active }
    }

    /// Removes every rule and lets every call go on that hangs.
    pub fn clear(&self) {
        for active in self.shared.rules.lock().drain(..) {
            active.released.send_replace(true);
        }
    }

    /// An outage: every call fails as [`Error::Unreachable`] without effect, and bodies
    /// being read break off.
    pub fn set_down(&self, down: bool) {
        self.shared.down.store(down, Ordering::SeqCst);
    }

    /// How often a method was called, failures included.
    pub fn calls(&self, verb: Verb) -> u64 {
        self.shared
            .calls
            .lock()
            .get(&verb)
            .copied()
            .unwrap_or_default()
    }

    /// What happens before the call reaches the bucket.
    async fn enter(&self, verb: Verb, keys: &[&str]) -> Result<Plan> {
        *self.shared.calls.lock().entry(verb).or_default() += 1;
        let mut plan = self.plan(verb, keys);
        if !plan.delay.is_zero() {
            tokio::time::sleep(plan.delay).await;
        }
        if let Some(mut hang) = plan.hang.take() {
            // An error means that the rule is gone, and with it the reason to wait.
            let _ = hang.wait_for(|released| *released).await;
        }
        self.shared.require_up()?;
        plan.before.take().map_or(Ok(plan), Err)
    }

    fn plan(&self, verb: Verb, keys: &[&str]) -> Plan {
        let mut plan = Plan::default();
        let mut rules = self.shared.rules.lock();
        rules.retain(|active| !active.removed.load(Ordering::SeqCst));
        for active in rules.iter().filter(|active| active.rule.fits(verb, keys)) {
            if active.fires() {
                plan.add(active);
            }
        }
        plan
    }
}

impl Shared {
    fn require_up(&self) -> Result<()> {
        match self.down.load(Ordering::SeqCst) {
            true => Err(broken("down")),
            false => Ok(()),
        }
    }
}

impl Active {
    fn fires(&self) -> bool {
        let nth = self.seen.fetch_add(1, Ordering::SeqCst) + 1;
        let fires = match &self.rule.when {
            When::Always => true,
            When::Nth(n) => nth == *n,
            When::First(n) => nth <= *n,
            When::Chance { probability, state } => next_random(state) < *probability,
        };
        if fires {
            self.fired.fetch_add(1, Ordering::SeqCst);
        }
        fires
    }
}

impl Plan {
    fn add(&mut self, active: &Active) {
        match &active.rule.fault {
            Fault::Delay(delay) => self.delay += *delay,
            Fault::FailBefore(error) => _ = self.before.get_or_insert_with(|| error.clone()),
            Fault::FailAfter(error) => _ = self.after.get_or_insert_with(|| error.clone()),
            Fault::Truncate(bytes) => self.truncate = Some(*bytes),
            Fault::Hang => self.hang = Some(active.released.subscribe()),
        }
    }

    /// What becomes of the bucket's answer.
    fn leave<T>(self, answer: Result<T>) -> Result<T> {
        match self.after {
            Some(error) => answer.and(Err(error)),
            None => answer,
        }
    }
}

#[async_trait]
impl Bucket for Faulty {
    async fn get(&self, key: &Key, options: GetOptions) -> Result<Object> {
        let plan = self.enter(Verb::Get, &[key.as_str()]).await?;
        let truncate = plan.truncate;
        let mut object = plan.leave(self.inner.get(key, options).await)?;
        object.body = breaking(object.body, truncate, self.shared.clone());
        Ok(object)
    }

    async fn head(&self, key: &Key) -> Result<ObjectMeta> {
        let plan = self.enter(Verb::Head, &[key.as_str()]).await?;
        plan.leave(self.inner.head(key).await)
    }

    async fn put(&self, key: &Key, body: Body, options: PutOptions) -> Result<PutOutcome> {
        let plan = self.enter(Verb::Put, &[key.as_str()]).await?;
        plan.leave(self.inner.put(key, body, options).await)
    }

    async fn copy(&self, from: &Key, to: &Key, options: CopyOptions) -> Result<PutOutcome> {
        let plan = self.enter(Verb::Copy, &[to.as_str()]).await?;
        plan.leave(self.inner.copy(from, to, options).await)
    }

    async fn delete(&self, key: &Key, condition: Condition) -> Result<()> {
        let plan = self.enter(Verb::Delete, &[key.as_str()]).await?;
        plan.leave(self.inner.delete(key, condition).await)
    }

    async fn delete_many(&self, keys: &[Key]) -> Result<Vec<DeleteOutcome>> {
        let names: Vec<&str> = keys.iter().map(Key::as_str).collect();
        let plan = self.enter(Verb::DeleteMany, &names).await?;
        plan.leave(self.inner.delete_many(keys).await)
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage> {
        let plan = self.enter(Verb::List, &[request.prefix.as_str()]).await?;
        plan.leave(self.inner.list(request).await)
    }

    async fn abandon(&self, key: &Key, upload: &str) -> Result<()> {
        self.shared.require_up()?;
        self.inner.abandon(key, upload).await
    }

    async fn versions_listed(&self) -> Result<bool> {
        self.shared.require_up()?;
        self.inner.versions_listed().await
    }
}

/// The body, broken off after so many bytes or when the store goes down.
fn breaking(body: ByteStream, left: Option<u64>, shared: Arc<Shared>) -> ByteStream {
    let state = Some((body, left.unwrap_or(u64::MAX)));
    let step = move |state: Option<(ByteStream, u64)>| {
        let shared = shared.clone();
        async move {
            let (mut body, left) = state?;
            if let Err(error) = shared.require_up() {
                return Some((Err(error), None));
            }
            Some(match body.next().await? {
                Ok(_) if left == 0 => (Err(broken("cut off")), None),
                Ok(bytes) => give(bytes, left, body),
                Err(error) => (Err(error), None),
            })
        }
    };
    futures::stream::unfold(state, step).boxed()
}

type Given = (Result<Bytes>, Option<(ByteStream, u64)>);

fn give(mut bytes: Bytes, left: u64, body: ByteStream) -> Given {
    bytes.truncate(usize::try_from(left).unwrap_or(usize::MAX));
    let left = left - bytes.len() as u64;
    match left {
        // The next step says what is missing, even where nothing more would have come.
        0 => (
            Ok(bytes),
            Some((futures::stream::once(async { Ok(Bytes::new()) }).boxed(), 0)),
        ),
        left => (Ok(bytes), Some((body, left))),
    }
}

fn broken(reason: &str) -> Error {
    Error::Unreachable {
        endpoint: "faulty".into(),
        reason: reason.into(),
    }
}

/// A number in 0..1 (SplitMix64, Steele et al. 2014): small, seeded, good enough for tests.
fn next_random(state: &AtomicU64) -> f64 {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut z = state.fetch_add(STEP, Ordering::SeqCst).wrapping_add(STEP);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryBucket;

    fn key(key: &str) -> Key {
        Key::new(key).unwrap()
    }

    fn faulty() -> (Faulty, MemoryBucket) {
        let memory = MemoryBucket::new();
        (Faulty::new(Arc::new(memory.clone())), memory)
    }

    async fn put(bucket: &Faulty, name: &str) -> Result<PutOutcome> {
        bucket
            .put(
                &key(name),
                Body::Bytes(Bytes::from("body")),
                PutOptions::default(),
            )
            .await
    }

    async fn read(bucket: &Faulty, name: &str) -> Vec<Result<Bytes>> {
        let object = bucket.get(&key(name), GetOptions::default()).await.unwrap();
        object.body.collect().await
    }

    #[tokio::test]
    async fn a_lost_answer_has_its_effect_and_a_lost_request_has_none() {
        let (faulty, memory) = faulty();
        faulty.add(
            Rule::new(Fault::FailAfter(broken("lost")))
                .on(Verb::Put)
                .key("after"),
        );
        faulty.add(
            Rule::new(Fault::FailBefore(broken("lost")))
                .on(Verb::Put)
                .key("before"),
        );
        assert_eq!(put(&faulty, "after").await, Err(broken("lost")));
        assert_eq!(put(&faulty, "before").await, Err(broken("lost")));
        assert!(put(&faulty, "other").await.is_ok());
        assert_eq!(
            memory.contents().into_keys().collect::<Vec<_>>(),
            ["after", "other"]
        );
        assert_eq!(faulty.calls(Verb::Put), 3);
    }

    #[tokio::test]
    async fn only_the_nth_call_fails() {
        let (faulty, _) = faulty();
        let rule = faulty.add(
            Rule::new(Fault::FailBefore(broken("x")))
                .prefix("a/")
                .nth(2),
        );
        assert!(put(&faulty, "a/1").await.is_ok());
        assert!(put(&faulty, "b/1").await.is_ok());
        assert!(put(&faulty, "a/2").await.is_err());
        assert!(put(&faulty, "a/3").await.is_ok());
        assert_eq!(rule.fired(), 1);
    }

    #[tokio::test]
    async fn chance_is_the_same_for_the_same_seed() {
        let run = async |seed| {
            let (faulty, _) = faulty();
            faulty.add(Rule::new(Fault::FailBefore(broken("x"))).chance(0.5, seed));
            let mut pattern = Vec::new();
            for _ in 0..64 {
                pattern.push(put(&faulty, "a").await.is_ok());
            }
            pattern
        };
        let (one, same, other) = (run(1).await, run(1).await, run(2).await);
        assert_eq!(one, same);
        assert_ne!(one, other);
        assert!((16..48).contains(&one.iter().filter(|ok| **ok).count()));
    }

    #[tokio::test]
    async fn a_body_breaks_off_with_an_error() {
        let (faulty, memory) = faulty();
        memory.insert(&key("a"), "0123456789");
        for cut in [0, 4, 10] {
            let rule = faulty.add(Rule::new(Fault::Truncate(cut)).on(Verb::Get));
            let mut items = read(&faulty, "a").await;
            assert_eq!(items.pop(), Some(Err(broken("cut off"))));
            let bytes: Vec<u8> = items
                .into_iter()
                .flat_map(|b| b.unwrap().to_vec())
                .collect();
            assert_eq!(bytes, b"0123456789"[..cut as usize]);
            rule.remove();
        }
        assert_eq!(read(&faulty, "a").await, [Ok(Bytes::from("0123456789"))]);
    }

    #[tokio::test]
    async fn an_outage_stops_calls_and_bodies() {
        let (faulty, memory) = faulty();
        memory.insert(&key("a"), "0123456789");
        let object = faulty.get(&key("a"), GetOptions::default()).await.unwrap();
        faulty.set_down(true);
        assert_eq!(put(&faulty, "b").await, Err(broken("down")));
        assert_eq!(object.body.collect::<Vec<_>>().await, [Err(broken("down"))]);
        faulty.set_down(false);
        assert!(put(&faulty, "b").await.is_ok());
    }

    #[tokio::test]
    async fn a_call_hangs_until_it_is_released() {
        let (faulty, memory) = faulty();
        let rule = faulty.add(Rule::new(Fault::Hang).on(Verb::Put));
        let hanging = tokio::spawn({
            let faulty = faulty.clone();
            async move { put(&faulty, "a").await }
        });
        while rule.fired() == 0 {
            tokio::task::yield_now().await;
        }
        assert!(memory.contents().is_empty());
        rule.release();
        assert!(hanging.await.unwrap().is_ok());
    }
}
