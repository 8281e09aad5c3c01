//! The suite on a real server.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::time::Duration;

use artifacts_bucket::conformance::{Gap, Subject, UnfinishedUploads, assert_conforms};
use artifacts_bucket::probe::{self, Capabilities, SCRATCH};
use artifacts_bucket::s3::{Config, Keys, S3Bucket, StaticKeys};
use artifacts_bucket::{Body, Bucket, Error, Key, ListRequest, PutOptions};
use futures::FutureExt;
use testkit::proxy::{Mode, Proxy};
use testkit::seaweedfs::SeaweedFs;
use testkit::tools::Tool;

/// What SeaweedFS 4.48 does otherwise than Amazon S3.
const GAPS: &[Gap] = &[
    gap(
        "put_if_match_on_nothing_is_not_found",
        "answers 412 instead of 404",
    ),
    gap(
        "keys_with_empty_segments",
        "its filer joins `a//b` to `a/b`",
    ),
    gap(
        "keys_with_dot_segments",
        "refuses `.` and `..` as InvalidRequest",
    ),
    gap(
        "a_key_that_ends_in_a_slash_can_be_copied",
        "CopyObject of a folder answers 404",
    ),
    gap(
        "a_key_that_ends_in_a_slash_can_have_a_body",
        "is a folder there, the body is dropped",
    ),
    gap("keys_with_backslashes", "turns a backslash into a slash"),
    gap(
        "a_segment_of_1000_bytes",
        "a segment is a file name there: KeyTooLongError past 255 bytes",
    ),
    gap(
        "a_key_that_is_another_ones_folder",
        "a file name there cannot be a folder too",
    ),
    gap(
        "a_listing_is_in_byte_order",
        "walks folder by folder: `a/b` comes before `a-b`",
    ),
    Gap {
        case: "large_creators_have_one_winner",
        reason: "CompleteMultipartUpload looks at the condition, but not atomically",
        sometimes: true,
    },
];

const fn gap(case: &'static str, reason: &'static str) -> Gap {
    Gap {
        case,
        reason,
        sometimes: false,
    }
}

const BUCKET: &str = "conformance";

fn keys(id: &str, secret: &str) -> Keys {
    Keys {
        access_key_id: id.into(),
        secret_access_key: secret.into(),
        session_token: None,
        expires: None,
    }
}

fn config(endpoint: String) -> Config {
    let keys = keys(testkit::ACCESS_KEY_ID, testkit::SECRET_ACCESS_KEY);
    let mut config = Config::new(BUCKET, testkit::REGION, Arc::new(StaticKeys::new(keys)));
    config.endpoint = Some(endpoint);
    config
}

fn bucket(endpoint: String) -> S3Bucket {
    S3Bucket::new(config(endpoint)).unwrap()
}

fn unfinished(endpoint: String) -> UnfinishedUploads {
    let client = testkit::s3::client(&endpoint);
    Arc::new(move |prefix| {
        let list = client
            .list_multipart_uploads()
            .bucket(BUCKET)
            .prefix(prefix)
            .send();
        async move { list.await.unwrap().uploads().len() }.boxed()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn seaweedfs_conforms_but_for_known_gaps() {
    testkit::require!(Tool::Weed);
    let server = SeaweedFs::start().unwrap();
    server.create_bucket(BUCKET).unwrap();
    let bucket = bucket(server.endpoint());
    let subject = Subject {
        multipart_threshold: bucket.config().multipart_threshold,
        bucket: Arc::new(bucket),
        unfinished_uploads: unfinished(server.endpoint()),
    };
    assert_conforms(&subject, GAPS).await;
}

/// What a user or an administrator gets wrong, and what the network does, at a real store.
#[tokio::test(flavor = "multi_thread")]
async fn seaweedfs_says_what_is_wrong() {
    testkit::require!(Tool::Weed);
    let server = SeaweedFs::start().unwrap();
    server.create_bucket(BUCKET).unwrap();
    wrong_keys(&server).await;
    wrong_bucket(&server).await;
    probed(&server).await;
    dead_connections(&server).await;
}

async fn wrong_keys(server: &SeaweedFs) {
    let with = |id: &str, secret: &str| {
        let mut config = config(server.endpoint());
        config.keys = Arc::new(StaticKeys::new(keys(id, secret)));
        S3Bucket::new(config).unwrap()
    };
    let refused = |reason: &str| Error::BadCredentials {
        reason: reason.into(),
        expired: false,
    };
    let unknown = with("AKIDUNKNOWN", "x");
    let wrong = with(testkit::ACCESS_KEY_ID, "wrong");
    let key = Key::new("k").unwrap();
    let list = ListRequest::default();
    assert_eq!(
        unknown.list(&list).await.unwrap_err(),
        refused("InvalidAccessKeyId")
    );
    assert_eq!(
        unknown.head(&key).await.unwrap_err(),
        refused("InvalidAccessKeyId")
    );
    assert_eq!(
        wrong.list(&list).await.unwrap_err(),
        refused("SignatureDoesNotMatch")
    );
    assert_eq!(
        wrong.head(&key).await.unwrap_err(),
        refused("SignatureDoesNotMatch")
    );
}

async fn wrong_bucket(server: &SeaweedFs) {
    let mut config = config(server.endpoint());
    config.bucket = "no-such-bucket".into();
    let bucket = S3Bucket::new(config).unwrap();
    let missing = || Error::NoSuchBucket {
        bucket: "no-such-bucket".into(),
    };
    let key = Key::new("k").unwrap();
    assert_eq!(
        bucket.list(&ListRequest::default()).await.unwrap_err(),
        missing()
    );
    assert_eq!(bucket.head(&key).await.unwrap_err(), missing());
    let put = bucket
        .put(&key, Body::Bytes("x".into()), PutOptions::default())
        .await;
    assert_eq!(put.unwrap_err(), missing());
    assert_eq!(probe::probe(&bucket, SCRATCH).await.unwrap_err(), missing());
}

async fn probed(server: &SeaweedFs) {
    let bucket = bucket(server.endpoint());
    let found = probe::probe(&bucket, SCRATCH).await.unwrap();
    let wanted = Capabilities {
        writable: true,
        put_if_absent: true,
        put_if_match: true,
        delete_if_match: true,
        copy: true,
        copy_if_absent: true,
        versions: true,
    };
    assert_eq!(found, wanted);
    assert_eq!(
        bucket.list(&ListRequest::default()).await.unwrap().objects,
        []
    );
}

/// As after a suspend: every pooled connection is dead at once, more of them than a call
/// has attempts; and then the line hangs and comes back.
async fn dead_connections(server: &SeaweedFs) {
    let proxy = Proxy::start(server.address()).unwrap();
    let mut config = config(proxy.endpoint());
    config.read_timeout = Duration::from_secs(1);
    let bucket = S3Bucket::new(config).unwrap();
    let key = Key::new("k").unwrap();
    bucket
        .put(&key, Body::Bytes("x".into()), PutOptions::default())
        .await
        .unwrap();
    proxy.set_latency(Duration::from_millis(50));
    let heads = (0..30).map(|_| bucket.head(&key));
    futures::future::try_join_all(heads).await.unwrap();
    proxy.set_latency(Duration::ZERO);
    assert!(proxy.connections() > 20, "{}", proxy.connections());
    proxy.cut_open();
    bucket.head(&key).await.unwrap();
    proxy.set_mode(Mode::Hang);
    let waiting = tokio::spawn({
        let bucket = bucket.clone();
        let key = key.clone();
        async move { bucket.head(&key).await }
    });
    tokio::time::sleep(Duration::from_millis(1500)).await;
    proxy.set_mode(Mode::Forward);
    waiting.await.unwrap().unwrap();
}
