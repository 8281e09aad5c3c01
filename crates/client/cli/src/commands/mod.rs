//! The commands: one module each. To add one: a line in [`Command`], a line in [`run`].

mod agent;
mod auth;
mod bisync;
mod cloud;
mod completions;
mod conflicts;
mod credential_process;
mod daemon;
mod device;
mod doctor;
mod env;
mod exec;
mod flush;
mod login;
mod mount;
mod platform;
mod reference;
mod registry;
mod run_with;
mod scope;
mod secret;
mod status;
mod storage;
mod unmount;
mod vault;
mod wake_watchers;
mod workspace;

use std::process::ExitCode;

use clap::Subcommand;

use crate::context::Context;
use crate::failure::Result;

/// Everything that `artifacts` can be asked to do.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make, find and forget workspaces.
    #[command(subcommand)]
    Workspace(workspace::Command),
    /// Let this machine in at an orchestrator.
    Login(login::Login),
    /// End this machine's login at an orchestrator, and revoke its keys.
    Logout(login::Logout),
    /// Show whom this machine's login stands for.
    Whoami(login::Whoami),
    /// Set this machine up in one go.
    #[command(subcommand)]
    Cloud(cloud::Command),
    /// What owners and operators do: tenants, grants, tickets, tokens, keys.
    #[command(subcommand)]
    Platform(platform::Command),
    /// Keep storage keys on this machine.
    #[command(subcommand)]
    Storage(storage::Command),
    /// Storage identities and keyrings of this machine. (The orchestrator has a login of its
    /// own; this is about the keys of your buckets.)
    Auth(auth::Auth),
    /// Keep the keys of services (openrouter, github …) sealed in your own bucket.
    #[command(subcommand)]
    Secret(secret::Command),
    /// Run a command with secrets in its environment.
    Run(run_with::Run),
    /// This machine's daemon, which gets secrets without a key to the bucket on this machine.
    #[command(subcommand)]
    Daemon(daemon::Command),
    /// Machines of agents, which get the secrets that the operator allows.
    #[command(subcommand)]
    Agent(agent::Command),
    /// This machine at the vault's broker, and the vault as a whole.
    #[command(subcommand)]
    Vault(vault::Command),
    /// Which services an actor may use.
    #[command(subcommand)]
    Scope(scope::Command),
    /// Which machines act for an operator.
    #[command(subcommand)]
    Device(device::Command),
    /// The registry of devices and scopes: the key that writes to it, and its contracts.
    #[command(subcommand)]
    Registry(registry::Command),
    /// Mount a workspace as a folder.
    Mount(mount::Mount),
    /// Upload what waits, then take a mounted folder off.
    Unmount(unmount::Unmount),
    /// Return when everything in a mounted folder is in the bucket.
    Flush(flush::Flush),
    /// Show how every mount on this machine is.
    #[command(visible_alias = "mount-status")]
    Status(status::Status),
    /// Mount, run a command, upload, unmount; ends as the command does.
    Exec(exec::Exec),
    /// Keep a real folder and a workspace alike, in both directions.
    Bisync(bisync::Bisync),
    /// Show how every synced folder on this machine is; ends with 0 where all are well, else as
    /// the last run of the worst ended.
    BisyncStatus(bisync::standing::Status),
    /// Keep a folder synced without a terminal, by the user's service manager.
    #[command(subcommand)]
    BisyncService(bisync::service::Command),
    /// What rules leave out of synced folders.
    #[command(subcommand)]
    Ignore(bisync::ignore::Command),
    /// List and settle files that two machines changed at one time.
    #[command(subcommand)]
    Conflicts(conflicts::Command),
    /// Print a workspace's keys and place for other S3 tools.
    ///
    /// Prints secrets: pass them on, and do not run it where others see your screen.
    Env(env::Env),
    /// Print a workspace's keys in the form that the AWS SDKs' `credential_process` takes.
    ///
    /// For ~/.aws/config: credential_process = artifacts credential-process NAME. Prints
    /// secrets.
    CredentialProcess(credential_process::CredentialProcess),
    /// Look for what stands in the way, on this machine and in the stores of its workspaces.
    ///
    /// Ends with 0 where nothing does, else as the first command that it stops would end.
    Doctor(doctor::Doctor),
    /// Print a shell's completion script, for example for /etc/bash_completion.d/artifacts.
    Completions(completions::Completions),
    /// Print a page of the reference.
    #[command(hide = true)]
    Reference(reference::Reference),
    /// The helper of a mount that wakes programs which wait for changes: takes orders on
    /// its standard input.
    #[command(hide = true)]
    WakeWatchers,
}

/// Does what was asked for.
pub(crate) fn run(command: Command, context: &Context) -> Result<ExitCode> {
    match command {
        Command::Workspace(command) => workspace::run(command, context).map(done),
        Command::Login(command) => login::login(&command, context).map(done),
        Command::Logout(command) => login::logout(&command, context).map(done),
        Command::Whoami(command) => login::whoami(&command, context),
        Command::Cloud(command) => cloud::run(&command, context).map(done),
        Command::Platform(command) => platform::run(&command, context).map(done),
        Command::Storage(command) => storage::run(command, context).map(done),
        Command::Auth(command) => auth::run(command, context),
        Command::Secret(command) => secret::run(&command, context).map(done),
        Command::Run(command) => run_with::run(&command, context),
        Command::Daemon(command) => daemon::run(&command, context).map(done),
        Command::Agent(command) => agent::run(&command, context).map(done),
        Command::Vault(command) => vault::run(&command, context).map(done),
        Command::Scope(command) => scope::run(&command, context).map(done),
        Command::Device(command) => device::run(&command, context).map(done),
        Command::Registry(command) => registry::run(&command, context).map(done),
        Command::Mount(command) => mount::run(&command, context),
        Command::Unmount(command) => unmount::run(&command, context),
        Command::Flush(command) => flush::run(&command, context),
        Command::Status(command) => status::run(&command, context),
        Command::Exec(command) => exec::run(&command, context),
        Command::Bisync(command) => bisync::run(&command, context),
        Command::BisyncStatus(command) => bisync::standing::run(&command, context),
        Command::BisyncService(command) => bisync::service::run(&command, context),
        Command::Ignore(command) => bisync::ignore::run(&command, context).map(done),
        Command::Conflicts(command) => conflicts::run(&command, context),
        Command::Env(command) => env::run(&command, context).map(done),
        Command::CredentialProcess(command) => credential_process::run(&command, context).map(done),
        Command::Doctor(command) => doctor::run(&command, context),
        Command::Completions(command) => completions::run(&command, context).map(done),
        Command::Reference(command) => reference::run(&command, context).map(done),
        Command::WakeWatchers => wake_watchers::run().map(done),
    }
}

fn done((): ()) -> ExitCode {
    ExitCode::SUCCESS
}
