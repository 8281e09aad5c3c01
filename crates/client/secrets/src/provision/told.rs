//! What a store has said to a call.

use std::error::Error as StdError;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use crate::error::{Kind, SecretError};

/// The answer, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    /// Done.
    Done,
    /// Refused with this code and HTTP status, and these words.
    Refused {
        code: String,
        status: u16,
        words: String,
    },
    /// No answer that can be understood.
    Nothing(String),
}

impl Told {
    pub(super) fn of<T, E>(result: &Result<T, SdkError<E, HttpResponse>>) -> Self
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
    {
        let Err(error) = result else {
            return Self::Done;
        };
        match error {
            SdkError::ServiceError(inner) => {
                let service = inner.err();
                Self::Refused {
                    code: service.code().unwrap_or("no code").to_owned(),
                    status: inner.raw().status().as_u16(),
                    words: service.message().unwrap_or_default().to_owned(),
                }
            }
            other => {
                // The causes' words; never the request, which may hold a token.
                let first = other as &dyn StdError;
                let causes = std::iter::successors(Some(first), |&error| error.source());
                let mut words: Vec<String> = causes.map(ToString::to_string).collect();
                words.dedup();
                Self::Nothing(words.join(": "))
            }
        }
    }

    /// The code and the status of a refusal: what two answers have in common.
    pub(super) fn kind(&self) -> Option<(&str, u16)> {
        match self {
            Self::Refused { code, status, .. } => Some((code, *status)),
            Self::Done | Self::Nothing(_) => None,
        }
    }

    /// Whether it is this refusal.
    pub(super) fn is(&self, code: &str) -> bool {
        matches!(self, Self::Refused { code: said, .. } if said == code)
    }

    /// Whether the store says that it is not the caller's to do. Any other failure may hide
    /// that it would be.
    pub(super) fn is_denied(&self) -> bool {
        matches!(self, Self::Refused { code, status: 403, .. } if code == "AccessDenied")
    }

    /// In words.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Done => "it was done".to_owned(),
            Self::Refused {
                code,
                status,
                words,
            } => match words.is_empty() {
                true => format!("{code} (HTTP {status})"),
                false => format!("{code} (HTTP {status}): {words}"),
            },
            Self::Nothing(why) => format!("no answer: {why}"),
        }
    }

    /// As a failure of a step.
    pub(super) fn failed(&self, doing: &str) -> SecretError {
        let message = format!("{doing}: {}", self.shown());
        match self {
            Self::Refused { status: 403, .. } => SecretError::new(
                Kind::Denied,
                message,
                "use keys that may do this (artifacts storage set, or ARTIFACTS_S3_* variables)",
            ),
            Self::Refused { status, code, .. }
                if *status == 501 || code == "NotImplemented" || code == "InvalidAction" =>
            {
                SecretError::new(
                    Kind::Failed,
                    message,
                    "this store has no such call: say its kind with --store (aws, embedded, \
                     seaweedfs), or apply the documents of --plan by hand",
                )
            }
            Self::Refused { status, .. } if *status < 500 => SecretError::new(
                Kind::Failed,
                message,
                "look at the step's document: artifacts vault provision --plan",
            ),
            _ => SecretError::new(
                Kind::Temporary,
                message,
                "try again: what is done already is found done",
            ),
        }
    }
}
