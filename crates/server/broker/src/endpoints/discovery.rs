//! What anybody may know: `GET /.well-known/openid-configuration`, `/jwks.json`, `/healthz`,
//! `/readyz`.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base::Failure;
use serde_json::json;

use super::Shared;
use crate::refusal::Refusal;

/// For how long the key set may be kept, in seconds. The next key is in it for longer than this
/// before it signs.
const KEPT: HeaderValue = HeaderValue::from_static("public, max-age=300");

/// OpenID Connect Discovery §3, as an STS reads it.
pub(crate) async fn configuration(State(app): Shared) -> Response {
    let document = json!({
        "issuer": app.settings.public_url,
        "jwks_uri": app.url("/jwks.json"),
        "device_authorization_endpoint": app.url("/oauth/device_authorization"),
        "token_endpoint": app.url("/oauth/token"),
        "grant_types_supported": ["urn:ietf:params:oauth:grant-type:device_code"],
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "token_endpoint_auth_methods_supported": ["none"],
        "claims_supported": ["iss", "sub", "aud", "exp", "iat", "nbf", "jti"],
    });
    ([(header::CACHE_CONTROL, KEPT)], Json(document)).into_response()
}

/// The public keys (RFC 7517).
pub(crate) async fn jwks(State(app): Shared) -> Result<Response, Refusal> {
    let keys = app.verify_keys()?;
    Ok(([(header::CACHE_CONTROL, KEPT)], Json(keys.jwks())).into_response())
}

/// That it runs.
pub(crate) async fn healthz() -> StatusCode {
    StatusCode::NO_CONTENT
}

/// That it can do its work: the database and the registry answer, and a key signs.
pub(crate) async fn readyz(State(app): Shared) -> Result<StatusCode, Refusal> {
    app.store.ping().await?;
    app.signer()?;
    let epoch = app.registry.current_epoch().await;
    epoch.map_err(|error| {
        app.unavailable(&error);
        Failure::unavailable("the registry does not answer")
    })?;
    Ok(StatusCode::NO_CONTENT)
}
