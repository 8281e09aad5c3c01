//! What the worker asks of others.

use std::sync::Arc;

use async_trait::async_trait;
use bucket::Bucket;
use model::Actor;
use vault::{Kek, VerifyKeys};

use crate::audit::Record;

/// Another server does not answer, or refuses. The text is for the operator's log and holds no
/// secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{who}: {why}")]
pub struct Away {
    /// Whom we asked: `the signer`.
    pub who: &'static str,
    /// What happened.
    pub why: String,
    /// Whether asking again may help.
    pub temporary: bool,
}

impl Away {
    /// Worth asking again.
    pub fn for_now(who: &'static str, why: impl Into<String>) -> Self {
        let why = why.into();
        Self {
            who,
            why,
            temporary: true,
        }
    }

    /// Asking again will not help.
    pub fn for_good(who: &'static str, why: impl Into<String>) -> Self {
        let why = why.into();
        Self {
            who,
            why,
            temporary: false,
        }
    }
}

/// Derives keys.
#[async_trait]
pub trait Signer: Send + Sync {
    /// The key that seals an actor's credentials in an epoch.
    async fn derive(&self, operator: &Actor, actor: &Actor, epoch: u32) -> Result<Kek, Away>;
}

/// Gives the bucket as one actor may see it, and as nobody else may.
#[async_trait]
pub trait Buckets: Send + Sync {
    /// The bucket with storage keys of this actor. The capability, which was checked and is for
    /// this actor, is what the broker gives a web identity for.
    async fn of(&self, actor: &Actor, cap: &str) -> Result<Arc<dyn Bucket>, Away>;

    /// The store does not take these keys any more: others next time.
    fn forget(&self, actor: &Actor, refused: &Arc<dyn Bucket>);
}

/// Gives the keys that capabilities are signed by.
#[async_trait]
pub trait CapKeys: Send + Sync {
    /// The keys known now; asked for if none are, or if they are old.
    async fn current(&self) -> Result<Arc<VerifyKeys>, Away>;

    /// Newer keys than these, which did not know a capability. `None` where there are none, or
    /// where it is too soon to ask again.
    async fn newer(&self, than: &Arc<VerifyKeys>) -> Option<Arc<VerifyKeys>>;
}

/// Keeps the records of what happened.
#[async_trait]
pub trait Audit: Send + Sync {
    /// Keeps one record. It counts as written once this returns.
    async fn write(&self, record: &Record) -> Result<(), Away>;

    /// Whether a record could be kept, as far as one can know before: asked before anything is
    /// changed.
    async fn ready(&self) -> Result<(), Away>;
}
