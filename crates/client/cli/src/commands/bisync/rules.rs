//! `artifacts bisync prune` and `why`: what the rules leave out.

use std::process::ExitCode;
use std::sync::Arc;

use model::Profile;
use serde_json::json;
use sync::settings::{Deletes, Settings};
use sync::state::State;
use sync::{TreePath, look, rules_of};

use super::pair::Pair;
use super::{Prune, Why};
use crate::context::Context;
use crate::failure::{Code, Failure, Result};
use crate::input;
use crate::process::host_name;

/// So many names are listed in the question.
const LISTED: usize = 20;

pub(super) fn prune(args: &Prune, context: &Context) -> Result<ExitCode> {
    let pair = Pair::of(&args.name, &args.folder, &args.keys, context)?;
    pair.prepare(context)?;
    let (state, lock) = pair.files.open(pair.opened.config.id).map_err(failure)?;
    let sides = pair.sides(Arc::new(state))?;
    let mut settings = Settings::of(Profile::Balanced, host_name());
    settings.deletes = Deletes::Approve;
    let objects = context.block_on(async {
        pair.opened.check_marker().await?;
        Ok(look(&sides, &settings).await?.1.left_there)
    })?;
    if !objects.is_empty() && !args.yes {
        let names: Vec<String> = objects
            .keys()
            .take(LISTED)
            .map(ToString::to_string)
            .collect();
        let question = format!(
            "This puts {} objects that rules leave out into the bucket's trash:\n  {}",
            objects.len(),
            names.join("\n  ")
        );
        input::confirm(context, &question, pair.opened.name.as_str(), "--yes")?;
    }
    let applied = match objects.is_empty() {
        true => sync::apply::Applied::default(),
        false => {
            context.block_on(async { Ok(sync::apply::prune(&sides, &settings, objects).await?) })?
        }
    };
    drop(lock);
    let data = json!({ "pruned": applied.done, "again": applied.again, "failed": applied.failed });
    context
        .output
        .data(&data, || format!("{} objects pruned\n", applied.done))?;
    if applied.is_whole() {
        return Ok(ExitCode::SUCCESS);
    }
    let text = format!(
        "{} objects are still there",
        applied.again.len() + applied.failed.len()
    );
    Err(Failure::new(Code::LeftUndone, text).with_hint("run the same command again"))
}

pub(super) fn why(args: &Why, context: &Context) -> Result<ExitCode> {
    let pair = Pair::of(&args.name, &args.folder, &args.keys, context)?;
    let path = TreePath::parse(&args.path).map_err(|error| {
        Failure::new(Code::InvalidValue, format!("{}: {error}", args.path))
            .with_hint("give the path below the folder, with / between the names")
    })?;
    let state = State::in_memory(pair.opened.config.id).map_err(failure)?;
    let sides = pair.sides(Arc::new(state))?;
    let (rules, wrong) = context.block_on(async { Ok(rules_of(&sides).await?) })?;
    for refusal in wrong {
        context.output.note(&format!("note: {}", refusal.reason));
    }
    let is_directory = pair.folder.join(path.as_str()).is_dir();
    let why = rules.why(&path, is_directory);
    let ignored = why.as_ref().is_some_and(|why| why.ignored);
    let data = json!({
        "path": args.path,
        "left_out": ignored,
        "by": why.as_ref().map(|why| json!({ "file": why.file, "line": why.line, "speaks_of": why.path })),
    });
    context.output.data(&data, || match &why {
        None => format!("{path} is synced: no rule speaks of it\n"),
        Some(why) => format!(
            "{path} is {}: {} says {} of {}\n",
            if ignored { "left out" } else { "synced" },
            why.file,
            why.line,
            why.path
        ),
    })?;
    Ok(ExitCode::SUCCESS)
}

fn failure(error: sync::state::StateError) -> Failure {
    sync::SyncError::from(error).into()
}
