//! The registry as contracts on a chain (`contracts/`).
//!
//! Every answer is that of one block, asked for by its hash. Which block is the newest is asked at
//! most once a second; as long as it stays the same, what was answered of it stays true and is not
//! asked again. So a permission that was revoked counts for a second at most after its transaction
//! is in a block, and a quiet chain costs one small request a second.
//!
//! Where there are two RPCs, the other has to know the block, to say the same of it, and not to be
//! far ahead: otherwise nothing is believed. One that does not answer is done without, so two
//! protect from one that lies as long as both answer.
//!
//! What a reader of one RPC cannot notice is that it keeps newer blocks back;
//! [`ChainSettings::oldest_head`] bounds for how long.

pub mod abi;
mod ask;
mod head;
mod rpc;

use std::time::{Duration, Instant};

use alloy_primitives::Address;
use async_trait::async_trait;
use model::{Actor, DeviceId, ServiceName};
use parking_lot::Mutex;
use serde_json::Value;

use crate::{Answers, Device, Question, Registry, Scope, Unavailable};
use ask::{Ask, Known, Told};
use head::HeadWatch;

pub use ask::{actor_word, device_word, service_word};
pub use rpc::{Call, Patience, Rpc, RpcError, RpcUrl, bytes, quantity};

/// Which contracts are asked, and by whom.
#[derive(Debug, Clone)]
pub struct ChainSettings {
    /// One or two RPC endpoints. What one says is compared with the other, and where one fails the
    /// other is asked alone.
    pub rpc: Vec<RpcUrl>,
    /// The chain that must answer.
    pub chain_id: u64,
    /// The contract DeviceRegistry.
    pub device_registry: Address,
    /// The contract ScopeContract.
    pub scope_contract: Address,
    /// The contract EpochCounter.
    pub epoch_counter: Address,
    /// For how long the newest block is not asked for again, at most a second.
    pub fresh_for: Duration,
    /// A newest block that is older than this is not believed: the RPC has stopped following the
    /// chain. `None` for a chain that makes blocks only when there is something to put into them.
    pub oldest_head: Option<Duration>,
}

/// How long a newest block counts.
pub const FRESH_FOR: Duration = Duration::from_secs(1);

/// What was revoked so long ago is refused, however slow the RPC is.
const OLDEST_ANSWER: Duration = Duration::from_secs(2);

/// The chains in use make a block every 12 seconds or more often.
pub const OLDEST_HEAD: Duration = Duration::from_secs(300);

/// The four tries of one question, in all.
const PATIENCE: Patience = Patience {
    one: Duration::from_millis(450),
    all: Duration::from_millis(1_900),
};

/// A registry on a chain.
pub struct ChainRegistry {
    contracts: Contracts,
    rpc: Rpc,
    head: HeadWatch,
    known: Mutex<Known>,
}

/// Where the contracts are.
#[derive(Debug, Clone, Copy)]
struct Contracts {
    devices: Address,
    scopes: Address,
    epochs: Address,
}

impl ChainRegistry {
    /// A reader. Nothing is asked yet; [`check`](Self::check) does.
    ///
    /// # Errors
    /// The endpoints cannot be used.
    pub fn open(settings: ChainSettings) -> Result<Self, Unavailable> {
        Ok(Self {
            contracts: Contracts {
                devices: settings.device_registry,
                scopes: settings.scope_contract,
                epochs: settings.epoch_counter,
            },
            rpc: Rpc::new(settings.rpc, settings.chain_id, PATIENCE)?,
            head: HeadWatch::new(settings.fresh_for.min(FRESH_FOR), settings.oldest_head),
            known: Mutex::default(),
        })
    }

    /// Asks every endpoint once for its chain, and the contracts for what they are.
    ///
    /// # Errors
    /// An endpoint answers another chain, none answers, or a contract is not where it is said to
    /// be.
    pub async fn check(&self) -> Result<(), Unavailable> {
        self.rpc.check().await?;
        let nobody = [0; 32].into();
        let asks = [
            Ask::Epoch,
            Ask::Device(nobody, nobody),
            Ask::Scope(nobody, nobody, nobody),
        ];
        self.ask(&asks).await.map(drop)
    }

    /// What the newest block says, in the order of the questions.
    async fn ask(&self, asks: &[Ask]) -> Result<Vec<Told>, Unavailable> {
        let deadline = Instant::now() + PATIENCE.all;
        let (block, since) = self.head.current(&self.rpc, deadline).await?;
        // An answer that comes later than this would be older than is promised.
        let deadline = deadline.min(since + OLDEST_ANSWER);
        let missing = self.known.lock().missing(block, asks);
        if !missing.is_empty() {
            let calls: Vec<Call> = missing
                .iter()
                .map(|ask| ask.call(&self.contracts, block))
                .collect();
            let (told, other) = tokio::join!(
                self.rpc.round(&calls, deadline),
                self.rpc.other(&calls, deadline)
            );
            let told = told?;
            let told = self.read(&missing, &told)?;
            // Of one block there is one truth.
            if other.is_some_and(|other| self.read(&missing, &other).as_ref() != Ok(&told)) {
                return Err(head::contradiction(&format!(
                    "they answer differently what block {block} says"
                )));
            }
            return Ok(self.known.lock().learn(block, told, asks));
        }
        Ok(self.known.lock().learn(block, Vec::new(), asks))
    }

    fn read(&self, asks: &[Ask], told: &[Value]) -> Result<Vec<(Ask, Told)>, Unavailable> {
        let read = |(ask, told): (&Ask, _)| Ok((*ask, ask.read(&self.contracts, told)?));
        asks.iter().zip(told).map(read).collect()
    }
}

#[async_trait]
impl Registry for ChainRegistry {
    async fn device(&self, operator: &Actor, id: &DeviceId) -> Result<Option<Device>, Unavailable> {
        let told = self.ask(&[Ask::device(operator, id)]).await?;
        told.iter().find_map(Told::device).ok_or_else(unanswered)
    }

    async fn scope(
        &self,
        operator: &Actor,
        actor: &Actor,
        service: &ServiceName,
    ) -> Result<Scope, Unavailable> {
        let told = self.ask(&[Ask::scope(operator, actor, service)]).await?;
        told.iter().find_map(Told::scope).ok_or_else(unanswered)
    }

    async fn current_epoch(&self) -> Result<u32, Unavailable> {
        let told = self.ask(&[Ask::Epoch]).await?;
        told.iter().find_map(Told::epoch).ok_or_else(unanswered)
    }

    async fn answers(&self, question: &Question<'_>) -> Result<Answers, Unavailable> {
        let mut asks = vec![Ask::device(question.operator, question.device), Ask::Epoch];
        let scope = question
            .service
            .map(|service| Ask::scope(question.operator, question.actor, service));
        asks.extend(scope);
        let told = self.ask(&asks).await?;
        Ok(Answers {
            device: told.iter().find_map(Told::device).ok_or_else(unanswered)?,
            scope: match question.service {
                Some(_) => Some(told.iter().find_map(Told::scope).ok_or_else(unanswered)?),
                None => None,
            },
            epoch: told.iter().find_map(Told::epoch).ok_or_else(unanswered)?,
        })
    }
}

fn unanswered() -> Unavailable {
    Unavailable("a question was not answered".into())
}

#[cfg(test)]
mod tests;
