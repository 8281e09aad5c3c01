//! Which path is which endpoint. Each says in its own file which path and method it has, and
//! what it takes and answers: the document of the interface is made of the same.

use std::sync::Arc;

use api::ErrorCode;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use base::Failure;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::document::{begun, completed};
use crate::endpoints::{
    audit, bootstrap, credentials, device, events, grants, health, jwks, members, metrics,
    mount_info, mounts, openapi, sessions, sync, tenants, tickets, tokens, webhooks, workspaces,
};
use crate::layers;

/// No request of ours is larger, but for announcements.
const BODY_LIMIT: usize = 64 * 1024;

/// A thousand objects in one announcement; and stores put many events, or long lists of an
/// object's parts, into one.
const ANNOUNCEMENT_LIMIT: usize = 1024 * 1024;

/// Endpoints, and what they say of themselves.
type Endpoints = OpenApiRouter<Arc<App>>;

/// All endpoints, with the layers around them.
pub fn router(app: Arc<App>) -> Router {
    let (router, _) = endpoints().split_for_parts();
    router
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

/// The document of the interface.
pub fn document() -> OpenApi {
    completed(endpoints().into_openapi())
}

/// The same as text, the way it is served and kept in `docs/reference`.
pub fn document_text() -> String {
    let text = serde_json::to_string_pretty(&document());
    text.expect("a document of strings, numbers and maps with texts for keys") + "\n"
}

fn endpoints() -> Endpoints {
    OpenApiRouter::with_openapi(begun())
        .merge(public())
        .merge(people())
        .merge(operators())
        .merge(keys())
        .merge(alive())
        .merge(sharing())
        .merge(changes())
}

/// Without a token.
fn public() -> Endpoints {
    OpenApiRouter::new()
        .routes(routes!(health::alive))
        .routes(routes!(health::ready))
        .routes(routes!(openapi::show))
        .routes(routes!(jwks::show))
        .routes(routes!(bootstrap::begin))
        .routes(routes!(device::authorize))
        .routes(routes!(device::token))
}

fn people() -> Endpoints {
    OpenApiRouter::new()
        .routes(routes!(sessions::whoami))
        .routes(routes!(sessions::logout))
        .routes(routes!(device::show))
        .routes(routes!(device::approve))
        .routes(routes!(device::deny))
}

fn operators() -> Endpoints {
    OpenApiRouter::new()
        .routes(routes!(metrics::show))
        .routes(routes!(audit::list))
        .routes(routes!(tenants::create, tenants::list))
        .routes(routes!(tenants::show, tenants::remove))
        .routes(routes!(members::add, members::list))
        .routes(routes!(members::remove))
}

fn keys() -> Endpoints {
    OpenApiRouter::new()
        .routes(routes!(mount_info::show))
        .routes(routes!(credentials::issue, credentials::list))
        .routes(routes!(credentials::revoke))
        .routes(routes!(credentials::used))
}

fn alive() -> Endpoints {
    OpenApiRouter::new()
        .routes(routes!(mounts::of_tenant))
        .routes(routes!(mounts::list))
        .routes(routes!(mounts::report, mounts::end))
}

fn changes() -> Endpoints {
    OpenApiRouter::new()
        .routes(routes!(sync::announce))
        .routes(routes!(webhooks::receive))
        .layer(DefaultBodyLimit::max(ANNOUNCEMENT_LIMIT))
        .routes(routes!(events::follow))
}

fn sharing() -> Endpoints {
    OpenApiRouter::new()
        .routes(routes!(workspaces::create, workspaces::list))
        .routes(routes!(workspaces::show, workspaces::remove))
        .routes(routes!(workspaces::format_completed))
        .routes(routes!(grants::create, grants::list))
        .routes(routes!(grants::received))
        .routes(routes!(grants::remove))
        .routes(routes!(tickets::create, tickets::list))
        .routes(routes!(tickets::revoke))
        .routes(routes!(tokens::create, tokens::list))
        .routes(routes!(tokens::revoke))
}
