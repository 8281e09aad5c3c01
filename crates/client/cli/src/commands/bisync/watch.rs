//! `artifacts bisync --watch`: one run after the other, woken by changes here and by time.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use sync::apply::Applied;
use sync::ignored::Rules;
use sync::plan::{Plan, Refusal};
use sync::progress::Progress;
use sync::record::Seen;
use sync::settings::Settings;
use sync::steps::Until;
use sync::watch::Watch;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::pair::{Held, Pair};
use super::progress::Bar;
use super::screen::{Screen, told};
use super::standing;
use crate::failure::{Code, Failure, Result};
use crate::output::cell;

/// After a failure the pauses grow from here …
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// … to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// So long a run that was told to end may take to its next step; then it is cut off.
const LAST_STEP: Duration = Duration::from_secs(10);

/// Runs until a signal, or a failure that only another command line mends.
pub(super) fn run(
    interval: Duration,
    pair: &Pair,
    held: Held,
    settings: &Settings,
    screen: &Screen,
) -> Result<ExitCode> {
    screen.context.block_on(async {
        let mut watching = Watching {
            pair,
            settings,
            screen,
            interval,
            watch: Watch::new(&pair.folder).map_err(|error| failed(&error))?,
            heard: Arc::new(Notify::new()),
            stop: Stop::new()?,
            pause: FIRST_PAUSE,
            left: BTreeSet::new(),
        };
        let live = pair.live.as_ref();
        let heard = Arc::clone(&watching.heard);
        let _telling = live.map(|live| (live.tell(), live.hear(heard)));
        watching.note(&format!(
            "{} is kept like workspace {}; end with Ctrl-C",
            pair.folder.display(),
            pair.opened.name
        ));
        watching.repeat(held).await
    })
}

/// A watch at work.
struct Watching<'a> {
    pair: &'a Pair,
    settings: &'a Settings,
    screen: &'a Screen<'a>,
    interval: Duration,
    watch: Watch,
    heard: Arc<Notify>,
    stop: Stop,
    pause: Duration,
    /// What was told last of names that are left alone.
    left: BTreeSet<String>,
}

/// How a run ended.
enum Ended {
    /// By itself.
    Run(Result<Applied>, Option<Seen>),
    /// Because it was told to.
    Stopped,
}

impl Watching<'_> {
    async fn repeat(&mut self, held: Held) -> Result<ExitCode> {
        let mut have = Ok(held);
        loop {
            // As long as there is trouble the pair is nobody's: what mends it is another command.
            let wait = match have {
                Ok(mut held) => {
                    let wait = match self.once(&held).await {
                        Ended::Stopped => return self.leave(held),
                        Ended::Run(answer, seen) => self.judge(&mut held, answer, seen)?,
                    };
                    held.record.standing.next = Some(standing::now() + nanos(wait.time));
                    held.tell()?;
                    if !wait.release {
                        if self.waited(&wait).await? {
                            return self.leave(held);
                        }
                        have = Ok(held);
                        continue;
                    }
                    wait
                }
                Err(failure) => self.back_off(&failure)?,
            };
            if self.waited(&wait).await? {
                return self.end_without_pair();
            }
            have = self.pair.hold(None);
        }
    }

    /// One run, from which it comes back early if it is told to end. The folder is opened anew
    /// each time: a disk may have been mounted over it, or taken off.
    async fn once(&mut self, held: &Held) -> Ended {
        // Rules of the command line that cannot count end the run, which says so.
        let given = Rules::given(&self.settings.filters).unwrap_or_default();
        if !self.watch.cover(&given) {
            self.note("not every directory can be watched: changes there are seen at the interval");
        }
        let both = || {
            let folder = self.pair.hold_folder()?;
            Ok((folder, self.pair.sides(Arc::clone(&held.state))?))
        };
        let (_folder, mut sides) = match both() {
            Ok(both) => both,
            Err(failure) => return Ended::Run(Err(failure), None),
        };
        let until = Arc::new(Until::new(Arc::clone(&sides.steps)));
        sides.steps = until.clone();
        let settings = Settings {
            progress: Progress::default(),
            ..self.settings.clone()
        };
        let _bar = Bar::show(&settings.progress, self.screen.context);
        let (mut seen, mut left) = (None, None);
        let answer = {
            let mut show = |plan: &Plan| {
                seen = Some(plan.seen);
                left = Some(left_alone(plan));
            };
            let work = async {
                self.pair.opened.check_marker().await?;
                let applied = sync::run(&sides, &settings, &mut show).await?;
                sync::clean(&sides).await?;
                Ok(applied)
            };
            let mut work = std::pin::pin!(work);
            tokio::select! {
                answer = &mut work => Some(answer),
                () = self.stop.asked() => {
                    until.ask();
                    // Cut off anywhere, the next run goes on; at a step it leaves less behind.
                    let _ = timeout(LAST_STEP, work).await;
                    None
                }
            }
        };
        if let Some(left) = left {
            self.tell_left(left);
        }
        match answer {
            Some(answer) => Ended::Run(answer, seen),
            None => Ended::Stopped,
        }
    }

    /// Writes down how a run ended; says how long to wait.
    fn judge(
        &mut self,
        held: &mut Held,
        answer: Result<Applied>,
        seen: Option<Seen>,
    ) -> Result<Wait> {
        standing::end(&mut held.record.standing, seen, &answer);
        match answer {
            Ok(applied) => {
                self.tell(&applied);
                self.pause = FIRST_PAUSE;
                let time = match applied.is_whole() {
                    true => self.interval,
                    false => self.interval.min(LONGEST_PAUSE),
                };
                Ok(Wait {
                    time,
                    release: false,
                    wakes: true,
                })
            }
            Err(failure) => {
                let wait = self.back_off(&failure);
                if wait.is_err() {
                    held.tell()?;
                }
                wait
            }
        }
    }

    /// Tells of a failure. A watch ends by one only where waiting cannot help.
    fn back_off(&mut self, failure: &Failure) -> Result<Wait> {
        if is_for_good(failure.code) {
            return Err(failure.clone());
        }
        self.screen.context.output.failure(failure);
        let time = self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(Wait {
            time,
            release: true,
            // Changes here may mend what a user was asked about; they bring no store back.
            wakes: !failure.code.is_temporary(),
        })
    }

    /// Waits. Says whether it was told to end.
    async fn waited(&mut self, wait: &Wait) -> Result<bool> {
        let Self {
            watch, heard, stop, ..
        } = self;
        tokio::select! {
            changed = watch.changed(), if wait.wakes => changed.map_err(|error| failed(&error))?,
            () = heard.notified(), if wait.wakes => {}
            () = sleep(wait.time) => {}
            () = stop.asked() => return Ok(true),
        }
        Ok(false)
    }

    /// Ends with the pair in hand.
    fn leave(&self, mut held: Held) -> Result<ExitCode> {
        held.record.standing.next = None;
        held.tell()?;
        drop(held);
        self.note("ended");
        Ok(ExitCode::SUCCESS)
    }

    /// Ends in a pause, with the pair nobody's.
    fn end_without_pair(&self) -> Result<ExitCode> {
        match self.pair.hold(None) {
            Ok(held) => self.leave(held),
            // Another command has it, and writes down how it is.
            Err(_) => Ok(ExitCode::SUCCESS),
        }
    }

    fn tell(&self, applied: &Applied) {
        if applied.done > 0 {
            let (done, bytes) = (applied.done, applied.bytes);
            self.note(&format!("{done} done, {bytes} bytes moved"));
        }
        for line in told(applied) {
            self.note(&line);
        }
    }

    /// Tells what is left alone, and what may not work elsewhere, whenever that is not what it
    /// was.
    fn tell_left(&mut self, left: BTreeSet<String>) {
        for line in left.difference(&self.left) {
            self.note(line);
        }
        for line in self.left.difference(&left) {
            self.note(&format!("no more {line}"));
        }
        self.left = left;
    }

    fn note(&self, text: &str) {
        self.screen.context.output.note(text);
    }
}

/// What a plan leaves alone or warns of, a line for each name.
fn left_alone(plan: &Plan) -> BTreeSet<String> {
    let line = |word: &str, of: &Refusal| cell(&format!("{word}: {}: {}", of.name, of.reason));
    let refused = plan.refused.iter().map(|of| line("left alone", of));
    let warnings = plan.warnings.iter().map(|of| line("note", of));
    refused.chain(warnings).collect()
}

/// What comes before the next run.
struct Wait {
    time: Duration,
    /// Whether others may have the pair meanwhile.
    release: bool,
    /// Whether a change, here or there, ends it early.
    wakes: bool,
}

/// Whether a failure needs another command line, workspace or program.
fn is_for_good(code: Code) -> bool {
    let gone = matches!(
        code,
        Code::WorkspaceNotFound
            | Code::WorkspaceChanged
            | Code::NotInBucket
            | Code::BucketNotFound
            | Code::FileMalformed
            | Code::FolderMisplaced
    );
    gone || code.exit() == Code::Usage.exit()
}

fn nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
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
