//! Signing in with an issuer (authorization code with PKCE), and out.

use std::sync::Arc;
use std::time::Duration;

use api::UserCode;
use aws_lc_rs::constant_time;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};
use base::Failure;
use base::extract::{Form, Named, Parameters};
use base::peer::Peer;
use base::tokens::{Attempt, Door, NotLetIn};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::cookies::Cookie;
use super::{refused, visitor};
use crate::app::App;
use crate::audit::Record;
use crate::endpoints::Shared;
use crate::refusal::Refusal;

/// How long a visit to an issuer may take.
const MEANWHILE: Duration = Duration::from_secs(600);

/// A browser is signed in to approve, not to stay.
const SIGNED_IN: i64 = 3600;

#[derive(Deserialize)]
pub(super) struct Onward {
    user_code: Option<String>,
}

/// Sends the browser to an issuer.
pub(super) async fn begin(
    State(app): Shared,
    peer: Peer,
    Named(number): Named<usize>,
    Parameters(onward): Parameters<Onward>,
) -> Response {
    match begun(&app, &peer, number, onward.user_code.as_deref()).await {
        Ok(response) => response,
        Err(refusal) => refused(refusal),
    }
}

async fn begun(
    app: &App,
    peer: &Peer,
    number: usize,
    code: Option<&str>,
) -> Result<Response, Refusal> {
    let door = app.issuers.door(number);
    let door = door.ok_or_else(|| Failure::not_found("way to sign in"))?;
    app.limits.browsers.check(peer)?;
    let code = code.and_then(|code| code.parse::<UserCode>().ok());
    let letters = code.as_ref().map_or("", UserCode::letters);
    let secret = app.new_secret();
    let kept = format!(
        "{}.{number}.{letters}.{}",
        secret.expose_secret(),
        app.now()
    );
    let kept = format!("{kept}.{}", app.seal(&kept));
    let there = door
        .begin(&Attempt::new(secret), &back(app), app.clock.now())
        .await
        .map_err(|error| not_let_in(&door, &error))?;
    let cookie = AppendHeaders(Cookie::Attempt.set(app, &kept, MEANWHILE));
    Ok((cookie, Redirect::to(&there)).into_response())
}

/// Where issuers send browsers back to.
fn back(app: &App) -> String {
    app.url("/sign-in/callback")
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
    State(app): Shared,
    peer: Peer,
    headers: HeaderMap,
    Parameters(answer): Parameters<Answer>,
) -> Response {
    match finished(&app, &peer, &headers, answer).await {
        Ok(response) => response,
        Err(refusal) => {
            let record = Record::of(&app, "session.browser");
            refused(app.refused(record, refusal).await)
        }
    }
}

async fn finished(
    app: &App,
    peer: &Peer,
    headers: &HeaderMap,
    answer: Answer,
) -> Result<Response, Refusal> {
    let kept = Cookie::Attempt.of(app, headers);
    let taken = kept.as_ref().and_then(|kept| taken_up(app, kept));
    let (attempt, door, code) = taken.ok_or_else(not_begun)?;
    let (wanted, given) = (attempt.state(), answer.state.unwrap_or_default());
    let same = constant_time::verify_slices_are_equal(wanted.as_bytes(), given.as_bytes());
    same.map_err(|_| not_begun())?;
    if answer.iss.is_some_and(|iss| iss != door.url()) {
        return Err(again("the answer comes from another issuer"));
    }
    let Some(word) = answer.code.map(SecretString::from) else {
        return Err(again(match answer.error.as_deref() {
            Some("access_denied") => "the sign-in was cancelled at the issuer",
            _ => "the issuer did not let you in",
        }));
    };
    // Each question to the issuer is one in our name, whoever sent the browser here.
    app.limits.browsers.check(peer)?;
    let found = door
        .finish(&attempt, &word, &back(app), app.clock.now())
        .await;
    let found = found.map_err(|error| not_let_in(&door, &error))?;
    let mut row = app.new_session(&found.actor, None, "browser");
    row.expires_at = row.expires_at.min(row.created_at + SIGNED_IN);
    let token = app.begin_session(&row).await?.access_token;
    let lifetime = Duration::from_secs(SIGNED_IN.unsigned_abs());
    let cookies = [
        Cookie::Session.set(app, token.expose(), lifetime),
        Cookie::Attempt.end(app),
    ];
    let there = match code {
        Some(code) => format!("/device?user_code={code}"),
        None => "/device".to_owned(),
    };
    let cookies = AppendHeaders(cookies.into_iter().flatten());
    Ok((cookies, Redirect::to(&there)).into_response())
}

/// The sign-in that this browser began.
fn taken_up<'a>(
    app: &'a App,
    kept: &SecretString,
) -> Option<(Attempt, Door<'a>, Option<UserCode>)> {
    // Whoever could make one up could have us ask the issuer as often as they like.
    let (kept, seal) = kept.expose_secret().rsplit_once('.')?;
    let mut parts = Some(kept)
        .filter(|kept| app.is_sealed(kept, seal))?
        .split('.');
    let (secret, number, letters) = (parts.next()?, parts.next()?, parts.next()?);
    let age = app.now() - parts.next()?.parse::<i64>().ok()?;
    if !(0..=MEANWHILE.as_secs() as i64).contains(&age) {
        return None;
    }
    let door = app.issuers.door(number.parse().ok()?)?;
    Some((Attempt::new(secret.into()), door, letters.parse().ok()))
}

fn not_begun() -> Refusal {
    let text = "this sign-in was not begun in this browser, or too long ago\nhint: sign in again";
    Failure::forbidden(text).into()
}

fn again(text: &str) -> Refusal {
    Failure::unauthenticated(format!("{text}\nhint: sign in again")).into()
}

fn not_let_in(door: &Door<'_>, error: &NotLetIn) -> Refusal {
    tracing::warn!(issuer = door.url(), reason = %error, "nobody was let in");
    match error {
        NotLetIn::Unavailable(_) => {
            let text = "the issuer does not answer as it should\nhint: try again; the log of this server has the reason";
            Failure::unavailable(text).into()
        }
        NotLetIn::Code | NotLetIn::Token(_) => again("what the issuer said of you does not count"),
    }
}

#[derive(Deserialize)]
pub(super) struct Signed {
    csrf: String,
}

/// Ends the session.
pub(super) async fn end(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Form(form): Form<Signed>,
) -> Response {
    if let Some(caller) = visitor(&app, &headers).await
        && app.is_csrf(&caller.token, &form.csrf)
        && let Err(refusal) = app.end_session(&caller).await
    {
        return refused(refusal);
    }
    let cookie = AppendHeaders(Cookie::Session.end(&app));
    (cookie, Redirect::to("/device")).into_response()
}
