//! Bodies that go up in parts.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::join_all;
use parking_lot::Mutex;

use super::lab::{Lab, file, ok, pattern};
use crate::{Body, Condition, Error, Etag, Metadata, PutOptions, PutOutcome, Result, Resume};

/// A length that makes several parts, the last one short.
fn large(lab: &Lab) -> usize {
    lab.subject.multipart_threshold as usize + 3_000_001
}

pub(super) async fn a_large_body_goes_up_whole(lab: Lab) {
    let body = pattern(large(&lab));
    let metadata = Metadata::from([("mode".into(), "1".into())]);
    let options = PutOptions {
        metadata: metadata.clone(),
        ..PutOptions::default()
    };
    let put = lab
        .bucket
        .put(&lab.key("f"), Body::Bytes(body.clone()), options)
        .await;
    let etag = ok(put, "put").etag;
    let meta = lab.head("f").await;
    assert_eq!((meta.size, meta.etag), (body.len() as u64, etag));
    assert_eq!(meta.metadata, metadata);
    assert!(lab.read("f").await == body);
    assert_eq!(lab.unfinished_uploads().await, 0);
}

pub(super) async fn a_large_file_goes_up_whole(lab: Lab) {
    let content = pattern(large(&lab) + 10);
    let range = 7..content.len() as u64 - 1;
    let body = Body::File {
        file: file(&content),
        range: range.clone(),
    };
    ok(
        lab.bucket
            .put(&lab.key("f"), body, PutOptions::default())
            .await,
        "put",
    );
    assert!(lab.read("f").await == content.slice(7..content.len() - 1));
}

pub(super) async fn a_large_body_keeps_conditions(lab: Lab) {
    let body = pattern(large(&lab));
    let refused = || Err(Error::Precondition { key: lab.key("f") });
    let old = lab.put("f", "small").await;
    assert_eq!(
        lab.try_put("f", body.clone(), Condition::Absent).await,
        refused()
    );
    assert_eq!(lab.read("f").await, "small");
    let edit = lab
        .try_put("f", body.clone(), Condition::Matches(old.clone()))
        .await;
    let new = ok(edit, "edit").etag;
    assert_eq!(
        lab.try_put("f", body, Condition::Matches(old)).await,
        refused()
    );
    assert_eq!(lab.head("f").await.etag, new);
    assert_eq!(
        lab.unfinished_uploads().await,
        0,
        "a refused upload is aborted"
    );
}

pub(super) async fn large_creators_have_one_winner(lab: Lab) {
    let writers = (0..4).map(|i| {
        let lab = lab.clone();
        tokio::spawn(async move {
            let body = pattern(large(&lab) + i);
            lab.try_put("f", body, Condition::Absent)
                .await
                .map(|put| put.etag)
        })
    });
    let results: Vec<_> = join_all(writers)
        .await
        .into_iter()
        .map(|w| ok(w, "a writer"))
        .collect();
    let winners: Vec<_> = results
        .iter()
        .filter_map(|result| result.as_ref().ok())
        .collect();
    assert_eq!(winners.len(), 1, "{results:?}");
    assert_eq!(&lab.head("f").await.etag, winners[0]);
    assert_eq!(lab.unfinished_uploads().await, 0);
}

pub(super) async fn a_large_file_that_is_too_short_leaves_nothing(lab: Lab) {
    let content = pattern(large(&lab));
    let range = 0..content.len() as u64 + 1;
    let body = Body::File {
        file: file(&content),
        range,
    };
    let put = lab
        .bucket
        .put(&lab.key("f"), body, PutOptions::default())
        .await;
    assert!(matches!(put, Err(Error::LocalBody { .. })), "{put:?}");
    lab.assert_missing("f").await;
    lab.assert_no_unfinished_uploads().await;
}

/// Dropped at many moments: while the upload is begun, while parts are sent.
pub(super) async fn a_dropped_upload_leaves_nothing(lab: Lab) {
    let body = pattern(large(&lab) * 2);
    let mut dropped = 0;
    for (i, wait) in [0, 1, 2, 4, 8, 12, 16, 24, 32].into_iter().enumerate() {
        let name = format!("f{i}");
        let put = lab.try_put(&name, body.clone(), Condition::None);
        if tokio::time::timeout(Duration::from_millis(wait), put)
            .await
            .is_err()
        {
            dropped += 1;
            lab.assert_no_unfinished_uploads().await;
            lab.assert_missing(&name).await;
        }
    }
    // An adapter without parts may be too quick to be interrupted, but then says so.
    assert!(
        dropped > 0 || (lab.subject.multipart_threshold == 0),
        "nothing was dropped"
    );
}

/// Remembers an upload, and is cut off after so many parts.
#[derive(Debug)]
struct Memory {
    upload: Mutex<Option<String>>,
    sent: AtomicUsize,
    cut_after: usize,
    complete: bool,
}

impl Memory {
    fn new(upload: Option<String>, cut_after: usize) -> Arc<Self> {
        Arc::new(Self {
            upload: Mutex::new(upload),
            sent: AtomicUsize::new(0),
            cut_after,
            complete: true,
        })
    }

    fn known(&self) -> Option<String> {
        self.upload.lock().clone()
    }

    fn sent(&self) -> usize {
        self.sent.load(Ordering::SeqCst)
    }
}

fn cut() -> Error {
    Error::Unreachable {
        endpoint: "test".into(),
        reason: "cut off".into(),
    }
}

#[async_trait]
impl Resume for Memory {
    async fn known(&self) -> Option<String> {
        self.known()
    }

    async fn begun(&self, upload: &str) -> Result<()> {
        *self.upload.lock() = Some(upload.to_owned());
        Ok(())
    }

    async fn sent(&self) -> Result<()> {
        match self.sent.fetch_add(1, Ordering::SeqCst) + 1 {
            n if n == self.cut_after => Err(cut()),
            _ => Ok(()),
        }
    }

    async fn may_complete(&self, _: Option<&Etag>) -> Result<bool> {
        Ok(self.complete)
    }
}

async fn put_remembered(lab: &Lab, body: &Bytes, memory: &Arc<Memory>) -> Result<PutOutcome> {
    let options = PutOptions {
        resume: Some(memory.clone()),
        ..PutOptions::default()
    };
    let body = Body::Bytes(body.clone());
    lab.bucket.put(&lab.key("f"), body, options).await
}

/// Several parts, whatever the adapter takes for one.
fn several_parts() -> Bytes {
    pattern(27_000_000)
}

pub(super) async fn an_upload_that_was_cut_off_is_gone_on_with(lab: Lab) {
    let body = several_parts();
    let first = Memory::new(None, 2);
    assert_eq!(put_remembered(&lab, &body, &first).await, Err(cut()));
    lab.assert_missing("f").await;
    let second = Memory::new(first.known(), 0);
    ok(put_remembered(&lab, &body, &second).await, "gone on with");
    assert!(lab.read("f").await == body);
    let fresh = Memory::new(None, 0);
    ok(put_remembered(&lab, &body, &fresh).await, "at once");
    assert!(
        second.sent() + 2 <= fresh.sent(),
        "{} of {} parts were sent again",
        second.sent(),
        fresh.sent()
    );
    assert_eq!(second.known(), first.known());
    lab.assert_no_unfinished_uploads().await;
}

pub(super) async fn parts_of_another_body_are_sent_again(lab: Lab) {
    let mut body = several_parts().to_vec();
    let first = Memory::new(None, 3);
    let cut_off = put_remembered(&lab, &body.clone().into(), &first).await;
    assert_eq!(cut_off, Err(cut()));
    body[10] ^= 1;
    let body = Bytes::from(body);
    let second = Memory::new(first.known(), 0);
    ok(put_remembered(&lab, &body, &second).await, "put");
    assert!(lab.read("f").await == body, "no mixture");
    // One that the store has forgotten is begun anew.
    let third = Memory::new(first.known(), 0);
    ok(put_remembered(&lab, &body, &third).await, "put");
    assert_ne!(third.known(), first.known());
    lab.assert_no_unfinished_uploads().await;
}

pub(super) async fn a_body_that_changed_is_not_put_together(lab: Lab) {
    let memory = Arc::new(Memory {
        upload: Mutex::default(),
        sent: AtomicUsize::new(0),
        cut_after: 0,
        complete: false,
    });
    let put = put_remembered(&lab, &several_parts(), &memory).await;
    assert!(matches!(put, Err(Error::LocalBody { .. })), "{put:?}");
    lab.assert_missing("f").await;
    lab.assert_no_unfinished_uploads().await;
}

pub(super) async fn an_upload_can_be_abandoned(lab: Lab) {
    let memory = Memory::new(None, 1);
    let put = put_remembered(&lab, &several_parts(), &memory).await;
    assert_eq!(put, Err(cut()));
    let upload = memory.known().unwrap_or_default();
    for _ in 0..2 {
        let ended = lab.bucket.abandon(&lab.key("f"), &upload).await;
        ok(ended, "abandon");
    }
    lab.assert_no_unfinished_uploads().await;
}
