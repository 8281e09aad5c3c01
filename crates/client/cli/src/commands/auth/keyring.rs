//! `artifacts auth keyring`: the place where keys are kept.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use clap::{Args, Subcommand};
use credentials::keyring::{EntryName, FileKeyring, Keyring, KeyringError, KeyringKind, Secret};
use credentials::{Config, KeyFile, KeyProfile, KeyringSettings};
use serde_json::json;

use super::transfer;
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
    Migrate(Migrate),
    /// Change the password of the file keyring; everything is sealed anew.
    Passwd,
    /// Forget the file keyring's password for this login session.
    Lock,
    /// Write everything into a file that age can open.
    Export(transfer::Export),
    /// Take in what `export` has written.
    Import(transfer::Import),
}

/// From where to where.
#[derive(Args)]
pub(crate) struct Migrate {
    /// `cache` (byo-credentials), `system` or `file` [default: the configured one].
    #[arg(long, value_name = "PLACE")]
    from: Option<Shelf>,
    /// `cache`, `system` or `file`; becomes the configured one [default: the configured one].
    #[arg(long, value_name = "PLACE")]
    to: Option<Shelf>,
}

/// A place that keeps keys from command to command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shelf {
    Cache,
    Keyring(KeyringKind),
}

pub(crate) fn run(command: Command, context: &Context) -> Result<()> {
    match command {
        Command::Status => status(context),
        Command::Migrate(migrate) => move_all(&migrate, context),
        Command::Passwd => passwd(context),
        Command::Lock => lock(context),
        Command::Export(export) => transfer::export(&export, &open(context)?, context),
        Command::Import(import) => transfer::import(&import, &open(context)?, context),
    }
}

/// The settings that count now, and whether they are written anywhere.
fn settings(context: &Context) -> Result<(KeyringSettings, bool)> {
    let config = context.config()?;
    let found = context.keyring_settings(&config, &context.profile(None)?)?;
    let configured = found.is_some();
    let settings = found.unwrap_or(KeyringSettings::of(KeyringKind::System));
    Ok((settings, configured))
}

fn open(context: &Context) -> Result<Arc<dyn Keyring>> {
    context.open_keyring(&settings(context)?.0)
}

fn file_keyring(context: &Context, settings: &KeyringSettings) -> Result<FileKeyring> {
    let passwords = Box::new(Prompt::new(context, settings));
    Ok(settings.open_file(&context.paths()?, passwords)?)
}

fn status(context: &Context) -> Result<()> {
    let (settings, configured) = settings(context)?;
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

fn passwd(context: &Context) -> Result<()> {
    let keyring = file_keyring(context, &settings(context)?.0)?;
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

fn lock(context: &Context) -> Result<()> {
    let keyring = file_keyring(context, &settings(context)?.0)?;
    let text = match keyring.lock()? {
        true => format!("Locked {}.", keyring.place()),
        false => format!("{} was not unlocked.", keyring.place()),
    };
    context.output.note(&text);
    Ok(())
}

fn move_all(migrate: &Migrate, context: &Context) -> Result<()> {
    let (settings, configured) = settings(context)?;
    let current = match configured {
        true => Shelf::Keyring(settings.kind),
        false => Shelf::Cache,
    };
    let (from, to) = (
        migrate.from.unwrap_or(current),
        migrate.to.unwrap_or(current),
    );
    if from == to {
        let text = format!("the keys would move from {from} to {to}");
        return Err(Failure::new(Code::Usage, text).with_hint("give --to, or another --from"));
    }
    let shelf = |shelf: Shelf| -> Result<Option<Arc<dyn Keyring>>> {
        let Shelf::Keyring(kind) = shelf else {
            return Ok(None);
        };
        let settings = KeyringSettings {
            kind,
            ..settings.clone()
        };
        context.open_keyring(&settings).map(Some)
    };
    let moved = match (shelf(from)?, shelf(to)?) {
        (None, Some(to)) => from_cache(to.as_ref(), context)?,
        (Some(from), None) => to_cache(from.as_ref(), context)?,
        (Some(from), Some(to)) => between(from.as_ref(), to.as_ref())?,
        (None, None) => Vec::new(),
    };
    if let Shelf::Keyring(kind) = to
        && current != to
    {
        Config::set_keyring_kind(&context.paths()?, kind)?;
    }
    let answer = json!({ "from": from.to_string(), "to": to.to_string(), "moved": moved });
    if context.output.is_json() {
        return context.output.data(&answer, String::new);
    }
    for name in &moved {
        context
            .output
            .note(&format!("Moved {name} from {from} to {to}."));
    }
    if moved.is_empty() {
        context
            .output
            .note(&format!("There was nothing to move from {from}."));
    }
    if to == Shelf::Cache && configured {
        context.output.note(
            "config.toml still names a keyring: take [auth.keyring] out for the cache to count.",
        );
    }
    Ok(())
}

/// Stored there and read back first, removed here last: whatever stops it in between leaves
/// every key in at least one place.
fn between(from: &dyn Keyring, to: &dyn Keyring) -> Result<Vec<String>> {
    let names = from.names()?;
    for name in &names {
        if let Some(secret) = from.load(name)? {
            to.store(name, &secret)?;
        }
    }
    for name in &names {
        from.remove(name)?;
    }
    Ok(names.iter().map(ToString::to_string).collect())
}

fn from_cache(to: &dyn Keyring, context: &Context) -> Result<Vec<String>> {
    let paths = context.paths()?;
    let Some(file) = KeyFile::load(paths.config())? else {
        return Ok(Vec::new());
    };
    let profiles = file.profiles();
    for profile in &profiles {
        let mut alone = KeyFile::empty();
        copy(&file, profile, &mut alone, &KeyProfile::default())?;
        let secret = Secret::new(alone.render().as_bytes().to_vec());
        to.store(&EntryName::storage(profile), &secret)?;
    }
    KeyFile::update(&paths, |file| {
        for profile in &profiles {
            file.clear(profile);
        }
        Ok(())
    })?;
    Ok(profiles
        .iter()
        .map(|p| EntryName::storage(p).to_string())
        .collect())
}

/// Only storage keys have a place in the cache file; identities stay.
fn to_cache(from: &dyn Keyring, context: &Context) -> Result<Vec<String>> {
    let paths = context.paths()?;
    let mut moved = Vec::new();
    for name in from.names()? {
        let Some(profile) = name.as_str().strip_prefix("storage/") else {
            continue;
        };
        let profile: KeyProfile = profile.parse()?;
        let Some(secret) = from.load(&name)? else {
            continue;
        };
        let alone = KeyFile::parse(secret.expose(), name.as_str().as_ref())?;
        KeyFile::update(&paths, |file| {
            file.clear(&profile);
            copy(&alone, &KeyProfile::default(), file, &profile)
        })?;
        from.remove(&name)?;
        moved.push(name.to_string());
    }
    Ok(moved)
}

fn copy(
    from: &KeyFile,
    old: &KeyProfile,
    to: &mut KeyFile,
    new: &KeyProfile,
) -> credentials::Result<()> {
    for field in credentials::Field::ALL {
        if let Some(value) = from.value(old, field)? {
            to.set(new, field, &value);
        }
    }
    Ok(())
}

impl FromStr for Shelf {
    type Err = credentials::Error;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        match text {
            "cache" => Ok(Self::Cache),
            // It would be gone with this command.
            "memory" => Err(KeyringError::UnknownKind(text.to_owned()).into()),
            _ => text.parse().map(Self::Keyring),
        }
    }
}

impl fmt::Display for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cache => f.write_str("cache"),
            Self::Keyring(kind) => kind.fmt(f),
        }
    }
}
