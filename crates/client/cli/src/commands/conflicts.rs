//! `artifacts conflicts`: what was kept because two machines changed one file.
//!
//! By a workspace's name it works on the bucket, by the copies' names, so it needs no mount and
//! finds the copies of every machine. By a synced folder it works on the files in it, without
//! a network; the next pass carries that to the bucket.

mod difference;
mod here;
mod resolve;

use std::process::ExitCode;

use bucket::{Bucket, GetOptions, Key, ListRequest, ObjectMeta};
use clap::{Args, Subcommand, ValueEnum};
use futures::TryStreamExt;
use model::{WorkspaceName, conflict};
use mount::units;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use self::here::Here;
use crate::context::Context;
use crate::failure::{Code, Failure, Result};
use crate::key_choice::KeyChoice;
use crate::output::{pairs, table};
use crate::workspace::{self, Opened};

/// What can be done about conflicts.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// List the conflict copies of a workspace or a synced folder, each beside its original.
    List(List),
    /// Show one conflict copy and its original, and how two texts differ.
    Show(Show),
    /// Settle a conflict. In a synced folder, what goes is kept in its trash for 30 days.
    Resolve(Resolve),
}

/// Which workspace.
#[derive(Args)]
pub(crate) struct List {
    /// The workspace's name on this machine, or a synced folder.
    #[arg(value_name = "NAME|DIR")]
    what: String,
    #[command(flatten)]
    keys: KeyChoice,
}

/// Which copy.
#[derive(Args)]
pub(crate) struct Show {
    /// The workspace's name on this machine, or a synced folder.
    #[arg(value_name = "NAME|DIR")]
    what: String,
    /// The conflict copy, as `list` shows it; or its original, where that has one copy.
    copy: String,
    #[command(flatten)]
    keys: KeyChoice,
}

/// Which copy, and what becomes of it.
#[derive(Args)]
pub(crate) struct Resolve {
    /// The workspace's name on this machine, or a synced folder.
    #[arg(value_name = "NAME|DIR")]
    what: String,
    /// The conflict copy, as `list` shows it; or its original, where that has one copy.
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
    /// In the bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
}

pub(crate) fn run(command: &Command, context: &Context) -> Result<ExitCode> {
    match command {
        Command::List(args) => list(args, context)?,
        Command::Show(args) => show(args, context)?,
        Command::Resolve(args) => resolve(args, context)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Where conflicts are looked for.
enum Target {
    /// In the bucket.
    Workspace(Box<Opened>),
    /// In a synced folder.
    Folder(Box<Here>),
}

impl Target {
    fn of(what: &str, keys: &KeyChoice, context: &Context) -> Result<Self> {
        let name = what.parse::<WorkspaceName>().ok();
        let open = |name: &WorkspaceName| -> Result<Self> {
            let opened = workspace::open(context, name, &keys.settled(context)?)?;
            Ok(Self::Workspace(Box::new(opened)))
        };
        let workspaces = context.workspaces()?;
        if let Some(name) = name.as_ref().filter(|name| workspaces.load(name).is_ok()) {
            return open(name);
        }
        match (Here::of(what, context)?, name) {
            (Some(here), _) => Ok(Self::Folder(Box::new(here))),
            (None, Some(name)) => open(&name),
            (None, None) => {
                let text = format!("{what} is no workspace, and no synced folder of this machine");
                Err(Failure::new(Code::NotSynced, text)
                    .with_hint("see artifacts workspace list and artifacts bisync-status"))
            }
        }
    }
}

fn list(args: &List, context: &Context) -> Result<()> {
    let views: Vec<View> = match Target::of(&args.what, &args.keys, context)? {
        Target::Workspace(opened) => {
            let pairs = context.block_on(all(&opened))?;
            pairs.iter().map(|pair| pair.view(&opened)).collect()
        }
        Target::Folder(here) => here.all()?.iter().map(here::Pair::view).collect(),
    };
    if views.is_empty() {
        context.output.note("no conflicts");
    }
    context.output.data(&views, || overview(&views))
}

fn show(args: &Show, context: &Context) -> Result<()> {
    let (view, difference) = match Target::of(&args.what, &args.keys, context)? {
        Target::Workspace(opened) => context.block_on(async {
            let pair = one(&opened, &args.copy).await?;
            let difference = pair.difference(&opened).await?;
            Ok((pair.view(&opened), difference))
        })?,
        Target::Folder(here) => {
            let pair = here.one(&args.copy)?;
            (pair.view(), here.difference(&pair)?)
        }
    };
    let mut data = serde_json::to_value(&view).unwrap_or_default();
    data["difference"] = difference.clone().into();
    context.output.data(&data, || {
        let mut rows = vec![("mine", describe(&view.copy))];
        rows.push((
            "theirs",
            view.theirs
                .as_ref()
                .map_or_else(|| format!("{} (removed)", view.original), describe),
        ));
        let difference = difference.map_or(String::new(), |text| format!("\n{text}"));
        pairs(&rows) + &difference
    })
}

fn resolve(args: &Resolve, context: &Context) -> Result<()> {
    let (copy, kept) = match Target::of(&args.what, &args.keys, context)? {
        Target::Workspace(opened) => {
            let (copy, kept) = context.block_on(async {
                let pair = one(&opened, &args.copy).await?;
                let kept = resolve::resolve(
                    opened.bucket.as_ref(),
                    &pair,
                    args.keep,
                    opened.capabilities,
                );
                Ok((path(&opened, &pair.copy.key), kept.await?))
            })?;
            (copy, kept.iter().map(|key| path(&opened, key)).collect())
        }
        Target::Folder(here) => {
            let pair = here.one(&args.copy)?;
            let kept: Vec<String> = here.resolve(&pair, args.keep)?;
            context
                .output
                .note("the next run of artifacts bisync carries this to the bucket");
            (pair.view().copy.path, kept)
        }
    };
    context.output.data(
        &serde_json::json!({ "resolved": copy, "kept": kept }),
        || format!("resolved {copy}: kept {}\n", kept.join(" and ")),
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
    let not_one = || not_one(copy, opened.name.as_str());
    let key = Key::new(text).map_err(|_| not_one())?;
    let Some(original) = original_of(&key) else {
        let mut copies = all(opened).await?;
        copies.retain(|pair| pair.original == key);
        return match copies.len() {
            0 => Err(not_one()),
            1 => Ok(copies.remove(0)),
            _ => Err(several(copy, opened.name.as_str())),
        };
    };
    let bucket = opened.bucket.as_ref();
    let copy = found(bucket.head(&key).await)?.ok_or_else(not_one)?;
    let theirs = found(bucket.head(&original).await)?;
    Ok(Pair {
        copy,
        original,
        theirs,
    })
}

fn not_one(copy: &str, what: &str) -> Failure {
    let text = format!("{copy} is no conflict copy in {what}, and no file that has one");
    Failure::new(Code::NotInBucket, text).with_hint(format!("artifacts conflicts list {what}"))
}

fn several(original: &str, what: &str) -> Failure {
    let text = format!("{original} has several conflict copies");
    Failure::new(Code::Usage, text)
        .with_hint(format!("name one of them: artifacts conflicts list {what}"))
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
    /// How the two texts differ; `None` where one is none, is large, or was removed.
    async fn difference(&self, opened: &Opened) -> Result<Option<String>> {
        let Some(theirs) = &self.theirs else {
            return Ok(None);
        };
        let both = [theirs, &self.copy];
        if both.iter().any(|object| object.size > difference::LIMIT) {
            return Ok(None);
        }
        let mut bodies = Vec::new();
        for object in both {
            let options = GetOptions {
                if_match: Some(object.etag.clone()),
                ..GetOptions::default()
            };
            let body = opened.bucket.get(&object.key, options).await?.body;
            bodies.push(body.try_collect::<Vec<_>>().await?.concat());
        }
        let names = both.map(|object| path(opened, &object.key));
        Ok(difference::of(
            [&names[0], &names[1]],
            [&bodies[0], &bodies[1]],
        ))
    }

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
        modified: time(object.last_modified),
        etag: Some(object.etag.as_str().to_owned()),
    }
}

fn time(nanos: i128) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(nanos)
        .ok()
        .and_then(|time| time.replace_nanosecond(0).ok())
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_default()
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
    let etag = version.etag.as_ref();
    format!(
        "{}  {}  changed {}{}",
        printable(&version.path),
        units::bytes(version.size),
        version.modified,
        etag.map_or(String::new(), |etag| format!("  etag {etag}"))
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
