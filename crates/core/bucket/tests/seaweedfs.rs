//! The suite on a real server.

use std::sync::Arc;

use artifacts_bucket::conformance::{Gap, Subject, UnfinishedUploads, assert_conforms};
use artifacts_bucket::s3::{Config, Keys, S3Bucket, StaticKeys};
use futures::FutureExt;
use testkit::seaweedfs::SeaweedFs;
use testkit::tools::Tool;

/// What SeaweedFS 4.48 does otherwise than Amazon S3.
const GAPS: &[Gap] = &[];

const BUCKET: &str = "conformance";

fn bucket(endpoint: String) -> S3Bucket {
    let keys = Keys {
        access_key_id: testkit::ACCESS_KEY_ID.into(),
        secret_access_key: testkit::SECRET_ACCESS_KEY.into(),
        session_token: None,
        expires: None,
    };
    let mut config = Config::new(BUCKET, testkit::REGION, Arc::new(StaticKeys::new(keys)));
    config.endpoint = Some(endpoint);
    S3Bucket::new(config).unwrap()
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
