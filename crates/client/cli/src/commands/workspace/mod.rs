//! `artifacts workspace`: making, finding and forgetting workspaces.

mod attach;
mod create;
mod delete;
mod list;
pub(in crate::commands) mod phases;
mod show;
mod target;
pub(in crate::commands) mod view;

use clap::Subcommand;

use crate::context::Context;
use crate::failure::Result;

/// What can be done with workspaces.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make a workspace, and remember it on this machine.
    ///
    /// In a bucket of yours (--bucket), which must exist: what is in it already becomes the
    /// workspace's files, and keys that come from the environment are saved, so that later
    /// commands need no variables. Or, after artifacts login, in the bucket that the
    /// orchestrator has made for you. What was interrupted is gone on with by the same command.
    Create(create::Create),
    /// Remember, on this machine, a workspace that is in a bucket already.
    Attach(attach::Attach),
    /// List the workspaces that this machine knows, or those at the orchestrator.
    List(list::List),
    /// Show where a workspace is and which keys open it.
    Show(show::Show),
    /// Forget a workspace on this machine; with --purge, remove it from its bucket too.
    ///
    /// Without --purge the bucket is left as it is. A key that this machine was issued for it is
    /// revoked.
    Delete(delete::Delete),
}

pub(crate) fn run(command: Command, context: &Context) -> Result<()> {
    match command {
        Command::Create(create) => create::run(create, context),
        Command::Attach(attach) => attach::run(attach, context),
        Command::List(list) => list::run(&list, context),
        Command::Show(show) => show::run(&show, context),
        Command::Delete(delete) => delete::run(&delete, context),
    }
}
