//! Names as they are allowed everywhere, checked once.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Error;

/// A bucket's name (S3 User Guide, "General purpose bucket naming rules").
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BucketName(String);

/// The beginning of the keys that a grant opens: folders, with a slash at the end. It has
/// none of the characters that a policy gives a meaning to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prefix(String);

/// What the names of users and policies begin with: two services with one account need two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace(String);

/// A store's address: `https://…` or `http://…`, without user, password and query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Endpoint(String);

impl BucketName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for BucketName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let edge =
            |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
        let good = (3..=63).contains(&name.len())
            && name.chars().all(inner)
            && edge(name.chars().next())
            && edge(name.chars().next_back())
            && !name.contains("..");
        if good {
            return Ok(Self(name.to_owned()));
        }
        Err(Error::invalid(format!(
            "{name:?} is not a bucket name\nhint: 3 to 63 lower-case letters, digits, hyphens and single dots"
        )))
    }
}

impl Prefix {
    /// The prefix, with its slash at the end.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Prefix {
    type Err = Error;

    fn from_str(prefix: &str) -> Result<Self, Error> {
        let meaning = |c: char| c.is_control() || "*?$\\".contains(c);
        let good = (2..=512).contains(&prefix.len())
            && prefix.ends_with('/')
            && !prefix.starts_with('/')
            && !prefix.contains("//")
            && !prefix.contains(meaning);
        if good {
            return Ok(Self(prefix.to_owned()));
        }
        Err(Error::invalid(format!(
            "{prefix:?} is not a prefix\nhint: folders with a slash at the end, without * ? $ \\"
        )))
    }
}

impl Namespace {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self("artifacts".into())
    }
}

impl FromStr for Namespace {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        if (1..=20).contains(&name.len()) && name.chars().all(good) {
            return Ok(Self(name.to_owned()));
        }
        Err(Error::invalid(format!(
            "{name:?} is not a namespace\nhint: 1 to 20 lower-case letters and digits"
        )))
    }
}

impl Endpoint {
    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether no certificate is needed to reach it.
    pub(crate) fn is_plain(&self) -> bool {
        self.0.starts_with("http://")
    }
}

impl FromStr for Endpoint {
    type Err = Error;

    fn from_str(address: &str) -> Result<Self, Error> {
        let rest = address
            .strip_prefix("https://")
            .or_else(|| address.strip_prefix("http://"));
        let strange = |c: char| c.is_whitespace() || c.is_control() || "@?#".contains(c);
        match rest {
            Some(rest) if !rest.is_empty() && !rest.contains(strange) => {
                Ok(Self(address.trim_end_matches('/').to_owned()))
            }
            // The text itself may have a password in it, so it is not repeated.
            _ => Err(Error::invalid(
                "that is not an endpoint\nhint: https://HOST or http://HOST:PORT, without user, password and query",
            )),
        }
    }
}

/// Parses on the way in, and shows plainly on the way out.
macro_rules! as_text {
    ($($name:ident),*) => {$(
        impl TryFrom<String> for $name {
            type Error = Error;

            fn try_from(text: String) -> Result<Self, Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

as_text!(BucketName, Prefix, Namespace, Endpoint);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_names() {
        for good in ["abc", "a-b.c", "0rg", &"a".repeat(63)] {
            assert!(good.parse::<BucketName>().is_ok(), "{good}");
        }
        for bad in [
            "ab",
            "Abc",
            "a_b",
            "-ab",
            "ab-",
            "a..b",
            "a/b",
            "a*b",
            &"a".repeat(64),
        ] {
            assert!(bad.parse::<BucketName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn prefixes_have_nothing_that_a_policy_would_read() {
        for good in ["a/", "a b/ü/", "a.b-c/d/"] {
            assert!(good.parse::<Prefix>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "/",
            "a",
            "/a/",
            "a//",
            "a*/",
            "a?/",
            "${aws:username}/",
            "a\n/",
        ] {
            assert!(bad.parse::<Prefix>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_endpoint_has_no_password_and_an_error_shows_none() {
        assert!("https://s3.example.com/".parse::<Endpoint>().is_ok());
        for bad in [
            "s3.example.com",
            "https://u:p4ss@host",
            "https://host?sig=p4ss",
            "ftp://h",
        ] {
            let error = bad.parse::<Endpoint>().unwrap_err();
            assert!(!error.to_string().contains("p4ss"), "{error}");
        }
    }
}
