//! Why a pass could not be made, with the next step.

use crate::folder::FolderError;
use crate::plan::Stop;
use crate::state::StateError;
use crate::steps::Halted;

/// Shorthand for a result with a [`SyncError`].
pub type Result<T> = std::result::Result<T, SyncError>;

/// Why a pass ended early. What it had done until then is recorded; the next one goes on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SyncError {
    /// The bucket's answer.
    #[error(transparent)]
    Bucket(#[from] bucket::Error),
    /// The folder's.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The state's.
    #[error(transparent)]
    State(#[from] StateError),
    /// It may not begin before somebody was asked.
    #[error("{0}")]
    Stopped(Stop),
    /// The folder is not the one that was synced.
    #[error(transparent)]
    Access(#[from] Access),
    /// A test has cut it off.
    #[error(transparent)]
    Halted(#[from] Halted),
}

/// How a folder is not the one that was synced.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Access {
    /// It has no marker, and was synced before.
    #[error("the folder was synced before, and its marker .artifacts/folder.json is gone")]
    NoMarker,
    /// Its marker is another's.
    #[error("the folder belongs to another sync: its marker names workspace {0}")]
    Other(String),
    /// Its marker is that of another sync of the same workspace.
    #[error("the folder belongs to another sync of this workspace by now")]
    OtherPair,
    /// Its root is another directory than before.
    #[error("the folder is another directory than the one that was synced before")]
    Replaced,
}

impl Access {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoMarker | Self::Replaced => {
                "is a disk not mounted? Mount it; if the folder is right as it is, begin anew with \
                 --resync, which deletes nothing"
            }
            Self::OtherPair => {
                "two machines that share a disk sync it from one of them; if this one shall, begin \
                 anew with --resync, which deletes nothing"
            }
            Self::Other(_) => "choose another folder: one folder is kept like one workspace",
        }
    }
}

impl SyncError {
    /// Whether the same command may succeed later without anyone changing anything.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Bucket(error) => error.is_temporary(),
            Self::State(StateError::Locked { .. }) => true,
            _ => false,
        }
    }
}
