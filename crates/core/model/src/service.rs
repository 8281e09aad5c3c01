//! The name of a service whose key is in the vault, such as `openrouter`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// `^[a-z0-9][a-z0-9._-]{0,63}$`
///
/// Capital letters are made small here and nowhere else: the client, the broker and the worker
/// all parse names by this type, so one service has one object key, one scope and one envelope.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServiceName(String);

/// Why a text is not the name of a service.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is not the name of a service: use 1 to 64 letters, digits, '.', '_' or '-', beginning with a letter or digit"
)]
pub struct InvalidService;

impl ServiceName {
    /// The name, in small letters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ServiceName {
    type Err = InvalidService;

    fn from_str(text: &str) -> Result<Self, InvalidService> {
        let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let begins = text
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphanumeric());
        if begins && text.len() <= 64 && text.bytes().all(good) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(InvalidService)
        }
    }
}

impl TryFrom<String> for ServiceName {
    type Error = InvalidService;

    fn try_from(text: String) -> Result<Self, InvalidService> {
        text.parse()
    }
}

impl From<ServiceName> for String {
    fn from(name: ServiceName) -> Self {
        name.0
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_name_however_it_is_cased() {
        let name: ServiceName = "OpenRouter".parse().unwrap();
        assert_eq!(name.as_str(), "openrouter");
        assert_eq!("openrouter".parse(), Ok(name));
    }

    #[test]
    fn what_could_leave_the_folder_or_is_no_ascii_is_no_name() {
        // The last is the sign for Kelvin, whose small letter is an ordinary k.
        for bad in [
            "", "..", ".a", "-a", "a/b", "../a", "a b", "ä", "a\0", "a\n", "\u{212a}",
        ] {
            assert_eq!(bad.parse::<ServiceName>(), Err(InvalidService), "{bad:?}");
        }
        assert_eq!("a".repeat(65).parse::<ServiceName>(), Err(InvalidService));
        assert!("a".repeat(64).parse::<ServiceName>().is_ok());
    }
}
