//! The real ones behind [`ports`](crate::ports).

mod call;
mod cap_keys;
mod records;
mod signer;
mod storage;

pub use cap_keys::BrokerKeys;
pub use records::Records;
pub use signer::MutualSigner;
pub use storage::{ActorBuckets, Sts, StsSettings, WebIdentities};
