//! `artifacts ignore why`: which rule leaves a path of a synced folder out.

use std::path::{Component, Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;
use sync::folder::disk::DiskFolder;
use sync::ignored::{self, Why as Decided};
use sync::places::{Known, Places};
use sync::{PathError, TreePath};

use crate::context::Context;
use crate::failure::{Code, Failure, Result};

/// What can be asked of rules.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Say which line leaves a path out of its synced folder, or takes it in again.
    Why(Why),
}

/// Which path.
#[derive(Args)]
pub(crate) struct Why {
    /// A path in a synced folder. It need not be there; with / at its end it is a directory's.
    #[arg(value_name = "PATH")]
    path: PathBuf,
}

pub(crate) fn run(command: &Command, context: &Context) -> Result<()> {
    let Command::Why(args) = command;
    let absolute = absolute(&args.path)?;
    let known = Places::new(context.paths()?.state())
        .holding(&absolute)
        .ok_or_else(|| nowhere(&args.path))?;
    let below = absolute
        .strip_prefix(&known.record.folder)
        .unwrap_or(Path::new(""));
    let path = match of(below, &args.path)? {
        Asked::Path(path) => path,
        Asked::Root => return root(&known, context),
        Asked::Ours => return ours(&known, &args.path, context),
    };
    let is_directory = is_directory(&args.path, &absolute);
    let folder = DiskFolder::open(&known.record.folder).map_err(sync::SyncError::from)?;
    let why = ignored::why(&folder, &known.record.filters, &path, is_directory);
    let why = why.map_err(sync::SyncError::from)?;
    answer(&known, &path, why.as_ref(), context)
}

/// What a path below a folder is.
enum Asked {
    Path(TreePath),
    Root,
    Ours,
}

fn of(below: &Path, shown: &Path) -> Result<Asked> {
    let wrong = |reason: &str| {
        let text = format!("{}: {reason}", shown.display());
        Failure::new(Code::InvalidValue, text).with_hint("no sync takes such a name")
    };
    let text = below
        .to_str()
        .ok_or_else(|| wrong("its name is not UTF-8, which object keys are"))?;
    match text {
        "" => Ok(Asked::Root),
        text => match TreePath::parse(text) {
            Ok(path) => Ok(Asked::Path(path)),
            Err(PathError::Hidden) => Ok(Asked::Ours),
            Err(error) => Err(wrong(&error.to_string())),
        },
    }
}

fn answer(known: &Known, path: &TreePath, why: Option<&Decided>, context: &Context) -> Result<()> {
    let ignored = why.is_some_and(|why| why.ignored);
    let place = why.map(|why| place(known, why));
    let data = json!({
        "workspace": known.record.name,
        "folder": known.record.folder,
        "path": path.as_str(),
        "left_out": ignored,
        "by": why.zip(place.as_ref()).map(|(why, place)| json!({
            "file": why.file.as_ref().map(|_| place),
            "line": why.file.as_ref().map(|_| why.number),
            "pattern": why.line,
            "speaks_of": why.path,
        })),
    });
    context
        .output
        .data(&data, || match why.zip(place.as_ref()) {
            None => format!("{path} is synced: no rule speaks of it\n"),
            Some((why, place)) => {
                let of = match why.path == path.as_str() {
                    true => String::new(),
                    false => format!(" of {}, and nothing below it comes back", why.path),
                };
                let verdict = if ignored { "left out" } else { "synced" };
                format!("{path} is {verdict}: {place} says {}{of}\n", why.line)
            }
        })
}

/// Where a line stands, as editors and compilers write it.
fn place(known: &Known, why: &Decided) -> String {
    match &why.file {
        Some(file) => {
            let file = known.record.folder.join(file);
            format!("{}:{}", file.display(), why.number)
        }
        None => {
            let given = known.record.filters.get(why.number.saturating_sub(1));
            given.map_or_else(
                || "the command line".to_owned(),
                |filter| format!("the command line ({filter})"),
            )
        }
    }
}

fn root(known: &Known, context: &Context) -> Result<()> {
    let data = json!({
        "workspace": known.record.name,
        "folder": known.record.folder,
        "path": "",
        "left_out": false,
        "by": null,
    });
    context.output.data(&data, || {
        let folder = known.record.folder.display();
        format!("{folder} is the synced folder itself\n")
    })
}

fn ours(known: &Known, path: &Path, context: &Context) -> Result<()> {
    let data = json!({
        "workspace": known.record.name,
        "folder": known.record.folder,
        "path": path,
        "left_out": true,
        "by": null,
    });
    context.output.data(&data, || {
        let path = path.display();
        format!("{path} is left out: .artifacts is kept for Artifacts itself\n")
    })
}

/// The path without links in its directories; the path itself is not followed, and neither it
/// nor what is above it has to be there.
fn absolute(path: &Path) -> Result<PathBuf> {
    let failed = |error: std::io::Error| {
        let text = format!("{}: {error}", path.display());
        Failure::new(Code::FileUnusable, text)
    };
    let absolute = std::path::absolute(path).map_err(failed)?;
    let mut plain = PathBuf::new();
    for part in absolute.components() {
        match part {
            Component::ParentDir => {
                plain = plain.canonicalize().unwrap_or(plain);
                plain.pop();
            }
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    let (Some(parent), Some(name)) = (plain.parent(), plain.file_name()) else {
        return Ok(plain);
    };
    let mut there = parent;
    let mut rest = vec![name];
    loop {
        if let Ok(real) = there.canonicalize() {
            return Ok(rest.iter().rev().fold(real, |path, name| path.join(name)));
        }
        match (there.parent(), there.file_name()) {
            (Some(above), Some(name)) => {
                rest.push(name);
                there = above;
            }
            _ => return Ok(plain),
        }
    }
}

/// As it is, where it is there; else as it was written.
fn is_directory(given: &Path, absolute: &Path) -> bool {
    match absolute.symlink_metadata() {
        Ok(there) => there.is_dir(),
        Err(_) => given.as_os_str().as_encoded_bytes().ends_with(b"/"),
    }
}

fn nowhere(path: &Path) -> Failure {
    let text = format!(
        "{} lies in no synced folder of this machine",
        path.display()
    );
    Failure::new(Code::NotSynced, text).with_hint("see artifacts bisync-status")
}
