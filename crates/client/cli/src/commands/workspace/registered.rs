//! A workspace that an orchestrator knows: what this machine keeps of it, and the key that it
//! was issued.
//!
//! A key is asked for once and kept where the user's own are: in the configured keyring, else
//! in the cache file. Its number is in the workspace's file, so that it can be given back.

use api::{CredentialId, ErrorCode, IssueCredential, IssuedCredential, Workspace};
use control::{ControlError, Orchestrator};
use credentials::{
    Backend, Endpoint, Field, FieldValue, KeyFile, KeyProfile, Place, Registration, StorageKeys,
    WorkspaceConfig,
};
use model::WorkspaceName;

use crate::context::{Context, check_lasting};
use crate::failure::{Code, Failure, Result};
use crate::orchestrator::machine_name;

/// The file of a workspace that the orchestrator at this address has told of; with the key of
/// its own if that is issued, else with the keys of a profile.
pub(crate) fn config_of(
    url: &Endpoint,
    workspace: &Workspace,
    own_keys: Option<KeyProfile>,
) -> Result<WorkspaceConfig> {
    let place = &workspace.place;
    let registration = Registration {
        url: url.clone(),
        handle: workspace.handle.clone(),
        name: workspace.name.clone(),
        workspace_id: workspace.workspace_id.uuid(),
        managed: workspace.backend == api::Backend::Managed,
        credential_id: None,
    };
    let profile = match own_keys {
        Some(profile) if !registration.managed => profile,
        _ => registration.key_profile(),
    };
    Ok(WorkspaceConfig {
        id: registration.workspace_id,
        backend: Backend::S3,
        bucket: place.bucket.as_str().parse()?,
        endpoint: Some(place.endpoint_url.as_str().parse()?),
        region: Some(place.region.to_string()),
        prefix: place.prefix.as_str().parse()?,
        profile,
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
    let workspaces = context.workspaces()?;
    for name in workspaces.names()? {
        // A file that cannot be read says nothing about that.
        let Ok(config) = workspaces.load(&name) else {
            continue;
        };
        if config.orchestrator.as_ref().is_some_and(&is_it) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Makes sure that this machine has a key to the workspace that counts, and that the file
/// names it. Whether a new one was issued.
///
/// Where the orchestrator cannot tell, the key that is here is used: the store knows.
pub(crate) fn ensure_key(
    context: &Context,
    orchestrator: &Orchestrator,
    name: &WorkspaceName,
    config: &mut WorkspaceConfig,
) -> Result<bool> {
    let chain = context.workspace_keys(config)?;
    let Some(known) = config.orchestrator.clone().filter(|known| known.managed) else {
        return Ok(false);
    };
    if let Some(id) = known.credential_id.filter(|_| chain.resolve().is_ok()) {
        match context.block_on(async { Ok(orchestrator.key_in_use(id.into()).await) })? {
            Ok(()) => return Ok(false),
            Err(error) if is_over(&error) => {
                context.output.note(
                    "The key that this machine had for the workspace does not count any more; asking for another.",
                );
            }
            Err(error) => {
                let text =
                    format!("the orchestrator cannot say whether the key here counts: {error}");
                tracing::warn!("{text}");
                context.output.note(&format!(
                    "The key of this machine is used as it is: {text}."
                ));
                return Ok(false);
            }
        }
    }
    if let Place::Keyring(keyring) = chain.place() {
        check_lasting(keyring.as_ref())?;
    }
    let wanted = IssueCredential {
        workspace_id: Some(known.workspace_id.into()),
        description: Some(machine_name()),
        ..IssueCredential::default()
    };
    let issued = context.block_on(async { Ok(orchestrator.issue(&wanted).await?) })?;
    let id = issued.credential_id;
    match keep(context, &chain, name, config, issued) {
        Ok(()) => Ok(true),
        // Nobody else knows its secret: it must not stay alive.
        Err(failure) => match context.block_on(async { Ok(orchestrator.revoke_key(id).await?) }) {
            Ok(_) => Err(failure),
            Err(left) => Err(Failure {
                message: format!(
                    "{}; and key {id} could not be taken back: {}",
                    failure.message, left.message
                ),
                hint: Some(format!(
                    "take it back with: artifacts platform key revoke {id}"
                )),
                ..failure
            }),
        },
    }
}

/// Whether the orchestrator says that a key does not count.
fn is_over(error: &ControlError) -> bool {
    error.is(ErrorCode::Conflict) || error.is(ErrorCode::NotFound)
}

fn keep(
    context: &Context,
    chain: &StorageKeys,
    name: &WorkspaceName,
    config: &mut WorkspaceConfig,
    issued: IssuedCredential,
) -> Result<()> {
    let value = |text: &str, what: &str| FieldValue::new(text, what);
    let id = value(&issued.access_key, "access_key")?;
    let secret = value(issued.secret_key.expose(), "secret_key")?;
    chain.update(&context.paths()?, |file: &mut KeyFile, profile| {
        file.clear(profile);
        file.set(profile, Field::AccessKeyId, &id);
        file.set(profile, Field::SecretAccessKey, &secret);
        Ok(())
    })?;
    if let Some(known) = &mut config.orchestrator {
        known.credential_id = Some(issued.credential_id.uuid());
    }
    Ok(context.workspaces()?.save(name, config)?)
}

/// Gives the key of this machine back, and forgets it here; what is left is told.
///
/// # Errors
/// It is still alive: [`Code::LeftUndone`].
pub(crate) fn give_back(
    context: &Context,
    orchestrator: &Orchestrator,
    name: &WorkspaceName,
    config: &mut WorkspaceConfig,
) -> Result<bool> {
    let Some(id) = config
        .orchestrator
        .as_ref()
        .and_then(|known| known.credential_id)
    else {
        return Ok(false);
    };
    let id = CredentialId::from(id);
    let asked = context.block_on(async { Ok(orchestrator.revoke_key(id).await) })?;
    match asked {
        Ok(_) => {}
        // Somebody else was faster.
        Err(error) if error.is(ErrorCode::NotFound) => {}
        Err(error) => {
            let failure = Failure::from(error);
            return Err(Failure::new(
                Code::LeftUndone,
                format!("the key of this machine to {name} is still alive: {}", failure.message),
            )
            .with_hint(format!(
                "run the command again, or take it back elsewhere: artifacts platform key revoke {id}"
            )));
        }
    }
    let chain = context.workspace_keys(config)?;
    if config.uses_issued_key() {
        chain.update(&context.paths()?, |file, profile| {
            file.clear(profile);
            Ok(())
        })?;
    }
    if let Some(known) = &mut config.orchestrator {
        known.credential_id = None;
    }
    context.workspaces()?.save(name, config)?;
    Ok(true)
}
