//! Finds out what a store can really do.
//!
//! Some stores accept a conditional write and ignore the condition, and some look at it
//! but not atomically. Documents do not tell, so it is tried out, under scratch keys that
//! are removed again.

use bytes::Bytes;
use futures::future::join_all;
use serde::{Deserialize, Serialize};

use crate::{
    Body, Bucket, Condition, CopyOptions, Error, Etag, GetOptions, Key, PutOptions, PutOutcome,
    Result,
};

/// Where scratch objects go inside a workspace: among what Artifacts hides.
pub const SCRATCH: &str = ".artifacts/probe/";

/// Writers that race for one key.
const RACERS: usize = 8;

/// What a store was seen to honour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Whether the keys may write at all. Where not, the answers about writing are `false`.
    #[serde(default = "yes")]
    pub writable: bool,
    /// `If-None-Match: *` on PUT, with one winner where several race.
    pub put_if_absent: bool,
    /// `If-Match` on PUT.
    pub put_if_match: bool,
    /// `If-Match` on DELETE.
    pub delete_if_match: bool,
    /// CopyObject.
    pub copy: bool,
    /// `If-None-Match: *` on CopyObject.
    #[serde(default)]
    pub copy_if_absent: bool,
    /// ListObjectVersions.
    pub versions: bool,
}

/// Probes the store with scratch objects `scratch_prefix` + a fresh UUID (pass the
/// workspace's prefix + [`SCRATCH`]), and removes them.
///
/// # Errors
/// Those of the bucket that say nothing about a capability: unreachable, bad keys, no such
/// bucket … Keys that may not write are no error: then `writable` is false.
pub async fn probe(bucket: &dyn Bucket, scratch_prefix: &str) -> Result<Capabilities> {
    let scratch = Scratch::new(bucket, scratch_prefix)?;
    let result = scratch.run().await;
    scratch.clean().await;
    result
}

/// Whether a PUT whose `If-Match` names another version is refused, and one that names the right
/// one taken. Leaves nothing behind.
///
/// # Errors
/// As [`probe`]; also that the keys may not write.
pub async fn put_if_match(bucket: &dyn Bucket, scratch_prefix: &str) -> Result<bool> {
    let scratch = Scratch::new(bucket, scratch_prefix)?;
    let tried = async {
        let written = scratch.put(&scratch.first, "1", Condition::None).await?;
        scratch.put_if_match(&written.etag).await
    };
    let result = tried.await;
    scratch.remove(&scratch.first).await;
    result
}

struct Scratch<'b> {
    bucket: &'b dyn Bucket,
    first: Key,
    raced: Key,
    copied: Key,
}

impl<'b> Scratch<'b> {
    fn new(bucket: &'b dyn Bucket, prefix: &str) -> Result<Self> {
        let id = uuid::Uuid::new_v4();
        let key = |part: &str| {
            let key = Key::new(format!("{prefix}{id}{part}"));
            key.map_err(|error| Error::Invalid {
                reason: error.to_string(),
            })
        };
        Ok(Self {
            bucket,
            first: key("")?,
            raced: key("-raced")?,
            copied: key("-copied")?,
        })
    }

    async fn run(&self) -> Result<Capabilities> {
        let versions = self.bucket.versions_listed().await?;
        let written = match self.put(&self.first, "1", Condition::None).await {
            Ok(written) => written,
            Err(Error::PermissionDenied { .. }) => return Ok(read_only(versions)),
            Err(error) => return Err(error),
        };
        let (put_if_absent, put_if_match) =
            futures::try_join!(self.put_if_absent(), self.put_if_match(&written.etag))?;
        let copy = self.copy().await?;
        let copy_if_absent = copy && self.copy_if_absent().await?;
        let delete_if_match = self.delete_if_match().await?;
        Ok(Capabilities {
            writable: true,
            put_if_absent,
            put_if_match,
            delete_if_match,
            copy,
            copy_if_absent,
            versions,
        })
    }

    /// Several writers at once: one may win, and the others must be told.
    async fn put_if_absent(&self) -> Result<bool> {
        let racers = (0..RACERS).map(|_| self.put(&self.raced, "x", Condition::Absent));
        let mut winners = 0;
        for result in join_all(racers).await {
            if !refused(result)? {
                winners += 1;
            }
        }
        Ok(winners == 1)
    }

    /// The right version must be taken and a wrong one be refused.
    async fn put_if_match(&self, right: &Etag) -> Result<bool> {
        let wrong = self
            .put(&self.first, "wrong", Condition::Matches(wrong_etag()))
            .await;
        if !refused(wrong)? {
            return Ok(false);
        }
        let right = self
            .put(&self.first, "2", Condition::Matches(right.clone()))
            .await;
        Ok(!refused(right)?)
    }

    async fn copy(&self) -> Result<bool> {
        let copied = self
            .bucket
            .copy(&self.first, &self.copied, CopyOptions::default())
            .await;
        if refused(copied)? {
            return Ok(false);
        }
        let read = self.bucket.get(&self.copied, GetOptions::default()).await;
        Ok(!refused(read)?)
    }

    async fn copy_if_absent(&self) -> Result<bool> {
        let options = CopyOptions {
            condition: Condition::Absent,
            ..CopyOptions::default()
        };
        refused(self.bucket.copy(&self.first, &self.copied, options).await)
    }

    /// A refusal alone is no proof: the object must still be there, and must go when the
    /// version is right.
    async fn delete_if_match(&self) -> Result<bool> {
        let there = self.put(&self.first, "3", Condition::None).await?;
        let wrong = self
            .bucket
            .delete(&self.first, Condition::Matches(wrong_etag()))
            .await;
        if !refused(wrong)? || refused(self.bucket.head(&self.first).await)? {
            return Ok(false);
        }
        let right = self
            .bucket
            .delete(&self.first, Condition::Matches(there.etag))
            .await;
        Ok(!refused(right)? && refused(self.bucket.head(&self.first).await)?)
    }

    async fn put(&self, key: &Key, body: &'static str, condition: Condition) -> Result<PutOutcome> {
        let options = PutOptions {
            condition,
            ..PutOptions::default()
        };
        self.bucket
            .put(
                key,
                Body::Bytes(Bytes::from_static(body.as_bytes())),
                options,
            )
            .await
    }

    async fn clean(&self) {
        for key in [&self.first, &self.raced, &self.copied] {
            self.remove(key).await;
        }
    }

    async fn remove(&self, key: &Key) {
        match self.bucket.delete(key, Condition::None).await {
            Ok(()) | Err(Error::PermissionDenied { .. }) => {}
            Err(error) => tracing::warn!(%key, %error, "a scratch object may be left"),
        }
    }
}

fn read_only(versions: bool) -> Capabilities {
    Capabilities {
        writable: false,
        put_if_absent: false,
        put_if_match: false,
        delete_if_match: false,
        copy: false,
        copy_if_absent: false,
        versions,
    }
}

/// Whether the store said no to this call; errors that say nothing about it are passed on.
fn refused<T>(result: Result<T>) -> Result<bool> {
    match result {
        Ok(_) => Ok(false),
        Err(
            Error::Precondition { .. }
            | Error::NotFound { .. }
            | Error::Unsupported { .. }
            | Error::Invalid { .. }
            | Error::PermissionDenied { .. },
        ) => Ok(true),
        Err(error) => Err(error),
    }
}

/// A tag that no body has here.
fn wrong_etag() -> Etag {
    Etag::new("00000000000000000000000000000000")
}

/// Profiles written before the field existed are of workspaces that could be written.
fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::faults::{Fault, Faulty, Rule, Verb};
    use crate::memory::MemoryBucket;

    #[tokio::test]
    async fn a_store_that_keeps_the_rules_has_all_but_versions() {
        let memory = MemoryBucket::new();
        let found = probe(&memory, SCRATCH).await.unwrap();
        let all = Capabilities {
            writable: true,
            put_if_absent: true,
            put_if_match: true,
            delete_if_match: true,
            copy: true,
            copy_if_absent: true,
            versions: false,
        };
        assert_eq!(found, all);
        assert!(memory.contents().is_empty(), "{:?}", memory.contents());
    }

    #[tokio::test]
    async fn keys_that_may_only_read_are_told() {
        let faulty = Faulty::new(Arc::new(MemoryBucket::new()));
        let denied = Error::PermissionDenied {
            action: "put".into(),
        };
        faulty.add(Rule::new(Fault::FailBefore(denied)).on(Verb::Put));
        assert_eq!(probe(&faulty, SCRATCH).await, Ok(read_only(false)));
        assert_eq!(faulty.calls(Verb::Copy), 0);
    }

    #[tokio::test]
    async fn an_outage_in_the_middle_is_an_error_and_not_an_answer() {
        let memory = MemoryBucket::new();
        let faulty = Faulty::new(Arc::new(memory.clone()));
        let down = Error::Unreachable {
            endpoint: "e".into(),
            reason: "gone".into(),
        };
        faulty.add(Rule::new(Fault::FailBefore(down.clone())).on(Verb::Copy));
        assert_eq!(probe(&faulty, SCRATCH).await, Err(down));
        assert!(memory.contents().is_empty(), "cleaned all the same");
    }

    #[tokio::test]
    async fn a_store_that_can_not_copy_conditionally_says_so() {
        let faulty = Faulty::new(Arc::new(MemoryBucket::new()));
        let unsupported = Error::Unsupported {
            reason: "NotImplemented".into(),
        };
        faulty.add(Rule::new(Fault::FailBefore(unsupported)).on(Verb::Copy));
        let found = probe(&faulty, "w/").await.unwrap();
        assert!(!found.copy && !found.copy_if_absent && found.put_if_absent);
    }
}
