//! What goes wrong in the middle of a pass.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use sync::steps::{Halted, Steps};

use super::World;

/// Lets users work while a pass runs, other passes go on in between, and the pass end as in a
/// crash.
pub(crate) struct Chaos {
    pub(crate) world: Arc<World>,
    pub(crate) client: usize,
    /// The step at which the process is killed.
    pub(crate) crash_at: Option<u64>,
    pub(crate) count: AtomicU64,
    /// How busy users are, in percent of the steps.
    pub(crate) busy: u64,
}

#[async_trait]
impl Steps for Chaos {
    async fn reached(&self, step: &'static str) -> Result<(), Halted> {
        let n = self.count.fetch_add(1, Ordering::Relaxed);
        self.world
            .note(format!("client {} reaches {n}: {step}", self.client));
        if self.crash_at == Some(n) {
            self.world.note(format!("client {} crashes", self.client));
            return Err(Halted(step));
        }
        let (works, who, yields) = {
            let mut inner = self.world.inner.lock();
            let works = inner.dice.chance(self.busy);
            let who = match inner.dice.chance(70) {
                true => self.client,
                false => inner.dice.below(self.world.clients.len()),
            };
            (works, who, inner.dice.below(4))
        };
        if works {
            self.world.user(who);
        }
        for _ in 0..yields {
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}
