//! Why a keyring could not be used. None of these texts ever carries a secret.

use std::path::PathBuf;
use std::time::Duration;

use super::EntryName;

/// What went wrong, by what the user can do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// There is no system keyring to talk to.
    #[error("the system keyring cannot be reached: {reason}")]
    Unavailable {
        /// The system's words.
        reason: String,
    },
    /// The system keyring did not answer in time; most often it waits for somebody to
    /// unlock it.
    #[error(
        "the system keyring gave no answer in {} s; it may be locked and wait for somebody to unlock it",
        after.as_secs()
    )]
    Silent {
        /// How long it was given.
        after: Duration,
    },
    /// The system keyring is locked.
    #[error("the system keyring is locked")]
    Locked,
    /// The system keyring answered with a refusal.
    #[error("the system keyring refused: {reason}")]
    Refused {
        /// Its words.
        reason: String,
    },
    /// Not the file keyring's password, or its head was changed.
    #[error("the password does not open the keyring {}", path.display())]
    WrongPassword {
        /// The keyring's folder.
        path: PathBuf,
    },
    /// Nobody to ask for the password.
    #[error("the keyring {} needs its password, and {variable} is not set", path.display())]
    NoPassword {
        /// The keyring's folder.
        path: PathBuf,
        /// The variable that would have given it.
        variable: String,
    },
    /// A password too short to protect anything.
    #[error("the password is too short: it needs at least {least} characters")]
    ShortPassword {
        /// The fewest characters.
        least: usize,
    },
    /// A file of the keyring that is not whole, or was changed.
    #[error("{} is damaged: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A file that a later version wrote.
    #[error("{} has format {version}; this version reads format 1", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// The format's number.
        version: u8,
    },
    /// Parameters that would make the password cheap to guess, or the machine run out of
    /// memory.
    #[error(
        "{} asks for key derivation with {name} = {value}; from {least} to {most} is accepted",
        path.display()
    )]
    Parameters {
        /// The file.
        path: PathBuf,
        /// The parameter.
        name: &'static str,
        /// What the file says.
        value: u32,
        /// The least that is accepted.
        least: u32,
        /// The most that is accepted.
        most: u32,
    },
    /// More bytes than any backend keeps.
    #[error("the value is larger than {limit} bytes")]
    TooLarge {
        /// The most bytes.
        limit: usize,
    },
    /// The backend said "stored" and gave something else back.
    #[error("the keyring did not keep {name}: what it gives back is not what was stored")]
    NotKept {
        /// The entry.
        name: EntryName,
    },
    /// The backend said "removed" and still has the entry.
    #[error("the keyring did not remove {name}: it is still there")]
    NotRemoved {
        /// The entry.
        name: EntryName,
    },
    /// An entry that does not hold keys.
    #[error("what the keyring holds as {name} is no set of keys")]
    Malformed {
        /// The entry.
        name: EntryName,
    },
    /// A name that cannot be an entry's.
    #[error("{0:?} cannot be the name of a keyring entry")]
    InvalidName(String),
    /// No such backend.
    #[error("{0:?} is no keyring: use system, file or memory")]
    UnknownKind(String),
    /// The random number generator or a cipher failed.
    #[error("the cryptographic library failed: {what}")]
    Crypto {
        /// In what.
        what: &'static str,
    },
}

impl KeyringError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unavailable { .. } => OTHER_KEYRING.to_owned(),
            Self::Silent { .. } | Self::Locked => format!(
                "unlock it (log in to the desktop, or run gnome-keyring-daemon --unlock); {OTHER_KEYRING}"
            ),
            Self::Refused { .. } => "see: artifacts auth keyring status".into(),
            Self::WrongPassword { .. } => {
                "try again; a forgotten password cannot be recovered: move the folder away and store the keys anew".into()
            }
            Self::NoPassword { variable, .. } => {
                format!("export {variable}, or run the command in a terminal")
            }
            Self::ShortPassword { .. } => "choose a longer one; several words are easy to remember".into(),
            Self::Damaged { .. } => {
                "restore it from a copy, or move the folder away and store the keys anew".into()
            }
            Self::Newer { .. } => "use a newer version of artifacts".into(),
            Self::Parameters { .. } => {
                "somebody changed the file: restore it from a copy, or move the folder away".into()
            }
            Self::TooLarge { .. } => "storage keys are never that long: check what was given".into(),
            Self::NotKept { .. } => "see: artifacts auth keyring status; the old place still has the keys".into(),
            Self::NotRemoved { .. } => "take it away with the keyring's own tool; see: artifacts auth keyring status".into(),
            Self::Malformed { .. } => {
                "store the keys anew with artifacts storage set or artifacts auth user configure".into()
            }
            Self::InvalidName(_) | Self::UnknownKind(_) | Self::Crypto { .. } => return None,
        })
    }
}

const OTHER_KEYRING: &str = "on a machine without one, set auth.keyring.type = \"file\" in config.toml, or ARTIFACTS_KEYRING_TYPE=file";
