//! Requests as the types of `api`; what is not one is answered with the reason.

use api::ErrorCode;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::extract::{FromRequest, FromRequestParts, OptionalFromRequest, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use serde::de::DeserializeOwned;

use crate::Failure;

/// A JSON body.
pub struct Body<T>(pub T);

/// A body of `application/x-www-form-urlencoded`, as OAuth wants it.
pub struct Form<T>(pub T);

/// The query's parameters.
pub struct Parameters<T>(pub T);

/// What the path's placeholders hold. A thing of an impossible name is not there.
pub struct Named<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let is_json = has_type(request.headers(), "application/json");
        let bytes = read(request, state).await?;
        if !is_json {
            let text = "the body is not JSON\nhint: Content-Type: application/json";
            return Err(Failure::other(ErrorCode::UnsupportedMediaType, text));
        }
        parse(&bytes).map(Self)
    }
}

/// A body that may be left out altogether.
impl<S: Send + Sync, T: DeserializeOwned> OptionalFromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Option<Self>, Failure> {
        let is_json = has_type(request.headers(), "application/json");
        let bytes = read(request, state).await?;
        if bytes.is_empty() {
            return Ok(None);
        }
        if !is_json {
            let text = "the body is not JSON\nhint: Content-Type: application/json";
            return Err(Failure::other(ErrorCode::UnsupportedMediaType, text));
        }
        parse(&bytes).map(|value| Some(Self(value)))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Form<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        match axum::Form::<T>::from_request(request, state).await {
            Ok(axum::Form(value)) => Ok(Self(value)),
            // Not the parser's words: they may repeat a secret.
            Err(rejection) => Err(match rejection.status().as_u16() {
                413 => too_large(),
                415 => Failure::other(
                    ErrorCode::UnsupportedMediaType,
                    "the body is not a form\nhint: Content-Type: application/x-www-form-urlencoded",
                ),
                _ => Failure::invalid("a field of the form is missing or breaks its rule"),
            }),
        }
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Parameters<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        let Query(value) = query.map_err(|error| Failure::invalid(error.body_text()))?;
        Ok(Self(value))
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Named<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let path = Path::<T>::from_request_parts(parts, state).await;
        let Path(value) = path.map_err(|_| Failure::not_found("thing"))?;
        Ok(Self(value))
    }
}

async fn read<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Failure> {
    let bytes = Bytes::from_request(request, state).await;
    bytes.map_err(|rejection| match rejection {
        BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => too_large(),
        _ => Failure::invalid("the body could not be read"),
    })
}

fn too_large() -> Failure {
    Failure::other(
        ErrorCode::TooLarge,
        "the body is larger than this endpoint takes",
    )
}

/// The parser's words name the field and the rule; a value that it repeats goes back to the
/// one who sent it and nowhere else. All bodies of ours are objects: the parser would take a
/// list for one, its items for the fields in their order.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    let mut read = bytes.iter().skip_while(|byte| byte.is_ascii_whitespace());
    if read.next().is_some_and(|first| *first != b'{') {
        return Err(Failure::invalid("the body is no JSON object"));
    }
    serde_json::from_slice(bytes).map_err(|error| Failure::invalid(error.to_string()))
}

fn has_type(headers: &HeaderMap, wanted: &str) -> bool {
    let value = headers
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok());
    value.is_some_and(|value| {
        let kind = value.split(';').next().unwrap_or("").trim();
        kind.eq_ignore_ascii_case(wanted)
    })
}
