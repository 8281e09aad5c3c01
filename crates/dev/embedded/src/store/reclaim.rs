//! When a body's file may go: after the last reader that could still be sending it.
//!
//! Readers hold the *era* in which they looked the body up. Files that a commit freed are
//! attached to the current era, and a new one begins; an era keeps the next one alive, so
//! files freed at any time after a reader began stay until that reader is done. The whole
//! costs a reader one reference count.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

/// Held by a reader for as long as it may open body files.
#[derive(Clone)]
pub(crate) struct Reading(#[allow(dead_code, reason = "held, never read")] Arc<Era>);

/// Hands out [`Reading`]s and removes files when no reader can need them.
pub(crate) struct Reclaimer {
    current: Mutex<Arc<Era>>,
}

#[derive(Default)]
struct Era {
    doomed: OnceLock<Vec<PathBuf>>,
    next: OnceLock<Arc<Era>>,
}

impl Reclaimer {
    pub(crate) fn new() -> Self {
        Self {
            current: Mutex::new(Arc::default()),
        }
    }

    /// To be called before the index is asked which files make up a body.
    pub(crate) fn reading(&self) -> Reading {
        Reading(Arc::clone(&self.current.lock()))
    }

    /// Removes files that no row names any more (the commit that freed them is done).
    pub(crate) fn free(&self, files: Vec<PathBuf>) {
        if files.is_empty() {
            return;
        }
        let next = Arc::new(Era::default());
        let mut current = self.current.lock();
        let past = std::mem::replace(&mut *current, Arc::clone(&next));
        drop(current);
        // Only this thread ends this era: both cells are still empty.
        let _ = past.doomed.set(files);
        let _ = past.next.set(next);
    }
}

impl Drop for Era {
    /// Removes this era's files, then those of the following eras that only this one kept:
    /// in a loop, because a slow reader may have kept thousands.
    fn drop(&mut self) {
        remove(self.doomed.take());
        let mut next = self.next.take();
        while let Some(mut era) = next.and_then(Arc::into_inner) {
            remove(era.doomed.take());
            next = era.next.take();
        }
    }
}

fn remove(files: Option<Vec<PathBuf>>) {
    for file in files.into_iter().flatten() {
        // What cannot be removed now is an orphan, swept at the next start.
        if let Err(error) = std::fs::remove_file(&file) {
            tracing::warn!(file = %file.display(), %error, "a body could not be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(folder: &tempfile::TempDir, name: &str) -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, name).unwrap();
        path
    }

    #[test]
    fn goes_at_once_when_nobody_reads() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(&folder, "a");
        Reclaimer::new().free(vec![path.clone()]);
        assert!(!path.exists());
    }

    #[test]
    fn stays_while_an_earlier_reader_is_busy() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (file(&folder, "a"), file(&folder, "b"));
        let reclaimer = Reclaimer::new();
        let slow = reclaimer.reading();
        reclaimer.free(vec![a.clone()]);
        let quick = reclaimer.reading();
        reclaimer.free(vec![b.clone()]);
        drop(quick);
        assert!(
            a.exists() && b.exists(),
            "the slow reader began before either was freed"
        );
        drop(slow);
        assert!(!a.exists() && !b.exists());
    }

    #[test]
    fn a_later_reader_keeps_only_what_was_freed_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (file(&folder, "a"), file(&folder, "b"));
        let reclaimer = Reclaimer::new();
        reclaimer.free(vec![a.clone()]);
        let reader = reclaimer.reading();
        reclaimer.free(vec![b.clone()]);
        assert!(!a.exists() && b.exists());
        drop(reader);
        assert!(!b.exists());
    }

    #[test]
    fn thousands_of_eras_end_without_deep_recursion() {
        let reclaimer = Reclaimer::new();
        let slow = reclaimer.reading();
        for _ in 0..100_000 {
            reclaimer.free(vec![PathBuf::from("/nonexistent/body")]);
        }
        drop(slow);
    }
}
