//! The key that pays, writes and logs in.

use alloy_primitives::{Address, B256, Signature, hex};
use k256::ecdsa::SigningKey;
use model::Actor;
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

    /// Signs a hash that was made here.
    pub(crate) fn sign(&self, hash: &B256) -> Result<Signature> {
        let signed = self.key.sign_prehash_recoverable(hash.as_slice());
        let signed = signed.map_err(|e| RegistrarError::Key(e.to_string()))?;
        Ok(Signature::from(signed))
    }
}
