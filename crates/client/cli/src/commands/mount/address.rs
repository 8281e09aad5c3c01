//! From what a user calls a workspace to its name on this machine.
//!
//! `NAME` is a workspace of this machine, else one of the user's own at the orchestrator;
//! `HANDLE/NAME` is one at the orchestrator. One that this machine did not know is remembered,
//! with a key that is issued for it where its bucket is the orchestrator's.

use std::path::Path;
use std::sync::Arc;

use api::{Workspace, WorkspaceState};
use control::{Orchestrator, ticket};
use credentials::{Endpoint, WorkspaceConfig};
use model::{Handle, WorkspaceAddress, WorkspaceName};
use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::commands::workspace::phases::handle as own_handle;
use crate::commands::workspace::registered::{config_of, ensure_key, give_back, known_as};
use crate::context::Context;
use crate::failure::{Code, Failure, Result};
use crate::marker::Marker;
use crate::variables;
use crate::workspace::{connect, first_use, place, probe};

/// A ticket is a signed text of some hundred bytes.
const TICKET_LIMIT: u64 = 16 * 1024;

/// The name on this machine of the workspace that is meant, with a key that counts where
/// keys are issued.
pub(crate) fn settle(
    address: &WorkspaceAddress,
    given: Option<&Path>,
    context: &Context,
) -> Result<WorkspaceName> {
    let workspaces = context.workspaces()?;
    if address.handle.is_none() && given.is_none() {
        if workspaces.contains(&address.name)? {
            return known(&address.name, None, context);
        }
        // Without an orchestrator a name is a name of this machine.
        if context.orchestrator_url(None)?.is_none() {
            let name = address.name.clone();
            return Err(credentials::Error::NoWorkspace { name }.into());
        }
    }
    let given = given.map(Ticket::read).transpose()?;
    if let Some(name) = known_here(address, given.as_ref(), context)? {
        return known(&name, given, context);
    }
    meet(address, given, context)
}

/// A workspace that this machine knows: its key must count.
fn known(name: &WorkspaceName, given: Option<Ticket>, context: &Context) -> Result<WorkspaceName> {
    let mut config = context.workspaces()?.load(name)?;
    let issued = config.uses_issued_key();
    let Some(registration) = config.orchestrator.as_ref().filter(|_| issued) else {
        return Ok(name.clone());
    };
    let orchestrator = match given {
        Some(given) => given.orchestrator,
        None => context.orchestrator_at(registration.url.clone())?,
    };
    ensure_key(context, &orchestrator, name, &mut config)?;
    Ok(name.clone())
}

fn known_here(
    address: &WorkspaceAddress,
    given: Option<&Ticket>,
    context: &Context,
) -> Result<Option<WorkspaceName>> {
    let url = match given {
        Some(given) => Some(given.orchestrator.url().clone()),
        None => context.orchestrator_url(None)?,
    };
    let Some(handle) = &address.handle else {
        return Ok(None);
    };
    known_as(context, |known| {
        known.handle == *handle && known.name == address.name && Some(&known.url) == url.as_ref()
    })
}

/// Asks the orchestrator for a workspace that this machine does not know yet.
fn meet(
    address: &WorkspaceAddress,
    given: Option<Ticket>,
    context: &Context,
) -> Result<WorkspaceName> {
    let orchestrator = match given {
        Some(given) => given.orchestrator,
        None => context.orchestrator()?,
    };
    let handle = match &address.handle {
        Some(handle) => handle.clone(),
        None => own_handle(context, &orchestrator)?,
    };
    let workspace =
        context.block_on(async { Ok(orchestrator.workspace(&handle, &address.name).await?) })?;
    check_state(&workspace)?;
    // By another address it may be known here already.
    let number = workspace.workspace_id.uuid();
    let url = orchestrator.url().clone();
    if let Some(name) = known_as(context, |known| {
        known.workspace_id == number && known.url == url
    })? {
        let mut config = context.workspaces()?.load(&name)?;
        ensure_key(context, &orchestrator, &name, &mut config)?;
        return Ok(name);
    }
    let name = free_name(context, &handle, &address.name)?;
    remember(context, &orchestrator, &url, &name, &workspace)?;
    Ok(name)
}

fn check_state(workspace: &Workspace) -> Result<()> {
    match workspace.state {
        WorkspaceState::Active => Ok(()),
        WorkspaceState::PendingFormat => Err(Failure::new(
            Code::OrchestratorConflict,
            format!(
                "artifacts://{}/{} is reserved and not formatted yet",
                workspace.handle, workspace.name
            ),
        )
        .with_hint(format!(
            "finish it with: artifacts workspace create {}",
            workspace.name
        ))),
        WorkspaceState::Deleting | WorkspaceState::Deleted => Err(Failure::new(
            Code::NotAtOrchestrator,
            format!(
                "artifacts://{}/{} was deleted",
                workspace.handle, workspace.name
            ),
        )
        .with_hint("see: artifacts workspace list --remote")),
    }
}

/// The workspace's own name where that is free on this machine, else with its owner before it.
fn free_name(context: &Context, handle: &Handle, name: &WorkspaceName) -> Result<WorkspaceName> {
    let workspaces = context.workspaces()?;
    if !workspaces.contains(name)? {
        return Ok(name.clone());
    }
    let longer = format!("{handle}_{name}");
    let longer = longer
        .parse()
        .ok()
        .filter(|longer| workspaces.contains(longer).is_ok_and(|taken| !taken));
    longer.ok_or_else(|| credentials::Error::WorkspaceExists { name: name.clone() }.into())
}

/// Writes the workspace's file, gets a key where one is issued, and looks whether the place
/// is what the orchestrator says; takes the file back where it is not.
fn remember(
    context: &Context,
    orchestrator: &Orchestrator,
    url: &Endpoint,
    name: &WorkspaceName,
    workspace: &Workspace,
) -> Result<()> {
    let mut config = config_of(url, workspace, Some(context.profile(None)?))?;
    context.workspaces()?.create(name, &config)?;
    let done = ensure_key(context, orchestrator, name, &mut config)
        .and_then(|_| look(context, &mut config))
        .and_then(|()| Ok(context.workspaces()?.save(name, &config)?));
    if let Err(failure) = done {
        if let Err(left) = give_back(context, orchestrator, name, &mut config) {
            context
                .output
                .warn(&left.message, left.hint.as_deref().unwrap_or_default());
        }
        context.workspaces()?.delete(name)?;
        return Err(failure);
    }
    Ok(())
}

/// The marker in the bucket must be this workspace's; then the store is asked what it can do.
fn look(context: &Context, config: &mut WorkspaceConfig) -> Result<()> {
    let bucket = connect(context, config)?;
    let bucket = bucket.as_ref();
    context.block_on(async {
        first_use(bucket, config, true).await?;
        let marker = Marker::read(bucket, &config.prefix).await?;
        // A workspace of one's own may have been there before the orchestrator knew of it.
        let managed = config
            .orchestrator
            .as_ref()
            .is_some_and(|known| known.managed);
        match marker {
            Some(marker) if marker.id == config.id || !managed => config.id = marker.id,
            _ => {
                let text = format!(
                    "{} does not hold the workspace that the orchestrator names",
                    place(config)
                );
                return Err(Failure::new(Code::NotInBucket, text)
                    .with_hint("ask its owner; was it removed from the bucket?"));
            }
        }
        config.capabilities = Some(probe(bucket, config).await?);
        Ok(())
    })
}

/// A ticket, and the orchestrator that it is for.
pub(crate) struct Ticket {
    /// With the ticket as its token.
    pub(crate) orchestrator: Orchestrator,
}

impl Ticket {
    /// Reads a ticket's file.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = read(path)?;
        // It goes to the server that has signed it and to no other, unless that has another
        // address from here.
        let url = match variables::text(variables::ORCHESTRATOR_URL) {
            Some(url) => url.parse()?,
            None => ticket::issuer(&text).ok_or_else(|| malformed(path))?,
        };
        let orchestrator = Orchestrator::new(url)?.with(Arc::new(text));
        Ok(Self { orchestrator })
    }
}

fn read(path: &Path) -> Result<SecretString> {
    use std::io::Read;
    let failed = |error: std::io::Error| {
        Failure::new(
            Code::FileUnusable,
            format!("the ticket {} cannot be read: {error}", path.display()),
        )
        .with_hint("give the file that the platform has put there")
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut text = Zeroizing::new(String::with_capacity(4096));
    file.take(TICKET_LIMIT)
        .read_to_string(&mut text)
        .map_err(failed)?;
    match text.trim() {
        "" => Err(malformed(path)),
        text => Ok(SecretString::from(text.to_owned())),
    }
}

fn malformed(path: &Path) -> Failure {
    Failure::new(
        Code::FileMalformed,
        format!("{} holds no ticket", path.display()),
    )
    .with_hint("a ticket is what artifacts platform ticket create prints")
}
