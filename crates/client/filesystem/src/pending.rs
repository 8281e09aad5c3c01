//! What is not yet in the bucket: one wanted state per key, and the order that keeps
//! content safe. Pure: no I/O, no clock.

use std::collections::{BTreeMap, HashMap, HashSet};

use bucket::{Etag, Key};
use tokio_util::sync::CancellationToken;

use crate::body::BodyStamp;
use crate::clock::Stamp;
use crate::{FsError, Ino};

/// All pending operations. Invariant: at most one per key.
///
/// An operation at key K may run only when nothing is running at K any more and no other
/// operation still copies from K: what a rename moves away is read before it is replaced.
#[derive(Default)]
pub(crate) struct Pending {
    ops: BTreeMap<Key, Op>,
    /// Source of a copy → how many operations read it.
    sources: HashMap<Key, usize>,
    running: HashMap<Key, Running>,
    next_order: u64,
}

/// What shall become of one key.
#[derive(Debug, Clone)]
pub(crate) struct Op {
    pub(crate) want: Want,
    /// What the bucket is believed to hold at the key.
    pub(crate) base: Base,
    /// Goes into the object's metadata, so that a write whose answer was lost is known again.
    pub(crate) token: String,
    /// The content that the token went out with; `None` while it was not sent. A token
    /// stands for one content: else a lost answer could confirm what was never sent.
    pub(crate) carried: Option<BodyStamp>,
    /// Not to be started before.
    pub(crate) ready: Stamp,
    /// Place in the order of changes; a later change of the same key gets a new one.
    pub(crate) order: u64,
    pub(crate) tries: u32,
    /// Why the last try failed.
    pub(crate) error: Option<FsError>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Want {
    /// The content of this inode (a file's body or a link's target).
    Put { ino: Ino },
    /// A zero-byte object for a directory.
    Marker { ino: Ino },
    /// This inode's content, which lies at another key.
    Copy { ino: Ino, from: Key, etag: Etag },
    /// Nothing.
    Delete,
}

/// What is believed to be at a key before an operation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Base {
    /// The version; `None` for nothing.
    pub(crate) etag: Option<Etag>,
    /// Tokens of writes of ours whose outcome is unknown: an object that carries one is
    /// ours too.
    pub(crate) maybe: Vec<String>,
    /// Whatever is there is meant (markers, whose content never matters).
    pub(crate) any: bool,
}

struct Running {
    order: u64,
    cancel: CancellationToken,
}

impl Base {
    pub(crate) fn of(etag: Option<Etag>) -> Self {
        Self {
            etag,
            ..Self::default()
        }
    }

    pub(crate) fn anything() -> Self {
        Self {
            any: true,
            ..Self::default()
        }
    }

    /// Whether there is certainly nothing in the bucket.
    pub(crate) fn is_absent(&self) -> bool {
        self.etag.is_none() && self.maybe.is_empty() && !self.any
    }
}

impl Op {
    /// What the old token may have left in the bucket stays known as ours.
    fn renew_token(&mut self) {
        let token = std::mem::replace(&mut self.token, fresh_token());
        self.base.maybe.push(token);
        self.carried = None;
    }

    /// The bucket holds this version of the content now, and more of it is still to come.
    pub(crate) fn goes_on_from(&mut self, etag: Etag, ready: Stamp) {
        self.base = Base::of(Some(etag));
        self.token = fresh_token();
        self.carried = None;
        self.ready = ready;
        self.tries = 0;
        self.error = None;
    }
}

fn fresh_token() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

impl Want {
    pub(crate) fn ino(&self) -> Option<Ino> {
        match self {
            Self::Put { ino } | Self::Marker { ino } | Self::Copy { ino, .. } => Some(*ino),
            Self::Delete => None,
        }
    }
}

impl Pending {
    pub(crate) fn len(&self) -> usize {
        self.ops.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Key, &Op)> {
        self.ops.iter()
    }

    /// The operations at keys that begin with a prefix.
    pub(crate) fn below<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a Key, &'a Op)> {
        // A prefix is not a key when empty; every key is then within.
        let start = Key::new(prefix).ok();
        let range = match start {
            Some(key) => self.ops.range(key..),
            None => self.ops.range::<Key, _>(..),
        };
        range.take_while(move |(key, _)| key.as_str().starts_with(prefix))
    }

    pub(crate) fn at(&self, key: &Key) -> Option<&Op> {
        self.ops.get(key)
    }

    /// The operation at a key, if it is still the one of that place in the order: whoever
    /// decided on it without the lock asks again before acting.
    pub(crate) fn in_order(&self, key: &Key, order: u64) -> Option<&Op> {
        self.at(key).filter(|op| op.order == order)
    }

    pub(crate) fn at_mut(&mut self, key: &Key) -> Option<&mut Op> {
        self.ops.get_mut(key)
    }

    /// Sets what is wanted at a key, in place of anything wanted before. A running
    /// operation there is cancelled; its possible effect goes into the new base.
    pub(crate) fn set(&mut self, key: Key, want: Want, mut base: Base, ready: Stamp) {
        if let Some(old) = self.take(&key)
            && self.running.contains_key(&key)
            && !matches!(old.want, Want::Delete)
            && !base.maybe.contains(&old.token)
        {
            base.maybe.push(old.token);
        }
        if let Want::Copy { from, .. } = &want {
            *self.sources.entry(from.clone()).or_default() += 1;
        }
        let op = Op {
            want,
            base,
            token: fresh_token(),
            carried: None,
            ready,
            order: self.next_order,
            tries: 0,
            error: None,
        };
        self.next_order += 1;
        self.ops.insert(key, op);
    }

    /// Puts back what a journal kept.
    pub(crate) fn restore(&mut self, key: Key, want: Want, base: Base, token: String) {
        self.set(key.clone(), want, base, Stamp::now());
        if let Some(op) = self.ops.get_mut(&key) {
            op.token = token;
        }
    }

    /// Drops what is wanted at a key and stops what is running there. The caller decides
    /// what follows from the operation's base.
    pub(crate) fn take(&mut self, key: &Key) -> Option<Op> {
        let op = self.ops.remove(key)?;
        if let Some(running) = self.running.get(key) {
            running.cancel.cancel();
        }
        if let Want::Copy { from, .. } = &op.want
            && let Some(count) = self.sources.get_mut(from)
        {
            *count -= 1;
            if *count == 0 {
                self.sources.remove(from);
            }
        }
        Some(op)
    }

    /// Makes the object at `key` go away: what was wanted there is dropped, and what is or
    /// may be in the bucket is deleted. `known` is what the bucket held when nothing was
    /// pending at the key.
    pub(crate) fn remove_object(&mut self, key: &Key, known: Base, ready: Stamp) {
        let was_running = self.running.contains_key(key);
        let mut base = known;
        if let Some(op) = self.take(key) {
            base = op.base;
            if (was_running || op.tries > 0) && !matches!(op.want, Want::Delete) {
                base.maybe.push(op.token);
            }
        }
        if !base.is_absent() {
            self.set(key.clone(), Want::Delete, base, ready);
        }
    }

    /// What the bucket is believed to hold at a key, given what a node there last saw.
    pub(crate) fn base_at(&self, key: &Key, seen: Option<Etag>) -> Base {
        match self.ops.get(key) {
            Some(op) => {
                let mut base = op.base.clone();
                if (self.running.contains_key(key) || op.tries > 0)
                    && !matches!(op.want, Want::Delete)
                {
                    base.maybe.push(op.token.clone());
                }
                base
            }
            None => Base::of(seen),
        }
    }

    pub(crate) fn is_running(&self, key: &Key) -> bool {
        self.running.contains_key(key)
    }

    pub(crate) fn running(&self) -> usize {
        self.running.len()
    }

    /// The keys whose operations may start now, oldest change first, at most `limit`.
    pub(crate) fn runnable(&self, now: Stamp, limit: usize, fit: impl Fn(&Op) -> bool) -> Vec<Key> {
        if limit == 0 {
            return Vec::new();
        }
        let mut keys: Vec<(u64, &Key)> = self
            .ops
            .iter()
            .filter(|(key, op)| op.ready <= now && self.may_run(key, op) && fit(op))
            .map(|(key, op)| (op.order, key))
            .collect();
        if keys.len() > limit {
            keys.select_nth_unstable(limit - 1);
            keys.truncate(limit);
        }
        keys.sort_unstable();
        keys.into_iter().map(|(_, key)| key.clone()).collect()
    }

    /// Whether the operation at a key may start, as far as other operations go.
    pub(crate) fn is_free(&self, key: &Key) -> bool {
        self.ops.get(key).is_some_and(|op| self.may_run(key, op))
    }

    fn may_run(&self, key: &Key, op: &Op) -> bool {
        if self.running.contains_key(key) {
            return false;
        }
        let own = usize::from(matches!(&op.want, Want::Copy { from, .. } if from == key));
        self.sources.get(key).copied().unwrap_or(0) <= own
    }

    /// When the next operation that waits for its time becomes ready.
    pub(crate) fn next_ready(&self, now: Stamp) -> Option<Stamp> {
        let ready = self.ops.values().map(|op| op.ready);
        ready.filter(|ready| *ready > now).min()
    }

    /// Makes everything ready; gives the inodes whose content is to be written.
    pub(crate) fn hurry(&mut self, now: Stamp) -> Vec<Ino> {
        let mut inos = Vec::new();
        for op in self.ops.values_mut() {
            op.ready = op.ready.min(now);
            if let Want::Put { ino } = op.want {
                inos.push(ino);
            }
        }
        inos
    }

    /// Marks an operation as running; give its order back to [`Self::ended`].
    pub(crate) fn started(&mut self, key: &Key) -> Option<(Op, CancellationToken)> {
        let op = self.ops.get_mut(key)?;
        op.tries += 1;
        let cancel = CancellationToken::new();
        let running = Running {
            order: op.order,
            cancel: cancel.clone(),
        };
        self.running.insert(key.clone(), running);
        Some((op.clone(), cancel))
    }

    /// The task at this key is over. Says whether its operation is still the wanted one.
    pub(crate) fn ended(&mut self, key: &Key, order: u64) -> bool {
        if self
            .running
            .get(key)
            .is_some_and(|running| running.order == order)
        {
            self.running.remove(key);
        }
        self.ops.get(key).is_some_and(|op| op.order == order)
    }

    /// Stops a running operation so that its file may be written again; it stays wanted.
    pub(crate) fn interrupt(&mut self, key: &Key) -> bool {
        let Some(running) = self.running.get(key) else {
            return false;
        };
        running.cancel.cancel();
        if let Some(op) = self.ops.get_mut(key)
            && op.order == running.order
        {
            op.renew_token();
        }
        true
    }

    /// The content at `key` is or becomes `now` (`None`: any other than before). Says whether
    /// that made a new token, to be recorded before anything goes up under it.
    pub(crate) fn renew_token(&mut self, key: &Key, now: Option<BodyStamp>) -> bool {
        let Some(op) = self.ops.get_mut(key) else {
            return false;
        };
        if op.carried.is_none() || op.carried == now {
            return false;
        }
        op.renew_token();
        true
    }

    /// Copies that wait for each other in a ring (names swapped) can never run: the keys of
    /// those whose source is itself waiting to be overwritten by a copy.
    pub(crate) fn copies_in_a_ring(&self) -> Vec<Key> {
        let next = |key: &Key| match self.ops.get(key).map(|op| &op.want) {
            Some(Want::Copy { from, .. }) if from != key => Some(from.clone()),
            _ => None,
        };
        let mut found = Vec::new();
        let mut settled: HashSet<Key> = HashSet::new();
        for start in self.ops.keys() {
            let mut path: Vec<Key> = Vec::new();
            let mut at = start.clone();
            while settled.insert(at.clone()) {
                path.push(at.clone());
                match next(&at) {
                    Some(from) => at = from,
                    None => break,
                }
            }
            if path.contains(&at) && next(&at).is_some() {
                found.push(at);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        Key::new(text).expect("a key")
    }

    fn copy(ino: Ino, from: &str) -> Want {
        Want::Copy {
            ino,
            from: key(from),
            etag: Etag::new("e"),
        }
    }

    #[test]
    fn a_source_is_read_before_it_is_replaced_or_deleted() {
        let mut pending = Pending::default();
        let now = Stamp::now();
        pending.set(key("a"), Want::Delete, Base::of(Some(Etag::new("e"))), now);
        pending.set(key("b"), copy(7, "a"), Base::default(), now);
        assert_eq!(pending.runnable(now, 9, |_| true), [key("b")]);
        let (op, _) = pending.started(&key("b")).expect("pending");
        assert!(pending.ended(&key("b"), op.order));
        pending.take(&key("b"));
        assert_eq!(pending.runnable(now, 9, |_| true), [key("a")]);
    }

    #[test]
    fn what_never_left_needs_no_delete() {
        let mut pending = Pending::default();
        let now = Stamp::now();
        pending.set(key("a"), Want::Put { ino: 2 }, Base::default(), now);
        pending.remove_object(&key("a"), Base::default(), now);
        assert_eq!(pending.len(), 0);
    }

    #[test]
    fn what_may_have_left_is_deleted_by_its_token() {
        let mut pending = Pending::default();
        let now = Stamp::now();
        pending.set(key("a"), Want::Put { ino: 2 }, Base::default(), now);
        let (op, cancel) = pending.started(&key("a")).expect("pending");
        pending.remove_object(&key("a"), Base::default(), now);
        assert!(cancel.is_cancelled());
        let delete = pending.at(&key("a")).expect("a delete");
        assert_eq!(delete.want, Want::Delete);
        assert_eq!(delete.base.maybe, std::slice::from_ref(&op.token));
        assert!(
            pending.runnable(now, 9, |_| true).is_empty(),
            "the old task still runs"
        );
        assert!(!pending.ended(&key("a"), op.order), "it was superseded");
        assert_eq!(pending.runnable(now, 9, |_| true), [key("a")]);
    }

    #[test]
    fn swapped_names_are_found_as_a_ring() {
        let mut pending = Pending::default();
        let now = Stamp::now();
        pending.set(key("a"), copy(1, "b"), Base::default(), now);
        pending.set(key("b"), copy(2, "a"), Base::default(), now);
        pending.set(key("c"), copy(3, "z"), Base::default(), now);
        assert_eq!(pending.runnable(now, 9, |_| true), [key("c")]);
        assert_eq!(pending.copies_in_a_ring().len(), 1);
    }
}
