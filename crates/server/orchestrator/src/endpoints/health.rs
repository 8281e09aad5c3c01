//! `GET /healthz`, `GET /readyz`.

use super::Shared;
use crate::failure::Failure;
use axum::extract::State;

/// The process answers.
pub(crate) async fn alive() -> &'static str {
    "ok\n"
}

/// The database does, too.
pub(crate) async fn ready(State(app): Shared) -> Result<&'static str, Failure> {
    app.store.ping().await?;
    Ok("ok\n")
}
