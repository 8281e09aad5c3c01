//! Transactions to the contracts of `contracts/`.

mod anchors;
mod deploy;
mod transaction;
mod wallet;

use std::time::Duration;

pub use alloy_primitives::Address;
use alloy_primitives::U256;
use alloy_sol_types::SolCall;
use async_trait::async_trait;
use model::{Actor, DeviceId, ServiceName};
use registry::chain::abi::{CredentialAudit, DeviceRegistry, EpochCounter, ScopeContract};
use registry::chain::{Call, Patience, Rpc, RpcUrl, actor_word, bytes, device_word, service_word};
use registry::{Device, Roles};
use serde_json::json;

use crate::{ListedScope, ListedService, NewDevice, Registrar, RegistrarError, Result, check};

pub use anchors::{Anchor, anchors};
pub use deploy::{Deployed, deploy};
pub use wallet::Wallet;

/// Where the contracts are.
#[derive(Debug, Clone)]
pub struct ChainPlace {
    /// One or two RPC endpoints.
    pub rpc: Vec<RpcUrl>,
    /// The chain that must answer there.
    pub chain_id: u64,
    /// The contract DeviceRegistry.
    pub device_registry: Address,
    /// The contract ScopeContract.
    pub scope_contract: Address,
    /// The contract EpochCounter.
    pub epoch_counter: Address,
    /// The contract CredentialAudit, where one is used.
    pub credential_audit: Option<Address>,
}

impl ChainPlace {
    fn audit_contract(&self) -> Result<Address> {
        let missing = "no contract CredentialAudit is configured\n\
                       hint: set vault.registry.credential_audit to what `artifacts registry deploy` printed";
        let contract = self.credential_audit;
        contract.ok_or_else(|| RegistrarError::Chain(missing.into()))
    }
}

/// Somebody waits for it, and a chain takes its time.
const PATIENCE: Patience = Patience {
    one: Duration::from_secs(5),
    all: Duration::from_secs(15),
};

/// Writes for an operator, by a wallet.
pub struct ChainRegistrar {
    place: ChainPlace,
    rpc: Rpc,
    wallet: Wallet,
    operator: Actor,
}

/// Lists are read in parts of this many.
const PART: usize = 200;

impl ChainRegistrar {
    /// For this operator; for the wallet itself where none is named.
    ///
    /// # Errors
    /// The place cannot be used.
    pub fn new(place: ChainPlace, wallet: Wallet, operator: Option<Actor>) -> Result<Self> {
        Ok(Self {
            rpc: Rpc::new(place.rpc.clone(), place.chain_id, PATIENCE)?,
            operator: match operator {
                Some(operator) => operator,
                None => wallet.actor()?,
            },
            place,
            wallet,
        })
    }

    /// Gives an operator that is no wallet its first controller; for the owner of the contract.
    ///
    /// # Errors
    /// The chain or the contract refuses.
    pub async fn assign_controller(&self, operator: &Actor, controller: Address) -> Result<()> {
        let call = DeviceRegistry::assignControllerCall {
            operator: actor_word(operator),
            controller,
        };
        self.send(self.place.device_registry, &call).await
    }

    /// Begins the next epoch; for the owner of the contract. Its number.
    ///
    /// # Errors
    /// The chain or the contract refuses.
    pub async fn advance_epoch(&self) -> Result<u32> {
        let call = EpochCounter::advanceCall {};
        self.send(self.place.epoch_counter, &call).await?;
        self.current_epoch().await
    }

    /// The epoch that counts.
    ///
    /// # Errors
    /// The chain or the contract refuses.
    pub async fn current_epoch(&self) -> Result<u32> {
        let call = EpochCounter::currentEpochCall {};
        let epoch = self.ask(self.place.epoch_counter, &call).await?;
        u32::try_from(epoch).map_err(|_| RegistrarError::Chain(format!("{epoch} is no epoch")))
    }

    /// Anchors an audit log: the hash that stands for its first `count` records.
    ///
    /// # Errors
    /// The chain or the contract refuses, or there is no contract for it.
    pub async fn anchor(&self, root: [u8; 32], count: u64) -> Result<()> {
        let contract = self.place.audit_contract()?;
        // Appending does not claim, and a number that nobody claimed can be given away with its list.
        if self.operator == self.wallet.actor()? && self.controller().await?.is_zero() {
            self.claim().await?;
        }
        let call = CredentialAudit::appendCall {
            operator: actor_word(&self.operator),
            root: root.into(),
            count,
        };
        self.write(contract, &call).await
    }

    /// Whether the wallet writes for the operator: the controller, or, where there is none, whose
    /// own number it is.
    ///
    /// # Errors
    /// The chain or the contract refuses.
    pub async fn controls(&self) -> Result<bool> {
        let controller = self.controller().await?;
        Ok(controller == self.wallet.address()
            || controller.is_zero() && self.operator == self.wallet.actor()?)
    }

    async fn controller(&self) -> Result<Address> {
        let call = DeviceRegistry::controllerOfCall {
            operator: actor_word(&self.operator),
        };
        self.ask(self.place.device_registry, &call).await
    }

    /// Takes the wallet's own number back from whom the owner of the contract gave it to. What was
    /// written for it until now counts no more. Every write does so first, where it is needed.
    ///
    /// # Errors
    /// The chain or the contract refuses.
    pub async fn claim(&self) -> Result<()> {
        let call = DeviceRegistry::claimCall {};
        self.send(self.place.device_registry, &call).await
    }

    /// Which operator was the first to register a device. For looking around: a registration
    /// proves nothing of the device's key.
    ///
    /// # Errors
    /// The chain or the contract refuses.
    pub async fn first_to_register(&self, device: &DeviceId) -> Result<Option<Actor>> {
        let device = device_word(device);
        let call = DeviceRegistry::getDeviceCall { device };
        let told = self.ask(self.place.device_registry, &call).await?;
        let known = (told.registeredAt != 0).then(|| actor(told.operator.0));
        known.transpose()
    }

    async fn write<C: SolCall>(&self, to: Address, call: &C) -> Result<()> {
        if self.operator == self.wallet.actor()? {
            let wallet = self.wallet.address();
            let asked = DeviceRegistry::isClaimableCall { wallet };
            if self.ask(self.place.device_registry, &asked).await? {
                self.claim().await?;
            }
        }
        self.send(to, call).await
    }

    async fn send<C: SolCall>(&self, to: Address, call: &C) -> Result<()> {
        let sent = transaction::send(&self.rpc, &self.wallet, Some(to), call.abi_encode()).await;
        sent.map(drop).map_err(|error| match error {
            transaction::SendError::Reverted(why) => why.name(&self.operator),
            transaction::SendError::Other(error) => error,
        })
    }

    async fn ask<C: SolCall>(&self, to: Address, call: &C) -> Result<C::Return> {
        let data = alloy_primitives::hex::encode_prefixed(call.abi_encode());
        let to = alloy_primitives::hex::encode_prefixed(to);
        let calls = [Call::new(
            "eth_call",
            json!([{ "to": to, "data": data }, "latest"]),
        )];
        let told = self.rpc.round(&calls, self.rpc.deadline()).await?;
        let told = told.first().and_then(bytes).unwrap_or_default();
        C::abi_decode_returns_validate(&told).map_err(|e| other_answer(&to, &e))
    }

    async fn device(&self, id: &DeviceId) -> Result<Option<Device>> {
        let call = DeviceRegistry::getDeviceOfCall {
            operator_: actor_word(&self.operator),
            device: device_word(id),
        };
        let told = self.ask(self.place.device_registry, &call).await?;
        if told.registeredAt == 0 {
            return Ok(None);
        }
        Ok(Some(Device {
            operator: actor(told.operator.0)?,
            actor: actor(told.actor.0)?,
            roles: Roles(told.roles),
            tier: told.tier,
            registered_at: told.registeredAt,
            revoked: told.revoked,
        }))
    }
}

#[async_trait]
impl Registrar for ChainRegistrar {
    fn operator(&self) -> &Actor {
        &self.operator
    }

    async fn register(&self, new: &NewDevice) -> Result<()> {
        check(&self.operator, new)?;
        match self.device(&new.device).await? {
            Some(known) if known.revoked => return Err(RegistrarError::DeviceRevoked(new.device)),
            Some(_) => return Err(RegistrarError::DeviceKnown(new.device)),
            None => {}
        }
        let call = DeviceRegistry::registerCall {
            operator: actor_word(&self.operator),
            device: device_word(&new.device),
            actor: actor_word(&new.actor),
            roles: new.roles.0,
            tier: new.tier,
        };
        self.write(self.place.device_registry, &call).await
    }

    async fn revoke_device(&self, device: &DeviceId) -> Result<()> {
        match self.device(device).await? {
            Some(known) if known.revoked => return Err(RegistrarError::DeviceRevoked(*device)),
            Some(_) => {}
            None => return Err(RegistrarError::DeviceUnknown(*device)),
        }
        let call = DeviceRegistry::revokeCall {
            operator: actor_word(&self.operator),
            device: device_word(device),
        };
        self.write(self.place.device_registry, &call).await
    }

    async fn devices(&self) -> Result<Vec<(DeviceId, Device)>> {
        let mut devices = Vec::new();
        loop {
            let call = DeviceRegistry::devicesOfCall {
                operator: actor_word(&self.operator),
                from: U256::from(devices.len()),
                most: U256::from(PART),
            };
            let part = self.ask(self.place.device_registry, &call).await?;
            let last = part.len() < PART;
            for word in part {
                let id = DeviceId::new(word.0);
                if let Some(device) = self.device(&id).await? {
                    devices.push((id, device));
                }
            }
            if last {
                return Ok(devices);
            }
        }
    }

    async fn set_scope(
        &self,
        actor: &Actor,
        services: &[ServiceName],
        read_only: bool,
    ) -> Result<()> {
        let call = ScopeContract::setScopeCall {
            operator: actor_word(&self.operator),
            actor: actor_word(actor),
            services: services.iter().map(service_word).collect(),
            readOnly: read_only,
        };
        self.write(self.place.scope_contract, &call).await
    }

    async fn revoke_scope(&self, actor: &Actor, services: &[ServiceName]) -> Result<()> {
        let call = ScopeContract::revokeScopeCall {
            operator: actor_word(&self.operator),
            actor: actor_word(actor),
            services: services.iter().map(service_word).collect(),
        };
        self.write(self.place.scope_contract, &call).await
    }

    async fn scopes(&self) -> Result<Vec<ListedScope>> {
        let mut all = Vec::new();
        loop {
            let call = ScopeContract::scopesOfCall {
                operator: actor_word(&self.operator),
                from: U256::from(all.len()),
                most: U256::from(PART),
            };
            let part = self.ask(self.place.scope_contract, &call).await?;
            let last = part.len() < PART;
            all.extend(part);
            if last {
                break;
            }
        }
        let allowed = all.into_iter().filter(|scope| scope.inScope);
        allowed
            .map(|scope| {
                Ok(ListedScope {
                    actor: actor(scope.actor.0)?,
                    service: ListedService::Hash(scope.service.0),
                    read_only: scope.readOnly,
                })
            })
            .collect()
    }
}

fn other_answer(contract: &str, why: &alloy_sol_types::Error) -> RegistrarError {
    RegistrarError::Chain(format!(
        "the contract at {contract} answers otherwise than expected: {why}\n\
         hint: compare the contract's address with what was deployed"
    ))
}

fn actor(word: [u8; 32]) -> Result<Actor> {
    let text = alloy_primitives::hex::encode(word);
    text.parse()
        .map_err(|e| RegistrarError::Chain(format!("{text} is no actor: {e}")))
}
