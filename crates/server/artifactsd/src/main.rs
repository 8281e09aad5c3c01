//! `artifactsd <role>`: the program of the server side.
//!
//! Roles are cargo features, so that a production image is built without what it must not
//! have: `dev` (an S3 store on a local folder, for development and tests) is one of these.
//! `provider` makes buckets and keys at a store.

#[cfg(feature = "orchestrator")]
mod audit;
#[cfg(any(feature = "broker", feature = "signer", feature = "worker"))]
mod audit_file;
#[cfg(feature = "broker")]
mod broker;
#[cfg(feature = "ca")]
mod ca;
#[cfg(any(feature = "broker", feature = "worker"))]
mod closed_memory;
#[cfg(feature = "orchestrator")]
mod database;
#[cfg(feature = "dev")]
mod dev;
#[cfg(any(feature = "broker", feature = "orchestrator", feature = "worker"))]
mod health;
#[cfg(any(
    feature = "broker",
    feature = "orchestrator",
    feature = "signer",
    feature = "worker"
))]
mod open_files;
#[cfg(feature = "orchestrator")]
mod orchestrator;
#[cfg(any(feature = "broker", feature = "signer", feature = "worker"))]
mod own_folder;
mod parent;
#[cfg(feature = "provider")]
mod provider;
mod reference;
#[cfg(feature = "registry")]
mod registry;
#[cfg(any(feature = "broker", feature = "worker"))]
mod registry_flags;
#[cfg(any(
    feature = "broker",
    feature = "orchestrator",
    feature = "signer",
    feature = "worker"
))]
mod serving;
#[cfg(feature = "signer")]
mod signer;
#[cfg(feature = "provider")]
mod store_flags;
#[cfg(any(
    feature = "broker",
    feature = "orchestrator",
    feature = "registry",
    feature = "signer",
    feature = "worker"
))]
mod whole_file;
#[cfg(feature = "worker")]
mod worker;
#[cfg(feature = "worker")]
mod worker_app;

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
    /// Run an S3 store on a local folder and a vault in it, for development and tests.
    #[cfg(feature = "dev")]
    Dev(dev::Dev),
    /// Run the server of tenants, buckets, storage keys and workspaces.
    ///
    /// ARTIFACTS_ORCHESTRATOR_WEBHOOK_TOKEN (32 characters or more) is what the operator's own
    /// stores announce changes with, at /webhooks/STORE/all; without it they cannot.
    #[cfg(feature = "orchestrator")]
    Orchestrator(Box<orchestrator::Orchestrator>),
    /// Run the vault's server of sessions, capabilities and identities, and what belongs to it.
    #[cfg(feature = "broker")]
    Broker(broker::Broker),
    /// Check or export the orchestrator's audit.
    #[cfg(feature = "orchestrator")]
    Audit(audit::Audit),
    /// Hold master secrets, and derive keys from them for those who may have them.
    #[cfg(feature = "signer")]
    Signer(signer::Signer),
    /// Issue certificates for servers among themselves (mTLS).
    #[cfg(feature = "ca")]
    Ca(ca::Ca),
    /// Make buckets and keys at a store.
    #[cfg(feature = "provider")]
    Provider(provider::ProviderArguments),
    /// Run the vault's server of credentials, and what belongs to it.
    #[cfg(feature = "worker")]
    Worker(worker::Worker),
    /// Keep the keys that are pinned, and the epoch, of a registry of signed documents.
    #[cfg(feature = "registry")]
    Registry(registry::Registry),
    /// Print a page of the reference documentation.
    #[command(hide = true)]
    Reference(reference::Reference),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    start_logs();
    if let Err(error) = parent::follow() {
        tracing::error!(error, "it would outlive the process that started it");
        return ExitCode::FAILURE;
    }
    match arguments.role {
        #[cfg(feature = "dev")]
        Role::Dev(dev) => dev::run(dev),
        #[cfg(feature = "orchestrator")]
        Role::Orchestrator(role) => orchestrator::run(*role),
        #[cfg(feature = "broker")]
        Role::Broker(role) => broker::run(role),
        #[cfg(feature = "orchestrator")]
        Role::Audit(audit) => audit::run(audit),
        #[cfg(feature = "signer")]
        Role::Signer(role) => signer::run(role),
        #[cfg(feature = "ca")]
        Role::Ca(arguments) => ca::run(arguments),
        #[cfg(feature = "provider")]
        Role::Provider(arguments) => provider::run(arguments),
        #[cfg(feature = "worker")]
        Role::Worker(role) => worker::run(role),
        #[cfg(feature = "registry")]
        Role::Registry(arguments) => registry::run(&arguments),
        Role::Reference(reference) => reference::run(&reference),
    }
}

/// Logs go to stderr; `ARTIFACTS_LOG` chooses what (the syntax of `RUST_LOG`). The crate
/// s3s calls every answered refusal an error and prints whole requests when asked for
/// more, so it stays silent unless it is named.
fn start_logs() {
    let filter = std::env::var("ARTIFACTS_LOG").unwrap_or_else(|_| "info,s3s=off,sqlx=warn".into());
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
}
