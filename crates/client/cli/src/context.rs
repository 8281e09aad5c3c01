//! What every command is given.

use std::future::Future;
use std::sync::Arc;

use credentials::keyring::{Keyring, KeyringKind};
use credentials::{
    Config, Environment, IdentityName, KeyProfile, KeyringSettings, Paths, Place, StorageKeys,
    WorkspaceConfig, Workspaces,
};

use crate::failure::{Code, Failure, Result};
use crate::output::Output;
use crate::passwords::Prompt;
use crate::variables;

/// The user's wishes that hold for every command, and the way to what is on the machine.
pub(crate) struct Context {
    /// Where data and notes go.
    pub(crate) output: Output,
    /// Whether questions are forbidden.
    pub(crate) no_input: bool,
}

impl Context {
    pub(crate) fn new(output: Output, no_input: bool) -> Self {
        Self { output, no_input }
    }

    /// The user's folders.
    pub(crate) fn paths(&self) -> Result<Paths> {
        Ok(Paths::from_environment()?)
    }

    /// What `config.toml` says.
    pub(crate) fn config(&self) -> Result<Config> {
        Ok(Config::load(&self.paths()?)?)
    }

    /// The profile that is meant: as given, else as `ARTIFACTS_PROFILE` says, else the
    /// default one.
    pub(crate) fn profile(&self, given: Option<&KeyProfile>) -> Result<KeyProfile> {
        if let Some(given) = given {
            return Ok(given.clone());
        }
        match variables::text(variables::PROFILE) {
            Some(text) => Ok(text.parse()?),
            None => Ok(KeyProfile::default()),
        }
    }

    /// The keyring that is configured for a profile; `None` where its keys are in the cache
    /// file.
    pub(crate) fn keyring_settings(
        &self,
        config: &Config,
        profile: &KeyProfile,
    ) -> Result<Option<KeyringSettings>> {
        let kind = variables::text(variables::KEYRING_TYPE);
        let kind: Option<KeyringKind> = kind.map(|text| text.parse()).transpose()?;
        Ok(config.keyring(profile, kind))
    }

    /// The keyring of identities: the configured one, else the system's.
    pub(crate) fn identity_keyring(&self, config: &Config) -> Result<Arc<dyn Keyring>> {
        let settings = self.keyring_settings(config, &self.profile(None)?)?;
        let settings = settings.unwrap_or(KeyringSettings::of(KeyringKind::System));
        self.open_keyring(&settings)
    }

    /// The keyring that is described.
    pub(crate) fn open_keyring(&self, settings: &KeyringSettings) -> Result<Arc<dyn Keyring>> {
        let passwords = Prompt::new(self, settings);
        Ok(settings.open(&self.paths()?, Box::new(passwords))?)
    }

    /// The storage key chain of a profile.
    pub(crate) fn storage_keys(&self, profile: &KeyProfile) -> Result<StorageKeys> {
        let config = self.config()?;
        let written = config.profile(profile);
        let place = match (written.identity, written.aws_profile) {
            (Some(identity), _) => self.identity_place(&config, identity)?,
            (None, Some(name)) => Place::Aws(name),
            (None, None) => match self.keyring_settings(&config, profile)? {
                Some(settings) => Place::Keyring(self.open_keyring(&settings)?),
                None => Place::Cache,
            },
        };
        self.chain(profile, place)
    }

    /// The key chain of a workspace: as its file says, else its profile's.
    pub(crate) fn workspace_keys(&self, workspace: &WorkspaceConfig) -> Result<StorageKeys> {
        let place = match (&workspace.identity, &workspace.aws_profile) {
            (Some(identity), _) => self.identity_place(&self.config()?, identity.clone())?,
            (None, Some(name)) => Place::Aws(name.clone()),
            (None, None) => return self.storage_keys(&workspace.profile),
        };
        self.chain(&workspace.profile, place)
    }

    fn identity_place(&self, config: &Config, name: IdentityName) -> Result<Place> {
        let missing = || credentials::Error::NoIdentity { name: name.clone() };
        let identity = config.identities().get(&name).ok_or_else(missing)?.clone();
        let keyring = self.identity_keyring(config)?;
        Ok(Place::Identity(keyring, name, Box::new(identity)))
    }

    fn chain(&self, profile: &KeyProfile, place: Place) -> Result<StorageKeys> {
        let environment = Environment::from_process()?;
        let chain = StorageKeys::new(&self.paths()?, profile.clone(), environment).kept_in(place);
        if matches!(chain.place(), Place::Identity(..)) {
            self.wait_for(async { Ok(chain.refresh().await?) })?;
        }
        Ok(chain)
    }

    /// The workspaces that this machine knows.
    pub(crate) fn workspaces(&self) -> Result<Workspaces> {
        Ok(Workspaces::new(&self.paths()?))
    }

    /// Waits for work in a thread of its own, so that it may be called from anywhere.
    pub(crate) fn wait_for<T: Send>(
        &self,
        work: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let failed = |e: String| Failure::new(Code::Failed, format!("no runtime: {e}"));
        let run = || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_all().build();
            runtime.map_err(|e| failed(e.to_string()))?.block_on(work)
        };
        std::thread::scope(|scope| {
            let waited = scope.spawn(run).join();
            waited.unwrap_or_else(|_| Err(failed("its thread ended".into())))
        })
    }

    /// Runs a command that talks to a store.
    pub(crate) fn block_on<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|e| Failure::new(Code::Failed, format!("no runtime: {e}")))?;
        let answer = runtime.block_on(work);
        // A name lookup that hangs in a thread must not hold the command up.
        runtime.shutdown_background();
        answer
    }
}
