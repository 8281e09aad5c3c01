//! `artifacts registry`: the key that writes to the registry, and its contracts.

mod anchor;

use ::registry::documents::folder::{advance_epoch, begin_epochs};
use clap::{Args, Subcommand};
use credentials::vault::{ContractAddress, RpcAddress};
use credentials::{RegistrySettings, expand_home};
use model::Actor;
use registrar::RegistrarError;
use registrar::chain::{ChainRegistrar, deploy};
use serde::Serialize;
use serde_json::Value;
use vault::SignEs256;

use crate::context::Context;
use crate::failure::{Code, Failure, Result};
use crate::input;
use crate::output::pairs;
use crate::registering::{WriteKey, chain_place, contract_address, registry, rpc_url, unset};

/// What can be done.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// The key that writes.
    #[command(subcommand)]
    Key(Key),
    /// Put the contracts onto a chain; the wallet that pays becomes their owner.
    Deploy(Deploy),
    /// The epoch of the vault's master secret, for who runs the deployment.
    #[command(subcommand)]
    Epoch(Epoch),
    Anchor(anchor::Anchor),
    /// Let a wallet write for an operator who logs in otherwise; for the contracts' owner, once
    /// for each operator.
    Assign(Assign),
}

/// What can be done with the epoch.
#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum Epoch {
    /// Sign the first one, where there is none yet (documents), and show the current one.
    Begin,
    /// Begin the next one. Credentials are re-sealed with artifacts vault rekey.
    Advance,
}

/// Who for whom.
#[derive(Args)]
pub(crate) struct Assign {
    /// The operator's number, as `artifacts vault login` shows it.
    #[arg(value_name = "OPERATOR")]
    operator: Actor,
    /// The wallet's address, as `artifacts registry key show` shows it there.
    #[arg(value_name = "ADDRESS")]
    address: ContractAddress,
}

/// What can be done with the key.
#[derive(Subcommand)]
pub(crate) enum Key {
    /// Show what is public of it: a wallet's address, or the key that readers have to pin.
    Show,
    /// Keep a wallet's key, 64 hexadecimal digits from standard input or as they are typed.
    Import,
}

/// Where.
#[derive(Args)]
pub(crate) struct Deploy {
    /// The chain's RPC.
    #[arg(long, value_name = "URL")]
    rpc: RpcAddress,
    /// The chain that must answer there.
    #[arg(long, value_name = "NUMBER")]
    chain_id: u64,
    /// The file (mode 0600) of the wallet's key [default: the key that is typed or comes from
    /// standard input].
    #[arg(long, value_name = "FILE")]
    key_file: Option<std::path::PathBuf>,
}

/// A key as it is shown.
#[derive(Serialize)]
struct Shown {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jwk: Option<Value>,
}

pub(crate) fn run(command: &Command, context: &Context) -> Result<()> {
    match command {
        Command::Key(Key::Show) => {
            let settings = context.vault_settings()?;
            show(&context.write_key(&settings)?, context)
        }
        Command::Key(Key::Import) => {
            let text = input::secret(context, "wallet's key")?;
            show(&WriteKey::Wallet(context.keep_wallet(&text)?), context)
        }
        Command::Deploy(command) => put(command, context),
        Command::Epoch(command) => epoch(*command, context),
        Command::Anchor(command) => anchor::run(command, context),
        Command::Assign(command) => assign(command, context),
    }
}

fn epoch(command: Epoch, context: &Context) -> Result<()> {
    let settings = context.vault_settings()?;
    let configured = registry(&settings)?;
    let epoch = match (context.write_key(&settings)?, configured) {
        (WriteKey::Signer(key), RegistrySettings::Documents { folder, .. }) => {
            let folder = expand_home(folder, "vault.registry.folder")?;
            context.block_on(async {
                let epoch = match command {
                    Epoch::Begin => begin_epochs(&folder, &key).await,
                    Epoch::Advance => advance_epoch(&folder, &key).await,
                };
                Ok(epoch.map_err(RegistrarError::from)?)
            })?
        }
        (WriteKey::Wallet(wallet), chain) => {
            let chain = ChainRegistrar::new(chain_place(chain)?, wallet, None)?;
            context.block_on(async {
                Ok(match command {
                    Epoch::Begin => chain.current_epoch().await?,
                    Epoch::Advance => chain.advance_epoch().await?,
                })
            })?
        }
        (WriteKey::Signer(_), RegistrySettings::Chain { .. }) => return Err(unset()),
    };
    let value = serde_json::json!({ "epoch": epoch });
    context
        .output
        .data(&value, || format!("the epoch is {epoch}\n"))
}

fn assign(command: &Assign, context: &Context) -> Result<()> {
    let settings = context.vault_settings()?;
    let WriteKey::Wallet(wallet) = context.write_key(&settings)? else {
        let text = "operators of signed documents are pinned at the worker, not assigned";
        return Err(Failure::new(Code::VaultUsage, text)
            .with_hint("add the operator's key to the worker's operators.json"));
    };
    let chain = ChainRegistrar::new(chain_place(registry(&settings)?)?, wallet, None)?;
    let address = contract_address(&command.address)?;
    context.block_on(async {
        let assigned = chain.assign_controller(&command.operator, address);
        Ok(assigned.await?)
    })?;
    let value =
        serde_json::json!({ "operator": command.operator, "controller": command.address.as_str() });
    context.output.data(&value, || {
        format!(
            "{} writes for {}\n",
            command.address.as_str(),
            command.operator
        )
    })
}

fn show(key: &WriteKey, context: &Context) -> Result<()> {
    let shown = match key {
        WriteKey::Wallet(wallet) => Shown {
            kind: "wallet",
            address: Some(wallet.address().to_string()),
            actor: Some(wallet.actor()?.to_string()),
            jwk: None,
        },
        WriteKey::Signer(key) => Shown {
            kind: "P-256",
            address: None,
            actor: None,
            jwk: Some(key.public_jwk().jwk()),
        },
    };
    context.output.data(&shown, || match &shown.jwk {
        Some(jwk) => format!("{jwk}\n"),
        None => pairs(&[
            ("address", shown.address.clone().unwrap_or_default()),
            ("actor", shown.actor.clone().unwrap_or_default()),
        ]),
    })
}

fn put(command: &Deploy, context: &Context) -> Result<()> {
    let wallet = context.wallet_for_deploy(command.key_file.as_deref())?;
    let rpc = vec![rpc_url(&command.rpc)?];
    let chain_id = command.chain_id;
    let deployed = context.block_on(async { Ok(deploy(rpc, chain_id, &wallet).await?) })?;
    let settings = toml::to_string(&deployed)
        .map_err(|e| Failure::new(Code::Failed, format!("the settings have no form: {e}")))?;
    context.output.data(&deployed, || {
        let rpc = command.rpc.to_string();
        format!("[vault.registry]\nkind = \"chain\"\nrpc = [\"{rpc}\"]\n{settings}")
    })
}
