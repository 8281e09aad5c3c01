//! The probe against a server that takes conditions and ignores them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;

use artifacts_bucket::probe::{self, SCRATCH};
use artifacts_bucket::s3::{Config, Keys, S3Bucket, StaticKeys};
use artifacts_bucket::{Bucket, ListRequest};
use testkit::juicefs::Gateway;
use testkit::tools::Tool;

#[tokio::test(flavor = "multi_thread")]
async fn the_probe_is_not_fooled_by_a_server_that_ignores_conditions() {
    testkit::require!(Tool::Juicefs);
    let server = Gateway::start().unwrap();
    server.create_bucket("probed").unwrap();
    let keys = Keys {
        access_key_id: testkit::ACCESS_KEY_ID.into(),
        secret_access_key: testkit::SECRET_ACCESS_KEY.into(),
        session_token: None,
        expires: None,
    };
    let mut config = Config::new("probed", testkit::REGION, Arc::new(StaticKeys::new(keys)));
    config.endpoint = Some(server.endpoint());
    let bucket = S3Bucket::new(config).unwrap();
    let found = probe::probe(&bucket, SCRATCH).await.unwrap();
    assert!(found.writable && found.copy, "{found:?}");
    assert!(!found.put_if_absent && !found.put_if_match, "{found:?}");
    assert!(!found.delete_if_match && !found.copy_if_absent, "{found:?}");
    let left = bucket.list(&ListRequest::default()).await.unwrap();
    assert_eq!(left.objects, [], "the probe cleans up");
}
