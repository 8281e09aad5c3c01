//! `artifacts run`: a command with secrets in its environment, and nowhere else.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::str::FromStr;

use clap::Args;
use futures::future::join_all;
use model::ServiceName;
use secrets::{ReadSecret, SecretError};

use super::exec::{NOT_FOUND, NOT_RUNNABLE};
use crate::context::Context;
use crate::failure::{Code, Failure, Result};
use crate::process::{CoresAllowed, without_secrets};
use crate::vaulted::BackendChoice;

/// Which secrets, and what to run.
#[derive(Args)]
pub(crate) struct Run {
    /// The variable NAME of the command's environment holds the secret of this service; may be
    /// given more than once.
    #[arg(long, value_name = "NAME=SERVICE", required = true)]
    env: Vec<Pair>,
    #[command(flatten)]
    backend: BackendChoice,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// A variable and a service.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pair {
    name: String,
    service: ServiceName,
}

/// Why a text is none.
#[derive(Debug, thiserror::Error)]
enum NoPair {
    #[error("it is not of the form NAME=SERVICE")]
    Form,
    #[error("a variable's name has letters, digits and '_', and does not begin with a digit")]
    Name,
    #[error(transparent)]
    Service(#[from] model::InvalidService),
}

impl FromStr for Pair {
    type Err = NoPair;

    fn from_str(text: &str) -> std::result::Result<Self, NoPair> {
        let (name, service) = text.split_once('=').ok_or(NoPair::Form)?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        if name.is_empty() || name.as_bytes()[0].is_ascii_digit() || !name.bytes().all(plain) {
            return Err(NoPair::Name);
        }
        Ok(Self {
            name: name.to_owned(),
            service: service.parse()?,
        })
    }
}

pub(crate) fn run(args: &Run, context: &Context) -> Result<ExitCode> {
    let (program, rest) = args
        .command
        .split_first()
        .ok_or_else(|| Failure::new(Code::Usage, "there is no command to run"))?;
    let values = context.block_on(fetch(args, context))?;
    let mut command = Command::new(program);
    command.args(rest);
    // Ours stay ours; what is fetched comes after, so that it wins.
    without_secrets(&mut command, context)?;
    for (pair, read) in args.env.iter().zip(values) {
        command.env(&pair.name, variable(pair, &read)?);
    }
    let allowed = CoresAllowed::now();
    // On success this process is the command, and never comes back.
    let error = command.exec();
    drop(allowed);
    let text = format!("cannot run {}: {error}", program.display());
    context.output.failure(&Failure::new(Code::Failed, text));
    Ok(ExitCode::from(match error.kind() {
        std::io::ErrorKind::NotFound => NOT_FOUND,
        _ => NOT_RUNNABLE,
    }))
}

/// All of them, before anything is run; where some are missing, all that are missing are named.
async fn fetch(args: &Run, context: &Context) -> Result<Vec<ReadSecret>> {
    let store = context.secret_store(&args.backend).await?;
    let reads = args.env.iter().map(|pair| store.read(&pair.service, false));
    let mut values = Vec::new();
    let mut failed: Vec<(&ServiceName, SecretError)> = Vec::new();
    for (pair, read) in args.env.iter().zip(join_all(reads).await) {
        match read {
            Ok(read) => values.push(read),
            Err(error) => failed.push((&pair.service, error)),
        }
    }
    if failed.is_empty() {
        return Ok(values);
    }
    let words = failed
        .iter()
        .map(|(service, error)| format!("{service}: {error}"));
    let message = format!(
        "the command was not run: {}",
        words.collect::<Vec<_>>().join("; ")
    );
    let (_, first) = failed.swap_remove(0);
    Err(SecretError { message, ..first }.into())
}

fn variable(pair: &Pair, read: &ReadSecret) -> Result<OsString> {
    let bytes = read.value.expose();
    if bytes.contains(&0) {
        let text = format!(
            "the secret of {} has a zero byte, which no variable takes",
            pair.service
        );
        return Err(Failure::new(Code::InvalidValue, text)
            .with_hint("read it in the command: artifacts secret read SERVICE"));
    }
    Ok(OsString::from_vec(bytes.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_a_variable_and_a_service() {
        let pair: Pair = "OPENROUTER_API_KEY=OpenRouter".parse().expect("a pair");
        assert_eq!(pair.service.as_str(), "openrouter");
        for bad in ["A", "=b", "1A=b", "A B=c", "A=", "A=b/c", "Ä=b"] {
            assert!(bad.parse::<Pair>().is_err(), "{bad}");
        }
    }
}
