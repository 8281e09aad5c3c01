//! `artifacts bisync check`: how the two sides differ.

use std::process::ExitCode;
use std::sync::Arc;

use model::Profile;
use sync::look;
use sync::plan::Verdict;
use sync::settings::{Deletes, Settings};

use super::Check;
use super::pair::{Pair, of_state};
use super::screen::{Screen, Shown};
use crate::context::Context;
use crate::failure::{Code, Result};
use crate::process::host_name;

pub(super) fn run(check: &Check, context: &Context) -> Result<ExitCode> {
    let pair = Pair::of(&check.name, &check.folder, &check.keys, context)?;
    let mut settings = Settings::of(Profile::Balanced, host_name());
    // A comparison deletes nothing, so it has no limit to stop at.
    settings.deletes = Deletes::Approve;
    settings.filters = pair.filters().to_vec();
    let (state, copy) = pair.files.look(pair.opened.config.id).map_err(of_state)?;
    let sides = pair.sides(Arc::new(state))?;
    let plan = context.block_on(async {
        pair.opened.check_marker().await?;
        Ok(look(&sides, &settings).await?.0)
    })?;
    drop(copy);
    let screen = Screen {
        context,
        pair: &pair,
        settings: &settings,
        profile: Profile::Balanced,
        dry_run: true,
    };
    screen.show(&plan)?;
    screen.result(&Shown::of(&plan), None)?;
    Ok(match plan.verdict() {
        Verdict::Alike => ExitCode::SUCCESS,
        Verdict::Differ | Verdict::Unknown => ExitCode::from(Code::Failed.exit()),
    })
}
