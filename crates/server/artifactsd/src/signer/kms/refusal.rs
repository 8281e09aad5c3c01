//! From the SDK's errors to those that a person can do something about.

use std::error::Error as StdError;

use aws_sdk_kms::config::http::HttpResponse;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use reqwest::Url;
use signer::seal::kms::{KeyArn, KmsError};

/// The most of somebody else's words that is shown.
const LONGEST: usize = 400;

/// What was asked for, for the words of an error.
pub(super) struct Asked<'a> {
    pub(super) action: &'static str,
    pub(super) key: &'a KeyArn,
    pub(super) endpoint: Option<&'a Url>,
}

impl Asked<'_> {
    pub(super) fn failed<E>(&self, error: &SdkError<E, HttpResponse>) -> KmsError
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
    {
        match error {
            SdkError::ServiceError(answer) => {
                let code = answer.err().code().unwrap_or_default();
                let why = shown(answer.err().message().unwrap_or_default());
                self.refused(answer.raw().status().as_u16(), code, why)
            }
            SdkError::ConstructionFailure(_) => {
                KmsError::Strange("it cannot be asked as it is set")
            }
            SdkError::ResponseError(_) => KmsError::Strange("it is not understood"),
            SdkError::TimeoutError(_) => self.unreachable("no answer in time".to_owned()),
            error => self.unreachable(innermost(error)),
        }
    }

    fn refused(&self, status: u16, code: &str, why: String) -> KmsError {
        let key = || self.key.clone();
        match code {
            "AccessDeniedException" | "AccessDenied" => KmsError::Denied {
                action: self.action,
                key: key(),
                why: or(why, "it does not say why"),
            },
            "DisabledException" => KmsError::Disabled(key()),
            "KMSInvalidStateException" if why.contains("pending deletion") => KmsError::Deleting {
                key: key(),
                when: String::new(),
            },
            "KMSInvalidStateException" | "KeyUnavailableException" => KmsError::State {
                key: key(),
                why: or(why, code),
            },
            "NotFoundException" => KmsError::NoKey(key()),
            "InvalidCiphertextException" | "IncorrectKeyException" => KmsError::Wrapped(key()),
            "InvalidKeyUsageException" => KmsError::Unfit {
                key: key(),
                what: "for another use".to_owned(),
            },
            "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "InvalidSignatureException"
            | "SignatureDoesNotMatch"
            | "ExpiredTokenException"
            | "ExpiredToken"
            | "IncompleteSignature"
            | "MissingAuthenticationTokenException" => KmsError::Credentials(code.to_owned()),
            "ThrottlingException" | "Throttling" | "TooManyRequestsException" => KmsError::Busy {
                place: self.place(),
                why: code.to_owned(),
            },
            _ if status == 429 => KmsError::Busy {
                place: self.place(),
                why: format!("HTTP {status}"),
            },
            _ if status >= 500 => self.unreachable(or(code.to_owned(), &format!("HTTP {status}"))),
            _ => KmsError::Refused {
                code: or(shown(code), &format!("HTTP {status}")),
                why: or(why, "it does not say why"),
            },
        }
    }

    fn unreachable(&self, why: String) -> KmsError {
        KmsError::Unreachable {
            place: self.place(),
            why,
        }
    }

    fn place(&self) -> String {
        match self.endpoint {
            Some(url) => url.origin().ascii_serialization(),
            None => self.key.region().to_owned(),
        }
    }
}

/// The words of the cause behind all causes: "Connection refused", not "dispatch failure".
pub(super) fn innermost(error: &(dyn StdError + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    shown(&cause.to_string())
}

/// Somebody else's words on one line of bounded length.
fn shown(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(plain).take(LONGEST).collect()
}

fn or(text: String, other: &str) -> String {
    if text.is_empty() {
        other.to_owned()
    } else {
        text
    }
}
