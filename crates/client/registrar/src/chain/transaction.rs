//! One transaction (EIP-1559): signed here, sent, and waited for.

use std::time::{Duration, Instant};

use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_primitives::{Address, Signature, TxKind, hex};
use alloy_sol_types::SolInterface;
use k256::ecdsa::SigningKey;
use model::{Actor, DeviceId};
use registry::chain::abi::CredentialAudit::CredentialAuditErrors;
use registry::chain::abi::DeviceRegistry::DeviceRegistryErrors;
use registry::chain::{Call, Rpc, RpcError, quantity};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::{RegistrarError, Result};

/// A secp256k1 key and its address. Neither `Debug` nor `Clone`; the key is wiped when dropped.
pub struct Wallet {
    key: SigningKey,
    address: Address,
}

impl Wallet {
    /// From the key's 32 bytes.
    ///
    /// # Errors
    /// They are no key.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let bad = |_| RegistrarError::Key("it is not 32 bytes that make a secp256k1 key".into());
        let key = SigningKey::from_slice(bytes).map_err(bad)?;
        let address = Address::from_private_key(&key);
        Ok(Self { key, address })
    }

    /// From 64 hexadecimal digits, with or without `0x`.
    ///
    /// # Errors
    /// They are no key.
    pub fn from_hex(text: &str) -> Result<Self> {
        let mut bytes = Zeroizing::new([0; 32]);
        let digits = text.trim();
        let digits = digits.strip_prefix("0x").unwrap_or(digits);
        // The error of the decoder would tell a digit.
        hex::decode_to_slice(digits, bytes.as_mut_slice())
            .map_err(|_| RegistrarError::Key("it is not 64 hexadecimal digits".into()))?;
        Self::from_bytes(bytes.as_slice())
    }

    /// A new key's 32 bytes, to keep.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn generate() -> Result<Zeroizing<[u8; 32]>> {
        let none = || RegistrarError::Key("the system gives no random numbers".into());
        let mut bytes = Zeroizing::new([0; 32]);
        // One in 2^128 is no key.
        for _ in 0..8 {
            let fresh = vault::DeviceKey::generate_pkcs8().ok_or_else(none)?;
            let digest = Zeroizing::new(alloy_primitives::keccak256(fresh.as_slice()).0);
            bytes.copy_from_slice(digest.as_slice());
            if SigningKey::from_slice(bytes.as_slice()).is_ok() {
                return Ok(bytes);
            }
        }
        Err(none())
    }

    /// Its address.
    pub fn address(&self) -> Address {
        self.address
    }

    /// The operator that it is.
    ///
    /// # Errors
    /// Never for an address.
    pub fn actor(&self) -> Result<Actor> {
        let address = hex::encode_prefixed(self.address);
        Actor::from_evm(&address).map_err(|e| RegistrarError::Key(e.to_string()))
    }
}

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
    let from = hex::encode_prefixed(wallet.address);
    let mut call = json!({ "from": from, "data": hex::encode_prefixed(&data) });
    if let Some(to) = to {
        call["to"] = hex::encode_prefixed(to).into();
    }
    let transaction = prepare(rpc, wallet, to, data, &call).await?;
    let signature = signature(wallet, &transaction)?;
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
    let from = hex::encode_prefixed(wallet.address);
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

fn signature(wallet: &Wallet, transaction: &TxEip1559) -> Result<Signature> {
    let hash = transaction.signature_hash();
    let signed = wallet.key.sign_prehash_recoverable(hash.as_slice());
    let signed = signed.map_err(|e| RegistrarError::Key(e.to_string()))?;
    Ok(Signature::from(signed))
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
            RegistrarError::NoFunds(wallet.address.to_string()).into()
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
