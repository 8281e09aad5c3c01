//! Whether the broker is there, judged by what its stream says, heartbeats included.

use std::time::Duration;

use model::Actor;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How fast time passes for the daemon: tests let it run.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// The broker says something every 15 seconds; so long a silence means that it is gone, or
    /// the way to it.
    pub silence: Duration,
    /// The first pause before a stream is begun anew.
    pub first_pause: Duration,
    /// The longest one.
    pub longest_pause: Duration,
    /// A stream that lasted so long was a good one.
    pub good: Duration,
    /// A capability is given up so long before its end, so that none ends on its way.
    pub margin: Duration,
    /// What a broker calls a second.
    pub second: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            silence: Duration::from_secs(45),
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(5),
            good: Duration::from_secs(10),
            margin: Duration::from_secs(5),
            second: Duration::from_secs(1),
        }
    }
}

impl Pace {
    /// The same, so many times as fast.
    #[must_use]
    pub fn faster(self, times: u32) -> Self {
        Self {
            silence: self.silence / times,
            first_pause: self.first_pause / times,
            longest_pause: self.longest_pause / times,
            good: self.good / times,
            margin: self.margin / times,
            second: self.second / times,
        }
    }
}

/// What is known of the stream.
pub struct Liveness {
    pace: Pace,
    state: Mutex<State>,
    wanted: Notify,
}

#[derive(Default)]
struct State {
    is_open: bool,
    heard: Option<Instant>,
    trouble: Option<String>,
    last: Option<(Actor, String)>,
}

impl Liveness {
    /// Nothing is known yet.
    pub fn new(pace: Pace) -> Self {
        Self {
            pace,
            state: Mutex::default(),
            wanted: Notify::new(),
        }
    }

    /// Somebody asks for something: a stream that does not stand is begun anew soon, so that what
    /// happened meanwhile counts for them.
    pub(crate) fn nudge(&self) {
        if !self.state.lock().is_open {
            self.wanted.notify_one();
        }
    }

    /// Returns once somebody has asked for something.
    pub(crate) async fn nudged(&self) {
        self.wanted.notified().await;
    }

    pub(crate) fn pace(&self) -> Pace {
        self.pace
    }

    /// The stream stands.
    pub(crate) fn opened(&self) {
        let mut state = self.state.lock();
        state.is_open = true;
        state.trouble = None;
        state.heard = Some(Instant::now());
    }

    /// Something came, if only a heartbeat.
    pub(crate) fn heard(&self) {
        self.state.lock().heard = Some(Instant::now());
    }

    /// An event of an operator was taken in.
    pub(crate) fn took(&self, operator: &Actor, id: String) {
        self.state.lock().last = Some((operator.clone(), id));
    }

    /// The stream ended.
    pub(crate) fn broke(&self, why: String) {
        let mut state = self.state.lock();
        state.is_open = false;
        state.trouble = Some(why);
    }

    /// Whether the stream stands and was heard of lately.
    pub fn is_connected(&self) -> bool {
        let state = self.state.lock();
        let lately = state
            .heard
            .is_some_and(|heard| heard.elapsed() < self.pace.silence);
        state.is_open && lately
    }

    /// Why not, if not.
    pub fn trouble(&self) -> Option<String> {
        self.state.lock().trouble.clone()
    }

    /// How long ago something was heard.
    pub fn silent_for(&self) -> Option<Duration> {
        self.state.lock().heard.map(|heard| heard.elapsed())
    }

    /// The last event of this operator that was taken in.
    pub fn last_event(&self, operator: &Actor) -> Option<String> {
        let state = self.state.lock();
        let last = state.last.as_ref().filter(|(of, _)| of == operator);
        last.map(|(_, id)| id.clone())
    }
}
