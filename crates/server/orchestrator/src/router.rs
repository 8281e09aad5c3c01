//! Which path is which endpoint.

use std::sync::Arc;

use api::ErrorCode;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{delete, get, post, put};

use crate::app::App;
use crate::endpoints::{
    audit, bootstrap, credentials, device, events, grants, health, jwks, members, mount_info,
    mounts, sessions, sync, tenants, tickets, tokens, webhooks, workspaces,
};
use crate::failure::Failure;
use crate::layers;

/// No request of ours is larger, but for announcements.
const BODY_LIMIT: usize = 64 * 1024;

/// A thousand objects in one announcement; and stores put many events, or long lists of an
/// object's parts, into one.
const ANNOUNCEMENT_LIMIT: usize = 1024 * 1024;

/// All endpoints, with the layers around them.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .merge(public())
        .merge(people())
        .merge(operators())
        .merge(keys())
        .merge(alive())
        .merge(sharing())
        .merge(changes())
        .merge(crate::console::router())
        .fallback(async || Failure::not_found("path"))
        .method_not_allowed_fallback(async || {
            let text = "the path is not for this method";
            Failure::other(ErrorCode::MethodNotAllowed, text)
        })
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(from_fn_with_state(Arc::clone(&app), layers::observe))
        .with_state(app)
}

/// Without a token.
fn public() -> Router<Arc<App>> {
    Router::new()
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/.well-known/jwks.json", get(jwks::show))
        .route("/bootstrap", post(bootstrap::begin))
        .route("/oauth/device_authorization", post(device::authorize))
        .route("/oauth/token", post(device::token))
}

fn people() -> Router<Arc<App>> {
    Router::new()
        .route("/whoami", get(sessions::whoami))
        .route("/logout", post(sessions::logout))
        .route("/device/{user_code}", get(device::show))
        .route("/device/approve", post(device::approve))
        .route("/device/deny", post(device::deny))
}

fn operators() -> Router<Arc<App>> {
    Router::new()
        .route("/audit", get(audit::list))
        .route("/tenants", post(tenants::create).get(tenants::list))
        .route(
            "/tenants/{tenant_id}",
            get(tenants::show).delete(tenants::remove),
        )
        .route(
            "/tenants/{tenant_id}/members",
            post(members::add).get(members::list),
        )
        .route(
            "/tenants/{tenant_id}/members/{actor}",
            delete(members::remove),
        )
}

fn keys() -> Router<Arc<App>> {
    Router::new()
        .route("/tenant/mount/info", get(mount_info::show))
        .route(
            "/tenant/mount/credentials",
            post(credentials::issue).get(credentials::list),
        )
        .route(
            "/tenant/mount/credentials/{credential_id}",
            delete(credentials::revoke),
        )
        .route(
            "/tenant/mount/credentials/{credential_id}/used",
            post(credentials::used),
        )
}

fn alive() -> Router<Arc<App>> {
    Router::new()
        .route("/tenant/mounts", get(mounts::of_tenant))
        // The number of a workspace; the router wants one name for one place in a path.
        .route("/workspaces/{handle}/mounts", get(mounts::list))
        .route(
            "/workspaces/{handle}/mounts/{mount_id}",
            put(mounts::report).delete(mounts::end),
        )
}

fn changes() -> Router<Arc<App>> {
    Router::new()
        .route("/sync", post(sync::announce))
        .route("/webhooks/{sender}/{tenant}", post(webhooks::receive))
        .layer(DefaultBodyLimit::max(ANNOUNCEMENT_LIMIT))
        // The number of a workspace; the router wants one name for one place in a path.
        .route("/workspaces/{handle}/events", get(events::follow))
}

fn sharing() -> Router<Arc<App>> {
    Router::new()
        .route(
            "/workspaces",
            post(workspaces::create).get(workspaces::list),
        )
        .route(
            "/workspaces/{handle}/{name}",
            get(workspaces::show).delete(workspaces::remove),
        )
        .route(
            "/workspaces/{handle}/{name}/format-completed",
            post(workspaces::format_completed),
        )
        .route("/grants", post(grants::create).get(grants::list))
        .route("/grants/received", get(grants::received))
        .route("/grants/{grant_id}", delete(grants::remove))
        .route("/tickets", post(tickets::create).get(tickets::list))
        .route("/tickets/{ticket_id}", delete(tickets::revoke))
        .route("/tokens", post(tokens::create).get(tokens::list))
        .route("/tokens/{token_id}", delete(tokens::revoke))
}
