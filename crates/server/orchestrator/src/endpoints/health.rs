//! `GET /healthz`, `GET /readyz`.

use super::Shared;
use axum::extract::State;
use base::Failure;

/// Whether the process answers.
#[utoipa::path(
    get, path = "/healthz", operation_id = "healthz", tag = "server",
    security(()),
    responses((status = 200, description = "It does", body = String, content_type = "text/plain")),
)]
pub(crate) async fn alive() -> &'static str {
    "ok\n"
}

/// Whether the database answers, too.
#[utoipa::path(
    get, path = "/readyz", operation_id = "readyz", tag = "server",
    security(()),
    responses((status = 200, description = "It does", body = String, content_type = "text/plain")),
)]
pub(crate) async fn ready(State(app): Shared) -> Result<&'static str, Failure> {
    app.store.ping().await?;
    Ok("ok\n")
}
