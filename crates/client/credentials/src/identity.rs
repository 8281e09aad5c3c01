//! Identities: who logs in to a store's STS, and how. Never a secret; those are in the
//! keyring.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Endpoint, Error, KeyProfile, Lifetime};

/// The name of an identity: 1 to 63 letters, digits, `.`, `_` or `-`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IdentityName(String);

impl IdentityName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for IdentityName {
    /// `default`.
    fn default() -> Self {
        Self("default".into())
    }
}

impl FromStr for IdentityName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        // The same form as a profile's name.
        let same: Result<KeyProfile, Error> = text.parse();
        same.map(|name| Self(name.into()))
            .map_err(|_| Error::InvalidIdentity(text.to_owned()))
    }
}

impl TryFrom<String> for IdentityName {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<IdentityName> for String {
    fn from(name: IdentityName) -> String {
        name.0
    }
}

impl fmt::Display for IdentityName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `[auth.identities.NAME]` of `config.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The STS's address; without one, AWS's in the region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Endpoint>,
    /// The region that requests to the STS are signed for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The serial number or ARN of the MFA device; with one, each login asks for a code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mfa_device: Option<String>,
    /// How long a session lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_length: Option<Lifetime>,
    /// The role to assume; without one, a session of the keys' own user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
    /// What the role's owner has agreed on as a further condition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// A file with a token of an identity provider, read at each login: then the role is
    /// assumed with it, and there are no long-lived keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub web_identity_token_file: Option<PathBuf>,
}

/// How an identity gets its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Long-lived keys → GetSessionToken.
    Session,
    /// Long-lived keys → AssumeRole.
    Role,
    /// A provider's token → AssumeRoleWithWebIdentity.
    WebIdentity,
}

impl Identity {
    /// The fields as they are written.
    pub(crate) const FIELDS: [&str; 7] = [
        "endpoint",
        "region",
        "mfa_device",
        "session_length",
        "role_arn",
        "external_id",
        "web_identity_token_file",
    ];

    /// Which way it logs in.
    pub fn flow(&self) -> Flow {
        match (&self.web_identity_token_file, &self.role_arn) {
            (Some(_), _) => Flow::WebIdentity,
            (None, Some(_)) => Flow::Role,
            (None, None) => Flow::Session,
        }
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Session => "session",
            Self::Role => "role",
            Self::WebIdentity => "web-identity",
        })
    }
}
