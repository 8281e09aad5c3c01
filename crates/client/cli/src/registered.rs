//! Workspaces that an orchestrator knows: what this machine keeps of them, and the keys that it
//! was issued.
//!
//! A key is asked for once and kept where the user's own are: in the configured keyring, else
//! in the cache file. Its number is in the workspace's file, so that it can be given back. One
//! command at a time looks, asks and keeps, so that there is never a key that nobody knows of.

use std::time::Duration;

use api::{CredentialId, CredentialState, ErrorCode, IssueCredential, IssuedCredential, Workspace};
use control::{ControlError, Orchestrator};
use credentials::{
    Backend, Endpoint, Field, FieldValue, Folder, IssuedKey, KeyProfile, Lock, Place, Registration,
    StorageKeys, WorkspaceConfig,
};
use model::{Handle, WorkspaceName};
use tokio::time::timeout;
use uuid::Uuid;

use crate::context::{Context, check_lasting};
use crate::failure::{Code, Failure, Result};
use crate::key_choice::Settled;
use crate::orchestrator::machine_name;

/// How long a mount waits to hear whether its key counts: the store will tell as well.
const A_MOMENT: Duration = Duration::from_secs(3);

/// By what right a key is asked for. Each has a key of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Right {
    /// This machine's login.
    Login,
    /// A ticket.
    Ticket,
}

impl Right {
    /// The workspace's file, as it is used with this right.
    pub(crate) fn settled(self) -> Settled {
        match self {
            Self::Login => Settled::Own,
            Self::Ticket => Settled::Ticket,
        }
    }

    fn key(self, known: &mut Registration) -> &mut Option<IssuedKey> {
        match self {
            Self::Login => &mut known.key,
            Self::Ticket => &mut known.ticket_key,
        }
    }

    /// The chain of the key.
    fn chain(self, context: &Context, config: &WorkspaceConfig) -> Result<StorageKeys> {
        let mut config = config.clone();
        self.settled().apply(&mut config);
        context.workspace_keys(&config)
    }
}

/// The tenant's short name that the login stands in.
pub(crate) fn own_handle(context: &Context, orchestrator: &Orchestrator) -> Result<Handle> {
    let me = context.block_on(async { Ok(orchestrator.whoami().await?) })?;
    me.handle.ok_or_else(|| {
        let text = format!("the login at {} stands in no tenant", orchestrator.url());
        Failure::new(Code::NotAllowed, text)
            .with_hint("ask an operator to make you a member of one, then run: artifacts login")
    })
}

/// The file of a workspace that the orchestrator at this address has told of; with the key of
/// its own if that is issued, else with the keys of a profile.
pub(crate) fn config_of(
    url: &Endpoint,
    workspace: &Workspace,
    own_keys: KeyProfile,
) -> Result<WorkspaceConfig> {
    let place = &workspace.place;
    let registration = Registration {
        url: url.clone(),
        handle: workspace.handle.clone(),
        name: workspace.name.clone(),
        workspace_id: workspace.workspace_id.uuid(),
        managed: workspace.backend == api::Backend::Managed,
        key: None,
        ticket_key: None,
    };
    Ok(WorkspaceConfig {
        id: registration.workspace_id,
        backend: Backend::S3,
        bucket: place.bucket.as_str().parse()?,
        endpoint: Some(place.endpoint_url.as_str().parse()?),
        region: Some(place.region.to_string()),
        prefix: place.prefix.as_str().parse()?,
        profile: match registration.managed {
            true => registration.key_profile(),
            false => own_keys,
        },
        identity: None,
        aws_profile: None,
        capabilities: None,
        orchestrator: Some(registration),
        mount: toml::Table::new(),
        unknown: toml::Table::new(),
    })
}

/// The name under which this machine knows a workspace of an orchestrator, if it does.
pub(crate) fn known_as(
    context: &Context,
    is_it: impl Fn(&Registration) -> bool,
) -> Result<Option<WorkspaceName>> {
    let is_it = |config: &WorkspaceConfig| config.orchestrator.as_ref().is_some_and(&is_it);
    find(context, is_it)
}

/// Refuses an id that another workspace of this machine has: caches and journals are named
/// after it, and what waits in one's journal must never go into the other's bucket.
pub(crate) fn check_id(context: &Context, id: Uuid, name: Option<&WorkspaceName>) -> Result<()> {
    let found = find(context, |config| config.id == id)?;
    let Some(other) = found.filter(|other| Some(other) != name) else {
        return Ok(());
    };
    let text = format!("this workspace is known here already, as {other}");
    Err(Failure::new(Code::WorkspaceExists, text).with_hint(format!(
        "use that name, or forget it with: artifacts workspace delete {other}"
    )))
}

fn find(
    context: &Context,
    is_it: impl Fn(&WorkspaceConfig) -> bool,
) -> Result<Option<WorkspaceName>> {
    let workspaces = context.workspaces()?;
    for name in workspaces.names()? {
        // A file that cannot be read says nothing about that.
        if workspaces.load(&name).is_ok_and(|config| is_it(&config)) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Makes sure that this machine has a key to the workspace that counts, and that the
/// workspace's file names it. Whether a new one was issued.
///
/// Where the orchestrator cannot tell, the key that is here is used: the store knows.
pub(crate) fn ensure_key(
    context: &Context,
    orchestrator: &Orchestrator,
    name: &WorkspaceName,
    right: Right,
) -> Result<bool> {
    let mut config = context.workspaces()?.load(name)?;
    let Some(known) = config.orchestrator.as_ref().filter(|known| known.managed) else {
        return Ok(false);
    };
    let _turn = turn(context, known)?;
    // Another command may have been at it.
    config = context.workspaces()?.load(name)?;
    let chain = right.chain(context, &config)?;
    let kept = config
        .orchestrator
        .as_mut()
        .and_then(|known| *right.key(known));
    if let Some(key) = kept.filter(|_| chain.resolve().is_ok())
        && is_good(context, orchestrator, key)?
    {
        return Ok(false);
    }
    if let Place::Keyring(keyring) = chain.place() {
        check_lasting(keyring.as_ref(), "keep issued keys where they last")?;
    }
    issue(context, orchestrator, name, &mut config, right, &chain)?;
    Ok(true)
}

/// Lets one command at a time deal with the keys to a workspace.
fn turn(context: &Context, known: &Registration) -> Result<Lock> {
    let state = Folder::create(context.paths()?.state())?;
    let folder = state.path().join("keys").join(known.key_profile().as_str());
    Ok(Folder::create(&folder)?.lock()?)
}

fn is_good(context: &Context, orchestrator: &Orchestrator, key: IssuedKey) -> Result<bool> {
    let asked = orchestrator.key_in_use(key.id.into());
    let asked = context.block_on(async { Ok(timeout(A_MOMENT, asked).await) })?;
    let reason = match asked {
        Ok(Ok(())) => return Ok(true),
        Ok(Err(error)) if error.is(ErrorCode::Conflict) || error.is(ErrorCode::NotFound) => {
            context.output.note(
                "The key that this machine had for the workspace does not count for this login; asking for another.",
            );
            return Ok(false);
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer in {} s", A_MOMENT.as_secs()),
    };
    context.output.note(&format!(
        "The key of this machine is used as it is: the orchestrator does not say whether it counts ({reason})."
    ));
    Ok(true)
}

fn issue(
    context: &Context,
    orchestrator: &Orchestrator,
    name: &WorkspaceName,
    config: &mut WorkspaceConfig,
    right: Right,
    chain: &StorageKeys,
) -> Result<()> {
    let number = config.orchestrator.as_ref().map(|known| known.workspace_id);
    let wanted = IssueCredential {
        workspace_id: number.map(Into::into),
        description: Some(machine_name()),
        ..IssueCredential::default()
    };
    let before = config
        .orchestrator
        .as_mut()
        .and_then(|known| *right.key(known));
    let issued = context.block_on(async { Ok(orchestrator.issue(&wanted).await?) })?;
    let id = issued.credential_id;
    let Err(failure) = keep(context, chain, name, config, right, &issued) else {
        match before {
            Some(before) if before.tenant_id == issued.tenant_id.uuid() => {
                end_quietly(context, orchestrator, before);
            }
            Some(before) => context.output.warn(
                &format!(
                    "key {} of another tenant is no longer known here, and may be alive",
                    before.id
                ),
                &format!(
                    "log in for that tenant and run: artifacts platform key revoke {}",
                    before.id
                ),
            ),
            None => {}
        }
        return Ok(());
    };
    // Nobody else knows its secret: it must not stay alive.
    let revoked = context.block_on(async { Ok(orchestrator.revoke_key(id).await?) });
    Err(match revoked {
        Ok(_) => failure,
        Err(left) => Failure {
            message: format!(
                "{}; and key {id} could not be taken back: {}",
                failure.message, left.message
            ),
            hint: Some(format!(
                "take it back with: artifacts platform key revoke {id}"
            )),
            ..failure
        },
    })
}

/// Takes back what another key has taken the place of. It may be another login's, or gone.
fn end_quietly(context: &Context, orchestrator: &Orchestrator, key: IssuedKey) {
    let asked = context.block_on(async { Ok(orchestrator.revoke_key(key.id.into()).await) });
    if let Ok(Err(error)) = asked
        && !error.is(ErrorCode::NotFound)
    {
        tracing::warn!(key = %key.id, %error, "an earlier key was not taken back");
    }
}

fn keep(
    context: &Context,
    chain: &StorageKeys,
    name: &WorkspaceName,
    config: &mut WorkspaceConfig,
    right: Right,
    issued: &IssuedCredential,
) -> Result<()> {
    let id = FieldValue::new(&issued.access_key, "access_key")?;
    let secret = FieldValue::new(issued.secret_key.expose(), "secret_key")?;
    chain.update(&context.paths()?, |file, profile| {
        file.clear(profile);
        file.set(profile, Field::AccessKeyId, &id);
        file.set(profile, Field::SecretAccessKey, &secret);
        Ok(())
    })?;
    if let Some(known) = &mut config.orchestrator {
        *right.key(known) = Some(IssuedKey {
            id: issued.credential_id.uuid(),
            tenant_id: issued.tenant_id.uuid(),
        });
    }
    Ok(context.workspaces()?.save(name, config)?)
}

/// What became of keys that were given back.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Returned {
    /// The store has confirmed that they are gone.
    pub(crate) revoked: usize,
    /// They count for the orchestrator no more; the store is asked again and again.
    pub(crate) unconfirmed: usize,
}

/// Gives the keys of this machine to a workspace back, and forgets them here.
///
/// # Errors
/// One is still alive: it stays known here.
pub(crate) fn give_back(
    context: &Context,
    orchestrator: &Orchestrator,
    name: &WorkspaceName,
    rights: &[Right],
) -> Result<Returned> {
    let mut returned = Returned::default();
    let mut config = context.workspaces()?.load(name)?;
    let Some(known) = &config.orchestrator else {
        return Ok(returned);
    };
    let _turn = turn(context, known)?;
    config = context.workspaces()?.load(name)?;
    for right in rights {
        let key = config
            .orchestrator
            .as_mut()
            .and_then(|known| *right.key(known));
        let Some(key) = key else {
            continue;
        };
        match take_back(context, orchestrator, name, key)? {
            true => returned.revoked += 1,
            false => returned.unconfirmed += 1,
        }
        forget_key(context, name, &mut config, *right)?;
    }
    Ok(returned)
}

/// Forgets on this machine a key that is none any more, or ends with its ticket.
pub(crate) fn forget_key(
    context: &Context,
    name: &WorkspaceName,
    config: &mut WorkspaceConfig,
    right: Right,
) -> Result<()> {
    let chain = right.chain(context, config)?;
    chain.update(&context.paths()?, |file, profile| {
        file.clear(profile);
        Ok(())
    })?;
    if let Some(known) = &mut config.orchestrator {
        *right.key(known) = None;
    }
    Ok(context.workspaces()?.save(name, config)?)
}

/// Whether the store has confirmed that the key is gone.
fn take_back(
    context: &Context,
    orchestrator: &Orchestrator,
    name: &WorkspaceName,
    key: IssuedKey,
) -> Result<bool> {
    let id = CredentialId::from(key.id);
    let asked = context.block_on(async { Ok(orchestrator.revoke_key(id).await) })?;
    let reason = match asked {
        Ok(row) => return Ok(row.state == CredentialState::Revoked),
        // Of other tenants' keys it says the same as of those that never were.
        Err(error) if error.is(ErrorCode::NotFound) => {
            if stands_in(context, orchestrator, key.tenant_id)? {
                return Ok(true);
            }
            "it was issued to another tenant than this login stands in".to_owned()
        }
        Err(error) if error.is_temporary() || is_over(&error) => return Err(error.into()),
        Err(error) => Failure::from(error).message,
    };
    let text = format!("the key of this machine to {name} is still alive: {reason}");
    Err(Failure::new(Code::LeftUndone, text).with_hint(format!(
        "log in for its tenant and run the command again, or let its owner run: artifacts platform key revoke {id}"
    )))
}

fn stands_in(context: &Context, orchestrator: &Orchestrator, tenant: Uuid) -> Result<bool> {
    let me = context.block_on(async { Ok(orchestrator.whoami().await?) })?;
    // A program with a token sees only what it was given itself.
    let is_person = matches!(me.identity, api::Identity::Person { .. });
    Ok(is_person && me.tenant_id.is_some_and(|id| id.uuid() == tenant))
}

/// Whether the login does not count.
pub(crate) fn is_over(error: &ControlError) -> bool {
    error.is(ErrorCode::Unauthenticated) || matches!(error, ControlError::NotLoggedIn { .. })
}
