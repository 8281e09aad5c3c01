//! How far transfers are, for whoever wants to show it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bucket::Meter;
use parking_lot::Mutex;

/// What is to be moved and what has been. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    sum: Sum,
    moving: BTreeMap<u64, (Meter, u64)>,
    next: u64,
}

/// How much of how much.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Sum {
    /// Files that are to be moved.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that were moved.
    pub done_files: u64,
    /// Bytes that were moved, those of files under way included.
    pub done_bytes: u64,
}

/// A file on its way. What was not said to be whole when this is dropped does not count.
#[derive(Debug)]
pub struct Moving {
    progress: Progress,
    id: u64,
    meter: Meter,
}

impl Progress {
    /// How far it is now.
    pub fn sum(&self) -> Sum {
        let counts = self.0.lock();
        let moving = counts.moving.values();
        // What was sent twice was moved once.
        let moving = moving.map(|(meter, size)| meter.bytes().min(*size));
        let moving = moving.fold(0, u64::saturating_add);
        Sum {
            done_bytes: counts.sum.done_bytes.saturating_add(moving),
            ..counts.sum
        }
    }

    /// So much more is to be moved.
    pub(crate) fn plan(&self, files: u64, bytes: u64) {
        let mut counts = self.0.lock();
        counts.sum.files += files;
        counts.sum.bytes = counts.sum.bytes.saturating_add(bytes);
    }

    /// A file begins to move.
    pub(crate) fn begin(&self, size: u64) -> Moving {
        let mut counts = self.0.lock();
        counts.next += 1;
        let (id, meter) = (counts.next, Meter::default());
        counts.moving.insert(id, (meter.clone(), size));
        Moving {
            progress: self.clone(),
            id,
            meter,
        }
    }
}

impl Moving {
    /// Where its bytes are counted.
    pub(crate) fn meter(&self) -> &Meter {
        &self.meter
    }

    /// It is whole.
    pub(crate) fn end(self) {
        let mut counts = self.progress.0.lock();
        if let Some((_, size)) = counts.moving.remove(&self.id) {
            counts.sum.done_files += 1;
            counts.sum.done_bytes = counts.sum.done_bytes.saturating_add(size);
        }
    }
}

impl Drop for Moving {
    fn drop(&mut self) {
        self.progress.0.lock().moving.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_twice_counts_once_and_what_fails_not_at_all() {
        let progress = Progress::default();
        progress.plan(2, 30);
        let (first, second) = (progress.begin(10), progress.begin(20));
        first.meter().add(15);
        second.meter().add(7);
        assert_eq!(progress.sum().done_bytes, 17);
        first.end();
        drop(second);
        let sum = Sum {
            files: 2,
            bytes: 30,
            done_files: 1,
            done_bytes: 10,
        };
        assert_eq!(progress.sum(), sum);
    }
}
