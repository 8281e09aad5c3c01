//! `artifactsd <role>`: the program of the server side.
//!
//! Roles are cargo features, so that a production image is built without what it must not
//! have: `dev` (an S3 store on a local folder, for development and tests) is one of these.
//! `provider` makes buckets and keys at a store.

#[cfg(feature = "dev")]
mod dev;
#[cfg(feature = "provider")]
mod provider;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The server side of Artifacts.
#[derive(Parser)]
#[command(name = "artifactsd", version, about, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Run an S3 store on a local folder, for development and tests.
    #[cfg(feature = "dev")]
    Dev(dev::Dev),
    /// Make buckets and keys at a store.
    #[cfg(feature = "provider")]
    Provider(provider::ProviderArguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    start_logs();
    match arguments.role {
        #[cfg(feature = "dev")]
        Role::Dev(dev) => dev::run(dev),
        #[cfg(feature = "provider")]
        Role::Provider(arguments) => provider::run(arguments),
    }
}

/// Logs go to stderr; `ARTIFACTS_LOG` chooses what (the syntax of `RUST_LOG`). The crate
/// s3s calls every answered refusal an error and prints whole requests when asked for
/// more, so it stays silent unless it is named.
fn start_logs() {
    let filter = std::env::var("ARTIFACTS_LOG").unwrap_or_else(|_| "info,s3s=off".into());
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
}
