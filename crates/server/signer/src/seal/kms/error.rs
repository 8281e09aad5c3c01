//! Why the service gives no key.

use super::KeyArn;

/// Why the service gives no key. The service's own words (`why`) are shown as they are: it puts
/// no key into them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KmsError {
    /// It does not answer.
    #[error(
        "the KMS at {place} does not answer: {why}\nhint: nothing was changed; see that this machine reaches it (--kms-endpoint names another address), and start again"
    )]
    Unreachable {
        /// Where it was asked.
        place: String,
        /// What happened.
        why: String,
    },
    /// It has too much to do.
    #[error("the KMS at {place} has too many requests ({why})\nhint: start again in a minute")]
    Busy {
        /// Where it was asked.
        place: String,
        /// Its word for it.
        why: String,
    },
    /// There is nothing to be known by.
    #[error(
        "there are no AWS credentials to ask the KMS with: {0}\nhint: a role of the machine or container, AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    )]
    NoCredentials(String),
    /// What there is does not count.
    #[error(
        "the KMS does not take this server's AWS credentials ({0})\nhint: they may have ended or been revoked, or this machine's clock is wrong"
    )]
    Credentials(String),
    /// The credentials' holder may not use the key.
    #[error(
        "the KMS denies {action} by {key}: {why}\nhint: this server's role needs {action} on that key, in its own policy or in the key's"
    )]
    Denied {
        /// The action.
        action: &'static str,
        /// The key.
        key: KeyArn,
        /// The service's words.
        why: String,
    },
    /// There is no such key.
    #[error(
        "the KMS knows no key {0}\nhint: see its region and account; a key that was deleted is gone, and with it what it sealed"
    )]
    NoKey(KeyArn),
    /// The key is switched off.
    #[error("the key {0} is disabled\nhint: `aws kms enable-key --key-id {0}`, if that is meant")]
    Disabled(KeyArn),
    /// The key will be deleted.
    #[error(
        "the key {key} is to be deleted{when}\nhint: without it the file can never be opened again: `aws kms cancel-key-deletion --key-id {key}`, then `aws kms enable-key --key-id {key}`"
    )]
    Deleting {
        /// The key.
        key: KeyArn,
        /// " on …", where that is known.
        when: String,
    },
    /// The key is in another state in which it does nothing.
    #[error("the key {key} cannot be used now: {why}\nhint: `aws kms describe-key --key-id {key}`")]
    State {
        /// The key.
        key: KeyArn,
        /// The service's words.
        why: String,
    },
    /// It is a key for something else.
    #[error(
        "the key {key} does not wrap keys: it is {what}\nhint: a symmetric key (SYMMETRIC_DEFAULT) for ENCRYPT_DECRYPT"
    )]
    Unfit {
        /// The key.
        key: KeyArn,
        /// What it is.
        what: String,
    },
    /// The service does not open the wrapped key.
    #[error(
        "the KMS does not open the key in the file by {0}: it was changed, wrapped by another key, or wrapped for something else\nhint: take the copy that you keep of the file"
    )]
    Wrapped(KeyArn),
    /// The answer is about another key than was asked for.
    #[error(
        "the KMS answered for another key than {asked}\nhint: see what answers there (--kms-endpoint)"
    )]
    AnotherKey {
        /// Which was asked for.
        asked: KeyArn,
    },
    /// The answer is not one of this service.
    #[error(
        "the KMS gave no answer of its kind: {0}\nhint: see what answers there (--kms-endpoint)"
    )]
    Strange(&'static str),
    /// Anything else.
    #[error("the KMS refuses ({code}): {why}")]
    Refused {
        /// The service's name for it.
        code: String,
        /// Its words.
        why: String,
    },
}
