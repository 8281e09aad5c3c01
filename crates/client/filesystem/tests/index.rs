//! The attribute index: what it costs, and that no split of it says what is not so.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use bucket::memory::{Calls, MemoryBucket};
use bucket::{Bucket, Condition, Key};
use common::*;
use filesystem::{FsError, SetAttr, Settings};

fn site() -> (tempfile::TempDir, MemoryBucket, Arc<dyn Bucket>) {
    let (memory, bucket) = memory();
    (tempfile::tempdir().unwrap(), memory, bucket)
}

/// As on a mount: nothing is asked for twice within the test.
fn usual(folder: &tempfile::TempDir, machine: &str) -> Settings {
    let mut settings = settings(folder.path(), machine);
    settings.attr_ttl = Duration::from_secs(60);
    settings
}

async fn chmod(machine: &Machine, path: &str, mode: u32) {
    let ino = machine.walk(path).await.unwrap().attr.ino;
    let change = SetAttr {
        mode: Some(mode),
        ..SetAttr::default()
    };
    machine.fs.setattr(ino, change).await.unwrap();
}

async fn mode(machine: &Machine, path: &str) -> u32 {
    machine.walk(path).await.unwrap().attr.mode
}

/// An index document as any client may have left it.
async fn document(bucket: &dyn Bucket, place: &str, entries: &[(&str, &str, u32)]) {
    let entries: serde_json::Map<String, serde_json::Value> = entries
        .iter()
        .map(|(name, etag, mode)| {
            let entry = serde_json::json!({"e": etag, "m": mode, "u": 0, "g": 0, "t": 0});
            ((*name).to_owned(), entry)
        })
        .collect();
    let document = serde_json::json!({"v": 1, "entries": entries});
    put(
        bucket,
        &format!(".artifacts/attrs/{place}"),
        &document.to_string(),
    )
    .await;
}

/// `ls -lR`, and what it asked of the bucket.
async fn walked(machine: &Machine, memory: &MemoryBucket, directories: usize) -> Calls {
    let before = memory.calls();
    assert_eq!(machine.names("").await.unwrap().len(), directories);
    for name in machine.names("").await.unwrap() {
        assert_eq!(machine.names(&name).await.unwrap(), ["f"]);
    }
    let after = memory.calls();
    Calls {
        get: after.get - before.get,
        head: after.head - before.head,
        list: after.list - before.list,
        ..Calls::default()
    }
}

#[tokio::test]
async fn a_tree_without_an_index_costs_no_request_for_one() {
    let (folder, memory, bucket) = site();
    for n in 0..50 {
        put(&*bucket, &format!("d{n:02}/f"), "x").await;
    }
    let mut lazy = usual(&folder, "ada");
    lazy.lazy = true;
    let ada = machine(&bucket, lazy).await;
    let calls = walked(&ada, &memory, 50).await;
    assert_eq!((calls.get, calls.head), (0, 0));
    // One for the root and one for each directory, and one that finds that there is no index.
    assert_eq!(calls.list, 52);

    let bob = machine(&bucket, usual(&folder, "bob")).await;
    let calls = walked(&bob, &memory, 50).await;
    assert_eq!((calls.get, calls.head), (0, 0));
    assert!(calls.list <= 6, "a walk is listed flat: {calls:?}");
}

#[tokio::test]
async fn a_directory_with_an_index_costs_one_small_get() {
    let (folder, memory, bucket) = site();
    for n in 0..50 {
        let name = format!("d{n:02}");
        put(&*bucket, &format!("{name}/f"), "x").await;
        let etag = "9dd4e461268c8034f5c8564e155c67a6";
        document(&*bucket, &format!("{name}/0-0.json"), &[("f", etag, 0o640)]).await;
    }
    let bob = machine(&bucket, usual(&folder, "bob")).await;
    let calls = walked(&bob, &memory, 50).await;
    assert_eq!((calls.get, calls.head), (50, 0));
    assert!(calls.list <= 6, "{calls:?}");
    for n in 0..50 {
        assert_eq!(mode(&bob, &format!("d{n:02}/f")).await, 0o640);
    }
}

#[tokio::test]
async fn an_index_of_many_pages_is_listed_in_step_with_the_walk() {
    let (folder, memory, bucket) = site();
    let name = |n: u32| format!("d{n:04}");
    for n in 0..1500 {
        put(&*bucket, &format!("{}/f", name(n)), "x").await;
        let etag = "9dd4e461268c8034f5c8564e155c67a6";
        document(
            &*bucket,
            &format!("{}/0-0.json", name(n)),
            &[("f", etag, 0o640)],
        )
        .await;
    }
    let bob = machine(&bucket, usual(&folder, "bob")).await;
    let calls = walked(&bob, &memory, 1500).await;
    assert_eq!((calls.get, calls.head), (1500, 0));
    assert!(calls.list <= 12, "{calls:?}");
    for n in [0, 999, 1000, 1499] {
        assert_eq!(mode(&bob, &format!("{}/f", name(n))).await, 0o640);
    }
    // One directory alone asks for its own documents only.
    let mut lazy = settings(folder.path(), "eve");
    lazy.lazy = true;
    let eve = machine(&bucket, lazy).await;
    assert_eq!(mode(&eve, "d1400/f").await, 0o640);
    let before = memory.calls();
    a_while().await;
    a_while().await;
    assert_eq!(mode(&eve, "d1400/f").await, 0o640);
    let after = memory.calls();
    assert!(
        after.list - before.list <= 5,
        "two pages of the root's names, one of the directory's, and the documents of each"
    );
    assert_eq!(after.get, before.get, "known by its ETag");
}

#[tokio::test]
async fn a_finer_split_does_not_override_a_later_change() {
    let (folder, memory, bucket) = site();
    put(&*bucket, "d/f", "x").await;
    let etag = "9dd4e461268c8034f5c8564e155c67a6";
    let before = memory.contents();
    assert_eq!(before.len(), 1);
    // From when the directory was large: all documents of a split by one bit.
    for place in ["d/1-0.json", "d/1-1.json"] {
        document(
            &*bucket,
            place,
            &[("f", etag, 0o600), ("other", "e", 0o600)],
        )
        .await;
    }
    document(&*bucket, "d/0-0.json", &[("f", etag, 0o604)]).await;
    let ada = machine(&bucket, usual(&folder, "ada")).await;
    assert_eq!(mode(&ada, "d/f").await, 0o600);
    chmod(&ada, "d/f", 0o755).await;
    ada.drain().await;
    let bob = machine(&bucket, usual(&folder, "bob")).await;
    assert_eq!(mode(&bob, "d/f").await, 0o755);
}

#[tokio::test]
async fn a_name_that_went_away_leaves_nothing_in_any_split() {
    let (folder, memory, bucket) = site();
    put(&*bucket, "p/d/", "").await;
    for place in ["p/0-0.json", "p/1-0.json", "p/1-1.json"] {
        document(&*bucket, place, &[("d/", "", 0o700)]).await;
    }
    let ada = machine(&bucket, usual(&folder, "ada")).await;
    assert_eq!(mode(&ada, "p/d").await, 0o700);
    ada.rename("p/d", "p/e").await.unwrap();
    ada.drain().await;
    ada.mkdir("p/d").await.unwrap();
    ada.drain().await;
    let bob = machine(&bucket, usual(&folder, "bob")).await;
    assert_eq!(mode(&bob, "p/d").await, 0o755, "made anew");
    assert_eq!(mode(&bob, "p/e").await, 0o700);
    ada.rmdir("p/e").await.unwrap();
    ada.drain().await;
    let left = memory.contents();
    // The document that holds the names of another split still names `d/`; none names `e/`.
    let names_e = left
        .iter()
        .filter(|(key, body)| key.starts_with(".artifacts/") && contains(body, b"\"e/\""))
        .count();
    assert_eq!(names_e, 0, "{left:?}");
}

fn contains(body: &[u8], what: &[u8]) -> bool {
    body.windows(what.len()).any(|window| window == what)
}

#[tokio::test]
async fn a_large_directory_is_split_and_read_back_after_it_shrank() {
    let (folder, memory, bucket) = site();
    let ada = machine(&bucket, usual(&folder, "ada")).await;
    ada.mkdir("d").await.unwrap();
    for n in 0..2100 {
        put(&*bucket, &format!("d/{n}"), "x").await;
    }
    let mut fresh = usual(&folder, "carol");
    fresh.attr_ttl = Duration::from_millis(50);
    let carol = machine(&bucket, fresh).await;
    for n in 0..2100 {
        chmod(&carol, &format!("d/{n}"), 0o600).await;
    }
    carol.drain().await;
    let documents = || -> Vec<String> {
        let keys = memory.contents().into_keys();
        keys.filter(|key| key.starts_with(".artifacts/attrs/d/"))
            .collect()
    };
    assert_eq!(
        documents(),
        [".artifacts/attrs/d/1-0.json", ".artifacts/attrs/d/1-1.json"]
    );
    for n in 3..2100 {
        carol.unlink(&format!("d/{n}")).await.unwrap();
    }
    carol.drain().await;
    chmod(&carol, "d/0", 0o751).await;
    carol.drain().await;
    assert!(
        documents().iter().all(|key| key.contains("/1-")),
        "{:?}",
        documents()
    );
    let bob = machine(&bucket, usual(&folder, "bob")).await;
    assert_eq!(mode(&bob, "d/0").await, 0o751);
    assert_eq!(mode(&bob, "d/1").await, 0o600);
}

#[tokio::test]
async fn two_writers_of_one_index_undo_nothing_of_each_other() {
    let (folder, _memory, bucket) = site();
    for n in 0..40 {
        put(&*bucket, &format!("d/{n}"), "x").await;
    }
    let ada = machine(&bucket, usual(&folder, "ada")).await;
    let bob = machine(&bucket, usual(&folder, "bob")).await;
    for n in 0..20 {
        chmod(&ada, &format!("d/{n}"), 0o600).await;
        chmod(&bob, &format!("d/{}", n + 20), 0o640).await;
    }
    tokio::join!(ada.drain(), bob.drain());
    let eve = machine(&bucket, usual(&folder, "eve")).await;
    for n in 0..40 {
        let expected = if n < 20 { 0o600 } else { 0o640 };
        assert_eq!(mode(&eve, &format!("d/{n}")).await, expected, "{n}");
    }
}

#[tokio::test]
async fn a_removal_is_told_to_the_index_after_a_kill_too() {
    let (folder, memory, bucket) = site();
    put(&*bucket, "p/d/", "").await;
    document(&*bucket, "p/0-0.json", &[("d/", "", 0o700)]).await;
    {
        let (bucket, settings) = (Arc::clone(&bucket), usual(&folder, "ada"));
        let killed = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let ada = machine(&bucket, settings).await;
                assert_eq!(mode(&ada, "p/d").await, 0o700);
                ada.rmdir("p/d").await.unwrap();
            });
        });
        killed.join().unwrap();
    }
    let ada = machine(&bucket, usual(&folder, "ada")).await;
    ada.drain().await;
    assert!(matches!(ada.walk("p/d").await, Err(FsError::NotFound)));
    let key = Key::new(".artifacts/attrs/p/0-0.json").unwrap();
    assert!(bucket.head(&key).await.is_err(), "{:?}", memory.contents());
    let _ = bucket.delete(&key, Condition::None).await;
}
