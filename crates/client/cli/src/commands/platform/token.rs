//! `artifacts platform token`.

use std::path::PathBuf;

use api::{CreateServiceToken, Description, Purpose, ServiceToken, ServiceTokenId};
use clap::{Args, Subcommand};
use model::WorkspaceAddress;

use super::{Access, Desk, file_place, lifetime, moment, number};
use crate::commands::mount::values::Span;
use crate::failure::Result;

/// What can be done with service tokens.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make a service token; it is shown once. Programs give it in ARTIFACTS_TOKEN.
    Create(Create),
    /// List the tenant's service tokens, without the tokens.
    List,
    /// Revoke a service token, and every key that was issued by it.
    Revoke(Revoke),
}

/// What it is for.
#[derive(Args)]
pub(crate) struct Create {
    /// What it is for, in your words.
    #[arg(long, value_name = "TEXT")]
    description: Description,
    /// The workspace that it opens [default: the tenant's whole bucket].
    #[arg(long, value_name = "NAME")]
    workspace: Option<WorkspaceAddress>,
    /// What it may do.
    #[arg(long, value_enum, default_value_t = Access::Ro, value_name = "MODE")]
    mode: Access,
    /// For a store, to announce changes by webhook, and for nothing else.
    #[arg(long, conflicts_with_all = ["workspace", "mode"])]
    webhook: bool,
    /// For how long [default: until it is revoked].
    #[arg(long = "for", value_name = "DURATION")]
    span: Option<Span>,
    /// Write it into this file (mode 0600) in place of printing it.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Which one.
#[derive(Args)]
pub(crate) struct Revoke {
    /// Its number.
    token: ServiceTokenId,
}

pub(super) fn run(command: &Command, desk: &Desk<'_>) -> Result<()> {
    match command {
        Command::Create(create) => make(create, desk),
        Command::List => {
            let all = desk.ask(desk.orchestrator.tokens())?;
            let heading = ["TOKEN", "FOR", "WORKSPACE", "MODE", "ENDS", "REVOKED"];
            desk.list(&all, &heading, row, "no service tokens")
        }
        Command::Revoke(revoke) => {
            desk.ask(desk.orchestrator.revoke_token(revoke.token))?;
            desk.done("The token is revoked; its keys are being revoked.");
            Ok(())
        }
    }
}

fn make(create: &Create, desk: &Desk<'_>) -> Result<()> {
    let workspace = create.workspace.as_ref();
    let workspace = workspace
        .map(|address| desk.workspace(address))
        .transpose()?;
    let wanted = CreateServiceToken {
        description: create.description.clone(),
        mode: create.mode.into(),
        workspace_id: workspace.map(|workspace| workspace.workspace_id),
        purpose: match create.webhook {
            true => Purpose::Webhook,
            false => Purpose::Mount,
        },
        ttl_seconds: create.span.map(lifetime).transpose()?,
    };
    let file = create.output.as_deref().map(file_place).transpose()?;
    let made = desk.ask(desk.orchestrator.create_token(&wanted))?;
    let take_back = desk.orchestrator.revoke_token(made.about.token_id);
    let shown = (&made, &made.about, made.token.expose());
    desk.hand_over(shown, file, take_back)
}

fn row(token: &ServiceToken) -> Vec<String> {
    vec![
        token.token_id.to_string(),
        token.description.to_string(),
        number(token.workspace_id),
        match token.purpose {
            Purpose::Mount => token.mode.to_string(),
            Purpose::Webhook => "webhook".to_owned(),
        },
        moment(token.expires_at),
        moment(token.revoked_at),
    ]
}
