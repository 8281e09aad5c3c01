//! The commands: one module each. To add one: a line in [`Command`], a line in [`run`].

mod storage;

use std::process::ExitCode;

use clap::Subcommand;

use crate::context::Context;
use crate::failure::Result;

/// Everything that `artifacts` can be asked to do.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Keep storage keys on this machine.
    #[command(subcommand)]
    Storage(storage::Command),
}

/// Does what was asked for.
pub(crate) fn run(command: Command, context: &Context) -> Result<ExitCode> {
    match command {
        Command::Storage(command) => storage::run(command, context).map(done),
    }
}

fn done((): ()) -> ExitCode {
    ExitCode::SUCCESS
}
