//! The program `artifacts`.
//!
//! A command's data go to standard output; everything else (progress, notes, warnings,
//! errors) goes to standard error. Nothing is built before it is needed: `--version` and
//! the commands that stay on this machine start no runtime.

mod anchored;
mod cli;
mod commands;
mod context;
mod failure;
mod handed;
mod input;
mod key_choice;
mod logging;
mod marker;
mod orchestrator;
mod output;
mod passwords;
mod process;
mod registered;
mod registering;
mod variables;
mod vaulted;
mod workspace;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;
use crate::context::Context;
use crate::output::Output;

fn main() -> ExitCode {
    process::protect();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return cli::refuse(&error),
    };
    logging::init();
    let output = Output::new(cli.global.format);
    let context = Context::new(output, cli.global.no_input);
    match commands::run(cli.command, &context) {
        Ok(code) => code,
        Err(failure) => {
            output.failure(&failure);
            failure.exit_code()
        }
    }
}
