//! Back-pressure: who writes waits while too much waits for the bucket, and after a while gets
//! "no space". What was accepted is never dropped.

use std::time::Duration;

use crate::clock::Stamp;
use crate::core::{Core, State};
use crate::pending::Want;
use crate::status::Health;
use crate::{FsError, Ino};

/// How long a writer waits while nothing goes up.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a writer that waits looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// What waits is counted through at most this often.
const COUNT_EVERY: Duration = Duration::from_millis(50);

impl Core {
    /// Waits until something new may be begun; with the bucket away there is nothing to wait
    /// for.
    pub(crate) async fn room(&self) -> Result<(), FsError> {
        self.room_to_record()?;
        self.room_beside(None).await
    }

    /// Waits until more may be written to a file that is open. It does not wait for its own
    /// bytes, which cannot go up before it was left alone for a while; but with the bucket
    /// away they count like all others.
    pub(crate) async fn room_to_write(&self, ino: Ino) -> Result<(), FsError> {
        self.room_beside(Some(ino)).await
    }

    async fn room_beside(&self, writing: Option<Ino>) -> Result<(), FsError> {
        let mut moved = Stamp::now();
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            {
                let mut state = self.state();
                if !self.is_full(&mut state, writing) {
                    return Ok(());
                }
                match state.report.health {
                    Some(Health::Offline) => return Err(FsError::NoSpace),
                    Some(Health::Ok) if state.pending.running() > 0 => moved = Stamp::now(),
                    _ if moved.age() > PATIENCE => return Err(FsError::NoSpace),
                    _ => {}
                }
            }
            self.wake.notify_one();
            let _ = tokio::time::timeout(LOOK_AGAIN, ended).await;
        }
    }

    fn is_full(&self, state: &mut State, writing: Option<Ino>) -> bool {
        let (bytes, files) = (self.settings.dirty_limit(), self.settings.dirty_files);
        let near = |state: &State| {
            writing.is_none() && state.pending.len() >= files || state.report.waiting_bytes >= bytes
        };
        if !near(state) {
            return false;
        }
        if state
            .report
            .counted
            .is_none_or(|counted| counted.age() > COUNT_EVERY)
        {
            state.count_waiting();
        }
        let own = writing
            .filter(|_| state.report.health != Some(Health::Offline))
            .and_then(|ino| state.tree.node(ino).ok())
            .map_or(0, |node| node.size);
        writing.is_none() && state.pending.len() >= files
            || state.report.waiting_bytes.saturating_sub(own) >= bytes
    }

    /// A kernel writes to what it was given without telling us.
    pub(crate) fn refresh_writers(&self, state: &mut State) {
        let writing: Vec<Ino> = state
            .pending
            .iter()
            .filter_map(|(_, op)| match op.want {
                Want::Put { ino } => Some(ino),
                _ => None,
            })
            .filter(|ino| state.tree.node(*ino).is_ok_and(|node| node.writers > 0))
            .collect();
        for ino in writing {
            self.refresh_written(state, ino);
        }
    }
}

impl State {
    /// Counts the bytes that wait for upload.
    pub(crate) fn count_waiting(&mut self) {
        self.report.waiting_bytes = self.waiting().1;
        self.report.counted = Some(Stamp::now());
    }
}
