//! `artifacts secret teardown`.

use clap::Args;

use crate::context::Context;
use crate::failure::{Code, Failure, Result};
use crate::input;
use crate::vaulted::BackendChoice;

/// Whose to delete.
#[derive(Args)]
pub(crate) struct Teardown {
    /// The secrets of the agent with this label [default: the operator's own].
    #[arg(long, value_name = "LABEL")]
    agent: Option<String>,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    backend: BackendChoice,
}

pub(super) fn run(command: &Teardown, context: &Context) -> Result<()> {
    let whose = match &command.agent {
        Some(label) => format!("the agent {label}"),
        None => "the operator itself".to_owned(),
    };
    if !command.yes {
        let question = format!("All secrets of {whose} will be deleted, for good.");
        let word = command.agent.as_deref().unwrap_or("delete");
        input::confirm(context, &question, word, "--yes")?;
    }
    let done = context.block_on(async {
        let store = context.secret_store(&command.backend).await?;
        Ok(store.teardown(command.agent.as_deref()).await?)
    })?;
    context.output.data(&done, || {
        format!("{} secrets of {whose} are deleted\n", done.deleted)
    })?;
    if done.failed == 0 {
        return Ok(());
    }
    let text = format!(
        "{} secrets could not be deleted and are still there",
        done.failed
    );
    Err(Failure::new(Code::LeftUndone, text).with_hint(format!(
        "run it again; among them: {}",
        done.left.join(", ")
    )))
}
