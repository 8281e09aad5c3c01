//! Errors that name the thing, the cause and the next step. None ever carries a secret.

use std::path::{Path, PathBuf};

use model::WorkspaceName;

use crate::{Field, KeyProfile};

/// Shorthand for a result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Why the machine's own files could not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A keyring could not be used.
    #[error(transparent)]
    Keyring(#[from] crate::keyring::KeyringError),
    /// Neither `HOME` nor the user database tells where the user's files are.
    #[error("the home folder of this user is not known")]
    NoHome,
    /// A secret file that other users may read.
    #[error("{} can be read by other users (mode {mode:04o})", path.display())]
    ReadableByOthers {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file or folder that other users may change.
    #[error("{} can be changed by other users (mode {mode:04o})", path.display())]
    WritableByOthers {
        /// The file or folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file or folder that belongs to somebody else.
    #[error("{} belongs to user {owner}, not to you (user {me})", path.display())]
    Foreign {
        /// The file or folder.
        path: PathBuf,
        /// The owner's user id.
        owner: u32,
        /// The effective user id of this process.
        me: u32,
    },
    /// A link that leads out of the folder it lies in.
    #[error("{} is a link that leads out of its folder", path.display())]
    LinkOut {
        /// The link.
        path: PathBuf,
    },
    /// Something that is no regular file where one should be.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// What was found.
        path: PathBuf,
    },
    /// A file too large to be what its name says.
    #[error("{} is larger than {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most bytes that are read.
        limit: u64,
    },
    /// The operating system refused.
    #[error("cannot {action} {}: {reason}", path.display())]
    Io {
        /// What was tried: `read`, `write`, `create` …
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// A file that was written, and does not say what was written.
    #[error("{} does not hold what was written to it", path.display())]
    NotKept {
        /// The file.
        path: PathBuf,
    },
    /// Another process has held the lock for too long.
    #[error("{} is locked by another process", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// The key file breaks its format. The line's text is not repeated: it may be a secret.
    #[error("{}, line {line}: {reason}", path.display())]
    MalformedKeyFile {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A value that cannot be a key, a token or a region.
    #[error("{name} {reason}")]
    InvalidValue {
        /// The variable, flag or field.
        name: String,
        /// What is wrong, without the value.
        reason: &'static str,
    },
    /// A variable's value that cannot be what it stands for.
    #[error("{name}: {reason}")]
    InvalidVariable {
        /// The variable.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A name that cannot be a profile's.
    #[error(
        "{0:?} is not a valid profile: use 1 to 63 letters, digits, '.', '-' or '_', beginning with a letter or digit"
    )]
    InvalidProfile(String),
    /// `config.toml` breaks its format.
    #[error("{}: {reason}", path.display())]
    MalformedConfig {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Keys that cannot be changed here, because they come from elsewhere.
    #[error("the keys of profile {profile} come from {from}, and cannot be changed here")]
    NotOurs {
        /// The profile.
        profile: KeyProfile,
        /// Where its keys come from.
        from: String,
    },
    /// A profile that the AWS tools' file does not have.
    #[error("{} has no keys for profile {profile}", path.display())]
    NoAwsProfile {
        /// The AWS tools' file.
        path: PathBuf,
        /// The profile.
        profile: String,
    },
    /// An identity that is not configured.
    #[error("there is no identity {name}")]
    NoIdentity {
        /// Its name.
        name: crate::IdentityName,
    },
    /// An identity without a session.
    #[error("identity {name} is not logged in")]
    NotLoggedIn {
        /// Its name.
        name: crate::IdentityName,
    },
    /// An identity whose session has ended.
    #[error("the session of identity {name} has ended")]
    SessionOver {
        /// Its name.
        name: crate::IdentityName,
    },
    /// An identity whose session the STS does not accept, before its time is over.
    #[error("the session of identity {name} is not accepted any more: {reason}")]
    SessionRefused {
        /// Its name.
        name: crate::IdentityName,
        /// The STS's code and words.
        reason: String,
    },
    /// An identity without long-lived keys, which its login begins with.
    #[error("{place} has no keys for identity {name}")]
    NoIdentityKeys {
        /// Its name.
        name: crate::IdentityName,
        /// Where they would be.
        place: String,
    },
    /// The identity's keys were replaced while its login was under way.
    #[error("the keys of identity {name} were replaced during its login")]
    KeysChanged {
        /// Its name.
        name: crate::IdentityName,
    },
    /// The STS does not give a session.
    #[error("the login of identity {name} was refused: {reason}")]
    LoginRefused {
        /// Its name.
        name: crate::IdentityName,
        /// The STS's code and words.
        reason: String,
    },
    /// The STS does not answer.
    #[error("{endpoint} gives no answer: {reason}")]
    StsUnreachable {
        /// Its address.
        endpoint: String,
        /// What happened.
        reason: String,
    },
    /// Whoever was asked did not answer.
    #[error("{reason}")]
    Stopped {
        /// Why.
        reason: String,
    },
    /// A name that cannot be an identity's.
    #[error(
        "{0:?} is not a valid identity: use 1 to 63 letters, digits, '.', '-' or '_', beginning with a letter or digit"
    )]
    InvalidIdentity(String),
    /// A time that is not written as we read it.
    #[error("{0:?} is not a duration: write it as 45s, 30m, 12h or 7d")]
    InvalidLifetime(String),
    /// One of access key and secret key without the other, or a token without both.
    #[error("half a pair of storage keys in {place}: {missing} is missing")]
    HalfPair {
        /// Where the half was found.
        place: String,
        /// What is missing there, as it would be written there.
        missing: String,
        /// Whether the place is the environment.
        in_environment: bool,
    },
    /// No keys anywhere in the chain.
    #[error(
        "no storage keys: ARTIFACTS_S3_ACCESS_KEY_ID and ARTIFACTS_S3_SECRET_ACCESS_KEY are not set, and {place} has no keys{}",
        of_profile(profile)
    )]
    NoKeys {
        /// Where saved keys were looked for.
        place: String,
        /// The profile asked for.
        profile: KeyProfile,
        /// Whether the cache file has some, though a keyring is configured.
        in_cache: bool,
    },
    /// Text that cannot be a bucket's name.
    #[error("{0:?} is not a bucket's name")]
    InvalidBucket(String),
    /// An address that is not one of an S3 endpoint.
    #[error("{text:?} is not an endpoint: {reason}")]
    InvalidEndpoint {
        /// What was given, with any credentials taken out.
        text: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// A prefix that cannot hold a workspace.
    #[error("{text:?} is not a prefix for a workspace: {reason}")]
    InvalidPrefix {
        /// What was given.
        text: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// This machine knows no such workspace.
    #[error("no workspace {name} on this machine")]
    NoWorkspace {
        /// The name asked for.
        name: WorkspaceName,
    },
    /// The name is taken on this machine.
    #[error("workspace {name} already exists on this machine")]
    WorkspaceExists {
        /// The name.
        name: WorkspaceName,
    },
    /// A workspace's file breaks its format.
    #[error("{} is not a workspace's file: {reason}", path.display())]
    MalformedWorkspace {
        /// The file.
        path: PathBuf,
        /// The parser's words.
        reason: String,
    },
}

impl Error {
    /// The next step, where there is one.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoHome => {
                "set HOME, or XDG_CONFIG_HOME, XDG_CACHE_HOME, XDG_STATE_HOME and XDG_DATA_HOME"
                    .into()
            }
            Self::ReadableByOthers { path, .. } => format!("run: chmod 600 {}", quoted(path)),
            Self::WritableByOthers { path, .. } => format!("run: chmod go-w {}", quoted(path)),
            Self::Foreign { path, .. } => format!(
                "work as that user, or take it over with: sudo chown \"$(id -u)\" {}; XDG_CONFIG_HOME names another place",
                quoted(path)
            ),
            Self::LinkOut { path } => {
                let path = quoted(path);
                format!(
                    "put the file itself there: cp --remove-destination \"$(readlink -f {path})\" {path} && chmod 600 {path}"
                )
            }
            Self::NotAFile { path } | Self::TooLarge { path, .. } => {
                format!("move {} out of the way", quoted(path))
            }
            Self::NotKept { .. } => {
                "look whether the disk is well, and whether another program writes to the file"
                    .into()
            }
            Self::Locked { .. } => {
                "wait for the other artifacts command to end, then try again".into()
            }
            Self::MalformedKeyFile { path, .. } => format!("mend the line in {}", quoted(path)),
            Self::HalfPair {
                in_environment: true,
                missing,
                ..
            } => {
                format!("set {missing} too, or unset the others")
            }
            Self::HalfPair { .. } => {
                "run: artifacts storage set --access-key-id ID --secret-access-key -".into()
            }
            Self::NoKeys { in_cache: true, .. } => {
                "byo-credentials still has them; run: artifacts auth keyring migrate --from cache"
                    .into()
            }
            Self::NoKeys { profile, .. } => no_keys_hint(profile),
            Self::InvalidBucket(_) => {
                "give the name alone; a folder in it goes into --prefix".into()
            }
            Self::InvalidEndpoint { .. } => "write it as https://HOST or http://HOST:PORT".into(),
            Self::InvalidPrefix { .. } => "write it as FOLDER or FOLDER/FOLDER".into(),
            Self::NoWorkspace { name } => format!(
                "see: artifacts workspace list; make it with: artifacts workspace create {name} --bucket BUCKET; or attach one that is in a bucket with: artifacts workspace attach {name} --bucket BUCKET"
            ),
            Self::WorkspaceExists { name } => {
                format!(
                    "choose another name, or forget that one with: artifacts workspace delete {name}"
                )
            }
            Self::MalformedWorkspace { path, .. } => format!(
                "mend {0}, or remove it and run artifacts workspace attach again",
                quoted(path)
            ),
            Self::Keyring(error) => return error.hint(),
            Self::MalformedConfig { path, .. } => format!("mend {}", quoted(path)),
            Self::NotOurs { .. } => {
                "change the profile in config.toml, or choose another with --profile".into()
            }
            Self::NoAwsProfile { .. } => "see: aws configure list-profiles".into(),
            Self::NoIdentityKeys { name, .. } | Self::NoIdentity { name } => {
                format!("run: artifacts auth user configure --identity {name}")
            }
            Self::LoginRefused { name, .. } => format!(
                "check the keys, the role and the code; to change them: artifacts auth user configure --identity {name}"
            ),
            Self::StsUnreachable { .. } => {
                "check the network and the identity's endpoint, then try again".into()
            }
            Self::NotLoggedIn { name }
            | Self::SessionOver { name }
            | Self::SessionRefused { name, .. }
            | Self::KeysChanged { name } => {
                format!("run: artifacts auth login --identity {name}")
            }
            Self::Io { .. }
            | Self::Stopped { .. }
            | Self::InvalidValue { .. }
            | Self::InvalidVariable { .. }
            | Self::InvalidProfile(_)
            | Self::InvalidIdentity(_)
            | Self::InvalidLifetime(_) => return None,
        })
    }

    /// A value that is not what `field` holds.
    pub(crate) fn invalid(name: impl Into<String>, reason: &'static str) -> Self {
        Self::InvalidValue {
            name: name.into(),
            reason,
        }
    }

    /// What the operating system said about `path`.
    pub fn io(action: &'static str, path: &Path, error: impl Into<std::io::Error>) -> Self {
        Self::Io {
            action,
            path: path.to_owned(),
            reason: error.into().to_string(),
        }
    }

    /// Half a pair, found in the environment.
    pub(crate) fn half_in_environment(missing: Field) -> Self {
        Self::HalfPair {
            place: "the environment".into(),
            missing: missing.variable().into(),
            in_environment: true,
        }
    }
}

fn of_profile(profile: &KeyProfile) -> String {
    if profile.is_default() {
        String::new()
    } else {
        format!(" for profile {profile}")
    }
}

fn no_keys_hint(profile: &KeyProfile) -> String {
    let flag = if profile.is_default() {
        String::new()
    } else {
        format!(" --profile {profile}")
    };
    format!(
        "export both variables, or run: artifacts storage set{flag} --access-key-id ID --secret-access-key -"
    )
}

/// The path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@%".contains(c);
    if text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}
