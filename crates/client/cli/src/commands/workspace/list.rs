//! `artifacts workspace list`.

use std::collections::BTreeMap;

use api::WorkspaceState;
use clap::Args;
use credentials::Endpoint;
use model::WorkspaceName;
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use super::view::View;
use crate::context::Context;
use crate::failure::{Code, Failure, Result};
use crate::output::table;

use crate::workspace::{endpoint, place};

/// Which ones.
#[derive(Args)]
pub(crate) struct List {
    /// Those of the tenant at the orchestrator, whether or not this machine knows them.
    #[arg(long)]
    remote: bool,
}

pub(crate) fn run(list: &List, context: &Context) -> Result<()> {
    match list.remote {
        true => remote(context),
        false => local(context),
    }
}

/// Asks the orchestrator.
fn remote(context: &Context) -> Result<()> {
    let orchestrator = context.orchestrator()?;
    let mut all = context.block_on(async { Ok(orchestrator.workspaces().await?) })?;
    all.retain(|workspace| workspace.state != WorkspaceState::Deleted);
    let here = known_here(context, orchestrator.url())?;
    context.output.data(&json!({ "workspaces": all }), || {
        let rows = all.iter().map(|workspace| {
            let here = here.get(&workspace.workspace_id.uuid());
            vec![
                format!("{}/{}", workspace.handle, workspace.name),
                format!("s3://{}/{}", workspace.place.bucket, workspace.place.prefix),
                word(&workspace.backend),
                word(&workspace.state),
                here.map_or_else(|| "-".into(), ToString::to_string),
            ]
        });
        match all.len() {
            0 => String::new(),
            _ => table(
                &["WORKSPACE", "PLACE", "STORAGE", "STATE", "HERE"],
                rows.collect(),
            ),
        }
    })?;
    if all.is_empty() {
        context
            .output
            .note("No workspaces yet; make one with: artifacts workspace create NAME");
    }
    Ok(())
}

/// The workspaces of an orchestrator that this machine knows, by their numbers there.
fn known_here(context: &Context, url: &Endpoint) -> Result<BTreeMap<Uuid, WorkspaceName>> {
    let workspaces = context.workspaces()?;
    let known = |name: WorkspaceName| {
        let known = workspaces.load(&name).ok()?.orchestrator?;
        (known.url == *url).then_some((known.workspace_id, name))
    };
    Ok(workspaces.names()?.into_iter().filter_map(known).collect())
}

/// The word on the wire.
pub(super) fn word(value: &impl Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or_default().replace('_', " ")
}

/// Lists all that can be read, then fails where one could not.
fn local(context: &Context) -> Result<()> {
    let workspaces = context.workspaces()?;
    let mut known = Vec::new();
    let mut broken = Vec::new();
    for name in workspaces.names()? {
        match workspaces.load(&name) {
            Ok(config) => known.push((name, config)),
            Err(error) => broken.push(error),
        }
    }
    let views: Vec<View<'_>> = known.iter().map(|(n, c)| View::new(n, c)).collect();
    context.output.data(&json!({ "workspaces": views }), || {
        let rows = known.iter().map(|(name, config)| {
            let keys = match (&config.identity, &config.aws_profile) {
                (Some(identity), _) => format!("identity {identity}"),
                (None, Some(name)) => format!("aws {name}"),
                (None, None) if config.uses_issued_key() => "issued".to_owned(),
                (None, None) => config.profile.to_string(),
            };
            vec![name.to_string(), place(config), endpoint(config), keys]
        });
        match known.len() {
            0 => String::new(),
            _ => table(&["NAME", "PLACE", "STORE", "KEYS"], rows.collect()),
        }
    })?;
    if known.is_empty() && broken.is_empty() {
        context.output.note(
            "No workspaces yet; make one with: artifacts workspace create NAME --bucket BUCKET",
        );
    }
    match broken.into_iter().next() {
        None => Ok(()),
        Some(error) => Err(Failure {
            code: Code::LeftUndone,
            ..error.into()
        }),
    }
}
