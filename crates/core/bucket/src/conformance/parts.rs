//! Bodies that go up in parts.

use std::time::Duration;

use futures::future::join_all;

use super::lab::{Lab, file, ok, pattern};
use crate::{Body, Condition, Error, Metadata, PutOptions};

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
