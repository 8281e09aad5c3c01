//! An actor's wallet: a key on secp256k1 that follows from the master secret of epoch 1, and so
//! stays the same for ever.
//!
//! `key = HKDF-SHA256(salt = "artifacts.wallet.v1", ikm = K3[1], info = "artifacts.wallet" ‖
//! lp(actor) ‖ counter)`, 32 bytes, where `actor` is its 64 characters, `lp(x)` the length of `x`
//! in two bytes, big-endian, and then `x`, and `counter` one byte, the first of 0, 1, 2 … that
//! gives a number from 1 to the curve's order. `vectors/wallets.json` has examples. The
//! derivation is fixed: what is sealed under a wallet's signatures cannot be read by another.

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use k256::ecdsa::SigningKey;
use model::Actor;
use secrecy::SecretString;
use sha3::{Digest, Keccak256};
use vault::MasterSecret;
use zeroize::Zeroizing;

const SALT: &[u8] = b"artifacts.wallet.v1";
const PURPOSE: &[u8] = b"artifacts.wallet";

/// An actor's wallet. Neither `Debug` nor `Clone`; its key is wiped when dropped.
pub struct Wallet {
    key: SigningKey,
    address: [u8; 20],
}

struct Length;

impl KeyType for Length {
    fn len(&self) -> usize {
        32
    }
}

impl Wallet {
    /// The wallet of an actor, by the master secret of epoch 1.
    pub fn derive(secret: &MasterSecret, actor: &Actor) -> Option<Self> {
        let root = Salt::new(HKDF_SHA256, SALT).extract(secret.expose());
        let length = u16::try_from(actor.as_str().len()).ok()?.to_be_bytes();
        (0..=u8::MAX).find_map(|counter| {
            let counter = [counter];
            let info = [PURPOSE, &length, actor.as_str().as_bytes(), &counter];
            let mut key = Zeroizing::new([0; 32]);
            root.expand(&info, Length)
                .and_then(|okm| okm.fill(key.as_mut_slice()))
                .ok()?;
            Self::of(&key)
        })
    }

    /// `None` if that is no private key of the curve.
    fn of(key: &[u8; 32]) -> Option<Self> {
        let key = SigningKey::from_slice(key).ok()?;
        let point = key.verifying_key().to_encoded_point(false);
        let hash = Keccak256::digest(point.as_bytes().get(1..)?);
        let address = hash.get(12..)?.try_into().ok()?;
        Some(Self { key, address })
    }

    /// The address: `0x` and 40 digits in lower case.
    pub fn address(&self) -> String {
        format!("0x{}", hex::encode(self.address))
    }

    /// The same with its checksum in capital letters (EIP-55).
    pub fn checksummed(&self) -> String {
        let digits = hex::encode(self.address);
        let hash = Keccak256::digest(digits.as_bytes());
        let capital = |(at, digit): (usize, char)| {
            let nibble = hash[at / 2] >> (4 * (1 - at % 2)) & 0xf;
            if nibble >= 8 {
                digit.to_ascii_uppercase()
            } else {
                digit
            }
        };
        let digits: String = digits.chars().enumerate().map(capital).collect();
        format!("0x{digits}")
    }

    /// The signature of a message as wallets sign (EIP-191, version 0x45): `0x` and r, s, v as
    /// hexadecimal digits. The same message has the same signature (RFC 6979), with a low s.
    pub fn sign(&self, message: &str) -> Option<SecretString> {
        let mut hash = Keccak256::new();
        hash.update(format!("\x19Ethereum Signed Message:\n{}", message.len()));
        hash.update(message);
        let hash = hash.finalize();
        let (signature, parity) = self.key.sign_prehash_recoverable(&hash).ok()?;
        let mut bytes = Zeroizing::new([0; 65]);
        bytes[..64].copy_from_slice(&signature.to_bytes());
        bytes[64] = 27 + parity.to_byte();
        let mut digits = Zeroizing::new([0; 130]);
        hex::encode_to_slice(bytes.as_slice(), digits.as_mut_slice()).ok()?;
        let digits = std::str::from_utf8(digits.as_slice()).ok()?;
        let mut text = String::with_capacity(132);
        text.push_str("0x");
        text.push_str(digits);
        Some(text.into())
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn wallet(key: &str) -> Wallet {
        let key: [u8; 32] = hex::decode(key).unwrap().try_into().unwrap();
        Wallet::of(&key).unwrap()
    }

    /// The example of the documentation of web3.js (`eth.accounts.sign`).
    #[test]
    fn a_signature_is_the_one_that_other_wallets_make() {
        let wallet = wallet("4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318");
        assert_eq!(
            wallet.checksummed(),
            "0x2c7536E3605D9C16a7a3D7b1898e529396a65c23"
        );
        let signature = wallet.sign("Some data").unwrap();
        assert_eq!(
            signature.expose_secret(),
            "0xb91467e570a6466aa9e9876cbcd013baba02900b8979d43fe208a4a4f339f5fd\
             6007e74cd82e037b800186422fc2da167c747ef045e5d18a5f5d4300f8e1a0291c"
        );
    }

    #[test]
    fn what_is_no_key_of_the_curve_is_passed_over() {
        let order = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
        for bad in [order, &"00".repeat(32), &"ff".repeat(32)] {
            let key: [u8; 32] = hex::decode(bad).unwrap().try_into().unwrap();
            assert!(Wallet::of(&key).is_none(), "{bad}");
        }
    }

    #[derive(serde::Deserialize)]
    struct Vector {
        secret: String,
        actor: Actor,
        address: String,
        message: String,
        signature: String,
    }

    #[test]
    fn the_vectors_come_out() {
        let vectors: Vec<Vector> =
            serde_json::from_str(include_str!("../vectors/wallets.json")).unwrap();
        assert_eq!(vectors.len(), 3);
        for vector in vectors {
            let secret = hex::decode(vector.secret).unwrap().try_into().unwrap();
            let secret = MasterSecret::from_bytes(secret);
            let wallet = Wallet::derive(&secret, &vector.actor).unwrap();
            assert_eq!(wallet.address(), vector.address);
            let signature = wallet.sign(&vector.message).unwrap();
            assert_eq!(signature.expose_secret(), vector.signature);
        }
    }
}
