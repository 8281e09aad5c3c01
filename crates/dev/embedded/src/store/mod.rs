//! Objects on a local folder: bodies beside an SQLite index whose rows are the commit point.
//!
//! A body is written first, under a random name; then one transaction makes the key point
//! at it. A crash before leaves a file that no row names (swept at the next start); a crash
//! after leaves the new object. Nothing is ever changed in place.

mod bodies;
mod buckets;
mod error;
mod files;
mod listing;
mod objects;
mod readers;
mod reclaim;
mod schema;
mod settings;
mod uploads;
mod writer;

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub(crate) use bodies::{Draft, INLINE, NewBody, Piece, Source};
pub(crate) use error::{Error, Result};
pub(crate) use listing::{Entry, ListQuery, Listing};
pub(crate) use objects::{Conditions, ObjectRow, Tag};
pub(crate) use reclaim::Reading;
pub(crate) use settings::Setting;
pub(crate) use uploads::{PartRow, UploadName, UploadRow, Wanted};

/// What survives what.
///
/// All three survive `kill -9` of the server whole: an object is the old one or the new
/// one. They differ in what a power cut or kernel crash may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// Nothing is flushed to the disk. A power cut may damage the store. For tests.
    Process,
    /// Bodies reach the disk before their row, the index in order but not at once: a power
    /// cut leaves a sound store in which the last seconds' changes may be missing.
    #[default]
    Consistent,
    /// Every answered change is on the disk. One flush per group of waiting requests.
    Full,
}

/// The store: shared by all requests.
pub(crate) struct Store {
    files: files::Files,
    reclaimer: Arc<reclaim::Reclaimer>,
    readers: readers::Readers,
    writer: writer::Writer,
}

/// What an object carries beside its body.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Attributes {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) content_encoding: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) content_language: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) content_disposition: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cache_control: Option<String>,
    /// Seconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expires: Option<i64>,
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub(crate) metadata: std::collections::BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Checksums::is_empty")]
    pub(crate) checksums: Checksums,
}

/// Checksums that a client sent and that were found right, base64 as on the wire.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Checksums {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) crc32: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) crc32c: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) crc64nvme: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sha1: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sha256: Option<String>,
}

impl Checksums {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Store {
    /// Opens the store in a folder that exists and that this process alone uses.
    pub(crate) fn open(root: &Path, durability: Durability) -> Result<Self> {
        let index_path = root.join("index.sqlite3");
        let index = schema::open_writer(&index_path, durability)?;
        match schema::version(&index)? {
            0 | 1 => schema::set_version(&index)?,
            schema::VERSION => {}
            other => {
                return Err(Error::Commit(format!(
                    "index format {other} is newer than this program"
                )));
            }
        }
        let files = files::Files::open(root.join("bodies"), durability)?;
        let swept = bodies::sweep(&index, &files)?;
        if swept > 0 {
            tracing::info!(swept, "removed bodies that a crash left without an object");
        }
        let reclaimer = Arc::new(reclaim::Reclaimer::new());
        let writer = writer::Writer::start(index, files.clone(), Arc::clone(&reclaimer))?;
        Ok(Self {
            files,
            reclaimer,
            readers: readers::Readers::new(index_path),
            writer,
        })
    }

    /// Starts a body of unknown length.
    pub(crate) fn draft(&self) -> Draft {
        Draft::new(self.files.clone())
    }

    /// Finishes what was asked for and closes the index.
    pub(crate) fn close(&self) {
        self.writer.stop();
    }
}

/// Now, in nanoseconds since the Unix epoch.
pub(crate) fn now() -> i64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

fn attributes_to_text(attributes: &Attributes) -> Option<String> {
    if *attributes == Attributes::default() {
        return None;
    }
    serde_json::to_string(attributes).ok()
}

fn attributes_from_text(text: Option<&str>) -> Attributes {
    text.and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
