//! The commands: one module each. To add one: a line in [`Command`], a line in [`run`].

mod completions;
mod credential_process;
mod env;
mod reference;
mod storage;
mod workspace;

use std::process::ExitCode;

use clap::Subcommand;

use crate::context::Context;
use crate::failure::Result;

/// Everything that `artifacts` can be asked to do.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make, find and forget workspaces.
    #[command(subcommand)]
    Workspace(workspace::Command),
    /// Keep storage keys on this machine.
    #[command(subcommand)]
    Storage(storage::Command),
    /// Print a workspace's keys and place for other S3 tools.
    Env(env::Env),
    /// Print a workspace's keys in the form that the AWS SDKs' `credential_process` takes.
    CredentialProcess(credential_process::CredentialProcess),
    /// Print a shell's completion script.
    Completions(completions::Completions),
    /// Print a page of the reference.
    #[command(hide = true)]
    Reference(reference::Reference),
}

/// Does what was asked for.
pub(crate) fn run(command: Command, context: &Context) -> Result<ExitCode> {
    match command {
        Command::Workspace(command) => workspace::run(command, context).map(done),
        Command::Storage(command) => storage::run(command, context).map(done),
        Command::Env(command) => env::run(&command, context).map(done),
        Command::CredentialProcess(command) => credential_process::run(&command, context).map(done),
        Command::Completions(command) => completions::run(&command, context).map(done),
        Command::Reference(command) => reference::run(&command, context).map(done),
    }
}

fn done((): ()) -> ExitCode {
    ExitCode::SUCCESS
}
