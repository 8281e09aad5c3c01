//! `artifacts platform grant`.

use api::{CreateGrant, Grant, GrantId};
use clap::{Args, Subcommand};
use model::{Handle, WorkspaceAddress};

use super::{Access, Desk, lifetime, moment};
use crate::commands::mount::values::Span;
use crate::failure::Result;

/// What can be done with grants.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Let another tenant mount a workspace.
    Create(Create),
    /// List what the tenant has granted.
    List(List),
    /// Take a grant back, and every key that was issued by it.
    Delete(Delete),
}

/// What, to whom, how.
#[derive(Args)]
pub(crate) struct Create {
    /// The workspace, one of the tenant's own.
    workspace: WorkspaceAddress,
    /// The tenant that may mount it.
    #[arg(long, value_name = "HANDLE")]
    to: Handle,
    /// What it may do.
    #[arg(long, value_enum, default_value_t = Access::Ro, value_name = "MODE")]
    mode: Access,
    /// For how long [default: until it is taken back].
    #[arg(long = "for", value_name = "DURATION")]
    span: Option<Span>,
}

/// Which ones.
#[derive(Args)]
pub(crate) struct List {
    /// What the tenant was granted by others.
    #[arg(long)]
    received: bool,
}

/// Which one.
#[derive(Args)]
pub(crate) struct Delete {
    /// Its number.
    grant: GrantId,
}

pub(super) fn run(command: &Command, desk: &Desk<'_>) -> Result<()> {
    match command {
        Command::Create(create) => {
            let workspace = desk.workspace(&create.workspace)?;
            let wanted = CreateGrant {
                workspace_id: workspace.workspace_id,
                grantee: create.to.clone(),
                mode: create.mode.into(),
                ttl_seconds: create.span.map(lifetime).transpose()?,
            };
            let made = desk.ask(desk.orchestrator.grant(&wanted))?;
            let rows = [
                ("grant", made.grant_id.to_string()),
                ("to", made.grantee.to_string()),
                ("mode", made.mode.to_string()),
                ("ends", moment(made.expires_at)),
            ];
            desk.show(&made, &rows)
        }
        Command::List(list) => {
            let all = match list.received {
                true => desk.ask(desk.orchestrator.grants_received())?,
                false => desk.ask(desk.orchestrator.grants())?,
            };
            let heading = ["GRANT", "WORKSPACE", "TO", "MODE", "ENDS"];
            desk.list(&all, &heading, row, "no grants")
        }
        Command::Delete(delete) => {
            desk.ask(desk.orchestrator.revoke_grant(delete.grant))?;
            desk.done("The grant is taken back; its keys are being revoked.");
            Ok(())
        }
    }
}

fn row(grant: &Grant) -> Vec<String> {
    vec![
        grant.grant_id.to_string(),
        grant.workspace_id.to_string(),
        grant.grantee.to_string(),
        grant.mode.to_string(),
        moment(grant.expires_at),
    ]
}
