//! `artifacts bisync --watch`: one run after the other, woken by changes here and by time.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use sync::apply::Applied;
use sync::progress::Progress;
use sync::settings::Settings;
use sync::state::State;
use sync::watch::Watch;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::pair::Pair;
use super::progress::Bar;
use super::screen::Screen;
use crate::failure::{Code, Failure, Result};

/// After a failure that may pass the pauses grow from here …
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// … to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Runs until a signal, or a failure that does not pass by itself.
pub(super) fn run(
    interval: Duration,
    pair: &Pair,
    state: &Arc<State>,
    settings: &Settings,
    screen: &Screen,
) -> Result<ExitCode> {
    screen.context.block_on(async {
        let mut stop = Stop::new()?;
        let watch = Watch::new(&pair.folder).map_err(|error| failed(&error))?;
        let heard = Arc::new(Notify::new());
        let live = pair.live.as_ref();
        let _telling = live.map(|live| (live.tell(), live.hear(Arc::clone(&heard))));
        let mut pause = FIRST_PAUSE;
        let note = |text: &str| screen.context.output.note(text);
        note(&format!(
            "{} is kept like workspace {}; end with Ctrl-C",
            pair.folder.display(),
            pair.opened.name
        ));
        loop {
            if !watch.cover() {
                note("not every directory can be watched: changes there are seen at the interval");
            }
            let answer = tokio::select! {
                answer = one(pair, state, settings, screen) => answer,
                // A run may be cut off anywhere: the next one goes on.
                () = stop.asked() => return Ok(ExitCode::SUCCESS),
            };
            let wait = match answer {
                Ok(applied) => {
                    tell(&applied, &note);
                    pause = FIRST_PAUSE;
                    if applied.is_whole() {
                        interval
                    } else {
                        interval.min(LONGEST_PAUSE)
                    }
                }
                // New keys of the same source may come, as from whoever renews a session.
                Err(failure)
                    if failure.code.is_temporary() || failure.code == Code::KeysExpired =>
                {
                    screen.context.output.failure(&failure);
                    let wait = pause;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    // Changes here do not bring the store back.
                    tokio::select! {
                        () = sleep(wait) => continue,
                        () = stop.asked() => return Ok(ExitCode::SUCCESS),
                    }
                }
                Err(failure) => return Err(failure),
            };
            tokio::select! {
                changed = watch.changed() => changed.map_err(|error| failed(&error))?,
                () = heard.notified() => {}
                () = sleep(wait) => {}
                () = stop.asked() => return Ok(ExitCode::SUCCESS),
            }
        }
    })
}

/// The folder is opened anew each time: a disk may have been mounted over it, or taken off.
async fn one(
    pair: &Pair,
    state: &Arc<State>,
    settings: &Settings,
    screen: &Screen<'_>,
) -> Result<Applied> {
    let settings = Settings {
        progress: Progress::default(),
        ..settings.clone()
    };
    let _bar = Bar::show(&settings.progress, screen.context);
    let sides = pair.sides(Arc::clone(state))?;
    pair.opened.check_marker().await?;
    let applied = sync::run(&sides, &settings, &mut |_| ()).await?;
    sync::clean(&sides).await?;
    Ok(applied)
}

fn tell(applied: &Applied, note: &dyn Fn(&str)) {
    if applied.done > 0 {
        note(&format!(
            "{} done, {} bytes moved",
            applied.done, applied.bytes
        ));
    }
    for (path, reason) in &applied.failed {
        note(&format!("failed: {path}: {reason}"));
    }
}

/// The signals that end a watch.
struct Stop([Signal; 3]);

impl Stop {
    fn new() -> Result<Self> {
        let on = |kind| signal(kind).map_err(|error| failed(&error));
        Ok(Self([
            on(SignalKind::interrupt())?,
            on(SignalKind::terminate())?,
            on(SignalKind::hangup())?,
        ]))
    }

    async fn asked(&mut self) {
        let [first, second, third] = &mut self.0;
        tokio::select! {
            _ = first.recv() => {}
            _ = second.recv() => {}
            _ = third.recv() => {}
        }
    }
}

fn failed(error: &std::io::Error) -> Failure {
    Failure::new(
        Code::Failed,
        format!("the folder cannot be watched: {error}"),
    )
    .with_hint("run artifacts bisync without --watch, from a timer")
}
