//! `artifacts auth login` and `logout`.

use std::collections::BTreeSet;

use clap::Args;
use credentials::keyring::{EntryName, Keyring};
use credentials::{Config, IdentityName};
use serde_json::json;
use time::OffsetDateTime;

use super::show::lasting;
use super::{Known, Ring};
use crate::context::{EXPORT_KEYS, check_lasting};
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
    /// Every identity that is configured or in the keyring.
    #[arg(long, conflicts_with = "identity")]
    all: bool,
    /// Remove the long-lived keys from the keyring, and the identity's settings, too; asks
    /// first.
    #[arg(long)]
    keychain: bool,
    /// Do not ask before `--keychain`.
    #[arg(long)]
    yes: bool,
}

pub(super) fn login(command: Login, ring: &Ring<'_>) -> Result<()> {
    let context = ring.context;
    let known = Known::find(&command.identity, ring)?;
    check_lasting(known.keyring.as_ref(), EXPORT_KEYS)?;
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

pub(super) fn logout(command: &Logout, ring: &Ring<'_>) -> Result<()> {
    let context = ring.context;
    let config = context.config()?;
    let keyring = ring.keyring(&config)?;
    let known = all_names(&config, keyring.as_ref())?;
    let names = match command.all {
        true => known,
        false if known.contains(&command.identity) => [command.identity.clone()].into(),
        false => {
            let name = command.identity.clone();
            return Err(credentials::Error::NoIdentity { name }.into());
        }
    };
    if command.keychain && !command.yes && !names.is_empty() {
        confirm(&names, keyring.as_ref(), ring)?;
    }
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

/// Every identity that is configured or has an entry in the keyring: what was imported, or is
/// left of settings that somebody removed, is found by its entry alone.
fn all_names(config: &Config, keyring: &dyn Keyring) -> Result<BTreeSet<IdentityName>> {
    let mut names: BTreeSet<_> = config.identities().keys().cloned().collect();
    for entry in keyring.names()? {
        let of_identity = ["identity/", "session/"];
        let name = of_identity
            .iter()
            .find_map(|f| entry.as_str().strip_prefix(f));
        names.extend(name.and_then(|name| name.parse().ok()));
    }
    Ok(names)
}

fn confirm(names: &BTreeSet<IdentityName>, keyring: &dyn Keyring, ring: &Ring<'_>) -> Result<()> {
    let listed: Vec<_> = names.iter().map(IdentityName::as_str).collect();
    let question = format!(
        "This removes the keys of {} from {}, and the settings, for good.",
        listed.join(", "),
        keyring.place()
    );
    let word = match listed.as_slice() {
        [one] => one,
        _ => "all",
    };
    input::confirm(ring.context, &question, word, "--yes")
}
