//! `artifacts auth exec` and `env`: an identity's keys for other programs.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use clap::{Args, ValueEnum};
use credentials::{IdentityName, KeySet};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Known, Ring};
use crate::commands::env::syntax::{self, Variable};
use crate::failure::{Code, Failure, Result};
use crate::process::{CoresAllowed, without_secrets};

/// Whose keys, and what to run.
#[derive(Args)]
pub(crate) struct Exec {
    /// The identity.
    #[arg(long, default_value_t, value_name = "NAME")]
    identity: IdentityName,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// Whose keys, and for whom.
#[derive(Args)]
pub(crate) struct Env {
    /// The identity.
    #[arg(long, default_value_t, value_name = "NAME")]
    identity: IdentityName,
    /// In whose syntax.
    #[arg(short = 'f', long = "as", value_enum, value_name = "SYNTAX")]
    syntax: Option<Syntax>,
}

/// Who reads the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Syntax {
    /// A shell: `eval "$(artifacts auth env -f bash)"`.
    Bash,
    /// Tools that read `.env` files.
    Dotenv,
    /// Programs: one JSON object.
    Json,
}

/// The exit codes of a command that is not there, or cannot be run, as shells have them.
const NOT_FOUND: u8 = 127;
const NOT_RUNNABLE: u8 = 126;

pub(super) fn exec(command: &Exec, ring: &Ring<'_>) -> Result<ExitCode> {
    let (known, session) = session(&command.identity, ring)?;
    let (program, rest) = command
        .command
        .split_first()
        .ok_or_else(|| Failure::new(Code::Usage, "there is no command to run"))?;
    let mut child = Command::new(program);
    child.args(rest);
    for variable in variables(&known, &session) {
        match variable.value() {
            Some(value) => child.env(variable.name(), value),
            None => child.env_remove(variable.name()),
        };
    }
    without_secrets(&mut child, ring.context)?;
    let allowed = CoresAllowed::now();
    // The command takes this process's place: signals and exit code are its own.
    let error = child.exec();
    drop(allowed);
    let text = format!("cannot run {}: {error}", program.display());
    ring.context
        .output
        .failure(&Failure::new(Code::Failed, text));
    Ok(ExitCode::from(match error.kind() {
        io::ErrorKind::NotFound => NOT_FOUND,
        _ => NOT_RUNNABLE,
    }))
}

pub(super) fn env(command: &Env, ring: &Ring<'_>) -> Result<()> {
    let (known, session) = session(&command.identity, ring)?;
    let output = ring.context.output;
    let variables = variables(&known, &session);
    let syntax = command.syntax.unwrap_or(match output.is_json() {
        true => Syntax::Json,
        false => Syntax::Bash,
    });
    output.text(&match syntax {
        Syntax::Bash => syntax::bash(&variables),
        Syntax::Dotenv => syntax::dotenv(&variables),
        Syntax::Json => syntax::json(&variables),
    })
}

/// The identity's session, renewed where its end is near.
fn session(name: &IdentityName, ring: &Ring<'_>) -> Result<(Known, KeySet)> {
    let known = Known::find(name, ring)?;
    let login = known.login(None);
    let now = OffsetDateTime::now_utc();
    let session = ring
        .context
        .wait_for(async { Ok(login.fresh(now).await?) })?;
    Ok((known, session))
}

/// What the AWS SDKs and command line read.
fn variables(known: &Known, session: &KeySet) -> Vec<Variable> {
    let end = session.expires.and_then(|end| end.format(&Rfc3339).ok());
    let token = session.session_token.as_ref().map(|token| token.expose());
    let region = known.settings.region.as_deref();
    let mut variables = vec![
        Variable::secret("AWS_ACCESS_KEY_ID", Some(session.access_key_id.expose())),
        Variable::secret(
            "AWS_SECRET_ACCESS_KEY",
            Some(session.secret_access_key.expose()),
        ),
        Variable::secret("AWS_SESSION_TOKEN", token),
        Variable::plain("AWS_CREDENTIAL_EXPIRATION", end.as_deref()),
    ];
    // Where the identity has none, the shell's own counts.
    variables.extend(region.map(|region| Variable::plain("AWS_REGION", Some(region))));
    variables
}
