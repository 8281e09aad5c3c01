//! What a mount finds after the one before it was killed, or the machine went down: what was
//! synced goes on, what is doubtful goes aside, and nothing good is replaced by it.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bucket::Bucket;
use bucket::faults::Faulty;
use bucket::memory::MemoryBucket;
use common::*;
use filesystem::{Filesystem, OpenError, OpenMode, ROOT, SetAttr, Settings};

/// One machine's folders, and the bucket.
struct Site {
    folder: tempfile::TempDir,
    memory: MemoryBucket,
    bucket: Arc<dyn Bucket>,
}

impl Site {
    fn new() -> Self {
        let (memory, bucket) = memory();
        Self {
            folder: tempfile::tempdir().unwrap(),
            memory,
            bucket,
        }
    }

    /// The machine in one of its boots; uploads only when asked to.
    fn settings(&self, boot: &str) -> Settings {
        let mut settings = settings(self.folder.path(), "ada");
        settings.upload_delay = Duration::from_secs(3600);
        settings.boot = boot.to_owned();
        settings
    }

    /// Mounts, does something, and is killed.
    fn killed<F: Future<Output = ()>>(&self, boot: &str, work: impl FnOnce(Machine) -> F + Send) {
        let (bucket, settings) = (Arc::clone(&self.bucket), self.settings(boot));
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                runtime.block_on(async { work(machine(&bucket, settings).await).await });
            });
        });
    }

    async fn mount(&self, boot: &str) -> Machine {
        machine(&self.bucket, self.settings(boot)).await
    }

    fn state_dir(&self) -> PathBuf {
        self.folder.path().join("ada/state")
    }

    fn journal(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.state_dir().join("journal.db")).unwrap()
    }

    /// The body's file with this content.
    fn body(&self, content: &[u8]) -> PathBuf {
        files(&self.folder.path().join("ada/cache/bodies"))
            .into_iter()
            // Another one may go while this looks.
            .find(|path| std::fs::read(path).is_ok_and(|bytes| bytes == content))
            .unwrap()
    }
}

async fn write_and_sync(ada: &Machine, path: &str, content: &[u8]) {
    let cut = OpenMode {
        truncate: true,
        ..WRITE
    };
    let ino = ada.walk(path).await.unwrap().attr.ino;
    let opened = ada.fs.open_file(ino, cut).await.unwrap();
    ada.fs.write(opened.handle, 0, content).await.unwrap();
    ada.fs.fsync(opened.handle).await.unwrap();
    ada.fs.release(opened.handle).await;
}

async fn mode(ada: &Machine, path: &str) -> u32 {
    ada.walk(path).await.unwrap().attr.mode
}

async fn chmod(ada: &Machine, path: &str, mode: u32) {
    let ino = ada.walk(path).await.unwrap().attr.ino;
    let change = SetAttr {
        mode: Some(mode),
        ..SetAttr::default()
    };
    ada.fs.setattr(ino, change).await.unwrap();
}

/// What the disk may hold of `after the cut` where it was not synced, and what must be in the
/// bucket then.
async fn goes_beside(left: &[u8]) {
    let site = Site::new();
    put(&*site.bucket, "doc.txt", "the good version").await;
    site.killed("one", |ada| async move {
        ada.write("doc.txt", b"after the cut").await.unwrap();
    });
    std::fs::write(site.body(b"after the cut"), left).unwrap();
    let ada = site.mount("two").await;
    assert_eq!(ada.read("doc.txt").await.unwrap(), b"the good version");
    let status = ada.fs.status();
    assert_eq!(status.conflicts, 1);
    let error = status.last_error.unwrap();
    assert!(
        error.starts_with("doc.txt was written shortly before"),
        "{error}"
    );
    ada.drain().await;
    let found = visible(&site.memory);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].0.starts_with("doc.conflict-"), "{found:?}");
    assert!(error.ends_with(&found[0].0), "{error} names {found:?}");
    assert_eq!(found[0].1.as_bytes(), left);
    assert_eq!(found[1].1, "the good version");
    assert_eq!(ada.read("doc.txt").await.unwrap(), b"the good version");
}

/// > After a power cut, what is not known to have been on the disk whole goes up as a conflict copy, never onto the name.
#[tokio::test]
async fn a_body_of_zeros_never_replaces_a_good_object() {
    goes_beside(&[0; 13]).await;
}

#[tokio::test]
async fn a_short_body_never_replaces_a_good_object() {
    goes_beside(b"aft").await;
}

#[tokio::test]
async fn a_doubtful_body_stays_what_it_is_over_the_next_power_cut() {
    let site = Site::new();
    site.killed("one", |ada| async move {
        ada.write("new.txt", b"never synced").await.unwrap();
    });
    site.killed("two", |ada| async move {
        assert_eq!(ada.fs.status().conflicts, 1);
    });
    let ada = site.mount("three").await;
    assert_eq!(ada.fs.status().conflicts, 0, "it is known by now");
    ada.drain().await;
    let found = visible(&site.memory);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].0.starts_with("new.conflict-"), "{found:?}");
}

#[tokio::test]
async fn what_was_synced_goes_up_under_its_name_after_a_power_cut() {
    let site = Site::new();
    put(&*site.bucket, "doc", "old").await;
    site.killed("one", |ada| async move {
        write_and_sync(&ada, "doc", b"synced").await;
        // The journal's row moves with it, as editors do.
        ada.rename("doc", "final").await.unwrap();
        ada.fs.fsyncdir().await.unwrap();
    });
    let ada = site.mount("two").await;
    let status = ada.drain().await;
    assert_eq!(status.conflicts, 0, "{:?}", status.last_error);
    assert_eq!(
        visible(&site.memory),
        [("final".to_owned(), "synced".to_owned())]
    );
}

#[tokio::test]
async fn what_was_written_after_the_sync_is_doubtful_again() {
    let site = Site::new();
    put(&*site.bucket, "doc", "old").await;
    site.killed("one", |ada| async move {
        write_and_sync(&ada, "doc", b"synced").await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        ada.append("doc", b" and more").await.unwrap();
    });
    let ada = site.mount("two").await;
    assert_eq!(ada.drain().await.conflicts, 1);
    assert_eq!(get(&*site.bucket, "doc").await.unwrap(), "old");
}

#[tokio::test]
async fn what_waited_at_an_orderly_end_goes_up_after_a_reboot() {
    let site = Site::new();
    put(&*site.bucket, "doc", "old").await;
    site.killed("one", |ada| async move {
        ada.write("doc", b"waits").await.unwrap();
        ada.fs.close().await;
    });
    let ada = site.mount("two").await;
    assert_eq!(ada.drain().await.conflicts, 0);
    assert_eq!(get(&*site.bucket, "doc").await.unwrap(), "waits");
}

#[tokio::test]
async fn a_row_of_the_first_release_is_doubtful_when_the_machine_went_down() {
    for (boot, conflicts) in [("one", 0), ("two", 1)] {
        let site = Site::new();
        put(&*site.bucket, "doc", "old").await;
        site.killed("one", |ada| async move {
            ada.write("doc", b"new").await.unwrap();
        });
        let journal = site.journal();
        let changed = journal.execute("UPDATE ops SET row = json_remove(row, '$.boot')", []);
        assert_eq!(changed.unwrap(), 1);
        drop(journal);
        let ada = site.mount(boot).await;
        assert_eq!(ada.drain().await.conflicts, conflicts, "{boot}");
    }
}

/// > `fsync` of a file or a directory returns when what it speaks of is on this machine's disk.
#[tokio::test]
async fn a_directory_is_synced_with_the_journal() {
    let site = Site::new();
    let ada = site.mount("one").await;
    ada.mkdir("d").await.unwrap();
    let journal = site.journal();
    let syncs = || -> i64 {
        let count = journal.query_row("SELECT syncs FROM meta", [], |row| row.get(0));
        count.unwrap()
    };
    let before = syncs();
    ada.fs.fsyncdir().await.unwrap();
    assert_eq!(syncs(), before + 1);
}

#[tokio::test]
async fn one_damaged_row_holds_up_no_other() {
    let site = Site::new();
    site.killed("one", |ada| async move {
        ada.write("bad", b"of the damaged row").await.unwrap();
        ada.write("good", b"good").await.unwrap();
    });
    let journal = site.journal();
    let cut = "UPDATE ops SET row = substr(row, 1, length(row) - 9) WHERE key = 'bad'";
    assert_eq!(journal.execute(cut, []).unwrap(), 1);
    drop(journal);
    for _ in 0..2 {
        let ada = site.mount("one").await;
        let status = ada.drain().await;
        assert_eq!(status.changes_set_aside, ["bad"]);
        assert_eq!(status.journal_set_aside, None);
        ada.fs.close().await;
    }
    assert_eq!(
        visible(&site.memory),
        [("good".to_owned(), "good".to_owned())]
    );
    site.body(b"of the damaged row");
}

#[tokio::test]
async fn a_newer_programs_journal_is_refused() {
    let site = Site::new();
    site.killed("one", |ada| async move {
        ada.write("doc", b"waits").await.unwrap();
    });
    let set = |format: i64| {
        let journal = site.journal();
        journal
            .execute("UPDATE meta SET format = ?1", [format])
            .unwrap();
    };
    set(99);
    let opened = Filesystem::open(
        Arc::clone(&site.bucket),
        site.settings("one"),
        Arc::new(Deaf),
    );
    let refused = opened.await.map(|_| ()).unwrap_err();
    assert!(
        matches!(refused, OpenError::NewerJournal { format: 99, .. }),
        "{refused}"
    );
    set(1);
    let ada = site.mount("one").await;
    ada.drain().await;
    assert_eq!(get(&*site.bucket, "doc").await.unwrap(), "waits");
}

/// > Attributes that were set on purpose survive a crash of the mount, with the cache folder or without.
#[tokio::test]
async fn attributes_set_right_before_a_kill_are_shown_and_reach_the_index() {
    let site = Site::new();
    put(&*site.bucket, "d/run", "#!").await;
    put(&*site.bucket, "e/f", "-").await;
    site.killed("one", |ada| async move {
        chmod(&ada, "d/run", 0o751).await;
        chmod(&ada, "e", 0o700).await;
        ada.fs.mkdir(ROOT, "made", 0o710, OWNER).await.unwrap();
    });
    remove_folder(&site.folder.path().join("ada/cache"));
    let ada = site.mount("one").await;
    assert_eq!(mode(&ada, "d/run").await, 0o751);
    assert_eq!(mode(&ada, "e").await, 0o700);
    assert_eq!(mode(&ada, "made").await, 0o710);
    ada.drain().await;
    let bob = machine(&site.bucket, settings(site.folder.path(), "bob")).await;
    assert_eq!(mode(&bob, "d/run").await, 0o751);
    assert_eq!(mode(&bob, "e").await, 0o700);
    assert_eq!(mode(&bob, "made").await, 0o710);
}

#[tokio::test]
async fn attributes_hold_for_the_version_they_were_set_on_after_a_kill_too() {
    let site = Site::new();
    put(&*site.bucket, "run", "#!").await;
    site.killed("one", |ada| async move {
        chmod(&ada, "run", 0o751).await;
    });
    put(&*site.bucket, "run", "another").await;
    let ada = site.mount("one").await;
    assert_eq!(mode(&ada, "run").await, 0o644);
}

#[tokio::test]
async fn the_directories_of_what_waits_look_as_they_did() {
    let mut site = Site::new();
    site.killed("one", |ada| async move {
        ada.fs.mkdir(ROOT, "own", 0o700, OWNER).await.unwrap();
        ada.drain().await;
        ada.write("own/file", b"waits").await.unwrap();
        ada.fs.close().await;
    });
    let faulty = Faulty::new(Arc::clone(&site.bucket));
    faulty.set_down(true);
    site.bucket = Arc::new(faulty.clone());
    let ada = site.mount("one").await;
    assert_eq!(mode(&ada, "own").await, 0o700);
    faulty.set_down(false);
    ada.drain().await;
    assert_eq!(mode(&ada, "own").await, 0o700);
}

/// A thread of the mount that was killed in this process may still be making a body ahead.
fn remove_folder(path: &std::path::Path) {
    let since = std::time::Instant::now();
    while let Err(error) = std::fs::remove_dir_all(path) {
        let again = error.kind() == std::io::ErrorKind::DirectoryNotEmpty;
        assert!(again && since.elapsed().as_secs() < 5, "{error}");
    }
}
