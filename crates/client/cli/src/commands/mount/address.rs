//! From what a user calls a workspace to its name on this machine.
//!
//! `NAME` is a workspace of this machine, else one of the user's own at the orchestrator;
//! `HANDLE/NAME` is one at the orchestrator. One that this machine did not know is remembered,
//! with a key that is issued for it where its bucket is the orchestrator's.

use api::{Workspace, WorkspaceState};
use control::Orchestrator;
use credentials::{Endpoint, WorkspaceConfig};
use model::{Handle, WorkspaceAddress, WorkspaceName};

use super::settings::Flags;
use super::ticket::Ticket;
use crate::context::Context;
use crate::failure::{Code, Failure, Result};
use crate::key_choice::Settled;
use crate::marker::Marker;
use crate::registered::{Right, check_id, config_of, ensure_key, give_back, known_as, own_handle};
use crate::workspace::{connect, endpoint, first_use, place, probe};

/// A workspace that was meant.
pub(crate) struct Meant {
    /// Its name on this machine.
    pub(crate) name: WorkspaceName,
    /// A key to it was issued just now, by this right.
    pub(crate) issued: Option<Right>,
}

/// Finds the workspace that is meant, with a key that counts where keys are issued.
pub(crate) fn settle(
    address: &WorkspaceAddress,
    flags: &Flags,
    context: &Context,
) -> Result<Meant> {
    let workspaces = context.workspaces()?;
    if address.handle.is_none() {
        if workspaces.contains(&address.name)? {
            return known(&address.name, flags, context);
        }
        // Without an orchestrator a name is a name of this machine.
        if flags.ticket().is_none() && context.orchestrator_url(None)?.is_none() {
            let name = address.name.clone();
            return Err(credentials::Error::NoWorkspace { name }.into());
        }
    }
    let search = Search {
        orchestrator: match flags.ticket() {
            Some(path) => Ticket::read(&path)?.orchestrator()?,
            None => context.orchestrator()?,
        },
        right: flags.right(),
        own_keys: flags.settled(context)?,
        context,
    };
    search.find(address)
}

/// The same at an orchestrator, by this machine's login.
pub(crate) fn settle_at(
    orchestrator: Orchestrator,
    address: &WorkspaceAddress,
    context: &Context,
) -> Result<WorkspaceName> {
    let search = Search {
        orchestrator,
        right: Right::Login,
        own_keys: Settled::Own,
        context,
    };
    Ok(search.find(address)?.name)
}

/// A workspace that this machine knows: where its key is issued, that must count.
fn known(name: &WorkspaceName, flags: &Flags, context: &Context) -> Result<Meant> {
    let mut meant = Meant {
        name: name.clone(),
        issued: None,
    };
    let config = context.workspaces()?.load(name)?;
    let chosen = flags.settled(context)?;
    let issued = config.uses_issued_key() && matches!(chosen, Settled::Own | Settled::Ticket);
    let Some(registration) = config.orchestrator.as_ref().filter(|_| issued) else {
        return Ok(meant);
    };
    let orchestrator = with_right(&registration.url, flags, context)?;
    let right = flags.right();
    meant.issued = ensure_key(context, &orchestrator, name, right)?.then_some(right);
    Ok(meant)
}

/// The orchestrator that knows a workspace of this machine, with the right that is given.
pub(crate) fn orchestrator_of(
    name: &WorkspaceName,
    flags: &Flags,
    context: &Context,
) -> Result<Orchestrator> {
    let known = context.workspaces()?.load(name)?.orchestrator;
    let missing = || credentials::Error::NoWorkspace { name: name.clone() };
    with_right(&known.ok_or_else(missing)?.url, flags, context)
}

fn with_right(url: &Endpoint, flags: &Flags, context: &Context) -> Result<Orchestrator> {
    match flags.ticket() {
        Some(path) => Ticket::read(&path)?.for_server(url),
        None => context.orchestrator_at(url.clone()),
    }
}

/// A search for a workspace at an orchestrator.
struct Search<'a> {
    orchestrator: Orchestrator,
    right: Right,
    own_keys: Settled,
    context: &'a Context,
}

impl Search<'_> {
    fn find(&self, address: &WorkspaceAddress) -> Result<Meant> {
        let (context, url) = (self.context, self.orchestrator.url());
        let known = known_as(context, |known| {
            Some(&known.handle) == address.handle.as_ref()
                && known.name == address.name
                && known.url == *url
        })?;
        if let Some(name) = known {
            return self.with_key(name);
        }
        let workspace = self.ask(address)?;
        let number = workspace.workspace_id.uuid();
        let known = known_as(context, |known| {
            known.workspace_id == number && known.url == *url
        })?;
        match known {
            // By another name, or since this command began.
            Some(name) => self.with_key(name),
            None => self.meet(&workspace),
        }
    }

    fn with_key(&self, name: WorkspaceName) -> Result<Meant> {
        let issued = ensure_key(self.context, &self.orchestrator, &name, self.right)?;
        Ok(Meant {
            name,
            issued: issued.then_some(self.right),
        })
    }

    fn ask(&self, address: &WorkspaceAddress) -> Result<Workspace> {
        let handle = match &address.handle {
            Some(handle) => handle.clone(),
            None => own_handle(self.context, &self.orchestrator)?,
        };
        let asked = self.orchestrator.workspace(&handle, &address.name);
        let workspace = self.context.block_on(async { Ok(asked.await?) })?;
        check_state(&workspace)?;
        Ok(workspace)
    }

    /// Writes the workspace's file, gets a key where one is issued, and looks whether the
    /// place is what the orchestrator says; takes the file back where it is not.
    fn meet(&self, workspace: &Workspace) -> Result<Meant> {
        let context = self.context;
        self.check_trust(workspace)?;
        let name = free_name(context, &workspace.handle, &workspace.name)?;
        let own_keys = context.profile(None)?;
        let mut config = config_of(self.orchestrator.url(), workspace, own_keys)?;
        self.own_keys.apply(&mut config);
        check_id(context, config.id, None)?;
        context.workspaces()?.create(&name, &config)?;
        let done = ensure_key(context, &self.orchestrator, &name, self.right)
            .and_then(|issued| look(context, &name, self.right).map(|()| issued));
        match done {
            Ok(issued) => Ok(Meant {
                name,
                issued: issued.then_some(self.right),
            }),
            Err(failure) => {
                let returned = give_back(context, &self.orchestrator, &name, &[self.right]);
                if let Err(left) = returned {
                    let hint = left.hint.as_deref().unwrap_or_default();
                    context.output.warn(&left.message, hint);
                }
                context.workspaces()?.delete(&name)?;
                Err(failure)
            }
        }
    }

    /// A place that somebody else names gets the user's own keys only when the user says so:
    /// it sees them used, and a session's token whole.
    fn check_trust(&self, workspace: &Workspace) -> Result<()> {
        if workspace.backend == api::Backend::Managed || self.own_keys != Settled::Own {
            return Ok(());
        }
        let is_mine = own_handle(self.context, &self.orchestrator)? == workspace.handle;
        let config = config_of(self.orchestrator.url(), workspace, Default::default())?;
        let clear = config.endpoint.as_ref().is_some_and(|e| e.is_in_clear());
        if is_mine && !clear {
            return Ok(());
        }
        let text = format!(
            "{} of artifacts://{}/{} at {} would be opened with your own keys",
            place(&config),
            workspace.handle,
            workspace.name,
            endpoint(&config)
        );
        Err(Failure::new(Code::NotAllowed, text).with_hint(
            "if you trust that place with them, say which ones: --key-profile PROFILE (default is the usual one)",
        ))
    }
}

fn check_state(workspace: &Workspace) -> Result<()> {
    let address = format!("artifacts://{}/{}", workspace.handle, workspace.name);
    match workspace.state {
        WorkspaceState::Active => Ok(()),
        WorkspaceState::PendingFormat => Err(Failure::new(
            Code::OrchestratorConflict,
            format!("{address} is reserved and not formatted yet"),
        )
        .with_hint(format!(
            "finish it with: artifacts workspace create {}",
            workspace.name
        ))),
        WorkspaceState::Deleting | WorkspaceState::Deleted => Err(Failure::new(
            Code::NotAtOrchestrator,
            format!("{address} was deleted"),
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
    let longer = format!("{handle}_{name}").parse().ok();
    let longer = longer.filter(|longer| workspaces.contains(longer).is_ok_and(|taken| !taken));
    longer.ok_or_else(|| credentials::Error::WorkspaceExists { name: name.clone() }.into())
}

/// The marker in the bucket must be this workspace's; then the store is asked what it can do.
fn look(context: &Context, name: &WorkspaceName, right: Right) -> Result<()> {
    let mut config = context.workspaces()?.load(name)?;
    let mut used = config.clone();
    right.settled().apply(&mut used);
    let bucket = connect(context, &used)?;
    let bucket = bucket.as_ref();
    context.block_on(async {
        first_use(bucket, &config, used.uses_issued_key()).await?;
        let marker = Marker::read(bucket, &config.prefix).await?;
        if marker.is_none_or(|marker| marker.id != config.id) {
            return Err(another(&config));
        }
        config.capabilities = Some(probe(bucket, &config).await?);
        Ok(())
    })?;
    Ok(context.workspaces()?.save(name, &config)?)
}

fn another(config: &WorkspaceConfig) -> Failure {
    let text = format!(
        "{} does not hold the workspace that the orchestrator names",
        place(config)
    );
    Failure::new(Code::NotInBucket, text)
        .with_hint("ask its owner; was it removed from the bucket?")
}
