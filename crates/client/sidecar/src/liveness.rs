//! Whether the broker is there, judged by what its stream says, heartbeats included.

use std::time::Duration;

use model::Actor;
use parking_lot::Mutex;
use tokio::time::Instant;

/// The broker says something every 15 seconds; so long a silence means that it is gone, or the
/// way to it.
pub const SILENCE: Duration = Duration::from_secs(45);

/// What is known of the stream.
#[derive(Default)]
pub struct Liveness(Mutex<State>);

#[derive(Default)]
struct State {
    is_open: bool,
    heard: Option<Instant>,
    trouble: Option<String>,
    last: Option<(Actor, String)>,
}

impl Liveness {
    /// The stream stands.
    pub(crate) fn opened(&self) {
        let mut state = self.0.lock();
        state.is_open = true;
        state.trouble = None;
        state.heard = Some(Instant::now());
    }

    /// Something came, if only a heartbeat.
    pub(crate) fn heard(&self) {
        self.0.lock().heard = Some(Instant::now());
    }

    /// An event of an operator was taken in.
    pub(crate) fn took(&self, operator: &Actor, id: String) {
        self.0.lock().last = Some((operator.clone(), id));
    }

    /// The stream ended.
    pub(crate) fn broke(&self, why: String) {
        let mut state = self.0.lock();
        state.is_open = false;
        state.trouble = Some(why);
    }

    /// Whether the stream stands and was heard of lately.
    pub fn is_connected(&self) -> bool {
        let state = self.0.lock();
        let lately = state.heard.is_some_and(|heard| heard.elapsed() < SILENCE);
        state.is_open && lately
    }

    /// Why not, if not.
    pub fn trouble(&self) -> Option<String> {
        self.0.lock().trouble.clone()
    }

    /// How long ago something was heard.
    pub fn silent_for(&self) -> Option<Duration> {
        self.0.lock().heard.map(|heard| heard.elapsed())
    }

    /// The last event of this operator that was taken in.
    pub fn last_event(&self, operator: &Actor) -> Option<String> {
        let state = self.0.lock();
        let last = state.last.as_ref().filter(|(of, _)| of == operator);
        last.map(|(_, id)| id.clone())
    }
}
