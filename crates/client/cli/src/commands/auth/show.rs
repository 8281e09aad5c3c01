//! `artifacts auth whoami` and `list`.

use std::process::ExitCode;

use credentials::{Error, FieldValue, Identity, IdentityName};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Known, Named};
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::output::{pairs, table};

/// An identity and its session, as they are shown.
#[derive(Serialize)]
struct Shown {
    identity: IdentityName,
    login: String,
    role_arn: Option<String>,
    mfa_device: Option<String>,
    endpoint: Option<String>,
    keyring: String,
    access_key_id: Option<String>,
    logged_in: bool,
    valid: bool,
    expires_at: Option<String>,
    /// Seconds; negative after the end.
    expires_in: Option<i64>,
}

pub(crate) fn whoami(named: &Named, context: &Context) -> Result<ExitCode> {
    let known = Known::find(&named.identity, context)?;
    let shown = Shown::of(&known)?;
    context.output.data(&shown, || shown.text())?;
    if shown.valid {
        return Ok(ExitCode::SUCCESS);
    }
    let name = known.name.clone();
    let failure = Failure::from(match shown.logged_in {
        true => Error::SessionOver { name },
        false => Error::NotLoggedIn { name },
    });
    context.output.failure(&failure);
    Ok(failure.exit_code())
}

pub(crate) fn list(context: &Context) -> Result<()> {
    let config = context.config()?;
    let mut all = Vec::new();
    for (name, settings) in config.identities() {
        let known = Known::of(name, settings.clone(), &config, context)?;
        all.push(Shown::of(&known)?);
    }
    context.output.data(&all, || {
        let rows = all.iter().map(Shown::row).collect();
        table(&["IDENTITY", "LOGIN", "SESSION", "KEYRING"], rows)
    })
}

impl Shown {
    fn of(known: &Known) -> Result<Self> {
        let session = known.login(None).saved()?;
        let now = OffsetDateTime::now_utc();
        let end = session.as_ref().and_then(|session| session.expires);
        let Identity {
            role_arn,
            mfa_device,
            endpoint,
            ..
        } = known.settings.clone();
        Ok(Self {
            identity: known.name.clone(),
            login: known.settings.flow().to_string(),
            role_arn,
            mfa_device,
            endpoint: endpoint.map(|e| e.to_string()),
            keyring: known.keyring.place(),
            access_key_id: session.as_ref().map(|s| s.access_key_id.masked()),
            logged_in: session.is_some(),
            valid: session.is_some_and(|s| s.lasts(now, time::Duration::ZERO)),
            expires_at: end.and_then(|end| end.format(&Rfc3339).ok()),
            expires_in: end.map(|end| (end - now).whole_seconds()),
        })
    }

    /// The session in a few words.
    fn session(&self) -> String {
        match (self.valid, self.expires_in) {
            (true, Some(left)) => format!("valid for {}", lasting(left)),
            (true, None) => "valid".into(),
            (false, _) if self.logged_in => "ended".into(),
            (false, _) => "none".into(),
        }
    }

    fn row(&self) -> Vec<String> {
        vec![
            self.identity.to_string(),
            self.login.clone(),
            self.session(),
            self.keyring.clone(),
        ]
    }

    fn text(&self) -> String {
        let known = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".into());
        let hidden = |id: &String| id != FieldValue::STARS;
        let id = self.access_key_id.clone().filter(hidden);
        pairs(&[
            ("identity", self.identity.to_string()),
            ("login", self.login.clone()),
            ("role", known(&self.role_arn)),
            ("mfa device", known(&self.mfa_device)),
            ("endpoint", known(&self.endpoint)),
            ("keyring", self.keyring.clone()),
            ("session", self.session()),
            ("session key", known(&id)),
            ("expires at", known(&self.expires_at)),
        ])
    }
}

/// A number of seconds as people say it.
pub(super) fn lasting(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{} s", seconds.max(0)),
        60..3600 => format!("{} min", seconds / 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_in_two_units_at_most() {
        let said = [-5, 0, 59, 60, 3599, 3600, 45_000].map(lasting);
        let expected = [
            "0 s",
            "0 s",
            "59 s",
            "1 min",
            "59 min",
            "1 h 0 min",
            "12 h 30 min",
        ];
        assert_eq!(said, expected);
    }
}
