//! `artifacts auth login` and `logout`.

use clap::Args;
use credentials::keyring::EntryName;
use credentials::{Config, IdentityName};
use serde_json::json;
use time::OffsetDateTime;

use super::Known;
use super::show::lasting;
use crate::context::Context;
use crate::failure::Result;
use crate::input;

/// Whose session.
#[derive(Args)]
pub(crate) struct Login {
    /// The identity.
    #[arg(long, default_value_t, value_name = "NAME")]
    identity: IdentityName,
    /// The code that the MFA device shows; asked for on a terminal where one is needed.
    #[arg(long, value_name = "CODE")]
    mfa_code: Option<String>,
}

/// Whose session.
#[derive(Args)]
pub(crate) struct Logout {
    /// The identity.
    #[arg(long, default_value_t, value_name = "NAME")]
    identity: IdentityName,
    /// Every identity.
    #[arg(long, conflicts_with = "identity")]
    all: bool,
    /// Remove the long-lived keys from the keyring, and the identity's settings, too.
    #[arg(long)]
    keychain: bool,
}

pub(crate) fn login(command: Login, context: &Context) -> Result<()> {
    let known = Known::find(&command.identity, context)?;
    let mut login = known.login(command.mfa_code);
    if login.needs_code() {
        let device = known.settings.mfa_device.as_deref().unwrap_or_default();
        let typed = input::answer(context, &format!("code of {device}"), "--mfa-code CODE")?;
        login.mfa_code = Some(typed.trim().to_owned());
    }
    let session = context.wait_for(async { Ok(login.begin().await?) })?;
    let name = &known.name;
    let now = OffsetDateTime::now_utc();
    let left = session.expires.map(|end| (end - now).whole_seconds());
    let answer = json!({
        "identity": name,
        "keyring": known.keyring.place(),
        "expires_in": left,
    });
    if context.output.is_json() {
        return context.output.data(&answer, String::new);
    }
    let lasts = left.map_or_else(String::new, |left| format!("; it lasts {}", lasting(left)));
    context.output.note(&format!(
        "Identity {name} is logged in; its session is in {}{lasts}.",
        known.keyring.place()
    ));
    Ok(())
}

pub(crate) fn logout(command: &Logout, context: &Context) -> Result<()> {
    let config = context.config()?;
    let names: Vec<IdentityName> = match command.all {
        true => config.identities().keys().cloned().collect(),
        false => vec![Known::find(&command.identity, context)?.name],
    };
    let keyring = context.identity_keyring(&config)?;
    let mut ended = Vec::new();
    for name in names {
        let had = keyring.remove(&EntryName::session(&name))?;
        if command.keychain {
            keyring.remove(&EntryName::identity(&name))?;
            Config::remove_identity(&context.paths()?, &name)?;
        }
        ended.push((name, had));
    }
    let answer = json!({
        "ended": ended.iter().filter(|(_, had)| *had).map(|(name, _)| name).collect::<Vec<_>>(),
        "forgotten": command.keychain,
    });
    if context.output.is_json() {
        return context.output.data(&answer, String::new);
    }
    for (name, had) in &ended {
        let text = match (had, command.keychain) {
            (_, true) => format!("Removed identity {name}, its keys and its session."),
            (true, false) => format!("Identity {name} is logged out; its keys are still there."),
            (false, false) => format!("Identity {name} was not logged in."),
        };
        context.output.note(&text);
    }
    if ended.iter().any(|(_, had)| *had) {
        context
            .output
            .note("The store itself ends a session only when its time is over.");
    }
    Ok(())
}
