//! `GET /.well-known/jwks.json`: the public half of the key that signs sessions and tickets.

use axum::Json;
use axum::extract::State;

use super::Shared;

/// The public half of the key that signs sessions and tickets (RFC 7517).
#[utoipa::path(
    get, path = "/.well-known/jwks.json", operation_id = "jwks", tag = "server",
    security(()),
    responses((status = 200, description = "A set of one key", body = serde_json::Value)),
)]
pub(crate) async fn show(State(app): Shared) -> Json<serde_json::Value> {
    Json(app.key.jwks())
}
