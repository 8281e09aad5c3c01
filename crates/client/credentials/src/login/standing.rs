//! Whether the STS still accepts a session: it may have been revoked before its time.

use std::time::Duration;

use aws_sdk_sts::config::http::HttpResponse;
use aws_sdk_sts::error::{ProvideErrorMetadata, SdkError};

use super::Login;
use crate::KeySet;

/// What the STS says of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It is accepted, as that of this ARN.
    Accepted(String),
    /// It is not, for this reason.
    Refused(String),
    /// The STS does not answer, or has no such call.
    Unknown(String),
}

/// Whoever waits has the time of the session already.
const PATIENCE: Duration = Duration::from_secs(5);

/// Codes that say that the keys, and not the call, are refused (AWS's common errors, and S3's
/// for stores that answer both on one address).
const REFUSALS: [&str; 7] = [
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidToken",
    "InvalidClientTokenId",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
];

impl Login<'_> {
    /// Asks the STS whose the session is (GetCallerIdentity, which needs no right).
    pub async fn standing(&self, session: &KeySet) -> Standing {
        let asked = self.client(Some(session.duplicate())).get_caller_identity();
        match tokio::time::timeout(PATIENCE, asked.send()).await {
            Err(_) => Standing::Unknown(format!("no answer in {} s", PATIENCE.as_secs())),
            Ok(Ok(answer)) => Standing::Accepted(answer.arn().unwrap_or("unknown").to_owned()),
            Ok(Err(error)) => judged(&error),
        }
    }
}

fn judged<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Standing {
    let Some(service) = error.as_service_error() else {
        return Standing::Unknown("it does not answer".into());
    };
    let in_body = || error.raw_response().and_then(code_in);
    let code = service.code().map(str::to_owned).or_else(in_body);
    let code = code.unwrap_or_default();
    let text = format!("{code}: {}", service.message().unwrap_or_default());
    let text = text.trim_end_matches([':', ' ']).to_owned();
    match REFUSALS.contains(&code.as_str()) {
        true => Standing::Refused(text),
        false => Standing::Unknown(text),
    }
}

/// The code of an answer in S3's form, with which a store that has both services on one address
/// refuses a signature.
fn code_in(answer: &HttpResponse) -> Option<String> {
    let text = std::str::from_utf8(answer.body().bytes()?).ok()?;
    let (code, _) = text.split_once("<Code>")?.1.split_once("</Code>")?;
    Some(code.to_owned())
}
