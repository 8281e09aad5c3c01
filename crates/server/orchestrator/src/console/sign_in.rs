//! Signing in and out.

use std::sync::Arc;
use std::time::Duration;

use api::{Bootstrap, Scope, Timestamp};
use askama::Template;
use aws_lc_rs::constant_time;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};
use base::Failure;
use base::extract::{Body, Named, Parameters};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::cookies::Cookie;
use super::form::{Fields, Post};
use super::next::Next;
use super::shell::{Shell, refusal};
use super::state;
use super::visitor::{check_csrf, csrf, session};
use crate::app::App;
use crate::auth::{Attempt, BOOTSTRAP_PREFIX, Door, Foreign, NotLetIn};
use crate::endpoints::{bootstrap, sessions};
use crate::layers::{Context, RequestContext};
use crate::store::Entry;

/// How long the page's form and a visit to an issuer may take.
const MEANWHILE: Duration = Duration::from_secs(600);

/// A browser is signed in for a working day.
const LONGEST: Duration = Duration::from_secs(12 * 3600);

#[derive(Default, Deserialize)]
pub(super) struct Query {
    next: Option<String>,
    done: Option<String>,
}

#[derive(Template)]
#[template(path = "sign_in.html")]
struct Page {
    shell: Shell,
    next: String,
    next_query: String,
    doors: Vec<(usize, String)>,
}

/// The ways in.
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Parameters(query): Parameters<Query>,
    headers: HeaderMap,
) -> Response {
    let next = Next::read(query.next.as_deref());
    ways_in(&app, &headers, &next, query.done.as_deref(), None)
}

fn ways_in(
    app: &App,
    headers: &HeaderMap,
    next: &Next,
    done: Option<&str>,
    failure: Option<Failure>,
) -> Response {
    let kept = Cookie::Form.of(app, headers);
    let secret = kept.unwrap_or_else(|| app.new_secret());
    let mut shell = Shell::bare("Sign in").saying(done, failure.as_ref());
    shell.csrf = csrf(&secret);
    let doors = app.issuers.doors();
    let template = Page {
        shell,
        next: next.as_str().to_owned(),
        next_query: next.query(),
        doors: doors
            .map(|door| (door.number, door.name().to_owned()))
            .collect(),
    };
    let cookie = Cookie::Form.set(app, secret.expose_secret(), MEANWHILE);
    (AppendHeaders(cookie), refusal(failure, &template)).into_response()
}

/// Signs in with a session's token, or with the bootstrap token of the first operator.
pub(super) async fn by_token(
    State(app): State<Arc<App>>,
    Context(context): Context,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, Failure> {
    let form = Cookie::Form.of(&app, &headers);
    // Without the cookie no token fits.
    let wanted = csrf(&form.unwrap_or_else(|| app.new_secret()));
    check_csrf(&wanted, fields.text("csrf"), &context)?;
    let next = Next::read(fields.text("next"));
    let token: SecretString = fields.text("token").unwrap_or("").into();
    match let_in(&app, token, &context).await {
        Ok((token, ends)) => Ok(signed_in(&app, &token, ends, &next, Cookie::Form)),
        Err(failure) => Ok(ways_in(&app, &headers, &next, None, Some(failure))),
    }
}

async fn let_in(
    app: &Arc<App>,
    token: SecretString,
    context: &Arc<RequestContext>,
) -> Result<(SecretString, Timestamp), Failure> {
    let mut token = token;
    if token.expose_secret().starts_with(BOOTSTRAP_PREFIX) {
        let request = Body(Bootstrap {
            token: token.into(),
        });
        let context = Context(Arc::clone(context));
        let begun = bootstrap::begin(state(app), context, request).await?;
        token = begun.0.access_token.into_inner();
    } else {
        app.limits.login()?;
    }
    let caller = session(app, &token, context).await?;
    Ok((token, caller.ends.ok_or_else(Failure::internal)?))
}

#[derive(Deserialize)]
pub(super) struct Onward {
    next: Option<String>,
}

/// Sends the browser to an issuer.
pub(super) async fn begin(
    State(app): State<Arc<App>>,
    Named(number): Named<usize>,
    Parameters(query): Parameters<Onward>,
) -> Result<Response, Failure> {
    let door = app.issuers.door(number);
    let door = door.ok_or_else(|| Failure::not_found("way to sign in"))?;
    app.limits.login()?;
    let secret = app.new_secret();
    let kept = format!(
        "{}.{number}.{}.{}",
        secret.expose_secret(),
        Next::read(query.next.as_deref()).encoded(),
        app.now().seconds()
    );
    let kept = format!("{kept}.{}", app.key.seal(&kept));
    let there = door
        .begin(&Attempt::new(secret), &back(&app), app.now())
        .await
        .map_err(|error| not_let_in(&door, &error, None))?;
    let cookie = AppendHeaders(Cookie::Attempt.set(&app, &kept, MEANWHILE));
    Ok((cookie, Redirect::to(&there)).into_response())
}

/// Where issuers send browsers back to.
fn back(app: &App) -> String {
    format!("{}/console/sign-in/callback", app.settings.public_url)
}

/// RFC 6749 §4.1.2, RFC 9207.
#[derive(Deserialize)]
pub(super) struct Answer {
    code: Option<String>,
    state: Option<String>,
    iss: Option<String>,
    error: Option<String>,
}

/// Takes a browser back from an issuer.
pub(super) async fn finish(
    State(app): State<Arc<App>>,
    Context(context): Context,
    headers: HeaderMap,
    Parameters(answer): Parameters<Answer>,
) -> Result<Response, Failure> {
    let kept = Cookie::Attempt.of(&app, &headers);
    let begun = kept.as_ref().and_then(|kept| begun(&app, kept));
    let (attempt, door, next) = begun.ok_or_else(|| not_begun(&context))?;
    let wanted = attempt.state();
    let given = answer.state.as_deref().unwrap_or("");
    let same = constant_time::verify_slices_are_equal(wanted.as_bytes(), given.as_bytes());
    if same.is_err() {
        return Err(not_begun(&context));
    }
    if answer.iss.is_some_and(|iss| iss != door.url()) {
        context.note_reason("the answer is another issuer's (iss)".into());
        return Err(again("the answer comes from another issuer"));
    }
    let Some(code) = answer.code.map(SecretString::from) else {
        context.note_reason("the issuer let nobody in".into());
        return Err(again(match answer.error.as_deref() {
            Some("access_denied") => "the sign-in was cancelled at the issuer",
            _ => "the issuer did not let you in",
        }));
    };
    // Each question to the issuer is one in our name, whoever sent the browser here.
    app.limits.login()?;
    let found = door.finish(&attempt, &code, &back(&app), app.now()).await;
    let found = found.map_err(|error| not_let_in(&door, &error, Some(&context)))?;
    let (token, ends) = begin_session(&app, found, door.url(), &context).await?;
    Ok(signed_in(&app, &token, ends, &next, Cookie::Attempt))
}

/// The sign-in that this browser began.
fn begun<'a>(app: &'a App, kept: &SecretString) -> Option<(Attempt, Door<'a>, Next)> {
    // Whoever could make one up could have us ask the issuer as often as they like.
    let (kept, seal) = kept.expose_secret().rsplit_once('.')?;
    let mut parts = Some(kept)
        .filter(|kept| app.key.is_sealed(kept, seal))?
        .split('.');
    let (secret, number, next) = (parts.next()?, parts.next()?, parts.next()?);
    let age = app.now().seconds() - parts.next()?.parse::<i64>().ok()?;
    if !(0..=MEANWHILE.as_secs() as i64).contains(&age) {
        return None;
    }
    let door = app.issuers.door(number.parse().ok()?)?;
    Some((Attempt::new(secret.into()), door, Next::decoded(next)))
}

fn not_begun(context: &RequestContext) -> Failure {
    context.note_reason("a sign-in that this browser did not begin (state)".into());
    Failure::forbidden(
        "this sign-in was not begun in this browser, or too long ago\nhint: sign in again",
    )
}

fn again(text: &str) -> Failure {
    Failure::unauthenticated(format!("{text}\nhint: sign in again"))
}

fn not_let_in(door: &Door<'_>, error: &NotLetIn, context: Option<&RequestContext>) -> Failure {
    match error {
        NotLetIn::Unavailable(reason) => {
            tracing::warn!(issuer = door.url(), reason, "nobody can sign in");
            Failure::unavailable(
                "the issuer does not answer as it should\nhint: try again; the log of this server has the reason",
            )
        }
        NotLetIn::Code | NotLetIn::Token(_) => {
            if let Some(context) = context {
                context.note_reason(error.to_string());
            }
            again("what the issuer said of you does not count")
        }
    }
}

/// The session stands in no tenant: which one, the person chooses from page to page. Where the
/// issuer's word is for one tenant, or for no operator's work, so is the session.
async fn begin_session(
    app: &App,
    found: Foreign,
    issuer: &str,
    context: &RequestContext,
) -> Result<(SecretString, Timestamp), Failure> {
    let Foreign {
        actor,
        tenant,
        scope,
        ..
    } = found;
    let allowed = scope != Some(Scope::Tenant);
    let scope = match allowed && app.store.is_operator(&actor).await? {
        true => Scope::Operator,
        false => Scope::Tenant,
    };
    let mut session = app.new_session(actor.clone(), tenant, scope, "console");
    let latest = session.created_at.plus(LONGEST);
    session.expires_at = session.expires_at.min(latest);
    let entry = Entry {
        at: session.created_at,
        action: "SessionCreated",
        actor: Some(actor.to_string()),
        tenant,
        subject: Some(session.id.to_string()),
        reason: Some(format!("console, by {issuer}")),
        request_id: Some(context.id.clone()),
    };
    context.note_caller(actor.to_string(), None);
    app.store.add_session(&session, &entry).await?;
    let token = app.session_token(&session).ok_or_else(Failure::internal)?;
    Ok((token, session.expires_at))
}

fn signed_in(
    app: &App,
    token: &SecretString,
    ends: Timestamp,
    next: &Next,
    used: Cookie,
) -> Response {
    let seconds = u64::try_from(ends.seconds() - app.now().seconds()).unwrap_or(0);
    // A session that was begun elsewhere may last longer; not in a browser.
    let lifetime = Duration::from_secs(seconds).min(LONGEST);
    let cookies = [
        Cookie::Session.set(app, token.expose_secret(), lifetime),
        Cookie::Tenant.end(app),
        used.end(app),
    ];
    let cookies = AppendHeaders(cookies.into_iter().flatten());
    (cookies, Redirect::to(next.as_str())).into_response()
}

/// Ends the session, here and wherever else its token is.
pub(super) async fn end(State(app): State<Arc<App>>, post: Post) -> Result<Response, Failure> {
    sessions::logout(state(&app), post.visitor.signed_in).await?;
    let cookies = [Cookie::Session.end(&app), Cookie::Tenant.end(&app)];
    let cookies = AppendHeaders(cookies.into_iter().flatten());
    let there = Redirect::to("/console/sign-in?done=signed-out");
    Ok((cookies, there).into_response())
}
