//! `artifacts platform ticket`.

use std::path::PathBuf;

use api::{CreateTicket, Description, Ticket, TicketId};
use clap::{Args, Subcommand};
use model::WorkspaceAddress;

use super::{Access, Desk, file_place, lifetime, moment};
use crate::commands::mount::values::Span;
use crate::failure::Result;

/// What can be done with tickets.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make a ticket; its text is shown once.
    ///
    /// Whoever has it can mount: artifacts mount HANDLE/NAME FOLDER --ticket FILE
    Create(Create),
    /// List the tenant's tickets, without their texts.
    List,
    /// Take a ticket back, and every key that was issued by it.
    Revoke(Revoke),
}

/// What it allows.
#[derive(Args)]
pub(crate) struct Create {
    /// The workspace, one of the tenant's own.
    workspace: WorkspaceAddress,
    /// What its holder may do.
    #[arg(long, value_enum, default_value_t = Access::Rw, value_name = "MODE")]
    mode: Access,
    /// For how long: a minute to seven days.
    #[arg(long = "for", value_name = "DURATION", default_value = "1h")]
    span: Span,
    /// Whom it is for.
    #[arg(long, value_name = "TEXT")]
    description: Option<Description>,
    /// Write it into this file (mode 0600) in place of printing it.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Which one.
#[derive(Args)]
pub(crate) struct Revoke {
    /// Its number.
    ticket: TicketId,
}

pub(super) fn run(command: &Command, desk: &Desk<'_>) -> Result<()> {
    match command {
        Command::Create(create) => make(create, desk),
        Command::List => {
            let all = desk.ask(desk.orchestrator.tickets())?;
            let heading = ["TICKET", "WORKSPACE", "MODE", "ENDS", "REVOKED", "FOR"];
            desk.list(&all, &heading, row, "no tickets")
        }
        Command::Revoke(revoke) => {
            desk.ask(desk.orchestrator.revoke_ticket(revoke.ticket))?;
            desk.done("The ticket is taken back; its keys are being revoked.");
            Ok(())
        }
    }
}

fn make(create: &Create, desk: &Desk<'_>) -> Result<()> {
    let workspace = desk.workspace(&create.workspace)?;
    let wanted = CreateTicket {
        workspace_id: workspace.workspace_id,
        mode: create.mode.into(),
        ttl_seconds: lifetime(create.span)?,
        description: create.description.clone(),
    };
    // Before there is a ticket that nobody would have.
    let file = create.output.as_deref().map(file_place).transpose()?;
    let made = desk.ask(desk.orchestrator.create_ticket(&wanted))?;
    let take_back = desk.orchestrator.revoke_ticket(made.about.ticket_id);
    let shown = (&made, &made.about, made.ticket.expose());
    desk.hand_over(shown, file, take_back)
}

fn row(ticket: &Ticket) -> Vec<String> {
    let text = ticket.description.as_ref().map(ToString::to_string);
    vec![
        ticket.ticket_id.to_string(),
        ticket.workspace_id.to_string(),
        ticket.mode.to_string(),
        ticket.expires_at.to_string(),
        moment(ticket.revoked_at),
        text.unwrap_or_default(),
    ]
}
