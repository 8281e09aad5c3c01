//! One transaction (EIP-1559): signed here, sent, and waited for.

use std::time::{Duration, Instant};

use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_primitives::{Address, TxKind, hex};
use alloy_sol_types::SolInterface;
use model::{Actor, DeviceId};
use registry::chain::abi::CredentialAudit::CredentialAuditErrors;
use registry::chain::abi::DeviceRegistry::DeviceRegistryErrors;
use registry::chain::{Call, Rpc, RpcError, quantity};
use serde_json::{Value, json};

use super::Wallet;
use crate::RegistrarError;

pub(super) enum SendError {
    Reverted(Reverted),
    Other(RegistrarError),
}

/// What a contract said.
pub(super) struct Reverted {
    data: Vec<u8>,
    message: String,
}

impl<E: Into<RegistrarError>> From<E> for SendError {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

impl Reverted {
    /// As an error of ours.
    pub(super) fn name(self, operator: &Actor) -> RegistrarError {
        let device = |word: alloy_primitives::B256| DeviceId::new(word.0);
        use DeviceRegistryErrors as E;
        match E::abi_decode(&self.data) {
            Ok(E::NotController(_)) => RegistrarError::NotController(operator.clone()),
            Ok(E::NotOwner(_)) => RegistrarError::NotOwner,
            Ok(E::DeviceKnown(e)) => RegistrarError::DeviceKnown(device(e.device)),
            Ok(E::DeviceUnknown(e)) => RegistrarError::DeviceUnknown(device(e.device)),
            Ok(E::DeviceAlreadyRevoked(e)) => RegistrarError::DeviceRevoked(device(e.device)),
            Ok(E::RolesInvalid(e)) => RegistrarError::Roles(e.roles),
            Ok(E::HasController(_)) => {
                RegistrarError::Reverted("the operator has a controller already".into())
            }
            Ok(E::NoAddress(_)) => {
                RegistrarError::Reverted("the zero address controls nothing".into())
            }
            Ok(E::NotOffered(_)) => {
                RegistrarError::Reverted("the contract was not offered to this wallet".into())
            }
            Err(_) => match CredentialAuditErrors::abi_decode(&self.data) {
                Ok(CredentialAuditErrors::CountNotGrowing(e)) => RegistrarError::Reverted(format!(
                    "{} records were anchored before, these are {}",
                    e.last, e.given
                )),
                _ => RegistrarError::Reverted(self.message),
            },
        }
    }
}

/// What became of a transaction.
pub(super) struct Sent {
    /// Where a contract was made.
    pub(super) contract: Option<Address>,
}

/// How long is waited for a block.
const LONGEST: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Calls a contract, or makes one, and waits until it is in a block.
pub(super) async fn send(
    rpc: &Rpc,
    wallet: &Wallet,
    to: Option<Address>,
    data: Vec<u8>,
) -> std::result::Result<Sent, SendError> {
    let from = hex::encode_prefixed(wallet.address());
    let mut call = json!({ "from": from, "data": hex::encode_prefixed(&data) });
    if let Some(to) = to {
        call["to"] = hex::encode_prefixed(to).into();
    }
    let transaction = prepare(rpc, wallet, to, data, &call).await?;
    let signature = wallet.sign(&transaction.signature_hash())?;
    let signed = transaction.into_signed(signature);
    let mut raw = Vec::new();
    signed.eip2718_encode(&mut raw);
    let hash = signed.hash().to_string();
    hand_in(rpc, wallet, &hex::encode_prefixed(&raw)).await?;
    receipt(rpc, &hash, &call).await
}

/// Asks for what the chain knows better: the number, the price, the work. A call that would
/// revert is told here, before it costs anything.
async fn prepare(
    rpc: &Rpc,
    wallet: &Wallet,
    to: Option<Address>,
    data: Vec<u8>,
    call: &Value,
) -> std::result::Result<TxEip1559, SendError> {
    let from = hex::encode_prefixed(wallet.address());
    let calls = [
        Call::new("eth_getTransactionCount", json!([from, "pending"])),
        Call::new("eth_getBlockByNumber", json!(["latest", false])),
        Call::new("eth_maxPriorityFeePerGas", json!([])),
        Call::new("eth_estimateGas", json!([call])),
    ];
    let told = rpc.round(&calls, rpc.deadline()).await;
    let told = told.map_err(|error| refused(error, wallet))?;
    let number = |at: usize, value: &Value| {
        quantity(value).ok_or_else(|| {
            let what = ["nonce", "base fee", "priority fee", "gas"].get(at);
            let what = what.copied().unwrap_or_default();
            RegistrarError::Chain(format!("the RPC answers no {what}\nhint: use another RPC"))
        })
    };
    let nonce = number(0, &told[0])?;
    let base = u128::from(number(1, &told[1]["baseFeePerGas"])?);
    let tip = u128::from(number(2, &told[2])?);
    let gas = number(3, &told[3])?;
    Ok(TxEip1559 {
        chain_id: rpc.chain_id(),
        nonce,
        // Others' transactions may come first and change what it costs.
        gas_limit: gas.saturating_add(gas / 5),
        // Enough for six full blocks in a row.
        max_fee_per_gas: base.saturating_mul(2).saturating_add(tip),
        max_priority_fee_per_gas: tip,
        to: to.map_or(TxKind::Create, TxKind::Call),
        input: data.into(),
        ..TxEip1559::default()
    })
}

/// The same transaction may be handed in twice: of a lost answer nobody knows whether it was.
async fn hand_in(rpc: &Rpc, wallet: &Wallet, raw: &str) -> std::result::Result<(), SendError> {
    let call = [Call::new("eth_sendRawTransaction", json!([raw]))];
    match rpc.round(&call, rpc.deadline()).await {
        Ok(_) => Ok(()),
        Err(RpcError::Refused { message, .. }) if is_there(&message) => Ok(()),
        Err(error) => Err(refused(error, wallet)),
    }
}

fn is_there(message: &str) -> bool {
    let message = message.to_lowercase();
    ["already known", "already imported", "nonce too low"]
        .iter()
        .any(|words| message.contains(words))
}

async fn receipt(rpc: &Rpc, hash: &str, call: &Value) -> std::result::Result<Sent, SendError> {
    let begun = Instant::now();
    let ask = [Call::new("eth_getTransactionReceipt", json!([hash]))];
    while begun.elapsed() < LONGEST {
        let told = rpc.round(&ask, rpc.deadline()).await?;
        let told = told.first().cloned().unwrap_or_default();
        match quantity(&told["status"]) {
            Some(1) => {
                let made = told["contractAddress"].as_str();
                let contract = made.and_then(|text| text.parse().ok());
                return Ok(Sent { contract });
            }
            Some(_) => return Err(why(rpc, call, &told["blockNumber"]).await),
            None => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
    Err(RegistrarError::Pending(hash.to_owned(), LONGEST.as_secs()).into())
}

/// Why a transaction failed in its block: the call is made again there, without effect.
async fn why(rpc: &Rpc, call: &Value, block: &Value) -> SendError {
    let again = [Call::new("eth_call", json!([call, block]))];
    match rpc.round(&again, rpc.deadline()).await {
        Err(RpcError::Refused { message, data }) => reverted(message, data.as_deref()),
        _ => SendError::Reverted(Reverted {
            data: Vec::new(),
            message: "the transaction failed in its block".into(),
        }),
    }
}

fn refused(error: RpcError, wallet: &Wallet) -> SendError {
    match error {
        RpcError::Refused {
            message,
            data: Some(data),
        } => reverted(message, Some(&data)),
        RpcError::Refused { message, .. }
            if message.to_lowercase().contains("insufficient funds") =>
        {
            RegistrarError::NoFunds(wallet.address().to_string()).into()
        }
        other => other.into(),
    }
}

fn reverted(message: String, data: Option<&str>) -> SendError {
    let data = data.and_then(|data| hex::decode(data).ok());
    SendError::Reverted(Reverted {
        data: data.unwrap_or_default(),
        message,
    })
}
