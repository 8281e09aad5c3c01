//! What every command is given.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use credentials::keyring::{Keyring, KeyringKind};
use credentials::{
    Config, Environment, Identity, IdentityName, KeyProfile, KeyringSettings, Paths, Place,
    StorageKeys, WorkspaceConfig, Workspaces,
};
use model::WorkspaceName;
use zeroize::Zeroizing;

use crate::failure::{Code, Failure, Result};
use crate::handed::Handed;
use crate::key_choice::Settled;
use crate::output::Output;
use crate::passwords::{Prompt, Typed};
use crate::variables;

/// The user's wishes that hold for every command, and the way to what is on the machine.
pub(crate) struct Context {
    /// Where data and notes go.
    pub(crate) output: Output,
    /// Whether questions are forbidden.
    pub(crate) no_input: bool,
    /// The keyrings that this command has used: each is opened once, and with that asks for
    /// its password once.
    keyrings: Mutex<Vec<(KeyringSettings, Arc<dyn Keyring>)>>,
    typed: Typed,
}

impl Context {
    pub(crate) fn new(output: Output, no_input: bool) -> Self {
        Self {
            output,
            no_input,
            keyrings: Mutex::default(),
            typed: Typed::default(),
        }
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

    /// The keyring of a profile's identities: the configured one, else the system's.
    pub(crate) fn identity_keyring(
        &self,
        config: &Config,
        profile: &KeyProfile,
    ) -> Result<Arc<dyn Keyring>> {
        self.open_keyring(&self.identity_settings(config, profile)?)
    }

    /// Which keyring that is.
    pub(crate) fn identity_settings(
        &self,
        config: &Config,
        profile: &KeyProfile,
    ) -> Result<KeyringSettings> {
        let settings = self.keyring_settings(config, profile)?;
        Ok(settings.unwrap_or(KeyringSettings::of(KeyringKind::System)))
    }

    /// The keyring that is described.
    pub(crate) fn open_keyring(&self, settings: &KeyringSettings) -> Result<Arc<dyn Keyring>> {
        let mut known = self.keyrings.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, keyring)) = known.iter().find(|(of, _)| of == settings) {
            return Ok(keyring.clone());
        }
        let passwords = Prompt::new(self, settings);
        let keyring = settings.open(&self.paths()?, Box::new(passwords))?;
        known.push((settings.clone(), keyring.clone()));
        Ok(keyring)
    }

    /// Whether this command has used a file keyring.
    pub(crate) fn uses_file_keyring(&self) -> bool {
        let known = self.keyrings.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().any(|(of, _)| of.kind == KeyringKind::File)
    }

    /// Where passwords that are typed in this command are kept to its end.
    pub(crate) fn typed(&self) -> Typed {
        self.typed.clone()
    }

    /// The variables that may hold storage keys or a password.
    pub(crate) fn secret_variables(&self) -> Result<BTreeSet<String>> {
        let config = self.config()?;
        let own = variables::SECRETS.into_iter();
        let all = own.chain(config.password_variables());
        Ok(all.map(str::to_owned).collect())
    }

    /// What a background process of ours needs of this command's secrets: the variables, and
    /// passwords that were typed.
    pub(crate) fn secrets_to_hand_on(&self) -> Result<Vec<Handed>> {
        let typed = self.typed.lock().unwrap_or_else(PoisonError::into_inner);
        let mut secrets = Vec::new();
        let unused = [variables::NEW_PASSWORD, variables::EXPORT_PASSWORD];
        let mut names = self.secret_variables()?;
        names.retain(|name| !unused.contains(&name.as_str()));
        for name in names {
            let value = variables::text(&name).map(Zeroizing::new);
            let value = value.or_else(|| typed.get(&name).cloned());
            secrets.extend(value.map(|value| (name, value)));
        }
        Ok(secrets)
    }

    /// The storage key chain of a profile.
    pub(crate) fn storage_keys(&self, profile: &KeyProfile) -> Result<StorageKeys> {
        let config = self.config()?;
        let written = config.profile(profile);
        let place = match (written.identity, written.aws_profile) {
            (Some(identity), _) => self.identity_place(&config, profile, identity)?,
            (None, Some(name)) => Place::Aws(name),
            (None, None) => match self.keyring_settings(&config, profile)? {
                Some(settings) => Place::Keyring(self.open_keyring(&settings)?),
                None => Place::Cache,
            },
        };
        self.chain(profile, place)
    }

    /// A workspace's file, with other keys where others are chosen.
    pub(crate) fn workspace(
        &self,
        name: &WorkspaceName,
        keys: &Settled,
    ) -> Result<WorkspaceConfig> {
        let mut config = self.workspaces()?.load(name)?;
        keys.apply(&mut config);
        Ok(config)
    }

    /// The key chain of a workspace: as its file says, else its profile's.
    pub(crate) fn workspace_keys(&self, workspace: &WorkspaceConfig) -> Result<StorageKeys> {
        let profile = &workspace.profile;
        if workspace.uses_issued_key() {
            return self.issued_key(profile);
        }
        let place = match (&workspace.identity, &workspace.aws_profile) {
            (Some(identity), _) => {
                self.identity_place(&self.config()?, profile, identity.clone())?
            }
            (None, Some(name)) => Place::Aws(name.clone()),
            (None, None) => return self.storage_keys(profile),
        };
        self.chain(profile, place)
    }

    /// The chain of a key that an orchestrator has issued to this machine. The environment has
    /// keys to the user's own buckets; they open no other's.
    fn issued_key(&self, profile: &KeyProfile) -> Result<StorageKeys> {
        let place = match self.keyring_settings(&self.config()?, profile)? {
            Some(settings) => Place::Keyring(self.open_keyring(&settings)?),
            None => Place::Cache,
        };
        let nothing = Environment::from_lookup(|_| None)?;
        Ok(StorageKeys::new(&self.paths()?, profile.clone(), nothing).kept_in(place))
    }

    /// The settings of an identity that may be used.
    pub(crate) fn identity(&self, config: &Config, name: &IdentityName) -> Result<Identity> {
        let missing = || credentials::Error::NoIdentity { name: name.clone() };
        let identity = config.identities().get(name).ok_or_else(missing)?;
        check_private(identity)?;
        Ok(identity.clone())
    }

    fn identity_place(
        &self,
        config: &Config,
        profile: &KeyProfile,
        name: IdentityName,
    ) -> Result<Place> {
        let identity = self.identity(config, &name)?;
        let keyring = self.identity_keyring(config, profile)?;
        Ok(Place::Identity(keyring, name, Box::new(identity)))
    }

    /// The chain whose second link is this.
    pub(crate) fn chain(&self, profile: &KeyProfile, place: Place) -> Result<StorageKeys> {
        let environment = Environment::from_lookup(variables::raw)?;
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

/// Refuses to ask an STS over plain HTTP, unless it is on this machine: the session's keys come
/// back in its answer, and a provider's token goes there.
pub(crate) fn check_private(identity: &Identity) -> Result<()> {
    let Some(endpoint) = identity.endpoint.as_ref().filter(|e| e.is_in_clear()) else {
        return Ok(());
    };
    let text = format!("{endpoint} would send a session's keys over the network unencrypted");
    Err(Failure::new(Code::InvalidValue, text)
        .with_hint("give the STS's https:// address with --endpoint; http:// is for this machine"))
}

/// What can be done instead of saving storage keys.
pub(crate) const EXPORT_KEYS: &str =
    "export ARTIFACTS_S3_ACCESS_KEY_ID and ARTIFACTS_S3_SECRET_ACCESS_KEY";

/// Refuses to save in a keyring that is gone when this command ends; `instead` is what else
/// can be done.
pub(crate) fn check_lasting(keyring: &dyn Keyring, instead: &str) -> Result<()> {
    if keyring.kind() != KeyringKind::Memory {
        return Ok(());
    }
    let text = format!(
        "{} keeps nothing: what is saved there is gone with this command",
        keyring.place()
    );
    Err(Failure::new(Code::Usage, text).with_hint(format!(
        "{instead}, or choose another keyring with ARTIFACTS_KEYRING_TYPE"
    )))
}
