//! `artifacts workspace create` with an orchestrator: reserve, format, confirm.
//!
//! Each phase may be interrupted; the same command goes on where it was. The name is reserved
//! first, so that two machines never format one place; the marker in the bucket carries the
//! workspace's number, so that whoever goes on knows its own.

use api::{CreateWorkspace, ErrorCode, Workspace, WorkspaceState};
use bucket::Bucket;
use control::{ControlError, Orchestrator};
use credentials::{Endpoint, KeyProfile, WorkspaceConfig};
use model::{Handle, WorkspaceName};

use super::create::{check_around, read_only, taken};
use crate::context::Context;
use crate::failure::{Code, Failure, Result};
use crate::marker::Marker;
use crate::registered::{Right, check_id, config_of, ensure_key, own_handle};
use crate::workspace::{connect, first_page, first_use, place, probe, region};

/// Amazon S3, as a place that others read names it.
const AMAZON: &str = "https://s3.amazonaws.com";

/// What shall be made.
pub(crate) enum Wanted {
    /// In the tenant's bucket, with a key that is issued.
    Managed,
    /// In a bucket of the user's, with the user's keys.
    Own(Box<WorkspaceConfig>),
}

/// Makes a workspace, or goes on making it.
pub(crate) fn run(
    orchestrator: &Orchestrator,
    name: &WorkspaceName,
    wanted: &Wanted,
    context: &Context,
) -> Result<WorkspaceConfig> {
    let here = local(name, context)?;
    let handle = own_handle(context, orchestrator)?;
    if let Wanted::Own(config) = wanted {
        look_first(context, orchestrator, &handle, name, config)?;
    }
    let address = format!("artifacts://{handle}/{name}");
    let say = |text: &str| context.output.note(text);

    say(&format!("Phase 1: reserving {address} on the orchestrator"));
    let request = request(name, wanted, context)?;
    let (workspace, is_new) = reserve(context, orchestrator, &request, here.as_ref())?;
    let id = workspace.workspace_id;
    say(&match (is_new, workspace.state) {
        (true, _) => format!("Workspace {address} reserved (status=pending_format, id={id})"),
        (false, WorkspaceState::Active) => {
            format!("Workspace {address} is there already (status=active, id={id})")
        }
        (false, _) => format!(
            "Workspace {address} was reserved before (status=pending_format, id={id}); going on"
        ),
    });
    let mut config = remember(context, orchestrator.url(), name, &workspace, wanted, here)?;

    say(&format!("Phase 2: formatting {}", place(&config)));
    let is_fresh = ensure_key(context, orchestrator, name, Right::Login)?;
    config.orchestrator = context.workspaces()?.load(name)?.orchestrator;
    format(context, &mut config, is_fresh)?;
    context.workspaces()?.save(name, &config)?;

    say(&format!("Phase 3: confirming {address}"));
    context.block_on(async { Ok(orchestrator.confirm_format(&handle, name).await?) })?;
    say(&format!("Workspace {address} is ready (status=active)"));
    Ok(config)
}

/// What this machine knows under the name, if that is a workspace of an orchestrator.
fn local(name: &WorkspaceName, context: &Context) -> Result<Option<WorkspaceConfig>> {
    let workspaces = context.workspaces()?;
    if !workspaces.contains(name)? {
        return Ok(None);
    }
    let known = workspaces.load(name)?;
    match known.orchestrator {
        Some(_) => Ok(Some(known)),
        None => Err(credentials::Error::WorkspaceExists { name: name.clone() }.into()),
    }
}

/// Before a name is reserved: the user's own place answers and is free, or is what an earlier
/// try, here or elsewhere, has formatted for this name.
fn look_first(
    context: &Context,
    orchestrator: &Orchestrator,
    handle: &Handle,
    name: &WorkspaceName,
    config: &WorkspaceConfig,
) -> Result<()> {
    let bucket = connect(context, config)?;
    context.block_on(async {
        let page = first_page(bucket.as_ref(), config).await?;
        let Some(marker) = Marker::read(bucket.as_ref(), &config.prefix).await? else {
            return check_around(bucket.as_ref(), config, &page).await;
        };
        let reserved = match orchestrator.workspace(handle, name).await {
            Ok(workspace) => Some(workspace.workspace_id.uuid()),
            Err(error) if error.is(ErrorCode::NotFound) => None,
            Err(error) => return Err(error.into()),
        };
        match reserved == Some(marker.id) {
            true => Ok(()),
            false => Err(taken(config)),
        }
    })
}

fn request(name: &WorkspaceName, wanted: &Wanted, context: &Context) -> Result<CreateWorkspace> {
    let (backend, place) = match wanted {
        Wanted::Managed => (api::Backend::Managed, None),
        Wanted::Own(config) => (api::Backend::Byo, Some(public_place(context, config)?)),
    };
    Ok(CreateWorkspace {
        name: name.clone(),
        backend,
        place,
    })
}

/// Where the user's own workspace lies, in the orchestrator's words: names and nothing else.
fn public_place(context: &Context, config: &WorkspaceConfig) -> Result<api::Place> {
    let chain = context.workspace_keys(config)?;
    let endpoint = config.endpoint.as_ref().map_or(AMAZON, |e| e.as_str());
    let unfit = |error: api::InvalidPlace| {
        Failure::new(
            Code::InvalidValue,
            format!("the orchestrator cannot name {}: {error}", place(config)),
        )
        .with_hint("use a bucket and prefix that it can name, or --local")
    };
    Ok(api::Place {
        bucket: config.bucket.as_str().parse().map_err(unfit)?,
        endpoint_url: endpoint.parse().map_err(unfit)?,
        region: region(&chain, config)?.parse().map_err(unfit)?,
        prefix: config.prefix.as_str().parse().map_err(unfit)?,
    })
}

/// The workspace, and whether the name was reserved just now.
fn reserve(
    context: &Context,
    orchestrator: &Orchestrator,
    request: &CreateWorkspace,
    here: Option<&WorkspaceConfig>,
) -> Result<(Workspace, bool)> {
    let answer = context.block_on(async { Ok(orchestrator.reserve(request).await) })?;
    let existing = match answer {
        Ok(workspace) => return Ok((workspace, true)),
        Err(ControlError::Exists { existing }) => *existing,
        Err(error) => return Err(error.into()),
    };
    let known = here.and_then(|here| here.orchestrator.as_ref());
    let is_ours = known.is_some_and(|known| known.workspace_id == existing.workspace_id.uuid());
    let same_place = request
        .place
        .as_ref()
        .is_none_or(|place| *place == existing.place);
    let same = existing.backend == request.backend && same_place;
    match existing.state {
        WorkspaceState::PendingFormat if same => Ok((existing, false)),
        // The last answer was lost.
        WorkspaceState::Active if same && is_ours => Ok((existing, false)),
        _ => Err(in_use(&existing)),
    }
}

fn in_use(existing: &Workspace) -> Failure {
    let address = format!("{}/{}", existing.handle, existing.name);
    match existing.state {
        WorkspaceState::Active => Failure::new(
            Code::WorkspaceExists,
            format!("there is a workspace artifacts://{address} already"),
        )
        .with_hint(format!("mount it with: artifacts mount {address} FOLDER")),
        WorkspaceState::PendingFormat => Failure::new(
            Code::WorkspaceExists,
            format!("artifacts://{address} is reserved for another place"),
        )
        .with_hint(format!(
            "go on there, or give the name up with: artifacts workspace delete --everywhere {address}"
        )),
        WorkspaceState::Deleting | WorkspaceState::Deleted => Failure::new(
            Code::OrchestratorConflict,
            format!("artifacts://{address} is being deleted"),
        )
        .with_hint("try again in a while, or take another name"),
    }
}

/// Writes the workspace's file, or takes the one that is there.
fn remember(
    context: &Context,
    url: &Endpoint,
    name: &WorkspaceName,
    workspace: &Workspace,
    wanted: &Wanted,
    here: Option<WorkspaceConfig>,
) -> Result<WorkspaceConfig> {
    if let Some(here) = here {
        let known = here.orchestrator.as_ref();
        if known.is_some_and(|known| known.workspace_id == workspace.workspace_id.uuid()) {
            return Ok(here);
        }
        return Err(credentials::Error::WorkspaceExists { name: name.clone() }.into());
    }
    let mut config = config_of(url, workspace, KeyProfile::default())?;
    if let Wanted::Own(own) = wanted {
        config = WorkspaceConfig {
            id: config.id,
            orchestrator: config.orchestrator,
            ..own.as_ref().clone()
        };
    }
    check_id(context, config.id, Some(name))?;
    context.workspaces()?.create(name, &config)?;
    Ok(config)
}

/// Marks the place as this workspace, and learns what its store can do.
fn format(context: &Context, config: &mut WorkspaceConfig, is_fresh: bool) -> Result<()> {
    let bucket = connect(context, config)?;
    let bucket = bucket.as_ref();
    context.block_on(async {
        first_use(bucket, config, is_fresh).await?;
        match Marker::read(bucket, &config.prefix).await? {
            Some(marker) if marker.id == config.id => {}
            Some(_) => return Err(taken(config)),
            None => mark(bucket, config).await?,
        }
        config.capabilities = Some(probe(bucket, config).await?);
        Ok(())
    })
}

async fn mark(bucket: &dyn Bucket, config: &WorkspaceConfig) -> Result<()> {
    let marker = Marker {
        id: config.id,
        ..Marker::new()
    };
    match marker.write(bucket, &config.prefix).await {
        Ok(()) => Ok(()),
        Err(bucket::Error::PermissionDenied { .. }) => Err(read_only(config)),
        // Another machine goes on with the same workspace, or something else took the place.
        Err(bucket::Error::Precondition { .. }) => {
            match Marker::read(bucket, &config.prefix).await? {
                Some(there) if there.id == config.id => Ok(()),
                _ => Err(taken(config)),
            }
        }
        Err(error) => Err(error.into()),
    }
}
