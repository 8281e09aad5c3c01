//! `artifactsd signer`: master secrets, and the keys that follow from them.

mod kms;
mod passphrase;
mod sealing;
mod serve;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use base::{Clock, SystemClock};
use clap::{Args, Subcommand};
use signer::{Epochs, file, memory};

use crate::{audit_file, own_folder};
use sealing::{NewSeal, Opening};

/// Hold master secrets, and derive keys from them for those who may have them.
#[derive(Args)]
pub(crate) struct Signer {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make the file of master secrets, with the first epoch.
    ///
    /// Keep a copy of the file (signer.sealed) and, elsewhere, its passphrase; with --kms-key, see
    /// that nobody can delete that key. Without both no credential can ever be read again.
    Init(Box<Sealed>),
    /// Serve.
    Serve(Box<serve::Serve>),
    /// Begin a new epoch, or show which there are.
    Epoch(Epoch),
    /// Seal the file under another passphrase, or by another key of a KMS. Copies of it keep what
    /// opened them.
    #[command(visible_alias = "passwd")]
    Reseal(Box<Reseal>),
    /// Check that no record of the audit was changed or taken out.
    Audit(Data),
}

/// Where the signer keeps what is its own.
#[derive(Args)]
struct Data {
    /// The folder of its sealed file and audit; made when missing (mode 0700).
    #[arg(long, value_name = "DIR", env = "ARTIFACTS_SIGNER_DATA")]
    data: PathBuf,
}

/// The sealed file, and what opens it.
#[derive(Args)]
struct Sealed {
    #[command(flatten)]
    data: Data,
    #[command(flatten)]
    opening: Opening,
}

#[derive(Args)]
struct Epoch {
    #[command(subcommand)]
    command: EpochCommand,
}

#[derive(Subcommand)]
enum EpochCommand {
    /// Begin a new epoch: add a random master secret to the file.
    ///
    /// A server that runs takes it up on SIGHUP (or POST /v1/epoch/reload, with a certificate of
    /// the role operator-admin). Capabilities follow the registry's epoch: advance that after the
    /// signer's.
    Advance(Box<Sealed>),
    /// Show the epochs of the file.
    Show(Box<Sealed>),
}

#[derive(Args)]
struct Reseal {
    #[command(flatten)]
    sealed: Sealed,
    #[command(flatten)]
    new: NewSeal,
}

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Runs the role, and prints what went wrong.
pub(crate) fn run(role: Signer) -> ExitCode {
    match act(role.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn act(command: Command) -> Result {
    // Before there is a secret in this process.
    let hardened = memory::harden().map_err(|error| {
        format!(
            "this process cannot be kept from being read by others: {error}\nhint: its sandbox must allow prctl(PR_SET_DUMPABLE) and setrlimit(RLIMIT_CORE)"
        )
    })?;
    match command {
        Command::Init(sealed) => init(&sealed),
        Command::Serve(arguments) => serve::run(*arguments, &hardened),
        Command::Epoch(Epoch { command }) => match command {
            EpochCommand::Advance(sealed) => advance(&sealed),
            EpochCommand::Show(sealed) => show(&sealed),
        },
        Command::Reseal(arguments) => reseal(&arguments),
        Command::Audit(data) => {
            audit_file::check(&data.audit(), "--data is the folder of the server")
        }
    }
}

impl Data {
    fn sealed(&self) -> PathBuf {
        self.data.join("signer.sealed")
    }

    fn audit(&self) -> PathBuf {
        self.data.join("audit.jsonl")
    }
}

#[tokio::main(flavor = "current_thread")]
async fn init(sealed: &Sealed) -> Result {
    own_folder::make(&sealed.data.data)?;
    let path = sealed.data.sealed();
    if path.exists() {
        return Err(file::FileError::Exists(path).into());
    }
    let seal = sealed.opening.new_seal()?;
    let epochs = file::init(&path, &*seal, SystemClock.now().seconds()).await?;
    print(&epochs)
}

#[tokio::main(flavor = "current_thread")]
async fn advance(sealed: &Sealed) -> Result {
    let seal = sealed.opening.seal()?;
    let now = SystemClock.now().seconds();
    let epochs = file::advance(&sealed.data.sealed(), &*seal, now).await?;
    print(&epochs)
}

#[tokio::main(flavor = "current_thread")]
async fn show(sealed: &Sealed) -> Result {
    let seal = sealed.opening.seal()?;
    let epochs = file::open(&sealed.data.sealed(), &*seal).await?;
    print(&epochs)
}

#[tokio::main(flavor = "current_thread")]
async fn reseal(arguments: &Reseal) -> Result {
    let opening = &arguments.sealed.opening;
    let from = opening.seal()?;
    let path = arguments.sealed.data.sealed();
    // Whoever mistyped hears of it before a new one is asked for.
    file::open(&path, &*from).await?;
    let to = arguments.new.read(opening)?;
    Ok(file::reseal(&path, &*from, &*to).await?)
}

/// Which epochs there are; nothing of their secrets.
fn print(epochs: &Epochs) -> Result {
    let begun = (1..=epochs.current()).filter_map(|epoch| {
        let at = api::Timestamp::from_micros(epochs.begun(epoch)?.saturating_mul(1_000_000));
        Some(serde_json::json!({ "epoch": epoch, "begun": at }))
    });
    let line = serde_json::json!({
        "current_epoch": epochs.current(),
        "epochs": begun.collect::<Vec<_>>(),
    });
    writeln!(io::stdout(), "{line}")?;
    Ok(())
}
