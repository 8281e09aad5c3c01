//! `GET /.well-known/jwks.json`: the public half of the key that signs sessions and tickets.

use axum::Json;
use axum::extract::State;

use super::Shared;

/// RFC 7517.
pub(crate) async fn show(State(app): Shared) -> Json<serde_json::Value> {
    Json(app.key.jwks())
}
