//! The numbered steps of a pass: the places between two effects where it may be cut off.

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
