//! Which block is the newest.

use std::time::{Duration, Instant, SystemTime};

use alloy_primitives::B256;
use parking_lot::RwLock;
use serde_json::{Value, json};

use super::rpc::{self, Call, Rpc};
use crate::Unavailable;

/// A failure is remembered for a moment, so that a crowd of callers does not ask a dead RPC one
/// after the other.
const FAILURE_COUNTS_FOR: Duration = Duration::from_millis(250);

pub(super) struct HeadWatch {
    fresh_for: Duration,
    oldest: Option<Duration>,
    seen: RwLock<Option<Seen>>,
    /// One asks, the others wait for the answer. The number of the highest block is in it.
    asking: tokio::sync::Mutex<u64>,
}

struct Seen {
    /// When the asking began.
    at: Instant,
    block: Result<(B256, Instant), Unavailable>,
}

struct Block {
    hash: B256,
    number: u64,
    timestamp: u64,
}

impl HeadWatch {
    pub(super) fn new(fresh_for: Duration, oldest: Option<Duration>) -> Self {
        Self {
            fresh_for,
            oldest,
            seen: RwLock::default(),
            asking: tokio::sync::Mutex::new(0),
        }
    }

    /// The newest block, and since when it is known to be.
    pub(super) async fn current(
        &self,
        rpc: &Rpc,
        deadline: Instant,
    ) -> Result<(B256, Instant), Unavailable> {
        if let Some(block) = self.fresh() {
            return block;
        }
        let mut highest = self.asking.lock().await;
        if let Some(block) = self.fresh() {
            return block;
        }
        let at = Instant::now();
        // Whoever waited still has the time of one question.
        let deadline = deadline.max(at + Duration::from_millis(500));
        let block = self.ask(rpc, deadline, &mut highest).await;
        let block = block.map(|block| (block, at));
        if let Err(Unavailable(reason)) = &block {
            tracing::debug!("the registry's chain: {reason}");
        }
        *self.seen.write() = Some(Seen {
            // A failure counts from now: whoever waited for it is answered by it.
            at: if block.is_ok() { at } else { Instant::now() },
            block: block.clone(),
        });
        block
    }

    fn fresh(&self) -> Option<Result<(B256, Instant), Unavailable>> {
        let seen = self.seen.read();
        let seen = seen.as_ref()?;
        let counts_for = match seen.block {
            Ok(_) => self.fresh_for,
            Err(_) => self.fresh_for.min(FAILURE_COUNTS_FOR),
        };
        (seen.at.elapsed() < counts_for).then(|| seen.block.clone())
    }

    /// A block below one that was seen is not believed: what was revoked since would count again.
    /// Behind some addresses are several machines, of which one may lag, so it is tried again.
    async fn ask(
        &self,
        rpc: &Rpc,
        deadline: Instant,
        highest: &mut u64,
    ) -> Result<B256, Unavailable> {
        let call = [Call::new("eth_getBlockByNumber", json!(["latest", false]))];
        let least = *highest;
        let block = rpc
            .round_that(&call, deadline, |told| {
                let block = told.first().and_then(Block::read);
                let block = block.ok_or("its newest block is not of the form")?;
                let number = block.number;
                if number < least {
                    return Err(format!(
                        "it answers block {number}, but block {least} was seen before"
                    ));
                }
                Ok(block)
            })
            .await?;
        self.is_recent(&block)?;
        *highest = block.number;
        Ok(block.hash)
    }

    fn is_recent(&self, block: &Block) -> Result<(), Unavailable> {
        let Some(oldest) = self.oldest else {
            return Ok(());
        };
        let made = SystemTime::UNIX_EPOCH + Duration::from_secs(block.timestamp);
        match made.elapsed() {
            Ok(age) if age > oldest => Err(Unavailable(format!(
                "the RPC's newest block is {} s old: it has stopped following the chain\n\
                 hint: use another RPC, or set how old it may be",
                age.as_secs()
            ))),
            _ => Ok(()),
        }
    }
}

impl Block {
    fn read(told: &Value) -> Option<Self> {
        Some(Self {
            hash: B256::try_from(rpc::bytes(&told["hash"])?.as_slice()).ok()?,
            number: rpc::quantity(&told["number"])?,
            timestamp: rpc::quantity(&told["timestamp"])?,
        })
    }
}
