//! `artifactsd ca`: certificates for the servers of an installation among themselves.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use base::ca::{Authority, Order};
use base::peer::TrustDomain;
use base::{Clock, SystemClock};
use clap::{Args, Subcommand};

/// Issue certificates for servers among themselves (mTLS).
#[derive(Args)]
pub(crate) struct Ca {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make an authority: ca.pem for every server, ca-key.pem for whoever issues. What is there
    /// already stays as it is.
    Init(Init),
    /// Issue a certificate with a new key. Files that are there are replaced: servers that run
    /// take up the new ones by themselves.
    Issue(Issue),
}

/// Where the authority is.
#[derive(Args)]
struct Folder {
    /// The folder of the authority; made when missing (mode 0700).
    #[arg(long, value_name = "DIR", env = "ARTIFACTS_CA_DATA")]
    data: PathBuf,
}

#[derive(Args)]
struct Init {
    #[command(flatten)]
    folder: Folder,
    /// What the names in certificates begin with: spiffe://THIS/worker.
    #[arg(
        long,
        value_name = "NAME",
        env = "ARTIFACTS_TRUST_DOMAIN",
        default_value = "artifacts"
    )]
    trust_domain: TrustDomain,
}

#[derive(Args)]
struct Issue {
    #[command(flatten)]
    folder: Folder,
    /// Whose certificate it is: worker, broker, signer or operator-admin. Without one it is good
    /// for TLS to clients alone.
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,
    /// A DNS name or an IP address that the server is reached by; may be given several times.
    /// Without one the certificate is of no use to a server.
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<String>,
    /// For how many days.
    #[arg(long, value_name = "DAYS", default_value_t = 90)]
    days: u32,
    /// Where to write the certificate (PEM).
    #[arg(long, value_name = "FILE")]
    certificate: PathBuf,
    /// Where to write its key (PEM, mode 0600).
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Runs the command, and prints what went wrong.
pub(crate) fn run(arguments: Ca) -> ExitCode {
    let result = match arguments.command {
        Command::Init(arguments) => init(&arguments),
        Command::Issue(arguments) => issue(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn init(arguments: &Init) -> Result {
    let now = SystemClock.now();
    let authority = Authority::open_or_make(&arguments.folder.data, &arguments.trust_domain, now)?;
    writeln!(io::stdout(), "{}", authority.certificate().display())?;
    Ok(())
}

fn issue(arguments: &Issue) -> Result {
    if arguments.role.is_none() && arguments.names.is_empty() {
        return Err(
            "a certificate of no role and no name is of no use\nhint: --role, --name".into(),
        );
    }
    let authority = Authority::open(&arguments.folder.data)?;
    let order = Order {
        role: arguments.role.as_deref(),
        names: &arguments.names,
        lifetime: Duration::from_secs(u64::from(arguments.days) * 24 * 3600),
    };
    let issued = authority.issue(&order, SystemClock.now())?;
    issued.write(&arguments.certificate, &arguments.key)?;
    Ok(())
}
