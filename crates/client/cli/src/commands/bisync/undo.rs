//! `artifacts bisync undo`: what the last pass took away comes back.

use std::process::ExitCode;
use std::sync::Arc;

use serde_json::json;
use sync::undo;

use super::Undo;
use super::pair::Pair;
use crate::context::Context;
use crate::failure::{Code, Failure, Result};
use crate::output::cell;

pub(super) fn run(args: &Undo, context: &Context) -> Result<ExitCode> {
    let pair = Pair::of(&args.name, &args.folder, &args.keys, context)?;
    if !pair.files.exist() {
        return Err(nothing());
    }
    let held = pair.hold(None)?;
    let _folder = pair.hold_folder()?;
    let sides = pair.sides(Arc::clone(&held.state))?;
    let (pass, taken) = undo::last(&sides)
        .map_err(Failure::from)?
        .ok_or_else(nothing)?;
    let undone = context.block_on(async {
        pair.opened.check_marker().await?;
        Ok(undo::undo(&sides, &pass, &taken).await?)
    })?;
    drop(held);
    let left = undone.left.iter();
    let left = left.map(|(path, reason)| json!({ "path": path, "reason": reason }));
    let data = json!({
        "here": undone.here,
        "in_bucket": undone.there,
        "left": left.collect::<Vec<_>>(),
    });
    context.output.data(&data, || {
        let back = |paths: &[String], side: &str| {
            let lines = paths
                .iter()
                .map(|path| format!("back {side}: {}\n", cell(path)));
            lines.collect::<String>()
        };
        let left = undone.left.iter();
        let left = left.map(|(path, reason)| cell(&format!("left: {path}: {reason}")) + "\n");
        back(&undone.here, "here")
            + &back(&undone.there, "in the bucket")
            + &left.collect::<String>()
    })?;
    if undone.left.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let text = format!("{} files could not come back", undone.left.len());
    Err(Failure::new(Code::LeftUndone, text)
        .with_hint("each is listed above with its reason; older versions are in .artifacts/trash"))
}

fn nothing() -> Failure {
    Failure::new(
        Code::Failed,
        "the last pass that changed anything took nothing away",
    )
    .with_hint(
        "what passes of the last 30 days took lies in .artifacts/trash, here and in the bucket",
    )
}
