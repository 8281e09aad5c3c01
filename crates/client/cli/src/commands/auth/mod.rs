//! `artifacts auth`: identities that log in to a store's STS, and the keyrings that keep
//! their keys.

mod configure;
mod handover;
mod keyring;
mod login;
mod show;
mod transfer;

use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};
use credentials::keyring::Keyring;
use credentials::{Config, Error, Identity, IdentityName};

use crate::context::Context;
use crate::failure::Result;

/// What can be done with identities and keyrings.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// The long-lived keys and the settings of an identity.
    #[command(subcommand)]
    User(User),
    /// Begin a session: long-lived keys, or a provider's token, for keys that end.
    Login(login::Login),
    /// End a session.
    Logout(login::Logout),
    /// Show an identity and whether its session is valid; exit code 3 where it is not.
    Whoami(Named),
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

/// Which identity is meant.
#[derive(Args)]
pub(crate) struct Named {
    /// The identity.
    #[arg(long, default_value_t, value_name = "NAME")]
    pub(super) identity: IdentityName,
}

pub(crate) fn run(command: Command, context: &Context) -> Result<ExitCode> {
    match command {
        Command::User(User::Configure(command)) => configure::run(&command, context)?,
        Command::Login(command) => login::login(command, context)?,
        Command::Logout(command) => login::logout(&command, context)?,
        Command::Whoami(named) => return show::whoami(&named, context),
        Command::List => show::list(context)?,
        Command::Exec(command) => return handover::exec(&command, context),
        Command::Env(command) => handover::env(&command, context)?,
        Command::Keyring(command) => keyring::run(command, context)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// A configured identity, and the keyring that has its keys.
pub(super) struct Known {
    pub(super) name: IdentityName,
    pub(super) settings: Identity,
    pub(super) keyring: Arc<dyn Keyring>,
}

impl Known {
    /// Looks it up. Asks nothing of the keyring yet.
    pub(super) fn find(name: &IdentityName, context: &Context) -> Result<Self> {
        let config = context.config()?;
        let missing = || Error::NoIdentity { name: name.clone() };
        let settings = config.identities().get(name).ok_or_else(missing)?.clone();
        Self::of(name, settings, &config, context)
    }

    fn of(
        name: &IdentityName,
        settings: Identity,
        config: &Config,
        context: &Context,
    ) -> Result<Self> {
        Ok(Self {
            name: name.clone(),
            settings,
            keyring: context.identity_keyring(config)?,
        })
    }

    /// The way to a session of it.
    pub(super) fn login(&self, mfa_code: Option<String>) -> credentials::login::Login<'_> {
        credentials::login::Login {
            name: &self.name,
            settings: &self.settings,
            keyring: self.keyring.as_ref(),
            mfa_code,
        }
    }
}
