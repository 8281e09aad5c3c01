//! `artifacts auth whoami` and `list`.

use std::process::ExitCode;

use clap::Args;
use credentials::keyring::KeyringKind;
use credentials::login::Standing;
use credentials::{Error, FieldValue, Identity, IdentityName, KeySet};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Known, Ring};
use crate::failure::{Failure, Result};
use crate::output::{pairs, table};
use crate::passwords::Prompt;

/// Which identity, and how thoroughly.
#[derive(Args)]
pub(crate) struct Whoami {
    /// The identity.
    #[arg(long, default_value_t, value_name = "NAME")]
    identity: IdentityName,
    /// Go by the time alone; do not ask the STS whether it still accepts the session.
    #[arg(long)]
    offline: bool,
}

/// An identity and its session, as they are shown.
#[derive(Serialize)]
struct Shown {
    identity: IdentityName,
    login: String,
    role_arn: Option<String>,
    mfa_device: Option<String>,
    endpoint: Option<String>,
    keyring: String,
    /// Of a file keyring: chosen once, for its life.
    realm: Option<String>,
    access_key_id: Option<String>,
    logged_in: bool,
    /// Whether its time is not over, and the STS, where it was asked and knows, accepts it.
    valid: bool,
    /// Whose session the STS says that it is; none where it was not asked, or could not tell.
    arn: Option<String>,
    expires_at: Option<String>,
    /// Seconds; negative after the end.
    expires_in: Option<i64>,
}

pub(super) fn whoami(command: &Whoami, ring: &Ring<'_>) -> Result<ExitCode> {
    let known = Known::find(&command.identity, ring)?;
    let session = known.login(None).saved()?;
    let mut shown = Shown::of(&known, session.as_ref(), ring)?;
    let mut failure = shown.lacks().map(Failure::from);
    if let Some(session) = session.filter(|_| shown.valid && !command.offline) {
        let login = known.login(None);
        match ring
            .context
            .wait_for(async { Ok(login.standing(&session).await) })?
        {
            Standing::Accepted(arn) => shown.arn = Some(arn),
            Standing::Refused(reason) => {
                shown.valid = false;
                let name = known.name.clone();
                failure = Some(Error::SessionRefused { name, reason }.into());
            }
            Standing::Unknown(reason) => {
                tracing::info!(reason, "the STS cannot tell whether it accepts the session");
            }
        }
    }
    ring.context.output.data(&shown, || shown.text())?;
    let Some(failure) = failure else {
        return Ok(ExitCode::SUCCESS);
    };
    ring.context.output.failure(&failure);
    Ok(failure.exit_code())
}

pub(super) fn list(ring: &Ring<'_>) -> Result<()> {
    let config = ring.context.config()?;
    let mut all = Vec::new();
    for (name, settings) in config.identities() {
        let known = Known {
            name: name.clone(),
            settings: settings.clone(),
            keyring: ring.keyring(&config)?,
        };
        let session = known.login(None).saved()?;
        all.push(Shown::of(&known, session.as_ref(), ring)?);
    }
    ring.context.output.data(&all, || {
        let rows = all.iter().map(Shown::row).collect();
        table(&["IDENTITY", "LOGIN", "SESSION", "KEYRING"], rows)
    })
}

/// The realm of the identities' keyring, where it is a file keyring that is made.
fn realm(ring: &Ring<'_>) -> Result<Option<String>> {
    let context = ring.context;
    let settings = context.identity_settings(&context.config()?, &ring.profile)?;
    if settings.kind != KeyringKind::File {
        return Ok(None);
    }
    let passwords = Box::new(Prompt::new(context, &settings));
    Ok(settings.open_file(&context.paths()?, passwords)?.realm()?)
}

impl Shown {
    fn of(known: &Known, session: Option<&KeySet>, ring: &Ring<'_>) -> Result<Self> {
        let now = OffsetDateTime::now_utc();
        let end = session.and_then(|session| session.expires);
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
            realm: realm(ring)?,
            access_key_id: session.map(|s| s.access_key_id.masked()),
            logged_in: session.is_some(),
            valid: session.is_some_and(|s| s.lasts(now, time::Duration::ZERO)),
            arn: None,
            expires_at: end.and_then(|end| end.format(&Rfc3339).ok()),
            expires_in: end.map(|end| (end - now).whole_seconds()),
        })
    }

    /// Why there is no session that counts.
    fn lacks(&self) -> Option<Error> {
        let name = self.identity.clone();
        match (self.logged_in, self.valid) {
            (true, true) => None,
            (true, false) => Some(Error::SessionOver { name }),
            (false, _) => Some(Error::NotLoggedIn { name }),
        }
    }

    /// The session in a few words.
    fn session(&self) -> String {
        match (self.valid, self.expires_in) {
            (true, Some(left)) => format!("valid for {}", lasting(left)),
            (true, None) => "valid".into(),
            (false, Some(left)) if self.logged_in && left > 0 => "not accepted any more".into(),
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
            ("realm", known(&self.realm)),
            ("session", self.session()),
            ("session of", known(&self.arn)),
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
