//! What every request passes through: its time limit, the end of a panic, the size of its body.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use api::ErrorCode;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderValue, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use futures::FutureExt;

use crate::Failure;

/// A request has this long to arrive and be answered.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The inner layers' answer, or that it took too long, or that they panicked.
pub async fn answer(request: Request, next: Next, patience: Duration) -> Response {
    let inner = AssertUnwindSafe(next.run(request)).catch_unwind();
    match tokio::time::timeout(patience, inner).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => {
            tracing::error!("a request panicked");
            Failure::internal().into_response()
        }
        Err(_) => {
            let text = "the request took too long\nhint: try again";
            Failure::other(ErrorCode::Timeout, text).into_response()
        }
    }
}

/// Puts the common bounds around endpoints: bodies no larger than `body`, answers within
/// `patience` and never stored by a cache, and a [`Failure`] for a path or method that is none.
pub fn bounded<S: Clone + Send + Sync + 'static>(
    router: Router<S>,
    body: usize,
    patience: Duration,
) -> Router<S> {
    router
        .fallback(async || Failure::not_found("path"))
        .method_not_allowed_fallback(async || {
            let text = "the path is not for this method";
            Failure::other(ErrorCode::MethodNotAllowed, text)
        })
        .layer(DefaultBodyLimit::max(body))
        .layer(from_fn(move |request: Request, next: Next| async move {
            private(answer(request, next, patience).await)
        }))
}

/// Answers are about one caller and one moment, and some hold a secret.
fn private(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}
