//! `artifacts bisync status`: how a pair is, without asking the store.

use std::process::ExitCode;

use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Status;
use super::pair::Pair;
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::output::{pairs, table};

/// So many passes are shown.
const PASSES: u32 = 10;

pub(super) fn run(args: &Status, context: &Context) -> Result<ExitCode> {
    let pair = Pair::of(&args.name, &args.folder, &args.keys, context)?;
    let failed = |error| Failure::from(sync::SyncError::from(error));
    let (state, copy) = pair.files.look(pair.opened.config.id).map_err(failed)?;
    let health = state.health().map_err(failed)?;
    let passes = state.passes(PASSES).map_err(failed)?;
    let known = state.base().map_err(failed)?.entries.len();
    drop((state, copy));
    let rows = passes.iter().map(|pass| {
        json!({
            "began": at(pass.began),
            "ended": pass.ended.map(at),
            "outcome": pass.outcome,
            "summary": pass.summary,
        })
    });
    let data = json!({
        "workspace": pair.opened.name,
        "folder": pair.folder,
        "files": known,
        "alike": health.alike.map(at),
        "trouble": health.trouble.as_ref().map(|(when, text)| json!({ "at": at(*when), "message": text })),
        "passes": rows.collect::<Vec<_>>(),
    });
    context.output.data(&data, || {
        let trouble = health.trouble.as_ref();
        let head = pairs(&[
            ("workspace", pair.opened.name.to_string()),
            ("folder", pair.folder.display().to_string()),
            ("files", known.to_string()),
            (
                "both sides alike",
                health.alike.map_or("never".to_owned(), at),
            ),
            (
                "trouble since",
                trouble.map_or("none".to_owned(), |(when, text)| {
                    format!("{} {text}", at(*when))
                }),
            ),
        ]);
        let rows = passes.iter().map(|pass| {
            let outcome = pass.outcome.clone().unwrap_or_else(|| "cut off".to_owned());
            vec![
                at(pass.began),
                outcome,
                pass.summary.clone().unwrap_or_default(),
            ]
        });
        format!(
            "{head}\n{}",
            table(&["PASS", "OUTCOME", ""], rows.collect())
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

/// A time of the state, as people and programs read it.
fn at(nanos: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp(nanos.div_euclid(1_000_000_000));
    time.ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_default()
}
