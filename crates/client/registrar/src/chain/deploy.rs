//! Puts the contracts onto a chain, as they were compiled.

use alloy_primitives::{Address, hex};
use alloy_sol_types::SolValue;
use registry::chain::{Rpc, RpcUrl};
use serde::{Deserialize, Serialize};

use super::transaction::{SendError, send};
use super::{ChainPlace, PATIENCE, Wallet};
use crate::{RegistrarError, Result};

/// Where the contracts are now. Their owner is the wallet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Deployed {
    /// The contract DeviceRegistry.
    pub device_registry: String,
    /// The contract ScopeContract.
    pub scope_contract: String,
    /// The contract EpochCounter.
    pub epoch_counter: String,
    /// The contract CredentialAudit.
    pub credential_audit: String,
    /// The chain.
    pub chain_id: u64,
    #[serde(skip)]
    addresses: [Address; 4],
}

impl Deployed {
    /// As a place to read from and write to.
    pub fn place(&self, rpc: Vec<RpcUrl>) -> ChainPlace {
        let [device_registry, scope_contract, epoch_counter, audit] = self.addresses;
        ChainPlace {
            rpc,
            chain_id: self.chain_id,
            device_registry,
            scope_contract,
            epoch_counter,
            credential_audit: Some(audit),
        }
    }
}

#[derive(Deserialize)]
struct Compiled {
    bytecode: String,
}

/// Puts all four contracts onto a chain.
///
/// # Errors
/// The chain refuses or cannot be asked.
pub async fn deploy(rpc: Vec<RpcUrl>, chain_id: u64, wallet: &Wallet) -> Result<Deployed> {
    let rpc = Rpc::new(rpc, chain_id, PATIENCE)?;
    let devices = make(
        &rpc,
        wallet,
        include_str!("../../../../../contracts/compiled/DeviceRegistry.json"),
        &[],
    );
    let devices = devices.await?;
    let reads = devices.abi_encode();
    let scopes = include_str!("../../../../../contracts/compiled/ScopeContract.json");
    let scopes = make(&rpc, wallet, scopes, &reads).await?;
    let epochs = include_str!("../../../../../contracts/compiled/EpochCounter.json");
    let epochs = make(&rpc, wallet, epochs, &[]).await?;
    let audit = include_str!("../../../../../contracts/compiled/CredentialAudit.json");
    let audit = make(&rpc, wallet, audit, &reads).await?;
    Ok(Deployed {
        device_registry: hex::encode_prefixed(devices),
        scope_contract: hex::encode_prefixed(scopes),
        epoch_counter: hex::encode_prefixed(epochs),
        credential_audit: hex::encode_prefixed(audit),
        chain_id,
        addresses: [devices, scopes, epochs, audit],
    })
}

async fn make(rpc: &Rpc, wallet: &Wallet, compiled: &str, arguments: &[u8]) -> Result<Address> {
    let bad = |why: String| RegistrarError::Chain(format!("a compiled contract: {why}"));
    let compiled: Compiled = serde_json::from_str(compiled).map_err(|e| bad(e.to_string()))?;
    let mut data = hex::decode(&compiled.bytecode).map_err(|e| bad(e.to_string()))?;
    data.extend_from_slice(arguments);
    match send(rpc, wallet, None, data).await {
        Ok(sent) => sent
            .contract
            .ok_or_else(|| bad("it was made nowhere".into())),
        Err(SendError::Other(error)) => Err(error),
        Err(SendError::Reverted(_)) => Err(bad("its constructor failed".into())),
    }
}
