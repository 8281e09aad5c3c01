//! Who signed a text as wallets do (EIP-191, version 0x45).

use alloy_primitives::keccak256;
use k256::ecdsa::{RecoveryId, Signature, VerifyingKey};

/// The address whose key signed a text: `0x` and 40 hexadecimal digits in lower case. `None` for
/// what is no signature, or one of two spellings of it (EIP-2: a low s).
pub(crate) fn signer(text: &str, signature: &str) -> Option<String> {
    let bytes = hex::decode(signature.strip_prefix("0x")?).ok()?;
    let (last, both) = bytes.split_last()?;
    let parity = match last {
        0 | 27 => 0,
        1 | 28 => 1,
        _ => return None,
    };
    let signature = Signature::from_slice(both).ok()?;
    if signature.normalize_s().is_some() {
        return None;
    }
    let mut signed = format!("\x19Ethereum Signed Message:\n{}", text.len()).into_bytes();
    signed.extend_from_slice(text.as_bytes());
    let hash = keccak256(signed);
    let parity = RecoveryId::from_byte(parity)?;
    let key = VerifyingKey::recover_from_prehash(hash.as_slice(), &signature, parity).ok()?;
    let point = key.to_encoded_point(false);
    let hash = keccak256(point.as_bytes().get(1..)?);
    Some(format!("0x{}", hex::encode(hash.get(12..)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first account that anvil has, and its well-known key.
    const TEXT: &str = "hello";
    const ADDRESS: &str = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266";
    const KEY: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

    fn sign(text: &str) -> (Signature, u8) {
        let key = k256::ecdsa::SigningKey::from_slice(&hex::decode(KEY).unwrap()).unwrap();
        let mut signed = format!("\x19Ethereum Signed Message:\n{}", text.len()).into_bytes();
        signed.extend_from_slice(text.as_bytes());
        let (signature, parity) = key
            .sign_prehash_recoverable(keccak256(signed).as_slice())
            .unwrap();
        (signature, parity.to_byte())
    }

    fn text_of(signature: &Signature, last: u8) -> String {
        format!("0x{}{last:02x}", hex::encode(signature.to_bytes()))
    }

    #[test]
    fn the_signer_is_found_in_either_spelling_of_the_parity() {
        let (signature, parity) = sign(TEXT);
        for last in [parity, parity + 27] {
            let found = signer(TEXT, &text_of(&signature, last));
            assert_eq!(found.as_deref(), Some(ADDRESS));
        }
        let other = signer("hello!", &text_of(&signature, parity));
        assert_ne!(other.as_deref(), Some(ADDRESS));
    }

    #[test]
    fn a_second_spelling_of_a_signature_is_none() {
        let (signature, parity) = sign(TEXT);
        let high = Signature::from_scalars(signature.r(), -signature.s()).unwrap();
        assert_eq!(signer(TEXT, &text_of(&high, parity ^ 1)), None);
        for bad in [
            "",
            "0x",
            "0x00",
            &text_of(&signature, 29)[..],
            &text_of(&signature, parity)[2..],
        ] {
            assert_eq!(signer(TEXT, bad), None, "{bad}");
        }
    }
}
