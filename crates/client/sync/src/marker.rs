//! The marker in a folder: which pair it belongs to.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::state::PairInfo;

/// The version that this program writes; later ones are read as far as they are the same.
const FORMAT: u32 = 1;

/// What `.artifacts/folder.json` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    format: u32,
    /// The pair.
    pub pair: Uuid,
    /// The workspace that the folder is kept like.
    pub workspace: Uuid,
}

impl Marker {
    /// The marker of a pair.
    pub fn of(info: &PairInfo) -> Self {
        Self {
            format: FORMAT,
            pair: info.pair,
            workspace: info.workspace,
        }
    }

    /// Reads a marker; `None` where it is none.
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// The marker as text.
    pub fn text(&self) -> String {
        // A struct of numbers and identifiers always has a JSON form.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }
}
