//! How far uploads are, on a terminal; nothing where nobody looks.

use filesystem::{Health, Status};
use indicatif::{ProgressBar, ProgressStyle};
use mount::control::Outcome;
use mount::units;

/// A line that changes in place, on standard error.
pub(crate) struct Progress {
    verb: &'static str,
    bar: ProgressBar,
}

impl Progress {
    /// A line that is not shown before there is something to say.
    pub(crate) fn new(verb: &'static str) -> Self {
        // Draws to standard error, and only where that is a terminal.
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        Self { verb, bar }
    }

    /// Shows what is left.
    pub(crate) fn show(&mut self, status: &Status) {
        if status.pending_changes == 0 && status.pending_files == 0 {
            return;
        }
        let trouble = match (status.health, &status.last_error) {
            (Health::Ok, _) => String::new(),
            (_, Some(error)) => format!(" ({error})"),
            (_, None) => " (the bucket does not answer)".into(),
        };
        let left = units::pending(&Outcome {
            pending_changes: status.pending_changes,
            pending_files: status.pending_files,
            pending_bytes: status.pending_bytes,
            ..Outcome::default()
        });
        self.bar
            .set_message(format!("{}: {left} left{trouble}", self.verb));
        self.bar.tick();
    }

    /// Takes the line away.
    pub(crate) fn end(self) {
        self.bar.finish_and_clear();
    }
}
