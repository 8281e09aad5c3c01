//! `artifacts vault rekey`.

use std::io::{IsTerminal, stderr};

use indicatif::{ProgressBar, ProgressStyle};
use secrets::rekey::{self, Which};

use crate::context::Context;
use crate::failure::{Code, Failure, Result};

pub(super) fn run(context: &Context) -> Result<()> {
    let counts = context.block_on(async {
        let store = context.s3_store(context.vault_settings()?).await?;
        let bar = bar();
        let told = rekey::run(&store, Which::OlderEpochs, |step| {
            bar.set_length(step.all as u64);
            bar.set_position(step.counts.looked_at);
            if let Some((service, error)) = step.failure {
                bar.suspend(|| {
                    context
                        .output
                        .warn(&format!("{service} is as it was: {error}"), &error.hint);
                });
            }
        });
        let told = told.await;
        bar.finish_and_clear();
        Ok(told?)
    })?;
    context.output.data(&counts, || {
        format!(
            "{} secrets are sealed anew; {} were of the present epoch, {} were changed by somebody else meanwhile\n",
            counts.rekeyed, counts.current, counts.overtaken
        )
    })?;
    if counts.failed == 0 {
        return Ok(());
    }
    let text = format!(
        "{} secrets could not be sealed anew and are as they were",
        counts.failed
    );
    Err(Failure::new(Code::LeftUndone, text)
        .with_hint("mend what the warnings say, then run it again"))
}

fn bar() -> ProgressBar {
    if !stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{pos}/{len} secrets {wide_bar}");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
