//! `artifacts auth`: identities that log in to a store's STS, and the keyrings that keep
//! their keys.

mod configure;
mod handover;
mod keyring;
mod login;
mod migrate;
mod show;
mod transfer;

use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};
use credentials::keyring::Keyring;
use credentials::{Config, Identity, IdentityName, KeyProfile};

use crate::context::Context;
use crate::failure::Result;

/// What is asked for, and in whose keyring.
#[derive(Args)]
pub(crate) struct Auth {
    /// The profile whose keyring is meant [default: ARTIFACTS_PROFILE, else the default one].
    #[arg(long, global = true, value_name = "PROFILE")]
    profile: Option<KeyProfile>,
    #[command(subcommand)]
    command: Command,
}

/// What can be done with identities and keyrings.
#[derive(Subcommand)]
enum Command {
    /// The long-lived keys and the settings of an identity.
    #[command(subcommand)]
    User(User),
    /// Begin a session: long-lived keys, or a provider's token, for keys that end.
    ///
    /// This is a login to a bucket's store. The orchestrator has one of its own, `artifacts
    /// login`.
    Login(login::Login),
    /// End a session.
    Logout(login::Logout),
    /// Show an identity and whether its session is valid; exit code 3 where it is not.
    ///
    /// Asks the STS whether it still accepts the session. One that does not answer, or has no
    /// such call, changes nothing: then the time alone counts.
    Whoami(show::Whoami),
    /// Show all identities.
    List,
    /// Run a command with an identity's keys in its environment.
    Exec(handover::Exec),
    /// Print an identity's keys for a shell or a program. Prints secrets.
    Env(handover::Env),
    /// The place where keys are kept.
    #[command(subcommand)]
    Keyring(keyring::Command),
}

/// What can be done with an identity's own keys.
#[derive(Subcommand)]
pub(crate) enum User {
    /// Save an identity's keys and settings; asks for what is not given.
    Configure(Box<configure::Configure>),
}

pub(crate) fn run(auth: Auth, context: &Context) -> Result<ExitCode> {
    let ring = &Ring {
        profile: context.profile(auth.profile.as_ref())?,
        context,
    };
    match auth.command {
        Command::User(User::Configure(command)) => configure::run(&command, ring)?,
        Command::Login(command) => login::login(command, ring)?,
        Command::Logout(command) => login::logout(&command, ring)?,
        Command::Whoami(command) => return show::whoami(&command, ring),
        Command::List => show::list(ring)?,
        Command::Exec(command) => return handover::exec(&command, ring),
        Command::Env(command) => handover::env(&command, ring)?,
        Command::Keyring(command) => return keyring::run(command, ring),
    }
    Ok(ExitCode::SUCCESS)
}

/// Whose keyring is meant, and the way to it.
struct Ring<'a> {
    profile: KeyProfile,
    context: &'a Context,
}

impl Ring<'_> {
    /// The keyring of the profile's identities.
    fn keyring(&self, config: &Config) -> Result<Arc<dyn Keyring>> {
        self.context.identity_keyring(config, &self.profile)
    }
}

/// A configured identity, and the keyring that has its keys.
struct Known {
    name: IdentityName,
    settings: Identity,
    keyring: Arc<dyn Keyring>,
}

impl Known {
    /// Looks it up. Asks nothing of the keyring yet.
    fn find(name: &IdentityName, ring: &Ring<'_>) -> Result<Self> {
        let config = ring.context.config()?;
        Ok(Self {
            name: name.clone(),
            settings: ring.context.identity(&config, name)?,
            keyring: ring.keyring(&config)?,
        })
    }

    /// The way to a session of it.
    fn login(&self, mfa_code: Option<String>) -> credentials::login::Login<'_> {
        credentials::login::Login {
            name: &self.name,
            settings: &self.settings,
            keyring: self.keyring.as_ref(),
            mfa_code,
        }
    }
}
