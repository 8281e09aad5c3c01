//! `artifacts bisync prune`: what rules leave out goes from the bucket.

use std::process::ExitCode;
use std::sync::Arc;

use model::Profile;
use serde_json::json;
use sync::settings::{Deletes, Settings};
use sync::{TreePath, look};

use super::Prune;
use super::pair::Pair;
use super::screen::listed;
use crate::context::Context;
use crate::failure::{Code, Failure, Result};
use crate::input;
use crate::process::host_name;

pub(super) fn run(args: &Prune, context: &Context) -> Result<ExitCode> {
    let pair = Pair::of(&args.name, &args.folder, &args.keys, context)?;
    pair.prepare(context)?;
    let held = pair.hold(None)?;
    let _folder = pair.hold_folder()?;
    let sides = pair.sides(Arc::clone(&held.state))?;
    let mut settings = Settings::of(Profile::Balanced, host_name());
    settings.deletes = Deletes::Approve;
    settings.filters = pair.filters().to_vec();
    let objects = context.block_on(async {
        pair.opened.check_marker().await?;
        Ok(look(&sides, &settings).await?.1.left_there)
    })?;
    if !objects.is_empty() && !args.yes {
        let question = format!(
            "This puts {} objects that rules leave out into the bucket's trash:{}",
            objects.len(),
            listed(objects.keys().map(TreePath::as_str))
        );
        input::confirm(context, &question, pair.opened.name.as_str(), "--yes")?;
    }
    let applied = match objects.is_empty() {
        true => sync::apply::Applied::default(),
        false => {
            context.block_on(async { Ok(sync::apply::prune(&sides, &settings, objects).await?) })?
        }
    };
    drop(held);
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
