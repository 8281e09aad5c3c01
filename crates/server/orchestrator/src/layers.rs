//! What every request passes through: its number, its time limit, the log, and the audit of
//! refusals.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use api::{ErrorCode, TenantId};
use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::Response;
use base::Failure;
use base::layers::PATIENCE;
use parking_lot::Mutex;

use crate::app::App;
use crate::store::Entry;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What is known of a request on its way.
#[derive(Debug)]
pub(crate) struct RequestContext {
    /// Its number.
    pub(crate) id: String,
    known: Mutex<Known>,
}

#[derive(Debug, Default, Clone)]
struct Known {
    caller: Option<String>,
    tenant: Option<TenantId>,
    reason: Option<String>,
}

impl RequestContext {
    fn new(id: String) -> Arc<Self> {
        Arc::new(Self {
            id,
            known: Mutex::default(),
        })
    }

    /// Of what is not a request: a stream that asks again whether it may go on.
    pub(crate) fn unnumbered() -> Arc<Self> {
        Self::new(String::new())
    }

    /// The context of the request with these extensions.
    pub(crate) fn of(extensions: &Extensions) -> Arc<Self> {
        let context = extensions.get::<Arc<Self>>().cloned();
        context.unwrap_or_else(Self::unnumbered)
    }

    pub(crate) fn note_caller(&self, caller: String, tenant: Option<TenantId>) {
        let mut known = self.known.lock();
        (known.caller, known.tenant) = (Some(caller), tenant);
    }

    /// Why a token was not accepted; the caller is not told that exactly.
    pub(crate) fn note_reason(&self, reason: String) {
        self.known.lock().reason = Some(reason);
    }
}

/// The number of a request that nobody is known behind yet.
pub(crate) struct RequestId(pub(crate) Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for RequestId {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(Some(RequestContext::of(&parts.extensions).id.clone())))
    }
}

/// What is known of the request, for an endpoint that finds out by itself who asks.
pub(crate) struct Context(pub(crate) Arc<RequestContext>);

impl<S: Send + Sync> FromRequestParts<S> for Context {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(RequestContext::of(&parts.extensions)))
    }
}

/// The outermost layer. Nothing of a request's headers, query or body reaches the log: they
/// may hold tokens.
pub(crate) async fn observe(
    State(app): State<Arc<App>>,
    path: Option<MatchedPath>,
    mut request: Request,
    next: Next,
) -> Response {
    let context = RequestContext::new(app.new_id().to_string());
    request.extensions_mut().insert(Arc::clone(&context));
    let method = request.method().clone();
    let begun = Instant::now();
    let mut response = base::layers::answer(request, next, PATIENCE).await;
    let path = path.as_ref().map(MatchedPath::as_str);
    let (status, took) = (response.status().as_u16(), begun.elapsed());
    app.metrics.request(method.as_str(), path, status, took);
    let path = path.unwrap_or("(no endpoint)");
    let millis = took.as_millis();
    tracing::info!(request = context.id, %method, path, status, millis, "answered");
    if let Some(failure) = response.extensions().get::<Failure>().cloned() {
        record_refusal(&app, &context, &failure, &method, path).await;
    }
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&context.id) {
        headers.insert(REQUEST_ID, id);
    }
    // Answers are about one caller and one moment, and some hold a secret.
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

/// 401 with a token and 403 are recorded. Whoever sends many fills the log, not the audit.
async fn record_refusal(
    app: &App,
    context: &RequestContext,
    failure: &Failure,
    method: &Method,
    path: &str,
) {
    let known = context.known.lock().clone();
    let worth = match failure.code {
        ErrorCode::Forbidden => true,
        ErrorCode::Unauthenticated => known.reason.is_some(),
        _ => false,
    };
    if !worth || !app.limits.refusal(known.caller.as_deref()) {
        return;
    }
    let reason = known.reason.as_deref().unwrap_or(&failure.message);
    let entry = Entry {
        at: app.now(),
        action: "RequestRefused",
        actor: known.caller,
        tenant: known.tenant,
        subject: Some(format!("{method} {path}")),
        reason: reason.lines().next().map(str::to_owned),
        request_id: Some(context.id.clone()),
    };
    if let Err(error) = app.store.record(&entry).await {
        tracing::warn!(%error, "a refusal was not recorded");
    }
}
