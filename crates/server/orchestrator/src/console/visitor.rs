//! Who looks at a page: the session of the cookie, by the same checks as a bearer token's.

use std::sync::Arc;

use aws_lc_rs::{constant_time, hmac};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};
use base::Failure;
use secrecy::{ExposeSecret, SecretString};

use super::cookies::Cookie;
use super::next::Next;
use crate::app::App;
use crate::auth::{Caller, Who};
use crate::layers::RequestContext;

/// Somebody with a session.
pub(super) struct Visitor {
    /// Who asks, in the tenant that they chose. What a page does, it asks as this one.
    pub(super) caller: Caller,
    /// The same as the session alone has it: in no tenant, where it is for none.
    pub(super) signed_in: Caller,
    /// Whether they have chosen one of several tenants.
    pub(super) has_chosen: bool,
    /// What their forms must bring.
    pub(super) csrf: String,
}

impl Visitor {
    /// Whether the session leaves a choice among the person's tenants.
    pub(super) fn may_choose(&self) -> bool {
        let person = self.signed_in.person().ok();
        person.is_some_and(|person| person.bound_to.is_none())
    }

    async fn of_session(
        app: &Arc<App>,
        token: &SecretString,
        headers: &HeaderMap,
        context: &Arc<RequestContext>,
    ) -> Result<Self, Failure> {
        let signed_in = session(app, token, context).await?;
        let chosen = Cookie::Tenant.of(app, headers);
        let chosen = chosen.and_then(|text| text.expose_secret().parse().ok());
        Ok(Self {
            has_chosen: chosen.is_some(),
            caller: signed_in.standing_in(app, chosen).await?,
            signed_in,
            csrf: csrf(token),
        })
    }
}

/// Who holds a session that was begun here: the only tokens that the console takes.
pub(super) async fn session(
    app: &App,
    token: &SecretString,
    context: &Arc<RequestContext>,
) -> Result<Caller, Failure> {
    let caller = Caller::of_token(app, token, context).await?;
    match &caller.who {
        Who::Person(person) if person.session.is_some() => Ok(caller),
        _ => {
            context.note_reason("the console takes sessions only".into());
            Err(Failure::unauthenticated(
                "only the token of a session that was begun here opens the console\nhint: artifacts login begins one",
            ))
        }
    }
}

/// What a form must bring, so that no other site can have it sent: it follows from the cookie, which
/// other sites cannot read, and says nothing of it.
pub(super) fn csrf(secret: &SecretString) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes());
    let tag = hmac::sign(&key, b"artifacts.console.form.v1");
    base64_simd::URL_SAFE_NO_PAD.encode_to_string(tag.as_ref())
}

/// The refusal of a form that is not from here, or from before.
pub(super) fn check_csrf(
    wanted: &str,
    given: Option<&str>,
    context: &RequestContext,
) -> Result<(), Failure> {
    let given = given.unwrap_or("");
    if constant_time::verify_slices_are_equal(wanted.as_bytes(), given.as_bytes()).is_ok() {
        return Ok(());
    }
    context.note_reason("a form without the session's CSRF token".into());
    Err(Failure::forbidden(
        "this form does not belong to your session, so nothing was done\nhint: open the page again and send its form",
    ))
}

/// Why a page is not shown.
pub(super) enum Turned {
    /// Nobody is signed in: to the sign-in page, and back here afterwards.
    SignIn(Box<Response>),
    /// Something else is in the way.
    Failed(Failure),
}

impl From<Failure> for Turned {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl IntoResponse for Turned {
    fn into_response(self) -> Response {
        match self {
            Self::SignIn(response) => *response,
            Self::Failed(failure) => failure.into_response(),
        }
    }
}

impl FromRequestParts<Arc<App>> for Visitor {
    type Rejection = Turned;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Turned> {
        let Some(token) = Cookie::Session.of(app, &parts.headers) else {
            return Err(Turned::SignIn(Box::new(to_sign_in(parts).into_response())));
        };
        let context = RequestContext::of(&parts.extensions);
        let visitor = Self::of_session(app, &token, &parts.headers, &context).await;
        visitor.map_err(|failure| match failure.code {
            api::ErrorCode::Unauthenticated => {
                let ended = AppendHeaders(Cookie::Session.end(app));
                let mut response = (ended, to_sign_in(parts)).into_response();
                // For the layer that records refusals.
                response.extensions_mut().insert(failure);
                Turned::SignIn(Box::new(response))
            }
            _ => Turned::Failed(failure),
        })
    }
}

/// A form that was sent is not sent again by signing in.
fn to_sign_in(parts: &Parts) -> Redirect {
    let asked = parts.uri.path_and_query().map(|path| path.as_str());
    let next = Next::read(asked.filter(|_| parts.method == Method::GET));
    match next.as_str() {
        "/" => Redirect::to("/console/sign-in"),
        _ => Redirect::to(&format!("/console/sign-in?next={}", next.query())),
    }
}
