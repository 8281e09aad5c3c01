//! `artifacts workspace`: making, finding and forgetting workspaces.

mod attach;
mod create;
mod delete;
mod list;
mod show;
mod target;
pub(in crate::commands) mod view;

use clap::Subcommand;

use crate::context::Context;
use crate::failure::Result;

/// What can be done with workspaces.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make a workspace in a bucket, and remember it on this machine.
    ///
    /// The bucket must exist; what is in it already becomes the workspace's files. Keys that
    /// come from the environment are saved, so that later commands need no variables.
    Create(create::Create),
    /// Remember, on this machine, a workspace that is in a bucket already.
    Attach(attach::Attach),
    /// List the workspaces that this machine knows.
    List,
    /// Show where a workspace is and which keys open it.
    Show(show::Show),
    /// Forget a workspace on this machine; with --purge, remove it from its bucket too.
    ///
    /// Without --purge the bucket is left as it is.
    Delete(delete::Delete),
}

pub(crate) fn run(command: Command, context: &Context) -> Result<()> {
    match command {
        Command::Create(create) => create::run(create, context),
        Command::Attach(attach) => attach::run(attach, context),
        Command::List => list::run(context),
        Command::Show(show) => show::run(&show, context),
        Command::Delete(delete) => delete::run(&delete, context),
    }
}
