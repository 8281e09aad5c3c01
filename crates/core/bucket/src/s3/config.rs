//! How to reach one bucket.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{KeySource, Transport};

const MIB: u64 = 1024 * 1024;

/// S3's bounds of a multipart upload (S3 User Guide, "Multipart upload limits").
const MOST_PARTS: u64 = 10_000;
const LEAST_PART: u64 = 5 * MIB;

/// The settings of an [`S3Bucket`](super::S3Bucket). [`Config::new`] gives values that
/// suit a mounted workspace.
#[derive(Clone)]
pub struct Config {
    /// The bucket's name.
    pub bucket: String,
    /// The store's address, `https://…` or `http://…`; `None` for Amazon S3 itself.
    pub endpoint: Option<String>,
    /// The region to sign for. Most stores that are not Amazon's take any.
    pub region: String,
    /// Gives the storage keys.
    pub keys: Arc<dyn KeySource>,
    /// Bucket name in the path instead of the host name. `None` decides: in the path where
    /// an endpoint is set.
    pub path_style: Option<bool>,
    /// Certificates (PEM) to trust instead of the machine's.
    pub ca_pem: Option<Vec<u8>>,
    /// The most time that opening a connection may take.
    pub connect_timeout: Duration,
    /// The most time without a byte moved in either direction.
    pub read_timeout: Duration,
    /// The most time that one call may spend without success, retries included. A
    /// transfer that moves may take longer.
    pub operation_timeout: Duration,
    /// How often a call is tried at most.
    pub max_attempts: u32,
    /// Bytes of one part of a multipart upload; grown where 10,000 parts would not do.
    pub part_size: u64,
    /// Bodies longer than this go up in parts.
    pub multipart_threshold: u64,
    /// Parts of one upload in flight at once.
    pub part_concurrency: usize,
    /// Idle connections that are kept open.
    pub max_idle_connections: usize,
    /// Connections shared with other buckets of the same store; `None` for own ones.
    pub transport: Option<Transport>,
}

impl Config {
    /// Settings for a bucket at Amazon S3; set `endpoint` for another store.
    pub fn new(
        bucket: impl Into<String>,
        region: impl Into<String>,
        keys: Arc<dyn KeySource>,
    ) -> Self {
        Self {
            bucket: bucket.into(),
            endpoint: None,
            region: region.into(),
            keys,
            path_style: None,
            ca_pem: None,
            connect_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(20),
            operation_timeout: Duration::from_secs(60),
            max_attempts: 5,
            part_size: 8 * MIB,
            multipart_threshold: 16 * MIB,
            part_concurrency: 8,
            max_idle_connections: 256,
            transport: None,
        }
    }

    /// The part size for a body of this many bytes: whole MiB, so few that S3 takes them.
    pub(super) fn part_size_for(&self, len: u64) -> u64 {
        let needed = len.div_ceil(MOST_PARTS).next_multiple_of(MIB);
        self.part_size.max(LEAST_PART).max(needed)
    }

    /// The store's address for messages: never with user or password.
    pub(super) fn shown_endpoint(&self) -> String {
        let Some(endpoint) = &self.endpoint else {
            return format!("Amazon S3 ({})", self.region);
        };
        match endpoint.split_once("://") {
            Some((scheme, rest)) => {
                let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                let host = authority
                    .rsplit_once('@')
                    .map_or(authority, |(_, host)| host);
                format!(
                    "{scheme}://{host}{}",
                    path.split('?').next().unwrap_or_default()
                )
            }
            None => endpoint
                .rsplit_once('@')
                .map_or(endpoint.as_str(), |(_, host)| host)
                .to_owned(),
        }
    }

    pub(super) fn is_plain_http(&self) -> bool {
        self.endpoint
            .as_ref()
            .is_some_and(|e| e.to_ascii_lowercase().starts_with("http://"))
    }
}

impl fmt::Debug for Config {
    /// Shows where, never with what keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("bucket", &self.bucket)
            .field("endpoint", &self.shown_endpoint())
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Keys, StaticKeys};
    use super::*;

    fn config() -> Config {
        let keys = Keys {
            access_key_id: "AKIDEXAMPLE".into(),
            secret_access_key: "secret-to-hide".into(),
            session_token: Some("token-to-hide".into()),
            expires: None,
        };
        Config::new("b", "r", Arc::new(StaticKeys::new(keys)))
    }

    #[test]
    fn parts_grow_so_that_ten_thousand_do() {
        let config = config();
        assert_eq!(config.part_size_for(17 * MIB), 8 * MIB);
        assert_eq!(config.part_size_for(80_000 * MIB), 8 * MIB);
        assert_eq!(config.part_size_for(80_000 * MIB + 1), 9 * MIB);
        let most = 5 * 1024 * 1024 * MIB;
        assert!(most.div_ceil(config.part_size_for(most)) <= MOST_PARTS);
    }

    #[test]
    fn debug_shows_no_secret() {
        let mut config = config();
        config.endpoint = Some("https://user:password-to-hide@host:1/p?sig=to-hide".into());
        let shown = format!("{config:?}");
        assert!(shown.contains("https://host:1/p"), "{shown}");
        assert!(!shown.contains("to-hide"), "{shown}");
        assert!(!shown.contains("AKID"), "{shown}");
    }
}
