//! Where a workspace is: the endpoint of a store, and the prefix inside a bucket.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Error;

/// The address of an S3 endpoint: `http` or `https`, a host, perhaps a port. Never with
/// credentials, a path, a query or a fragment.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Endpoint(String);

/// The name of a bucket: 1 to 255 letters, digits, `.`, `-` or `_`. (S3's own rule is
/// narrower, but other stores and old buckets are not bound by it.)
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BucketName(String);

/// What a workspace's keys begin with: empty, or folders each followed by `/`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prefix(String);

/// The most bytes of a prefix, so that half of a key's 1,024 are left for names.
const LONGEST_PREFIX: usize = 512;

impl BucketName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Endpoint {
    /// The address, without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether what is sent there goes over a network unencrypted: plain HTTP to another host
    /// than this one.
    pub fn is_in_clear(&self) -> bool {
        let Some(address) = self.0.strip_prefix("http://") else {
            return false;
        };
        let host = match address.strip_prefix('[').and_then(|a| a.split_once(']')) {
            Some((v6, _)) => v6,
            None => address.rsplit_once(':').map_or(address, |(host, _)| host),
        };
        let local = |ip: std::net::IpAddr| ip.is_loopback();
        !(host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(local))
    }
}

impl Prefix {
    /// The prefix, with its slash at the end unless empty.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the workspace is the whole bucket.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The key of `path` in this workspace.
    pub fn join(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }

    /// Whether one of the two lies inside the other (or they are the same).
    pub fn overlaps(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0) || other.0.starts_with(&self.0)
    }

    /// The prefixes that this one lies in, the whole bucket first, itself not included.
    pub fn ancestors(&self) -> Vec<Self> {
        let ends = self.0.match_indices('/').map(|(at, _)| at + 1);
        std::iter::once(0)
            .chain(ends)
            .filter(|end| *end < self.0.len())
            .map(|end| Self(self.0[..end].to_owned()))
            .collect()
    }
}

impl FromStr for BucketName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        let dots = matches!(text, "." | "..");
        if (1..=255).contains(&text.len()) && text.bytes().all(plain) && !dots {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::InvalidBucket(text.to_owned()))
        }
    }
}

impl FromStr for Endpoint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        let refuse = |reason| Error::InvalidEndpoint {
            text: without_user(text),
            reason,
        };
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| refuse("it does not begin with https:// or http://"))?;
        if !matches!(scheme, "http" | "https") {
            return Err(refuse("it does not begin with https:// or http://"));
        }
        let host = rest.strip_suffix('/').unwrap_or(rest);
        match host_problem(host) {
            Some(reason) => Err(refuse(reason)),
            None => Ok(Self(format!("{scheme}://{host}"))),
        }
    }
}

impl FromStr for Prefix {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = |reason| Error::InvalidPrefix {
            text: text.to_owned(),
            reason,
        };
        let inner = text.strip_suffix('/').unwrap_or(text);
        if inner.is_empty() {
            return if text.is_empty() {
                Ok(Self::default())
            } else {
                Err(refuse("it begins with a slash"))
            };
        }
        if inner.len() >= LONGEST_PREFIX {
            return Err(refuse("it is longer than 511 bytes"));
        }
        match inner.split('/').find_map(folder_problem) {
            Some(reason) => Err(refuse(reason)),
            None => Ok(Self(format!("{inner}/"))),
        }
    }
}

fn host_problem(host: &str) -> Option<&'static str> {
    let bare = host.rsplit_once(':').map_or(host, |(bare, _)| bare);
    if host.contains('@') {
        Some("it has a user name in it; keys do not belong into an address")
    } else if host.contains(['/', '?', '#']) {
        Some("it goes on after the host")
    } else if bare.is_empty() {
        Some("it has no host")
    } else if host.chars().any(|c| c.is_whitespace() || c.is_control()) {
        Some("it has white space in it")
    } else if !port_is_good(host) {
        Some("its port is not a number from 1 to 65535")
    } else {
        None
    }
}

/// Whether what follows the last colon outside of `[…]` (an IPv6 host) is a port.
fn port_is_good(host: &str) -> bool {
    let after_v6 = host.rsplit_once(']').map_or(host, |(_, rest)| rest);
    after_v6
        .rsplit_once(':')
        .is_none_or(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0))
}

fn folder_problem(folder: &str) -> Option<&'static str> {
    match folder {
        "" => Some("it has an empty folder name in it"),
        "." | ".." => Some("`.` and `..` are no folder names"),
        ".artifacts" => Some("`.artifacts` is what a workspace keeps for itself"),
        _ if folder.len() > 255 => Some("a folder name has more than 255 bytes"),
        _ if folder.chars().any(char::is_control) => Some("it has control characters in it"),
        _ => None,
    }
}

/// The text with what stands before an `@` taken out: it may be a password.
fn without_user(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((_, host)) => format!("…@{host}"),
        None => text.to_owned(),
    }
}

macro_rules! text_type {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = Error;
            fn try_from(text: String) -> Result<Self, Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_type!(BucketName);
text_type!(Endpoint);
text_type!(Prefix);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_private_on_this_machine_only() {
        let in_clear = |text: &str| text.parse::<Endpoint>().expect("good").is_in_clear();
        for private in [
            "https://sts.example.com",
            "http://127.0.0.1:9000",
            "http://127.1.2.3",
            "http://[::1]:9000",
            "http://localhost:9000",
        ] {
            assert!(!in_clear(private), "{private}");
        }
        for open in [
            "http://sts.example.com",
            "http://10.0.0.1:9000",
            "http://127.0.0.1.example.com",
            "http://[2001:db8::1]:80",
            "http://localhost.example.com",
        ] {
            assert!(in_clear(open), "{open}");
        }
    }

    #[test]
    fn endpoints_are_a_scheme_and_a_host() {
        for (text, expected) in [
            (
                "https://s3.eu-west-1.amazonaws.com",
                "https://s3.eu-west-1.amazonaws.com",
            ),
            ("http://127.0.0.1:8333/", "http://127.0.0.1:8333"),
            ("http://[::1]:9000", "http://[::1]:9000"),
            ("http://[::1]", "http://[::1]"),
        ] {
            let endpoint: Endpoint = text.parse().expect("an endpoint");
            assert_eq!(endpoint.as_str(), expected);
        }
    }

    #[test]
    fn what_is_no_endpoint_is_refused_without_repeating_a_password() {
        for (text, reason) in [
            (
                "localhost:9000",
                "it does not begin with https:// or http://",
            ),
            ("s3://bucket", "it does not begin with https:// or http://"),
            ("https://", "it has no host"),
            ("http://:80", "it has no host"),
            ("http://host/bucket", "it goes on after the host"),
            ("http://host?x=1", "it goes on after the host"),
            ("http://ho st", "it has white space in it"),
            (
                "http://host:99999",
                "its port is not a number from 1 to 65535",
            ),
            ("http://host:", "its port is not a number from 1 to 65535"),
        ] {
            let text = text.to_owned();
            assert_eq!(
                text.parse::<Endpoint>(),
                Err(Error::InvalidEndpoint { text, reason })
            );
        }
        let error = "https://AKIA:topsecret@host"
            .parse::<Endpoint>()
            .expect_err("refused");
        assert!(!error.to_string().contains("topsecret"), "{error}");
    }

    #[test]
    fn a_bucket_is_a_name_alone() {
        for good in ["my-bucket", "a", "old_Bucket.1"] {
            assert!(good.parse::<BucketName>().is_ok(), "{good}");
        }
        for bad in ["", "s3://b", "b/prefix", "a b", "..", "ä"] {
            let error = Error::InvalidBucket(bad.to_owned());
            assert_eq!(bad.parse::<BucketName>(), Err(error));
        }
    }

    #[test]
    fn prefixes_end_with_a_slash() {
        let prefix = |text: &str| text.parse::<Prefix>().map(|p| p.as_str().to_owned());
        assert_eq!(prefix(""), Ok(String::new()));
        assert_eq!(prefix("team"), Ok("team/".into()));
        assert_eq!(prefix("team/ada/"), Ok("team/ada/".into()));
        for (text, reason) in [
            ("/", "it begins with a slash"),
            ("/team", "it has an empty folder name in it"),
            ("a//b", "it has an empty folder name in it"),
            ("a/../b", "`.` and `..` are no folder names"),
            (
                "a/.artifacts",
                "`.artifacts` is what a workspace keeps for itself",
            ),
            ("a\nb", "it has control characters in it"),
        ] {
            let text = text.to_owned();
            assert_eq!(
                text.parse::<Prefix>(),
                Err(Error::InvalidPrefix { text, reason })
            );
        }
    }

    #[test]
    fn prefixes_overlap_by_folders_not_by_letters() {
        let prefix = |text: &str| text.parse::<Prefix>().expect("a prefix");
        assert!(prefix("").overlaps(&prefix("a")));
        assert!(prefix("a/b").overlaps(&prefix("a")));
        assert!(prefix("a").overlaps(&prefix("a")));
        assert!(!prefix("a").overlaps(&prefix("ab")));
        let ancestors = prefix("a/b/c").ancestors();
        let texts: Vec<&str> = ancestors.iter().map(Prefix::as_str).collect();
        assert_eq!(texts, ["", "a/", "a/b/"]);
        assert!(prefix("").ancestors().is_empty());
    }
}
