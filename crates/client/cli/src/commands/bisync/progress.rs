//! How far a run is, on a terminal; nothing where nobody looks.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use sync::progress::Progress;
use tokio::task::JoinHandle;

use crate::context::Context;

/// How often the bar is drawn.
const EVERY: Duration = Duration::from_millis(120);

const STYLE: &str = "{bar:24} {bytes}/{total_bytes}  {msg}  {bytes_per_sec}  {eta} left";

/// A bar on standard error, until this is dropped.
pub(super) struct Bar {
    bar: ProgressBar,
    drawing: JoinHandle<()>,
}

impl Bar {
    /// Begins to show, once there is something to move; `None` where programs read along.
    pub(super) fn show(progress: &Progress, context: &Context) -> Option<Self> {
        if context.output.is_json() {
            return None;
        }
        // Draws to standard error, and only where that is a terminal.
        let bar = ProgressBar::no_length();
        if bar.is_hidden() {
            return None;
        }
        if let Ok(style) = ProgressStyle::with_template(STYLE) {
            bar.set_style(style);
        }
        let drawing = tokio::spawn(draw(bar.clone(), progress.clone()));
        Some(Self { bar, drawing })
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.drawing.abort();
        self.bar.finish_and_clear();
    }
}

async fn draw(bar: ProgressBar, progress: Progress) {
    loop {
        tokio::time::sleep(EVERY).await;
        let sum = progress.sum();
        if sum.files == 0 {
            continue;
        }
        bar.set_length(sum.bytes);
        bar.set_message(format!("{}/{} files", sum.done_files, sum.files));
        bar.set_position(sum.done_bytes);
    }
}
