//! Why a call is not carried out, with the code that IAM has for it.

use hyper::StatusCode;
use quick_xml::escape::escape;

use super::answer::NAMESPACE;
use crate::keys::KeysError;

/// A refusal as the caller sees it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    code: &'static str,
    status: StatusCode,
    message: String,
}

impl Refusal {
    pub(super) fn no_such(kind: &str, name: &str) -> Self {
        Self::missing(format!("The {kind} with name {name} cannot be found."))
    }

    pub(super) fn missing(message: String) -> Self {
        Self::new("NoSuchEntity", StatusCode::NOT_FOUND, message)
    }

    pub(super) fn exists(kind: &str, name: &str) -> Self {
        let message = format!("{kind} with name {name} already exists.");
        Self::new("EntityAlreadyExists", StatusCode::CONFLICT, message)
    }

    pub(super) fn conflict(message: &str) -> Self {
        Self::new("DeleteConflict", StatusCode::CONFLICT, message)
    }

    pub(super) fn limit(quota: &str, most: usize) -> Self {
        let message = format!("Cannot exceed quota for {quota}: {most}");
        Self::new("LimitExceeded", StatusCode::CONFLICT, message)
    }

    pub(super) fn malformed_policy(reason: impl std::fmt::Display) -> Self {
        let message = reason.to_string();
        Self::new("MalformedPolicyDocument", StatusCode::BAD_REQUEST, message)
    }

    pub(super) fn validation(message: impl Into<String>) -> Self {
        Self::new("ValidationError", StatusCode::BAD_REQUEST, message)
    }

    pub(super) fn no_such_action(action: &str) -> Self {
        let message = format!("Could not find operation {action} for version 2010-05-08");
        Self::new("InvalidAction", StatusCode::BAD_REQUEST, message)
    }

    pub(super) fn denied(action: &str, resource: &str) -> Self {
        let message = format!("the key may not perform {action} on resource {resource}");
        Self::new("AccessDenied", StatusCode::FORBIDDEN, message)
    }

    pub(super) fn unknown_key() -> Self {
        let message = "The security token included in the request is invalid.";
        Self::new("InvalidClientTokenId", StatusCode::FORBIDDEN, message)
    }

    pub(super) fn incomplete_signature(message: &str) -> Self {
        Self::new("IncompleteSignature", StatusCode::BAD_REQUEST, message)
    }

    pub(super) fn wrong_signature(message: &str) -> Self {
        Self::new("SignatureDoesNotMatch", StatusCode::FORBIDDEN, message)
    }

    /// Something of this store's own; the reason is in its log.
    pub(super) fn failure() -> Self {
        let message = "The store could not do it; its log says why.";
        Self::new("ServiceFailure", StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// As XML (IAM User Guide, "Calling the IAM API using HTTP query requests").
    pub(super) fn document(&self, request_id: &str) -> String {
        let kind = if self.status.is_server_error() {
            "Receiver"
        } else {
            "Sender"
        };
        format!(
            "<ErrorResponse xmlns=\"{NAMESPACE}\"><Error><Type>{kind}</Type><Code>{}</Code>\
             <Message>{}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>",
            self.code,
            escape(self.message.as_str()),
        )
    }

    fn new(code: &'static str, status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            code,
            status,
            message: message.into(),
        }
    }
}

impl From<KeysError> for Refusal {
    fn from(error: KeysError) -> Self {
        tracing::error!(%error, "the keys cannot be used");
        Self::failure()
    }
}
