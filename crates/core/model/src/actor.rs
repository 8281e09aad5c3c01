//! Who acts: a person or an agent, as one number that every part computes alike.
//!
//! `actor = hex(SHA-256("artifacts.actor.v1" ‖ lp(kind) ‖ lp(value)))`, where `lp(x)` is the
//! length of `x` in two bytes, big-endian, and then `x`. The form is fixed: rows, tokens and
//! object keys hold actors for years. `vectors/actors.json` has examples for every reader.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// An actor's number: 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Actor(String);

/// Why an actor cannot be made or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidActor {
    /// Not 64 lower-case hexadecimal digits.
    #[error("an actor is 64 digits of 0-9 and a-f")]
    Form,
    /// An issuer or subject that is empty, longer than 65,535 bytes together, or has a line
    /// break, which separates the two.
    #[error("an issuer and a subject are text without line breaks, at most 65,535 bytes together")]
    Identity,
    /// A label that is not `[a-z0-9-]{1,32}`.
    #[error("an agent's label is 1 to 32 of a-z, 0-9 and '-'")]
    Label,
    /// An address that is not `0x` and 40 lower-case hexadecimal digits.
    #[error("an EVM address is 0x and 40 digits of 0-9 and a-f")]
    Address,
}

impl Actor {
    /// A person as an OpenID Connect provider knows them.
    ///
    /// # Errors
    /// [`InvalidActor::Identity`].
    pub fn from_oidc(issuer: &str, subject: &str) -> Result<Self, InvalidActor> {
        let whole = |text: &str| !text.is_empty() && !text.contains(['\n', '\r']);
        if !whole(issuer) || !whole(subject) {
            return Err(InvalidActor::Identity);
        }
        digest("oidc", &format!("{issuer}\n{subject}")).ok_or(InvalidActor::Identity)
    }

    /// The holder of a wallet, by its address in lower case.
    ///
    /// # Errors
    /// [`InvalidActor::Address`].
    pub fn from_evm(address: &str) -> Result<Self, InvalidActor> {
        let digits = address.strip_prefix("0x").ok_or(InvalidActor::Address)?;
        if digits.len() != 40 || !digits.bytes().all(is_hex_digit) {
            return Err(InvalidActor::Address);
        }
        digest("evm", address).ok_or(InvalidActor::Address)
    }

    /// An agent of this actor.
    ///
    /// # Errors
    /// [`InvalidActor::Label`].
    pub fn agent(&self, label: &str) -> Result<Self, InvalidActor> {
        let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if !(1..=32).contains(&label.len()) || !label.bytes().all(good) {
            return Err(InvalidActor::Label);
        }
        digest("agent", &format!("{}//{label}", self.0)).ok_or(InvalidActor::Label)
    }

    /// The number as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `None` for a value that two bytes cannot give the length of.
fn digest(kind: &str, value: &str) -> Option<Actor> {
    let mut hash = Sha256::new();
    hash.update(b"artifacts.actor.v1");
    for part in [kind, value] {
        hash.update(u16::try_from(part.len()).ok()?.to_be_bytes());
        hash.update(part);
    }
    Some(Actor(hex::encode(hash.finalize())))
}

fn is_hex_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

impl FromStr for Actor {
    type Err = InvalidActor;

    fn from_str(text: &str) -> Result<Self, InvalidActor> {
        if text.len() == 64 && text.bytes().all(is_hex_digit) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidActor::Form)
        }
    }
}

impl TryFrom<String> for Actor {
    type Error = InvalidActor;

    fn try_from(text: String) -> Result<Self, InvalidActor> {
        text.parse()
    }
}

impl From<Actor> for String {
    fn from(actor: Actor) -> Self {
        actor.0
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    #[serde(tag = "kind", rename_all = "lowercase")]
    enum Vector {
        Evm {
            value: String,
            actor: String,
        },
        Oidc {
            issuer: String,
            subject: String,
            actor: String,
        },
        Agent {
            parent: Actor,
            label: String,
            actor: String,
        },
    }

    #[test]
    fn the_vectors_come_out() {
        let text = include_str!("../vectors/actors.json");
        let vectors: Vec<Vector> = serde_json::from_str(text).unwrap();
        assert_eq!(vectors.len(), 4);
        for vector in vectors {
            let (made, wanted) = match vector {
                Vector::Evm { value, actor } => (Actor::from_evm(&value), actor),
                Vector::Oidc {
                    issuer,
                    subject,
                    actor,
                } => (Actor::from_oidc(&issuer, &subject), actor),
                Vector::Agent {
                    parent,
                    label,
                    actor,
                } => (parent.agent(&label), actor),
            };
            assert_eq!(made.unwrap().as_str(), wanted);
        }
    }

    #[test]
    fn what_could_be_read_two_ways_is_refused() {
        let refused = Err(InvalidActor::Identity);
        assert_eq!(Actor::from_oidc("https://a\nb", "c"), refused);
        assert_eq!(Actor::from_oidc("https://a", "b\nc"), refused);
        assert_eq!(Actor::from_oidc("https://a", ""), refused);
        assert_eq!(Actor::from_oidc("https://a", &"x".repeat(65_535)), refused);
        let upper = "0x52908400098527886E0F7030069857D2E4169EE7";
        assert_eq!(Actor::from_evm(upper), Err(InvalidActor::Address));
        let parent = Actor::from_oidc("https://a", "b").unwrap();
        for label in ["", "A", "a/b", &"x".repeat(33)] {
            assert_eq!(parent.agent(label), Err(InvalidActor::Label));
        }
        let upper = parent.as_str().to_uppercase();
        assert_eq!(upper.parse::<Actor>(), Err(InvalidActor::Form));
    }
}
