//! What the S3 adapter makes of answers, good and odd.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use artifacts_bucket::s3::{KeySource, Keys, S3Bucket};
use artifacts_bucket::{
    Body, Bucket, Condition, Error, Etag, GetOptions, Key, ListRequest, PutOptions, Result,
};
use async_trait::async_trait;
use bytes::Bytes;
use common::{Answer, SECRET, Script, TOKEN, bucket, config};
use futures::{StreamExt, TryStreamExt};

const HTML: &str = "<!DOCTYPE html><html><body>Hello</body></html>";

fn key() -> Key {
    Key::new("k").unwrap()
}

fn object(body: &str) -> Answer {
    Answer::new(200, &["ETag: \"e\""], body)
}

async fn get(bucket: &S3Bucket) -> Result<Bytes> {
    let object = bucket.get(&key(), GetOptions::default()).await?;
    Ok(object
        .body
        .try_collect::<Vec<Bytes>>()
        .await?
        .concat()
        .into())
}

async fn put(bucket: &S3Bucket, condition: Condition) -> Result<Etag> {
    let options = PutOptions {
        condition,
        ..PutOptions::default()
    };
    Ok(bucket
        .put(&key(), Body::Bytes("body".into()), options)
        .await?
        .etag)
}

/// Gives a new key each time it is asked, and counts.
struct Rotating(AtomicU32);

#[async_trait]
impl KeySource for Rotating {
    async fn keys(&self, _refused: Option<&str>) -> Result<Keys> {
        let n = self.0.fetch_add(1, Ordering::SeqCst) + 1;
        Ok(common::keys(&format!("AKID{n}")))
    }
}

fn rotating(script: &Script) -> (S3Bucket, Arc<Rotating>) {
    let source = Arc::new(Rotating(AtomicU32::new(0)));
    let mut config = config(&script.endpoint());
    config.keys = source.clone();
    (S3Bucket::new(config).unwrap(), source)
}

#[tokio::test]
async fn an_ended_session_takes_new_keys() {
    let script = Script::start([Answer::error(400, "ExpiredToken"), object("x"), object("y")]);
    let (bucket, source) = rotating(&script);
    assert_eq!(get(&bucket).await, Ok("x".into()));
    assert_eq!(get(&bucket).await, Ok("y".into()));
    let signed = |n: usize| format!("Credential=AKID{n}/");
    let requests = script.requests();
    assert!(requests[0].contains(&signed(1)), "{}", requests[0]);
    assert!(requests[1].contains(&signed(2)), "{}", requests[1]);
    assert!(requests[2].contains(&signed(2)), "{}", requests[2]);
    assert_eq!(source.0.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_session_that_ends_at_once_again_is_told() {
    let script = Script::start(vec![Answer::error(400, "ExpiredToken"); 9]);
    let (bucket, _) = rotating(&script);
    let reason = "ExpiredToken".into();
    assert_eq!(
        get(&bucket).await,
        Err(Error::BadCredentials {
            reason,
            expired: true
        })
    );
    assert_eq!(script.requests().len(), 2);
}

/// Gives keys that end after so long, and then none.
struct Ending {
    lasting: Duration,
    asked: AtomicU32,
    refused: Mutex<Vec<String>>,
}

#[async_trait]
impl KeySource for Ending {
    async fn keys(&self, refused: Option<&str>) -> Result<Keys> {
        self.refused
            .lock()
            .unwrap()
            .extend(refused.map(str::to_owned));
        if self.asked.fetch_add(1, Ordering::SeqCst) > 0 {
            return Err(Error::BadCredentials {
                reason: "nobody gives any".into(),
                expired: true,
            });
        }
        Ok(Keys {
            expires: Some(SystemTime::now() + self.lasting),
            ..common::keys("AKIDE")
        })
    }
}

fn ending(script: &Script, lasting: Duration) -> (S3Bucket, Arc<Ending>) {
    let source = Arc::new(Ending {
        lasting,
        asked: AtomicU32::new(0),
        refused: Mutex::default(),
    });
    let mut config = config(&script.endpoint());
    config.keys = source.clone();
    (S3Bucket::new(config).unwrap(), source)
}

#[tokio::test]
async fn keys_near_their_end_are_not_asked_for_with_every_call() {
    let script = Script::start([object("x"), object("x"), object("x")]);
    let (bucket, source) = ending(&script, Duration::from_secs(60));
    for _ in 0..3 {
        assert_eq!(get(&bucket).await, Ok("x".into()));
    }
    assert_eq!(source.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn keys_that_still_count_are_used_while_no_newer_are_to_be_had() {
    let script = Script::start([object("x"), object("x"), object("x")]);
    let soon = artifacts_bucket::s3::EARLY + Duration::from_millis(300);
    let (bucket, source) = ending(&script, soon);
    assert_eq!(get(&bucket).await, Ok("x".into()));
    tokio::time::sleep(Duration::from_millis(400)).await;
    for _ in 0..2 {
        assert_eq!(get(&bucket).await, Ok("x".into()));
    }
    assert_eq!(source.asked.load(Ordering::SeqCst), 2, "not a third time");
}

#[tokio::test]
async fn ended_keys_are_not_used() {
    let script = Script::start([object("x")]);
    let (bucket, _) = ending(&script, Duration::ZERO);
    assert_eq!(get(&bucket).await, Ok("x".into()), "as they were given");
    let refused = get(&bucket).await;
    assert!(
        matches!(refused, Err(Error::BadCredentials { expired: true, .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn the_source_is_told_which_keys_were_refused() {
    let script = Script::start([Answer::error(400, "ExpiredToken")]);
    let (bucket, source) = ending(&script, Duration::from_secs(3600));
    assert!(get(&bucket).await.is_err());
    assert_eq!(*source.refused.lock().unwrap(), ["AKIDE"]);
}

#[tokio::test]
async fn wrong_keys_are_not_tried_twice() {
    let script = Script::start([Answer::error(403, "InvalidAccessKeyId")]);
    let reason = "InvalidAccessKeyId".into();
    let refused = get(&bucket(&script.endpoint())).await;
    assert_eq!(
        refused,
        Err(Error::BadCredentials {
            reason,
            expired: false
        })
    );
    assert_eq!(script.requests().len(), 1);
}

#[tokio::test]
async fn a_busy_store_is_asked_again() {
    let script = Script::start([
        Answer::error(503, "SlowDown"),
        Answer::bare(500),
        object("x"),
    ]);
    assert_eq!(get(&bucket(&script.endpoint())).await, Ok("x".into()));
    assert_eq!(script.requests().len(), 3);
}

#[tokio::test]
async fn a_store_that_stays_busy_is_told() {
    let script = Script::start(vec![Answer::error(503, "SlowDown"); 99]);
    let refused = get(&bucket(&script.endpoint())).await;
    assert_eq!(
        refused,
        Err(Error::Throttled {
            reason: "SlowDown".into()
        })
    );
    assert!((2..=5).contains(&script.requests().len()));
}

#[tokio::test]
async fn a_raced_write_ends_as_a_precondition() {
    let script = Script::start([
        Answer::error(409, "ConditionalRequestConflict"),
        Answer::error(412, "PreconditionFailed"),
    ]);
    let refused = put(&bucket(&script.endpoint()), Condition::Absent).await;
    assert_eq!(refused, Err(Error::Precondition { key: key() }));
    assert_eq!(script.requests().len(), 2);
}

#[tokio::test]
async fn a_write_is_sent_plain_unsigned_and_with_its_condition() {
    let script = Script::start([Answer::new(200, &["ETag: \"e\""], "")]);
    let put = put(
        &bucket(&script.endpoint()),
        Condition::Matches(Etag::new("old")),
    )
    .await;
    assert_eq!(put, Ok(Etag::new("e")));
    let request = script.requests()[0].to_ascii_lowercase();
    assert!(request.starts_with("put /b/k"), "{request}");
    for header in [
        "if-match: \"old\"\r\n",
        "content-length: 4\r\n",
        "x-amz-content-sha256: unsigned-payload\r\n",
    ] {
        assert!(request.contains(header), "{header} in {request}");
    }
    for header in ["aws-chunked", "x-amz-checksum", "transfer-encoding"] {
        assert!(!request.contains(header), "{header} in {request}");
    }
}

#[tokio::test]
async fn a_web_page_is_not_a_store() {
    let page = |status| Answer::new(status, &["Content-Type: text/html"], HTML);
    let script = Script::start([page(200), page(404), page(403), page(501)]);
    let bucket = bucket(&script.endpoint());
    let list = bucket.list(&ListRequest::default()).await.unwrap_err();
    assert!(matches!(list, Error::NotS3 { .. }), "{list:?}");
    for status in [404, 403, 501] {
        let (endpoint, reason) = (script.endpoint(), format!("HTTP {status}"));
        assert_eq!(get(&bucket).await, Err(Error::NotS3 { endpoint, reason }));
    }
}

#[tokio::test]
async fn a_bare_404_tells_key_from_bucket() {
    let script = Script::start([
        Answer::bare(404),
        Answer::error(404, "NoSuchBucket"),
        Answer::bare(404),
        Answer::error(404, "NoSuchKey"),
        Answer::bare(404),
    ]);
    let bucket = bucket(&script.endpoint());
    let missing = Err(Error::NotFound { key: key() });
    assert_eq!(
        bucket.head(&key()).await,
        Err(Error::NoSuchBucket { bucket: "b".into() })
    );
    assert_eq!(bucket.head(&key()).await, missing);
    // The bucket is known to exist now: one request is enough.
    assert_eq!(bucket.head(&key()).await, missing);
    assert_eq!(script.requests().len(), 5);
}

#[tokio::test]
async fn a_bare_403_tells_keys_from_rights() {
    let script = Script::start([
        Answer::bare(403),
        Answer::error(403, "SignatureDoesNotMatch"),
        Answer::bare(403),
        Answer::error(403, "AccessDenied"),
    ]);
    let bucket = bucket(&script.endpoint());
    let reason = "SignatureDoesNotMatch".into();
    let refused = bucket.head(&key()).await;
    assert_eq!(
        refused,
        Err(Error::BadCredentials {
            reason,
            expired: false
        })
    );
    let denied = Error::PermissionDenied {
        action: "head k".into(),
    };
    assert_eq!(bucket.head(&key()).await, Err(denied));
}

#[tokio::test]
async fn a_body_that_ends_early_ends_with_an_error() {
    let script = Script::start([object("0123456789").cut(4)]);
    let object = bucket(&script.endpoint())
        .get(&key(), GetOptions::default())
        .await
        .unwrap();
    let mut items: Vec<_> = object.body.collect().await;
    let end = items.pop().unwrap();
    assert!(matches!(end, Err(Error::Unreachable { .. })), "{end:?}");
    assert_eq!(items, [Ok(Bytes::from("0123"))]);
}

#[tokio::test]
async fn a_body_that_stalls_ends_with_an_error() {
    let script = Script::start([object("0123456789").stalled(4)]);
    let begun = Instant::now();
    let refused = get(&bucket(&script.endpoint())).await;
    let (endpoint, reason) = (script.endpoint(), "the body stalled".into());
    assert_eq!(refused, Err(Error::Unreachable { endpoint, reason }));
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_range_that_is_ignored_is_not_mistaken() {
    let script = Script::start([object("0123456789")]);
    let options = GetOptions {
        range: Some(2..4),
        if_match: None,
    };
    let read = bucket(&script.endpoint()).get(&key(), options).await;
    let (endpoint, reason) = (script.endpoint(), "a range of k was ignored".into());
    assert_eq!(
        read.map(|_| ()).unwrap_err(),
        Error::NotS3 { endpoint, reason }
    );
}

#[tokio::test]
async fn an_endpoint_that_hangs_fails_in_bounded_time() {
    let silent = testkit::fake::Endpoint::silent().unwrap();
    let bucket = bucket(&silent.endpoint());
    let begun = Instant::now();
    let refused = put(&bucket, Condition::None).await;
    let (endpoint, reason) = (silent.endpoint(), "no answer in time".into());
    assert_eq!(refused, Err(Error::Unreachable { endpoint, reason }));
    assert!(
        begun.elapsed() < Duration::from_millis(2500),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_unreachable() {
    let endpoint = format!("http://127.0.0.1:{}", testkit::ports::free().unwrap());
    let refused = get(&bucket(&endpoint)).await.unwrap_err();
    let Error::Unreachable {
        endpoint: told,
        reason,
    } = refused
    else {
        panic!("{refused:?}");
    };
    assert_eq!(told, endpoint);
    assert!(reason.contains("Connection refused"), "{reason}");
}

#[tokio::test]
async fn tls_to_a_plain_port_is_not_a_store() {
    let plain = testkit::fake::Endpoint::html().unwrap();
    let tls = plain.endpoint().replace("http:", "https:");
    let refused = get(&bucket(&tls)).await.unwrap_err();
    let reason = "it does not speak TLS".into();
    assert_eq!(
        refused,
        Error::NotS3 {
            endpoint: tls,
            reason
        }
    );
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused() {
    let refused = |change: fn(&mut artifacts_bucket::s3::Config)| {
        let mut config = config("http://127.0.0.1:1");
        change(&mut config);
        S3Bucket::new(config).map(|_| ()).unwrap_err()
    };
    let invalid = |reason: &str| Error::Invalid {
        reason: reason.into(),
    };
    let endpoint = refused(|c| c.endpoint = Some("localhost:9000".into()));
    assert_eq!(
        endpoint,
        invalid("an endpoint begins with https:// or http://")
    );
    assert_eq!(
        refused(|c| c.bucket = "a/b".into()),
        invalid("\"a/b\" is not a bucket name")
    );
    let pem = refused(|c| c.ca_pem = Some(b"not a certificate".to_vec()));
    assert_eq!(
        pem,
        invalid("the certificates to trust are not in PEM form")
    );
}

/// The answers to an upload in two parts up to its end.
fn upload() -> Vec<Answer> {
    let begun = "<?xml version=\"1.0\"?><InitiateMultipartUploadResult>\
                 <UploadId>u</UploadId></InitiateMultipartUploadResult>";
    let part = Answer::new(200, &["ETag: \"0cc175b9c0f1b6a831c399e269772661\""], "");
    vec![Answer::new(200, &[], begun), part.clone(), part]
}

async fn put_large(script: &Script) -> Result<Etag> {
    let mut config = config(&script.endpoint());
    (config.multipart_threshold, config.part_size) = (1, 5 << 20);
    let body = Body::Bytes(Bytes::from(vec![0; (5 << 20) + 1]));
    let put = S3Bucket::new(config)
        .unwrap()
        .put(&key(), body, PutOptions::default())
        .await;
    put.map(|put| put.etag)
}

#[tokio::test]
async fn an_error_inside_a_200_is_an_error() {
    let mut answers = upload();
    answers.push(Answer::error(200, "InternalError"));
    answers.push(Answer::error(412, "PreconditionFailed"));
    answers.push(Answer::bare(204));
    let script = Script::start(answers);
    assert_eq!(
        put_large(&script).await,
        Err(Error::Precondition { key: key() })
    );
    let last = script.requests().pop().unwrap();
    assert!(
        last.starts_with("DELETE /b/k?") && last.contains("uploadId=u"),
        "aborted: {last}"
    );
}

#[tokio::test]
async fn a_completion_whose_answer_was_lost_is_found() {
    // md5 of two md5("a"), as bytes.
    let etag = "7b3c799ee8b11a11c798c8b41bed8502-2";
    let mut answers = upload();
    answers.push(Answer::new(200, &[], "<?xml").cut(0));
    answers.push(Answer::error(404, "NoSuchUpload"));
    let head = format!("HTTP/1.1 200 X\r\nETag: \"{etag}\"\r\nContent-Length: 5242881\r\n");
    answers.push(Answer::raw(head));
    let script = Script::start(answers);
    assert_eq!(put_large(&script).await, Ok(Etag::new(etag)));
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_logged_shows_a_secret() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .init();
    let script = Script::start([
        Answer::error(503, "SlowDown"),
        Answer::new(200, &["ETag: \"e\""], ""),
        Answer::error(403, "SignatureDoesNotMatch"),
        Answer::error(400, "ExpiredToken"),
    ]);
    let bucket = bucket(&script.endpoint());
    let key = key();
    let put = bucket
        .put(&key, Body::Bytes("x".into()), PutOptions::default())
        .await;
    put.unwrap();
    let refused = bucket
        .get(&key, GetOptions::default())
        .await
        .map(|_| ())
        .unwrap_err();
    let expired = bucket.list(&ListRequest::default()).await.unwrap_err();
    tracing::info!(config = ?bucket.config(), %refused, ?refused, ?expired, "the end");

    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(
        text.contains("trying again") && text.contains("the end"),
        "{text}"
    );
    for secret in [SECRET, TOKEN, "Signature="] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    let sent = script.requests().concat();
    assert!(
        sent.contains(TOKEN) && sent.contains("Signature="),
        "the test has looked for them"
    );
}
