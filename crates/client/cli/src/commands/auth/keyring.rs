//! `artifacts auth keyring`: the place where keys are kept.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Subcommand;
use credentials::KeyringSettings;
use credentials::keyring::{FileKeyring, Keyring, KeyringKind};
use serde_json::json;

use super::migrate::{self, Migrate};
use super::{Ring, transfer};
use crate::context::Context;
use crate::failure::{Code, Failure, Result};
use crate::output::pairs;
use crate::passwords::Prompt;

/// What can be done with keyrings.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show which keyring is used, whether it can be, and what it holds.
    Status,
    /// Move everything from one keyring, or from byo-credentials, to another.
    ///
    /// Everything is stored and read back in the new place first, then config.toml is made to
    /// name that, and then the old place is emptied of what did not change meanwhile. Where
    /// the profile has a keyring of its own in config.toml, its table is the one that is
    /// written. Moving to the cache takes the table out.
    Migrate(Migrate),
    /// Change the password of the file keyring; everything is sealed anew.
    Passwd,
    /// Forget the file keyring's password for this login session.
    Lock,
    /// Write everything into a file that age can open.
    Export(transfer::Export),
    /// Take in what `export` has written; settings of identities are not in it.
    Import(transfer::Import),
}

pub(super) fn run(command: Command, ring: &Ring<'_>) -> Result<ExitCode> {
    match command {
        Command::Status => status(ring)?,
        Command::Migrate(migrate) => return migrate::run(&migrate, ring),
        Command::Passwd => passwd(ring)?,
        Command::Lock => lock(ring)?,
        Command::Export(export) => transfer::export(&export, &open(ring)?, ring.context)?,
        Command::Import(import) => transfer::import(&import, &open(ring)?, ring.context)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The settings that count now, and whether they are written anywhere.
fn settings(ring: &Ring<'_>) -> Result<(KeyringSettings, bool)> {
    let config = ring.context.config()?;
    let found = ring.context.keyring_settings(&config, &ring.profile)?;
    let configured = found.is_some();
    let settings = found.unwrap_or(KeyringSettings::of(KeyringKind::System));
    Ok((settings, configured))
}

fn open(ring: &Ring<'_>) -> Result<Arc<dyn Keyring>> {
    ring.context.open_keyring(&settings(ring)?.0)
}

fn file_keyring(context: &Context, settings: &KeyringSettings) -> Result<FileKeyring> {
    let passwords = Box::new(Prompt::new(context, settings));
    Ok(settings.open_file(&context.paths()?, passwords)?)
}

fn status(ring: &Ring<'_>) -> Result<()> {
    let context = ring.context;
    let (settings, configured) = settings(ring)?;
    let (mut realm, mut unlocked) = (None, None);
    let (place, names) = if settings.kind == KeyringKind::File {
        let keyring = file_keyring(context, &settings)?;
        realm = keyring.realm()?;
        let open = keyring.is_unlocked()?;
        unlocked = Some(open);
        // Without an unlock this would ask for the password, and a look must not.
        let names = (open || realm.is_none()).then(|| keyring.names());
        (keyring.place(), names.transpose()?)
    } else {
        let keyring = context.open_keyring(&settings)?;
        (keyring.place(), Some(keyring.names()?))
    };
    let names = names.map(|names| names.iter().map(ToString::to_string).collect::<Vec<_>>());
    let answer = json!({
        "type": settings.kind, "configured": configured, "place": place,
        "realm": realm, "unlocked": unlocked, "entries": names,
    });
    context.output.data(&answer, || {
        let unlocked = unlocked.map_or("-", |open| if open { "yes" } else { "no" });
        pairs(&[
            ("type", settings.kind.to_string()),
            (
                "configured",
                if configured {
                    "yes"
                } else {
                    "no; storage keys are in byo-credentials"
                }
                .into(),
            ),
            ("place", place.clone()),
            ("realm", realm.clone().unwrap_or_else(|| "-".into())),
            ("unlocked", unlocked.into()),
            (
                "entries",
                names
                    .as_ref()
                    .map_or("not known while locked".into(), |n| match n.len() {
                        0 => "none".into(),
                        _ => n.join(", "),
                    }),
            ),
        ])
    })
}

fn passwd(ring: &Ring<'_>) -> Result<()> {
    let context = ring.context;
    let keyring = file_keyring(context, &settings(ring)?.0)?;
    if !keyring.exists()? {
        return Err(
            Failure::new(Code::NoKeys, format!("there is no {} yet", keyring.place()))
                .with_hint("it is made with the first key that is stored in it"),
        );
    }
    keyring.change_password()?;
    let text = format!("Changed the password of {}.", keyring.place());
    context.output.note(&text);
    Ok(())
}

fn lock(ring: &Ring<'_>) -> Result<()> {
    let context = ring.context;
    let keyring = file_keyring(context, &settings(ring)?.0)?;
    let text = match keyring.lock()? {
        true => format!("Locked {}.", keyring.place()),
        false => format!("{} was not unlocked.", keyring.place()),
    };
    context.output.note(&text);
    Ok(())
}
