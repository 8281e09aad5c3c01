//! The pages' cookies (RFC 6265bis): never for scripts, never sent by other sites' requests but
//! when somebody follows a link here, and under `__Host-` only ever from this host by TLS.

use std::time::Duration;

use axum::http::header::{COOKIE, SET_COOKIE};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::SecretString;

use crate::app::App;

/// A cookie, by what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cookie {
    /// The token of the session.
    Session,
    /// The secret of a sign-in that an issuer is asked for, which issuer, and which code then.
    Attempt,
}

impl Cookie {
    /// The prefix makes browsers refuse the cookie from anybody but this host by TLS; a server
    /// without TLS, on one machine, could not set it.
    fn name(self, app: &App) -> String {
        let plain = match self {
            Self::Session => "artifacts-broker-session",
            Self::Attempt => "artifacts-broker-attempt",
        };
        match is_secure(app) {
            true => format!("__Host-{plain}"),
            false => plain.to_owned(),
        }
    }

    /// Its value in a request.
    pub(super) fn of(self, app: &App, headers: &HeaderMap) -> Option<SecretString> {
        let name = self.name(app);
        let lines = headers.get_all(COOKIE).into_iter();
        let pairs = lines
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(';'));
        let mut found = pairs
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(named, _)| *named == name);
        // Two of one name are somebody's attempt to have theirs taken.
        let (_, value) = found.next().filter(|_| found.next().is_none())?;
        Some(value.into())
    }

    /// The header that sets it. The values are letters, digits, `-`, `_` and `.`.
    pub(super) fn set(
        self,
        app: &App,
        value: &str,
        lifetime: Duration,
    ) -> Option<(HeaderName, HeaderValue)> {
        let secure = if is_secure(app) { "; Secure" } else { "" };
        let text = format!(
            "{}={value}; Path=/; Max-Age={}; HttpOnly; SameSite=Lax{secure}",
            self.name(app),
            lifetime.as_secs(),
        );
        let mut header = HeaderValue::try_from(text).ok()?;
        header.set_sensitive(true);
        Some((SET_COOKIE, header))
    }

    /// The header that takes it away.
    pub(super) fn end(self, app: &App) -> Option<(HeaderName, HeaderValue)> {
        self.set(app, "", Duration::ZERO)
    }
}

fn is_secure(app: &App) -> bool {
    app.settings.public_url.starts_with("https://")
}
