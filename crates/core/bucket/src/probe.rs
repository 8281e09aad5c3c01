//! Finds out what a store can really do.

use serde::{Deserialize, Serialize};

/// What a store was seen to honour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// `If-None-Match: *` on PUT.
    pub put_if_absent: bool,
    /// `If-Match` on PUT.
    pub put_if_match: bool,
    /// `If-Match` on DELETE.
    pub delete_if_match: bool,
    /// CopyObject.
    pub copy: bool,
    /// ListObjectVersions.
    pub versions: bool,
}
