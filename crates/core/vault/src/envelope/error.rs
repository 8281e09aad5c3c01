//! Why an envelope is not sealed or not opened.

use api::vault::Reason;

/// Why an envelope is not sealed or not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// The version is unknown, or an older one that is not opened here.
    #[error(
        "the envelope is of version 0x{0:02x}, which is not opened here\nhint: `artifacts secret migrate` reads 0x01 and 0x02; any other needs a newer release"
    )]
    Version(u8),
    /// It is cut off, or longer than any envelope.
    #[error("the envelope is cut off or too long\nhint: store the credential again")]
    Malformed,
    /// It was sealed for another place or under another key, or was changed.
    #[error(
        "the envelope does not belong here: it was sealed for another service, actor or operator, under another key, or was changed\nhint: store the credential again, and find out who may write to the bucket"
    )]
    Invalid,
    /// The plaintext is too long to be sealed.
    #[error("a credential has at most 65,536 bytes\nhint: keep files in a workspace instead")]
    TooLong,
    /// The system gives no random numbers.
    #[error("the system gives no random numbers, so nothing can be sealed\nhint: try again")]
    NoRandom,
}

impl EnvelopeError {
    /// The reason on the wire and in the audit.
    pub fn reason(self) -> Reason {
        match self {
            Self::Version(_) => Reason::EnvelopeVersion,
            Self::Malformed => Reason::EnvelopeMalformed,
            Self::Invalid => Reason::EnvelopeInvalid,
            Self::TooLong => Reason::TooLarge,
            Self::NoRandom => Reason::Internal,
        }
    }
}
