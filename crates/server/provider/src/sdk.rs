//! The AWS SDK's clients, and from its errors to ours.
//!
//! Sources: IAM API Reference, "Common errors"; S3 API Reference, "Error responses"; what
//! SeaweedFS and Tigris answer where they differ.

use std::error::Error as StdError;
use std::time::Duration;

use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    SharedHttpClient,
};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use secrecy::{ExposeSecret, SecretString};

use crate::{AdminKeys, Config, Endpoint, Error, Place};

const CONNECT: Duration = Duration::from_secs(5);

/// A client for the place's S3.
pub(crate) fn s3_client(config: &Config, place: &Place) -> aws_sdk_s3::Client {
    let keys = admin_credentials(&config.admin);
    s3_client_with(keys, place, config.ca_pem.as_deref(), config.patience)
}

/// A client for the place's S3 with these keys. It never tries twice: what may be tried
/// again, and when, is for those to say who know what the call does.
pub(crate) fn s3_client_with(
    keys: Credentials,
    place: &Place,
    ca_pem: Option<&[u8]>,
    patience: Duration,
) -> aws_sdk_s3::Client {
    let mut sdk = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(place.region.clone()))
        .credentials_provider(keys)
        .http_client(http_client(place.endpoint.as_ref(), ca_pem))
        .timeout_config(timeouts(patience))
        .retry_config(RetryConfig::disabled())
        // Stores other than Amazon's refuse or ignore the newer checksums.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .force_path_style(place.endpoint.is_some());
    if let Some(endpoint) = &place.endpoint {
        sdk = sdk.endpoint_url(endpoint.as_str());
    }
    aws_sdk_s3::Client::from_conf(sdk.build())
}

/// A client for IAM. It never tries twice: a second CreateAccessKey after a lost answer
/// would leave a key that nobody knows.
pub(crate) fn iam_client(
    config: &Config,
    endpoint: Option<&Endpoint>,
    place: &Place,
) -> aws_sdk_iam::Client {
    let mut sdk = aws_sdk_iam::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(place.region.clone()))
        .credentials_provider(admin_credentials(&config.admin))
        .http_client(http_client(endpoint, config.ca_pem.as_deref()))
        .timeout_config(timeouts(config.patience))
        .retry_config(RetryConfig::disabled());
    if let Some(endpoint) = endpoint {
        sdk = sdk.endpoint_url(endpoint.as_str());
    }
    aws_sdk_iam::Client::from_conf(sdk.build())
}

/// Keys as the SDK takes them.
pub(crate) fn credentials(
    id: &str,
    secret: &SecretString,
    token: Option<&SecretString>,
) -> Credentials {
    let token = token.map(|token| token.expose_secret().to_owned());
    Credentials::new(id, secret.expose_secret(), token, None, "artifacts")
}

/// What a call was about, for the words of an error.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// The API's name of the call.
    pub(crate) action: &'a str,
    /// The bucket, user or policy.
    pub(crate) what: &'a str,
}

impl Asked<'_> {
    /// The error as the caller can use it.
    pub(crate) fn failed<E>(self, error: SdkError<E, HttpResponse>) -> Error
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
    {
        let Some(response) = error.raw_response() else {
            return self.unavailable(innermost(&error), None);
        };
        let status = response.status().as_u16();
        let wait = response.headers().get("retry-after");
        let wait = wait
            .and_then(|value| value.parse().ok())
            .map(Duration::from_secs);
        if let SdkError::ResponseError(_) = error {
            let reason = format!("HTTP {status}, and an answer that is not understood");
            return self.unavailable(reason, wait);
        }
        let code = error.code().unwrap_or_default();
        let message = error.message().unwrap_or_default();
        self.refused(status, code, message, wait)
    }

    fn refused(self, status: u16, code: &str, message: &str, wait: Option<Duration>) -> Error {
        match code {
            "NoSuchEntity" | "NoSuchBucket" | "NoSuchUpload" | "NoSuchKey" => self.not_found(),
            "EntityAlreadyExists" | "BucketAlreadyExists" | "BucketAlreadyOwnedByYou" => {
                Error::AlreadyExists {
                    what: self.what.into(),
                }
            }
            "BucketNotEmpty" => Error::NotEmpty {
                bucket: self.what.into(),
            },
            "Throttling"
            | "ThrottlingException"
            | "SlowDown"
            | "TooManyRequests"
            | "TooManyRequestsException"
            | "RequestLimitExceeded"
            | "RequestThrottled" => Error::Throttled {
                action: self.action.into(),
                retry_after: wait,
            },
            // What another call just did is not settled yet: what is deleted here was emptied.
            "ConcurrentModification"
            | "DeleteConflict"
            | "OperationAborted"
            | "EntityTemporarilyUnmodifiable"
            | "RequestTimeout" => self.unavailable(code.into(), wait),
            "NotImplemented"
            | "MethodNotAllowed"
            | "UnsupportedOperation"
            | "InvalidAction"
            | "XNotImplemented" => Error::unsupported(self.action),
            _ => self.refused_by_status(status, code, message, wait),
        }
    }

    fn refused_by_status(
        self,
        status: u16,
        code: &str,
        message: &str,
        wait: Option<Duration>,
    ) -> Error {
        let named = if code.is_empty() {
            format!("HTTP {status}")
        } else {
            code.to_owned()
        };
        match status {
            401 | 403 if code != "LimitExceeded" => Error::Denied {
                action: self.action.into(),
                code: named,
            },
            404 => self.not_found(),
            405 | 501 => Error::unsupported(self.action),
            429 => Error::Throttled {
                action: self.action.into(),
                retry_after: wait,
            },
            408 | 500..=599 => self.unavailable(named, wait),
            _ => Error::invalid(format!(
                "the store refuses {} on {}: {named}: {message}",
                self.action, self.what
            )),
        }
    }

    fn not_found(self) -> Error {
        Error::NotFound {
            what: self.what.into(),
        }
    }

    fn unavailable(self, reason: String, retry_after: Option<Duration>) -> Error {
        Error::Unavailable {
            action: self.action.into(),
            reason,
            retry_after,
        }
    }
}

fn admin_credentials(admin: &AdminKeys) -> Credentials {
    let token = admin.session_token.as_ref();
    credentials(&admin.access_key_id, &admin.secret_access_key, token)
}

fn timeouts(patience: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT.min(patience))
        .operation_timeout(patience)
        .build()
}

fn http_client(endpoint: Option<&Endpoint>, ca_pem: Option<&[u8]>) -> SharedHttpClient {
    if endpoint.is_some_and(Endpoint::is_plain) {
        // No certificates to load: this is what makes a local store ready at once.
        return Builder::new().build_http();
    }
    let builder = Builder::new().tls_provider(Provider::Rustls(CryptoMode::AwsLc));
    match ca_pem.and_then(tls_context) {
        Some(context) => builder.tls_context(context).build_https(),
        None => builder.build_https(),
    }
}

fn tls_context(ca_pem: &[u8]) -> Option<TlsContext> {
    let store = TrustStore::empty().with_pem_certificate(ca_pem);
    // Building fails only for trust stores that this crate does not make.
    TlsContext::builder().with_trust_store(store).build().ok()
}

/// The words of the cause behind all causes: "Connection refused", not "dispatch failure".
fn innermost(error: &(dyn StdError + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, code: &str) -> Error {
        let asked = Asked {
            action: "CreateUser",
            what: "ann",
        };
        asked.refused(status, code, "words", Some(Duration::from_secs(3)))
    }

    #[test]
    fn errors_are_named_by_what_the_caller_can_do() {
        let wait = Some(Duration::from_secs(3));
        assert_eq!(
            refused(404, "NoSuchEntity"),
            Error::NotFound { what: "ann".into() }
        );
        let action = || "CreateUser".to_owned();
        let denied = |code: &str| Error::Denied {
            action: action(),
            code: code.into(),
        };
        assert_eq!(refused(403, "AccessDenied"), denied("AccessDenied"));
        assert_eq!(refused(403, ""), denied("HTTP 403"));
        let throttled = Error::Throttled {
            action: action(),
            retry_after: wait,
        };
        assert_eq!(refused(400, "Throttling"), throttled);
        assert_eq!(refused(503, "SlowDown"), throttled);
        assert_eq!(refused(429, ""), throttled);
        let unavailable = |reason: &str| Error::Unavailable {
            action: action(),
            reason: reason.into(),
            retry_after: wait,
        };
        assert_eq!(
            refused(500, "ServiceFailure"),
            unavailable("ServiceFailure")
        );
        assert_eq!(refused(502, ""), unavailable("HTTP 502"));
        assert_eq!(
            refused(409, "ConcurrentModification"),
            unavailable("ConcurrentModification")
        );
        assert_eq!(
            refused(409, "DeleteConflict"),
            unavailable("DeleteConflict")
        );
        assert_eq!(
            refused(501, "NotImplemented"),
            Error::unsupported("CreateUser")
        );
        assert!(matches!(
            refused(400, "MalformedPolicyDocument"),
            Error::Invalid { .. }
        ));
        assert!(matches!(
            refused(409, "LimitExceeded"),
            Error::Invalid { .. }
        ));
        assert!(matches!(
            refused(403, "LimitExceeded"),
            Error::Invalid { .. }
        ));
    }
}
