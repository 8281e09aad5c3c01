//! What the mount and its helper say to each other: a line of JSON each way for each step.

use std::path::PathBuf;

use filesystem::Kind;
use serde::{Deserialize, Serialize};

/// The extended attribute of the root that shows the mount's word to its helper, and to
/// nobody else.
pub(crate) const TOKEN_NAME: &str = "user.artifacts.session";

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Hello {
    /// Where the workspace is mounted.
    pub(super) mountpoint: PathBuf,
    /// What the root says when it is this mount's.
    pub(super) token: String,
}

/// One step through the mount. `directory` is a path below the mount point, empty for the
/// mount point itself; `name` is one name in it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case")]
pub(super) enum Order {
    /// Make a name.
    Appear {
        directory: String,
        name: String,
        kind: Made,
    },
    /// Remove a name.
    Vanish {
        directory: String,
        name: String,
        is_directory: bool,
    },
    /// Change a file's content, to what it is.
    Change { directory: String, name: String },
    /// Set a mode, to what it is; without a name the directory's own.
    Chmod { directory: String, name: String },
    /// Let go of the folder.
    Rest,
}

/// What is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Made {
    File,
    Directory,
    Symlink,
}

impl From<Kind> for Made {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::File => Self::File,
            Kind::Directory => Self::Directory,
            Kind::Symlink => Self::Symlink,
        }
    }
}

/// How a step went.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Answer {
    /// What the kernel said against it.
    pub(super) errno: Option<i32>,
}
