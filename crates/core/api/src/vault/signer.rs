//! `POST /v1/derive-cred-kek` (between servers), `POST /dev/sign-message` and
//! `POST /v1/derive-own-kek` (for sessions).

use model::Actor;
use serde::{Deserialize, Serialize};

use crate::Secret;

/// The body of `POST /v1/derive-cred-kek`, over mTLS, for the role `worker`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeriveCredKek {
    /// Who owns the actor.
    pub operator: Actor,
    /// Whose credentials the key seals.
    pub actor: Actor,
    /// Of which epoch: the current one, or an older one to read what was sealed then.
    pub epoch: u32,
}

/// The body of `POST /v1/derive-own-kek`: operator and actor are both the session's, which is an
/// operator's own. What an agent may open is the worker's to say, service by service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeriveOwnKek {
    /// Of which epoch; absent for the current one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u32>,
}

/// The answer of both.
#[derive(Serialize, Deserialize)]
pub struct DerivedKek {
    /// The key, 32 bytes, base64.
    pub kek: Secret,
    /// Its epoch.
    pub epoch: u32,
    /// The signer's current epoch.
    pub current_epoch: u32,
}

/// The answer of `GET /v1/epoch`, on both listeners.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epoch {
    /// The signer's current epoch.
    pub current_epoch: u32,
}

/// The body of `POST /dev/sign-message`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignMessage {
    /// The message, of one of the forms that the signer knows.
    pub message: String,
}

/// The answer.
#[derive(Serialize, Deserialize)]
pub struct SignedMessage {
    /// The wallet's address, `0x` and 40 hexadecimal digits in lower case.
    pub address: String,
    /// The 65 bytes r, s, v (EIP-191), `0x` and hexadecimal digits. Secret: keys follow from it.
    pub signature: Secret,
}
