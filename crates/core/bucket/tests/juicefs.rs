//! A server that takes conditions and ignores them, and knows folders: the JuiceFS gateway.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;

use artifacts_bucket::probe::{self, SCRATCH};
use artifacts_bucket::s3::{Config, Keys, S3Bucket, StaticKeys};
use artifacts_bucket::{Body, Bucket, Key, ListRequest, PutOptions};
use testkit::juicefs::Gateway;
use testkit::tools::Tool;

#[tokio::test(flavor = "multi_thread")]
async fn the_probe_is_not_fooled_by_a_server_that_ignores_conditions() {
    testkit::require!(Tool::Juicefs);
    let (_server, bucket) = gateway();
    let found = probe::probe(&bucket, SCRATCH).await.unwrap();
    assert!(found.writable && found.copy, "{found:?}");
    assert!(!found.put_if_absent && !found.put_if_match, "{found:?}");
    assert!(!found.delete_if_match && !found.copy_if_absent, "{found:?}");
    let left = bucket.list(&ListRequest::default()).await.unwrap();
    assert_eq!(left.objects, [], "the probe cleans up");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_the_server_gives_no_tag_has_the_tag_of_nothing() {
    testkit::require!(Tool::Juicefs);
    let (_server, bucket) = gateway();
    let folder = Key::new("d/").unwrap();
    let put = bucket
        .put(
            &folder,
            Body::Bytes(Default::default()),
            PutOptions::default(),
        )
        .await
        .unwrap();
    assert_eq!(put.etag.as_str(), "d41d8cd98f00b204e9800998ecf8427e");
    let head = bucket.head(&folder).await.unwrap();
    assert_eq!(head.etag, put.etag);
    let listed = bucket.list(&ListRequest::default()).await.unwrap();
    let found: Vec<_> = listed.objects.iter().map(|o| (&o.key, &o.etag)).collect();
    assert_eq!(found, [(&folder, &put.etag)]);
}

fn gateway() -> (Gateway, S3Bucket) {
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
    (server, bucket)
}
