//! The adapter for any S3-compatible store, over the AWS SDK.
//!
//! The SDK signs, serialises and parses; everything that a flaky network needs is done
//! here, where bodies, keys and time are seen together: retries, stalls, reconnecting and
//! new session keys ([`call`]), one mapping of errors ([`error`]), uploads in parts that
//! are never left behind ([`multipart`]).

mod call;
mod config;
mod connect;
mod copy;
mod delete;
mod error;
mod keys;
mod list;
mod multipart;
mod read;
mod upload;
mod write;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8};

use async_trait::async_trait;

use self::connect::Connection;
use crate::{
    Body, Bucket, Condition, CopyOptions, DeleteOutcome, Error, Etag, GetOptions, Key, ListPage,
    ListRequest, Object, ObjectMeta, PutOptions, PutOutcome, Result,
};

pub use config::Config;
pub use connect::Transport;
pub use keys::{EARLY, KeySource, Keys, StaticKeys};

/// A bucket at an S3-compatible store. Clones share connections.
#[derive(Clone)]
pub struct S3Bucket {
    s3: Arc<S3>,
}

/// What all calls share.
struct S3 {
    config: Config,
    /// The address for messages.
    endpoint: String,
    connection: Connection,
    /// Whether the bucket was ever seen: then a bare 404 is about the key.
    seen: AtomicBool,
    /// What a `+` in a listing means, see [`list`].
    plus: AtomicU8,
}

impl S3Bucket {
    /// Takes the settings; asks nothing yet. Settings that cannot work are
    /// [`Error::Invalid`].
    pub fn new(config: Config) -> Result<Self> {
        connect::check(&config)?;
        let endpoint = config.shown_endpoint();
        let connection = Connection::new();
        let (seen, plus) = (AtomicBool::new(false), AtomicU8::new(0));
        Ok(Self {
            s3: Arc::new(S3 {
                config,
                endpoint,
                connection,
                seen,
                plus,
            }),
        })
    }

    /// The settings in use.
    pub fn config(&self) -> &Config {
        &self.s3.config
    }
}

#[async_trait]
impl Bucket for S3Bucket {
    async fn get(&self, key: &Key, options: GetOptions) -> Result<Object> {
        self.s3.get(key, options).await
    }

    async fn head(&self, key: &Key) -> Result<ObjectMeta> {
        self.s3.head(key).await
    }

    async fn put(&self, key: &Key, body: Body, options: PutOptions) -> Result<PutOutcome> {
        let in_parts = options.resume.is_some() && !body.is_empty();
        if in_parts || body.len() > self.s3.config.multipart_threshold {
            multipart::put(&self.s3, key, body, options).await
        } else {
            self.s3.put(key, body, options).await
        }
    }

    async fn copy(&self, from: &Key, to: &Key, options: CopyOptions) -> Result<PutOutcome> {
        self.s3.copy(from, to, options).await
    }

    async fn delete(&self, key: &Key, condition: Condition) -> Result<()> {
        self.s3.delete(key, condition).await
    }

    async fn delete_many(&self, keys: &[Key]) -> Result<Vec<DeleteOutcome>> {
        self.s3.delete_many(keys).await
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage> {
        self.s3.list(request).await
    }

    async fn abandon(&self, key: &Key, upload: &str) -> Result<()> {
        multipart::abandon(&self.s3, key, upload).await
    }

    async fn versions_listed(&self) -> Result<bool> {
        self.s3.versions_listed().await
    }
}

/// The two condition headers: `If-Match` and `If-None-Match`.
fn condition_headers(condition: &Condition) -> (Option<String>, Option<String>) {
    match condition {
        Condition::None => (None, None),
        Condition::Absent => (None, Some("*".into())),
        Condition::Matches(etag) => (Some(quoted(etag)), None),
    }
}

/// The tag as HTTP writes it (RFC 9110 §8.8.3).
fn quoted(etag: &Etag) -> String {
    format!("\"{}\"", etag.as_str())
}

impl S3 {
    /// The tag of an answer that must have one. Gateways to a file system (JuiceFS's) give none
    /// for a folder `d/`, which is empty there: then it is the tag of empty content.
    fn etag(&self, key: &Key, tag: Option<&str>) -> Result<Etag> {
        const OF_NOTHING: &str = "d41d8cd98f00b204e9800998ecf8427e";
        match tag {
            Some(tag) if !tag.trim_matches('"').is_empty() => Ok(Etag::new(tag)),
            _ if key.as_str().ends_with('/') => Ok(Etag::new(OF_NOTHING)),
            _ => Err(self.odd(format!("no ETag for {key}"))),
        }
    }

    /// An answer that S3 would not give.
    fn odd(&self, reason: String) -> Error {
        Error::NotS3 {
            endpoint: self.endpoint.clone(),
            reason,
        }
    }
}
