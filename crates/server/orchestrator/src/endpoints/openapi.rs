//! `GET /openapi.json`: the document of this interface.

use std::sync::LazyLock;

use axum::http::header;
use axum::response::IntoResponse;

static TEXT: LazyLock<String> = LazyLock::new(crate::router::document_text);

/// What can be asked of this server, for programs (OpenAPI 3.1).
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "openapi",
    tag = "server",
    security(()),
    responses((status = 200, description = "This document", body = serde_json::Value)),
)]
pub(crate) async fn show() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], TEXT.as_str())
}
