//! The buckets' own policies, read once and kept in memory beside the index.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::policy::{Policy, PolicyError};
use crate::store::{Error, Setting, Store};

/// Every bucket's policy, for every request.
pub(crate) struct BucketPolicies {
    by_bucket: RwLock<HashMap<String, Arc<Policy>>>,
    /// Held while one is changed, so that memory and index say the same.
    changing: tokio::sync::Mutex<()>,
}

impl BucketPolicies {
    /// Reads those of a store. One that cannot be understood would refuse or grant something
    /// else than was meant: the store is not opened with it.
    pub(crate) fn load(store: &Store) -> Result<Self, Error> {
        let mut by_bucket = HashMap::new();
        for (bucket, document) in store.settings(Setting::Policy)? {
            let policy = Policy::of_bucket(&document, &bucket);
            let policy = policy.map_err(|error| unusable(&bucket, &error))?;
            by_bucket.insert(bucket, Arc::new(policy));
        }
        Ok(Self {
            by_bucket: RwLock::new(by_bucket),
            changing: tokio::sync::Mutex::default(),
        })
    }

    /// A bucket's policy, if it has one.
    pub(crate) fn of(&self, bucket: &str) -> Option<Arc<Policy>> {
        self.by_bucket.read().get(bucket).cloned()
    }

    /// Sets a bucket's policy, or takes it away.
    pub(crate) async fn set(
        &self,
        store: &Store,
        bucket: String,
        policy: Option<(String, Policy)>,
    ) -> Result<(), Error> {
        let _alone = self.changing.lock().await;
        let (document, policy) = policy.unzip();
        store.set(bucket.clone(), Setting::Policy, document).await?;
        match policy {
            Some(policy) => self.by_bucket.write().insert(bucket, Arc::new(policy)),
            None => self.by_bucket.write().remove(&bucket),
        };
        Ok(())
    }

    /// Removes a bucket, and its policy with it.
    pub(crate) async fn delete_bucket(&self, store: &Store, bucket: String) -> Result<(), Error> {
        let _alone = self.changing.lock().await;
        store.delete_bucket(bucket.clone()).await?;
        self.by_bucket.write().remove(&bucket);
        Ok(())
    }
}

fn unusable(bucket: &str, error: &PolicyError) -> Error {
    Error::Commit(format!("the policy of bucket {bucket} is refused: {error}"))
}
