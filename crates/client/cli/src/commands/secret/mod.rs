//! `artifacts secret`: keys of services, sealed in the operator's bucket.

mod migrate;
mod read;
mod store;
mod teardown;

use clap::{Args, Subcommand};

use crate::context::Context;
use crate::failure::Result;
use crate::output::table;
use crate::vaulted::BackendChoice;

/// What can be done.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Store a secret, in place of what may be there.
    Store(store::Store),
    /// Print a secret, as it was stored and with nothing added.
    Read(read::Read),
    /// List the services that have one.
    List(List),
    /// Delete all secrets of this login, or of an agent.
    Teardown(teardown::Teardown),
    /// Take secrets over from older envelopes, a dotenv file or an older HTTP store.
    Migrate(migrate::Migrate),
}

/// Which ones.
#[derive(Args)]
pub(crate) struct List {
    #[command(flatten)]
    backend: BackendChoice,
}

pub(crate) fn run(command: &Command, context: &Context) -> Result<()> {
    match command {
        Command::Store(command) => store::run(command, context),
        Command::Read(command) => read::run(command, context),
        Command::List(command) => list(command, context),
        Command::Teardown(command) => teardown::run(command, context),
        Command::Migrate(command) => migrate::run(command, context),
    }
}

fn list(command: &List, context: &Context) -> Result<()> {
    let listed = context.block_on(async {
        let store = context.secret_store(&command.backend).await?;
        Ok(store.list().await?)
    })?;
    let data = serde_json::json!({ "items": listed });
    context.output.data(&data, || {
        if listed.is_empty() {
            return String::new();
        }
        let row = |one: &api::vault::ListedCredential| {
            vec![
                one.service.to_string(),
                one.size.to_string(),
                one.stored_at.to_string(),
            ]
        };
        table(
            &["SERVICE", "BYTES", "STORED"],
            listed.iter().map(row).collect(),
        )
    })?;
    if listed.is_empty() {
        context.output.note("No secret is stored.");
    }
    Ok(())
}
