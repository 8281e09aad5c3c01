//! AWS's Identity and Access Management: its query API, on the store's own address.
//!
//! Users with managed and inline policies and two access keys each, roles for web identity
//! tokens, and the OpenID Connect providers of those, kept in `keys.json` with the other
//! keys, so that a change is there whole or not at all, and what a key or a role's session
//! may do is judged by the policies of its user or role at every request. Groups, tags of
//! users and roles and the quotas of a whole account are not here; a parameter that would mean one of them is refused,
//! never ignored.
//!
//! Source: IAM API Reference, version 2010-05-08. `signature` says who asks, `form` what,
//! `call` carries it out on the `directory`, `answer` writes the XML.

mod answer;
mod call;
mod directory;
mod form;
mod refusal;
mod signature;

use std::sync::Arc;

use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use s3s::{Body, HttpResponse};
use time::OffsetDateTime;

use crate::keys::Keys;
use call::Call;
pub(crate) use directory::{Directory, Held, provider_arn, short};
use form::Form;
use refusal::Refusal;
use signature::Claim;

/// No form of a call that is here is longer: a policy has 6,144 characters at most, each of
/// which may be three in a form.
const FORM_LIMIT: usize = 64 * 1024;

/// Whether a request is for this API rather than for S3: its signature says so. The crate
/// s3s knows the services "s3" and "sts" only, so these requests never reach it.
pub(crate) fn is_meant<B>(request: &Request<B>) -> bool {
    let signed_for = request.headers().get(AUTHORIZATION);
    let signed_for = signed_for.map(|value| value.as_bytes());
    request.method() == Method::POST
        && request.uri().path() == "/"
        && signed_for.is_some_and(signature::is_for_iam)
}

/// Answers a request that [`is_meant`].
pub(crate) async fn answer(
    keys: Arc<Keys>,
    request: Request<hyper::body::Incoming>,
    now: OffsetDateTime,
) -> HttpResponse {
    let id = uuid::Uuid::new_v4().to_string();
    let result = carry_out(keys, request, now).await;
    let (status, text) = match result {
        Ok(done) => (StatusCode::OK, done.document(&id)),
        Err(refusal) => (refusal.status(), refusal.document(&id)),
    };
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/xml"));
    if let Ok(id) = HeaderValue::try_from(id) {
        headers.insert("x-amzn-requestid", id);
    }
    response
}

async fn carry_out(
    keys: Arc<Keys>,
    request: Request<hyper::body::Incoming>,
    now: OffsetDateTime,
) -> Result<answer::Done, Refusal> {
    let (head, body) = request.into_parts();
    let body = Body::from(body).store_all_limited(FORM_LIMIT).await;
    let body = body.map_err(|_| Refusal::validation("the form is too long"))?;
    // Files are read and synced: not on a thread that serves connections.
    let work = move || {
        let claim = Claim::read(&head, now)?;
        let caller = keys.identity(claim.access_key_id())?;
        let caller = caller.ok_or_else(Refusal::unknown_key)?;
        claim.check(&head, &body, &caller.secret)?;
        Call::new(Form::read(&body)?, caller, keys, now)?.carry_out()
    };
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Refusal::failure())?
}
