//! The style, the script and the mark of the pages.

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use base::Failure;
use base::extract::Named;

const FILES: [(&str, &str, &str); 3] = [
    (
        "console.css",
        "text/css; charset=utf-8",
        include_str!("static/console.css"),
    ),
    (
        "console.js",
        "text/javascript; charset=utf-8",
        include_str!("static/console.js"),
    ),
    ("mark.svg", "image/svg+xml", include_str!("static/mark.svg")),
];

/// They are the same for everybody; a browser asks again after a few minutes, so that it has those of
/// a newer server soon.
pub(super) async fn show(Named(name): Named<String>) -> Result<Response, Failure> {
    let found = FILES.iter().find(|(named, ..)| *named == name);
    let (_, kind, text) = found.ok_or_else(|| Failure::not_found("file"))?;
    let headers = [(CONTENT_TYPE, *kind), (CACHE_CONTROL, "max-age=300")];
    Ok((headers, *text).into_response())
}
