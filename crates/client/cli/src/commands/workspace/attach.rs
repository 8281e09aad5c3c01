//! `artifacts workspace attach`.

use clap::Args;
use credentials::WorkspaceConfig;
use model::WorkspaceName;
use uuid::Uuid;

use super::target::{Target, check_free};
use super::view::{View, warn_of};
use crate::context::Context;
use crate::failure::{Code, Failure, Result};
use crate::marker::Marker;
use crate::registered::check_id;
use crate::workspace::{connect, first_page, place, probe};

/// Attaches a workspace that `create` made, here or on another machine.
#[derive(Args)]
pub(crate) struct Attach {
    /// The name that the workspace shall have on this machine.
    name: WorkspaceName,
    #[command(flatten)]
    target: Target,
}

pub(crate) fn run(attach: Attach, context: &Context) -> Result<()> {
    let Attach { name, target } = attach;
    // The id is the marker's, once that is read.
    let mut config = target.into_config(Uuid::nil(), context)?;
    check_free(context, &name, &config)?;
    context.block_on(find(context, &name, &mut config))?;
    context.workspaces()?.create(&name, &config)?;

    let output = context.output;
    output.note(&format!("Attached workspace {name} at {}.", place(&config)));
    warn_of(&config, context);
    if output.is_json() {
        output.data(&View::new(&name, &config), String::new)?;
    }
    Ok(())
}

/// Reads the marker into the configuration, and asks the store what it can do.
async fn find(context: &Context, name: &WorkspaceName, config: &mut WorkspaceConfig) -> Result<()> {
    let bucket = connect(context, config)?;
    first_page(bucket.as_ref(), config).await?;
    let marker = Marker::read(bucket.as_ref(), &config.prefix).await?;
    config.id = marker.ok_or_else(|| none_there(name, config))?.id;
    check_id(context, config.id, None)?;
    config.capabilities = Some(probe(bucket.as_ref(), config).await?);
    Ok(())
}

fn none_there(name: &WorkspaceName, config: &WorkspaceConfig) -> Failure {
    Failure::new(
        Code::NotInBucket,
        format!("{} is not a workspace", place(config)),
    )
    .with_hint(format!(
        "check --bucket and --prefix, or make one with: artifacts workspace create {name} --bucket {}",
        config.bucket
    ))
}
