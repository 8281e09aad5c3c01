//! Device authorization (RFC 8628): a machine without a browser is let in by a person who
//! has one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Description, ErrorCode, Scope, Secret, TenantId, Timestamp};

/// The form of `POST /oauth/device_authorization`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeviceAuthorizationRequest {
    /// The program that asks.
    pub client_id: Description,
    /// What for; `tenant` unless named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// The machine's name, which the person who approves is shown.
    pub machine: Description,
}

/// Its answer (RFC 8628 §3.2).
#[derive(Serialize, Deserialize, ToSchema)]
pub struct DeviceAuthorization {
    /// What the machine asks for its token with.
    pub device_code: Secret,
    /// What the person types.
    pub user_code: UserCode,
    /// Where.
    pub verification_uri: String,
    /// The same with the code in it.
    pub verification_uri_complete: String,
    /// For how many seconds the codes count.
    pub expires_in: u64,
    /// Seconds between two questions.
    pub interval: u64,
}

/// The form of `POST /oauth/token`.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct DeviceTokenRequest {
    /// `urn:ietf:params:oauth:grant-type:device_code`.
    #[schema(pattern = "^urn:ietf:params:oauth:grant-type:device_code$")]
    pub grant_type: String,
    /// From the first answer.
    pub device_code: Secret,
    /// The same as before.
    pub client_id: Description,
}

/// What `POST /oauth/token` answers while there is no token, in RFC 6749's form and ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OAuthError {
    /// RFC 8628 §3.5.
    pub error: DeviceTokenError,
    /// A sentence.
    pub error_description: String,
    /// As everywhere else.
    pub code: ErrorCode,
    /// The same sentence.
    pub message: String,
}

/// Why there is no token (RFC 8628 §3.5, RFC 6749 §5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeviceTokenError {
    /// Nobody has approved yet: ask again.
    AuthorizationPending,
    /// As before, and the questions come too fast: five seconds more between them.
    SlowDown,
    /// The person said no.
    AccessDenied,
    /// The codes have ended.
    ExpiredToken,
    /// The device code is no device code, was used, or is another program's.
    InvalidGrant,
    /// Another grant type was asked for.
    UnsupportedGrantType,
}

impl DeviceTokenError {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AuthorizationPending => "authorization_pending",
            Self::SlowDown => "slow_down",
            Self::AccessDenied => "access_denied",
            Self::ExpiredToken => "expired_token",
            Self::InvalidGrant => "invalid_grant",
            Self::UnsupportedGrantType => "unsupported_grant_type",
        }
    }
}

/// What the person sees before deciding: the answer of `GET /device/{user_code}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PendingDevice {
    /// What they typed.
    pub user_code: UserCode,
    /// The machine.
    pub machine: Description,
    /// The program.
    pub client_id: Description,
    /// What for.
    pub scope: Scope,
    /// Since when.
    pub requested_at: Timestamp,
    /// Until when.
    pub expires_at: Timestamp,
}

/// The body of `POST /device/approve` and `POST /device/deny`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeviceDecision {
    /// Which machine.
    pub user_code: UserCode,
    /// The tenant that the machine's session shall stand in; otherwise the approver's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<TenantId>,
}

/// Eight consonants, shown as `WDJB-MJHT`: no vowels, so that no words come out, and nothing
/// that looks like a digit (RFC 8628 §6.1). Reading ignores case, dashes and spaces.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(
    pattern = "^[ -]*(?:[BCDFGHJKLMNPQRSTVWXZbcdfghjklmnpqrstvwxz][ -]*){8}$",
    example = "WDJB-MJHT"
)]
pub struct UserCode(String);

/// A text that is no user code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a code is eight letters, such as WDJB-MJHT")]
pub struct InvalidUserCode;

impl UserCode {
    /// The letters that a code is made of.
    pub const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";

    /// The letters without the dash, as rows keep them.
    pub fn letters(&self) -> &str {
        &self.0
    }
}

impl FromStr for UserCode {
    type Err = InvalidUserCode;

    fn from_str(text: &str) -> Result<Self, InvalidUserCode> {
        let typed = text.chars().filter(|c| !matches!(c, '-' | ' '));
        let letters: String = typed.map(|c| c.to_ascii_uppercase()).collect();
        let good = letters.len() == 8 && letters.bytes().all(|b| Self::LETTERS.contains(&b));
        good.then_some(Self(letters)).ok_or(InvalidUserCode)
    }
}

impl TryFrom<String> for UserCode {
    type Error = InvalidUserCode;

    fn try_from(text: String) -> Result<Self, InvalidUserCode> {
        text.parse()
    }
}

impl From<UserCode> for String {
    fn from(code: UserCode) -> Self {
        code.to_string()
    }
}

impl fmt::Display for UserCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, second) = self.0.split_at(4);
        write!(f, "{first}-{second}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_as_people_type_it() {
        for typed in ["WDJB-MJHT", "wdjbmjht", " wdjb mjht"] {
            let code: UserCode = typed.parse().unwrap();
            assert_eq!(code.to_string(), "WDJB-MJHT");
        }
        for bad in [
            "WDJB-MJH",
            "WDJB-MJHTX",
            "WDJA-MJHT",
            "1DJB-MJHT",
            "ẞDJBMJHT",
        ] {
            assert_eq!(bad.parse::<UserCode>(), Err(InvalidUserCode), "{bad}");
        }
    }
}
