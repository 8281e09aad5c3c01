//! The way to the registry, for whoever writes to it: its settings, the key, and whose devices and
//! scopes are meant.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use credentials::vault::{ContractAddress, RpcAddress};
use credentials::{Folder, Privacy, RegistrySettings, VaultSettings, expand_home};
use model::{Actor, ServiceName};
use registrar::chain::{Address, ChainPlace, ChainRegistrar, Wallet};
use registrar::documents::DocumentRegistrar;
use registrar::{NewDevice, Registrar, RegistrarError};
use secrets::{Logins, Place};
use vault::DeviceKey;
use zeroize::Zeroizing;

use crate::context::Context;
use crate::failure::{Code, Failure, Result};
use crate::input;
use crate::vaulted::Servers;

/// The names under which keys that write are kept.
const WALLET: &str = "registry-wallet";
const SIGNER: &str = "registry-key";

/// Whose devices and scopes are meant.
#[derive(Args, Default)]
pub(crate) struct OperatorChoice {
    /// The operator [default: who is logged in at the broker; on a chain without a login, the
    /// wallet's own].
    #[arg(long, value_name = "ACTOR")]
    pub(crate) operator: Option<Actor>,
}

/// Somebody who acts: the operator's own agent by its label, or an actor by its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Who {
    Actor(Actor),
    Agent(String),
}

impl std::str::FromStr for Who {
    type Err = model::InvalidActor;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        if let Ok(actor) = text.parse() {
            return Ok(Self::Actor(actor));
        }
        // Whose agent it is does not matter for the form.
        Actor::from_oidc("any", "one")?.agent(text)?;
        Ok(Self::Agent(text.to_owned()))
    }
}

impl Who {
    /// As an operator means it; the operator themselves where nobody is named.
    pub(crate) fn of(who: Option<&Self>, operator: &Actor) -> Result<Actor> {
        match who {
            None => Ok(operator.clone()),
            Some(Self::Actor(actor)) => Ok(actor.clone()),
            Some(Self::Agent(label)) => operator
                .agent(label)
                .map_err(|e| Failure::new(Code::InvalidValue, e.to_string())),
        }
    }
}

/// Waits until the vault's servers have looked at the registry again, which they do each second: what a
/// command has allowed counts when it returns.
pub(crate) async fn heard() {
    tokio::time::sleep(Duration::from_millis(1_200)).await;
}

/// A key that writes.
pub(crate) enum WriteKey {
    Wallet(Wallet),
    Signer(Arc<DeviceKey>),
}

impl Context {
    /// The registry's writer for an operator.
    pub(crate) fn registrar(&self, choice: &OperatorChoice) -> Result<Box<dyn Registrar>> {
        let settings = self.vault_settings()?;
        let named = match &choice.operator {
            Some(operator) => Some(operator.clone()),
            None => self.logged_in_operator(&settings)?,
        };
        match (self.write_key(&settings)?, registry(&settings)?) {
            (WriteKey::Wallet(wallet), chain) => {
                let place = chain_place(chain)?;
                Ok(Box::new(ChainRegistrar::new(place, wallet, named)?))
            }
            (WriteKey::Signer(key), RegistrySettings::Documents { folder, .. }) => {
                let operator = named.ok_or_else(|| {
                    Failure::new(Code::VaultLogin, "whose registry this is is not known")
                        .with_hint("run artifacts vault login, or give --operator")
                })?;
                let folder = expand_home(folder, "vault.registry.folder")?;
                Ok(Box::new(DocumentRegistrar::new(folder, operator, key)))
            }
            (WriteKey::Signer(_), RegistrySettings::Chain { .. }) => Err(unset()),
        }
    }

    /// Registers a device and lets its actor use services. One that is registered like this
    /// already is no failure.
    pub(crate) fn register(
        &self,
        registrar: &dyn Registrar,
        new: &NewDevice,
        scope: &[ServiceName],
    ) -> Result<()> {
        Names::of(self)?.add(scope)?;
        self.block_on(async {
            match registrar.register(new).await {
                Err(RegistrarError::DeviceKnown(device)) => {
                    let all = registrar.devices().await?;
                    let mut same = all.iter().filter(|(id, about)| {
                        *id == device && about.actor == new.actor && about.roles == new.roles
                    });
                    same.next().ok_or(RegistrarError::DeviceKnown(device))?;
                }
                other => other?,
            }
            if !scope.is_empty() {
                registrar.set_scope(&new.actor, scope, false).await?;
            }
            heard().await;
            Ok(())
        })
    }

    /// The key that writes: from its file, else as this machine keeps it. A wallet's is never
    /// made in passing: nobody has put money or rights on a new one.
    pub(crate) fn write_key(&self, settings: &VaultSettings) -> Result<WriteKey> {
        let place = self.vault_place()?;
        match registry(settings)? {
            RegistrySettings::Chain { key_file, .. } => {
                let text = match key_file {
                    Some(path) => Some(secret_file(path)?),
                    None => place.load(WALLET)?,
                };
                let text = text.ok_or_else(|| {
                    Failure::new(
                        Code::VaultUsage,
                        "there is no wallet to write to the chain with",
                    )
                    .with_hint("run artifacts registry key import, or set vault.registry.key_file")
                })?;
                let text = std::str::from_utf8(&text).map_err(|_| no_wallet())?;
                Ok(WriteKey::Wallet(Wallet::from_hex(text)?))
            }
            RegistrySettings::Documents { key_file, .. } => {
                let der = match key_file {
                    Some(path) => secret_file(path)?,
                    None => kept_or_made(&place)?,
                };
                let key = DeviceKey::from_pkcs8(&der).map_err(|_| {
                    let text = "the registry's key is no P-256 key in PKCS #8".to_owned();
                    RegistrarError::Key(text)
                })?;
                Ok(WriteKey::Signer(Arc::new(key)))
            }
        }
    }

    /// Keeps a wallet's key; `text` is 64 hexadecimal digits.
    pub(crate) fn keep_wallet(&self, text: &Zeroizing<String>) -> Result<Wallet> {
        let wallet = Wallet::from_hex(text)?;
        let bytes = Zeroizing::new(text.trim().as_bytes().to_vec());
        let place = self.vault_place()?;
        if !place.save_first(WALLET, &bytes)? && place.load(WALLET)? != Some(bytes) {
            let text = format!("another wallet is kept in {}", place.shown(WALLET));
            return Err(Failure::new(Code::RegistryConflict, text)
                .with_hint("keep that key elsewhere and remove it there first"));
        }
        Ok(wallet)
    }

    /// The wallet that puts the contracts onto a chain: from a file, else from standard input or
    /// as it is typed.
    pub(crate) fn wallet_for_deploy(&self, file: Option<&Path>) -> Result<Wallet> {
        let text = match file {
            // A path of the command line is one from here.
            Some(path) => {
                let absolute = std::path::absolute(path);
                let absolute = absolute.map_err(|e| credentials::Error::io("find", path, e))?;
                secret_file(&absolute)?
            }
            None => Zeroizing::new(input::secret(self, "wallet's key")?.as_bytes().to_vec()),
        };
        let text = std::str::from_utf8(&text).map_err(|_| no_wallet())?;
        Ok(Wallet::from_hex(text)?)
    }

    /// The operator of this machine's login at the broker, whether or not it has ended.
    pub(crate) fn logged_in_operator(&self, settings: &VaultSettings) -> Result<Option<Actor>> {
        let Some(broker) = &settings.broker else {
            return Ok(None);
        };
        let login = Logins::new(self.vault_place()?).load(broker)?;
        Ok(login.map(|login| login.operator))
    }

    /// Tells the broker what was revoked, so that daemons drop it at once. Where it cannot be
    /// told nothing is lost: the worker asks the registry itself.
    pub(crate) fn tell_broker(&self, event: &api::vault::DropEvent) -> Result<()> {
        let settings = self.vault_settings()?;
        if settings.broker.is_none() {
            return Ok(());
        }
        if let Err(failure) = self.tell(settings, event) {
            self.output.warn(
                &format!(
                    "it is revoked, but the broker was not told: {}",
                    failure.message
                ),
                "nothing has to be done: the worker refuses it within two seconds",
            );
        }
        Ok(())
    }

    fn tell(&self, settings: VaultSettings, event: &api::vault::DropEvent) -> Result<()> {
        let servers = Servers::new(settings)?;
        let access = self.vault_access(&servers)?;
        self.block_on(async {
            let login = access.login().await?;
            Ok(access.broker().tell_drop(&login, event).await?)
        })
    }
}

/// What the file says of the registry.
pub(crate) fn registry(settings: &VaultSettings) -> Result<&RegistrySettings> {
    settings.registry.as_ref().ok_or_else(unset)
}

pub(crate) fn unset() -> Failure {
    Failure::new(Code::VaultUsage, "no registry is configured")
        .with_hint("write [vault.registry] into config.toml; docs/registry.md shows how")
}

pub(crate) fn chain_place(settings: &RegistrySettings) -> Result<ChainPlace> {
    let RegistrySettings::Chain {
        rpc,
        chain_id,
        device_registry,
        scope_contract,
        epoch_counter,
        credential_audit,
        ..
    } = settings
    else {
        return Err(unset());
    };
    let address = |address: &ContractAddress| {
        let parsed = address.as_str().parse();
        parsed.map_err(|_| {
            Failure::new(
                Code::InvalidValue,
                format!("{}: no address", address.as_str()),
            )
        })
    };
    Ok(ChainPlace {
        rpc: rpc.iter().map(rpc_url).collect::<Result<_>>()?,
        chain_id: *chain_id,
        device_registry: address(device_registry)?,
        scope_contract: address(scope_contract)?,
        epoch_counter: address(epoch_counter)?,
        credential_audit: credential_audit.as_ref().map(address).transpose()?,
    })
}

pub(crate) fn contract_address(address: &ContractAddress) -> Result<Address> {
    let parsed = address.as_str().parse();
    let bad = |_| {
        Failure::new(
            Code::InvalidValue,
            format!("{} is no address", address.as_str()),
        )
    };
    parsed.map_err(bad)
}

pub(crate) fn rpc_url(address: &RpcAddress) -> Result<::registry::chain::RpcUrl> {
    let url = address.expose().parse();
    Ok(url.map_err(RegistrarError::from)?)
}

fn no_wallet() -> RegistrarError {
    RegistrarError::Key("it is not 64 hexadecimal digits".into())
}

fn kept_or_made(place: &Place) -> Result<Zeroizing<Vec<u8>>> {
    if let Some(kept) = place.load(SIGNER)? {
        return Ok(kept);
    }
    let none = || RegistrarError::Key("the system gives no random numbers".into());
    place.save_first(SIGNER, &DeviceKey::generate_pkcs8().ok_or_else(none)?)?;
    // Another command may have been quicker.
    place.load(SIGNER)?.ok_or_else(|| {
        let path = place.shown(SIGNER).into();
        credentials::Error::NotKept { path }.into()
    })
}

/// A file that holds a key: nobody else may read it.
fn secret_file(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let path = expand_home(path, "vault.registry.key_file")?;
    let missing = || {
        Failure::new(
            Code::FileUnusable,
            format!("there is no {}", path.display()),
        )
        .with_hint("put the key that writes to the registry there, mode 0600")
    };
    let parts = path.parent().zip(path.file_name().and_then(|n| n.to_str()));
    let (folder, name) = parts.ok_or_else(missing)?;
    let folder = Folder::open(folder)?.ok_or_else(missing)?;
    folder.read(name, Privacy::Secret)?.ok_or_else(missing)
}

/// The names of services that this machine has given scopes for. A chain knows only their
/// hashes.
pub(crate) struct Names(PathBuf);

const NAMES: &str = "services";

impl Names {
    pub(crate) fn of(context: &Context) -> Result<Self> {
        Ok(Self(context.paths()?.state().join("registry")))
    }

    pub(crate) fn all(&self) -> Result<Vec<ServiceName>> {
        match Folder::open(&self.0)? {
            Some(folder) => read(&folder),
            None => Ok(Vec::new()),
        }
    }

    pub(crate) fn add(&self, services: &[ServiceName]) -> Result<()> {
        let folder = Folder::create(&self.0)?;
        let _lock = folder.lock()?;
        let mut names = read(&folder)?;
        let before = names.len();
        names.extend(services.iter().cloned());
        names.sort();
        names.dedup();
        if names.len() > before {
            let lines: String = names.iter().map(|name| format!("{name}\n")).collect();
            folder.replace(NAMES, lines.as_bytes())?;
        }
        Ok(())
    }
}

fn read(folder: &Folder) -> Result<Vec<ServiceName>> {
    let bytes = folder.read(NAMES, Privacy::Trusted)?.unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
}

impl From<RegistrarError> for Failure {
    fn from(error: RegistrarError) -> Self {
        use RegistrarError as E;
        let code = match &error {
            E::DeviceKnown(_) | E::DeviceRevoked(_) => Code::RegistryConflict,
            E::DeviceUnknown(_) => Code::RegistryNotFound,
            E::Roles(_) | E::MasterOfAgent => Code::InvalidValue,
            E::NotController(_) | E::NotOwner | E::NoFunds(_) => Code::NotAllowed,
            E::Chain(_) | E::Pending(..) => Code::VaultUnavailable,
            E::Reverted(_) => Code::Failed,
            E::Key(_) => Code::FileMalformed,
            E::SignIn(_) => Code::VaultFailed,
            E::File { .. } => Code::FileUnusable,
        };
        let text = error.to_string();
        match text.split_once("\nhint: ") {
            Some((message, hint)) => Self::new(code, message).with_hint(hint.replace('\n', " ")),
            None => Self::new(code, text).with_hint(code.facts().next.replace('`', "")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_meant_by_label_and_anybody_by_number() {
        let operator = Actor::from_oidc("https://accounts.example", "ada").expect("an actor");
        let who: Who = "ci".parse().expect("a label");
        let agent = Who::of(Some(&who), &operator).expect("an agent");
        assert_eq!(agent, operator.agent("ci").expect("an agent"));
        let who: Who = agent.as_str().parse().expect("a number");
        assert_eq!(Who::of(Some(&who), &operator).expect("the same"), agent);
        assert_eq!(Who::of(None, &operator).expect("the operator"), operator);
        for bad in ["", "CI", "a/b", &"x".repeat(33)] {
            assert!(bad.parse::<Who>().is_err(), "{bad}");
        }
    }
}
