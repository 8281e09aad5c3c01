//! What was closed or synced reaches the bucket, whatever happens between: each test is one
//! way in which it could be lost, torn, or put over what another client wrote.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::fs::OpenOptions;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use bucket::faults::{Fault, Faulty, Rule, Verb};
use bucket::memory::MemoryBucket;
use bucket::{Bucket, Error};
use common::*;
use filesystem::{Access, FsError, OpenMode, Opened, ROOT};

/// A machine on a bucket that misbehaves by rule.
struct Site {
    folder: tempfile::TempDir,
    memory: MemoryBucket,
    inner: Arc<dyn Bucket>,
    faulty: Faulty,
    ada: Machine,
}

async fn site() -> Site {
    site_with(|_| {}).await
}

async fn site_with(change: impl FnOnce(&mut filesystem::Settings)) -> Site {
    let folder = tempfile::tempdir().unwrap();
    let (memory, inner) = memory();
    let faulty = Faulty::new(Arc::clone(&inner));
    let bucket: Arc<dyn Bucket> = Arc::new(faulty.clone());
    let mut settings = settings(folder.path(), "ada");
    change(&mut settings);
    let ada = machine(&bucket, settings).await;
    Site {
        folder,
        memory,
        inner,
        faulty,
        ada,
    }
}

impl Site {
    async fn open(&self, path: &str, mode: filesystem::OpenMode) -> Opened {
        let ino = self.ada.walk(path).await.unwrap().attr.ino;
        self.ada.fs.open_file(ino, mode).await.unwrap()
    }

    async fn object(&self, key: &str) -> String {
        get(&*self.inner, key).await.unwrap()
    }
}

fn slow(verb: Verb, millis: u64) -> Rule {
    Rule::new(Fault::Delay(Duration::from_millis(millis))).on(verb)
}

async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

/// > When someone empties the cache folder, what waited for upload there is reported as missing; the bucket's version is never replaced by something else.
#[tokio::test]
async fn a_pending_body_that_was_deleted_is_never_replaced_by_zeros() {
    let site = site().await;
    site.ada.write("doc", b"the old content").await.unwrap();
    site.ada.drain().await;
    site.faulty.set_down(true);
    site.ada.write("doc", b"the new content").await.unwrap();
    for body in files(&site.folder.path().join("ada/cache/bodies")) {
        std::fs::remove_file(body).unwrap();
    }
    assert!(matches!(site.ada.read("doc").await, Err(FsError::Local(_))));
    site.faulty.set_down(false);
    let status = site.ada.fs.drain(Duration::from_millis(300), |_| {}).await;
    assert_eq!(status.pending_changes, 1, "it is not claimed to be done");
    assert!(status.last_error.unwrap().contains("doc"));
    assert_eq!(site.object("doc").await, "the old content");
    site.ada.write("doc", b"written anew").await.unwrap();
    site.ada.drain().await;
    assert_eq!(site.object("doc").await, "written anew");
}

#[tokio::test]
async fn a_file_that_may_be_running_is_not_cut_by_who_only_reads() {
    const ONLY_CUT: OpenMode = OpenMode {
        read: true,
        write: false,
        truncate: true,
    };
    let site = site().await;
    site.ada.write("tool", b"its text").await.unwrap();
    let ino = site.ada.walk("tool").await.unwrap().attr.ino;
    let running = site.open("tool", READ).await;
    let refused = site.ada.fs.open_file(ino, ONLY_CUT).await;
    assert!(
        matches!(refused, Err(FsError::InUse)),
        "{:?}",
        refused.err()
    );
    assert_eq!(site.ada.read("tool").await.unwrap(), b"its text");
    site.ada.fs.release(running.handle).await;
    let cut = site.ada.fs.open_file(ino, ONLY_CUT).await.unwrap();
    site.ada.fs.release(cut.handle).await;
    assert_eq!(site.ada.read("tool").await.unwrap(), b"");
}

/// > What goes up of a file that is open for writing is one moment's content, never a mixture; what is written meanwhile goes up after it.
#[tokio::test]
async fn what_is_written_while_an_open_file_goes_up_goes_up_too() {
    let site = site().await;
    site.ada.write("log", b"begun ").await.unwrap();
    site.ada.drain().await;
    let opened = site.open("log", WRITE).await;
    site.ada
        .fs
        .write(opened.handle, 6, b"middle ")
        .await
        .unwrap();
    let put = site.faulty.add(slow(Verb::Put, 400).key("log"));
    let (drained, ()) = tokio::join!(site.ada.fs.drain(Duration::from_secs(5), |_| {}), async {
        pause(200).await;
        assert_eq!(site.object("log").await, "begun ", "it is still on its way");
        site.ada.fs.write(opened.handle, 13, b"end").await.unwrap();
        site.ada.fs.write(opened.handle, 0, b"BEGUN").await.unwrap();
        site.ada.fs.release(opened.handle).await;
        pause(350).await;
        assert_eq!(
            site.object("log").await,
            "begun middle ",
            "one moment's content"
        );
        put.remove();
    });
    assert_eq!(drained.pending_changes, 0);
    assert_eq!(site.object("log").await, "BEGUN middle end");
}

#[tokio::test]
async fn a_lost_answer_confirms_only_what_was_sent() {
    let site = site().await;
    let lost = Error::Unreachable {
        endpoint: "test".to_owned(),
        reason: "lost answer".to_owned(),
    };
    site.faulty.add(
        Rule::new(Fault::FailAfter(lost))
            .on(Verb::Put)
            .key("doc")
            .first(1),
    );
    site.ada.write("doc", b"version 1").await.unwrap();
    pause(200).await;
    assert_eq!(site.object("doc").await, "version 1");
    site.ada
        .write("doc", b"version 2, edited offline")
        .await
        .unwrap();
    let status = site.ada.drain().await;
    assert_eq!(status.conflicts, 0);
    assert_eq!(site.object("doc").await, "version 2, edited offline");
}

/// Stands for a kernel that was given the file: opens it as that does, apart from us.
fn as_the_kernel(opened: &Opened) -> std::fs::File {
    let Access::Backing(file) = &opened.access else {
        panic!("no backing file: are leases known to this file system?");
    };
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap()
}

/// > What a program stores through a mapping after it closed the file reaches the bucket too.
#[tokio::test]
async fn what_a_mapping_writes_after_the_close_goes_up() {
    let site = site_with(|settings| settings.backing = true).await;
    let made = site.ada.fs.create(ROOT, "db", 0o644, OWNER, WRITE).await;
    let opened = made.unwrap().1;
    let mapping = as_the_kernel(&opened);
    mapping.write_all_at(b"before", 0).unwrap();
    site.ada.fs.release(opened.handle).await;
    drop(opened);
    let status = site.ada.fs.drain(Duration::from_secs(1), |_| {}).await;
    assert_eq!(status.pending_changes, 1, "it may still change");
    assert_eq!(site.object("db").await, "before");
    pause(50).await;
    mapping.write_all_at(b"behind", 0).unwrap();
    drop(mapping);
    site.ada.drain().await;
    assert_eq!(site.object("db").await, "behind");
    assert_eq!(site.ada.fs.status().pending_changes, 0);
}

#[tokio::test]
async fn a_reader_of_an_old_version_takes_nothing_from_a_writer() {
    let site = site_with(|settings| settings.attr_ttl = Duration::from_secs(60)).await;
    put(&*site.inner, "doc", "the first").await;
    site.ada.names("").await.unwrap();
    put(&*site.inner, "doc", "theirs").await;
    // The reader's GET is refused and it asks what is there now, which takes a while.
    site.faulty.add(slow(Verb::Head, 500).key("doc").first(1));
    let (_read, ()) = tokio::join!(site.ada.read("doc"), async {
        pause(100).await;
        let opened = site.open("doc", CUT).await;
        site.ada.fs.write(opened.handle, 0, b"mine").await.unwrap();
        site.ada.fs.fsync(opened.handle).await.unwrap();
        pause(600).await;
        site.ada.fs.release(opened.handle).await;
    });
    site.ada.drain().await;
    let found = visible(&site.memory);
    let bodies: Vec<&str> = found.iter().map(|(_, body)| body.as_str()).collect();
    assert!(bodies.contains(&"mine"), "{found:?}");
    assert!(bodies.contains(&"theirs"), "{found:?}");
}

/// > A file that is renamed while it is open is at its new name, changed or not.
#[tokio::test]
async fn a_file_renamed_while_open_and_unchanged_is_at_its_new_name() {
    let site = site().await;
    put(&*site.inner, "draft", "text").await;
    site.ada.read("draft").await.unwrap();
    pause(80).await;
    let opened = site.open("draft", WRITE).await;
    site.ada.rename("draft", "final").await.unwrap();
    site.ada.fs.release(opened.handle).await;
    site.ada.drain().await;
    assert_eq!(
        visible(&site.memory),
        [("final".to_owned(), "text".to_owned())]
    );
}

#[tokio::test]
async fn a_rename_never_replaces_what_another_machine_made_meanwhile() {
    let site = site().await;
    put(&*site.inner, "a", "moved").await;
    site.ada.names("").await.unwrap();
    let copy = site.faulty.add(slow(Verb::Copy, 400).key("b").first(1));
    site.ada.rename("a", "b").await.unwrap();
    while copy.fired() == 0 {
        pause(5).await;
    }
    put(&*site.inner, "b", "theirs").await;
    let status = site.ada.drain().await;
    assert_eq!(status.conflicts, 1);
    let found = visible(&site.memory);
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[0], ("b".to_owned(), "theirs".to_owned()));
    assert_eq!(found[1].1, "moved");
}

#[tokio::test]
async fn a_conflict_under_a_long_key_keeps_both_versions() {
    let site = site().await;
    let folders = vec!["d".repeat(200); 4].join("/");
    let long = format!("{folders}/{}", "n".repeat(205));
    put(&*site.inner, &long, "base").await;
    site.ada.read(&long).await.unwrap();
    let held = site.faulty.add(slow(Verb::Put, 300).first(1));
    site.ada.write(&long, b"mine").await.unwrap();
    while held.fired() == 0 {
        pause(5).await;
    }
    put(&*site.inner, &long, "theirs").await;
    site.ada.drain().await;
    let found = visible(&site.memory);
    assert_eq!(found.len(), 2, "{found:?}");
    let bodies: Vec<&str> = found.iter().map(|(_, body)| body.as_str()).collect();
    assert!(
        bodies.contains(&"mine") && bodies.contains(&"theirs"),
        "{found:?}"
    );
}

/// What is under way in the store when it is no longer wanted could come about after what
/// follows it: it is waited for.
#[tokio::test]
async fn a_copy_under_way_ends_before_its_key_is_written_again() {
    let site = site().await;
    site.ada.write("from", b"moved").await.unwrap();
    site.ada.write("to", b"replaced").await.unwrap();
    site.ada.drain().await;
    site.faulty.add(slow(Verb::Copy, 200));
    site.ada.rename("from", "to").await.unwrap();
    while site.faulty.calls(Verb::Copy) == 0 {
        pause(5).await;
    }
    site.ada.append("to", b" and more").await.unwrap();
    site.ada.drain().await;
    assert_eq!(site.memory.calls().copy, 1, "it was carried out");
    assert_eq!(
        visible(&site.memory),
        [("to".into(), "moved and more".into())]
    );
}

/// > A version that a program has open stays as it is; the name leads to what another machine wrote.
#[tokio::test]
async fn a_version_that_is_open_is_not_exchanged_under_its_readers() {
    let site = site().await;
    site.ada.write("log", b"first").await.unwrap();
    site.ada.drain().await;
    let reader = site.open("log", READ).await;
    let old = site.ada.walk("log").await.unwrap().attr.ino;
    put(&*site.inner, "log", "second").await;
    a_while().await;
    let new = site.ada.walk("log").await.unwrap().attr.ino;
    assert_ne!(old, new);
    let seen = site.ada.fs.read(reader.handle, 0, 99).await.unwrap();
    assert_eq!(seen, &b"first"[..]);
    // Who still comes by the old inode is told to look the name up again.
    for mode in [READ, WRITE, CUT] {
        let opened = site.ada.fs.open_file(old, mode).await;
        assert!(matches!(opened, Err(FsError::Changed)));
    }
    site.ada.append("log", b" and third").await.unwrap();
    site.ada.fs.release(reader.handle).await;
    site.ada.drain().await;
    assert_eq!(site.object("log").await, "second and third");
}

/// > While the bucket gives no answer, names that are known here are shown after two seconds at most.
#[tokio::test]
async fn names_that_are_known_are_shown_while_the_bucket_does_not_answer() {
    let site = site().await;
    site.ada.write("here", b"cached").await.unwrap();
    site.ada.drain().await;
    assert_eq!(site.ada.read("here").await.unwrap(), b"cached");
    let hang = site.faulty.add(Rule::new(Fault::Hang).on(Verb::List));
    a_while().await;
    let begun = std::time::Instant::now();
    for _ in 0..20 {
        assert_eq!(site.ada.read("here").await.unwrap(), b"cached");
    }
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "one wait, not twenty"
    );
    hang.release();
}

/// In the profile `safe` a close says why its upload was refused, and the file stays wanted.
#[tokio::test]
async fn a_safe_close_says_why_the_bucket_does_not_hold_the_file() {
    let site = site_with(|settings| settings.profile = model::Profile::Safe).await;
    for (refusal, said) in [
        (
            Error::PermissionDenied {
                action: "put doc".into(),
            },
            FsError::Denied,
        ),
        (
            Error::Unreachable {
                endpoint: "test".into(),
                reason: "down".into(),
            },
            FsError::Unreachable,
        ),
    ] {
        let rule = site.faulty.add(
            Rule::new(Fault::FailBefore(refusal))
                .on(Verb::Put)
                .key("doc"),
        );
        assert_eq!(site.ada.write("doc", b"kept").await, Err(said));
        rule.remove();
    }
    assert_eq!(site.ada.fs.status().pending_files, 1);
    site.ada.write("doc", b"kept and sent").await.unwrap();
    assert_eq!(
        site.object("doc").await,
        "kept and sent",
        "when close has returned"
    );
}
