//! `artifacts workspace create`.

use std::path::PathBuf;

use bucket::{Bucket, ListPage};
use clap::{Args, ValueEnum};
use credentials::{Field, KeyFile, KeyProfile, Place, StorageKeys, WorkspaceConfig};
use model::WorkspaceName;

use super::phases::{self, Wanted};
use super::target::{Target, check_beside, check_free, nested};
use super::view::{View, warn_of};
use crate::commands::{mount, storage};
use crate::context::{Context, EXPORT_KEYS, check_lasting};
use crate::failure::{Code, Failure, Result};
use crate::marker::{MARKER, Marker};
use crate::workspace::{connect, first_page, place, probe};

/// Makes a workspace. The bucket must exist; what is in it becomes the workspace's files.
#[derive(Args)]
pub(crate) struct Create {
    /// The workspace's name on this machine.
    name: WorkspaceName,
    /// Mount it on this empty folder at once.
    path: Option<PathBuf>,
    /// Whose bucket: `managed` (the orchestrator makes it and issues a key) or `byo` (yours;
    /// an orchestrator knows its place and never a key) [default: byo where a bucket is
    /// named or no orchestrator is known, else managed].
    #[arg(long, value_enum, value_name = "WHOSE")]
    backend: Option<Whose>,
    /// Tell no orchestrator of it.
    #[arg(long)]
    local: bool,
    #[command(flatten)]
    target: Target,
}

/// Whose bucket a workspace is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Whose {
    /// The orchestrator's.
    Managed,
    /// The user's own.
    Byo,
}

pub(crate) fn run(create: Create, context: &Context) -> Result<()> {
    let Create {
        name,
        path,
        backend,
        local,
        target,
    } = create;
    let knows_one = !local && context.orchestrator_url(None)?.is_some();
    let config = match whose(backend, knows_one, &target)? {
        Whose::Managed if local => return Err(nowhere()),
        Whose::Managed => managed(&name, &target, context)?,
        Whose::Byo => own(&name, target, knows_one, context)?,
    };
    let output = context.output;
    output.note(&format!("Created workspace {name} at {}.", place(&config)));
    warn_of(&config, context);
    if !config.uses_issued_key() {
        cache_keys(&context.workspace_keys(&config)?, context);
    }
    if output.is_json() {
        output.data(&View::new(&name, &config), String::new)?;
    }
    match path {
        Some(path) => mount::also(&name, &path, context),
        None => Ok(()),
    }
}

fn whose(given: Option<Whose>, knows_one: bool, target: &Target) -> Result<Whose> {
    Ok(match given {
        Some(given) => given,
        None if knows_one && !target.names_a_bucket() => Whose::Managed,
        None => Whose::Byo,
    })
}

fn nowhere() -> Failure {
    Failure::new(
        Code::Usage,
        "a managed workspace is the orchestrator's: it cannot be --local",
    )
    .with_hint("leave one of the two out")
}

fn managed(name: &WorkspaceName, target: &Target, context: &Context) -> Result<WorkspaceConfig> {
    if target.names_a_place() {
        return Err(Failure::new(
            Code::Usage,
            "the orchestrator chooses the place and the key of a managed workspace",
        )
        .with_hint("leave --bucket and its like out, or use --backend byo"));
    }
    phases::run(&context.orchestrator()?, name, &Wanted::Managed, context)
}

/// In a bucket of the user's; with its place told to an orchestrator, where one is known.
fn own(
    name: &WorkspaceName,
    target: Target,
    tell: bool,
    context: &Context,
) -> Result<WorkspaceConfig> {
    let marker = Marker::new();
    let mut config = target.into_config(marker.id, context)?;
    if tell {
        check_beside(context, name, &config)?;
        let wanted = Wanted::Own(Box::new(config));
        return phases::run(&context.orchestrator()?, name, &wanted, context);
    }
    check_free(context, name, &config)?;
    context.block_on(make(context, name, &mut config, &marker))?;
    Ok(config)
}

/// Asks the store, marks the bucket, remembers the workspace; undoes the mark where it
/// cannot be remembered.
async fn make(
    context: &Context,
    name: &WorkspaceName,
    config: &mut WorkspaceConfig,
    marker: &Marker,
) -> Result<()> {
    let bucket = connect(context, config)?;
    let bucket = bucket.as_ref();
    check_place(bucket, config).await?;
    let capabilities = probe(bucket, config).await?;
    if !capabilities.writable {
        return Err(read_only(config));
    }
    config.capabilities = Some(capabilities);
    match marker.write(bucket, &config.prefix).await {
        Err(bucket::Error::Precondition { .. }) => return Err(taken(config)),
        written => written?,
    }
    if let Err(error) = context.workspaces()?.create(name, config) {
        let key = Marker::key(&config.prefix)?;
        let undone = bucket.delete(&key, bucket::Condition::None).await;
        return Err(match undone {
            Ok(()) => error.into(),
            Err(e) => Failure::new(
                Code::LeftUndone,
                format!("{error}; and {key} stayed in the bucket: {e}"),
            )
            .with_hint(format!("then run: artifacts workspace attach {name}")),
        });
    }
    Ok(())
}

/// Whether the place answers, and is neither a workspace nor inside one nor around one.
async fn check_place(bucket: &dyn Bucket, config: &WorkspaceConfig) -> Result<()> {
    let page = first_page(bucket, config).await?;
    if Marker::read(bucket, &config.prefix).await?.is_some() {
        return Err(taken(config));
    }
    check_around(bucket, config, &page).await
}

/// Whether a place that is no workspace is neither inside one nor around one.
pub(super) async fn check_around(
    bucket: &dyn Bucket,
    config: &WorkspaceConfig,
    page: &ListPage,
) -> Result<()> {
    for outer in config.prefix.ancestors() {
        let found = match Marker::read(bucket, &outer).await {
            // Keys that may only see this prefix cannot tell, and need not know.
            Err(failure) if failure.code == Code::PermissionDenied => None,
            found => found?,
        };
        if found.is_some() {
            let outer = format!("s3://{}/{outer}", config.bucket);
            return Err(nested(format!(
                "{} lies inside the workspace at {outer}",
                place(config)
            )));
        }
    }
    // Of a large bucket this sees the first thousand keys only; whoever makes the inner
    // workspace later sees this one.
    let inner = format!("/{MARKER}");
    let inside = page
        .objects
        .iter()
        .find(|o| o.key.as_str().ends_with(&inner));
    match inside {
        Some(object) => Err(nested(format!(
            "there is a workspace inside {}: {}",
            place(config),
            object.key
        ))),
        None => Ok(()),
    }
}

pub(super) fn read_only(config: &WorkspaceConfig) -> Failure {
    let text = format!("the keys may not write to {}", place(config));
    Failure::new(Code::PermissionDenied, text)
        .with_hint("give them the right to put and delete objects there, or attach a workspace that is made already")
}

pub(super) fn taken(config: &WorkspaceConfig) -> Failure {
    let prefix = match config.prefix.as_str() {
        "" => String::new(),
        prefix => format!(" --prefix {prefix}"),
    };
    Failure::new(
        Code::WorkspaceExists,
        format!("{} is a workspace already", place(config)),
    )
    .with_hint(format!(
        "use it with: artifacts workspace attach NAME --bucket {}{prefix}",
        config.bucket
    ))
}

/// Saves the environment's keys, so that a new shell can mount without them. The workspace
/// is made by now, so a failure is only told. Keys that come from an identity or the AWS
/// tools are theirs to keep.
fn cache_keys(chain: &StorageKeys, context: &Context) {
    let ours = matches!(chain.place(), Place::Cache | Place::Keyring(_));
    if !chain.environment().has_keys() || !ours {
        return;
    }
    match try_cache(chain, context) {
        Ok(Some(saved)) => context.output.note(&saved),
        Ok(None) => context.output.warn(
            "the session keys of this shell were not saved: they would replace long-lived keys that are saved already",
            "to replace them anyway, run: artifacts storage set",
        ),
        Err(failure) => context.output.warn(
            &format!("the keys of this shell were not saved: {}", failure.message),
            "mend that, then run: artifacts storage set",
        ),
    }
}

/// Saves the keys and says where; `None` where saved long-lived keys would be lost to
/// session keys.
fn try_cache(chain: &StorageKeys, context: &Context) -> Result<Option<String>> {
    let changes = storage::from_environment(chain)?;
    let temporary = changes
        .iter()
        .any(|(field, _)| *field == Field::SessionToken);
    let place = chain.saved_place()?;
    if let Place::Keyring(keyring) = chain.place() {
        check_lasting(keyring.as_ref(), EXPORT_KEYS)?;
    }
    let saved = chain.update(&context.paths()?, |file, profile| {
        if temporary && has_lasting_keys(file, profile)? {
            return Ok(false);
        }
        storage::apply(file, profile, &place, &changes).map(|_| true)
    })?;
    let text = match chain.place() {
        Place::Cache => format!(
            "Cached BYO credentials at {place} (mode 0600);\nfuture mounts will use them automatically."
        ),
        _ => format!("Saved the keys in {place};\nfuture mounts will use them automatically."),
    };
    Ok(saved.then_some(text))
}

fn has_lasting_keys(file: &KeyFile, profile: &KeyProfile) -> credentials::Result<bool> {
    let has = |field| file.value(profile, field).map(|v| v.is_some());
    Ok(has(Field::SecretAccessKey)? && !has(Field::SessionToken)?)
}
