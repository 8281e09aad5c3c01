//! `artifactsd registry`: who is believed. For a registry of signed documents, the keys that are
//! pinned and the epoch; on a chain the contracts hold both.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use base::key_file;
use clap::{Args, Subcommand};
use model::Actor;
use registry::documents::Pins;
use registry::documents::folder::{advance_epoch, begin_epochs};
use vault::{DeviceKey, PublicKey, SignEs256};

use crate::whole_file;

/// Keep the keys that are pinned, and the epoch, of a registry of signed documents.
#[derive(Args)]
pub(crate) struct Registry {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make the deployment's key, a file of pinned keys and the first epoch. What is there stays.
    Init(Data),
    /// Pin an operator's key: from then on what it signs counts for that operator, and nothing
    /// else does. Every role that has the file takes it up by itself.
    Pin(Pin),
    /// Take an operator's key away: nothing counts for them any more.
    Unpin(Unpin),
    /// Begin the next epoch. Advance the signer's first.
    Advance(Data),
    /// Show the pinned keys and the epoch.
    Show(Data),
}

/// Where the registry is kept.
#[derive(Args)]
struct Data {
    /// The folder: deployment-key.pem (keep it from the roles), operators.json, and the folder
    /// documents, which operators write their lists to.
    #[arg(long, value_name = "DIR", env = "ARTIFACTS_REGISTRY_DATA")]
    data: PathBuf,
}

#[derive(Args)]
struct Pin {
    #[command(flatten)]
    data: Data,
    /// Whose key it is.
    #[arg(long, value_name = "ACTOR")]
    operator: Actor,
    /// The file with the public key (JWK), as `artifacts registry key show` prints it; `-` reads
    /// it from standard input.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Pin it in place of another one that is pinned for the operator.
    #[arg(long)]
    replace: bool,
}

#[derive(Args)]
struct Unpin {
    #[command(flatten)]
    data: Data,
    /// Whose.
    #[arg(long, value_name = "ACTOR")]
    operator: Actor,
}

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// No key is longer.
const LONGEST_KEY: u64 = 4096;

/// Runs the command, and prints what went wrong.
pub(crate) fn run(arguments: &Registry) -> ExitCode {
    match act(&arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn act(command: &Command) -> Result {
    match command {
        Command::Init(data) => {
            prepare(&data.data).await?;
            show(&data.data).await
        }
        Command::Pin(arguments) => pin(arguments),
        Command::Unpin(arguments) => unpin(arguments),
        Command::Advance(data) => advance(&data.data).await,
        Command::Show(data) => show(&data.data).await,
    }
}

/// The file of pinned keys below a registry's folder.
pub(crate) fn pins(folder: &Path) -> PathBuf {
    folder.join("operators.json")
}

/// The folder of its documents.
pub(crate) fn documents(folder: &Path) -> PathBuf {
    folder.join("documents")
}

/// Makes what is missing.
pub(crate) async fn prepare(folder: &Path) -> Result {
    use std::os::unix::fs::DirBuilderExt;
    let mut builder = std::fs::DirBuilder::new();
    let made = builder
        .recursive(true)
        .mode(0o755)
        .create(documents(folder));
    made.map_err(|e| format!("{}: {e}", folder.display()))?;
    let key = deployment_key(folder)?;
    if !pins(folder).exists() {
        let none = Pins::new(key.public_jwk().clone(), [])?;
        whole_file::write(&pins(folder), none.to_json().as_bytes(), 0o644)?;
    }
    begin_epochs(&documents(folder), &key).await?;
    Ok(())
}

fn deployment_key(folder: &Path) -> Result<DeviceKey> {
    let der = key_file::read_or_make(&folder.join("deployment-key.pem"))?;
    Ok(DeviceKey::from_pkcs8(&der)?)
}

fn pin(arguments: &Pin) -> Result {
    let key = PublicKey::from_jwk(read_key(&arguments.key)?.trim())?;
    let file = pins(&arguments.data.data);
    let before = Pins::read(&file)?;
    match before.key_of(&arguments.operator) {
        Some(known) if known.thumbprint() == key.thumbprint() => return Ok(()),
        Some(_) if !arguments.replace => {
            let text = "another key is pinned for this operator\nhint: --replace pins this one in its place; lists that the other has signed count no more";
            return Err(text.into());
        }
        _ => {}
    }
    let after = before.with(arguments.operator.clone(), Some(key))?;
    whole_file::write(&file, after.to_json().as_bytes(), 0o644)?;
    Ok(())
}

fn unpin(arguments: &Unpin) -> Result {
    let file = pins(&arguments.data.data);
    let before = Pins::read(&file)?;
    if before.key_of(&arguments.operator).is_none() {
        return Err("no key is pinned for this operator".into());
    }
    let after = before.with(arguments.operator.clone(), None)?;
    whole_file::write(&file, after.to_json().as_bytes(), 0o644)?;
    Ok(())
}

async fn advance(folder: &Path) -> Result {
    let epoch = advance_epoch(&documents(folder), &deployment_key(folder)?).await?;
    writeln!(io::stdout(), "{}", serde_json::json!({ "epoch": epoch }))?;
    Ok(())
}

async fn show(folder: &Path) -> Result {
    let epoch = begin_epochs(&documents(folder), &deployment_key(folder)?).await?;
    let pins: serde_json::Value = serde_json::from_str(&Pins::read(&pins(folder))?.to_json())?;
    let line = serde_json::json!({ "epoch": epoch, "pinned": pins });
    writeln!(io::stdout(), "{line}")?;
    Ok(())
}

fn read_key(path: &Path) -> Result<String> {
    let mut text = String::new();
    let wrong = |e: io::Error| format!("{}: {e}", path.display());
    if path == Path::new("-") {
        io::stdin()
            .take(LONGEST_KEY)
            .read_to_string(&mut text)
            .map_err(wrong)?;
    } else {
        let file = std::fs::File::open(path).map_err(wrong)?;
        file.take(LONGEST_KEY)
            .read_to_string(&mut text)
            .map_err(wrong)?;
    }
    Ok(text)
}
