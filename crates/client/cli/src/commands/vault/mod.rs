//! `artifacts vault`: this machine at the broker, and the vault as a whole.

mod audit;
mod login;
mod provision;
mod rekey;

use clap::Subcommand;

pub(crate) use self::login::keep;
use crate::context::Context;
use crate::failure::Result;

/// What can be done.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Log in at the broker.
    Login(login::Login),
    /// End the login.
    Logout,
    Audit(audit::Audit),
    Provision(provision::Provision),
    /// Seal every secret of an older epoch anew; may be interrupted and run again.
    Rekey,
}

pub(crate) fn run(command: &Command, context: &Context) -> Result<()> {
    match command {
        Command::Login(command) => login::login(command, context),
        Command::Logout => login::logout(context),
        Command::Audit(command) => audit::run(command, context),
        Command::Provision(command) => provision::run(command, context),
        Command::Rekey => rekey::run(context),
    }
}
