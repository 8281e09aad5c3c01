//! `artifacts agent`: an agent's machine asks to belong to an operator, who approves it.

use std::time::{Duration, Instant};

use api::vault::PairingApproval;
use clap::{Args, Subcommand};
use credentials::{Config, Endpoint};
use secrets::{Broker, Kind, SecretError};

use super::vault::keep;
use crate::context::Context;
use crate::failure::{Code, Failure, Result};
use crate::input;
use crate::output::pairs;
use crate::vaulted::Servers;

/// What can be done.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// On the agent's machine: ask to belong to an operator, and wait for the answer.
    Pair(Pair),
    /// On the operator's machine: let the machine in that shows this code.
    Approve(Approve),
}

/// As what.
#[derive(Args)]
pub(crate) struct Pair {
    /// What the agent is to be called: 1 to 32 of a-z, 0-9 and '-'.
    #[arg(long, value_name = "LABEL")]
    label: String,
    /// The broker [default: the last one]; remembered.
    #[arg(long, value_name = "URL")]
    broker: Option<Endpoint>,
}

/// Which machine.
#[derive(Args)]
pub(crate) struct Approve {
    /// The code that the agent's machine shows.
    code: api::UserCode,
    /// Turn it away instead.
    #[arg(long)]
    refuse: bool,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

pub(crate) fn run(command: &Command, context: &Context) -> Result<()> {
    match command {
        Command::Pair(pair) => ask(pair, context),
        Command::Approve(approve) => decide(approve, context),
    }
}

fn ask(command: &Pair, context: &Context) -> Result<()> {
    let mut settings = context.vault_settings()?;
    settings.broker = command.broker.clone().or(settings.broker);
    let broker = Servers::new(settings)?.broker()?;
    let (key, _) = context.devices()?.load_or_make()?;
    let session = context.block_on(wait(&broker, &key, &command.label, context))?;
    keep(context, &broker, &session)?;
    if let Some(url) = &command.broker {
        Config::set_vault(&context.paths()?, &[("broker", url.as_str())])?;
    }
    Ok(())
}

async fn wait(
    broker: &Broker,
    key: &secrets::DeviceKey,
    label: &str,
    context: &Context,
) -> Result<api::SessionToken> {
    let asked = broker.pair(key, label).await?;
    let minutes = asked.expires_in / 60;
    context.output.note(&format!(
        "On the operator's machine, run\n\n    artifacts agent approve {}\n\nWaiting, for {minutes} minutes at most…",
        asked.user_code
    ));
    let end = Instant::now() + Duration::from_secs(asked.expires_in.clamp(1, 3600));
    let pause = Duration::from_secs(asked.interval.clamp(1, 60));
    while Instant::now() + pause <= end {
        tokio::time::sleep(pause).await;
        match broker.poll_pairing(key, &asked.pairing).await {
            Ok(Some(session)) => return Ok(session),
            Ok(None) => {}
            // A broker that is away for a moment ends nothing; the code's end does.
            Err(error) if error.kind == Kind::Temporary => {}
            Err(error) => return Err(error.into()),
        }
    }
    let text = "the code has ended: nobody approved it in time";
    Err(SecretError::new(Kind::Login, text, "run artifacts agent pair again").into())
}

fn decide(command: &Approve, context: &Context) -> Result<()> {
    let servers = context.vault_servers()?;
    let access = context.vault_access(&servers)?;
    let code = command.code.to_string();
    let pending = context.block_on(async {
        let login = access.login().await?;
        Ok(access.broker().pending(&login, &code).await?)
    })?;
    context.output.note(&pairs(&[
        ("label", pending.label.clone()),
        ("device", pending.device.to_string()),
        ("actor", pending.actor.to_string()),
    ]));
    if !command.yes && !command.refuse {
        let question = format!("The machine will act as your agent {}.", pending.label);
        input::confirm(context, &question, &pending.label, "--yes")?;
    }
    let word = PairingApproval {
        approve: !command.refuse,
        device: pending.device,
    };
    context.block_on(async {
        let login = access.login().await?;
        if pending.actor != login.operator.agent(&pending.label).map_err(no_label)? {
            let text = "the broker shows an actor that is not this label's";
            return Err(Failure::new(Code::VaultFailed, text)
                .with_hint("do not approve; ask who runs the broker"));
        }
        Ok(access.broker().decide(&login, &code, &word).await?)
    })?;
    let outcome = if command.refuse {
        "turned away"
    } else {
        "approved"
    };
    context
        .output
        .data(&pending, || format!("{} is {outcome}\n", pending.label))
}

fn no_label(error: model::InvalidActor) -> Failure {
    Failure::new(Code::InvalidValue, error.to_string())
}
