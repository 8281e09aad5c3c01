//! Where a workspace lies: names and places, never a key.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Why a text is no bucket, prefix, endpoint or region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPlace {
    /// Not a bucket name by S3's rules.
    #[error(
        "a bucket's name is 3 to 63 of a-z, 0-9, '-' and '.', begins and ends with a letter or digit, and has no '..'"
    )]
    Bucket,
    /// Not a prefix that can be a folder.
    #[error(
        "a prefix is empty, or names of folders that each end with '/', at most 512 bytes, without '.', '..' or control characters"
    )]
    Prefix,
    /// Not the address of a store. The text is not repeated: it may hold a secret.
    #[error(
        "an endpoint is http:// or https://, a host and perhaps a path, at most 512 bytes, without a user, a password or parameters"
    )]
    Endpoint,
    /// Not a region.
    #[error("a region is 1 to 63 of a-z, 0-9 and '-'")]
    Region,
}

macro_rules! text_type {
    ($(#[$meta:meta])* $name:ident, $valid:ident, $error:expr) => {
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
        #[serde(try_from = "String", into = "String")]
        $(#[$meta])*
        pub struct $name(String);

        impl $name {
            /// As text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidPlace;
            fn from_str(text: &str) -> Result<Self, InvalidPlace> {
                if $valid(text) { Ok(Self(text.to_owned())) } else { Err($error) }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidPlace;
            fn try_from(text: String) -> Result<Self, InvalidPlace> {
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

text_type!(
    /// A bucket's name.
    #[schema(
        min_length = 3,
        max_length = 63,
        pattern = r"^[a-z0-9](?:\.?(?:-+\.?)*[a-z0-9])*$",
        example = "my-bucket"
    )]
    BucketName,
    is_bucket,
    InvalidPlace::Bucket
);
text_type!(
    /// What all keys of a workspace begin with: empty, or ending with `/`.
    #[schema(
        max_length = 512,
        pattern = r"^(?:(?:[^/\x00-\x1f\x7f-\x9f]*[^./\x00-\x1f\x7f-\x9f][^/\x00-\x1f\x7f-\x9f]*|\.{3,})/)*$",
        example = "cases/"
    )]
    Prefix,
    is_prefix,
    InvalidPlace::Prefix
);
text_type!(
    /// The URL of a store. The orchestrator keeps it and shows it; it never connects to it.
    #[schema(
        max_length = 512,
        pattern = r"^https?://[!$-.0-;=A-\[\]-~][!$-;=A-\[\]-~]*$",
        example = "https://s3.example.com"
    )]
    Endpoint,
    is_endpoint,
    InvalidPlace::Endpoint
);
text_type!(
    /// A region.
    #[schema(pattern = "^[a-z0-9-]{1,63}$", example = "eu-central-1")]
    Region,
    is_region,
    InvalidPlace::Region
);

/// A bucket, the store that has it, and the part of it that is meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Place {
    /// The bucket.
    pub bucket: BucketName,
    /// The store.
    pub endpoint_url: Endpoint,
    /// Its region.
    pub region: Region,
    /// The part of the bucket.
    pub prefix: Prefix,
}

/// S3's "Bucket naming rules", the ones that every store shares.
fn is_bucket(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    let outer = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    (3..=63).contains(&bytes.len())
        && bytes.iter().copied().all(inner)
        && outer(bytes[0])
        && outer(bytes[bytes.len() - 1])
        && !text.contains("..")
}

fn is_prefix(text: &str) -> bool {
    let Some(folders) = text.strip_suffix('/') else {
        return text.is_empty();
    };
    text.len() <= 512
        && !text.chars().any(char::is_control)
        && folders
            .split('/')
            .all(|name| !matches!(name, "" | "." | ".."))
}

fn is_endpoint(text: &str) -> bool {
    let rest = text
        .strip_prefix("https://")
        .or(text.strip_prefix("http://"));
    rest.is_some_and(|rest| {
        let host = rest.split('/').next().unwrap_or("");
        text.len() <= 512
            && !host.is_empty()
            && rest.bytes().all(|b| b.is_ascii_graphic())
            && !rest.contains(['@', '?', '#', '\\', '"', '<', '>'])
    })
}

fn is_region(text: &str) -> bool {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_the_rules() {
        for good in ["abc", "a-b.c", "0ab", &"x".repeat(63)] {
            assert!(good.parse::<BucketName>().is_ok(), "{good}");
        }
        for bad in [
            "ab",
            "Abc",
            "a..b",
            "-ab",
            "ab-",
            "a_b",
            "a b",
            &"x".repeat(64),
        ] {
            assert_eq!(
                bad.parse::<BucketName>(),
                Err(InvalidPlace::Bucket),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_prefix_is_a_folder_and_nothing_beside_it() {
        for good in ["", "a/", "a b/c/"] {
            assert!(good.parse::<Prefix>().is_ok(), "{good}");
        }
        for bad in ["a", "/", "/a/", "a//", "../", "a/../", "./", "a\n/"] {
            assert_eq!(bad.parse::<Prefix>(), Err(InvalidPlace::Prefix), "{bad}");
        }
    }

    #[test]
    fn an_endpoint_has_no_room_for_a_secret() {
        for good in ["https://s3.example.com", "http://127.0.0.1:9000/store"] {
            assert!(good.parse::<Endpoint>().is_ok(), "{good}");
        }
        for bad in [
            "s3.example.com",
            "ftp://a",
            "https://",
            "https:///a",
            "https://user:secret@a",
            "https://a?key=secret",
            "https://a#secret",
            "https://a b",
        ] {
            assert_eq!(
                bad.parse::<Endpoint>(),
                Err(InvalidPlace::Endpoint),
                "{bad}"
            );
        }
    }
}
