//! What a keyring holds: secrets under names.

use std::fmt;
use std::str::FromStr;

use zeroize::Zeroizing;

use super::KeyringError;
use crate::Error;

/// The name of an entry: `FOLDER/NAME`, for example `storage/default` or `session/ada`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryName(String);

/// The most bytes of a name.
const LIMIT: usize = 128;

impl EntryName {
    /// The storage keys of a profile.
    pub fn storage(profile: &crate::KeyProfile) -> Self {
        Self(format!("storage/{profile}"))
    }

    /// The long-lived keys of an identity.
    pub fn identity(name: &crate::IdentityName) -> Self {
        Self(format!("identity/{name}"))
    }

    /// The session of an identity: beside its long-lived keys, never in their place.
    pub fn session(name: &crate::IdentityName) -> Self {
        Self(format!("session/{name}"))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EntryName {
    type Err = Error;

    /// One folder and one name of letters, digits, `.`, `_` and `-`; at most 128 bytes.
    fn from_str(text: &str) -> Result<Self, Error> {
        let plain = |part: &str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        };
        let fits = text.len() <= LIMIT
            && text
                .split_once('/')
                .is_some_and(|(folder, name)| plain(folder) && plain(name));
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(KeyringError::InvalidName(text.to_owned()).into())
        }
    }
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The bytes of an entry, wiped when dropped. Neither `Debug` nor `Clone`.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes over.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for those who keep or use them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl From<Zeroizing<Vec<u8>>> for Secret {
    fn from(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_a_folder_and_a_plain_name() {
        for good in ["storage/default", "session/a.b-c_d", "a/b"] {
            let name = good.parse::<EntryName>().expect("a name");
            assert_eq!(name.as_str(), good);
        }
        let long = format!("a/{}", "b".repeat(LIMIT));
        for bad in ["", "storage", "a/", "/b", "a/b/c", "a/ b", "a/b\n", &long] {
            let expected = Error::from(KeyringError::InvalidName(bad.to_owned()));
            assert_eq!(bad.parse::<EntryName>().err(), Some(expected));
        }
    }
}
