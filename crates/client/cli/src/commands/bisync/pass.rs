//! A run, or how it would go.

use std::process::ExitCode;
use std::sync::Arc;

use sync::apply::Sides;
use sync::ignored::Filter;
use sync::plan::{Act, Plan};
use sync::settings::{Deletes, Settings};
use sync::state::{State, StateError};
use sync::{SyncError, look};

use super::Run;
use super::live::Live;
use super::pair::{Held, Pair, of_state};
use super::progress::Bar;
use super::screen::{Screen, Shown, listed};
use super::{standing, watch};
use crate::context::Context;
use crate::failure::Result;
use crate::input;

pub(super) fn run(args: &Run, context: &Context) -> Result<ExitCode> {
    let (name, folder) = args.which()?;
    let mut pair = Pair::find(name, folder, &args.keys, args.resync, context)?;
    pair.limit(args.bwlimit);
    if !args.dry_run {
        pair.find_orchestrator(context);
    }
    let settings = args.settings(&pair);
    announce(&pair, &settings, context);
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

/// Says what is not as it was at the last run.
fn announce(pair: &Pair, settings: &Settings, context: &Context) {
    if let Some(before) = &pair.moved_from {
        let (before, folder) = (before.display(), pair.folder.display());
        context.output.note(&format!(
            "{folder} was {before} before, and goes on as it was"
        ));
    }
    let shown = |filters: &[Filter]| match filters {
        [] => "none".to_owned(),
        some => some
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" "),
    };
    if settings.filters != pair.filters() {
        let (now, before) = (shown(&settings.filters), shown(pair.filters()));
        context.output.note(&format!(
            "filters: {now} (until now: {before}). What they leave out from now on stays where \
             it is; what they take in is compared as on a first run."
        ));
    }
}

/// Looks at copies and writes nothing.
fn preview(args: &Run, pair: &Pair, settings: &Settings, screen: &Screen) -> Result<ExitCode> {
    let id = pair.opened.config.id;
    let (state, copy) = match args.resync {
        true => (State::in_memory(id).map_err(of_state)?, None),
        false => {
            let (state, copy) = pair.files.look(id).map_err(of_state)?;
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
    let held = match args.resync {
        true => pair.hold_anew(&settings.filters)?,
        false => pair.hold(Some(&settings.filters))?,
    };
    match args.watch {
        true => watch::run(args.interval.0, pair, held, settings, screen),
        false => once(pair, held, settings, screen),
    }
}

fn once(pair: &Pair, mut held: Held, settings: &Settings, screen: &Screen) -> Result<ExitCode> {
    let _folder = pair.hold_folder()?;
    let sides = pair.sides(Arc::clone(&held.state))?;
    let mut first: Option<Shown> = None;
    let mut shown = Ok(());
    let mut seen = None;
    let answer = screen.context.block_on(async {
        pair.opened.check_marker().await?;
        let mut show = |plan: &Plan| {
            seen = Some(plan.seen);
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
    let ended = standing::end(&mut held.record.standing, seen, &answer);
    held.tell()?;
    let applied = answer?;
    let first = first.unwrap_or_else(|| Shown::of(&Plan::default()));
    screen.result(&first, Some(&applied))?;
    match ended {
        None => Ok(ExitCode::SUCCESS),
        Some(failure) => Err(failure),
    }
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
        Err(error) => return Err(of_state(error)),
    };
    let question = match back {
        None => "This begins anew. What was deleted on one side only comes back.".to_owned(),
        Some(back) if back.is_empty() => "This begins anew. Nothing comes back.".to_owned(),
        Some(back) => format!(
            "This begins anew. {} deleted files come back:{}",
            back.len(),
            listed(back.iter().map(String::as_str))
        ),
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
