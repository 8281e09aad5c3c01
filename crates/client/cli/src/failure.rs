//! Why a command failed, as the user sees it: a stable code, a sentence, the next step.

use std::process::ExitCode;

use api::ErrorCode;
use control::ControlError;
use credentials::Error as Local;
use credentials::keyring::KeyringError;
use secrets::{Kind, SecretError};
use sync::SyncError;

/// Shorthand for a result with a [`Failure`].
pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// What the user is told. Its texts never hold a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The kind, stable for scripts.
    pub(crate) code: Code,
    /// The thing and the cause.
    pub(crate) message: String,
    /// The next step.
    pub(crate) hint: Option<String>,
}

/// The kinds of failure. The reference page of error codes is printed from [`Code::facts`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    Failed,
    OrchestratorStrange,
    FileMalformed,
    FileUnusable,
    NotS3,
    StoreUnsupported,
    StoreRefused,
    FuseMissing,
    ClockSkewed,
    VaultFailed,
    NoServiceManager,
    Usage,
    InvalidValue,
    InputNeeded,
    NoOrchestrator,
    VaultUsage,
    NoKeys,
    KeysIncomplete,
    KeysRefused,
    KeysExpired,
    KeyringUnavailable,
    KeyringPassword,
    NotLoggedIn,
    LoginRefused,
    LoginNeeded,
    LoginDenied,
    VaultLogin,
    FileExposed,
    FileForeign,
    PermissionDenied,
    MountRefused,
    NotAllowed,
    SecretRefused,
    BucketNotFound,
    NotInBucket,
    WorkspaceNotFound,
    FolderNotFound,
    IdentityNotFound,
    NotMounted,
    NotAtOrchestrator,
    NotSynced,
    SecretNotFound,
    RegistryNotFound,
    WorkspaceExists,
    WorkspaceNested,
    WorkspaceChanged,
    NotAMountPoint,
    AlreadyMounted,
    DeletesStopped,
    FolderReplaced,
    FolderMisplaced,
    KeysElsewhere,
    KeysDiffer,
    Precondition,
    OrchestratorConflict,
    SecretConflict,
    RegistryConflict,
    AuditBroken,
    StoreUnreachable,
    StoreBusy,
    Locked,
    MountBusy,
    MountSilent,
    OrchestratorUnreachable,
    OrchestratorBusy,
    VaultUnavailable,
    LeftUndone,
    MountStale,
}

/// What there is to say about a [`Code`].
pub(crate) struct Facts {
    /// The code as scripts see it.
    pub(crate) code: &'static str,
    /// What happened, in a few words.
    pub(crate) title: &'static str,
    /// The exit code of the process.
    pub(crate) exit: u8,
    /// What to do about it.
    pub(crate) next: &'static str,
}

/// The exit codes and what they mean, in order.
pub(crate) const EXIT_CODES: [(u8, &str); 9] = [
    (0, "done"),
    (1, "failed"),
    (2, "wrong usage"),
    (
        3,
        "not logged in, or no credentials, or the store refuses them",
    ),
    (4, "permission denied"),
    (5, "not found"),
    (6, "conflict, or something is not as it must be"),
    (7, "temporary; the same command may succeed later"),
    (
        8,
        "something was left undone (pending uploads, a partial removal)",
    ),
];

impl Code {
    /// All codes, by exit code.
    pub(crate) const ALL: [Self; 68] = [
        Self::Failed,
        Self::OrchestratorStrange,
        Self::FileMalformed,
        Self::FileUnusable,
        Self::NotS3,
        Self::StoreUnsupported,
        Self::StoreRefused,
        Self::FuseMissing,
        Self::ClockSkewed,
        Self::VaultFailed,
        Self::NoServiceManager,
        Self::Usage,
        Self::InvalidValue,
        Self::InputNeeded,
        Self::NoOrchestrator,
        Self::VaultUsage,
        Self::NoKeys,
        Self::KeysIncomplete,
        Self::KeysRefused,
        Self::KeysExpired,
        Self::KeyringUnavailable,
        Self::KeyringPassword,
        Self::NotLoggedIn,
        Self::LoginRefused,
        Self::LoginNeeded,
        Self::LoginDenied,
        Self::VaultLogin,
        Self::FileExposed,
        Self::FileForeign,
        Self::PermissionDenied,
        Self::MountRefused,
        Self::NotAllowed,
        Self::SecretRefused,
        Self::BucketNotFound,
        Self::NotInBucket,
        Self::WorkspaceNotFound,
        Self::FolderNotFound,
        Self::IdentityNotFound,
        Self::NotMounted,
        Self::NotAtOrchestrator,
        Self::NotSynced,
        Self::SecretNotFound,
        Self::RegistryNotFound,
        Self::WorkspaceExists,
        Self::WorkspaceNested,
        Self::WorkspaceChanged,
        Self::NotAMountPoint,
        Self::AlreadyMounted,
        Self::DeletesStopped,
        Self::FolderReplaced,
        Self::FolderMisplaced,
        Self::KeysElsewhere,
        Self::KeysDiffer,
        Self::Precondition,
        Self::OrchestratorConflict,
        Self::SecretConflict,
        Self::RegistryConflict,
        Self::AuditBroken,
        Self::StoreUnreachable,
        Self::StoreBusy,
        Self::Locked,
        Self::MountBusy,
        Self::MountSilent,
        Self::OrchestratorUnreachable,
        Self::OrchestratorBusy,
        Self::VaultUnavailable,
        Self::LeftUndone,
        Self::MountStale,
    ];

    /// The code as scripts see it.
    pub(crate) fn as_str(self) -> &'static str {
        self.facts().code
    }

    /// The exit code of the process.
    pub(crate) fn exit(self) -> u8 {
        self.facts().exit
    }

    /// Whether the same command may succeed later.
    pub(crate) fn is_temporary(self) -> bool {
        self.exit() == 7
    }

    /// Everything there is to say about it.
    #[rustfmt::skip]
    pub(crate) const fn facts(self) -> Facts {
        let (code, exit, title, next) = match self {
            Self::Failed => ("failed", 1, "The command failed.", "Read the message; run again with `ARTIFACTS_LOG=debug` to see more."),
            Self::OrchestratorStrange => ("orchestrator-strange", 1, "What answers is not an orchestrator that this version knows, or it refused in a way that it should not.", "Check the address; if it is right, use the version that the operator recommends."),
            Self::FileMalformed => ("file-malformed", 1, "A file of ours breaks its format.", "Mend the line that the message names, or move the file away."),
            Self::FileUnusable => ("file-unusable", 1, "A file or folder cannot be read or written.", "Look at the operating system's words in the message."),
            Self::NotS3 => ("not-s3", 1, "What answers at the endpoint is not an S3 store.", "Check `--endpoint`: the store's S3 port, not its console or web site."),
            Self::StoreUnsupported => ("store-unsupported", 1, "The store cannot do what is needed.", "Use another store, or do without."),
            Self::StoreRefused => ("store-refused", 1, "The store calls the request wrong.", "Check `--region`; otherwise it is a defect worth reporting."),
            Self::FuseMissing => ("fuse-missing", 1, "The kernel's FUSE is not available.", "Install it (`apt install fuse3`); give a container `--device /dev/fuse --cap-add SYS_ADMIN`."),
            Self::ClockSkewed => ("clock-skewed", 1, "This machine's clock is too far from the store's: signatures are refused, and times of files are wrong.", "Set the clock: `timedatectl set-ntp true`."),
            Self::VaultFailed => ("vault-failed", 1, "A server of the vault answers in a way that it should not, or an envelope cannot be opened.", "Read the message; the word in brackets is the reason."),
            Self::NoServiceManager => ("no-service-manager", 1, "This user has no service manager that answers.", "Run `artifacts bisync NAME DIR --watch` under another supervisor."),
            Self::Usage => ("usage", 2, "The command line is wrong.", "Run the command with `--help`."),
            Self::InvalidValue => ("invalid-value", 2, "A value cannot be what it is given for.", "Read the message: it says what is expected."),
            Self::InputNeeded => ("input-needed", 2, "A question would have to be asked, but nobody can answer.", "Give the answer as an option, for example `--yes`."),
            Self::NoOrchestrator => ("no-orchestrator", 2, "The command needs an orchestrator, and none is known here.", "Run `artifacts login URL`, or set `ARTIFACTS_ORCHESTRATOR_URL`."),
            Self::VaultUsage => ("vault-usage", 2, "A setting of the vault or a value is missing or wrong.", "Write it into `[vault]` of `config.toml`, or export its variable."),
            Self::NoKeys => ("no-keys", 3, "There are no storage keys, neither in the environment nor in the cache file.", "Export `ARTIFACTS_S3_ACCESS_KEY_ID` and `ARTIFACTS_S3_SECRET_ACCESS_KEY`, or run `artifacts storage set`."),
            Self::KeysIncomplete => ("keys-incomplete", 3, "One of access key and secret key is there without the other.", "Set both in the same place, or neither."),
            Self::KeysRefused => ("keys-refused", 3, "The store does not accept the keys.", "See which ones are used with `artifacts storage show`, renew them with `artifacts storage set`."),
            Self::KeysExpired => ("keys-expired", 3, "The session that the keys belong to has ended.", "Get new session keys and run `artifacts storage set`, or export them."),
            Self::KeyringUnavailable => ("keyring-unavailable", 3, "The keyring cannot be used: it is not there, locked, or gives no answer.", "Unlock it; on a machine without one, set `auth.keyring.type = \"file\"` in `config.toml`. See `artifacts auth keyring status`."),
            Self::KeyringPassword => ("keyring-password", 3, "The file keyring's password is wrong, or nobody can be asked for it.", "Export `ARTIFACTS_KEYRING_PASSWORD`, or run the command in a terminal."),
            Self::NotLoggedIn => ("not-logged-in", 3, "An identity has no session, or its session has ended.", "Run `artifacts auth login --identity NAME`."),
            Self::LoginRefused => ("login-refused", 3, "The store's STS does not give the identity a session.", "Read its words in the message; check the keys, the role and the MFA code."),
            Self::LoginNeeded => ("login-needed", 3, "There is no login at the orchestrator, or it does not count any more.", "Run `artifacts login`, or set `ARTIFACTS_TOKEN` to a service token."),
            Self::LoginDenied => ("login-denied", 3, "Somebody refused to let this machine in, or nobody did in time.", "Run `artifacts login` again."),
            Self::VaultLogin => ("vault-login-needed", 3, "There is no login at the vault's broker that counts, or this machine has no device key.", "Run `artifacts vault login`; on an agent's machine `artifacts agent pair`."),
            Self::FileExposed => ("file-exposed", 4, "A file that must be private is open to other users of the machine.", "Run the command in the hint; if the file held a secret, renew the secret too."),
            Self::FileForeign => ("file-foreign", 4, "A file or folder of ours belongs to somebody else.", "Work as its owner, or set `XDG_CONFIG_HOME` to a folder of your own."),
            Self::PermissionDenied => ("permission-denied", 4, "The keys are good, but may not do this.", "Ask the bucket's owner for the right that the message names."),
            Self::MountRefused => ("mount-refused", 4, "The system does not let this user mount there.", "Use a folder that you own; as an ordinary user, install `fuse3`."),
            Self::NotAllowed => ("not-allowed", 4, "The login is good, but what was asked is not its holder's to have.", "Ask an owner of the tenant, or an operator."),
            Self::SecretRefused => ("secret-refused", 4, "The vault or the daemon's policy does not let this login, device or program have it.", "The word in brackets says which check failed; ask the operator for a scope or a role."),
            Self::BucketNotFound => ("bucket-not-found", 5, "There is no such bucket at this endpoint.", "Check `--bucket` and `--endpoint`, or make the bucket first."),
            Self::NotInBucket => ("not-in-bucket", 5, "The bucket does not hold what was asked for.", "Check the bucket and the prefix."),
            Self::WorkspaceNotFound => ("workspace-not-found", 5, "This machine knows no workspace of that name.", "See `artifacts workspace list`; make or attach it."),
            Self::FolderNotFound => ("folder-not-found", 5, "The folder's parent does not exist.", "Make it with `mkdir -p`."),
            Self::IdentityNotFound => ("identity-not-found", 5, "No identity of that name is configured.", "See `artifacts auth list`; make it with `artifacts auth user configure`."),
            Self::NotMounted => ("not-mounted", 5, "Nothing of ours is mounted there or under that name.", "See `artifacts status`."),
            Self::NotAtOrchestrator => ("not-at-orchestrator", 5, "The orchestrator knows no such thing, or it is not yours to know of.", "See `artifacts workspace list --remote`; was it granted to you?"),
            Self::NotSynced => ("not-synced", 5, "The path lies in no folder of this machine that is synced.", "See `artifacts bisync-status`."),
            Self::SecretNotFound => ("secret-not-found", 5, "No such secret is stored, or nothing waits under that code.", "See `artifacts secret list`."),
            Self::RegistryNotFound => ("registry-not-found", 5, "The registry knows no such device of this operator.", "See `artifacts device list`."),
            Self::WorkspaceExists => ("workspace-exists", 6, "There is a workspace already.", "Attach it with `artifacts workspace attach`, or choose another name or prefix."),
            Self::WorkspaceNested => ("workspace-nested", 6, "One workspace would lie inside another.", "Choose a prefix beside the other one."),
            Self::WorkspaceChanged => ("workspace-changed", 6, "The bucket holds another workspace than this machine remembers.", "Look at both with `artifacts workspace show`; forget and attach again if the new one is meant."),
            Self::NotAMountPoint => ("not-a-mount-point", 6, "The folder cannot become a mount point.", "Choose an empty folder, outside of other mounts."),
            Self::AlreadyMounted => ("already-mounted", 6, "The workspace or the folder is in use by a mount already.", "Use it there, or unmount it first."),
            Self::DeletesStopped => ("deletes-stopped", 6, "A sync would delete more than it may, or a side that had files is empty.", "See what it is with `--dry-run`; then `--approve-deletes`, or `--restore` to bring the files back."),
            Self::FolderReplaced => ("folder-replaced", 6, "The folder is not the one that was synced before.", "Is a disk not mounted? Otherwise begin anew with `--resync`, which deletes nothing."),
            Self::FolderMisplaced => ("folder-misplaced", 6, "The folder cannot be synced where it is: in or around another synced folder, in a mounted workspace, or as a copy of a synced folder.", "Read the message: it says which. Choose a folder of its own."),
            Self::KeysElsewhere => ("keys-elsewhere", 6, "The profile's keys come from an identity or from the AWS tools, and cannot be changed here.", "Change the profile in `config.toml`, or choose another with `--profile`."),
            Self::KeysDiffer => ("keys-differ", 6, "Keys would replace, or be hidden by, others.", "Look at both; `--overwrite` replaces those of the new place."),
            Self::Precondition => ("precondition", 6, "Something in the bucket was changed by somebody else meanwhile.", "Look at what is there now and run the command again."),
            Self::OrchestratorConflict => ("orchestrator-conflict", 6, "What is there at the orchestrator already does not allow this.", "Read the message: it says what is there."),
            Self::SecretConflict => ("secret-conflict", 6, "A secret was changed meanwhile, an older one than was seen is shown, or a daemon runs already.", "Look at what is there now, then decide."),
            Self::RegistryConflict => ("registry-conflict", 6, "The registry has it already, or it was revoked, which is final.", "See `artifacts device list`; give the machine a new key."),
            Self::AuditBroken => ("audit-broken", 6, "An audit is not as its server wrote it.", "Compare it with a copy; what stands before the record that is named is whole."),
            Self::StoreUnreachable => ("store-unreachable", 7, "The store does not answer.", "Check the network and `--endpoint`, then try again."),
            Self::StoreBusy => ("store-busy", 7, "The store asks for fewer requests, or has a failure of its own.", "Try again in a while."),
            Self::Locked => ("locked", 7, "Another artifacts command is at work on the same file.", "Wait for it, then try again."),
            Self::MountBusy => ("mount-busy", 7, "Programs use the mounted folder.", "Close them, or detach it with `artifacts unmount --lazy`."),
            Self::MountSilent => ("mount-silent", 7, "The process that serves a mount does not answer.", "Try again; look at its log, which `artifacts status` names."),
            Self::OrchestratorUnreachable => ("orchestrator-unreachable", 7, "The orchestrator does not answer.", "Try again later; mounts go on without it."),
            Self::OrchestratorBusy => ("orchestrator-busy", 7, "The orchestrator asks to come again later, or has a failure of its own.", "Try again in a while."),
            Self::VaultUnavailable => ("vault-unavailable", 7, "The daemon, broker, worker, signer, registry or bucket does not answer.", "Try again in a while; see `artifacts daemon status`."),
            Self::LeftUndone => ("left-undone", 8, "A part of the work was not done.", "Read the counts in the message, remove the cause, and run the command again."),
            Self::MountStale => ("mount-stale", 8, "The process that served a mount is gone.", "Mount again: that repairs it and uploads what was left."),
        };
        Facts { code, title, exit, next }
    }
}

impl Failure {
    /// A failure without a hint.
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: None,
        }
    }

    /// The same with its next step.
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What the process ends with.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code.exit())
    }
}

impl From<Local> for Failure {
    fn from(error: Local) -> Self {
        let code = match &error {
            Local::NoHome | Local::Io { .. } | Local::NotAFile { .. } | Local::TooLarge { .. } => {
                Code::FileUnusable
            }
            Local::ReadableByOthers { .. }
            | Local::WritableByOthers { .. }
            | Local::LinkOut { .. } => Code::FileExposed,
            Local::Foreign { .. } => Code::FileForeign,
            Local::Locked { .. } | Local::KeysChanged { .. } => Code::Locked,
            Local::MalformedKeyFile { .. }
            | Local::MalformedConfig { .. }
            | Local::MalformedWorkspace { .. } => Code::FileMalformed,
            Local::InvalidValue { .. }
            | Local::InvalidVariable { .. }
            | Local::InvalidEndpoint { .. }
            | Local::InvalidBucket(_)
            | Local::InvalidProfile(_)
            | Local::InvalidIdentity(_)
            | Local::InvalidLifetime(_)
            | Local::InvalidPrefix { .. } => Code::InvalidValue,
            Local::Keyring(error) => keyring_code(error),
            Local::HalfPair { .. } => Code::KeysIncomplete,
            Local::NoKeys { .. } | Local::NoAwsProfile { .. } | Local::NoIdentityKeys { .. } => {
                Code::NoKeys
            }
            Local::Stopped { .. } | Local::NotKept { .. } => Code::Failed,
            Local::NoIdentity { .. } => Code::IdentityNotFound,
            Local::NotLoggedIn { .. }
            | Local::SessionOver { .. }
            | Local::SessionRefused { .. } => Code::NotLoggedIn,
            Local::LoginRefused { .. } => Code::LoginRefused,
            Local::StsUnreachable { .. } => Code::StoreUnreachable,
            Local::NotOurs { .. } => Code::KeysElsewhere,
            Local::NoWorkspace { .. } => Code::WorkspaceNotFound,
            Local::WorkspaceExists { .. } => Code::WorkspaceExists,
        };
        Self {
            code,
            message: error.to_string(),
            hint: error.hint(),
        }
    }
}

fn keyring_code(error: &KeyringError) -> Code {
    use KeyringError as E;
    match error {
        E::Unavailable { .. } | E::Silent { .. } | E::Locked | E::Refused { .. } => {
            Code::KeyringUnavailable
        }
        E::WrongPassword { .. } | E::NoPassword { .. } => Code::KeyringPassword,
        E::Damaged { .. } | E::Newer { .. } | E::Parameters { .. } | E::Malformed { .. } => {
            Code::FileMalformed
        }
        E::ShortPassword { .. } | E::TooLarge { .. } | E::InvalidName(_) | E::UnknownKind(_) => {
            Code::InvalidValue
        }
        E::NotKept { .. } | E::NotRemoved { .. } | E::Crypto { .. } => Code::Failed,
    }
}

impl From<bucket::Error> for Failure {
    fn from(error: bucket::Error) -> Self {
        use bucket::Error as E;
        let code = match &error {
            E::NotFound { .. } => Code::NotInBucket,
            E::NoSuchBucket { .. } => Code::BucketNotFound,
            E::Precondition { .. } => Code::Precondition,
            E::PermissionDenied { .. } => Code::PermissionDenied,
            E::BadCredentials { expired: true, .. } => Code::KeysExpired,
            E::BadCredentials { .. } => Code::KeysRefused,
            E::ClockSkewed { .. } => Code::ClockSkewed,
            E::Unreachable { .. } => Code::StoreUnreachable,
            E::Throttled { .. } => Code::StoreBusy,
            E::NotS3 { .. } => Code::NotS3,
            E::Unsupported { .. } => Code::StoreUnsupported,
            E::Invalid { .. } => Code::StoreRefused,
            E::OutOfRange { .. } | E::TooLarge { .. } | E::LocalBody { .. } => Code::Failed,
        };
        Self::new(code, error.to_string()).with_hint(code.facts().next.replace('`', ""))
    }
}

impl From<SyncError> for Failure {
    fn from(error: SyncError) -> Self {
        use sync::folder::FolderError as F;
        use sync::state::StateError as S;
        let (code, hint) = match &error {
            SyncError::Bucket(error) => return error.clone().into(),
            SyncError::Stopped(_) => (Code::DeletesStopped, None),
            SyncError::Access(access) => (Code::FolderReplaced, Some(access.hint())),
            SyncError::Folder(F::NoFolder { .. }) => (Code::FolderNotFound, None),
            SyncError::Folder(F::NoSpace { .. }) => (
                Code::FileUnusable,
                Some("make room on the folder's disk and run the same command again"),
            ),
            SyncError::Folder(_) => (Code::FileUnusable, None),
            SyncError::State(S::Locked { .. }) => (
                Code::Locked,
                Some(
                    "wait for it, or end it: artifacts bisync-status says what it is doing, artifacts \
                     bisync-service stop NAME ends a service",
                ),
            ),
            SyncError::State(S::Newer { .. }) => (
                Code::FileMalformed,
                Some("use the newer version of artifacts"),
            ),
            SyncError::State(S::Damaged { .. }) => (
                Code::FileMalformed,
                Some(
                    "begin anew with --resync: it keeps this file beside the new one, and deletes nothing",
                ),
            ),
            SyncError::State(S::Unusable { .. }) => (
                Code::FileUnusable,
                Some(
                    "look at the disk; without this file the next run is a first one, which deletes nothing",
                ),
            ),
            SyncError::Halted(_) => (Code::Failed, None),
        };
        let hint = hint.map_or_else(|| code.facts().next.replace('`', ""), str::to_owned);
        Self::new(code, error.to_string()).with_hint(hint)
    }
}

impl From<SecretError> for Failure {
    fn from(error: SecretError) -> Self {
        let code = match error.kind {
            Kind::Usage => Code::VaultUsage,
            Kind::Login => Code::VaultLogin,
            Kind::Denied => Code::SecretRefused,
            Kind::NotFound => Code::SecretNotFound,
            Kind::Conflict => Code::SecretConflict,
            Kind::Temporary => Code::VaultUnavailable,
            Kind::Partial => Code::LeftUndone,
            Kind::Failed => Code::VaultFailed,
        };
        let message = match error.reason {
            Some(reason) => format!("{} ({reason})", error.message),
            None => error.message,
        };
        Self::new(code, message).with_hint(error.hint)
    }
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Self {
        use ControlError as E;
        let code = match &error {
            E::InClear { .. } => Code::InvalidValue,
            E::Unreachable { .. } => Code::OrchestratorUnreachable,
            E::Strange { .. } => Code::OrchestratorStrange,
            E::Refused { code, .. } => refusal_code(*code),
            E::Exists { .. } => Code::WorkspaceExists,
            E::NotLoggedIn { .. } => Code::LoginNeeded,
            E::Denied { .. } | E::CodeEnded => Code::LoginDenied,
            E::Local(_) => Code::Failed,
        };
        if let E::Local(local) = error {
            return local.into();
        }
        if let E::InClear { .. } = error {
            return Self::new(code, error.to_string())
                .with_hint("give its https:// address; http:// is for this machine");
        }
        let text = error.to_string();
        // The server's own next step is better than ours.
        let (message, hint) = match text.split_once("\nhint: ") {
            Some((message, hint)) => (message.to_owned(), hint.replace('\n', " ")),
            None => (text, code.facts().next.replace('`', "")),
        };
        Self::new(code, message).with_hint(hint)
    }
}

fn refusal_code(code: ErrorCode) -> Code {
    use ErrorCode as E;
    match code {
        E::Unauthenticated => Code::LoginNeeded,
        E::Forbidden => Code::NotAllowed,
        E::NotFound => Code::NotAtOrchestrator,
        E::Conflict => Code::OrchestratorConflict,
        E::Invalid => Code::InvalidValue,
        E::RateLimited | E::Timeout | E::Internal | E::ProviderFailed | E::Unavailable => {
            Code::OrchestratorBusy
        }
        E::MethodNotAllowed | E::TooLarge | E::UnsupportedMediaType | E::Unknown => {
            Code::OrchestratorStrange
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_unique_and_have_a_known_exit_code() {
        let codes: BTreeSet<&str> = Code::ALL.into_iter().map(Code::as_str).collect();
        assert_eq!(codes.len(), Code::ALL.len());
        let exits: Vec<u8> = Code::ALL.into_iter().map(Code::exit).collect();
        assert!(exits.is_sorted(), "the page is ordered by exit code");
        for exit in exits {
            assert!(exit != 0 && EXIT_CODES.iter().any(|(known, _)| *known == exit));
        }
    }

    #[test]
    fn what_the_caller_can_do_decides_the_exit_code() {
        let key = bucket::Key::new("a").expect("a key");
        for (error, exit) in [
            (
                bucket::Error::BadCredentials {
                    reason: "InvalidAccessKeyId".into(),
                    expired: false,
                },
                3,
            ),
            (
                bucket::Error::PermissionDenied {
                    action: "put a".into(),
                },
                4,
            ),
            (bucket::Error::NoSuchBucket { bucket: "b".into() }, 5),
            (bucket::Error::Precondition { key }, 6),
            (
                bucket::Error::Unreachable {
                    endpoint: "e".into(),
                    reason: "time-out".into(),
                },
                7,
            ),
            (
                bucket::Error::NotS3 {
                    endpoint: "e".into(),
                    reason: "HTML".into(),
                },
                1,
            ),
        ] {
            let failure = Failure::from(error);
            assert_eq!(failure.code.exit(), exit, "{failure:?}");
            assert!(failure.hint.is_some());
        }
    }
}
