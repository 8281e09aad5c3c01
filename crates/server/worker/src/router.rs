//! The paths.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::{get, post};

use crate::app::App;
use crate::endpoints::{Endpoint, answer, ready};
use crate::endpoints::{fetch::Fetch, list::List, store::Store, teardown::TearDown};

/// All endpoints of a worker. A public URL with a path has them below that path.
pub fn router(app: Arc<App>) -> Router {
    let base = base_path(&app.settings.public_url).to_owned();
    let routes = Router::new()
        .route(Store::PATH, post(answer::<Store>))
        .route(Fetch::PATH, post(answer::<Fetch>))
        .route(List::PATH, post(answer::<List>))
        .route(TearDown::PATH, post(answer::<TearDown>))
        .route("/healthz", get(StatusCode::NO_CONTENT))
        .route("/readyz", get(ready::answer))
        .with_state(app);
    // A gateway or proxy in front may take the path away, or leave it.
    if base.is_empty() {
        routes
    } else {
        Router::new().nest(&base, routes.clone()).merge(routes)
    }
}

/// `/prod` of `https://host/prod`.
fn base_path(url: &str) -> &str {
    let host = url.find("://").map_or(0, |scheme| scheme + 3);
    url[host..].find('/').map_or("", |path| &url[host + path..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_the_public_url_is_what_follows_the_host() {
        assert_eq!(base_path("https://a.example"), "");
        assert_eq!(base_path("https://a.example:1/prod/x"), "/prod/x");
    }
}
