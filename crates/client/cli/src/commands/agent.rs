//! `artifacts agent`: an agent's machine asks to belong to an operator, who approves it.

use std::time::{Duration, Instant};

use api::vault::{PairingApproval, PendingPairing};
use clap::{Args, Subcommand};
use credentials::{Config, Endpoint};
use model::{Actor, DeviceId, ServiceName};
use registrar::NewDevice;
use registry::{Device, Roles};
use secrets::{Broker, Fingerprint, Kind, Login, SecretError};
use serde::Serialize;
use vault::SignEs256;

use super::vault::keep;
use crate::context::Context;
use crate::failure::{Code, Failure, Result};
use crate::input;
use crate::output::{pairs, table};
use crate::registering::{Names, OperatorChoice, heard};
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
    /// Belong to this operator and to no other: its actor, 64 characters, as
    /// `artifacts vault login` shows it [default: to whoever approves].
    #[arg(long, value_name = "ACTOR")]
    operator: Option<Actor>,
}

/// Which machine.
#[derive(Args)]
pub(crate) struct Approve {
    /// The code that the agent's machine shows.
    code: api::UserCode,
    /// The fingerprint of the machine's device key, as that machine shows it. It has to come from
    /// there: the broker might name another machine.
    #[arg(long, value_name = "FINGERPRINT")]
    device: Option<Fingerprint>,
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
    /// Do not ask; then --device is needed.
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
    belongs(command, &broker, &session, context)?;
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
        "On the operator's machine, run\n\n    artifacts agent approve {} --device {}\n\n\
         What is behind --device is the fingerprint of this machine's own key.\n\
         Waiting, for {minutes} minutes at most…",
        asked.user_code,
        Fingerprint::of(&key.public_jwk().thumbprint()),
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

/// Whose agent this machine has become, before it says so to anybody: what it stores from then
/// on is that operator's.
fn belongs(
    command: &Pair,
    broker: &Broker,
    session: &api::SessionToken,
    context: &Context,
) -> Result<()> {
    let refuse = |text: String| {
        Failure::new(Code::VaultFailed, text)
            .with_hint("no login was kept; ask the operator, and whoever runs the broker")
    };
    let token = secrecy::SecretString::from(session.access_token.expose());
    let login = Login::of(token.into())
        .ok_or_else(|| refuse("the broker gave something that is no session".into()))?;
    let wrong = match &command.operator {
        Some(wanted) if *wanted != login.operator => Some(format!(
            "this machine was let in by the operator {}, not by {wanted}",
            login.operator
        )),
        _ if login.actor != login.operator.agent(&command.label).map_err(no_label)? => {
            Some(format!(
                "the broker gave the session of another agent than {}",
                command.label
            ))
        }
        _ => None,
    };
    if let Some(text) = wrong {
        // It is of no use to anybody; a broker that keeps it alive is refused all the same.
        let _ = context.block_on(async { Ok(broker.logout(&login).await?) });
        return Err(refuse(text));
    }
    if command.operator.is_none() {
        context.output.note(&format!(
            "This machine is now {} of the operator\n\n    {}\n\n\
             If that is not yours, run artifacts vault logout, and pair with --operator.",
            command.label, login.operator
        ));
    }
    Ok(())
}

fn decide(command: &Approve, context: &Context) -> Result<()> {
    let servers = context.vault_servers()?;
    let access = context.vault_access(&servers)?;
    let code = command.code.to_string();
    let pending = context.block_on(async {
        let login = access.login().await?;
        let pending = access.broker().pending(&login, &code).await?;
        if pending.actor != login.operator.agent(&pending.label).map_err(no_label)? {
            let text = "the broker shows an actor that is not this label's";
            return Err(Failure::new(Code::VaultFailed, text)
                .with_hint("do not approve; ask who runs the broker"));
        }
        Ok(pending)
    })?;
    context.output.note(&pairs(&[
        ("label", pending.label.clone()),
        ("actor", pending.actor.to_string()),
    ]));
    if !command.refuse {
        recognise(command, context, &pending)?;
    }
    let word = PairingApproval {
        approve: !command.refuse,
        device: pending.device,
    };
    context.block_on(async {
        let login = access.login().await?;
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

/// Whether the device that the broker names is the machine that shows the code. What the broker
/// says of it is not shown before: it would only be repeated.
fn recognise(command: &Approve, context: &Context, pending: &PendingPairing) -> Result<()> {
    let told = match &command.device {
        Some(told) => *told,
        None if command.yes => {
            let text = "the fingerprint of the agent's machine is not given";
            return Err(Failure::new(Code::InputNeeded, text)
                .with_hint("add --device FINGERPRINT, as `artifacts agent pair` shows it there"));
        }
        None => {
            let what = "fingerprint that the agent's machine shows";
            let typed = input::answer(context, what, "--device FINGERPRINT")?;
            let typed = typed.parse::<Fingerprint>();
            typed.map_err(|e| Failure::new(Code::InvalidValue, e.to_string()))?
        }
    };
    if told != Fingerprint::of(&pending.device) {
        let text = format!(
            "the broker names another machine for this code than the one with the fingerprint {told}; nothing was approved"
        );
        let hint = "compare it with what the agent's machine shows; if it is the same there, ask who runs the broker";
        return Err(Failure::new(Code::VaultFailed, text).with_hint(hint));
    }
    if command.device.is_some() && !command.yes {
        let question = format!("The machine will act as your agent {}.", pending.label);
        input::confirm(context, &question, &pending.label, "--yes")?;
    }
    Ok(())
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
        heard().await;
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
