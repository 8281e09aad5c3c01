//! Keys and their policies, over HTTP.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use artifacts_embedded::{Options, Server, StartError};
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use common::{BUCKET, Lab, plain_get, refusal};

fn denied() -> (String, u16) {
    ("AccessDenied".into(), 403)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_does_what_its_policy_says_and_nothing_else() {
    let lab = Lab::start().await;
    lab.put("home/me/a", b"mine").await;
    lab.put("home/you/a", b"yours").await;
    let (client, _) = lab.client_with(
        r#"{"Version":"2012-10-17","Statement":[
            {"Effect":"Allow","Action":["s3:GetObject","s3:PutObject","s3:DeleteObject"],
             "Resource":"arn:aws:s3:::lab-bucket/home/me/*"},
            {"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::lab-bucket",
             "Condition":{"StringLike":{"s3:prefix":"home/me/*"}}},
            {"Effect":"Deny","Action":"s3:*","Resource":"arn:aws:s3:::lab-bucket/home/me/locked/*"}]}"#,
    );
    let get = |key: &str| client.get_object().bucket(BUCKET).key(key).send();
    let put = |key: &str| {
        client
            .put_object()
            .bucket(BUCKET)
            .key(key)
            .body(b"x".to_vec().into())
            .send()
    };
    assert!(get("home/me/a").await.is_ok());
    assert_eq!(refusal(get("home/you/a").await), denied());
    assert!(put("home/me/b").await.is_ok());
    assert_eq!(refusal(put("home/me/locked/b").await), denied());
    assert_eq!(refusal(put("elsewhere").await), denied());
    let list = |prefix: Option<&str>| {
        client
            .list_objects_v2()
            .bucket(BUCKET)
            .set_prefix(prefix.map(str::to_owned))
            .send()
    };
    assert_eq!(list(Some("home/me/")).await.unwrap().contents().len(), 2);
    assert_eq!(refusal(list(Some("home/you/")).await), denied());
    assert_eq!(refusal(list(None).await), denied());
    assert_eq!(refusal(client.list_buckets().send().await), denied());
    assert_eq!(
        refusal(client.get_bucket_acl().bucket(BUCKET).send().await),
        denied()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_and_mass_deletes_are_judged_key_by_key() {
    let lab = Lab::start().await;
    lab.put("open/a", b"x").await;
    lab.put("secret/a", b"x").await;
    let (client, _) = lab.client_with(
        r#"{"Statement":{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::lab-bucket/open/*"}}"#,
    );
    let copy = |from: &str, to: &str| {
        client
            .copy_object()
            .bucket(BUCKET)
            .key(to)
            .copy_source(format!("{BUCKET}/{from}"))
            .send()
    };
    assert!(copy("open/a", "open/b").await.is_ok());
    assert_eq!(
        refusal(copy("secret/a", "open/c").await),
        denied(),
        "reading the source"
    );
    assert_eq!(
        refusal(copy("open/a", "secret/b").await),
        denied(),
        "writing the destination"
    );
    let upload = client
        .create_multipart_upload()
        .bucket(BUCKET)
        .key("open/d")
        .send()
        .await
        .unwrap();
    let part = client
        .upload_part_copy()
        .bucket(BUCKET)
        .key("open/d")
        .part_number(1);
    let part = part
        .upload_id(upload.upload_id.unwrap())
        .copy_source(format!("{BUCKET}/secret/a"))
        .send()
        .await;
    assert_eq!(refusal(part), denied());
    let named = |key: &str| ObjectIdentifier::builder().key(key).build().unwrap();
    let delete = Delete::builder()
        .objects(named("open/a"))
        .objects(named("secret/a"))
        .build()
        .unwrap();
    let done = client
        .delete_objects()
        .bucket(BUCKET)
        .delete(delete)
        .send()
        .await
        .unwrap();
    assert_eq!(done.deleted()[0].key(), Some("open/a"));
    assert_eq!(done.errors()[0].code(), Some("AccessDenied"));
    assert_eq!(lab.read("secret/a").await, b"x");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_stops_at_once() {
    let lab = Lab::start().await;
    let (client, id) =
        lab.client_with(r#"{"Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}"#);
    assert!(client.list_buckets().send().await.is_ok());
    lab.server.keys().revoke(&id).unwrap();
    assert_eq!(
        refusal(client.list_buckets().send().await),
        ("InvalidAccessKeyId".into(), 403)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_and_no_signature_are_refused() {
    let lab = Lab::start().await;
    let wrong =
        aws_sdk_s3::config::Credentials::new(testkit::ACCESS_KEY_ID, "wrong", None, None, "test");
    let config = lab
        .client
        .config()
        .to_builder()
        .credentials_provider(wrong)
        .build();
    let client = aws_sdk_s3::Client::from_conf(config);
    assert_eq!(
        refusal(client.list_buckets().send().await),
        ("SignatureDoesNotMatch".into(), 403)
    );
    let anonymous = plain_get(&format!("{}/", lab.server.endpoint())).await;
    assert!(
        anonymous.starts_with("HTTP/1.1 403") && anonymous.contains("<Code>AccessDenied</Code>"),
        "{anonymous}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn starting_twice_or_in_the_open_is_refused() {
    let lab = Lab::start().await;
    let start = |options: Options| async { Server::start(options).await.err().expect("refused") };
    let twice = start(Options::new(lab.folder.path())).await;
    assert!(matches!(twice, StartError::Locked(_)), "{twice}");
    let other = tempfile::tempdir().unwrap();
    let taken = start(Options {
        listen: lab.server.address(),
        ..Options::new(other.path())
    })
    .await;
    assert!(matches!(taken, StartError::PortTaken(_)), "{taken}");
    let remote = start(Options {
        listen: "0.0.0.0:0".parse().unwrap(),
        ..Options::new(other.path())
    })
    .await;
    assert!(matches!(remote, StartError::Remote(_)), "{remote}");
    assert!(remote.to_string().contains("hint:"));
    let file = tempfile::NamedTempFile::new().unwrap();
    let data = start(Options::new(file.path())).await;
    assert!(matches!(data, StartError::Data { .. }), "{data}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_is_there_after_a_stop() {
    let lab = Lab::start().await;
    lab.put("k", b"stays").await;
    let Lab { server, folder, .. } = lab;
    server.stop().await;
    let server = Server::start(Options::new(folder.path())).await.unwrap();
    assert_eq!(server.root().id, testkit::ACCESS_KEY_ID);
    let client = testkit::s3::client(&server.endpoint());
    let got = client
        .get_object()
        .bucket(BUCKET)
        .key("k")
        .send()
        .await
        .unwrap();
    assert_eq!(got.body.collect().await.unwrap().to_vec(), b"stays");
}
