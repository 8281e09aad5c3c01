//! `artifacts device`: which machines act for an operator.

use api::Timestamp;
use api::vault::DropEvent;
use clap::{Args, Subcommand, ValueEnum};
use model::{Actor, DeviceId, ServiceName};
use registrar::NewDevice;
use registry::{Device, Roles};
use secrets::Place;
use serde::Serialize;
use vault::SignEs256;

use super::scope::who;
use crate::context::Context;
use crate::failure::Result;
use crate::output::{pairs, table};
use crate::registering::{OperatorChoice, Who};

/// What can be done.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Register this machine, or another device, for the operator or an agent of theirs.
    Register(Register),
    /// List the operator's devices, the revoked ones too.
    List(List),
    /// Revoke a device, for good. The worker refuses it within two seconds.
    Revoke(Revoke),
}

/// Which device, for whom.
#[derive(Args)]
pub(crate) struct Register {
    /// The label of the agent that acts by it, or an actor's number [default: the operator].
    #[arg(long, visible_alias = "label", value_name = "LABEL|ACTOR")]
    actor: Option<Who>,
    /// What it may be used for. A master may also tear down; only the operator's own devices can
    /// be masters.
    #[arg(long, value_enum, default_value_t = Role::Use, value_name = "ROLE")]
    role: Role,
    /// Another machine's device, as that machine shows it [default: this machine's, made when
    /// there is none].
    #[arg(long, value_name = "DEVICE", allow_hyphen_values = true)]
    device: Option<DeviceId>,
    /// Let the actor use these services, too.
    #[arg(long, value_name = "SERVICE", value_delimiter = ',')]
    scope: Vec<ServiceName>,
    #[command(flatten)]
    operator: OperatorChoice,
}

/// Whose.
#[derive(Args)]
pub(crate) struct List {
    #[command(flatten)]
    operator: OperatorChoice,
}

/// Which one.
#[derive(Args)]
pub(crate) struct Revoke {
    /// The device, as `artifacts device list` shows it.
    // One of 64 begins with a hyphen.
    #[arg(value_name = "DEVICE", allow_hyphen_values = true)]
    device: DeviceId,
    #[command(flatten)]
    operator: OperatorChoice,
}

/// What a device may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Store, fetch and list.
    Use,
    /// The same, and teardown.
    Master,
}

/// A device as it is shown.
#[derive(Serialize)]
struct Shown {
    device: DeviceId,
    actor: Actor,
    roles: Vec<&'static str>,
    tier: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    registered_at: Option<Timestamp>,
    revoked: bool,
}

/// How a key is kept, as the registry has it.
const IN_A_FILE: u8 = 0;
const IN_A_KEYRING: u8 = 1;

pub(crate) fn run(command: &Command, context: &Context) -> Result<()> {
    match command {
        Command::Register(register) => add(register, context),
        Command::List(list) => show_all(list, context),
        Command::Revoke(revoke) => take(revoke, context),
    }
}

fn add(command: &Register, context: &Context) -> Result<()> {
    let registrar = context.registrar(&command.operator)?;
    let (device, tier) = match command.device {
        // What another machine says of itself is not known here.
        Some(device) => (device, IN_A_FILE),
        None => own(context)?,
    };
    let roles = match command.role {
        Role::Use => Roles::USE,
        Role::Master => Roles(Roles::USE.0 | Roles::MASTER.0),
    };
    let new = NewDevice {
        device,
        actor: Who::of(command.actor.as_ref(), registrar.operator())?,
        roles,
        tier,
    };
    context.register(registrar.as_ref(), &new, &command.scope)?;
    let shown = Shown {
        device,
        actor: new.actor,
        roles: words(roles),
        tier,
        registered_at: None,
        revoked: false,
    };
    context.output.data(&shown, || {
        pairs(&[
            ("device", shown.device.to_string()),
            ("actor", shown.actor.to_string()),
            ("roles", shown.roles.join(", ")),
        ])
    })?;
    if command.scope.is_empty() {
        context
            .output
            .note("It is registered. What it may use is said by artifacts scope set.");
    }
    Ok(())
}

/// This machine's device, and how its key is kept.
fn own(context: &Context) -> Result<(DeviceId, u8)> {
    let devices = context.devices()?;
    let (key, made) = devices.load_or_make()?;
    if made {
        let text = format!(
            "This machine's device key was made; it is in {}.",
            devices.shown()
        );
        context.output.note(&text);
    }
    let tier = match context.vault_place()? {
        Place::Keyring(_) => IN_A_KEYRING,
        Place::Files(_) => IN_A_FILE,
    };
    Ok((key.public_jwk().thumbprint(), tier))
}

fn show_all(command: &List, context: &Context) -> Result<()> {
    let registrar = context.registrar(&command.operator)?;
    let operator = registrar.operator();
    let all = context.block_on(async { Ok(registrar.devices().await?) })?;
    let shown: Vec<Shown> = all.into_iter().map(shown).collect();
    let value = serde_json::json!({ "operator": operator, "items": shown });
    context.output.data(&value, || {
        if shown.is_empty() {
            return String::new();
        }
        let rows = shown.iter().map(|one| row(one, operator)).collect();
        table(
            &["DEVICE", "ROLES", "KEY", "REGISTERED", "STATE", "ACTOR"],
            rows,
        )
    })?;
    if shown.is_empty() {
        context.output.note("no devices");
    }
    Ok(())
}

fn shown((device, about): (DeviceId, Device)) -> Shown {
    let at = i64::try_from(about.registered_at).ok();
    let at = at.and_then(|at| time::OffsetDateTime::from_unix_timestamp(at).ok());
    Shown {
        device,
        actor: about.actor,
        roles: words(about.roles),
        tier: about.tier,
        registered_at: at.map(Timestamp::from),
        revoked: about.revoked,
    }
}

fn row(device: &Shown, operator: &Actor) -> Vec<String> {
    vec![
        device.device.to_string(),
        device.roles.join(", "),
        match device.tier {
            IN_A_FILE => "file".to_owned(),
            IN_A_KEYRING => "keyring".to_owned(),
            _ => "hardware".to_owned(),
        },
        device
            .registered_at
            .map_or_else(|| "-".to_owned(), |at| at.to_string()),
        match device.revoked {
            true => "revoked".to_owned(),
            false => "active".to_owned(),
        },
        who(&device.actor, operator),
    ]
}

fn words(roles: Roles) -> Vec<&'static str> {
    let all = [(Roles::USE, "use"), (Roles::MASTER, "master")];
    let has = all.into_iter().filter(|(role, _)| roles.has(*role));
    has.map(|(_, word)| word).collect()
}

fn take(command: &Revoke, context: &Context) -> Result<()> {
    let registrar = context.registrar(&command.operator)?;
    let actor = context.block_on(async {
        let all = registrar.devices().await?;
        registrar.revoke_device(&command.device).await?;
        let mut known = all.into_iter().filter(|(id, _)| *id == command.device);
        Ok(known.next().map(|(_, about)| about.actor))
    })?;
    context.tell_broker(&DropEvent {
        actor,
        service: None,
    })?;
    let value = serde_json::json!({ "device": command.device, "revoked": true });
    context
        .output
        .data(&value, || format!("{} is revoked\n", command.device))
}
