//! `artifacts conflicts`: what was kept because two machines changed one file.
//!
//! Works on the bucket by the copies' names, so it needs no mount and finds the copies of
//! every machine.

mod resolve;

use std::process::ExitCode;

use bucket::{Bucket, Key, ListRequest, ObjectMeta};
use clap::{Args, Subcommand, ValueEnum};
use model::{WorkspaceName, conflict};
use mount::units;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::context::Context;
use crate::failure::{Code, Failure, Result};
use crate::key_choice::KeyChoice;
use crate::output::{pairs, table};
use crate::workspace::{self, Opened};

/// What can be done about conflicts.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// List the conflict copies of a workspace, each beside its original.
    List(List),
    /// Show one conflict copy and its original.
    Show(Show),
    /// Settle a conflict.
    Resolve(Resolve),
}

/// Which workspace.
#[derive(Args)]
pub(crate) struct List {
    /// The workspace's name on this machine.
    name: WorkspaceName,
    #[command(flatten)]
    keys: KeyChoice,
}

/// Which copy.
#[derive(Args)]
pub(crate) struct Show {
    /// The workspace's name on this machine.
    name: WorkspaceName,
    /// The conflict copy, as `list` shows it.
    copy: String,
    #[command(flatten)]
    keys: KeyChoice,
}

/// Which copy, and what becomes of it.
#[derive(Args)]
pub(crate) struct Resolve {
    /// The workspace's name on this machine.
    name: WorkspaceName,
    /// The conflict copy, as `list` shows it.
    copy: String,
    /// mine: the copy takes the original's place; theirs: the copy goes; both: the copy
    /// gets a plain name.
    #[arg(long, value_enum, value_name = "WHICH")]
    keep: Keep,
    #[command(flatten)]
    keys: KeyChoice,
}

/// Which version stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Keep {
    /// The copy's: the one that could not be uploaded under the name.
    Mine,
    /// The one that has the name in the bucket.
    Theirs,
    /// Each under a name of its own.
    Both,
}

/// A copy and what it is a copy of; paths are below the workspace's prefix.
struct Pair {
    copy: ObjectMeta,
    original: Key,
    theirs: Option<ObjectMeta>,
}

#[derive(Serialize)]
struct View {
    copy: Version,
    original: String,
    /// The version under the original's name; none where it was removed since.
    theirs: Option<Version>,
}

#[derive(Serialize)]
struct Version {
    path: String,
    size: u64,
    modified: String,
    etag: String,
}

pub(crate) fn run(command: &Command, context: &Context) -> Result<ExitCode> {
    match command {
        Command::List(args) => list(args, context)?,
        Command::Show(args) => show(args, context)?,
        Command::Resolve(args) => resolve(args, context)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(args: &List, context: &Context) -> Result<()> {
    let opened = workspace::open(context, &args.name, &args.keys.settled(context)?)?;
    let pairs = context.block_on(all(&opened))?;
    let views: Vec<View> = pairs.iter().map(|pair| pair.view(&opened)).collect();
    if views.is_empty() {
        context.output.note("no conflicts");
    }
    context.output.data(&views, || overview(&views))
}

fn show(args: &Show, context: &Context) -> Result<()> {
    let opened = workspace::open(context, &args.name, &args.keys.settled(context)?)?;
    let pair = context.block_on(one(&opened, &args.copy))?;
    let view = pair.view(&opened);
    context.output.data(&view, || {
        let mut rows = vec![("mine", describe(&view.copy))];
        rows.push((
            "theirs",
            view.theirs
                .as_ref()
                .map_or_else(|| format!("{} (removed)", view.original), describe),
        ));
        pairs(&rows)
    })
}

fn resolve(args: &Resolve, context: &Context) -> Result<()> {
    let opened = workspace::open(context, &args.name, &args.keys.settled(context)?)?;
    let kept = context.block_on(async {
        let pair = one(&opened, &args.copy).await?;
        resolve::resolve(
            opened.bucket.as_ref(),
            &pair,
            args.keep,
            opened.capabilities,
        )
        .await
    })?;
    let kept: Vec<String> = kept.iter().map(|key| path(&opened, key)).collect();
    context.output.data(
        &serde_json::json!({ "resolved": args.copy, "kept": kept }),
        || format!("resolved {}: kept {}\n", args.copy, kept.join(" and ")),
    )
}

/// Every conflict copy of the workspace, in the order of the keys.
async fn all(opened: &Opened) -> Result<Vec<Pair>> {
    let objects = every_object(opened.bucket.as_ref(), opened.config.prefix.as_str()).await?;
    let mut found = Vec::new();
    for copy in &objects {
        let Some(original) = original_of(&copy.key) else {
            continue;
        };
        let theirs = objects
            .binary_search_by(|object| object.key.as_str().cmp(original.as_str()))
            .ok()
            .map(|at| objects[at].clone());
        found.push(Pair {
            copy: copy.clone(),
            original,
            theirs,
        });
    }
    Ok(found)
}

async fn every_object(bucket: &dyn Bucket, prefix: &str) -> Result<Vec<ObjectMeta>> {
    let hidden = format!("{prefix}.artifacts/");
    let mut request = ListRequest {
        prefix: prefix.to_owned(),
        ..ListRequest::default()
    };
    let mut objects = Vec::new();
    loop {
        let page = bucket.list(&request).await?;
        objects.extend(
            page.objects
                .into_iter()
                .filter(|object| !object.key.as_str().starts_with(&hidden)),
        );
        match page.next {
            Some(token) => request.token = Some(token),
            None => return Ok(objects),
        }
    }
}

async fn one(opened: &Opened, copy: &str) -> Result<Pair> {
    let text = opened.config.prefix.join(copy);
    let not_one = || {
        Failure::new(
            Code::NotInBucket,
            format!("{copy} is no conflict copy in {}", opened.name),
        )
        .with_hint(format!("artifacts conflicts list {}", opened.name))
    };
    let key = Key::new(text).map_err(|_| not_one())?;
    let original = original_of(&key).ok_or_else(not_one)?;
    let bucket = opened.bucket.as_ref();
    let copy = found(bucket.head(&key).await)?.ok_or_else(not_one)?;
    let theirs = found(bucket.head(&original).await)?;
    Ok(Pair {
        copy,
        original,
        theirs,
    })
}

fn found(result: bucket::Result<ObjectMeta>) -> Result<Option<ObjectMeta>> {
    match result {
        Ok(object) => Ok(Some(object)),
        Err(bucket::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The original's key, when this is a conflict copy's.
fn original_of(key: &Key) -> Option<Key> {
    let (folder, name) = match key.as_str().rsplit_once('/') {
        Some((folder, name)) => (Some(folder), name),
        None => (None, key.as_str()),
    };
    let name = conflict::original_name(name)?;
    let text = folder.map_or_else(|| name.clone(), |folder| format!("{folder}/{name}"));
    Key::new(text).ok()
}

impl Pair {
    fn view(&self, opened: &Opened) -> View {
        View {
            copy: version(opened, &self.copy),
            original: path(opened, &self.original),
            theirs: self.theirs.as_ref().map(|object| version(opened, object)),
        }
    }
}

fn version(opened: &Opened, object: &ObjectMeta) -> Version {
    Version {
        path: path(opened, &object.key),
        size: object.size,
        modified: OffsetDateTime::from_unix_timestamp_nanos(object.last_modified)
            .ok()
            .and_then(|time| time.replace_nanosecond(0).ok())
            .and_then(|time| time.format(&Rfc3339).ok())
            .unwrap_or_default(),
        etag: object.etag.as_str().to_owned(),
    }
}

fn path(opened: &Opened, key: &Key) -> String {
    let key = key.as_str();
    key.strip_prefix(opened.config.prefix.as_str())
        .unwrap_or(key)
        .to_owned()
}

fn overview(views: &[View]) -> String {
    let rows = views.iter().map(|view| {
        let theirs = view.theirs.as_ref();
        vec![
            printable(&view.copy.path),
            units::bytes(view.copy.size),
            view.copy.modified.clone(),
            printable(&view.original),
            theirs.map_or_else(|| "removed".to_owned(), |object| units::bytes(object.size)),
            theirs.map_or_else(String::new, |object| object.modified.clone()),
        ]
    });
    table(
        &["MINE", "SIZE", "CHANGED", "THEIRS", "SIZE", "CHANGED"],
        rows.collect(),
    )
}

fn describe(version: &Version) -> String {
    format!(
        "{}  {}  changed {}  etag {}",
        printable(&version.path),
        units::bytes(version.size),
        version.modified,
        version.etag
    )
}

/// A hostile name must not write to the terminal.
fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            if c.is_control() {
                c.escape_default().collect::<Vec<_>>()
            } else {
                vec![c]
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_names_its_original_in_the_same_folder() {
        let original = |key: &str| original_of(&Key::new(key).unwrap()).map(String::from);
        assert_eq!(
            original("w/a.d/notes.conflict-20261122-201501-ada.md").as_deref(),
            Some("w/a.d/notes.md")
        );
        assert_eq!(
            original("notes.conflict-20261122-201501-ada").as_deref(),
            Some("notes")
        );
        assert_eq!(original("x.conflict-20261122-201501-ada/notes.md"), None);
    }
}
