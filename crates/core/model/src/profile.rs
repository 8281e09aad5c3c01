//! What a mount promises about time.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A named set of promises; every value can also be set by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Others' changes within 5 s; upload 1 s after close.
    Fast,
    /// Others' changes within 10 s; upload 2 s after close.
    #[default]
    Balanced,
    /// Others' changes within 15 s; `close` and `fsync` return only when the object is in
    /// the bucket.
    Safe,
}

impl Profile {
    /// All profiles, for help texts and tests.
    pub const ALL: [Self; 3] = [Self::Fast, Self::Balanced, Self::Safe];

    /// The longest that another machine's change may stay unseen.
    pub fn others_changes_within(self) -> Duration {
        Duration::from_secs(match self {
            Self::Fast => 5,
            Self::Balanced => 10,
            Self::Safe => 15,
        })
    }

    /// How long after the last close an upload begins.
    pub fn upload_delay(self) -> Duration {
        match self {
            Self::Fast => Duration::from_secs(1),
            Self::Balanced => Duration::from_secs(2),
            Self::Safe => Duration::ZERO,
        }
    }

    /// Whether `close` and `fsync` wait for the bucket.
    pub fn waits_for_upload(self) -> bool {
        self == Self::Safe
    }

    /// The name on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Balanced => "balanced",
            Self::Safe => "safe",
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Profile {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|p| p.as_str() == text)
            .ok_or_else(|| format!("no profile {text:?}: choose fast, balanced or safe"))
    }
}
