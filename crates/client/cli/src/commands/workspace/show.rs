//! `artifacts workspace show`.

use clap::Args;
use credentials::{FieldValue, StorageKeys, WorkspaceConfig};
use model::{Handle, WorkspaceAddress, WorkspaceName};
use serde::Serialize;
use serde_json::json;

use super::list::word;
use super::view::{View, shortcomings};
use crate::context::Context;
use crate::failure::Result;
use crate::key_choice::KeyChoice;
use crate::output::pairs;
use crate::registered::known_as;
use crate::workspace::{endpoint, place, region};

/// Shows what this machine knows of a workspace, and asks nothing of the store; of HANDLE/NAME
/// it shows what the orchestrator knows.
#[derive(Args)]
pub(crate) struct Show {
    /// The workspace.
    #[arg(value_name = "NAME|HANDLE/NAME")]
    name: WorkspaceAddress,
    #[command(flatten)]
    keys: KeyChoice,
}

/// The view, and what the key chain adds.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    view: View<'a>,
    path: String,
    region_in_use: Option<String>,
    access_key_id: Option<String>,
    keys_from: Option<String>,
}

pub(crate) fn run(show: &Show, context: &Context) -> Result<()> {
    match &show.name.handle {
        Some(handle) => remote(handle, &show.name.name, context),
        None => local(show, context),
    }
}

fn remote(handle: &Handle, name: &WorkspaceName, context: &Context) -> Result<()> {
    let orchestrator = context.orchestrator()?;
    let (found, mounts) = context.block_on(async {
        let found = orchestrator.workspace(handle, name).await?;
        let mounts = orchestrator.mounts(found.workspace_id).await?;
        Ok((found, mounts))
    })?;
    let number = found.workspace_id.uuid();
    let url = orchestrator.url().clone();
    let here = known_as(context, |known| {
        known.workspace_id == number && known.url == url
    })?;
    let data = json!({ "workspace": found, "mounts": mounts, "here": here });
    context.output.data(&data, || {
        let place = &found.place;
        let machines = mounts.iter().map(|mount| mount.report.machine.to_string());
        let machines: Vec<String> = machines.collect();
        pairs(&[
            ("workspace", format!("artifacts://{handle}/{name}")),
            ("id", found.workspace_id.to_string()),
            ("storage", word(&found.backend)),
            ("place", format!("s3://{}/{}", place.bucket, place.prefix)),
            ("store", place.endpoint_url.to_string()),
            ("region", place.region.to_string()),
            ("state", word(&found.state)),
            ("made", found.created_at.to_string()),
            ("mounted on", machines.join(", ")),
            (
                "here",
                here.map_or_else(|| "-".into(), |name| name.to_string()),
            ),
        ])
    })
}

fn local(show: &Show, context: &Context) -> Result<()> {
    let name = &show.name.name;
    let workspaces = context.workspaces()?;
    let config = context.workspace(name, &show.keys.settled(context)?)?;
    let chain = context.workspace_keys(&config)?;
    let path = workspaces.path(name).display().to_string();
    let shown = Shown::new(View::new(name, &config), path, &chain, &config);
    context.output.data(&shown, || shown.text(&config))
}

impl<'a> Shown<'a> {
    fn new(view: View<'a>, path: String, chain: &StorageKeys, config: &WorkspaceConfig) -> Self {
        let keys = chain.resolve().ok().map(|keys| keys.access_key_id);
        Self {
            view,
            path,
            region_in_use: region(chain, config).ok(),
            access_key_id: keys.as_ref().map(|id| id.value.masked()),
            keys_from: keys.map(|id| id.source.to_string()),
        }
    }

    fn text(&self, config: &WorkspaceConfig) -> String {
        let none = || "-".to_owned();
        let keys = match (&self.access_key_id, &self.keys_from) {
            (Some(id), Some(from)) if id != FieldValue::STARS => format!("{id}, from {from}"),
            (_, Some(from)) => format!("from {from}"),
            _ => format!(
                "none; see: artifacts storage show --profile {}",
                config.profile
            ),
        };
        let lacks = match &config.capabilities {
            None => "not known: it was never asked".to_owned(),
            Some(capabilities) => {
                let texts: Vec<_> = shortcomings(capabilities).iter().map(|l| l.0).collect();
                match texts.len() {
                    0 => "nothing".to_owned(),
                    _ => texts.join("; "),
                }
            }
        };
        pairs(&[
            ("name", self.view.name.to_string()),
            ("id", config.id.to_string()),
            ("place", place(config)),
            ("store", endpoint(config)),
            ("region", self.region_in_use.clone().unwrap_or_else(none)),
            ("keys", keys),
            ("store lacks", lacks),
            (
                "orchestrator",
                self.view
                    .orchestrator
                    .map_or_else(none, |known| format!("{known} at {}", known.url)),
            ),
            ("file", self.path.clone()),
        ])
    }
}
