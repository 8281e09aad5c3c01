//! What was seen lately, in a bounded amount of memory.

use std::collections::HashMap;
use std::hash::Hash;

/// A map of the entries used last: half of `room` at least, `room` at most. When the newer half is
/// full, the older one is dropped whole; what is asked for moves to the newer one.
pub(crate) struct Recent<K, V> {
    newer: HashMap<K, V>,
    older: HashMap<K, V>,
    half: usize,
}

impl<K: Hash + Eq, V> Recent<K, V> {
    pub(crate) fn new(room: usize) -> Self {
        Self {
            newer: HashMap::new(),
            older: HashMap::new(),
            half: (room / 2).max(1),
        }
    }

    pub(crate) fn get(&mut self, key: &K) -> Option<&mut V> {
        if let Some((key, value)) = self.older.remove_entry(key) {
            self.put(key, value);
        }
        self.newer.get_mut(key)
    }

    pub(crate) fn put(&mut self, key: K, value: V) {
        if self.newer.len() >= self.half && !self.newer.contains_key(&key) {
            self.older = std::mem::take(&mut self.newer);
        }
        self.older.remove(&key);
        self.newer.insert(key, value);
    }

    pub(crate) fn clear(&mut self) {
        self.newer.clear();
        self.older.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_what_is_used_and_never_more_than_its_room() {
        let mut recent = Recent::new(8);
        for n in 0..1_000 {
            recent.put(n, n);
            assert_eq!(recent.get(&0), Some(&mut 0), "used each time");
            assert!(recent.newer.len() + recent.older.len() <= 8);
        }
        assert_eq!(recent.get(&999), Some(&mut 999));
        assert_eq!(recent.get(&500), None);
        recent.put(999, 1);
        assert_eq!(recent.get(&999), Some(&mut 1));
        recent.clear();
        assert_eq!(recent.get(&999), None);
    }
}
