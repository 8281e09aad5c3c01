//! The suite of the bucket port, through its S3 adapter, on this store.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::sync::Arc;

use bucket::conformance::{Subject, UnfinishedUploads, assert_conforms};
use bucket::s3::{Config, Keys, S3Bucket, StaticKeys};
use common::{BUCKET, Lab};

fn unfinished(lab: &Lab) -> UnfinishedUploads {
    let client = lab.client.clone();
    Arc::new(move |prefix| {
        let list = client
            .list_multipart_uploads()
            .bucket(BUCKET)
            .prefix(prefix)
            .send();
        Box::pin(async move { list.await.unwrap().uploads().len() })
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_store_conforms_without_a_gap() {
    let lab = Lab::start().await;
    let keys = Keys {
        access_key_id: testkit::ACCESS_KEY_ID.into(),
        secret_access_key: testkit::SECRET_ACCESS_KEY.to_owned().into(),
        session_token: None,
        expires: None,
    };
    let mut config = Config::new(BUCKET, testkit::REGION, Arc::new(StaticKeys::new(keys)));
    config.endpoint = Some(lab.server.endpoint());
    let bucket = S3Bucket::new(config).unwrap();
    let subject = Subject {
        multipart_threshold: bucket.config().multipart_threshold,
        bucket: Arc::new(bucket),
        unfinished_uploads: unfinished(&lab),
    };
    assert_conforms(&subject, &[]).await;
}
