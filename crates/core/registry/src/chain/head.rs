//! Which block is the newest.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use alloy_primitives::{B256, hex};
use parking_lot::RwLock;
use serde_json::{Value, json};

use super::rpc::{self, Call, Rpc};
use crate::Unavailable;

/// A failure is remembered for a moment, so that a crowd of callers does not ask a dead RPC one
/// after the other.
const FAILURE_COUNTS_FOR: Duration = Duration::from_millis(250);

/// How far ahead of this machine's clock a block may be, where a chain follows the clock.
const AHEAD: Duration = Duration::from_secs(60);

/// How far one endpoint's newest block may be behind the other's, in seconds.
const BEHIND: u64 = 30;

/// A number grows by no more than this at once, and by so many a second since the last one. More
/// is believed only if a second answer says so too.
const LEAP: u64 = 1_000;
const PER_SECOND: u64 = 100;

/// After so long with nothing but lower blocks, the highest is forgotten: it was no block of the
/// chain. A chain that really lags is refused for its age long before.
const FORGET_AFTER: Duration = Duration::from_secs(300);

/// The pauses before the other endpoint is asked again for a block that it does not know yet.
const CATCH_UP: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(200)];

pub(super) struct HeadWatch {
    fresh_for: Duration,
    oldest: Option<Duration>,
    seen: RwLock<Option<Seen>>,
    /// One asks, the others wait for the answer. The highest block is in it.
    asking: tokio::sync::Mutex<Highest>,
    pub(super) forget_after: Duration,
}

/// The highest block that was believed.
#[derive(Default)]
struct Highest {
    number: u64,
    /// When it was told; `None` before the first.
    at: Option<Instant>,
    /// Since when only lower ones are told.
    below_since: Option<Instant>,
}

impl Highest {
    /// Whether a chain can have come so far since.
    fn can_be(&self, number: u64, now: Instant) -> bool {
        let Some(at) = self.at else { return false };
        let seconds = now.saturating_duration_since(at).as_secs();
        let most = LEAP.saturating_add(PER_SECOND.saturating_mul(seconds));
        number.saturating_sub(self.number) <= most
    }

    /// Below this, no block is believed.
    fn least(&self, forget_after: Duration) -> u64 {
        match self.below_since {
            Some(since) if since.elapsed() >= forget_after => 0,
            _ => self.number,
        }
    }
}

struct Seen {
    /// When the asking began.
    at: Instant,
    block: Result<(B256, Instant), Unavailable>,
}

#[derive(Debug, PartialEq, Eq)]
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
            asking: tokio::sync::Mutex::default(),
            forget_after: FORGET_AFTER,
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
        highest: &mut Highest,
    ) -> Result<B256, Unavailable> {
        let least = highest.least(self.forget_after);
        let below = AtomicBool::new(false);
        let block = latest(rpc, deadline, |block| {
            let number = block.number;
            if number < least {
                below.store(true, Ordering::Relaxed);
                return Err(format!(
                    "it answers block {number}, but block {least} was seen before"
                ));
            }
            Ok(())
        });
        let block = match block.await {
            Ok(block) => block,
            Err(error) => {
                if below.into_inner() {
                    highest.below_since.get_or_insert_with(Instant::now);
                }
                return Err(error);
            }
        };
        let (block, is_agreed) = agree(rpc, block, least, deadline).await?;
        self.is_recent(&block)?;
        let now = Instant::now();
        if !is_agreed && !highest.can_be(block.number, now) {
            is_told_again(rpc, &block, deadline).await?;
        }
        *highest = Highest {
            number: block.number,
            at: Some(now),
            below_since: None,
        };
        Ok(block.hash)
    }

    /// Only where the chain follows the clock: one that makes blocks as they are needed may run
    /// ahead of it, and stands still for as long as it likes.
    fn is_recent(&self, block: &Block) -> Result<(), Unavailable> {
        let Some(oldest) = self.oldest else {
            return Ok(());
        };
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let made = Duration::from_secs(block.timestamp);
        if made > now.saturating_add(AHEAD) {
            return Err(Unavailable(format!(
                "the RPC's newest block is of a time to come ({} s since 1970)\n\
                 hint: use another RPC, or set this machine's clock",
                block.timestamp
            )));
        }
        let age = now.saturating_sub(made);
        if age > oldest {
            return Err(Unavailable(format!(
                "the RPC's newest block is {} s old: it has stopped following the chain\n\
                 hint: use another RPC, or set how old it may be",
                age.as_secs()
            )));
        }
        Ok(())
    }
}

fn ask_for_latest() -> Call {
    Call::new("eth_getBlockByNumber", json!(["latest", false]))
}

async fn latest(
    rpc: &Rpc,
    deadline: Instant,
    check: impl Fn(&Block) -> Result<(), String>,
) -> Result<Block, Unavailable> {
    let calls = [ask_for_latest()];
    let told = rpc.round_that(&calls, deadline, |told| {
        let block = told.first().and_then(Block::read);
        let block = block.ok_or("its newest block is not of the form")?;
        check(&block)?;
        Ok(block)
    });
    Ok(told.await?)
}

/// The first block of all, and one that is far above the last, are asked for twice: one wrong
/// number would make each right one look like an old block.
async fn is_told_again(rpc: &Rpc, block: &Block, deadline: Instant) -> Result<(), Unavailable> {
    let again = latest(rpc, deadline, |_| Ok(())).await?;
    if again.number.abs_diff(block.number) > LEAP {
        return Err(Unavailable(format!(
            "the RPC answers block {}, then block {}\n\
             hint: of several machines behind its address one may be of another network; use another RPC",
            block.number, again.number
        )));
    }
    Ok(())
}

fn ask_for(hash: B256) -> Call {
    let hash = json!([hex::encode_prefixed(hash), false]);
    Call::new("eth_getBlockByHash", hash)
}

/// A block that the other endpoint has, too: this one, or where the other lags its newest one.
/// With `false`, this one, where there is no other or it does not answer.
///
/// # Errors
/// It does not have it, has another in its place, or is far ahead.
async fn agree(
    rpc: &Rpc,
    block: Block,
    least: u64,
    deadline: Instant,
) -> Result<(Block, bool), Unavailable> {
    let calls = [ask_for(block.hash), ask_for_latest()];
    let mut newest = None;
    for pause in std::iter::once(Duration::ZERO).chain(CATCH_UP) {
        if Instant::now() + pause >= deadline {
            break;
        }
        tokio::time::sleep(pause).await;
        let Some(told) = rpc.other(&calls, deadline).await else {
            return Ok((block, false));
        };
        newest = told.get(1).and_then(Block::read);
        if let Some(known) = told.first().filter(|known| !known.is_null()) {
            is_the_same(&block, known)?;
            return match newest {
                Some(newest) if newest.is_far_after(&block) => Err(contradiction(
                    "one of them keeps newer blocks back, or has stopped following the chain",
                )),
                _ => Ok((block, true)),
            };
        }
    }
    let is_behind = |b: &Block| (least..block.number).contains(&b.number) && !block.is_far_after(b);
    let Some(older) = newest.filter(is_behind) else {
        return Err(not_known(&block));
    };
    let told = rpc.round(&[ask_for(older.hash)], deadline).await?;
    match told.first() {
        Some(known) if !known.is_null() => is_the_same(&older, known)?,
        _ => return Err(not_known(&block)),
    }
    Ok((older, true))
}

fn is_the_same(block: &Block, told: &Value) -> Result<(), Unavailable> {
    if Block::read(told).is_some_and(|told| told == *block) {
        return Ok(());
    }
    Err(contradiction(&format!(
        "block {} is another one to one of them than to the other",
        block.number
    )))
}

fn not_known(block: &Block) -> Unavailable {
    contradiction(&format!(
        "one of them answers block {} as the newest, which the other does not know",
        block.number
    ))
}

pub(super) fn contradiction(why: &str) -> Unavailable {
    Unavailable(format!(
        "the two RPCs contradict each other: {why}\n\
         hint: ask a third one who is right, and put another in the place of the wrong one"
    ))
}

impl Block {
    fn is_far_after(&self, other: &Self) -> bool {
        self.timestamp.saturating_sub(other.timestamp) > BEHIND
    }

    fn read(told: &Value) -> Option<Self> {
        Some(Self {
            hash: B256::try_from(rpc::bytes(&told["hash"])?.as_slice()).ok()?,
            number: rpc::quantity(&told["number"])?,
            timestamp: rpc::quantity(&told["timestamp"])?,
        })
    }
}
