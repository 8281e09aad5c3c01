//! The command line as a whole: global options, and how wrong usage is answered.

use std::process::ExitCode;

use clap::error::{ContextKind, ErrorKind};
use clap::{Args, Parser};

use crate::commands::Command;
use crate::failure::{Code, Failure};
use crate::output::{Format, Output};

/// A private workspace in a bucket that you own: mount it as a folder.
#[derive(Parser)]
#[command(
    name = "artifacts",
    version,
    disable_help_subcommand = false,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options that every command takes.
#[derive(Args)]
pub(crate) struct Global {
    /// How data and errors are printed.
    #[arg(long, global = true, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    pub(crate) format: Format,
    /// Never ask; fail where a question would be needed.
    #[arg(long, global = true)]
    pub(crate) no_input: bool,
}

/// Answers a command line that could not be taken, or one that asked for help.
pub(crate) fn refuse(error: &clap::Error) -> ExitCode {
    let asked_for = matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    );
    if error.kind() == ErrorKind::ValueValidation {
        return refuse_value(error);
    }
    if asked_for || !wants_json(std::env::args_os()) {
        // A closed pipe is no reason to fail.
        let _ = error.print();
        return ExitCode::from(if asked_for { 0 } else { Code::Usage.exit() });
    }
    let failure = usage_failure(error);
    Output::new(Format::Json).failure(&failure);
    failure.exit_code()
}

/// A value that is not what its option takes, in our own words.
fn refuse_value(error: &clap::Error) -> ExitCode {
    let format = match wants_json(std::env::args_os()) {
        true => Format::Json,
        false => Format::Table,
    };
    let argument = error.get(ContextKind::InvalidArg);
    let argument = argument.map(ToString::to_string).unwrap_or_default();
    let cause = std::error::Error::source(error);
    let of_storage = cause.and_then(|cause| cause.downcast_ref::<credentials::Error>());
    let of_vault = cause.and_then(|cause| cause.downcast_ref::<secrets::SecretError>());
    let failure = match (of_storage, of_vault) {
        (Some(known), _) => Failure::from(known.clone()),
        (None, Some(known)) => Failure::from(known.clone()),
        (None, None) => Failure::new(
            Code::InvalidValue,
            cause.map_or_else(|| error.to_string(), ToString::to_string),
        ),
    };
    Output::new(format).failure(&Failure {
        message: format!("{argument}: {}", failure.message),
        ..failure
    });
    ExitCode::from(Code::InvalidValue.exit())
}

/// Looks for `--format json` in a command line that has no parse.
fn wants_json(args: impl Iterator<Item = std::ffi::OsString>) -> bool {
    let args: Vec<_> = args.skip(1).take_while(|arg| arg != "--").collect();
    let pair = |pair: &[std::ffi::OsString]| pair[0] == "--format" && pair[1] == "json";
    args.iter().any(|arg| arg == "--format=json") || args.windows(2).any(pair)
}

/// The parser's complaint, in its first paragraph, and its advice, if any, in the second.
fn usage_failure(error: &clap::Error) -> Failure {
    let text = error.render().to_string();
    let mut parts = text.split("\n\n").map(str::trim);
    let message = parts.next().unwrap_or_default();
    let message = message.strip_prefix("error: ").unwrap_or(message);
    let tip = parts.find_map(|part| part.strip_prefix("tip: "));
    Failure::new(Code::Usage, message).with_hint(tip.unwrap_or("run the command with --help"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn json_is_recognised_before_the_command_line_is_parsed() {
        let wants = |line: &str| wants_json(line.split(' ').map(Into::into));
        assert!(wants("artifacts --format json bogus"));
        assert!(wants("artifacts bogus --format=json"));
        assert!(!wants("artifacts bogus --format table json"));
        assert!(!wants("artifacts exec w /mnt -- tool --format json"));
    }
}
