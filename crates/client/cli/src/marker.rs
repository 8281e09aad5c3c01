//! The marker that makes a bucket (or a prefix in it) a workspace:
//! `.artifacts/workspace.json`.

use bucket::{Body, Bucket, Condition, GetOptions, Key, PutOptions};
use credentials::Prefix;
use futures::TryStreamExt;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use crate::failure::{Code, Failure, Result};

/// Where the marker is, below the workspace's prefix.
pub(crate) const MARKER: &str = ".artifacts/workspace.json";

/// The format that this version writes; higher ones it refuses.
const FORMAT: u32 = 1;

/// A marker is some hundred bytes; more than this is none.
const LIMIT: u64 = 64 * 1024;

/// What the marker says. Fields of later versions are passed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Marker {
    /// The version of the workspace's format.
    pub(crate) format: u32,
    /// The workspace's id, for good.
    pub(crate) id: Uuid,
    /// When it was made (RFC 3339).
    pub(crate) created: String,
    /// The program that made it.
    pub(crate) by: String,
}

impl Marker {
    /// A marker for a new workspace.
    pub(crate) fn new() -> Self {
        let now = OffsetDateTime::now_utc().replace_nanosecond(0);
        let now = now.unwrap_or_else(|_| OffsetDateTime::now_utc());
        Self {
            format: FORMAT,
            id: Uuid::now_v7(),
            created: now.format(&Rfc3339).unwrap_or_default(),
            by: concat!("artifacts ", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }

    /// The marker's key below a prefix.
    pub(crate) fn key(prefix: &Prefix) -> Result<Key> {
        Key::new(prefix.join(MARKER))
            .map_err(|e| Failure::new(Code::InvalidValue, format!("the prefix is too long: {e}")))
    }

    /// Reads the marker; `None` where there is none.
    pub(crate) async fn read(bucket: &dyn Bucket, prefix: &Prefix) -> Result<Option<Self>> {
        let key = Self::key(prefix)?;
        let object = match bucket.get(&key, GetOptions::default()).await {
            Ok(object) => object,
            Err(bucket::Error::NotFound { .. }) => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        if object.meta.size > LIMIT {
            return Err(malformed(&key, "it is too large"));
        }
        let parts: Vec<bytes::Bytes> = object.body.try_collect().await?;
        Self::parse(&key, &parts.concat()).map(Some)
    }

    /// Writes the marker where there is none; refused where one is.
    pub(crate) async fn write(&self, bucket: &dyn Bucket, prefix: &Prefix) -> bucket::Result<()> {
        let Ok(key) = Self::key(prefix) else {
            let reason = "the prefix is too long".to_owned();
            return Err(bucket::Error::Invalid { reason });
        };
        let body = serde_json::to_vec_pretty(self).map_err(|e| bucket::Error::Invalid {
            reason: e.to_string(),
        })?;
        let options = PutOptions {
            condition: Condition::Absent,
            ..PutOptions::default()
        };
        bucket.put(&key, Body::Bytes(body.into()), options).await?;
        Ok(())
    }

    fn parse(key: &Key, bytes: &[u8]) -> Result<Self> {
        // The format first: a later version's marker need not have our fields.
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let version: Version =
            serde_json::from_slice(bytes).map_err(|e| malformed(key, &e.to_string()))?;
        if version.format > FORMAT {
            let text = format!(
                "the workspace at {key} has format {}, this version knows {FORMAT}",
                version.format
            );
            return Err(Failure::new(Code::StoreUnsupported, text)
                .with_hint("use a newer version of artifacts"));
        }
        serde_json::from_slice(bytes).map_err(|e| malformed(key, &e.to_string()))
    }
}

fn malformed(key: &Key, reason: &str) -> Failure {
    Failure::new(
        Code::FileMalformed,
        format!("{key} in the bucket is not a workspace's marker: {reason}"),
    )
    .with_hint("look at the object; choose another prefix if it belongs to something else")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Marker> {
        let key = Key::new("k").expect("a key");
        Marker::parse(&key, text.as_bytes())
    }

    #[test]
    fn a_marker_is_read_back_as_it_was_written() {
        let marker = Marker::new();
        let text = serde_json::to_string(&marker).expect("JSON");
        assert_eq!(parse(&text), Ok(marker.clone()));
        assert_eq!(marker.id.get_version_num(), 7);
        assert!(OffsetDateTime::parse(&marker.created, &Rfc3339).is_ok());
    }

    #[test]
    fn a_later_format_and_a_strange_id_are_refused() {
        let code = |text: &str| parse(text).map_err(|f| f.code);
        assert_eq!(code(r#"{"format":2}"#), Err(Code::StoreUnsupported));
        let strange = r#"{"format":1,"id":"../../etc","created":"","by":""}"#;
        assert_eq!(code(strange), Err(Code::FileMalformed));
        assert_eq!(code("<html>"), Err(Code::FileMalformed));
    }
}
