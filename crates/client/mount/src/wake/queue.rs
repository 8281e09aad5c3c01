//! Changes that programs have not been told of yet: each once, and no more than a bound.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use filesystem::{Change, Ino};
use parking_lot::{Condvar, Mutex};

use super::Wake;

/// Changes that wait. inotify itself keeps no more than 16,384 events for a program
/// (`max_queued_events`), and a new file is four.
const MOST: usize = 4096;
/// How long a pause waits for the helper to be gone.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is to be done next.
pub(super) enum Work {
    Wake(Wake),
    /// There was nothing for as long as one wanted to wait.
    Nothing,
    /// Let go of the folder altogether, then say [`Queue::at_rest`].
    Pause,
    End,
}

/// The queue between those who notice and the thread that tells.
#[derive(Default)]
pub(crate) struct Queue {
    inner: Mutex<Inner>,
    moved: Condvar,
}

#[derive(Default)]
struct Inner {
    waiting: VecDeque<Wake>,
    known: HashSet<Known>,
    crowded: HashSet<Ino>,
    refused_until: Option<Instant>,
    mode: Mode,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Nobody takes anything out, yet or any more.
    #[default]
    Closed,
    Open,
    Pausing,
    Paused,
}

/// What is told once however often it happened.
#[derive(PartialEq, Eq, Hash)]
enum Known {
    Changed(Ino, bool),
    Appeared(Ino, String),
}

impl Queue {
    /// Begins to take changes: somebody will take them out.
    pub(super) fn open(&self) {
        self.inner.lock().mode = Mode::Open;
    }

    /// Adds a change in `directory`; `false` when there is no room for it by itself: then
    /// the directory as a whole is told of.
    pub(crate) fn put(&self, wake: Wake, directory: Ino) -> bool {
        let mut inner = self.inner.lock();
        if inner.is_refused() {
            return false;
        }
        let room = inner.waiting.len() < MOST;
        if !room {
            inner.crowded.insert(directory);
        } else if known(&wake).is_none_or(|known| inner.known.insert(known)) {
            inner.waiting.push_back(wake);
        }
        self.moved.notify_all();
        room
    }

    /// What is next, at the latest after `patience`.
    pub(super) fn next(&self, patience: Duration) -> Work {
        let until = Instant::now().checked_add(patience);
        let mut inner = self.inner.lock();
        loop {
            match inner.mode {
                Mode::Closed => return Work::End,
                Mode::Pausing => return Work::Pause,
                Mode::Paused => {}
                Mode::Open => {
                    if let Some(wake) = inner.take() {
                        return Work::Wake(wake);
                    }
                }
            }
            let late = match until {
                Some(until) => self.moved.wait_until(&mut inner, until).timed_out(),
                None => {
                    self.moved.wait(&mut inner);
                    false
                }
            };
            if late && inner.mode == Mode::Open && inner.waiting.is_empty() {
                return Work::Nothing;
            }
        }
    }

    /// Takes nothing more for a while, and forgets what waits.
    pub(super) fn refuse_for(&self, while_: Duration) {
        let mut inner = self.inner.lock();
        inner.clear();
        inner.refused_until = Instant::now().checked_add(while_);
    }

    /// Returns when the helper is gone from the folder and will not come back before
    /// [`Self::resume`]; `kill` ends it at once.
    pub(crate) fn pause(&self, kill: impl FnOnce()) {
        let until = Instant::now() + PATIENCE;
        let mut inner = self.inner.lock();
        if inner.mode != Mode::Open {
            return;
        }
        inner.mode = Mode::Pausing;
        self.moved.notify_all();
        kill();
        while inner.mode == Mode::Pausing {
            // Somebody who keeps a directory locked keeps the helper from ending.
            if self.moved.wait_until(&mut inner, until).timed_out() {
                return;
            }
        }
    }

    pub(super) fn at_rest(&self) {
        let mut inner = self.inner.lock();
        if inner.mode == Mode::Pausing {
            inner.mode = Mode::Paused;
        }
        self.moved.notify_all();
    }

    /// Goes on after a pause.
    pub(crate) fn resume(&self) {
        let mut inner = self.inner.lock();
        if inner.mode != Mode::Closed {
            inner.mode = Mode::Open;
        }
        self.moved.notify_all();
    }

    /// Ends the thread that tells.
    pub(crate) fn end(&self) {
        let mut inner = self.inner.lock();
        inner.mode = Mode::Closed;
        inner.clear();
        self.moved.notify_all();
    }
}

impl Inner {
    fn is_refused(&mut self) -> bool {
        if self.mode == Mode::Closed {
            return true;
        }
        self.refused_until.take_if(|until| *until <= Instant::now());
        self.refused_until.is_some()
    }

    fn take(&mut self) -> Option<Wake> {
        if let Some(wake) = self.waiting.pop_front() {
            if let Some(known) = known(&wake) {
                self.known.remove(&known);
            }
            return Some(wake);
        }
        let directory = *self.crowded.iter().next()?;
        self.crowded.remove(&directory);
        Some(Wake::Crowded(directory))
    }

    fn clear(&mut self) {
        self.waiting.clear();
        self.known.clear();
        self.crowded.clear();
    }
}

fn known(wake: &Wake) -> Option<Known> {
    match wake {
        Wake::Changed(ino, change) => Some(Known::Changed(*ino, *change == Change::Content)),
        Wake::Appeared(parent, name) => Some(Known::Appeared(*parent, name.clone())),
        Wake::Removed(_) | Wake::Crowded(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> Queue {
        let queue = Queue::default();
        queue.open();
        queue
    }

    fn taken(queue: &Queue) -> Vec<Wake> {
        let mut all = Vec::new();
        while let Work::Wake(wake) = queue.next(Duration::ZERO) {
            all.push(wake);
        }
        all
    }

    #[test]
    fn what_happens_twice_is_told_once() {
        let queue = open();
        for _ in 0..3 {
            queue.put(Wake::Changed(7, Change::Content), 1);
            queue.put(Wake::Appeared(1, "a".into()), 1);
        }
        let first = [
            Wake::Changed(7, Change::Content),
            Wake::Appeared(1, "a".into()),
        ];
        assert_eq!(taken(&queue), first);
        queue.put(Wake::Changed(7, Change::Content), 1);
        assert_eq!(taken(&queue).len(), 1, "told again after it was told");
    }

    #[test]
    fn what_finds_no_room_is_told_of_its_directory_once() {
        let queue = open();
        for ino in 0..2 * MOST as u64 {
            let room = queue.put(Wake::Changed(ino, Change::Content), 5);
            assert_eq!(room, ino < MOST as u64);
        }
        let all = taken(&queue);
        assert_eq!(all.len(), MOST + 1);
        assert_eq!(all.last(), Some(&Wake::Crowded(5)));
    }

    #[test]
    fn nothing_is_handed_out_while_paused_or_after_the_end() {
        let queue = std::sync::Arc::new(open());
        queue.put(Wake::Appeared(1, "a".into()), 1);
        let teller = {
            let queue = std::sync::Arc::clone(&queue);
            std::thread::spawn(move || {
                while !matches!(queue.next(Duration::MAX), Work::Pause) {}
                queue.at_rest();
                matches!(queue.next(Duration::MAX), Work::Wake(_))
            })
        };
        let mut killed = false;
        queue.pause(|| killed = true);
        assert!(killed);
        queue.put(Wake::Appeared(1, "b".into()), 1);
        std::thread::sleep(Duration::from_millis(20));
        assert!(!teller.is_finished());
        queue.resume();
        assert!(teller.join().expect("ended"));
        queue.end();
        queue.resume();
        assert!(!queue.put(Wake::Appeared(1, "c".into()), 1));
        assert!(matches!(queue.next(Duration::ZERO), Work::End));
    }
}
