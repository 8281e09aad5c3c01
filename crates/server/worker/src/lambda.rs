//! The same router behind AWS Lambda: an HTTP API of API Gateway (payload 2.0) or a function URL.

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use lambda_http::{Error, Request, service_fn};
use tower::ServiceExt;

/// Whether this process was started by Lambda.
pub fn under_lambda() -> bool {
    std::env::var_os("AWS_LAMBDA_RUNTIME_API").is_some()
}

/// Answers events until Lambda ends the process.
///
/// # Errors
/// What the runtime says.
pub async fn serve(router: Router) -> Result<(), Error> {
    lambda_http::run(service_fn(move |request| answer(router.clone(), request))).await
}

/// Answers one event.
///
/// # Errors
/// Never: the router answers everything.
pub async fn answer(router: Router, request: Request) -> Result<Response, Error> {
    let request = request.map(|body| match body {
        lambda_http::Body::Text(text) => Body::from(text),
        lambda_http::Body::Binary(bytes) => Body::from(bytes),
        _ => Body::empty(),
    });
    Ok(router.oneshot(request).await?)
}
