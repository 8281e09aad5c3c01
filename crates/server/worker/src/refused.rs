//! A refusal on its way out: the reason for programs, a sentence for people.

use api::vault::{Reason, Refusal};
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::ports::Away;

/// Why a request is not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) reason: Reason,
    text: String,
    /// Seconds.
    retry_after: Option<u32>,
}

pub(crate) type Result<T, E = Refused> = std::result::Result<T, E>;

impl Refused {
    /// With words of the caller's own. They never hold a secret, nor what a request says.
    pub(crate) fn new(reason: Reason, text: impl Into<String>) -> Self {
        let retry_after = (reason == Reason::RateLimited).then_some(1);
        Self {
            reason,
            text: text.into(),
            retry_after,
        }
    }

    /// Another server is in the way. What exactly is in our log, not in the answer.
    pub(crate) fn away(reason: Reason, away: &Away) -> Self {
        tracing::warn!(%reason, error = %away, "a request was refused");
        Self::from(reason)
    }
}

impl From<Reason> for Refused {
    fn from(reason: Reason) -> Self {
        Self::new(reason, sentence(reason))
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.reason.status());
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = Refusal {
            error: self.text,
            reason: self.reason,
        };
        let mut response = (status, Json(body)).into_response();
        if let Some(seconds) = self.retry_after {
            let headers = response.headers_mut();
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// What is wrong, and what to do next.
#[rustfmt::skip]
fn sentence(reason: Reason) -> &'static str {
    match reason {
        Reason::TooLarge => "the request is larger than any needs to be\nhint: a credential has at most 65,536 bytes",
        Reason::RequestInvalid => "the request is not of the form that is read here\nhint: use a client of the worker's version",
        Reason::RateLimited => "the worker has too much to do\nhint: try again in a moment",
        Reason::KeysUnavailable => "the broker's public keys cannot be had, so no capability can be judged\nhint: try again; the operator finds the cause in the worker's log",
        Reason::CapSignatureInvalid => "the capability is not one of this broker's for a worker\nhint: ask the broker for a new one",
        Reason::CapExpired => "the capability does not count at this time\nhint: ask the broker for a new one, and compare this machine's clock",
        Reason::CapOpMismatch => "the capability is for another operation\nhint: ask the broker for one of this operation",
        Reason::CapServiceMismatch => "the capability is for another service or target\nhint: ask the broker for one of this service or target",
        Reason::ProofMissing => "the request proves no possession of the device's key\nhint: send the header artifacts-proof",
        Reason::ProofInvalid => "the proof is not this device's, or not for this request at this time\nhint: make a proof for each request, and compare this machine's clock",
        Reason::ProofReplayed => "the proof was used before, or may have been before the worker began\nhint: make a new proof for each request",
        Reason::DeviceUnknown => "the registry does not know the device\nhint: artifacts device register",
        Reason::DeviceRevoked => "the device was revoked\nhint: register another one",
        Reason::DeviceBindingMismatch => "the registry binds the device to another operator or actor\nhint: artifacts device list shows whose it is",
        Reason::RoleMissing => "the device does not have the role that this needs\nhint: the operator registers one that has",
        Reason::ScopeDenied => "the registry does not allow this service\nhint: the operator allows it with artifacts scope set",
        Reason::ScopeReadOnly => "the registry allows this service to be read only\nhint: the operator allows more with artifacts scope set",
        Reason::EpochMismatch => "the capability is of another epoch than the registry's\nhint: ask the broker for a new one",
        Reason::RegistryUnavailable => "the registry cannot be asked, so nothing is allowed\nhint: try again; the operator finds the cause in the worker's log",
        Reason::SignerUnavailable => "the signer does not answer, or refuses\nhint: try again; the operator finds the cause in the worker's log",
        Reason::BucketUnavailable => "the bucket or what gives its keys does not answer, or refuses\nhint: try again; the operator finds the cause in the worker's log",
        Reason::NotFound => "no such credential is stored\nhint: artifacts secret list shows what there is",
        Reason::GenerationMismatch => "the credential is not at the generation that was expected\nhint: read it again, then decide",
        Reason::EnvelopeVersion => "the envelope is of a version that a worker does not open\nhint: versions 01 and 02 are opened with the wallet: artifacts secret migrate",
        Reason::EnvelopeMalformed => "the envelope is cut off or too long\nhint: store the credential anew",
        Reason::EnvelopeInvalid => "the envelope is not one of this place, or was changed\nhint: somebody may have written to the bucket; store the credential anew",
        Reason::EnvelopeRollback => "the envelope is older than one that was seen before\nhint: somebody may have put back an old object; store the credential anew",
        Reason::AuditUnavailable => "the audit cannot be written, so nothing is done\nhint: the operator finds the cause in the worker's log",
        Reason::Internal | Reason::Unknown => "the worker has a fault of its own\nhint: the operator finds the cause in the worker's log",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_says_what_to_do() {
        for reason in Reason::ALL {
            let text = sentence(*reason);
            assert!(text.contains("\nhint: "), "{reason}");
        }
    }
}
