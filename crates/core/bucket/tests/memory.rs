//! The suite on the bucket in memory, bare and behind a wrapper without rules.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;

use artifacts_bucket::Bucket;
use artifacts_bucket::conformance::{Subject, assert_conforms};
use artifacts_bucket::faults::Faulty;
use artifacts_bucket::memory::MemoryBucket;
use futures::FutureExt;

fn subject(bucket: Arc<dyn Bucket>) -> Subject {
    // Zero: every body is written at once.
    let unfinished_uploads = Arc::new(|_| async { 0 }.boxed());
    Subject {
        bucket,
        multipart_threshold: 0,
        unfinished_uploads,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_conforms() {
    assert_conforms(&subject(Arc::new(MemoryBucket::new())), &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrapper_without_rules_changes_nothing() {
    let faulty = Faulty::new(Arc::new(MemoryBucket::new()));
    assert_conforms(&subject(Arc::new(faulty)), &[]).await;
}
