//! `artifacts platform member`.

use api::{AddMember, Member, Role};
use clap::{Args, Subcommand, ValueEnum};
use model::Actor;

use super::Desk;
use super::tenant::{Who, find};
use crate::failure::Result;

/// What can be done with members.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make somebody a member or an owner of a tenant.
    Add(Add),
    /// List the members of a tenant.
    List(Of),
    /// End a membership.
    Remove(Remove),
}

/// Of which tenant.
#[derive(Args)]
pub(crate) struct Of {
    /// The tenant's handle or number.
    tenant: String,
}

/// Who becomes what.
#[derive(Args)]
pub(crate) struct Add {
    #[command(flatten)]
    of: Of,
    /// An actor, or ISSUER#SUBJECT of an OpenID Connect provider.
    who: Who,
    /// As what.
    #[arg(long, value_enum, default_value_t = As::Member, value_name = "ROLE")]
    role: As,
}

/// A role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum As {
    /// Uses workspaces.
    Member,
    /// Manages them, too.
    Owner,
}

/// Who goes.
#[derive(Args)]
pub(crate) struct Remove {
    #[command(flatten)]
    of: Of,
    /// The actor.
    actor: Actor,
}

pub(super) fn run(command: &Command, desk: &Desk<'_>) -> Result<()> {
    match command {
        Command::Add(add) => {
            let tenant = find(&add.of.tenant, desk)?;
            let member = AddMember {
                person: add.who.0.clone(),
                role: match add.role {
                    As::Member => Role::Member,
                    As::Owner => Role::Owner,
                },
            };
            let made = desk.ask(desk.orchestrator.add_member(tenant.tenant_id, &member))?;
            let rows = [("actor", made.actor.to_string()), ("role", role(&made))];
            desk.show(&made, &rows)
        }
        Command::List(of) => {
            let tenant = find(&of.tenant, desk)?;
            let all = desk.ask(desk.orchestrator.members(tenant.tenant_id))?;
            let heading = ["ACTOR", "ROLE", "SINCE"];
            let row = |member: &Member| {
                vec![
                    member.actor.to_string(),
                    role(member),
                    member.created_at.to_string(),
                ]
            };
            desk.list(&all, &heading, row, "the tenant has no members")
        }
        Command::Remove(remove) => {
            let tenant = find(&remove.of.tenant, desk)?;
            desk.ask(
                desk.orchestrator
                    .remove_member(tenant.tenant_id, &remove.actor),
            )?;
            desk.done(&format!(
                "{} is no member of {}.",
                remove.actor, tenant.handle
            ));
            Ok(())
        }
    }
}

fn role(member: &Member) -> String {
    match member.role {
        Role::Member => "member".into(),
        Role::Owner => "owner".into(),
    }
}
