//! What every way to a secret can do.

use api::vault::{ListedCredential, StoredCredential, TornDown};
use async_trait::async_trait;
use model::ServiceName;

use crate::error::Result;
use crate::value::SecretValue;

/// The secrets of one actor: whoever is logged in.
#[async_trait]
pub trait SecretStore: Send + Sync {
    /// Stores a value in place of what may be there. With `expected` only if that generation is
    /// there now; 0: only if nothing is.
    ///
    /// # Errors
    /// [`Kind::Conflict`](crate::Kind::Conflict) where it is not.
    async fn store(
        &self,
        service: &ServiceName,
        value: &SecretValue,
        expected: Option<u64>,
    ) -> Result<StoredCredential>;

    /// Reads a value. One that is older than what was seen before is an error, unless
    /// `accept_older` says that it is known why.
    ///
    /// # Errors
    /// [`Kind::NotFound`](crate::Kind::NotFound), and every reason of a worker's.
    async fn read(&self, service: &ServiceName, accept_older: bool) -> Result<ReadSecret>;

    /// What there is, by name. No value.
    ///
    /// # Errors
    /// As a worker refuses.
    async fn list(&self) -> Result<Vec<ListedCredential>>;

    /// Deletes every secret of the operator's own actor, or of the agent with this label.
    ///
    /// # Errors
    /// As a worker refuses. Objects that could not be deleted are counted in the answer.
    async fn teardown(&self, label: Option<&str>) -> Result<TornDown>;
}

/// A secret that was read.
pub struct ReadSecret {
    /// The value.
    pub value: SecretValue,
    /// The version byte of its envelope.
    pub version: u8,
    /// The envelope's epoch.
    pub epoch: u32,
    /// The envelope's generation.
    pub generation: u64,
}
