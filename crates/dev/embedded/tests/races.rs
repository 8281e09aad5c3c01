//! Conditional writes over HTTP: of sixteen clients at once, exactly one wins.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::future::Future;
use std::sync::Arc;

use aws_sdk_s3::Client;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use common::{BUCKET, Lab};

const WRITERS: usize = 16;
const ROUNDS: usize = 1000;

/// How many succeed of those that start together; the others must have been refused with
/// 412 or 404.
async fn winners<F>(attempt: impl Fn(usize) -> F) -> usize
where
    F: Future<Output = Result<(), u16>> + Send + 'static,
{
    let gate = Arc::new(tokio::sync::Barrier::new(WRITERS));
    let tasks: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (gate, attempt) = (Arc::clone(&gate), attempt(writer));
            tokio::spawn(async move {
                gate.wait().await;
                attempt.await
            })
        })
        .collect();
    let mut won = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(()) => won += 1,
            Err(412 | 404) => {}
            Err(status) => panic!("refused with {status}"),
        }
    }
    won
}

fn status<T, E>(result: Result<T, aws_sdk_s3::error::SdkError<E>>) -> Result<(), u16> {
    match result {
        Ok(_) => Ok(()),
        Err(error) => Err(error
            .raw_response()
            .map_or(0, |response| response.status().as_u16())),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_creates() {
    let lab = Lab::start().await;
    for round in 0..ROUNDS {
        let won = winners(|writer| {
            let put = lab
                .client
                .put_object()
                .bucket(BUCKET)
                .key(format!("k{round}"))
                .if_none_match("*");
            let put = put.body(vec![u8::try_from(writer).unwrap(); 50_000].into());
            async move { status(put.send().await) }
        });
        assert_eq!(won.await, 1, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_replaces() {
    let lab = Lab::start().await;
    for round in 0..ROUNDS {
        let base = lab.put("k", b"base").await;
        let won = winners(|writer| {
            let put = lab
                .client
                .put_object()
                .bucket(BUCKET)
                .key("k")
                .if_match(&base);
            let put = put.body(format!("{round} {writer}").into_bytes().into());
            async move { status(put.send().await) }
        });
        assert_eq!(won.await, 1, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_deletes() {
    let lab = Lab::start().await;
    for round in 0..ROUNDS {
        let base = lab.put("k", b"base").await;
        let won = winners(|_| {
            let delete = lab
                .client
                .delete_object()
                .bucket(BUCKET)
                .key("k")
                .if_match(&base);
            async move { status(delete.send().await) }
        });
        assert_eq!(won.await, 1, "round {round}");
    }
}

async fn upload(client: &Client, key: &str) -> (String, CompletedMultipartUpload) {
    let created = client
        .create_multipart_upload()
        .bucket(BUCKET)
        .key(key)
        .send()
        .await
        .unwrap();
    let id = created.upload_id.unwrap();
    let part = client
        .upload_part()
        .bucket(BUCKET)
        .key(key)
        .upload_id(&id)
        .part_number(1);
    let etag = part
        .body(b"part".to_vec().into())
        .send()
        .await
        .unwrap()
        .e_tag
        .unwrap();
    let part = CompletedPart::builder().part_number(1).e_tag(etag).build();
    (id, CompletedMultipartUpload::builder().parts(part).build())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_completes() {
    let lab = Lab::start().await;
    for round in 0..ROUNDS {
        let key = format!("k{round}");
        let uploads = (0..WRITERS).map(|_| upload(&lab.client, &key));
        let uploads = futures::future::join_all(uploads).await;
        let won = winners(|writer| {
            let (id, parts) = uploads[writer].clone();
            let complete = lab
                .client
                .complete_multipart_upload()
                .bucket(BUCKET)
                .key(&key)
                .upload_id(id);
            let complete = complete.multipart_upload(parts).if_none_match("*");
            async move { status(complete.send().await) }
        });
        assert_eq!(won.await, 1, "round {round}");
    }
}
