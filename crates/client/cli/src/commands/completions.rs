//! `artifacts completions`: what a shell needs to complete our commands.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::cli::Cli;
use crate::context::Context;
use crate::failure::Result;

/// What to print.
#[derive(Args)]
pub(crate) struct Completions {
    /// For which shell.
    shell: Shell,
}

pub(crate) fn run(completions: &Completions, context: &Context) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(
        completions.shell,
        &mut Cli::command(),
        "artifacts",
        &mut script,
    );
    context.output.text(&String::from_utf8_lossy(&script))
}
