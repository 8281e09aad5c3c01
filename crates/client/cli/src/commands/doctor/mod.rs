//! `artifacts doctor`: what stands in the way, each with a code and the next step.

mod local;
mod store;

use std::process::ExitCode;

use clap::Args;
use model::WorkspaceName;
use serde::Serialize;

use crate::context::Context;
use crate::failure::{Code, Failure, Result};
use crate::key_choice::KeyChoice;
use crate::output::table;

/// Which workspaces are looked at beside this machine; all of them without a word.
#[derive(Args)]
pub(crate) struct Doctor {
    /// A workspace's name.
    workspace: Vec<WorkspaceName>,
    /// Ask no store.
    #[arg(long, conflicts_with = "workspace")]
    offline: bool,
    #[command(flatten)]
    keys: KeyChoice,
}

/// How a thing was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// As it should be.
    Good,
    /// It works; it could be better.
    Note,
    /// Something will not work.
    Problem,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    /// What was looked at, stable for scripts: `keyring`, `clock` …
    check: &'static str,
    state: State,
    /// What was found, stable for scripts: of a problem, the error code that commands would
    /// end with; otherwise `CHECK-…`.
    code: String,
    title: String,
    /// The next step.
    next: Option<String>,
    #[serde(skip)]
    exit: u8,
}

pub(crate) fn run(command: &Doctor, context: &Context) -> Result<ExitCode> {
    // Whoever looks around asks for no password.
    let context = &Context::new(context.output, true);
    let mut findings = local::look(context)?;
    if !command.offline {
        let names = match command.workspace.as_slice() {
            // Where that cannot be read, the files' finding says so.
            [] => context.workspaces()?.names().unwrap_or_default(),
            named => named.to_vec(),
        };
        let keys = command.keys.settled(context)?;
        for name in names {
            findings.extend(store::look(context, &name, &keys));
        }
    }
    context.output.data(&findings, || {
        let rows = findings.iter().map(Finding::row).collect();
        table(&["CHECK", "STATE", "FINDING"], rows)
    })?;
    // The first problem's exit code: what it keeps from working would end with it.
    let first = findings.iter().find(|f| f.state == State::Problem);
    Ok(first.map_or(ExitCode::SUCCESS, |f| ExitCode::from(f.exit)))
}

impl Finding {
    fn good(check: &'static str, title: impl Into<String>) -> Self {
        Self {
            check,
            state: State::Good,
            code: format!("{check}-good"),
            title: title.into(),
            next: None,
            exit: 0,
        }
    }

    /// `what` is the end of its code.
    fn note(
        check: &'static str,
        what: &str,
        title: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        Self {
            state: State::Note,
            code: format!("{check}-{what}"),
            next: Some(next.into()),
            ..Self::good(check, title)
        }
    }

    fn problem(check: &'static str, failure: Failure) -> Self {
        let next = failure.hint.unwrap_or_else(|| next_step(failure.code));
        Self {
            state: State::Problem,
            code: failure.code.as_str().to_owned(),
            next: Some(next),
            exit: failure.code.exit(),
            ..Self::good(check, failure.message)
        }
    }

    fn row(&self) -> Vec<String> {
        let state = match self.state {
            State::Good => "good",
            State::Note => "note",
            State::Problem => "PROBLEM",
        };
        let code = match self.state {
            State::Good => String::new(),
            State::Note | State::Problem => format!(" [{}]", self.code),
        };
        let next = self.next.as_ref().map(|next| format!("; {next}"));
        vec![
            self.check.into(),
            state.into(),
            format!("{}{code}{}", self.title, next.unwrap_or_default()),
        ]
    }
}

fn next_step(code: Code) -> String {
    code.facts().next.replace('`', "")
}
