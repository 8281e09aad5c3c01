//! Names of key profiles.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Error;

/// Which set of storage keys of the cache file is meant; [`KeyProfile::default`] is the
/// part of the file before any `[profile NAME]` line.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyProfile(String);

/// What the unnamed profile is called on the command line.
const DEFAULT: &str = "default";

impl KeyProfile {
    /// Whether this is the unnamed first profile.
    pub fn is_default(&self) -> bool {
        self.0 == DEFAULT
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for KeyProfile {
    fn default() -> Self {
        Self(DEFAULT.to_owned())
    }
}

impl FromStr for KeyProfile {
    type Err = Error;

    /// `^[a-zA-Z0-9][a-zA-Z0-9._-]{0,62}$`
    fn from_str(text: &str) -> Result<Self, Error> {
        let bytes = text.as_bytes();
        let fits = (1..=63).contains(&bytes.len())
            && bytes[0].is_ascii_alphanumeric()
            && bytes
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::InvalidProfile(text.to_owned()))
        }
    }
}

impl TryFrom<String> for KeyProfile {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<KeyProfile> for String {
    fn from(profile: KeyProfile) -> String {
        profile.0
    }
}

impl fmt::Display for KeyProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
