//! Logging in at the broker. What a machine asks for a person's session (RFC 8628) has the
//! orchestrator's types: [`DeviceAuthorizationRequest`](crate::DeviceAuthorizationRequest) and its
//! neighbours, at the same paths. The first operator's token is a [`Bootstrap`](crate::Bootstrap)
//! to `POST /v1/bootstrap`. The answer to each is a [`SessionToken`](crate::SessionToken).

use model::{Actor, DeviceId};
use serde::{Deserialize, Serialize};

use crate::{Description, Secret, Timestamp, UserCode};

/// The body of `POST /v1/session/exchange`: a token of an issuer that the broker's operator has
/// configured, for the audience `artifacts`.
#[derive(Serialize, Deserialize)]
pub struct ExchangeToken {
    /// The token.
    pub token: Secret,
}

/// The body of `POST /v1/session/renew`, with a session of a device as bearer token and a proof
/// by this device (its `ath` is the session's hash). The new session is for the same identity.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewSession {}

/// The answer of `GET /v1/session`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CurrentSession {
    /// Who is logged in.
    pub actor: Actor,
    /// Whose actor that is: for an operator, the same.
    pub operator: Actor,
    /// The device that the session was given to, if to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceId>,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// The answer of `GET /v1/device/{user_code}`, for an operator's session: the machine that waits
/// with this code for a session of theirs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingLogin {
    /// What was typed.
    pub user_code: UserCode,
    /// The machine.
    pub machine: Description,
    /// The program.
    pub client_id: Description,
    /// Until when it waits.
    pub expires_at: Timestamp,
}

/// The body of `POST /v1/device/{user_code}`, for an operator's session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginDecision {
    /// Whether the machine gets a session of theirs.
    pub approve: bool,
}

/// The answer of `POST /v1/wallet/nonce`: what a wallet's message (EIP-4361) must say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalletChallenge {
    /// `Nonce:`, for one login.
    pub nonce: String,
    /// The domain that wants the sign-in.
    pub domain: String,
    /// `URI:`.
    pub uri: String,
    /// `Chain ID:`, one of these.
    pub chain_ids: Vec<u64>,
    /// For how many seconds the nonce counts.
    pub expires_in: u64,
}

/// The body of `POST /v1/wallet/login`.
#[derive(Serialize, Deserialize)]
pub struct WalletLogin {
    /// The message, exactly as it was signed.
    pub message: String,
    /// The 65 bytes r, s, v of its signature (EIP-191): `0x` and hexadecimal digits.
    pub signature: Secret,
}
