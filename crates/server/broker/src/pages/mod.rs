//! The pages where a person with a browser lets a machine in (RFC 8628 §3.3): signing in with an
//! issuer, the code, yes or no. They work without scripts and load nothing from elsewhere; what no
//! page may do the browser is told in every answer.

mod cookies;
mod device;
mod sign_in;

use std::sync::Arc;

use api::vault::PendingLogin;
use askama::Template;
use aws_lc_rs::hmac;
use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base::Failure;
use secrecy::{ExposeSecret, SecretString};

use crate::app::App;
use crate::caller::Caller;
use crate::refusal::Refusal;
use cookies::Cookie;

/// Nothing but our own style; no scripts, no frames around us; forms go here.
const POLICY: &str = "default-src 'none'; style-src 'self'; form-action 'self'; \
    frame-ancestors 'none'; base-uri 'none'";

const HEADERS: [(HeaderName, &str); 4] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    // The address of a page can hold a code.
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
];

/// All pages.
pub(crate) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/device", get(device::show).post(device::decide))
        .route("/sign-in/with/{number}", get(sign_in::begin))
        .route("/sign-in/callback", get(sign_in::finish))
        .route("/sign-out", post(sign_in::end))
        .route("/style.css", get(style))
        .layer(from_fn(dress))
}

async fn dress(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in HEADERS {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    response
}

async fn style() -> Response {
    let kind = (header::CONTENT_TYPE, "text/css; charset=utf-8");
    let kept = (header::CACHE_CONTROL, "public, max-age=3600");
    ([kind, kept], include_str!("style.css")).into_response()
}

/// A page.
#[derive(Template)]
#[template(path = "page.html")]
struct Page {
    title: &'static str,
    alert: Option<String>,
    view: View,
    /// Empty where nobody is signed in.
    csrf: String,
}

/// What a page is about.
enum View {
    SignIn {
        doors: Vec<(usize, String)>,
        /// The code that is to be looked at then.
        code: String,
    },
    Ask,
    Decide {
        login: PendingLogin,
    },
    Done {
        machine: String,
        approved: bool,
    },
    Nothing,
}

impl Page {
    fn answer(&self, status: StatusCode) -> Response {
        let kind = (header::CONTENT_TYPE, "text/html; charset=utf-8");
        match self.render() {
            Ok(text) => (status, [kind], text).into_response(),
            Err(error) => {
                tracing::error!(%error, "a page cannot be written");
                Failure::internal().into_response()
            }
        }
    }
}

/// A page that says why nothing was done.
fn refused(refusal: Refusal) -> Response {
    let status = refusal.status();
    let page = Page {
        title: "Not done",
        alert: Some(refusal.text()),
        view: View::Nothing,
        csrf: String::new(),
    };
    page.answer(status)
}

/// Who is signed in with this browser.
async fn visitor(app: &App, headers: &HeaderMap) -> Option<Caller> {
    let token = Cookie::Session.of(app, headers)?;
    let caller = Caller::of_token(app, token).await.ok()?;
    caller.is_operator().then_some(caller)
}

impl App {
    /// A seal of ours for a text.
    fn seal(&self, text: &str) -> String {
        let tag = hmac::sign(&self.seals, text.as_bytes());
        base64_simd::URL_SAFE_NO_PAD.encode_to_string(tag.as_ref())
    }

    /// Whether a seal of a text is ours.
    fn is_sealed(&self, text: &str, seal: &str) -> bool {
        let tag = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(seal);
        tag.is_ok_and(|tag| hmac::verify(&self.seals, text.as_bytes(), &tag).is_ok())
    }

    /// What a form of this session holds, so that no other site's page can send it.
    fn csrf(&self, token: &SecretString) -> String {
        self.seal(&format!("csrf {}", token.expose_secret()))
    }

    fn is_csrf(&self, token: &SecretString, given: &str) -> bool {
        self.is_sealed(&format!("csrf {}", token.expose_secret()), given)
    }
}
