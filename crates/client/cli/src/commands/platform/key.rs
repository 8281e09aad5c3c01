//! `artifacts platform key`.

use api::{Credential, CredentialId, CredentialState};
use clap::{Args, Subcommand};

use super::{Desk, moment, number};
use crate::failure::{Code, Failure, Result};

/// What can be done with the keys that were issued.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// List the tenant's keys, without their secrets.
    List(List),
    /// Take a key back.
    Revoke(Revoke),
}

/// Which ones.
#[derive(Args)]
pub(crate) struct List {
    /// Those that are gone, too.
    #[arg(long)]
    all: bool,
}

/// Which one.
#[derive(Args)]
pub(crate) struct Revoke {
    /// Its number; not the access key id.
    key: CredentialId,
}

pub(super) fn run(command: &Command, desk: &Desk<'_>) -> Result<()> {
    match command {
        Command::List(list) => {
            let mut keys = desk.ask(desk.orchestrator.keys())?;
            keys.retain(|key| list.all || key.state != CredentialState::Revoked);
            let heading = ["KEY", "ID", "MODE", "WORKSPACE", "STATE", "USED", "FOR"];
            desk.list(&keys, &heading, row, "no keys")
        }
        Command::Revoke(revoke) => end(revoke.key, desk),
    }
}

fn end(id: CredentialId, desk: &Desk<'_>) -> Result<()> {
    let key = desk.ask(desk.orchestrator.revoke_key(id))?;
    if desk.context.output.is_json() {
        desk.context.output.data(&key, String::new)?;
    }
    if key.state == CredentialState::Revoked {
        desk.done("The key is revoked; the store has confirmed it.");
        return Ok(());
    }
    Err(Failure::new(
        Code::LeftUndone,
        "the key counts for us no more, but the store has not confirmed that it is gone",
    )
    .with_hint("it is asked again and again; see: artifacts platform key list"))
}

fn row(key: &Credential) -> Vec<String> {
    let state = match key.state {
        CredentialState::Pending => "being made",
        CredentialState::Active => "active",
        CredentialState::Revoking => "being revoked",
        CredentialState::Revoked => "revoked",
    };
    let text = key.description.as_ref().map(ToString::to_string);
    vec![
        key.credential_id.to_string(),
        key.access_key.clone().unwrap_or_else(|| "-".into()),
        key.mode.to_string(),
        number(key.workspace_id),
        state.to_owned(),
        moment(key.last_used_at),
        text.unwrap_or_default(),
    ]
}
