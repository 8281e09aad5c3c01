//! The value of a secret on its way.

use api::Secret;
use api::vault::LONGEST_PLAINTEXT;
use zeroize::Zeroizing;

use crate::error::{Kind, Result, SecretError};

/// A value. It has neither `Debug` nor `Clone`; wiped when dropped.
pub struct SecretValue(Zeroizing<Vec<u8>>);

impl SecretValue {
    /// Takes the bytes over.
    ///
    /// # Errors
    /// Nothing at all, or more than an envelope holds.
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Result<Self> {
        let refuse = |what: &str, hint: &str| Err(SecretError::new(Kind::Usage, what, hint));
        if bytes.is_empty() {
            return refuse("the secret is empty", "give its value on standard input");
        }
        if bytes.len() > LONGEST_PLAINTEXT {
            return refuse(
                "a secret has at most 65,536 bytes",
                "keep files in a workspace instead",
            );
        }
        Ok(Self(bytes))
    }

    /// The bytes, for whoever uses them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// In base64, as it stands in bodies.
    pub fn to_wire(&self) -> Secret {
        let text = base64_simd::STANDARD.encode_to_string(self.expose());
        secrecy::SecretString::from(text).into()
    }

    /// From the base64 of a body; `None` where it is none, or too long.
    pub fn from_wire(text: &Secret) -> Option<Self> {
        decode(text)
            .map(Self)
            .filter(|value| value.0.len() <= LONGEST_PLAINTEXT)
    }

    pub(crate) fn opened(plaintext: &vault::Plaintext) -> Self {
        Self(Zeroizing::new(plaintext.expose().to_vec()))
    }
}

/// The bytes of base64 (standard alphabet, padded).
pub(crate) fn decode(text: &Secret) -> Option<Zeroizing<Vec<u8>>> {
    let bytes = base64_simd::STANDARD.decode_to_vec(text.expose());
    bytes.ok().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_go_there_and_back() {
        let bytes: Vec<u8> = (0..=255).collect();
        let value = SecretValue::new(Zeroizing::new(bytes.clone())).expect("a value");
        let back = SecretValue::from_wire(&value.to_wire()).expect("base64");
        assert_eq!(back.expose(), bytes);
        let bad = Secret::from(secrecy::SecretString::from("a*b="));
        assert!(SecretValue::from_wire(&bad).is_none());
    }

    #[test]
    fn nothing_and_too_much_are_refused() {
        for length in [0, LONGEST_PLAINTEXT + 1] {
            let refused = SecretValue::new(Zeroizing::new(vec![1; length])).err();
            assert_eq!(refused.map(|e| e.kind), Some(Kind::Usage));
        }
        assert!(SecretValue::new(Zeroizing::new(vec![1; LONGEST_PLAINTEXT])).is_ok());
    }
}
