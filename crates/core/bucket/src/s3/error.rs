//! From the SDK's errors to ours, in one place.
//!
//! Sources: S3 API Reference, "Error responses"; what SeaweedFS, MinIO, Ceph and Garage
//! answer where they differ.

use std::error::Error as StdError;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use crate::{Error, Key};

/// What was asked, for the words of an error.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    /// The method of the port: `put`.
    pub(super) verb: &'static str,
    /// The key it was about.
    pub(super) key: Option<&'a Key>,
    pub(super) bucket: &'a str,
    pub(super) endpoint: &'a str,
}

/// An error with what may be done about it at once.
#[derive(Debug, PartialEq)]
pub(super) struct Failure {
    pub(super) error: Error,
    pub(super) remedy: Remedy,
}

/// What may make the same call succeed now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Nothing.
    None,
    /// Waiting a little.
    Wait,
    /// New connections, after a little wait.
    Reconnect,
    /// New keys from the same source.
    NewKeys,
    /// The answer had no body (HEAD), so the reason is not known: ask with a GET.
    AskAgain,
}

/// Tells what a failed call of the SDK means.
pub(super) fn classify<E>(asked: Asked<'_>, error: &SdkError<E>) -> Failure
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    match error {
        SdkError::ServiceError(service) => {
            let answer = Answer::new(service.raw(), service.err());
            if answer.code.is_none() && answer.status < 300 {
                // A web page with a friendly 200.
                return asked.not_s3(innermost(service.err()));
            }
            asked.refused(&answer)
        }
        // The answer began and the connection died.
        SdkError::ResponseError(_) if broke_off(error) => asked.unreachable(error),
        SdkError::ResponseError(response) => {
            let status = response.raw().status().as_u16();
            if status >= 500 {
                asked.busy(status, "")
            } else {
                asked.not_s3(innermost(error))
            }
        }
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) => asked.unreachable(error),
        other => asked.invalid(innermost(other)),
    }
}

/// The parts of an HTTP answer that tell what it means.
struct Answer<'a> {
    status: u16,
    code: Option<&'a str>,
    message: &'a str,
    has_body: bool,
    is_xml: bool,
}

impl<'a> Answer<'a> {
    fn new(raw: &'a HttpResponse, meta: &'a impl ProvideErrorMetadata) -> Self {
        let body = raw.body().bytes().unwrap_or_default().trim_ascii_start();
        Self {
            status: raw.status().as_u16(),
            // The SDK's own word for a 404 without a body.
            code: meta
                .code()
                .filter(|code| *code != "NotFound" && !code.is_empty()),
            message: meta.message().unwrap_or_default(),
            has_body: !body.is_empty(),
            is_xml: body.starts_with(b"<?xml") || body.starts_with(b"<Error"),
        }
    }

    /// `Code: message`, on one line.
    fn words(&self) -> String {
        let code = self
            .code
            .map_or_else(|| format!("HTTP {}", self.status), str::to_owned);
        let message: String = self.message.chars().filter(|c| !c.is_control()).collect();
        if message.is_empty() {
            code
        } else {
            format!("{code}: {message}")
        }
    }
}

impl Asked<'_> {
    fn refused(self, answer: &Answer<'_>) -> Failure {
        match answer.code {
            Some(code) => self.refused_by_code(code, answer),
            None => self.refused_by_status(answer),
        }
    }

    fn refused_by_code(self, code: &str, answer: &Answer<'_>) -> Failure {
        match code {
            "NoSuchKey" | "NoSuchVersion" => self.on_key(|key| Error::NotFound { key }),
            "NoSuchBucket" => final_error(Error::NoSuchBucket {
                bucket: self.bucket.into(),
            }),
            "PreconditionFailed" => self.on_key(|key| Error::Precondition { key }),
            // Two conditional writes at once: S3 asks to try again (S3 User Guide, "How to
            // prevent object overwrites").
            "ConditionalRequestConflict" | "OperationAborted" => Failure {
                remedy: Remedy::Wait,
                ..self.on_key(|key| Error::Precondition { key })
            },
            "InvalidRange" => self.on_key(|key| Error::OutOfRange { key }),
            "EntityTooLarge" | "MaxMessageLengthExceeded" => {
                self.on_key(|key| Error::TooLarge { key })
            }
            "AccessDenied" | "AllAccessDisabled" | "AccountProblem" | "MethodNotAllowed"
            | "ObjectLocked" | "InvalidObjectState" => self.denied(),
            "ExpiredToken"
            | "ExpiredTokenException"
            | "TokenRefreshRequired"
            | "RequestExpired" => self.bad_keys(code, true),
            "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "InvalidToken"
            | "InvalidSecurity"
            | "NotSignedUp"
            | "InvalidClientTokenId"
            | "UnrecognizedClientException"
            | "AuthFailure"
            | "MissingSecurityHeader"
            | "MissingAuthenticationToken" => self.bad_keys(code, false),
            // The SDK has noted the store's clock with this answer and signs by it now.
            "RequestTimeTooSkewed" => Failure {
                remedy: Remedy::Wait,
                ..final_error(Error::ClockSkewed {
                    reason: answer.words(),
                })
            },
            "NotImplemented" | "UnsupportedOperation" => final_error(Error::Unsupported {
                reason: answer.words(),
            }),
            "SlowDown"
            | "Busy"
            | "ServiceUnavailable"
            | "InternalError"
            | "InternalFailure"
            | "Throttling"
            | "ThrottlingException"
            | "RequestLimitExceeded"
            | "RequestTimeout"
            | "RequestThrottled"
            | "TooManyRequests"
            | "BandwidthLimitExceeded"
            | "QuotaExceeded"
            | "XMinioStorageFull"
            | "IncompleteBody" => self.busy(answer.status, code),
            _ => self.refused_by_status(answer),
        }
    }

    fn refused_by_status(self, answer: &Answer<'_>) -> Failure {
        let is_s3 = answer.code.is_some() || answer.is_xml;
        match answer.status {
            412 => self.on_key(|key| Error::Precondition { key }),
            416 => self.on_key(|key| Error::OutOfRange { key }),
            413 => self.on_key(|key| Error::TooLarge { key }),
            500 | 502..=599 | 429 => self.busy(answer.status, answer.code.unwrap_or_default()),
            _ if answer.has_body && !is_s3 => self.not_s3(answer.words()),
            501 => final_error(Error::Unsupported {
                reason: answer.words(),
            }),
            400 | 403 | 404 if !answer.has_body => self.without_reason(answer),
            401 | 403 if answer.code.is_some() => self.denied(),
            401 => self.bad_keys("HTTP 401", false),
            403 => self.denied(),
            404 if answer.code.is_none() => self.not_s3(answer.words()),
            405 => self.denied(),
            409 => self.on_key(|key| Error::Precondition { key }),
            300..=399 => self.invalid(format!("{} (another region?)", answer.words())),
            _ => self.invalid(answer.words()),
        }
    }

    /// A bare status, as HEAD gives it.
    fn without_reason(self, answer: &Answer<'_>) -> Failure {
        let error = match (answer.status, self.key) {
            (404, Some(key)) => Error::NotFound { key: key.clone() },
            (404, None) => Error::NoSuchBucket {
                bucket: self.bucket.into(),
            },
            (403, _) => self.denied().error,
            _ => Error::Invalid {
                reason: answer.words(),
            },
        };
        let remedy = if self.verb == "head" {
            Remedy::AskAgain
        } else {
            Remedy::None
        };
        Failure { error, remedy }
    }

    fn on_key(self, make: impl FnOnce(Key) -> Error) -> Failure {
        final_error(match self.key {
            Some(key) => make(key.clone()),
            None => Error::Invalid {
                reason: format!("{} was refused for a key", self.verb),
            },
        })
    }

    fn denied(self) -> Failure {
        let action = match self.key {
            Some(key) => format!("{} {key}", self.verb),
            None => format!("{} {}", self.verb, self.bucket),
        };
        final_error(Error::PermissionDenied { action })
    }

    /// Keys that were revoked may have been replaced at their source just as well as those of
    /// an ended session.
    fn bad_keys(self, code: &str, expired: bool) -> Failure {
        Failure {
            error: Error::BadCredentials {
                reason: code.into(),
                expired,
            },
            remedy: Remedy::NewKeys,
        }
    }

    fn busy(self, status: u16, code: &str) -> Failure {
        let reason = if code.is_empty() {
            format!("HTTP {status}")
        } else {
            code.to_owned()
        };
        Failure {
            error: Error::Throttled { reason },
            remedy: Remedy::Wait,
        }
    }

    pub(super) fn not_s3(self, reason: String) -> Failure {
        final_error(Error::NotS3 {
            endpoint: self.endpoint.into(),
            reason,
        })
    }

    fn invalid(self, reason: String) -> Failure {
        final_error(Error::Invalid { reason })
    }

    fn unreachable(self, error: &(dyn StdError + 'static)) -> Failure {
        let reason = innermost(error);
        // TLS spoken to a port that does not speak it.
        if reason.contains("InvalidContentType") {
            return self.not_s3("it does not speak TLS".into());
        }
        Failure {
            error: self.no_answer(reason),
            remedy: Remedy::Reconnect,
        }
    }

    pub(super) fn no_answer(self, reason: String) -> Error {
        Error::Unreachable {
            endpoint: self.endpoint.into(),
            reason,
        }
    }
}

fn final_error(error: Error) -> Failure {
    Failure {
        error,
        remedy: Remedy::None,
    }
}

/// Whether the connection is among the causes, rather than what came through it.
fn broke_off(error: &(dyn StdError + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |&error| error.source());
    causes.any(|cause| cause.is::<hyper::Error>() || cause.is::<std::io::Error>())
}

/// The words of the cause behind all causes: "Connection refused", not "dispatch failure".
pub(super) fn innermost(error: &(dyn StdError + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(verb: &'static str, status: u16, code: Option<&str>, body: &str) -> Failure {
        let key = Key::new("k").unwrap();
        let asked = Asked {
            verb,
            key: Some(&key),
            bucket: "b",
            endpoint: "http://e",
        };
        asked.refused(&Answer {
            status,
            code,
            message: "",
            has_body: !body.is_empty(),
            is_xml: body.starts_with("<?xml"),
        })
    }

    #[test]
    fn a_web_page_is_not_a_store() {
        for status in [400, 403, 404, 405, 501] {
            let failure = refused("get", status, None, "<!DOCTYPE html>");
            let reason = format!("HTTP {status}");
            assert_eq!(
                failure.error,
                Error::NotS3 {
                    endpoint: "http://e".into(),
                    reason
                }
            );
        }
        let failure = refused("get", 404, None, "<?xml version='1.0'?><html/>");
        assert!(matches!(failure.error, Error::NotS3 { .. }), "{failure:?}");
    }

    #[test]
    fn a_proxy_in_trouble_is_a_busy_store() {
        let failure = refused("put", 503, None, "<html>");
        assert_eq!(
            failure.error,
            Error::Throttled {
                reason: "HTTP 503".into()
            }
        );
        assert_eq!(failure.remedy, Remedy::Wait);
    }

    #[test]
    fn a_bare_answer_is_asked_again_with_a_body() {
        let failure = refused("head", 404, None, "");
        assert_eq!(
            failure.error,
            Error::NotFound {
                key: Key::new("k").unwrap()
            }
        );
        assert_eq!(failure.remedy, Remedy::AskAgain);
        let failure = refused("head", 403, None, "");
        assert_eq!(
            failure.error,
            Error::PermissionDenied {
                action: "head k".into()
            }
        );
        assert_eq!(failure.remedy, Remedy::AskAgain);
    }

    #[test]
    fn refused_keys_are_asked_for_anew() {
        let failure = refused("get", 400, Some("ExpiredToken"), "<?xml");
        assert_eq!(failure.remedy, Remedy::NewKeys);
        let failure = refused("get", 403, Some("SignatureDoesNotMatch"), "<?xml");
        let reason = "SignatureDoesNotMatch".into();
        assert_eq!(
            failure.error,
            Error::BadCredentials {
                reason,
                expired: false
            }
        );
        assert_eq!(failure.remedy, Remedy::NewKeys);
    }

    #[test]
    fn a_raced_write_is_tried_again_and_then_a_precondition() {
        let failure = refused("put", 409, Some("ConditionalRequestConflict"), "<?xml");
        assert_eq!(
            failure.error,
            Error::Precondition {
                key: Key::new("k").unwrap()
            }
        );
        assert_eq!(failure.remedy, Remedy::Wait);
        assert_eq!(
            refused("put", 412, Some("PreconditionFailed"), "<?xml").remedy,
            Remedy::None
        );
    }
}
