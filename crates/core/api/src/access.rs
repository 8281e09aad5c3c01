//! What a key, a grant or a token may do with a workspace.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Read only, or read and write.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// GetObject and ListBucket.
    Ro,
    /// The same, PutObject and DeleteObject.
    Rw,
}

impl Mode {
    /// Whether somebody who holds this mode may be given `wanted`.
    pub fn covers(self, wanted: Self) -> bool {
        wanted <= self
    }

    /// The word on the wire and in rows.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ro => "ro",
            Self::Rw => "rw",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writing_covers_reading_and_not_the_other_way() {
        assert!(Mode::Rw.covers(Mode::Ro) && Mode::Rw.covers(Mode::Rw));
        assert!(Mode::Ro.covers(Mode::Ro) && !Mode::Ro.covers(Mode::Rw));
    }
}
