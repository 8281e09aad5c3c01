//! Proofs that were used.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

use model::{Actor, DeviceId};
use sha2::{Digest, Sha256};

use super::Proof;
use super::proof::WINDOW;

/// The numbers of proofs that were used, for as long as these could be used again.
///
/// Its memory is bounded: a proof that cannot be remembered counts as one that was seen. One
/// device can fill a sixteenth of it at most and one operator's devices a quarter, so that they lock
/// out nobody but themselves. What was used before the cache was made it cannot know: a server refuses proofs from before its own start.
pub struct ReplayCache {
    capacity: usize,
    per_device: usize,
    per_operator: usize,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// A clock that is set back brings no old proof back.
    latest: i64,
    numbers: HashSet<[u8; 32]>,
    by_end: BTreeMap<i64, Vec<Used>>,
    of_device: HashMap<DeviceId, usize>,
    of_operator: HashMap<Operator, usize>,
}

/// An operator, in few bytes: there are many of them.
type Operator = [u8; 16];

struct Used {
    number: [u8; 32],
    device: DeviceId,
    operator: Operator,
}

impl Default for ReplayCache {
    /// Room for some 2,000 proofs in each second: about 30 MiB when it is full.
    fn default() -> Self {
        Self::new(1 << 18)
    }
}

impl ReplayCache {
    /// A cache of at most so many proofs.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            per_device: (capacity / 16).max(1),
            per_operator: (capacity / 4).max(1),
            seen: Mutex::default(),
        }
    }

    /// Whether the proof was used before, or cannot be remembered. It is remembered now, on the
    /// account of its device and of the operator for whom the device acts.
    pub fn seen(&self, proof: &Proof, operator: &Actor, now: i64) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.forget_ended(now);
        let end = proof.iat.saturating_add(WINDOW);
        if end < seen.latest {
            return true;
        }
        let used = Used::of(proof, operator);
        if seen.numbers.contains(&used.number) || !seen.has_room(self, &used) {
            return true;
        }
        seen.remember(used, end);
        false
    }
}

impl Seen {
    fn has_room(&self, cache: &ReplayCache, used: &Used) -> bool {
        let of_device = self.of_device.get(&used.device).copied().unwrap_or(0);
        let of_operator = self.of_operator.get(&used.operator).copied().unwrap_or(0);
        self.numbers.len() < cache.capacity
            && of_device < cache.per_device
            && of_operator < cache.per_operator
    }

    fn remember(&mut self, used: Used, end: i64) {
        self.numbers.insert(used.number);
        *self.of_device.entry(used.device).or_default() += 1;
        *self.of_operator.entry(used.operator).or_default() += 1;
        self.by_end.entry(end).or_default().push(used);
    }

    fn forget_ended(&mut self, now: i64) {
        self.latest = self.latest.max(now);
        while let Some(entry) = self.by_end.first_entry() {
            if *entry.key() >= self.latest {
                break;
            }
            for used in entry.remove() {
                self.numbers.remove(&used.number);
                one_less(&mut self.of_device, used.device);
                one_less(&mut self.of_operator, used.operator);
            }
        }
    }
}

impl Used {
    fn of(proof: &Proof, operator: &Actor) -> Self {
        let mut number = Sha256::new();
        number.update(proof.device.as_bytes());
        number.update(proof.jti.as_bytes());
        let mut short = Operator::default();
        short.copy_from_slice(&Sha256::digest(operator.as_str())[..16]);
        Self {
            number: number.finalize().into(),
            device: proof.device,
            operator: short,
        }
    }
}

fn one_less<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: K) {
    if let Entry::Occupied(mut count) = counts.entry(key) {
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{DeviceKey, PublicKey, SignEs256};

    const NOW: i64 = 1_800_000_000;

    fn device() -> PublicKey {
        DeviceKey::generate().unwrap().public_jwk().clone()
    }

    fn ada() -> Actor {
        operator("ada")
    }

    fn operator(name: &str) -> Actor {
        Actor::from_oidc("https://people.example", name).unwrap()
    }

    fn proof(key: &PublicKey, jti: &str, iat: i64) -> Proof {
        Proof {
            device: key.thumbprint(),
            jti: jti.into(),
            iat,
            key: key.clone(),
        }
    }

    #[test]
    fn a_number_is_taken_once_by_each_device() {
        let (cache, first, second) = (ReplayCache::default(), device(), device());
        assert!(!cache.seen(&proof(&first, "a", NOW), &ada(), NOW));
        assert!(cache.seen(&proof(&first, "a", NOW), &ada(), NOW));
        // Not by another time either.
        assert!(cache.seen(&proof(&first, "a", NOW + 1), &ada(), NOW));
        assert!(!cache.seen(&proof(&first, "b", NOW), &ada(), NOW));
        assert!(!cache.seen(&proof(&second, "a", NOW), &ada(), NOW));
    }

    #[test]
    fn a_number_is_known_for_as_long_as_its_proof_could_count() {
        let (cache, key) = (ReplayCache::default(), device());
        // From a clock that is a minute ahead: it counts for two minutes.
        let early = proof(&key, "a", NOW + WINDOW);
        assert!(!cache.seen(&early, &ada(), NOW));
        assert!(cache.seen(&early, &ada(), NOW + 2 * WINDOW));
        assert_eq!(cache.seen.lock().unwrap().numbers.len(), 1);
        assert!(!cache.seen(&proof(&key, "b", NOW + 121), &ada(), NOW + 121));
        let seen = cache.seen.lock().unwrap();
        assert_eq!((seen.numbers.len(), seen.by_end.len()), (1, 1));
        assert_eq!(seen.of_device[&key.thumbprint()], 1);
    }

    #[test]
    fn a_clock_that_is_set_back_brings_no_proof_back() {
        let (cache, key) = (ReplayCache::default(), device());
        let old = proof(&key, "a", NOW);
        assert!(!cache.seen(&old, &ada(), NOW));
        assert!(!cache.seen(&proof(&key, "b", NOW + 500), &ada(), NOW + 500));
        assert!(cache.seen(&old, &ada(), NOW));
    }

    #[test]
    fn a_full_cache_refuses_and_has_room_again_later() {
        let cache = ReplayCache::new(32);
        let devices: Vec<_> = (0..17).map(|_| device()).collect();
        let whose = |n: usize| operator(&format!("operator-{}", n / 4));
        for (n, key) in devices[..16].iter().enumerate() {
            assert!(!cache.seen(&proof(key, "a", NOW), &whose(n), NOW));
            assert!(!cache.seen(&proof(key, "b", NOW), &whose(n), NOW));
            // Its sixteenth is full, and only its own.
            assert!(cache.seen(&proof(key, "c", NOW), &whose(n), NOW));
        }
        assert!(cache.seen(&proof(&devices[16], "a", NOW), &whose(16), NOW));
        let later = NOW + WINDOW + 1;
        assert!(!cache.seen(&proof(&devices[16], "a", later), &whose(16), later));
        assert!(!cache.seen(&proof(&devices[0], "c", later), &whose(0), later));
    }

    #[test]
    fn an_operator_of_many_devices_locks_out_nobody_else() {
        let cache = ReplayCache::new(64);
        let taken = (0..64).filter(|n| {
            let key = device();
            !cache.seen(&proof(&key, &n.to_string(), NOW), &ada(), NOW)
        });
        assert_eq!(taken.count(), 16, "a quarter, however many the devices");
        let key = device();
        assert!(!cache.seen(&proof(&key, "a", NOW), &operator("eve"), NOW));
        let later = NOW + WINDOW + 1;
        assert!(!cache.seen(&proof(&key, "b", later), &ada(), later));
        let seen = cache.seen.lock().unwrap();
        assert_eq!((seen.of_device.len(), seen.of_operator.len()), (1, 1));
    }
}
