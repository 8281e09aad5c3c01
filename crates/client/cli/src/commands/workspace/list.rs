//! `artifacts workspace list`.

use serde_json::json;

use super::view::View;
use crate::context::Context;
use crate::failure::{Code, Failure, Result};
use crate::output::table;
use crate::workspace::{endpoint, place};

/// Lists all that can be read, then fails where one could not.
pub(crate) fn run(context: &Context) -> Result<()> {
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
