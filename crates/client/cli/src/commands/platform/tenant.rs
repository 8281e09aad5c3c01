//! `artifacts platform tenant`.

use std::str::FromStr;

use api::{Backend, CreateTenant, Description, FateOfBucket, Person, Tenant, TenantId};
use clap::{Args, Subcommand, ValueEnum};
use model::{Actor, Handle};

use super::Desk;
use crate::failure::{Code, Failure, Result};

/// What can be done with tenants.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make a tenant; a managed one gets a bucket.
    Create(Create),
    /// List all tenants.
    List,
    /// Show one tenant.
    Show(Which),
    /// End a tenant: its keys are revoked, its bucket stays unless --delete-bucket.
    Delete(Delete),
}

/// What kind of tenant.
#[derive(Args)]
pub(crate) struct Create {
    /// The short name that its workspaces are addressed by.
    handle: Handle,
    /// A longer name.
    #[arg(long, value_name = "TEXT")]
    name: Option<Description>,
    /// Who has the storage: `managed` or `byo`.
    #[arg(long, value_enum, default_value_t = Storage::Managed, value_name = "WHOSE")]
    backend: Storage,
    /// Its owner: an actor, or ISSUER#SUBJECT of an OpenID Connect provider [default: nobody
    /// yet].
    #[arg(long, value_name = "WHO")]
    owner: Option<Who>,
}

/// Who has the storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Storage {
    /// The operator.
    Managed,
    /// The tenant.
    Byo,
}

/// A tenant by its handle or its number.
#[derive(Args)]
pub(crate) struct Which {
    /// Its handle or its number.
    #[arg(value_name = "TENANT")]
    tenant: String,
}

/// Which tenant, and what becomes of its bucket.
#[derive(Args)]
pub(crate) struct Delete {
    #[command(flatten)]
    which: Which,
    /// Delete its bucket too, if that is empty.
    #[arg(long)]
    delete_bucket: bool,
}

/// Somebody, as the command line names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Who(pub(crate) Person);

impl FromStr for Who {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if let Ok(actor) = text.parse::<Actor>() {
            return Ok(Self(Person::Actor { actor }));
        }
        match text.rsplit_once('#') {
            Some((issuer, subject)) if issuer.contains("://") && !subject.is_empty() => {
                Ok(Self(Person::Oidc {
                    issuer: issuer.to_owned(),
                    subject: subject.to_owned(),
                }))
            }
            _ => Err("somebody is named by an actor (64 hex digits) or as ISSUER#SUBJECT".into()),
        }
    }
}

pub(super) fn run(command: &Command, desk: &Desk<'_>) -> Result<()> {
    match command {
        Command::Create(create) => make(create, desk),
        Command::List => {
            let all = desk.ask(desk.orchestrator.tenants())?;
            let heading = ["HANDLE", "TENANT", "STORAGE", "BUCKET", "STATE", "TROUBLE"];
            desk.list(&all, &heading, row, "no tenants yet")
        }
        Command::Show(which) => show(&find(&which.tenant, desk)?, desk),
        Command::Delete(delete) => end(delete, desk),
    }
}

fn make(create: &Create, desk: &Desk<'_>) -> Result<()> {
    let wanted = CreateTenant {
        handle: create.handle.clone(),
        display_name: create.name.clone(),
        backend: match create.backend {
            Storage::Managed => Backend::Managed,
            Storage::Byo => Backend::Byo,
        },
        owner: create.owner.clone().map(|who| who.0),
    };
    let made = desk.ask(desk.orchestrator.create_tenant(&wanted))?;
    show(&made, desk)
}

fn end(delete: &Delete, desk: &Desk<'_>) -> Result<()> {
    let tenant = find(&delete.which.tenant, desk)?;
    let fate = match delete.delete_bucket {
        true => FateOfBucket::Delete,
        false => FateOfBucket::Keep,
    };
    let ended = desk.ask(desk.orchestrator.end_tenant(tenant.tenant_id, fate))?;
    show(&ended, desk)
}

/// The tenant of a handle or a number.
pub(super) fn find(text: &str, desk: &Desk<'_>) -> Result<Tenant> {
    if let Ok(id) = text.parse::<TenantId>() {
        return desk.ask(desk.orchestrator.tenant(id));
    }
    let all = desk.ask(desk.orchestrator.tenants())?;
    let mut named = all.into_iter().filter(|tenant| {
        tenant.handle.as_str() == text && tenant.state != api::TenantState::Deleted
    });
    named.next().ok_or_else(|| {
        Failure::new(
            Code::NotAtOrchestrator,
            format!("there is no tenant {text}"),
        )
        .with_hint("see: artifacts platform tenant list")
    })
}

fn state(tenant: &Tenant) -> String {
    let value = serde_json::to_value(tenant.state).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

fn row(tenant: &Tenant) -> Vec<String> {
    let bucket = tenant.bucket_name.as_ref().map(ToString::to_string);
    vec![
        tenant.handle.to_string(),
        tenant.tenant_id.to_string(),
        storage(tenant).to_owned(),
        bucket.unwrap_or_else(|| "-".into()),
        state(tenant),
        tenant.trouble.clone().unwrap_or_default(),
    ]
}

fn storage(tenant: &Tenant) -> &'static str {
    match tenant.backend {
        Backend::Managed => "managed",
        Backend::Byo => "byo",
    }
}

fn show(tenant: &Tenant, desk: &Desk<'_>) -> Result<()> {
    let bucket = tenant.bucket_name.as_ref().map(ToString::to_string);
    let mut rows = vec![
        ("handle", tenant.handle.to_string()),
        ("tenant", tenant.tenant_id.to_string()),
        ("storage", storage(tenant).to_owned()),
        ("bucket", bucket.unwrap_or_else(|| "-".into())),
        ("state", state(tenant)),
    ];
    rows.extend(tenant.trouble.iter().map(|text| ("trouble", text.clone())));
    desk.show(tenant, &rows)
}
