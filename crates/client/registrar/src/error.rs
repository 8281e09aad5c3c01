//! Why something was not registered.

use model::{Actor, DeviceId};
use registry::documents::folder::FolderError;

/// Shorthand.
pub type Result<T> = std::result::Result<T, RegistrarError>;

/// What went wrong. Each text ends with the next step. Never a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistrarError {
    /// It is registered.
    #[error(
        "device {0} is registered already\nhint: `artifacts device list` shows it; nothing has to be done"
    )]
    DeviceKnown(DeviceId),
    /// It was revoked, and that is final.
    #[error(
        "device {0} was revoked, which is final\nhint: make the machine a new key, then register that"
    )]
    DeviceRevoked(DeviceId),
    /// There is no such device of this operator.
    #[error(
        "device {0} is not registered for this operator\nhint: `artifacts device list` shows those that are"
    )]
    DeviceUnknown(DeviceId),
    /// No role, or one that there is not.
    #[error("{0} is no set of roles\nhint: 1 is use, 2 is master, 3 is both")]
    Roles(u32),
    /// An agent's device cannot be a master.
    #[error(
        "the role master is for the operator's own devices\nhint: register an agent's device with the role use"
    )]
    MasterOfAgent,
    /// Somebody else writes for this operator.
    #[error(
        "this key may not write for operator {0}\nhint: use the key that the operator was registered with, or have the registry's owner assign this one"
    )]
    NotController(Actor),
    /// For the owner only.
    #[error("only the owner of the contract may do this\nhint: use the owner's key")]
    NotOwner,
    /// The contract refused for another reason.
    #[error(
        "the contract refused: {0}\nhint: compare the contracts' addresses with what was deployed"
    )]
    Reverted(String),
    /// The chain cannot be asked.
    #[error("{0}")]
    Chain(String),
    /// The wallet cannot pay.
    #[error(
        "the wallet {0} has not enough to pay for the transaction\nhint: send it some of the chain's currency"
    )]
    NoFunds(String),
    /// It was sent, and is in no block yet.
    #[error(
        "transaction {0} is in no block after {1} s\nhint: look for it in an explorer of the chain; once it is in a block, it counts"
    )]
    Pending(String, u64),
    /// A key that cannot be used.
    #[error(
        "the registry's key: {0}\nhint: keep it safe; another key cannot write for the operator"
    )]
    Key(String),
    /// A broker wants another login than the wallet's own.
    #[error("the wallet signs no login there: {0}")]
    SignIn(String),
    /// A file of the documents.
    #[error(transparent)]
    File(#[from] FolderError),
}

impl From<registry::chain::RpcError> for RegistrarError {
    fn from(error: registry::chain::RpcError) -> Self {
        Self::Chain(error.to_string())
    }
}

impl From<registry::Unavailable> for RegistrarError {
    fn from(registry::Unavailable(reason): registry::Unavailable) -> Self {
        Self::Chain(reason)
    }
}
