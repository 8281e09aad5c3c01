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
/// device can fill a sixteenth of it at most, so that it locks out nobody but itself.
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
        seen.numbers.insert(number);
        seen.by_end
            .entry(end)
            .or_default()
            .push((proof.device, number));
        *seen.of_device.entry(proof.device).or_default() += 1;
        false
    }
}

impl Seen {
    fn has_room(&self, cache: &ReplayCache, device: &DeviceId) -> bool {
        let of_device = self.of_device.get(device).copied().unwrap_or(0);
        self.numbers.len() < cache.capacity && of_device < cache.per_device
    }

    fn forget_ended(&mut self, now: i64) {
        self.latest = self.latest.max(now);
        while let Some(entry) = self.by_end.first_entry() {
            if *entry.key() >= self.latest {
                break;
            }
            for (device, number) in entry.remove() {
                self.numbers.remove(&number);
                if let Some(count) = self.of_device.get_mut(&device) {
                    *count -= 1;
                    if *count == 0 {
                        self.of_device.remove(&device);
                    }
                }
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
