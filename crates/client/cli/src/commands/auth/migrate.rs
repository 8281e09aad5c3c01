//! `artifacts auth keyring migrate`: everything from one place of keys to another.
//!
//! First everything is stored in the new place and read back, then `config.toml` is made to
//! name it, and only then is removed from the old place what still is as it was copied.
//! Whatever stops this in between, the place that counts has every key.

use std::fmt;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;

use clap::Args;
use credentials::keyring::{EntryName, Keyring, KeyringError, KeyringKind, Secret, exchange};
use credentials::{Config, Field, KeyFile, KeyProfile, KeyringSettings, Paths};
use serde_json::json;

use super::Ring;
use crate::context::Context;
use crate::failure::{Code, Failure, Result};
use crate::variables;

/// From where to where.
#[derive(Args)]
pub(crate) struct Migrate {
    /// `cache` (byo-credentials), `system` or `file` [default: the configured one].
    #[arg(long, value_name = "PLACE")]
    from: Option<Shelf>,
    /// `cache`, `system` or `file`; becomes the configured one [default: the configured one].
    #[arg(long, value_name = "PLACE")]
    to: Option<Shelf>,
    /// Replace entries of the new place that have other values than those that move.
    #[arg(long)]
    overwrite: bool,
}

/// A place that keeps keys from command to command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shelf {
    Cache,
    Keyring(KeyringKind),
}

pub(super) fn run(migrate: &Migrate, ring: &Ring<'_>) -> Result<ExitCode> {
    let route = Route::of(migrate, ring)?;
    let (from, to) = (route.side(route.from)?, route.side(route.to)?);
    route.check_left_behind()?;
    let moved = move_entries(from.as_ref(), to.as_ref(), migrate.overwrite, || {
        route.write_config()
    })?;
    route.tell(&moved)?;
    if moved.kept.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let text = format!(
        "{} changed in {} meanwhile, and stay there",
        moved.kept.join(", "),
        route.from
    );
    Err(Failure::new(Code::LeftUndone, text).with_hint(format!(
        "to move the newer values, run: artifacts auth keyring migrate --from {} --to {} --overwrite",
        route.from, route.to
    )))
}

/// Where the keys are, where they go, and which table of `config.toml` says so.
struct Route<'a> {
    from: Shelf,
    to: Shelf,
    /// Where a file keyring is, and who knows its password.
    settings: KeyringSettings,
    config: Config,
    /// The table's profile; none for the usual table.
    table: Option<KeyProfile>,
    /// What the table says now.
    written: Option<KeyringKind>,
    context: &'a Context,
}

impl<'a> Route<'a> {
    fn of(migrate: &Migrate, ring: &Ring<'a>) -> Result<Self> {
        let (context, profile) = (ring.context, &ring.profile);
        let config = context.config()?;
        let counts = context.keyring_settings(&config, profile)?;
        let written = config.keyring(profile, None);
        let current = counts
            .as_ref()
            .map_or(Shelf::Cache, |s| Shelf::Keyring(s.kind));
        let route = Self {
            from: migrate.from.unwrap_or(current),
            to: migrate.to.unwrap_or(current),
            table: config.profile(profile).keyring.map(|_| profile.clone()),
            written: written.as_ref().map(|settings| settings.kind),
            settings: counts.unwrap_or(KeyringSettings::of(KeyringKind::System)),
            config,
            context,
        };
        route.check()?;
        Ok(route)
    }

    fn check(&self) -> Result<()> {
        let (from, to) = (self.from, self.to);
        if from == to {
            let text = format!("the keys would move from {from} to {to}");
            return Err(Failure::new(Code::Usage, text).with_hint("give --to, or another --from"));
        }
        if [from, to].contains(&Shelf::Keyring(KeyringKind::Memory)) {
            let unknown = KeyringError::UnknownKind("memory".into());
            return Err(credentials::Error::from(unknown).into());
        }
        let usual = self.config.keyring(&KeyProfile::default(), None);
        if let (Shelf::Cache, Some(profile), Some(usual)) = (to, &self.table, usual) {
            let text = format!(
                "profile {profile} without a keyring of its own would use the usual one, {}",
                usual.kind
            );
            return Err(Failure::new(Code::Usage, text)
                .with_hint("give --to system or --to file, or take [auth.keyring] out first"));
        }
        Ok(())
    }

    /// Refuses to leave identities in a keyring that would not be looked at any more: they have
    /// no place in the cache file.
    fn check_left_behind(&self) -> Result<()> {
        let (Shelf::Keyring(kind), Shelf::Cache) = (self.from, self.to) else {
            return Ok(());
        };
        if self.written != Some(kind) {
            return Ok(());
        }
        let names = self.open(kind)?.names()?;
        let stays = |name: &&EntryName| !name.as_str().starts_with("storage/");
        let left: Vec<_> = names.iter().filter(stays).map(EntryName::as_str).collect();
        if left.is_empty() {
            return Ok(());
        }
        let text = format!(
            "{} would be left in a keyring that is not used",
            left.join(", ")
        );
        Err(Failure::new(Code::KeysDiffer, text).with_hint(
            "byo-credentials has no place for identities: move to another keyring, or remove them with artifacts auth logout --all --keychain",
        ))
    }

    fn open(&self, kind: KeyringKind) -> Result<Arc<dyn Keyring>> {
        self.context.open_keyring(&KeyringSettings {
            kind,
            ..self.settings.clone()
        })
    }

    fn side(&self, shelf: Shelf) -> Result<Box<dyn Side>> {
        Ok(match shelf {
            Shelf::Cache => Box::new(Cache {
                paths: self.context.paths()?,
                profiles: self.profiles_of_cache()?,
            }),
            Shelf::Keyring(kind) => Box::new(InKeyring {
                keyring: self.open(kind)?,
                storage_of: self.table.clone(),
                identities: self.identities_move()?,
            }),
        })
    }

    /// Profiles whose keys in the cache file would be looked for where this route leads.
    fn profiles_of_cache(&self) -> Result<Vec<KeyProfile>> {
        if let Some(profile) = &self.table {
            return Ok(vec![profile.clone()]);
        }
        let file = KeyFile::load(self.context.paths()?.config())?;
        let all = file.map_or_else(Vec::new, |file| file.profiles());
        let follows = |profile: &KeyProfile| self.config.profile(profile).keyring.is_none();
        Ok(all.into_iter().filter(follows).collect())
    }

    /// Whether identities have a place at both ends, and are nobody else's: a profile's table
    /// may name the very keyring that the usual one names.
    fn identities_move(&self) -> Result<bool> {
        if self.from == Shelf::Cache || self.to == Shelf::Cache {
            return Ok(false);
        }
        let usual = self.config.keyring(&KeyProfile::default(), None);
        let (Some(_), Some(usual)) = (&self.table, usual) else {
            return Ok(true);
        };
        let paths = self.context.paths()?;
        let same_kind = self.from == Shelf::Keyring(usual.kind);
        let same_place =
            usual.kind != KeyringKind::File || usual.path(&paths)? == self.settings.path(&paths)?;
        Ok(!(same_kind && same_place))
    }

    /// Makes `config.toml` name the new place, where it names another.
    fn write_config(&self) -> Result<()> {
        let kind = match self.to {
            Shelf::Cache => None,
            Shelf::Keyring(kind) => Some(kind),
        };
        if kind != self.written {
            Config::set_keyring(&self.context.paths()?, self.table.as_ref(), kind)?;
        }
        Ok(())
    }

    fn tell(&self, moved: &Moved) -> Result<()> {
        let (from, to, output) = (self.from, self.to, self.context.output);
        if let Some(kind) = variables::text(variables::KEYRING_TYPE)
            && to.to_string() != kind
        {
            output.warn(
                &format!(
                    "ARTIFACTS_KEYRING_TYPE={kind} still counts in this shell, before config.toml"
                ),
                "unset it, and wherever else it is set",
            );
        }
        if output.is_json() {
            let answer = json!({
                "from": from.to_string(), "to": to.to_string(),
                "moved": moved.moved, "kept": moved.kept,
            });
            return output.data(&answer, String::new);
        }
        for name in &moved.moved {
            output.note(&format!("Moved {name} from {from} to {to}."));
        }
        if moved.moved.is_empty() && moved.kept.is_empty() {
            output.note(&format!("There was nothing to move from {from}."));
        }
        Ok(())
    }
}

/// One end of a route.
trait Side {
    /// The entries that would move from here.
    fn names(&self) -> Result<Vec<EntryName>>;
    fn load(&self, name: &EntryName) -> Result<Option<Secret>>;
    /// Stores, and reads back.
    fn store(&self, name: &EntryName, secret: &Secret) -> Result<()>;
    /// Removes an entry that is as it was copied; false where it is not.
    fn remove_unchanged(&self, name: &EntryName, copied: &Secret) -> Result<bool>;
}

/// What became of the entries.
#[derive(Debug, Default, PartialEq, Eq)]
struct Moved {
    moved: Vec<String>,
    /// Copied, but changed by somebody before they could be removed.
    kept: Vec<String>,
}

fn move_entries(
    from: &dyn Side,
    to: &dyn Side,
    overwrite: bool,
    switch: impl FnOnce() -> Result<()>,
) -> Result<Moved> {
    let mut entries = Vec::new();
    let mut clashes = Vec::new();
    for name in from.names()? {
        let Some(secret) = from.load(&name)? else {
            continue;
        };
        let there = to.load(&name)?;
        let is_there = there.as_ref().map(|there| same(&name, there, &secret));
        if is_there == Some(false) {
            clashes.push(name.to_string());
        }
        entries.push((name, secret, is_there == Some(true)));
    }
    if !clashes.is_empty() && !overwrite {
        return Err(clash(&clashes));
    }
    for (name, secret, is_there) in &entries {
        if !is_there {
            to.store(name, secret)?;
        }
    }
    switch()?;
    let mut moved = Moved::default();
    for (name, secret, _) in &entries {
        let list = match from.remove_unchanged(name, secret)? {
            true => &mut moved.moved,
            false => &mut moved.kept,
        };
        list.push(name.to_string());
    }
    Ok(moved)
}

/// Nothing is overwritten unasked.
pub(super) fn clash(names: &[String]) -> Failure {
    let text = format!("other values are there already for {}", names.join(", "));
    Failure::new(Code::KeysDiffer, text)
        .with_hint("to replace them, add --overwrite; to look at both: artifacts storage show")
}

/// Whether two entries say the same. Storage keys are compared by their fields: the order of
/// their lines, and comments, say nothing.
pub(super) fn same(name: &EntryName, one: &Secret, other: &Secret) -> bool {
    if one.expose() == other.expose() {
        return true;
    }
    let parsed = |secret: &Secret| KeyFile::parse(secret.expose(), name.as_str().as_ref());
    let is_storage = name.as_str().starts_with("storage/");
    let (Ok(one), Ok(other)) = (parsed(one), parsed(other)) else {
        return false;
    };
    let profile = KeyProfile::default();
    let has_keys = one
        .value(&profile, Field::AccessKeyId)
        .is_ok_and(|id| id.is_some());
    is_storage
        && has_keys
        && Field::ALL.into_iter().all(|field| {
            let values = (one.value(&profile, field), other.value(&profile, field));
            match values {
                (Ok(Some(one)), Ok(Some(other))) => one.expose() == other.expose(),
                (Ok(None), Ok(None)) => true,
                _ => false,
            }
        })
}

struct InKeyring {
    keyring: Arc<dyn Keyring>,
    /// Whose storage keys move; everybody's where this is none.
    storage_of: Option<KeyProfile>,
    identities: bool,
}

impl InKeyring {
    fn takes(&self, name: &EntryName) -> bool {
        match name.as_str().strip_prefix("storage/") {
            Some(profile) => self
                .storage_of
                .as_ref()
                .is_none_or(|p| p.as_str() == profile),
            None => self.identities,
        }
    }
}

impl Side for InKeyring {
    fn names(&self) -> Result<Vec<EntryName>> {
        let mut names = self.keyring.names()?;
        names.retain(|name| self.takes(name));
        Ok(names)
    }

    fn load(&self, name: &EntryName) -> Result<Option<Secret>> {
        Ok(self.keyring.load(name)?)
    }

    fn store(&self, name: &EntryName, secret: &Secret) -> Result<()> {
        Ok(self.keyring.store(name, secret)?)
    }

    fn remove_unchanged(&self, name: &EntryName, copied: &Secret) -> Result<bool> {
        match self.keyring.load(name)? {
            None => Ok(true),
            Some(now) if !same(name, &now, copied) => Ok(false),
            Some(now) => Ok(exchange(self.keyring.as_ref(), name, Some(&now), None)?),
        }
    }
}

/// `byo-credentials`: each profile's section is an entry.
struct Cache {
    paths: Paths,
    profiles: Vec<KeyProfile>,
}

impl Side for Cache {
    fn names(&self) -> Result<Vec<EntryName>> {
        Ok(self.profiles.iter().map(EntryName::storage).collect())
    }

    fn load(&self, name: &EntryName) -> Result<Option<Secret>> {
        let profile = profile_of(name)?;
        let file = KeyFile::load(self.paths.config())?;
        let alone = file.map(|file| section(&file, &profile)).transpose()?;
        Ok(alone.flatten())
    }

    fn store(&self, name: &EntryName, secret: &Secret) -> Result<()> {
        let profile = profile_of(name)?;
        let alone = KeyFile::parse(secret.expose(), name.as_str().as_ref())?;
        KeyFile::update(&self.paths, |file| {
            file.clear(&profile);
            copy(&alone, &KeyProfile::default(), file, &profile)
        })?;
        let kept = self
            .load(name)?
            .is_some_and(|kept| same(name, &kept, secret));
        match kept {
            true => Ok(()),
            false => {
                Err(credentials::Error::from(KeyringError::NotKept { name: name.clone() }).into())
            }
        }
    }

    fn remove_unchanged(&self, name: &EntryName, copied: &Secret) -> Result<bool> {
        let profile = profile_of(name)?;
        Ok(KeyFile::update(&self.paths, |file| {
            let unchanged = section(file, &profile)?.is_none_or(|now| same(name, &now, copied));
            if unchanged {
                file.clear(&profile);
            }
            Ok(unchanged)
        })?)
    }
}

fn profile_of(name: &EntryName) -> credentials::Result<KeyProfile> {
    let profile = name.as_str().strip_prefix("storage/");
    profile.unwrap_or_default().parse()
}

/// A profile's lines as an entry of their own; `None` where it has no field.
fn section(file: &KeyFile, profile: &KeyProfile) -> credentials::Result<Option<Secret>> {
    let mut alone = KeyFile::empty();
    copy(file, profile, &mut alone, &KeyProfile::default())?;
    let secret = || Secret::new(alone.render().as_bytes().to_vec());
    Ok((!alone.is_bare()).then(secret))
}

fn copy(
    from: &KeyFile,
    old: &KeyProfile,
    to: &mut KeyFile,
    new: &KeyProfile,
) -> credentials::Result<()> {
    for field in Field::ALL {
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use credentials::keyring::MemoryKeyring;

    use super::*;

    /// A place of keys in a process that is killed after so many steps: from then on nothing
    /// is done any more.
    struct Mortal<'a> {
        keyring: &'a dyn Keyring,
        steps_left: &'a Cell<usize>,
    }

    impl Mortal<'_> {
        fn step(&self) -> Result<()> {
            step(self.steps_left)
        }
    }

    fn step(left: &Cell<usize>) -> Result<()> {
        let next = left.get().checked_sub(1);
        left.set(next.ok_or_else(|| Failure::new(Code::Failed, "killed"))?);
        Ok(())
    }

    impl Side for Mortal<'_> {
        fn names(&self) -> Result<Vec<EntryName>> {
            Ok(self.keyring.names()?)
        }

        fn load(&self, name: &EntryName) -> Result<Option<Secret>> {
            Ok(self.keyring.load(name)?)
        }

        fn store(&self, name: &EntryName, secret: &Secret) -> Result<()> {
            self.step()?;
            Ok(self.keyring.store(name, secret)?)
        }

        fn remove_unchanged(&self, name: &EntryName, copied: &Secret) -> Result<bool> {
            self.step()?;
            let now = self.keyring.load(name)?;
            let unchanged = now.is_some_and(|now| same(name, &now, copied));
            Ok(unchanged && self.keyring.remove(name)?)
        }
    }

    fn name(text: &str) -> EntryName {
        text.parse().expect("a name")
    }

    fn secret(text: &str) -> Secret {
        Secret::new(text.as_bytes().to_vec())
    }

    fn filled() -> MemoryKeyring {
        let keyring = MemoryKeyring::new();
        for entry in ENTRIES {
            keyring.store(&name(entry), &secret(entry)).expect("stored");
        }
        keyring
    }

    const ENTRIES: [&str; 3] = ["identity/ada", "session/ada", "storage/default"];

    fn has_all(keyring: &dyn Keyring) -> bool {
        ENTRIES.iter().all(|entry| {
            let found = keyring.load(&name(entry)).expect("read");
            found.is_some_and(|found| found.expose() == entry.as_bytes())
        })
    }

    #[test]
    fn killed_at_any_step_the_place_that_counts_has_every_key() {
        let mut outcomes = Vec::new();
        for steps in 0.. {
            let (old, new) = (filled(), MemoryKeyring::new());
            let (steps_left, new_counts) = (Cell::new(steps), Cell::new(false));
            let (from, to) = (&steps_left, &steps_left);
            let from = Mortal {
                keyring: &old,
                steps_left: from,
            };
            let to = Mortal {
                keyring: &new,
                steps_left: to,
            };
            let moved = move_entries(&from, &to, false, || {
                step(&steps_left)?;
                new_counts.set(true);
                Ok(())
            });
            let counts: &dyn Keyring = if new_counts.get() { &new } else { &old };
            assert!(has_all(counts), "killed after {steps} steps");
            outcomes.push((new_counts.get(), moved.is_ok()));
            if let Ok(moved) = moved {
                assert_eq!(moved.moved, ENTRIES);
                assert!(old.names().expect("read").is_empty());
                break;
            }
            // The same command again finishes what was begun.
            let endless = Cell::new(usize::MAX);
            let from = Mortal {
                keyring: &old,
                steps_left: &endless,
            };
            let to = Mortal {
                keyring: &new,
                steps_left: &endless,
            };
            move_entries(&from, &to, false, || Ok(())).expect("moved");
            assert!(has_all(&new), "taken up after {steps} steps");
        }
        let expected = [false, false, false, false, true, true, true, true];
        assert_eq!(outcomes.iter().map(|o| o.0).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_changes_meanwhile_stays_and_is_told() {
        let (old, new) = (filled(), MemoryKeyring::new());
        let endless = Cell::new(usize::MAX);
        let from = Mortal {
            keyring: &old,
            steps_left: &endless,
        };
        let to = Mortal {
            keyring: &new,
            steps_left: &endless,
        };
        let moved = move_entries(&from, &to, false, || {
            Ok(old.store(&name("storage/default"), &secret("newer"))?)
        });
        let moved = moved.expect("moved");
        assert_eq!(moved.kept, ["storage/default"]);
        let left = old.load(&name("storage/default")).expect("read");
        assert_eq!(left.expect("still there").expose(), b"newer");
    }

    #[test]
    fn other_values_are_not_overwritten_unasked() {
        let (old, new) = (filled(), MemoryKeyring::new());
        let clashing = name("session/ada");
        new.store(&clashing, &secret("another")).expect("stored");
        let endless = Cell::new(usize::MAX);
        let from = Mortal {
            keyring: &old,
            steps_left: &endless,
        };
        let to = Mortal {
            keyring: &new,
            steps_left: &endless,
        };
        let refused = move_entries(&from, &to, false, || panic!("nothing may be switched"));
        let refused = refused.expect_err("refused");
        assert_eq!(refused.code, Code::KeysDiffer);
        assert!(
            refused.message.contains("session/ada"),
            "{}",
            refused.message
        );
        assert!(has_all(&old));
        assert_eq!(new.names().expect("read"), [clashing]);
        move_entries(&from, &to, true, || Ok(())).expect("asked for");
        assert!(has_all(&new));
    }

    #[test]
    fn storage_keys_are_the_same_whatever_the_order_of_their_lines() {
        let storage = name("storage/default");
        let one = secret("ACCESS_KEY_ID=A\nSECRET_ACCESS_KEY=b\n");
        let other = secret("# mine\nSECRET_ACCESS_KEY=b\nACCESS_KEY_ID=A\n");
        assert!(same(&storage, &one, &other));
        assert!(!same(&name("identity/a"), &one, &other));
        let third = secret("ACCESS_KEY_ID=A\nSECRET_ACCESS_KEY=c\n");
        assert!(!same(&storage, &one, &third));
    }
}
