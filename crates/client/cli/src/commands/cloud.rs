//! `artifacts cloud setup`: from nothing to a mounted workspace in one command.

use std::path::PathBuf;

use ::mount::Liveness;
use api::{ErrorCode, Workspace, WorkspaceState};
use clap::{Args, Subcommand};
use credentials::Endpoint;
use model::{WorkspaceAddress, WorkspaceName};

use super::login::{self, Login};
use super::mount::{self, address};
use super::workspace::phases::{self, Wanted};
use crate::context::Context;
use crate::failure::{Code, Failure, Result};
use crate::registered::{is_over, own_handle};

/// What is made where the tenant has no workspace yet.
const FIRST: &str = "files";

/// What can be done in one go.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Log in if need be, make or find a workspace, get a key for it, mount it. Run again, it
    /// does what is missing and nothing else: one login, one key, one mount.
    Setup(Setup),
}

/// Which orchestrator, which workspace, where.
#[derive(Args)]
pub(crate) struct Setup {
    /// The workspace [default: the only one that the tenant has; `files` where there is none].
    #[arg(value_name = "NAME")]
    name: Option<WorkspaceName>,
    /// The folder; made if need be [default: ~/artifacts/NAME].
    #[arg(value_name = "FOLDER")]
    path: Option<PathBuf>,
    /// The orchestrator, https://HOST [default: the usual one].
    #[arg(long, value_name = "URL")]
    url: Option<Endpoint>,
    /// Open no browser to log in: show a code to type on another device.
    #[arg(long)]
    manual_code: bool,
}

pub(crate) fn run(command: &Command, context: &Context) -> Result<()> {
    let Command::Setup(setup) = command;
    let url = context.known_orchestrator(setup.url.as_ref())?;
    let orchestrator = context.orchestrator_at(url.clone())?;
    if !counts(context, &orchestrator)? {
        login::login(&Login::at(url, setup.manual_code), context)?;
    }
    let name = match &setup.name {
        Some(name) => name.clone(),
        None => the_one(context, &orchestrator)?,
    };
    let known = usable(context, &orchestrator, &name)?;
    if known.is_none_or(|workspace| workspace.state == WorkspaceState::PendingFormat) {
        phases::run(&orchestrator, &name, &Wanted::Managed, context)?;
    }
    let address = WorkspaceAddress {
        handle: Some(own_handle(context, &orchestrator)?),
        name,
    };
    let local = address::settle_at(orchestrator, &address, context)?;
    mount_there(&local, setup.path.clone(), context)
}

/// Whether this machine's login counts.
fn counts(context: &Context, orchestrator: &control::Orchestrator) -> Result<bool> {
    if context.session(orchestrator.url())?.is_none() {
        return Ok(false);
    }
    match context.block_on(async { Ok(orchestrator.whoami().await) })? {
        Ok(_) => Ok(true),
        Err(error) if is_over(&error) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The tenant's only workspace; a name for its first one where there is none.
fn the_one(context: &Context, orchestrator: &control::Orchestrator) -> Result<WorkspaceName> {
    let all = context.block_on(async { Ok(orchestrator.workspaces().await?) })?;
    let mut usable = all.into_iter().filter(is_usable).map(|known| known.name);
    match (usable.next(), usable.next()) {
        (None, _) => Ok(FIRST.parse().expect("five letters are a name")),
        (Some(only), None) => Ok(only),
        (Some(one), Some(other)) => Err(Failure::new(
            Code::Usage,
            "the tenant has several workspaces, and none is named",
        )
        .with_hint(format!(
            "name one: artifacts cloud setup {one} (or {other}, …)"
        ))),
    }
}

fn is_usable(workspace: &Workspace) -> bool {
    matches!(
        workspace.state,
        WorkspaceState::Active | WorkspaceState::PendingFormat
    )
}

/// The tenant's workspace of that name, if there is one.
fn usable(
    context: &Context,
    orchestrator: &control::Orchestrator,
    name: &WorkspaceName,
) -> Result<Option<Workspace>> {
    let handle = own_handle(context, orchestrator)?;
    match context.block_on(async { Ok(orchestrator.workspace(&handle, name).await) })? {
        Ok(workspace) => Ok(Some(workspace).filter(is_usable)),
        Err(error) if error.is(ErrorCode::NotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Mounts, unless it is mounted already.
fn mount_there(name: &WorkspaceName, path: Option<PathBuf>, context: &Context) -> Result<()> {
    let mounts = mount::table(context)?.list()?;
    let served = mounts.into_iter().find(|(record, liveness)| {
        record.workspace == name.as_str() && *liveness == Liveness::Mounted
    });
    let path = match (served, path) {
        (Some((record, _)), _) => {
            let folder = record.mountpoint.display();
            context
                .output
                .note(&format!("{name} is mounted on {folder} already."));
            return Ok(());
        }
        (None, Some(path)) => path,
        (None, None) => home()?.join("artifacts").join(name.as_str()),
    };
    std::fs::create_dir_all(&path).map_err(|error| {
        Failure::new(
            Code::FileUnusable,
            format!("cannot make {}: {error}", path.display()),
        )
        .with_hint("name another folder")
    })?;
    mount::also(name, &path, context)
}

fn home() -> Result<PathBuf> {
    etcetera::home_dir().map_err(|_| credentials::Error::NoHome.into())
}
