//! `artifacts agent`: an agent's machine asks to belong to an operator, who approves it.

use std::time::{Duration, Instant};

use api::vault::{PairingApproval, PendingPairing};
use clap::{Args, Subcommand};
use credentials::{Config, Endpoint};
use model::{Actor, DeviceId, ServiceName};
use registrar::NewDevice;
use registry::{Device, Roles};
use secrets::{Broker, Kind, SecretError};
use serde::Serialize;

use super::vault::keep;
use crate::context::Context;
use crate::failure::{Code, Failure, Result};
use crate::input;
use crate::output::{pairs, table};
use crate::registering::{Names, OperatorChoice};
use crate::vaulted::Servers;

/// What can be done.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// On the agent's machine: ask to belong to an operator, and wait for the answer.
    Pair(Pair),
    /// On the operator's machine: let the machine in that shows this code.
    Approve(Approve),
    /// On the operator's machine: list the agents' machines that are registered.
    List,
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
    /// Allow the agent this service, too; may be given more than once.
    #[arg(
        long,
        value_name = "SERVICE",
        value_delimiter = ',',
        conflicts_with = "refuse"
    )]
    scope: Vec<ServiceName>,
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
        Command::List => list(context),
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
    if !command.refuse {
        register(command, context, &pending)?;
    }
    let outcome = if command.refuse {
        "turned away"
    } else {
        "approved"
    };
    context
        .output
        .data(&pending, || format!("{} is {outcome}\n", pending.label))
}

/// Makes the device known to the registry: until then the broker gives it no session.
fn register(command: &Approve, context: &Context, pending: &PendingPairing) -> Result<()> {
    let device = pending.device;
    if context.vault_settings()?.registry.is_none() {
        context.output.note(&format!(
            "It gets in once it is registered, which is not done from here (vault.registry is not set): \
             artifacts device register --device {device} --actor {}",
            pending.label
        ));
        return Ok(());
    }
    let registrar = context.registrar(&OperatorChoice::default())?;
    Names::of(context)?.add(&command.scope)?;
    let new = NewDevice {
        device,
        actor: pending.actor.clone(),
        roles: Roles::USE,
        // What another machine says of how its key is kept is not known here.
        tier: 0,
    };
    context.block_on(async {
        let known = registrar.devices().await?;
        let is_known = |(id, about): &(DeviceId, Device)| {
            *id == device && about.actor == new.actor && !about.revoked
        };
        if !known.iter().any(is_known) {
            registrar.register(&new).await?;
        }
        if !command.scope.is_empty() {
            registrar
                .set_scope(&new.actor, &command.scope, false)
                .await?;
        }
        Ok(())
    })
}

/// A registered machine of an agent, as it is shown.
#[derive(Serialize)]
struct Machine {
    device: DeviceId,
    actor: Actor,
    revoked: bool,
}

fn list(context: &Context) -> Result<()> {
    let registrar = context.registrar(&OperatorChoice::default())?;
    let devices = context.block_on(async { Ok(registrar.devices().await?) })?;
    let machines = devices
        .into_iter()
        .filter(|(_, about)| about.actor != *registrar.operator())
        .map(|(device, about)| Machine {
            device,
            actor: about.actor,
            revoked: about.revoked,
        });
    let machines: Vec<Machine> = machines.collect();
    let row = |machine: &Machine| {
        let state = if machine.revoked { "revoked" } else { "active" };
        vec![
            machine.device.to_string(),
            machine.actor.to_string(),
            state.to_owned(),
        ]
    };
    let data = serde_json::json!({ "items": machines });
    context.output.data(&data, || match machines.is_empty() {
        true => String::new(),
        false => table(
            &["DEVICE", "ACTOR", "STATE"],
            machines.iter().map(row).collect(),
        ),
    })?;
    if machines.is_empty() {
        context.output.note("No agent's machine is registered.");
    }
    Ok(())
}

fn no_label(error: model::InvalidActor) -> Failure {
    Failure::new(Code::InvalidValue, error.to_string())
}
