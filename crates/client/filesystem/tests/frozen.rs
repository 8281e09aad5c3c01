//! A mount that may write no more: changes are refused, what is pending is kept.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::time::Duration;

use common::*;
use filesystem::{FsError, Health};

#[tokio::test]
async fn writes_stop_what_waits_is_kept_and_the_next_mount_uploads_it() {
    let folder = tempfile::tempdir().unwrap();
    let (memory, bucket) = memory();
    put(&*bucket, "there", "1").await;
    let mut slow = settings(folder.path(), "ada");
    slow.upload_delay = Duration::from_millis(300);
    let ada = machine(&bucket, slow).await;
    assert_eq!(ada.read("there").await.unwrap(), b"1");
    ada.write("waits", b"not in the bucket").await.unwrap();

    ada.fs.stop_writes("the key was taken back");
    assert_eq!(ada.write("later", b"x").await, Err(FsError::ReadOnly));
    assert_eq!(ada.unlink("there").await, Err(FsError::ReadOnly));
    assert_eq!(ada.rename("there", "here").await, Err(FsError::ReadOnly));
    assert_eq!(ada.read("there").await.unwrap(), b"1");
    assert_eq!(ada.read("waits").await.unwrap(), b"not in the bucket");
    // Whoever asks for everything to be in the bucket is told at once that it is not.
    let begin = std::time::Instant::now();
    let status = ada.fs.drain(Duration::from_secs(30), |_| {}).await;
    assert!(begin.elapsed() < Duration::from_secs(2));
    assert_eq!((status.pending_files, status.read_only), (1, true));
    assert_eq!(status.health, Health::Refused);
    assert_eq!(status.last_error.as_deref(), Some("the key was taken back"));
    tokio::time::sleep(Duration::from_millis(700)).await;
    let names: Vec<String> = visible(&memory).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["there"], "nothing went up");
    ada.fs.close().await;

    let again = machine(&bucket, settings(folder.path(), "ada")).await;
    again.drain().await;
    assert_eq!(get(&*bucket, "waits").await.unwrap(), "not in the bucket");
    assert_eq!(get(&*bucket, "later").await, None);
}
