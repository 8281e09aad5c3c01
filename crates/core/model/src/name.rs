//! Names of workspaces and how they are addressed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a string is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a valid name: use 1 to 63 letters, digits, '-' or '_', beginning with a letter or digit"
)]
pub struct InvalidName(pub String);

/// `^[a-zA-Z0-9][a-zA-Z0-9_-]{0,62}$`
fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes[0].is_ascii_alphanumeric()
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> {
                if is_name(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(InvalidName(text.to_owned()))
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;
            fn try_from(text: String) -> Result<Self, InvalidName> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name_type!(
    /// The name of a workspace on this machine or of one owner.
    WorkspaceName
);
name_type!(
    /// The short name of a workspace's owner.
    Handle
);

/// How a user points at a workspace: `NAME`, `HANDLE/NAME` or `artifacts://HANDLE/NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkspaceAddress {
    /// The owner; `None` for a workspace known on this machine.
    pub handle: Option<Handle>,
    /// The workspace.
    pub name: WorkspaceName,
}

impl FromStr for WorkspaceAddress {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let (path, needs_handle) = match text.strip_prefix("artifacts://") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        match path.split_once('/') {
            Some((handle, name)) => Ok(Self {
                handle: Some(handle.parse()?),
                name: name.parse()?,
            }),
            None if needs_handle => Err(InvalidName(text.to_owned())),
            None => Ok(Self {
                handle: None,
                name: path.parse()?,
            }),
        }
    }
}

impl fmt::Display for WorkspaceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.handle {
            Some(handle) => write!(f, "artifacts://{handle}/{}", self.name),
            None => write!(f, "{}", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rule() {
        for good in ["a", "9", "Cases-2", "a_b", &"x".repeat(63)] {
            assert!(good.parse::<WorkspaceName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "_a", "a b", "a/b", "ä", "a.b", &"x".repeat(64)] {
            assert_eq!(
                bad.parse::<WorkspaceName>(),
                Err(InvalidName(bad.to_owned()))
            );
        }
    }

    #[test]
    fn addresses_have_three_forms() {
        let local: WorkspaceAddress = "cases".parse().expect("a name");
        assert_eq!((local.handle, local.name.as_str()), (None, "cases"));
        for text in ["ada/cases", "artifacts://ada/cases"] {
            let full: WorkspaceAddress = text.parse().expect("an address");
            assert_eq!(full.to_string(), "artifacts://ada/cases");
        }
        for bad in ["artifacts://cases", "a/b/c", "/a", "a/", "s3://a/b"] {
            assert!(bad.parse::<WorkspaceAddress>().is_err(), "{bad}");
        }
    }
}
