//! `artifacts platform`: what owners of a tenant and operators do at the orchestrator.

mod grant;
mod key;
mod member;
mod tenant;
mod ticket;
mod token;

use std::path::Path;

use api::{Lifetime, Mode, Timestamp, Workspace, WorkspaceId};
use clap::{Subcommand, ValueEnum};
use control::Orchestrator;
use credentials::Folder;
use model::WorkspaceAddress;
use serde::Serialize;

use super::mount::values::Span;
use crate::context::Context;
use crate::failure::{Code, Failure, Result};
use crate::output::table;
use crate::registered::own_handle;

/// What can be done.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Accounts, each with a bucket of its own.
    #[command(subcommand)]
    Tenant(tenant::Command),
    /// Who belongs to a tenant.
    #[command(subcommand)]
    Member(member::Command),
    /// What other tenants may mount.
    #[command(subcommand)]
    Grant(grant::Command),
    /// Short-lived permissions to mount one workspace.
    #[command(subcommand)]
    Ticket(ticket::Command),
    /// Service tokens, for programs that nobody is logged in for.
    #[command(subcommand)]
    Token(token::Command),
    /// The storage keys that were issued.
    #[command(subcommand)]
    Key(key::Command),
}

pub(crate) fn run(command: &Command, context: &Context) -> Result<()> {
    let desk = Desk {
        orchestrator: match command {
            Command::Tenant(_) | Command::Member(_) => context.as_operator()?,
            _ => context.orchestrator()?,
        },
        context,
    };
    match command {
        Command::Tenant(command) => tenant::run(command, &desk),
        Command::Member(command) => member::run(command, &desk),
        Command::Grant(command) => grant::run(command, &desk),
        Command::Ticket(command) => ticket::run(command, &desk),
        Command::Token(command) => token::run(command, &desk),
        Command::Key(command) => key::run(command, &desk),
    }
}

/// Where all of these work.
struct Desk<'a> {
    orchestrator: Orchestrator,
    context: &'a Context,
}

impl Desk<'_> {
    /// Waits for the orchestrator's answer.
    fn ask<T>(&self, call: impl Future<Output = control::Result<T>>) -> Result<T> {
        self.context.block_on(async { Ok(call.await?) })
    }

    /// The workspace that is meant; a bare name is one of the caller's tenant.
    fn workspace(&self, address: &WorkspaceAddress) -> Result<Workspace> {
        let handle = match &address.handle {
            Some(handle) => handle.clone(),
            None => own_handle(self.context, &self.orchestrator)?,
        };
        self.ask(self.orchestrator.workspace(&handle, &address.name))
    }

    /// Prints one thing: as rows for people, as it came for programs.
    fn show<T: Serialize>(&self, value: &T, rows: &[(&str, String)]) -> Result<()> {
        let output = self.context.output;
        output.data(value, || crate::output::pairs(rows))
    }

    /// Prints a list.
    fn list<T: Serialize>(
        &self,
        items: &[T],
        heading: &[&str],
        row: impl Fn(&T) -> Vec<String>,
        none: &str,
    ) -> Result<()> {
        let output = self.context.output;
        output.data(&serde_json::json!({ "items": items }), || {
            match items.is_empty() {
                true => String::new(),
                false => table(heading, items.iter().map(row).collect()),
            }
        })?;
        if items.is_empty() {
            output.note(none);
        }
        Ok(())
    }

    /// Hands over what is shown once: into a file, or to standard output with what there is to
    /// say about it. Where that fails nobody has it, and it is taken back.
    fn hand_over<T: Serialize, A: Serialize>(
        &self,
        (made, about, secret): (&T, &A, &str),
        file: Option<(Folder, String)>,
        take_back: impl Future<Output = control::Result<()>>,
    ) -> Result<()> {
        let output = self.context.output;
        let Some((folder, name)) = file else {
            return output.data(made, || format!("{secret}\n"));
        };
        if let Err(error) = folder.replace(&name, secret.as_bytes()) {
            self.ask(take_back)?;
            return Err(error.into());
        }
        self.done(&format!(
            "It is in {}.",
            folder.path().join(&name).display()
        ));
        match output.is_json() {
            true => output.data(about, String::new),
            false => Ok(()),
        }
    }

    /// Says what was done, where nothing is printed for people.
    fn done(&self, text: &str) {
        self.context.output.note(text);
    }
}

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Access {
    /// Read.
    Ro,
    /// Read and write.
    Rw,
}

impl From<Access> for Mode {
    fn from(access: Access) -> Self {
        match access {
            Access::Ro => Self::Ro,
            Access::Rw => Self::Rw,
        }
    }
}

/// A length of time as the wire has it.
fn lifetime(span: Span) -> Result<Lifetime> {
    let seconds = u32::try_from(span.0.as_secs()).unwrap_or(u32::MAX);
    Lifetime::try_from(seconds)
        .map_err(|error| Failure::new(Code::InvalidValue, format!("--for: {error}")))
}

fn moment(when: Option<Timestamp>) -> String {
    when.map_or_else(|| "-".to_owned(), |when| when.to_string())
}

fn number(id: Option<WorkspaceId>) -> String {
    id.map_or_else(|| "all".to_owned(), |id| id.to_string())
}

/// The folder and the name of a file that a secret is written into, mode 0600.
fn file_place(path: &Path) -> Result<(Folder, String)> {
    let path = std::path::absolute(path)
        .map_err(|e| Failure::new(Code::InvalidValue, format!("{}: {e}", path.display())))?;
    let parts = path
        .parent()
        .zip(path.file_name().and_then(|name| name.to_str()));
    let unfit = || {
        Failure::new(
            Code::InvalidValue,
            format!("{} cannot be a file", path.display()),
        )
        .with_hint("name a file in a folder that exists")
    };
    let (parent, name) = parts.ok_or_else(unfit)?;
    let folder = Folder::open(parent)?.ok_or_else(unfit)?;
    Ok((folder, name.to_owned()))
}
