//! One call to another server of ours.

use std::error::Error;

use reqwest::header::CONTENT_TYPE;
use reqwest::{RequestBuilder, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::ports::Away;

/// Longer answers are none that we asked for.
const LONGEST: usize = 64 * 1024;

/// Asks with a JSON body, and reads the answer.
pub(super) async fn json<T: DeserializeOwned>(
    who: &'static str,
    request: RequestBuilder,
    question: &impl Serialize,
) -> Result<T, Away> {
    let question = serde_json::to_vec(question);
    let question = question.map_err(|_| Away::for_good(who, "it cannot be asked"))?;
    let request = request.header(CONTENT_TYPE, "application/json");
    let body = body(who, request.body(question)).await?;
    // The error's text could hold what was there instead.
    serde_json::from_slice(&body).map_err(|_| Away::for_good(who, "its answer is not understood"))
}

/// Asks, and takes the answer if it is one of success. Whether asking again may help follows from
/// what is in the way: a server that is started anew refuses connections and breaks off answers.
async fn body(who: &'static str, request: RequestBuilder) -> Result<Zeroizing<Vec<u8>>, Away> {
    let answer = request.send().await.map_err(|error| failed(who, &error))?;
    let status = answer.status();
    if !status.is_success() {
        let why = format!("it answers {status}");
        return Err(if is_temporary(status) {
            Away::for_now(who, why)
        } else {
            Away::for_good(who, why)
        });
    }
    read(who, answer).await
}

/// Into memory that is wiped, and does not grow where the length is known.
async fn read(who: &'static str, mut answer: Response) -> Result<Zeroizing<Vec<u8>>, Away> {
    let expected = answer
        .content_length()
        .and_then(|length| usize::try_from(length).ok());
    let expected = expected.unwrap_or(0);
    let too_long = || Away::for_good(who, "its answer is too long");
    if expected > LONGEST {
        return Err(too_long());
    }
    let mut body = Zeroizing::new(Vec::with_capacity(expected));
    while let Some(part) = answer.chunk().await.map_err(|error| failed(who, &error))? {
        if body.len() + part.len() > LONGEST {
            return Err(too_long());
        }
        body.extend_from_slice(&part);
    }
    Ok(body)
}

fn is_temporary(status: StatusCode) -> bool {
    status.is_server_error()
        || status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT
}

/// The innermost cause says most. No URL: it could one day hold what should not be in a log.
fn failed(who: &'static str, error: &reqwest::Error) -> Away {
    let mut cause: &dyn Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let lasts = error.is_builder() || error.is_redirect();
    let why = if error.is_timeout() {
        "no answer in time".to_owned()
    } else {
        cause.to_string()
    };
    if lasts {
        Away::for_good(who, why)
    } else {
        Away::for_now(who, why)
    }
}
