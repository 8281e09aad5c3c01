//! Proofs that were used.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use model::DeviceId;
use sha2::{Digest, Sha256};

use super::Proof;
use super::proof::WINDOW;

/// The numbers of proofs that were used, for as long as these could be used again.
///
/// Its memory is bounded: a proof that cannot be remembered counts as one that was seen. One
/// device can fill a sixteenth of it at most, so that it locks out nobody but itself. What was used
/// before the cache was made it cannot know: a server refuses proofs from before its own start.
pub struct ReplayCache {
    capacity: usize,
    per_device: usize,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// A clock that is set back brings no old proof back.
    latest: i64,
    numbers: HashSet<[u8; 32]>,
    by_end: BTreeMap<i64, Vec<(DeviceId, [u8; 32])>>,
    of_device: HashMap<DeviceId, usize>,
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
            seen: Mutex::default(),
        }
    }

    /// Whether the proof was used before, or cannot be remembered. It is remembered now.
    pub fn seen(&self, proof: &Proof, now: i64) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.forget_ended(now);
        let end = proof.iat.saturating_add(WINDOW);
        if end < seen.latest {
            return true;
        }
        let number = number(proof);
        if seen.numbers.contains(&number) || !seen.has_room(self, &proof.device) {
            return true;
        }
        seen.remember(proof.device, number, end);
        false
    }
}

impl Seen {
    fn has_room(&self, cache: &ReplayCache, device: &DeviceId) -> bool {
        let of_device = self.of_device.get(device).copied().unwrap_or(0);
        self.numbers.len() < cache.capacity && of_device < cache.per_device
    }

    fn remember(&mut self, device: DeviceId, number: [u8; 32], end: i64) {
        self.numbers.insert(number);
        let ending = self.by_end.entry(end).or_default();
        ending.push((device, number));
        *self.of_device.entry(device).or_default() += 1;
    }

    fn forget_ended(&mut self, now: i64) {
        self.latest = self.latest.max(now);
        while let Some(entry) = self.by_end.first_entry() {
            if *entry.key() >= self.latest {
                break;
            }
            for (device, number) in entry.remove() {
                self.forget(device, number);
            }
        }
    }

    fn forget(&mut self, device: DeviceId, number: [u8; 32]) {
        self.numbers.remove(&number);
        if let Some(count) = self.of_device.get_mut(&device) {
            *count -= 1;
            if *count == 0 {
                self.of_device.remove(&device);
            }
        }
    }
}

fn number(proof: &Proof) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(proof.device.as_bytes());
    hash.update(proof.jti.as_bytes());
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{DeviceKey, PublicKey, SignEs256};

    const NOW: i64 = 1_800_000_000;

    fn device() -> PublicKey {
        DeviceKey::generate().unwrap().public_jwk().clone()
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
        assert!(!cache.seen(&proof(&first, "a", NOW), NOW));
        assert!(cache.seen(&proof(&first, "a", NOW), NOW));
        // Not by another time either.
        assert!(cache.seen(&proof(&first, "a", NOW + 1), NOW));
        assert!(!cache.seen(&proof(&first, "b", NOW), NOW));
        assert!(!cache.seen(&proof(&second, "a", NOW), NOW));
    }

    #[test]
    fn a_number_is_known_for_as_long_as_its_proof_could_count() {
        let (cache, key) = (ReplayCache::default(), device());
        // From a clock that is a minute ahead: it counts for two minutes.
        let early = proof(&key, "a", NOW + WINDOW);
        assert!(!cache.seen(&early, NOW));
        assert!(cache.seen(&early, NOW + 2 * WINDOW));
        assert_eq!(cache.seen.lock().unwrap().numbers.len(), 1);
        assert!(!cache.seen(&proof(&key, "b", NOW + 121), NOW + 121));
        let seen = cache.seen.lock().unwrap();
        assert_eq!((seen.numbers.len(), seen.by_end.len()), (1, 1));
        assert_eq!(seen.of_device[&key.thumbprint()], 1);
    }

    #[test]
    fn a_clock_that_is_set_back_brings_no_proof_back() {
        let (cache, key) = (ReplayCache::default(), device());
        let old = proof(&key, "a", NOW);
        assert!(!cache.seen(&old, NOW));
        assert!(!cache.seen(&proof(&key, "b", NOW + 500), NOW + 500));
        assert!(cache.seen(&old, NOW));
    }

    #[test]
    fn a_full_cache_refuses_and_has_room_again_later() {
        let cache = ReplayCache::new(32);
        let devices: Vec<_> = (0..17).map(|_| device()).collect();
        for key in &devices[..16] {
            assert!(!cache.seen(&proof(key, "a", NOW), NOW));
            assert!(!cache.seen(&proof(key, "b", NOW), NOW));
            // Its sixteenth is full, and only its own.
            assert!(cache.seen(&proof(key, "c", NOW), NOW));
        }
        assert!(cache.seen(&proof(&devices[16], "a", NOW), NOW));
        let later = NOW + WINDOW + 1;
        assert!(!cache.seen(&proof(&devices[16], "a", later), later));
        assert!(!cache.seen(&proof(&devices[0], "c", later), later));
    }
}
