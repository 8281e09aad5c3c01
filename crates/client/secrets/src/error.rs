//! Why a secret could not be had, by what the caller can do about it.

use std::fmt;

use api::vault::Reason;
use api::{ErrorBody, ErrorCode};
use credentials::Endpoint;
use serde::{Deserialize, Serialize};
use vault::EnvelopeError;
use vault::isolation::InvalidName;

/// What a call of this crate gives.
pub type Result<T> = std::result::Result<T, SecretError>;

/// What the caller can do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A setting or a value is missing or wrong.
    Usage,
    /// Log in.
    Login,
    /// It is not the caller's to have.
    Denied,
    /// There is no such thing.
    NotFound,
    /// Something is not as it must be: changed meanwhile, or rolled back.
    Conflict,
    /// The same call may succeed later.
    Temporary,
    /// A part was left undone.
    Partial,
    /// Anything else.
    Failed,
}

/// A failure. Its texts never hold a secret, a token or a body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretError {
    /// What can be done.
    pub kind: Kind,
    /// The stable reason, where a worker gave one or would have.
    pub reason: Option<Reason>,
    /// The thing and the cause.
    pub message: String,
    /// The next step.
    pub hint: String,
}

impl std::error::Error for SecretError {}

impl From<InvalidName> for SecretError {
    fn from(error: InvalidName) -> Self {
        let message = format!("{:?} is no {}", error.text, error.what);
        Self::new(Kind::Usage, message, error.hint)
    }
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Characters of a server's sentence that are shown.
const LONGEST_SENTENCE: usize = 500;

impl SecretError {
    /// A failure without a reason of the wire's.
    pub fn new(kind: Kind, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            kind,
            reason: None,
            message: message.into(),
            hint: hint.into(),
        }
    }

    /// A failure for a reason, with the next step that goes with it.
    pub fn because(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            kind: kind_of(reason),
            reason: Some(reason),
            message: message.into(),
            hint: hint_of(reason).to_owned(),
        }
    }

    /// A server's refusal, in its own words; its own next step is better than ours.
    pub(crate) fn refused(reason: Reason, text: &str) -> Self {
        let (message, hint) = sentence(text);
        let known = Self::because(reason, message);
        match hint {
            Some(hint) => Self { hint, ..known },
            None => known,
        }
    }

    /// A refusal of a broker or signer.
    pub(crate) fn told(server: &str, body: &ErrorBody) -> Self {
        let (message, hint) = sentence(&body.message);
        let (kind, ours) = match body.code {
            ErrorCode::Unauthenticated => (Kind::Login, "log in: artifacts vault login"),
            ErrorCode::Forbidden => (
                Kind::Denied,
                "ask the operator: artifacts device list, artifacts scope show",
            ),
            ErrorCode::NotFound => (Kind::NotFound, "look whether the name is right"),
            ErrorCode::Conflict => (Kind::Conflict, "look at what is there, then try again"),
            ErrorCode::Invalid | ErrorCode::TooLarge => (Kind::Usage, "look at the values"),
            ErrorCode::RateLimited
            | ErrorCode::Timeout
            | ErrorCode::Internal
            | ErrorCode::ProviderFailed
            | ErrorCode::Unavailable => (Kind::Temporary, "try again in a while"),
            ErrorCode::MethodNotAllowed | ErrorCode::UnsupportedMediaType | ErrorCode::Unknown => {
                (Kind::Failed, "use the version that the operator recommends")
            }
        };
        Self::new(
            kind,
            format!("{server}: {message}"),
            hint.unwrap_or_else(|| ours.into()),
        )
    }

    /// A setting that is needed and nowhere to be found.
    pub fn unset(name: &str, variable: &str) -> Self {
        Self::new(
            Kind::Usage,
            format!("vault.{name} is not set"),
            format!("write it into [vault] of config.toml, or export {variable}"),
        )
    }

    /// There is no login that counts.
    pub fn not_logged_in(broker: &Endpoint) -> Self {
        Self::new(
            Kind::Login,
            format!("not logged in at the broker {broker}"),
            "run: artifacts vault login, or on an agent's machine: artifacts agent pair",
        )
    }

    /// There is no device key.
    pub fn no_device() -> Self {
        Self::new(
            Kind::Login,
            "this machine has no device key",
            "run: artifacts device register, or on an agent's machine: artifacts agent pair",
        )
    }

    /// No answer came.
    pub(crate) fn unreachable(server: &str, why: &str) -> Self {
        Self::new(
            Kind::Temporary,
            format!("{server} does not answer: {why}"),
            "check the network and its address in [vault] of config.toml, then try again",
        )
    }

    /// An answer that no server of ours gives.
    pub(crate) fn strange(server: &str, why: &str) -> Self {
        Self::new(
            Kind::Failed,
            format!("what answers as {server} is not one that this version knows: {why}"),
            "check its address in [vault] of config.toml",
        )
    }

    /// Whether the capability that was shown is no good any more, and a new one may be.
    pub fn wants_new_cap(&self) -> bool {
        matches!(
            self.reason,
            Some(
                Reason::CapExpired
                    | Reason::CapSignatureInvalid
                    | Reason::EpochMismatch
                    | Reason::ScopeDenied
                    | Reason::ScopeReadOnly
            )
        )
    }
}

/// A server's message: a sentence and the next step, and no more of either than a person reads.
fn sentence(text: &str) -> (String, Option<String>) {
    let cut = |line: &str| line.chars().take(LONGEST_SENTENCE).collect::<String>();
    let mut lines = text.lines();
    let first = cut(lines.next().unwrap_or_default());
    let hint = lines.find_map(|line| line.strip_prefix("hint: ")).map(cut);
    (first, hint)
}

/// What the caller can do about a reason.
pub fn kind_of(reason: Reason) -> Kind {
    use Reason as R;
    match reason {
        R::TooLarge | R::RequestInvalid => Kind::Usage,
        R::NotFound => Kind::NotFound,
        R::GenerationMismatch | R::EnvelopeRollback => Kind::Conflict,
        R::RateLimited
        | R::RegistryUnavailable
        | R::SignerUnavailable
        | R::BucketUnavailable
        | R::KeysUnavailable
        | R::AuditUnavailable => Kind::Temporary,
        R::EnvelopeVersion
        | R::EnvelopeMalformed
        | R::EnvelopeInvalid
        | R::Internal
        | R::Unknown => Kind::Failed,
        _ if reason.status() == 403 => Kind::Denied,
        _ => Kind::Failed,
    }
}

/// The next step that goes with a reason.
pub fn hint_of(reason: Reason) -> &'static str {
    use Reason as R;
    match reason {
        R::TooLarge => "a secret has at most 65,536 bytes; keep files in a workspace",
        R::RequestInvalid => "use the version that the operator recommends",
        R::RateLimited => "try again in a while",
        R::CapSignatureInvalid => {
            "look whether vault.broker is the broker that the worker trusts, then try again"
        }
        R::CapExpired => "look whether this machine's clock is right, then try again",
        R::CapOpMismatch | R::CapServiceMismatch => "try again; restart the daemon if it stays so",
        R::ProofMissing | R::ProofInvalid => {
            "look whether this machine's clock is right and vault.worker is the worker's own address"
        }
        R::ProofReplayed => "try again: a new proof is made for each request",
        R::DeviceUnknown => "register it: artifacts device register, or artifacts agent pair",
        R::DeviceRevoked => "ask the operator; a new device is made with artifacts device register",
        R::DeviceBindingMismatch => "log in as whom the device was registered for",
        R::RoleMissing => "ask the operator to register the device with the role that it needs",
        R::ScopeDenied => "ask the operator: artifacts scope set",
        R::ScopeReadOnly => "ask the operator for a scope that may write: artifacts scope set",
        R::EpochMismatch => "try again: the next capability is of the new epoch",
        R::RegistryUnavailable
        | R::SignerUnavailable
        | R::BucketUnavailable
        | R::KeysUnavailable
        | R::AuditUnavailable => "try again in a while; the worker's operator sees the cause",
        R::NotFound => "see artifacts secret list; store it with: artifacts secret store SERVICE",
        R::GenerationMismatch => "somebody else stored it meanwhile: read it, then decide",
        R::EnvelopeVersion => "move it to the present form: artifacts secret migrate",
        R::EnvelopeMalformed | R::EnvelopeInvalid => {
            "store the secret again, and find out who may write to the bucket"
        }
        R::EnvelopeRollback => {
            "an older state of the bucket is shown: find out who changed it; store the secret again"
        }
        R::Internal | R::Unknown => "try again; the worker's log has the cause",
    }
}

impl From<EnvelopeError> for SecretError {
    fn from(error: EnvelopeError) -> Self {
        Self::refused(error.reason(), &error.to_string())
    }
}

impl From<credentials::Error> for SecretError {
    fn from(error: credentials::Error) -> Self {
        use credentials::Error as E;
        let kind = match &error {
            E::Keyring(_) => Kind::Login,
            E::ReadableByOthers { .. } | E::WritableByOthers { .. } | E::Foreign { .. } => {
                Kind::Denied
            }
            E::Locked { .. } => Kind::Temporary,
            _ => Kind::Failed,
        };
        let hint = error.hint();
        let hint = hint.unwrap_or_else(|| "look at the file or keyring that is named".into());
        Self::new(kind, error.to_string(), hint)
    }
}

impl From<bucket::Error> for SecretError {
    fn from(error: bucket::Error) -> Self {
        use bucket::Error as E;
        match &error {
            E::NotFound { .. } => Self::because(Reason::NotFound, "it is not in the bucket"),
            E::Precondition { .. } => Self::because(
                Reason::GenerationMismatch,
                "the secret was changed by somebody else meanwhile",
            ),
            E::PermissionDenied { .. } => Self::new(
                Kind::Denied,
                error.to_string(),
                "look at the role's policy: artifacts vault provision --verify",
            ),
            E::BadCredentials { .. } => {
                Self::new(Kind::Login, error.to_string(), "run: artifacts vault login")
            }
            E::Unreachable { .. } | E::Throttled { .. } => Self {
                message: error.to_string(),
                ..Self::because(Reason::BucketUnavailable, "")
            },
            _ => Self::new(
                Kind::Failed,
                error.to_string(),
                "check vault.bucket and vault.endpoint",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_kind_and_a_next_step() {
        for reason in Reason::ALL {
            let error = SecretError::because(*reason, "x");
            assert!(error.hint.len() > 10, "{reason}");
            let expected = match reason.status() {
                403 => Kind::Denied,
                404 => Kind::NotFound,
                409 => Kind::Conflict,
                429 | 502 => Kind::Temporary,
                400 | 413 => Kind::Usage,
                _ if *reason == Reason::EnvelopeRollback => Kind::Conflict,
                _ => Kind::Failed,
            };
            assert_eq!(error.kind, expected, "{reason}");
        }
    }

    #[test]
    fn a_servers_words_are_bounded_and_its_hint_is_kept() {
        let long = format!("{}\nhint: do that\nmore", "x".repeat(10_000));
        let error = SecretError::refused(Reason::ScopeDenied, &long);
        assert_eq!(error.message.len(), LONGEST_SENTENCE);
        assert_eq!(error.hint, "do that");
    }
}
