//! The numbered steps of a pass: the places between two effects where it may be cut off.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;

/// Told of every step. Between two steps there is at most one effect on one side.
#[async_trait]
pub trait Steps: Send + Sync + 'static {
    /// A step is reached; an error ends the pass there as a crash would.
    ///
    /// # Errors
    /// [`Halted`], where the pass shall end.
    async fn reached(&self, step: &'static str) -> Result<(), Halted>;
}

/// The pass was told to end at this step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("halted at {0}")]
pub struct Halted(pub &'static str);

/// Goes on at every step.
#[derive(Debug, Clone, Copy, Default)]
pub struct GoOn;

#[async_trait]
impl Steps for GoOn {
    async fn reached(&self, _: &'static str) -> Result<(), Halted> {
        Ok(())
    }
}

/// Ends the pass at the next step, once it was asked to.
pub struct Until {
    inner: Arc<dyn Steps>,
    asked: AtomicBool,
}

impl Until {
    /// Around other steps.
    pub fn new(inner: Arc<dyn Steps>) -> Self {
        Self {
            inner,
            asked: AtomicBool::new(false),
        }
    }

    /// Asks it to end.
    pub fn ask(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }
}

#[async_trait]
impl Steps for Until {
    async fn reached(&self, step: &'static str) -> Result<(), Halted> {
        self.inner.reached(step).await?;
        match self.asked.load(Ordering::Relaxed) {
            true => Err(Halted(step)),
            false => Ok(()),
        }
    }
}

/// Kills the process at a step, counted from 0, as `kill -9` does: for tests of the program.
#[derive(Debug)]
pub struct KillAt {
    step: u64,
    reached: AtomicU64,
}

impl KillAt {
    /// At this step.
    pub fn new(step: u64) -> Self {
        Self {
            step,
            reached: AtomicU64::new(0),
        }
    }
}

#[async_trait]
impl Steps for KillAt {
    async fn reached(&self, step: &'static str) -> Result<(), Halted> {
        if self.reached.fetch_add(1, Ordering::Relaxed) == self.step {
            let this = rustix::process::getpid();
            let _ = rustix::process::kill_process(this, rustix::process::Signal::KILL);
            return Err(Halted(step));
        }
        Ok(())
    }
}
