//! Live changes: `POST /sync`, and the stream `GET /workspaces/{id}/events`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{CredentialId, Description, WorkspaceId};

/// The body of `POST /sync`: what a mount or a sync has put into the bucket, or deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Announcement {
    /// Where.
    pub workspace_id: WorkspaceId,
    /// What is new or different. At most 1,000 with the deleted ones.
    #[serde(default)]
    #[schema(max_items = 1000)]
    pub changed: Vec<Change>,
    /// What is gone.
    #[serde(default)]
    #[schema(max_items = 1000)]
    pub deleted: Vec<Change>,
    /// Who announces, so that they know their own words when they hear them: a mount's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Description>,
}

impl Announcement {
    /// So many changes fit into one announcement.
    pub const MOST: usize = 1_000;
}

/// One object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct Change {
    /// Its key, without the workspace's prefix.
    pub key: ObjectKey,
    /// Its ETag, where it is known: whoever has that one need not look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
}

/// The answer of `POST /sync`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Announced {
    /// The number of the last event that came of it; absent if nothing was announced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_event_id: Option<EventId>,
}

/// The number of an event within its workspace: counted from 1 without gaps, so that whoever
/// missed one knows it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(transparent)]
pub struct EventId(pub i64);

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What an event says; on the stream its name is the event's type and the rest its data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Objects are new or different.
    Changed(Changes),
    /// Objects are gone.
    Deleted(Changes),
    /// A storage key no longer counts. A mount that uses it stops writing.
    Revoked(RevokedKey),
    /// Events were missed: list again, and go on from this event's number.
    Resync {},
}

impl Event {
    /// The event's type on the stream.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Changed(_) => "changed",
            Self::Deleted(_) => "deleted",
            Self::Revoked(_) => "revoked",
            Self::Resync {} => "resync",
        }
    }
}

/// Objects that changed in the same way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Changes {
    /// Which.
    pub objects: Vec<Change>,
    /// Who said so.
    pub source: Source,
    /// The mount that said so, in its own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Description>,
}

/// Who said that something changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// A mount or a sync.
    Client,
    /// Tigris.
    Tigris,
    /// A store that sends S3's event notifications: AWS, MinIO and others.
    S3,
    /// SeaweedFS.
    Seaweedfs,
}

/// A key that no longer counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RevokedKey {
    /// Its number.
    pub credential_id: CredentialId,
    /// The access key id, if there was one already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key: Option<String>,
}

/// An object's key: 1 to 1,024 bytes of UTF-8 (S3 User Guide, "Naming objects").
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(min_length = 1, max_length = 1024, example = "folder/file.txt")]
pub struct ObjectKey(String);

/// A text that is no object's key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an object's key has 1 to 1,024 bytes")]
pub struct InvalidObjectKey;

impl ObjectKey {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ObjectKey {
    type Err = InvalidObjectKey;

    fn from_str(text: &str) -> Result<Self, InvalidObjectKey> {
        let good = (1..=1_024).contains(&text.len());
        good.then(|| Self(text.to_owned())).ok_or(InvalidObjectKey)
    }
}

impl TryFrom<String> for ObjectKey {
    type Error = InvalidObjectKey;

    fn try_from(text: String) -> Result<Self, InvalidObjectKey> {
        text.parse()
    }
}

impl From<ObjectKey> for String {
    fn from(key: ObjectKey) -> Self {
        key.0
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_says_its_type_and_what_it_is_about() {
        let change = |key: &str| Change {
            key: key.parse().unwrap(),
            etag: None,
        };
        let event = Event::Deleted(Changes {
            objects: vec![change("a//b")],
            source: Source::Client,
            origin: None,
        });
        let text = serde_json::to_string(&event).unwrap();
        let wanted = r#"{"event":"deleted","objects":[{"key":"a//b"}],"source":"client"}"#;
        assert_eq!(text, wanted);
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
        let resync = serde_json::to_string(&Event::Resync {}).unwrap();
        assert_eq!(resync, r#"{"event":"resync"}"#);
    }

    #[test]
    fn a_key_is_neither_empty_nor_longer_than_any_store_takes() {
        assert!("x".repeat(1_024).parse::<ObjectKey>().is_ok());
        for bad in ["", &"x".repeat(1_025)] {
            assert_eq!(bad.parse::<ObjectKey>(), Err(InvalidObjectKey));
        }
    }
}
