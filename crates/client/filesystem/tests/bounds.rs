//! The bounds that an operator sets: bytes of cache, bytes that wait, memory; and what
//! `status` says of them and of trouble.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bucket::faults::{Fault, Faulty, Rule, Verb};
use bucket::memory::MemoryBucket;
use bucket::{Bucket, Error};
use common::*;
use filesystem::{Access, FsError, Health, ROOT, SetAttr, Settings, Status};

struct Site {
    folder: tempfile::TempDir,
    memory: MemoryBucket,
    faulty: Faulty,
    bucket: Arc<dyn Bucket>,
}

impl Site {
    fn new() -> Self {
        let (memory, inner) = memory();
        let faulty = Faulty::new(inner);
        Self {
            folder: tempfile::tempdir().unwrap(),
            memory,
            bucket: Arc::new(faulty.clone()),
            faulty,
        }
    }

    fn settings(&self) -> Settings {
        settings(self.folder.path(), "ada")
    }

    async fn mount(&self, settings: Settings) -> Machine {
        machine(&self.bucket, settings).await
    }

    fn bodies(&self) -> u64 {
        size_of(&self.folder.path().join("ada/cache/bodies"))
    }
}

/// Bytes of all files below a folder.
fn size_of(folder: &Path) -> u64 {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        bytes += match entry.file_type().unwrap().is_dir() {
            true => size_of(&entry.path()),
            false => entry.metadata().unwrap().len(),
        };
    }
    bytes
}

async fn eventually(machine: &Machine, what: &str, so: impl Fn(&Status) -> bool) -> Status {
    let since = Instant::now();
    loop {
        let status = machine.fs.status();
        if so(&status) {
            return status;
        }
        assert!(
            since.elapsed() < Duration::from_secs(10),
            "{what}: {status:?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// > The bodies on the local disk, those of earlier mounts too, stay within `--cache-size`, save for what is open or waits for the bucket.
#[tokio::test]
async fn the_cache_keeps_its_bound_from_mount_to_mount() {
    let site = Site::new();
    for n in 0..10 {
        put(&*site.bucket, &format!("{n}"), &"x".repeat(10_000)).await;
    }
    let ada = site.mount(site.settings()).await;
    for n in 0..10 {
        ada.read(&format!("{n}")).await.unwrap();
    }
    assert_eq!(ada.fs.status().cache_bytes, 100_000);
    ada.fs.close().await;
    drop(ada);

    // Nothing is listed: what an earlier mount left counts all the same.
    let mut small = site.settings();
    small.cache_size = 30_000;
    small.lazy = true;
    let ada = site.mount(small.clone()).await;
    let within = |status: &Status| (1..=30_000).contains(&status.cache_bytes);
    let status = eventually(&ada, "evicted", within).await;
    assert_eq!(
        site.bodies(),
        status.cache_bytes,
        "what is counted is there"
    );
    for n in 0..10 {
        assert_eq!(ada.read(&format!("{n}")).await.unwrap().len(), 10_000);
    }
    let status = eventually(&ada, "evicted again", within).await;
    assert_eq!(site.bodies(), status.cache_bytes);
    ada.fs.close().await;
}

#[tokio::test]
async fn what_waits_is_no_part_of_what_may_be_evicted() {
    let site = Site::new();
    let mut settings = site.settings();
    settings.upload_delay = Duration::from_secs(3600);
    settings.cache_size = 1_000_000;
    let ada = site.mount(settings.clone()).await;
    ada.write("waits", &[7; 20_000]).await.unwrap();
    ada.fs.close().await;
    settings.cache_size = 1000;
    let ada = site.mount(settings).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(ada.read("waits").await.unwrap(), [7; 20_000]);
    ada.drain().await;
    assert_eq!(get(&*site.bucket, "waits").await.unwrap().len(), 20_000);
}

fn small(site: &Site) -> Settings {
    let mut settings = site.settings();
    settings.dirty_bytes = 1000;
    settings
}

/// > When too much waits for the bucket, writers wait; with the bucket away they get "no space" (ENOSPC). Nothing that was accepted is dropped.
#[tokio::test]
async fn writers_wait_then_are_refused_and_all_that_was_taken_drains() {
    let site = Site::new();
    let ada = site.mount(small(&site)).await;
    assert_eq!(ada.fs.status().dirty_limit, 1000);
    let slow = Rule::new(Fault::Delay(Duration::from_millis(400))).on(Verb::Put);
    let slow = site.faulty.add(slow);
    ada.write("a", &[b'a'; 1200]).await.unwrap();
    let since = Instant::now();
    ada.write("b", &[b'b'; 10]).await.unwrap();
    assert!(since.elapsed() > Duration::from_millis(200), "it waited");
    slow.remove();
    ada.drain().await;

    let opened = ada.fs.create(ROOT, "open", 0o644, OWNER, WRITE).await;
    let open = opened.unwrap().1.handle;
    ada.fs.write(open, 0, b"begun").await.unwrap();
    site.faulty.set_down(true);
    ada.write("c", &[b'c'; 1200]).await.unwrap();
    eventually(&ada, "offline", |status| status.health == Health::Offline).await;
    let since = Instant::now();
    assert_eq!(ada.write("d", b"d").await, Err(FsError::NoSpace));
    assert_eq!(
        ada.fs.write(open, 5, b" and more").await,
        Err(FsError::NoSpace),
        "a file that is open too"
    );
    assert!(since.elapsed() < Duration::from_secs(5), "in bounded time");
    site.faulty.set_down(false);
    ada.fs.release(open).await;
    ada.drain().await;
    ada.write("d", b"d").await.unwrap();
    ada.drain().await;
    let bodies: Vec<(String, usize)> = visible(&site.memory)
        .into_iter()
        .map(|(key, body)| (key, body.len()))
        .collect();
    let expected = [("a", 1200), ("b", 10), ("c", 1200), ("d", 1), ("open", 5)];
    assert_eq!(bodies, expected.map(|(key, size)| (key.to_owned(), size)));
}

#[tokio::test]
async fn one_large_file_does_not_wait_for_itself() {
    let site = Site::new();
    let ada = site.mount(small(&site)).await;
    let opened = ada.fs.create(ROOT, "large", 0o644, OWNER, WRITE).await;
    let open = opened.unwrap().1.handle;
    let since = Instant::now();
    for n in 0..10 {
        ada.fs.write(open, n * 500, &[1; 500]).await.unwrap();
    }
    assert!(since.elapsed() < Duration::from_secs(2));
    ada.fs.release(open).await;
    ada.drain().await;
    assert_eq!(get(&*site.bucket, "large").await.unwrap().len(), 5000);
}

#[tokio::test]
async fn no_more_waits_than_half_the_cache() {
    let site = Site::new();
    let mut settings = site.settings();
    settings.cache_size = 5000;
    assert_eq!(site.mount(settings).await.fs.status().dirty_limit, 2500);
}

#[tokio::test]
async fn what_a_kernel_writes_unseen_counts_as_waiting() {
    let site = Site::new();
    let mut settings = site.settings();
    settings.backing = true;
    settings.upload_delay = Duration::from_secs(3600);
    let ada = site.mount(settings).await;
    let opened = ada.fs.create(ROOT, "db", 0o644, OWNER, WRITE).await;
    let (entry, opened) = opened.unwrap();
    if !ada.fs.lends_files() {
        return;
    }
    let ino = entry.attr.ino;
    let Access::Backing(body) = opened.access else {
        panic!("lent, and yet by calls");
    };
    // The kernel's own way in: the same file, opened for writing.
    let body = format!("/proc/self/fd/{}", body.as_raw_fd());
    std::fs::write(body, [1; 4000]).unwrap();
    let status = eventually(&ada, "seen", |status| status.pending_bytes == 4000).await;
    assert_eq!(status.pending_files, 1);
    assert_eq!(ada.fs.getattr(ino).await.unwrap().attr.size, 4000);
}

#[tokio::test]
async fn a_file_is_cut_to_nothing_without_being_fetched() {
    let site = Site::new();
    put(&*site.bucket, "big", &"x".repeat(3 << 20)).await;
    let ada = site.mount(site.settings()).await;
    let ino = ada.walk("big").await.unwrap().attr.ino;
    let change = SetAttr {
        size: Some(0),
        ..SetAttr::default()
    };
    let entry = ada.fs.setattr(ino, change).await.unwrap();
    assert_eq!(entry.attr.size, 0);
    assert_eq!(site.memory.calls().get, 0, "no byte of it was needed");
    ada.drain().await;
    assert_eq!(get(&*site.bucket, "big").await.unwrap(), "");
}

#[tokio::test]
async fn trouble_has_a_time_and_is_over_when_things_work_again() {
    let site = Site::new();
    let ada = site.mount(site.settings()).await;
    ada.names("").await.unwrap();
    let refused = Error::PermissionDenied {
        action: "put doc".to_owned(),
    };
    let rule = Rule::new(Fault::FailBefore(refused))
        .on(Verb::Put)
        .key("doc");
    let rule = site.faulty.add(rule);
    ada.write("doc", b"text").await.unwrap();
    let status = eventually(&ada, "refused", |status| status.last_error.is_some()).await;
    assert!(status.last_error.unwrap().starts_with("doc: "));
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let at = u64::try_from(status.last_error_at.unwrap()).unwrap();
    assert!(now.abs_diff(at) < 30, "{at}");
    // That names are listed makes no difference to what cannot go up.
    a_while().await;
    ada.names("").await.unwrap();
    assert!(ada.fs.status().last_error.is_some());
    rule.remove();
    let status = ada.drain().await;
    assert_eq!((status.last_error, status.last_error_at), (None, None));

    site.faulty.set_down(true);
    a_while().await;
    let _ = ada.names("").await;
    assert!(ada.fs.status().last_error.is_some());
    site.faulty.set_down(false);
    let since = Instant::now();
    while ada.fs.status().last_error.is_some() {
        let _ = ada.names("").await;
        assert!(since.elapsed() < Duration::from_secs(10));
        a_while().await;
    }
}

#[tokio::test]
async fn what_is_known_is_shown_beside_its_bound() {
    let site = Site::new();
    for n in 0..100 {
        put(&*site.bucket, &format!("{n}"), "x").await;
    }
    let ada = site.mount(site.settings()).await;
    ada.names("").await.unwrap();
    let status = ada.fs.status();
    assert!(status.known_bytes > 100 * 500, "{status:?}");
    assert_eq!(status.memory_limit, site.settings().memory_limit);
    assert_eq!(status.dirty_files_limit, site.settings().dirty_files as u64);
}
