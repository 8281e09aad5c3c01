//! Which registry a role asks who may do what: documents that operators have signed, or contracts
//! on a chain.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use registry::chain::{self, ChainSettings, RpcUrl};
use registry::documents::{self, DocumentSettings, Source};
use registry::{ReaderSettings, Registry};

/// The registry that is asked.
#[derive(Args)]
#[group(id = "registry")]
pub(crate) struct RegistryFlags {
    /// Where the documents lie that operators have signed: a folder, or an https:// address.
    #[arg(
        long,
        value_name = "FOLDER|URL",
        env = "ARTIFACTS_REGISTRY_DOCUMENTS",
        requires = "registry_pins",
        conflicts_with = "registry_rpc",
        required_unless_present = "registry_rpc"
    )]
    registry_documents: Option<String>,
    /// The file of the keys that are pinned, by operator.
    #[arg(long, value_name = "FILE", env = "ARTIFACTS_REGISTRY_PINS")]
    registry_pins: Option<PathBuf>,
    /// A chain's RPC endpoint; a second one is asked where the first fails. For a registry on a
    /// chain.
    #[arg(
        long,
        value_name = "URL",
        env = "ARTIFACTS_REGISTRY_RPC",
        value_delimiter = ',',
        num_args = 1..=2,
        requires_all = [
            "registry_chain_id", "registry_devices", "registry_scopes", "registry_epochs",
        ]
    )]
    registry_rpc: Vec<RpcUrl>,
    /// The chain that must answer.
    #[arg(long, value_name = "NUMBER", env = "ARTIFACTS_REGISTRY_CHAIN_ID")]
    registry_chain_id: Option<u64>,
    /// The address of the contract DeviceRegistry.
    #[arg(long, value_name = "0xADDRESS", env = "ARTIFACTS_REGISTRY_DEVICES")]
    registry_devices: Option<String>,
    /// The address of the contract ScopeContract.
    #[arg(long, value_name = "0xADDRESS", env = "ARTIFACTS_REGISTRY_SCOPES")]
    registry_scopes: Option<String>,
    /// The address of the contract EpochCounter.
    #[arg(long, value_name = "0xADDRESS", env = "ARTIFACTS_REGISTRY_EPOCHS")]
    registry_epochs: Option<String>,
    /// How old the chain's newest block may be, in seconds; 0 for a chain that makes blocks only
    /// when there is something to put into them.
    #[arg(
        long,
        value_name = "SECONDS",
        env = "ARTIFACTS_REGISTRY_OLDEST_HEAD",
        default_value_t = chain::OLDEST_HEAD.as_secs()
    )]
    registry_oldest_head: u64,
}

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

impl RegistryFlags {
    /// A reader of it; what it has seen of documents is kept in the role's folder.
    pub(crate) async fn open(&self, data: &Path) -> Result<Arc<dyn Registry>> {
        let settings = match (&self.registry_documents, &self.registry_pins) {
            (Some(source), Some(pins)) => ReaderSettings::Documents(DocumentSettings {
                source: Source::parse(source)?,
                pins: pins.clone(),
                seen: data.join("registry-seen.json"),
                fresh_for: documents::FRESH_FOR,
            }),
            _ => ReaderSettings::Chain(self.chain()?),
        };
        Ok(settings.open().await?)
    }

    /// Whether it is one of signed documents. Of these only who has seen a newer one refuses an
    /// older one; a chain says itself what is newest.
    #[cfg_attr(
        not(feature = "worker"),
        allow(dead_code, reason = "only a worker asks")
    )]
    pub(crate) fn is_of_documents(&self) -> bool {
        self.registry_documents.is_some()
    }

    fn chain(&self) -> Result<ChainSettings> {
        let missing = "no registry is named\nhint: --registry-documents FOLDER|URL --registry-pins FILE, or --registry-rpc URL with the chain's id and contracts";
        let oldest = Duration::from_secs(self.registry_oldest_head);
        Ok(ChainSettings {
            rpc: self.registry_rpc.clone(),
            chain_id: self.registry_chain_id.ok_or(missing)?,
            device_registry: address(self.registry_devices.as_deref().ok_or(missing)?)?,
            scope_contract: address(self.registry_scopes.as_deref().ok_or(missing)?)?,
            epoch_counter: address(self.registry_epochs.as_deref().ok_or(missing)?)?,
            fresh_for: chain::FRESH_FOR,
            oldest_head: (!oldest.is_zero()).then_some(oldest),
        })
    }
}

fn address<T: std::str::FromStr>(text: &str) -> Result<T> {
    let parsed = text.parse();
    parsed.map_err(|_| format!("{text} is no contract's address\nhint: 0x and 40 digits").into())
}
