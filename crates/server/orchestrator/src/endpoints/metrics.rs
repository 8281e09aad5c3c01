//! `GET /metrics`: what the server counts of itself, for Prometheus.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use base::Failure;
use prometheus_client::encoding::prometheus_text::CONTENT_TYPE;
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use super::Shared;
use super::mounts::silent_since;
use crate::app::App;
use crate::auth::{Bearer, Caller, hash};
use crate::layers::{Context, RequestContext};

/// What the server counts of itself, for Prometheus.
///
/// For the token that the operator has set for it, and for operators: it tells how much is
/// served, though not for whom.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "metrics",
    tag = "server",
    responses((status = 200, description = "Text, version 0.0.4", body = String, content_type = "text/plain")),
)]
pub(crate) async fn show(
    State(app): Shared,
    Context(context): Context,
    Bearer(token): Bearer,
) -> Result<Response, Failure> {
    check(&app, &token, &context).await?;
    let now = app.now();
    let figures = app.store.figures(now, silent_since(now)).await;
    if let Err(error) = &figures {
        tracing::warn!(%error, "the database's part of the metrics is missing");
    }
    let (streams, connections) = (app.hub.streams(), app.store.connections());
    let text = app
        .metrics
        .text(now, streams, connections, figures.as_ref().ok());
    let text = text.ok_or_else(Failure::internal)?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}

/// The token for this comes first: it needs no database, which may be what is wrong.
async fn check(
    app: &Arc<App>,
    token: &SecretString,
    context: &Arc<RequestContext>,
) -> Result<(), Failure> {
    let given = hash(token.expose_secret());
    let wanted = app.settings.metrics_token.as_ref();
    if wanted.is_some_and(|wanted| given.ct_eq(wanted).into()) {
        return Ok(());
    }
    Caller::of_token(app, token, context).await?.operator()
}
