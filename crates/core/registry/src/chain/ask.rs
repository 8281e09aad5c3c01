//! Questions to the contracts, and what one block says to them.

use std::collections::HashMap;

use alloy_primitives::{Address, B256, hex, keccak256};
use alloy_sol_types::SolCall;
use model::{Actor, DeviceId, ServiceName};
use serde_json::{Value, json};

use super::Contracts;
use super::abi::{DeviceRegistry, EpochCounter, ScopeContract};
use super::rpc::{self, Call};
use crate::{Device, Roles, Scope, Unavailable};

/// An actor as the contracts have it.
pub fn actor_word(actor: &Actor) -> B256 {
    let mut word = B256::ZERO;
    // An actor is 64 hexadecimal digits.
    let whole = hex::decode_to_slice(actor.as_str(), word.as_mut_slice());
    debug_assert!(whole.is_ok(), "{actor}");
    word
}

/// A device as the contracts have it.
pub fn device_word(device: &DeviceId) -> B256 {
    B256::new(*device.as_bytes())
}

/// A service as the contracts have it.
pub fn service_word(service: &ServiceName) -> B256 {
    keccak256(service.as_str())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Ask {
    /// Operator, device.
    Device(B256, B256),
    /// Operator, actor, service.
    Scope(B256, B256, B256),
    Epoch,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    Device(Option<Device>),
    Scope(Scope),
    Epoch(u32),
}

impl Told {
    pub(super) fn device(&self) -> Option<Option<Device>> {
        match self {
            Self::Device(device) => Some(device.clone()),
            _ => None,
        }
    }

    pub(super) fn scope(&self) -> Option<Scope> {
        match self {
            Self::Scope(scope) => Some(*scope),
            _ => None,
        }
    }

    pub(super) fn epoch(&self) -> Option<u32> {
        match self {
            Self::Epoch(epoch) => Some(*epoch),
            _ => None,
        }
    }
}

impl Ask {
    pub(super) fn device(operator: &Actor, device: &DeviceId) -> Self {
        Self::Device(actor_word(operator), device_word(device))
    }

    pub(super) fn scope(operator: &Actor, actor: &Actor, service: &ServiceName) -> Self {
        Self::Scope(
            actor_word(operator),
            actor_word(actor),
            service_word(service),
        )
    }

    /// The question to one block.
    pub(super) fn call(&self, contracts: &Contracts, block: B256) -> Call {
        let data = match *self {
            Self::Device(operator, device) => DeviceRegistry::getDeviceOfCall {
                operator_: operator,
                device,
            }
            .abi_encode(),
            Self::Scope(operator, actor, service) => ScopeContract::isServiceInScopeCall {
                operator,
                actor,
                service,
            }
            .abi_encode(),
            Self::Epoch => EpochCounter::currentEpochCall {}.abi_encode(),
        };
        let (_, address) = self.contract(contracts);
        Call::new(
            "eth_call",
            json!([
                { "to": hex::encode_prefixed(address), "data": hex::encode_prefixed(data) },
                { "blockHash": hex::encode_prefixed(block) },
            ]),
        )
    }

    fn contract(&self, contracts: &Contracts) -> (&'static str, Address) {
        match self {
            Self::Device(..) => ("DeviceRegistry", contracts.devices),
            Self::Scope(..) => ("ScopeContract", contracts.scopes),
            Self::Epoch => ("EpochCounter", contracts.epochs),
        }
    }

    /// The answer. What is not exactly of the form is no answer.
    pub(super) fn read(&self, contracts: &Contracts, told: &Value) -> Result<Told, Unavailable> {
        let (name, address) = self.contract(contracts);
        let bad = |why: String| {
            Unavailable(format!(
                "{name} at {address}: {why}\nhint: compare the contract's address with what was deployed"
            ))
        };
        let bytes = rpc::bytes(told).ok_or_else(|| bad("no bytes are answered".into()))?;
        if bytes.is_empty() {
            return Err(bad("there is no such contract".into()));
        }
        let form = |why: String| bad(format!("another answer than expected: {why}"));
        match self {
            Self::Device(operator, _) => {
                let told = exactly::<DeviceRegistry::getDeviceOfCall>(&bytes).map_err(form)?;
                device(told, *operator).map(Told::Device).map_err(bad)
            }
            Self::Scope(..) => {
                let told = exactly::<ScopeContract::isServiceInScopeCall>(&bytes).map_err(form)?;
                Ok(Told::Scope(Scope {
                    in_scope: told.inScope,
                    read_only: told.readOnly,
                }))
            }
            Self::Epoch => {
                let told = exactly::<EpochCounter::currentEpochCall>(&bytes).map_err(form)?;
                let epoch = u32::try_from(told).ok().filter(|epoch| *epoch > 0);
                let epoch = epoch.ok_or_else(|| bad(format!("{told} is no epoch")))?;
                Ok(Told::Epoch(epoch))
            }
        }
    }
}

/// What a contract's compiler would have written so. A decoder alone takes 2 for "true" and bytes
/// behind the answer.
fn exactly<C: SolCall>(bytes: &[u8]) -> Result<C::Return, String> {
    let told = C::abi_decode_returns_validate(bytes).map_err(|e| e.to_string())?;
    match C::abi_encode_returns(&told) == bytes {
        true => Ok(told),
        false => Err("it is not as contracts write it".into()),
    }
}

fn device(
    told: DeviceRegistry::getDeviceOfReturn,
    operator: B256,
) -> Result<Option<Device>, String> {
    if told.registeredAt == 0 {
        return Ok(None);
    }
    if told.operator != operator {
        return Err(format!("asked of {operator}, it answers {}", told.operator));
    }
    let actor = |word: B256| {
        let actor = hex::encode(word).parse();
        actor.map_err(|e| format!("{word} is no actor: {e}"))
    };
    Ok(Some(Device {
        operator: actor(told.operator)?,
        actor: actor(told.actor)?,
        roles: Roles(told.roles),
        tier: told.tier,
        registered_at: told.registeredAt,
        revoked: told.revoked,
    }))
}

/// What one block was found to say.
#[derive(Debug, Default)]
pub(super) struct Known {
    block: B256,
    told: HashMap<Ask, Told>,
}

/// More devices and scopes than are asked for between two blocks.
const MOST: usize = 50_000;

impl Known {
    /// What has to be asked.
    pub(super) fn missing(&mut self, block: B256, asks: &[Ask]) -> Vec<Ask> {
        if self.block != block {
            return asks.to_vec();
        }
        let missing = asks.iter().filter(|ask| !self.told.contains_key(*ask));
        missing.copied().collect()
    }

    /// Keeps what was told of a block, and gives what is wanted of it, as far as it is known.
    pub(super) fn learn(
        &mut self,
        block: B256,
        told: Vec<(Ask, Told)>,
        wanted: &[Ask],
    ) -> Vec<Told> {
        let fresh: HashMap<Ask, Told> = told.into_iter().collect();
        let kept = |ask: &Ask| {
            let before = self.told.get(ask).filter(|_| self.block == block);
            fresh.get(ask).or(before).cloned()
        };
        let answer = wanted.iter().filter_map(kept).collect();
        if self.block != block || self.told.len() > MOST {
            self.told.clear();
            self.block = block;
        }
        self.told.extend(fresh);
        answer
    }
}
