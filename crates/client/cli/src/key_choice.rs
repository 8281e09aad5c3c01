//! Which keys are meant, where a command can be told.

use clap::Args;
use credentials::{KeyProfile, WorkspaceConfig};

use crate::context::Context;
use crate::failure::Result;
use crate::variables;

/// Which set of keys is meant.
#[derive(Args, Debug, Clone, Default)]
pub(crate) struct Profile {
    /// The set of keys to use [default: ARTIFACTS_PROFILE, else the default one].
    #[arg(long, value_name = "PROFILE")]
    pub(crate) profile: Option<KeyProfile>,
}

/// Other keys than a workspace's own.
#[derive(Args, Debug, Clone, Default)]
pub(crate) struct KeyChoice {
    /// Use this set of keys in place of those that the workspace was made with [default:
    /// ARTIFACTS_PROFILE, else the workspace's own].
    #[arg(long, value_name = "PROFILE")]
    pub(crate) profile: Option<KeyProfile>,
    /// Use the keys of this profile of the AWS tools. Their files are only read.
    #[arg(long, value_name = "PROFILE", conflicts_with = "profile")]
    pub(crate) aws_profile: Option<String>,
}

impl KeyChoice {
    /// The choice with the variable's word, where nothing is given.
    pub(crate) fn settled(&self, context: &Context) -> Result<Settled> {
        if let Some(name) = &self.aws_profile {
            return Ok(Settled::Aws(name.clone()));
        }
        if self.profile.is_none() && variables::text(variables::PROFILE).is_none() {
            return Ok(Settled::Own);
        }
        let profile = context.profile(self.profile.as_ref())?;
        Ok(Settled::Profile(profile))
    }
}

/// Which keys are used for a workspace, once options and variables are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Settled {
    /// Those that it was made with.
    Own,
    /// A profile's.
    Profile(KeyProfile),
    /// Those of a profile of the AWS tools.
    Aws(String),
    /// The one that a ticket was exchanged for.
    Ticket,
}

impl Settled {
    /// Puts the choice in the place of the workspace's own keys.
    pub(crate) fn apply(&self, config: &mut WorkspaceConfig) {
        match self {
            Self::Own => {}
            Self::Ticket => {
                if let Some(known) = config.orchestrator.as_ref().filter(|known| known.managed) {
                    config.profile = known.ticket_profile();
                }
            }
            Self::Profile(profile) => {
                config.profile = profile.clone();
                config.identity = None;
                config.aws_profile = None;
            }
            Self::Aws(name) => {
                config.identity = None;
                config.aws_profile = Some(name.clone());
            }
        }
    }
}
