//! `artifacts scope`: which services an actor may use.

use api::vault::DropEvent;
use clap::{Args, Subcommand};
use model::{Actor, ServiceName};
use registrar::{ListedScope, ListedService};
use serde::Serialize;

use crate::context::Context;
use crate::failure::Result;
use crate::output::table;
use crate::registering::{Names, OperatorChoice, Who, heard};

/// What can be done.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Let an actor use services, or change whether they may only be read.
    Set(Set),
    /// Show who may use what.
    Show(Show),
    /// Take services from an actor. The worker refuses them within two seconds.
    Revoke(Revoke),
}

/// Who may use what.
#[derive(Args)]
pub(crate) struct Set {
    /// The services.
    #[arg(required = true, value_name = "SERVICE")]
    services: Vec<ServiceName>,
    /// An agent's label, or an actor's number [default: the operator's own].
    #[arg(long, value_name = "LABEL|ACTOR")]
    actor: Option<Who>,
    /// For reading only.
    #[arg(long)]
    read_only: bool,
    #[command(flatten)]
    operator: OperatorChoice,
}

/// Whose.
#[derive(Args)]
pub(crate) struct Show {
    /// Names of services to look for. A chain has their hashes only, so one that was set on
    /// another machine is shown by its name only if it is given here.
    #[arg(value_name = "SERVICE")]
    services: Vec<ServiceName>,
    /// An agent's label, or an actor's number [default: all].
    #[arg(long, value_name = "LABEL|ACTOR")]
    actor: Option<Who>,
    #[command(flatten)]
    operator: OperatorChoice,
}

/// Who may no longer use what.
#[derive(Args)]
pub(crate) struct Revoke {
    /// The services.
    #[arg(required = true, value_name = "SERVICE")]
    services: Vec<ServiceName>,
    /// An agent's label, or an actor's number [default: the operator's own].
    #[arg(long, value_name = "LABEL|ACTOR")]
    actor: Option<Who>,
    #[command(flatten)]
    operator: OperatorChoice,
}

/// A scope as it is shown.
#[derive(Serialize)]
struct Shown {
    actor: Actor,
    /// A name, or a hash whose name is not known here.
    service: String,
    read_only: bool,
}

pub(crate) fn run(command: &Command, context: &Context) -> Result<()> {
    match command {
        Command::Set(set) => allow(set, context),
        Command::Show(show) => list(show, context),
        Command::Revoke(revoke) => take(revoke, context),
    }
}

fn allow(set: &Set, context: &Context) -> Result<()> {
    let registrar = context.registrar(&set.operator)?;
    let actor = Who::of(set.actor.as_ref(), registrar.operator())?;
    Names::of(context)?.add(&set.services)?;
    context.block_on(async {
        let set = registrar.set_scope(&actor, &set.services, set.read_only);
        set.await?;
        heard().await;
        Ok(())
    })?;
    let shown = set.services.iter().map(|service| Shown {
        actor: actor.clone(),
        service: service.to_string(),
        read_only: set.read_only,
    });
    show(&shown.collect::<Vec<_>>(), registrar.operator(), context)
}

fn list(command: &Show, context: &Context) -> Result<()> {
    let registrar = context.registrar(&command.operator)?;
    let operator = registrar.operator();
    let only = command.actor.as_ref();
    let only = only.map(|who| Who::of(Some(who), operator)).transpose()?;
    let mut names = Names::of(context)?.all()?;
    names.extend(command.services.iter().cloned());
    let all = context.block_on(async { Ok(registrar.scopes().await?) })?;
    let wanted = all
        .into_iter()
        .filter(|scope| only.as_ref().is_none_or(|actor| scope.actor == *actor))
        .filter(|scope| {
            let mut asked = command.services.iter();
            command.services.is_empty() || asked.any(|name| scope.service.is(name))
        });
    let shown: Vec<Shown> = wanted.map(|scope| named(scope, &names)).collect();
    show(&shown, operator, context)?;
    if shown.is_empty() {
        context.output.note("nothing is allowed");
    }
    Ok(())
}

fn take(command: &Revoke, context: &Context) -> Result<()> {
    let registrar = context.registrar(&command.operator)?;
    let actor = Who::of(command.actor.as_ref(), registrar.operator())?;
    context.block_on(async {
        let revoked = registrar.revoke_scope(&actor, &command.services);
        Ok(revoked.await?)
    })?;
    for service in &command.services {
        context.tell_broker(&DropEvent {
            actor: Some(actor.clone()),
            service: Some(service.clone()),
        })?;
    }
    let revoked = serde_json::json!({ "actor": actor, "revoked": command.services });
    context.output.data(&revoked, || {
        let services = command.services.iter();
        services
            .map(|name| format!("{name} is revoked\n"))
            .collect()
    })
}

fn named(scope: ListedScope, names: &[ServiceName]) -> Shown {
    let service = match &scope.service {
        ListedService::Name(name) => name.to_string(),
        ListedService::Hash(hash) => {
            let known = names.iter().find(|name| scope.service.is(name));
            known.map_or_else(|| in_hex(hash), ToString::to_string)
        }
    };
    Shown {
        actor: scope.actor,
        service,
        read_only: scope.read_only,
    }
}

fn in_hex(hash: &[u8; 32]) -> String {
    let digits: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("0x{digits}")
}

fn show(scopes: &[Shown], operator: &Actor, context: &Context) -> Result<()> {
    let value = serde_json::json!({ "operator": operator, "items": scopes });
    context.output.data(&value, || {
        if scopes.is_empty() {
            return String::new();
        }
        let rows = scopes.iter().map(|scope| {
            vec![
                scope.service.clone(),
                match scope.read_only {
                    true => "read".to_owned(),
                    false => "read and write".to_owned(),
                },
                who(&scope.actor, operator),
            ]
        });
        table(&["SERVICE", "FOR", "ACTOR"], rows.collect())
    })
}

/// An actor as people read it.
pub(super) fn who(actor: &Actor, operator: &Actor) -> String {
    match actor == operator {
        true => "the operator".to_owned(),
        false => actor.to_string(),
    }
}
