//! Who may do what: devices, scopes and epochs.
//!
//! The worker asks a [`Registry`] itself for every request and takes nobody's word instead, the
//! broker's included. Two readers answer alike: [`chain`] asks contracts on a chain, [`documents`]
//! reads what operators have signed. What cannot be asked is [`Unavailable`], never "yes".

mod address;
pub mod chain;
pub mod documents;
mod port;

use std::sync::Arc;

pub use port::{Answers, Device, Question, Registry, Roles, Scope, Unavailable};

/// Which registry is read.
#[derive(Debug, Clone)]
pub enum ReaderSettings {
    /// Contracts on a chain.
    Chain(chain::ChainSettings),
    /// Documents that operators have signed.
    Documents(documents::DocumentSettings),
}

impl ReaderSettings {
    /// The reader. A chain is asked at once whether it is the right one, and has the contracts.
    ///
    /// # Errors
    /// The settings cannot be used, or the chain is another one or does not answer.
    pub async fn open(self) -> Result<Arc<dyn Registry>, Unavailable> {
        match self {
            Self::Chain(settings) => {
                let registry = chain::ChainRegistry::open(settings)?;
                registry.check().await?;
                Ok(Arc::new(registry))
            }
            Self::Documents(settings) => Ok(Arc::new(documents::DocumentRegistry::open(settings)?)),
        }
    }
}
