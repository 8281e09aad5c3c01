//! A workspace as it is shown.

use bucket::probe::Capabilities;
use credentials::{Registration, WorkspaceConfig};
use model::WorkspaceName;
use serde::Serialize;
use uuid::Uuid;

use crate::context::Context;

/// The fields that programs see, in all commands the same.
#[derive(Serialize)]
pub(crate) struct View<'a> {
    pub(crate) name: &'a WorkspaceName,
    pub(crate) id: Uuid,
    pub(crate) backend: credentials::Backend,
    pub(crate) bucket: &'a str,
    pub(crate) prefix: &'a str,
    pub(crate) endpoint: Option<&'a str>,
    pub(crate) region: Option<&'a str>,
    pub(crate) profile: &'a str,
    pub(crate) identity: Option<&'a str>,
    pub(crate) aws_profile: Option<&'a str>,
    pub(crate) capabilities: Option<&'a Capabilities>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) orchestrator: Option<&'a Registration>,
}

impl<'a> View<'a> {
    pub(crate) fn new(name: &'a WorkspaceName, config: &'a WorkspaceConfig) -> Self {
        Self {
            name,
            id: config.id,
            backend: config.backend,
            bucket: config.bucket.as_str(),
            prefix: config.prefix.as_str(),
            endpoint: config.endpoint.as_ref().map(|e| e.as_str()),
            region: config.region.as_deref(),
            profile: config.profile.as_str(),
            identity: config.identity.as_ref().map(|name| name.as_str()),
            aws_profile: config.aws_profile.as_deref(),
            capabilities: config.capabilities.as_ref(),
            orchestrator: config.orchestrator.as_ref(),
        }
    }
}

/// Tells what the workspace's store, or the keys to it, cannot do.
pub(crate) fn warn_of(config: &WorkspaceConfig, context: &Context) {
    let capabilities = config.capabilities.as_ref();
    for (text, hint) in capabilities.into_iter().flat_map(shortcomings) {
        context.output.warn(text, hint);
    }
}

/// What a store (or the keys to it) cannot do with what follows from it, and what helps.
pub(crate) fn shortcomings(capabilities: &Capabilities) -> Vec<(&'static str, &'static str)> {
    if !capabilities.writable {
        return vec![(
            "the keys may only read: mounts will be read-only",
            "attach with keys that may write, for example with --profile",
        )];
    }
    let several = "let one machine write at a time, or use a store with conditional writes";
    let lacks = [
        (
            capabilities.put_if_absent && capabilities.put_if_match,
            "the store ignores conditions on writes: two writers of one file cannot be told apart for certain, so the mount looks before each write",
            several,
        ),
        (
            capabilities.delete_if_match,
            "the store ignores conditions on deletes: a file changed elsewhere may be deleted with its change",
            several,
        ),
        (
            capabilities.copy,
            "the store cannot copy: renaming uploads the file again",
            "nothing is lost by it but time",
        ),
    ];
    let lacking = lacks.into_iter().filter(|(has, ..)| !has);
    lacking.map(|(_, text, hint)| (text, hint)).collect()
}
