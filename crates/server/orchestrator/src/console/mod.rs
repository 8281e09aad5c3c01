//! The console: pages for people with a browser, written by the server.
//!
//! A page asks what it shows of the same functions that answer the JSON endpoints, as the same
//! `Caller`, and a form does what it does by them: there is one set of rights, one audit. The pages
//! work without scripts; the one script that there is renews numbers. What no page may do
//! (load from elsewhere, be framed, send a form elsewhere) the browser is told in every answer.

mod assets;
mod audit;
mod cookies;
mod device;
mod form;
mod keys;
mod mounts;
mod next;
mod overview;
mod sharing;
mod shell;
mod sign_in;
mod tenants;
mod tokens;
mod visitor;
mod workspaces;

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::{get, post};
use base::Failure;
use serde::Deserialize;

use crate::app::App;
use shell::{Alert, Shell};

/// Nothing but our own styles, script, pictures and numbers; no frames around us; forms go here.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

const HEADERS: [(HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    // The path of a page can hold a code.
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

/// All pages.
pub(crate) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/", get(overview::show))
        .route("/device", get(device::show).post(device::decide))
        .merge(people())
        .merge(tenant())
        .merge(operators())
        .route("/console/static/{name}", get(assets::show))
        .route("/console/{*path}", get(async || Failure::not_found("page")))
        .layer(from_fn(dress))
}

fn people() -> Router<Arc<App>> {
    Router::new()
        .route("/console/sign-in", get(sign_in::show))
        .route("/console/sign-in/token", post(sign_in::by_token))
        .route("/console/sign-in/with/{number}", get(sign_in::begin))
        .route("/console/sign-in/callback", get(sign_in::finish))
        .route("/console/sign-out", post(sign_in::end))
        .route("/console/tenant", post(overview::choose))
}

fn tenant() -> Router<Arc<App>> {
    Router::new()
        .route(
            "/console/workspaces",
            get(workspaces::list).post(workspaces::create),
        )
        .route("/console/workspaces/{handle}/{name}", get(workspaces::show))
        .route(
            "/console/workspaces/{handle}/{name}/delete",
            post(workspaces::remove),
        )
        .route("/console/mounts", get(mounts::list))
        .route("/console/keys", get(keys::list).post(keys::issue))
        .route("/console/keys/{credential_id}/revoke", post(keys::revoke))
        .route("/console/sharing", get(sharing::list))
        .route("/console/grants", post(sharing::grant))
        .route(
            "/console/grants/{grant_id}/revoke",
            post(sharing::end_grant),
        )
        .route("/console/tickets", post(sharing::ticket))
        .route(
            "/console/tickets/{ticket_id}/revoke",
            post(sharing::end_ticket),
        )
        .route("/console/tokens", get(tokens::list).post(tokens::create))
        .route("/console/tokens/{token_id}/revoke", post(tokens::revoke))
        .route("/console/audit", get(audit::list))
}

fn operators() -> Router<Arc<App>> {
    Router::new()
        .route("/console/tenants", get(tenants::list).post(tenants::create))
        .route("/console/tenants/{tenant_id}", get(tenants::show))
        .route("/console/tenants/{tenant_id}/delete", post(tenants::remove))
        .route("/console/tenants/{tenant_id}/members", post(tenants::add))
        .route(
            "/console/tenants/{tenant_id}/members/{actor}/remove",
            post(tenants::leave),
        )
}

/// What the endpoints' functions take.
fn state(app: &Arc<App>) -> State<Arc<App>> {
    State(Arc::clone(app))
}

/// The query of a list.
#[derive(Default, Deserialize)]
struct ListQuery {
    /// What was done before the page was come to.
    done: Option<String>,
    page_token: Option<api::PageToken>,
}

impl ListQuery {
    fn part(&self) -> api::PageQuery {
        api::PageQuery {
            page_token: self.page_token,
            ..Default::default()
        }
    }
}

#[derive(Template)]
#[template(path = "error.html")]
struct Refusal {
    shell: Shell,
    alert: Alert,
}

/// What every answer of the console has; a refusal that is no page yet becomes one.
async fn dress(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let failure = response.extensions().get::<Failure>().cloned();
    let is_page = |response: &Response| {
        let kind = response.headers().get(header::CONTENT_TYPE);
        kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"))
    };
    let mut response = match failure {
        Some(failure) if !is_page(&response) && !response.status().is_redirection() => {
            refused(failure)
        }
        _ => response,
    };
    for (name, value) in HEADERS {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

fn refused(failure: Failure) -> Response {
    let template = Refusal {
        shell: Shell::bare(title_of(&failure)),
        alert: Alert::from(&failure),
    };
    shell::refusal(Some(failure), &template)
}

fn title_of(failure: &Failure) -> &'static str {
    match failure.status().as_u16() {
        401 => "You are not signed in",
        403 => "This is not allowed",
        404 => "There is nothing here",
        429 => "Too many requests",
        500.. => "The server could not do this",
        _ => "This was not done",
    }
}
