//! Requests that hand something over: from a person, by the device that their session is bound to.
//!
//! A session alone opens nothing here: it is seen by every server that it is shown to, and a broker
//! that ends it tells nobody. The device's key is on the person's machine and nowhere else.

use api::ErrorCode;
use api::vault::{PROOF_HEADER, Reason};
use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode};
use base::Failure;
use base::extract::Body;
use serde::de::DeserializeOwned;
use vault::{ProofFor, Session, verify_proof};

use crate::app::Signer;
use crate::sessions::bearer;

/// A session that began longer ago opens nothing, however long the broker lets it last: what was
/// ended at the broker counts here until then. In seconds.
const OLDEST: i64 = 24 * 3600;

/// That the session is an operator's own, is of today, and is proved by its device; the body.
pub(crate) async fn proven<T: DeserializeOwned>(
    signer: &Signer,
    session: &Session,
    request: Request,
) -> Result<T, Failure> {
    let now = signer.clock().now().seconds();
    if session.operator != session.sub {
        let text = "the keys of an agent are not handed out: the worker opens its credentials, service by service\nhint: --credential-backend sidecar or http";
        return Err(Failure::forbidden(text));
    }
    if now.saturating_sub(session.iat) > OLDEST {
        let text = "the session began more than a day ago\nhint: log in again with `artifacts vault login`";
        return Err(Failure::unauthenticated(text));
    }
    let Some(device) = &session.device else {
        let text = "the session is bound to no device\nhint: log in again by `artifacts vault login` on the machine that asks";
        return Err(Failure::forbidden(text));
    };
    let url = signer.url(request.uri().path());
    let method = request.method().clone();
    let (parts, body) = request.into_parts();
    let body = whole(Request::from_parts(parts.clone(), body)).await?;
    let proven = ProofFor {
        method: method.as_str(),
        url: &url,
        token: bearer(&parts.headers),
        body: &body,
    };
    let proof = verify_proof(proof(&parts.headers), &proven, Some(device), now);
    let proof = proof.map_err(refused)?;
    if proof.iat < signer.started || signer.proofs.seen(&proof, &session.operator, now) {
        let text = "the proof was used before\nhint: make a new one";
        return Err(Failure::forbidden(text));
    }
    let Body(read) = Body::from_request(Request::from_parts(parts, body.into()), &()).await?;
    Ok(read)
}

async fn whole(request: Request) -> Result<Bytes, Failure> {
    let bytes = Bytes::from_request(request, &()).await;
    bytes.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Failure::other(
            ErrorCode::TooLarge,
            "the body is larger than this endpoint takes",
        ),
        _ => Failure::invalid("the body could not be read"),
    })
}

/// The one proof of a request. Two are none: who knows which one another part of the way looked at.
fn proof(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(PROOF_HEADER).iter();
    match (all.next(), all.next()) {
        (None, _) => None,
        (Some(proof), None) => Some(proof.to_str().unwrap_or("")),
        (Some(_), Some(_)) => Some(""),
    }
}

fn refused(reason: Reason) -> Failure {
    Failure::forbidden(match reason {
        Reason::ProofMissing => {
            "there is no proof by the session's device\nhint: send one in the header artifacts-proof"
        }
        _ => {
            "the proof is not by the session's device, or not for this request\nhint: log in again by `artifacts vault login` on this machine, and check its clock; a proof counts for a minute"
        }
    })
}
