//! A run, or how it would go.

use std::process::ExitCode;
use std::sync::Arc;

use sync::apply::Sides;
use sync::plan::{Act, Plan};
use sync::settings::{Deletes, Settings};
use sync::state::{State, StateError};
use sync::{SyncError, look};

use super::Run;
use super::live::Live;
use super::pair::Pair;
use super::progress::Bar;
use super::screen::{Screen, Shown};
use super::watch;
use crate::context::Context;
use crate::failure::{Code, Failure, Result};
use crate::input;

/// So many names are listed in a question.
const LISTED: usize = 20;

pub(super) fn run(args: &Run, context: &Context) -> Result<ExitCode> {
    let (name, folder) = args.which()?;
    let mut pair = Pair::of(name, folder, &args.keys, context)?;
    pair.limit(args.bwlimit);
    if !args.dry_run {
        pair.find_orchestrator(context);
    }
    let settings = args.settings();
    let screen = Screen {
        context,
        pair: &pair,
        settings: &settings,
        profile: args.profile,
        dry_run: args.dry_run,
    };
    match args.dry_run {
        true => preview(args, &pair, &settings, &screen),
        false => really(args, &pair, &settings, &screen),
    }
}

/// Looks at copies and writes nothing.
fn preview(args: &Run, pair: &Pair, settings: &Settings, screen: &Screen) -> Result<ExitCode> {
    let id = pair.opened.config.id;
    let (state, copy) = match args.resync {
        true => (State::in_memory(id).map_err(failure)?, None),
        false => {
            let (state, copy) = pair.files.look(id).map_err(failure)?;
            (state, Some(copy))
        }
    };
    let sides = pair.sides(Arc::new(state))?;
    let plan = screen.context.block_on(async {
        pair.opened.check_marker().await?;
        Ok(look(&sides, settings).await?.0)
    })?;
    drop(copy);
    screen.show(&plan)?;
    match plan.stop.clone() {
        Some(stop) => Err(SyncError::Stopped(stop).into()),
        None => {
            screen.result(&Shown::of(&plan), None)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn really(args: &Run, pair: &Pair, settings: &Settings, screen: &Screen) -> Result<ExitCode> {
    let context = screen.context;
    if args.resync {
        approve_resync(args, pair, settings, context)?;
    }
    pair.prepare(context)?;
    let id = pair.opened.config.id;
    let opened = match args.resync {
        true => pair.files.open_anew(id),
        false => pair.files.open(id),
    };
    let (state, lock) = opened.map_err(failure)?;
    let state = Arc::new(state);
    let answer = match args.watch {
        true => watch::run(args.interval.0, pair, &state, settings, screen),
        false => once(pair, &state, settings, screen),
    };
    drop(lock);
    answer
}

fn once(pair: &Pair, state: &Arc<State>, settings: &Settings, screen: &Screen) -> Result<ExitCode> {
    let sides = pair.sides(Arc::clone(state))?;
    let mut first: Option<Shown> = None;
    let mut shown = Ok(());
    let answer = screen.context.block_on(async {
        pair.opened.check_marker().await?;
        let mut show = |plan: &Plan| {
            if first.is_none() {
                first = Some(Shown::of(plan));
                shown = screen.show(plan);
            }
        };
        let telling = pair.live.as_ref().map(Live::tell);
        let bar = Bar::show(&settings.progress, screen.context);
        let applied = sync::run(&sides, settings, &mut show).await;
        drop(bar);
        if let Some(telling) = telling {
            telling.end().await;
        }
        let applied = applied?;
        sync::clean(&sides).await?;
        Ok(applied)
    });
    shown?;
    let applied = answer?;
    screen.result(&first.unwrap_or_default(), Some(&applied))?;
    if applied.is_whole() {
        return Ok(ExitCode::SUCCESS);
    }
    let (failed, again) = (applied.failed.len(), applied.again.len());
    let text = format!("{failed} files failed, {again} changed all the while");
    Err(Failure::new(Code::LeftUndone, text)
        .with_hint("run the same command again; what failed is listed above with its reason"))
}

/// Shows what a new beginning would bring back, and asks.
fn approve_resync(args: &Run, pair: &Pair, settings: &Settings, context: &Context) -> Result<()> {
    if args.yes || !pair.files.exist() {
        return Ok(());
    }
    let back = match pair.files.look(pair.opened.config.id) {
        Ok((state, _copy)) => {
            let sides = pair.sides(Arc::new(state))?;
            context.block_on(async { Ok(brought_back(&sides, settings).await) })?
        }
        Err(StateError::Damaged { .. }) => None,
        Err(error) => return Err(failure(error)),
    };
    let question = match back {
        None => "This begins anew. What was deleted on one side only comes back.".to_owned(),
        Some(back) if back.is_empty() => "This begins anew. Nothing comes back.".to_owned(),
        Some(back) => {
            let more = back.len().saturating_sub(LISTED);
            let mut lines: Vec<String> = back.iter().take(LISTED).cloned().collect();
            if more > 0 {
                lines.push(format!("and {more} more"));
            }
            format!(
                "This begins anew. {} deleted files come back:\n  {}",
                back.len(),
                lines.join("\n  ")
            )
        }
    };
    input::confirm(context, &question, pair.opened.name.as_str(), "--yes")
}

/// What is deleted on one side only; `None` where that cannot be known.
async fn brought_back(sides: &Sides, settings: &Settings) -> Option<Vec<String>> {
    let settings = Settings {
        deletes: Deletes::Approve,
        check_access: false,
        ..settings.clone()
    };
    let (plan, _) = look(sides, &settings).await.ok()?;
    let deleted = plan.actions.iter().filter(|action| {
        matches!(
            action.act,
            Act::DeleteLocal { .. } | Act::DeleteRemote { .. }
        )
    });
    Some(deleted.map(|action| action.path.to_string()).collect())
}

fn failure(error: StateError) -> Failure {
    SyncError::from(error).into()
}
