//! `GET /readyz`: whether requests could be answered: the registry and the broker's keys are
//! there. No secret, no name, and nothing of the audit.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;

use crate::app::App;

pub(crate) async fn answer(State(app): State<Arc<App>>) -> StatusCode {
    let registry = app.registry.current_epoch().await.is_ok();
    let keys = app.cap_keys.current().await.is_ok();
    if registry && keys {
        StatusCode::NO_CONTENT
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}
