//! `artifacts storage`: keys of the user's own buckets, kept on this machine.

use clap::{Args, Subcommand};
use credentials::{
    Error, Field, FieldValue, KeyFile, KeyProfile, Overview, Place, Source, Sourced, StorageKeys,
};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde_json::json;

use crate::context::{Context, EXPORT_KEYS, check_lasting};
use crate::failure::{Code, Failure, Result};
use crate::input;
use crate::key_choice::Profile;
use crate::output::table;

/// What can be done with stored keys.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Save storage keys; without options, those of the ARTIFACTS_S3_* variables.
    Set(Set),
    /// Show, masked, which keys are used and where each comes from.
    Show(Show),
    /// Remove saved keys.
    Clear(Clear),
}

/// Whose keys.
#[derive(Args)]
pub(crate) struct Show {
    #[command(flatten)]
    profile: Profile,
    /// Show the keys of this profile of the AWS tools.
    #[arg(long, value_name = "PROFILE", conflicts_with = "profile")]
    aws_profile: Option<String>,
}

/// Only the fields that are given are changed.
#[derive(Args)]
pub(crate) struct Set {
    /// The access key id.
    #[arg(long, value_name = "ID")]
    access_key_id: Option<String>,
    /// The secret access key; `-` reads it from standard input, where nobody else sees it.
    #[arg(long, value_name = "SECRET", value_parser = secret, allow_hyphen_values = true)]
    secret_access_key: Option<SecretString>,
    /// The same as `--secret-access-key -`.
    #[arg(long, conflicts_with = "secret_access_key")]
    secret_stdin: bool,
    /// The session token of temporary keys; `-` reads it from standard input, on the line
    /// after the secret if both are read; '' removes it.
    #[arg(long, value_name = "TOKEN", value_parser = secret, allow_hyphen_values = true)]
    session_token: Option<SecretString>,
    /// The region; '' removes it.
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    #[command(flatten)]
    profile: Profile,
}

/// What to remove.
#[derive(Args)]
pub(crate) struct Clear {
    /// The keys of every profile; asks first.
    #[arg(long, conflicts_with = "profile")]
    all: bool,
    /// Do not ask before `--all`.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    profile: Profile,
}

pub(crate) fn run(command: Command, context: &Context) -> Result<()> {
    match command {
        Command::Set(set) => save(set, context),
        Command::Show(command) => show(&command, context),
        Command::Clear(clear) => remove(&clear, context),
    }
}

/// What happens to a field: a new value, or its removal.
type Change = (Field, Option<FieldValue>);

fn save(set: Set, context: &Context) -> Result<()> {
    let profile = context.profile(set.profile.profile.as_ref())?;
    let chain = context.storage_keys(&profile)?;
    if let Place::Keyring(keyring) = chain.place() {
        check_lasting(keyring.as_ref(), EXPORT_KEYS)?;
    }
    if set.is_empty() {
        return store(&chain, from_environment(&chain)?, context);
    }
    store(&chain, set.into_changes(context)?, context)?;
    if chain.environment().has_keys() {
        context
            .output
            .note("The ARTIFACTS_S3_* variables of this shell still win over the saved keys.");
    }
    Ok(())
}

/// The keys of the environment as changes to the cache file. Used by `workspace create` too.
pub(crate) fn from_environment(chain: &StorageKeys) -> Result<Vec<Change>> {
    let fields = chain.environment().own_fields()?;
    if fields.is_empty() {
        return Err(Failure::new(
            Code::Usage,
            "nothing to save: no ARTIFACTS_S3_* variable is set and no field is given",
        )
        .with_hint("run: artifacts storage set --access-key-id ID --secret-access-key -"));
    }
    let changes = fields
        .into_iter()
        .map(|(field, value)| (field, Some(value.duplicate())));
    Ok(changes.collect())
}

/// Saves changes and says which fields.
fn store(chain: &StorageKeys, changes: Vec<Change>, context: &Context) -> Result<()> {
    let place = chain.saved_place()?;
    let dropped = chain.update(&context.paths()?, |file, profile| {
        apply(file, profile, &place, &changes)
    })?;
    if dropped {
        context
            .output
            .note("Removed the saved session token: it belonged to the keys before.");
    }
    let names: Vec<&str> = changes.iter().map(|(field, _)| field.name()).collect();
    let path = matches!(chain.place(), Place::Cache).then_some(&place);
    let saved =
        json!({ "path": path, "place": place, "profile": chain.profile(), "fields": names });
    if context.output.is_json() {
        return context.output.data(&saved, String::new);
    }
    let names = names.join(", ");
    let mode = path.map_or("", |_| " (mode 0600)");
    context
        .output
        .note(&format!("Saved {names} in {place}{mode}."));
    Ok(())
}

/// Applies changes to a profile; whether a session token of other keys was dropped. Refuses
/// to leave half a pair behind. `place` is for the error.
pub(crate) fn apply(
    file: &mut KeyFile,
    profile: &KeyProfile,
    place: &str,
    changes: &[Change],
) -> credentials::Result<bool> {
    for (field, value) in changes {
        match value {
            Some(value) => file.set(profile, *field, value),
            None => {
                file.unset(profile, *field);
            }
        }
    }
    let dropped = replaces_keys(changes) && file.unset(profile, Field::SessionToken);
    check_pair(file, profile, place)?;
    Ok(dropped)
}

/// Whether both keys are new and came without a token: an older token cannot fit them.
fn replaces_keys(changes: &[Change]) -> bool {
    let has = |field| changes.iter().any(|(changed, _)| *changed == field);
    has(Field::AccessKeyId) && has(Field::SecretAccessKey) && !has(Field::SessionToken)
}

fn check_pair(file: &KeyFile, profile: &KeyProfile, place: &str) -> credentials::Result<()> {
    let has = |field| file.value(profile, field).map(|value| value.is_some());
    let (id, secret) = (has(Field::AccessKeyId)?, has(Field::SecretAccessKey)?);
    let needed = id || secret || has(Field::SessionToken)?;
    let missing = match (id, secret) {
        (false, _) if needed => Field::AccessKeyId,
        (_, false) if needed => Field::SecretAccessKey,
        _ => return Ok(()),
    };
    Err(Error::HalfPair {
        place: format!("what would be in {place}"),
        missing: missing.name().to_owned(),
        in_environment: false,
    })
}

fn show(command: &Show, context: &Context) -> Result<()> {
    let profile = context.profile(command.profile.profile.as_ref())?;
    let chain = match &command.aws_profile {
        Some(name) => context.chain(&profile, Place::Aws(name.clone()))?,
        None => context.storage_keys(&profile)?,
    };
    let overview = chain.overview()?;
    let fields = shown(&overview);
    if fields.iter().any(|field| field.value.is_some()) {
        let answer = json!({ "profile": profile, "fields": fields });
        context.output.data(&answer, || {
            let rows = fields.iter().map(Shown::row).collect();
            table(&["FIELD", "VALUE", "SOURCE"], rows)
        })?;
    }
    chain.resolve()?;
    Ok(())
}

/// A field as it is shown.
#[derive(Serialize)]
struct Shown {
    name: &'static str,
    value: Option<String>,
    source: Option<&'static str>,
    variable: Option<&'static str>,
    path: Option<String>,
    #[serde(skip)]
    place: String,
}

fn shown(overview: &Overview) -> Vec<Shown> {
    let fields = [
        (Field::AccessKeyId, &overview.access_key_id),
        (Field::SecretAccessKey, &overview.secret_access_key),
        (Field::SessionToken, &overview.session_token),
        (Field::Region, &overview.region),
    ];
    fields
        .into_iter()
        .map(|(field, found)| Shown::new(field, found.as_ref()))
        .collect()
}

impl Shown {
    fn new(field: Field, found: Option<&Sourced>) -> Self {
        let (source, variable, path) = match found.map(|found| &found.source) {
            Some(Source::Environment(variable)) => (Some("environment"), Some(*variable), None),
            Some(Source::File { path, .. }) => {
                (Some("file"), None, Some(path.display().to_string()))
            }
            Some(Source::Aws { path, .. }) => (Some("aws"), None, Some(path.display().to_string())),
            Some(Source::Keyring { .. }) => (Some("keyring"), None, None),
            None => (None, None, None),
        };
        Self {
            name: field.name(),
            value: found.map(|found| masked(field, &found.value)),
            place: found.map_or_else(|| "-".into(), |found| found.source.to_string()),
            source,
            variable,
            path,
        }
    }

    fn row(&self) -> Vec<String> {
        let value = self.value.clone().unwrap_or_else(|| "-".into());
        vec![self.name.into(), value, self.place.clone()]
    }
}

fn masked(field: Field, value: &FieldValue) -> String {
    match field {
        Field::AccessKeyId => value.masked(),
        Field::SecretAccessKey | Field::SessionToken => FieldValue::STARS.into(),
        Field::Region => value.expose().into(),
    }
}

fn remove(clear: &Clear, context: &Context) -> Result<()> {
    let profile = context.profile(clear.profile.profile.as_ref())?;
    let chain = context.storage_keys(&profile)?;
    if clear.all && !clear.yes {
        let place = chain.saved_place()?;
        let question = format!("This removes the storage keys of every profile from {place}.");
        input::confirm(context, &question, "all", "--yes")?;
    }
    let removed = match (clear.all, chain.place()) {
        (true, Place::Cache) => KeyFile::update(&context.paths()?, |file| {
            let profiles = file.profiles();
            Ok(profiles.iter().map(|p| file.clear(p)).sum::<usize>())
        })?,
        (true, Place::Keyring(keyring)) => {
            let mut removed = 0;
            for name in keyring.names()? {
                let ours = name.as_str().starts_with("storage/");
                removed += usize::from(ours && keyring.remove(&name)?);
            }
            removed
        }
        _ => chain.update(&context.paths()?, |file, profile| Ok(file.clear(profile)))?,
    };
    let place = chain.saved_place()?;
    let path = matches!(chain.place(), Place::Cache).then_some(&place);
    let answer = json!({ "path": path, "place": place, "removed": removed });
    if context.output.is_json() {
        return context.output.data(&answer, String::new);
    }
    let what = match chain.place() {
        Place::Keyring(_) if clear.all => "entry",
        _ => "field",
    };
    context.output.note(&match (removed, what) {
        (0, _) => format!("Nothing was saved in {place}."),
        (1, what) => format!("Removed 1 {what} from {place}."),
        (n, "entry") => format!("Removed {n} entries from {place}."),
        (n, what) => format!("Removed {n} {what}s from {place}."),
    });
    Ok(())
}

impl Set {
    fn is_empty(&self) -> bool {
        self.access_key_id.is_none()
            && self.secret_access_key.is_none()
            && !self.secret_stdin
            && self.session_token.is_none()
            && self.region.is_none()
    }

    fn into_changes(self, context: &Context) -> Result<Vec<Change>> {
        let mut changes = Vec::new();
        if let Some(id) = &self.access_key_id {
            changes.push((
                Field::AccessKeyId,
                Some(FieldValue::new(id, "--access-key-id")?),
            ));
        }
        let dash = || Some(SecretString::from("-"));
        let secret = self
            .secret_access_key
            .or_else(|| self.secret_stdin.then(dash).flatten());
        if let Some(secret) = given(secret, "--secret-access-key", "secret access key", context)? {
            let value = FieldValue::new(secret.expose_secret(), "--secret-access-key")?;
            changes.push((Field::SecretAccessKey, Some(value)));
        }
        if let Some(token) = given(
            self.session_token,
            "--session-token",
            "session token",
            context,
        )? {
            let value = optional(token.expose_secret(), "--session-token")?;
            changes.push((Field::SessionToken, value));
        }
        if let Some(region) = &self.region {
            changes.push((Field::Region, optional(region, "--region")?));
        }
        Ok(changes)
    }
}

/// The secret itself: read where `-` was given, and warned of where it stood in the
/// command line.
fn given(
    argument: Option<SecretString>,
    flag: &str,
    what: &str,
    context: &Context,
) -> Result<Option<SecretString>> {
    let Some(argument) = argument else {
        return Ok(None);
    };
    match argument.expose_secret() {
        "-" => Ok(Some(input::secret(context, what)?.as_str().into())),
        "" => Ok(Some(argument)),
        _ => {
            context.output.warn(
                &format!("the {what} stood in the command line, where other users can see it while this runs, and where the shell's history keeps it"),
                &format!("{flag} - reads it from standard input"),
            );
            Ok(Some(argument))
        }
    }
}

/// A value, or the wish to remove it.
fn optional(text: &str, flag: &str) -> Result<Option<FieldValue>> {
    if text.is_empty() {
        return Ok(None);
    }
    Ok(Some(FieldValue::new(text, flag)?))
}

fn secret(text: &str) -> std::result::Result<SecretString, std::convert::Infallible> {
    Ok(text.into())
}
