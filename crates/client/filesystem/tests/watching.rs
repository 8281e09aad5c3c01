//! Directories that somebody watches are listed unasked, and only those.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bucket::faults::{Fault, Faulty, Rule, Verb};
use common::*;
use filesystem::{Change, Filesystem, Gone, Ino, Kind, ROOT, Settings, Watcher};

/// Writes down what it is told.
#[derive(Default, Clone)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    fn add(&self, note: String) {
        self.0.lock().unwrap().push(note);
    }

    fn has(&self, note: &str) -> bool {
        self.0.lock().unwrap().iter().any(|known| known == note)
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Watcher for Notes {
    fn changed(&self, ino: Ino, change: Change) {
        self.add(format!("changed {ino} {change:?}"));
    }

    fn appeared(&self, parent: Ino, name: &str) {
        self.add(format!("appeared {parent} {name}"));
    }

    fn removed(&self, gone: Gone) {
        let (directory, name) = (gone.directory, gone.name);
        self.add(format!("removed {directory}/{name} {:?}", gone.attr.kind));
    }

    fn unneeded(&self, _: Ino, _: &str) {}
}

async fn open(bucket: &Arc<dyn bucket::Bucket>, settings: Settings) -> (Machine, Notes) {
    let notes = Notes::default();
    let fs = Filesystem::open(Arc::clone(bucket), settings, Arc::new(notes.clone()))
        .await
        .unwrap();
    (Machine { fs }, notes)
}

async fn until(what: &str, mut so: impl FnMut() -> bool) {
    for _ in 0..300 {
        if so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within 3 s: {what}");
}

#[tokio::test]
async fn a_watched_directory_is_listed_unasked_and_another_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let (memory, bucket) = memory();
    for key in ["kept", "changed", "doomed", "deep/er/inner", "other/one"] {
        put(&*bucket, key, "1").await;
    }
    let (ada, notes) = open(&bucket, settings(folder.path(), "ada")).await;
    for path in ["", "deep", "deep/er", "other"] {
        ada.names(path).await.unwrap();
    }
    let changed = ada.walk("changed").await.unwrap().attr.ino;
    let at_rest = memory.calls().list;
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(memory.calls().list, at_rest, "nobody watches");

    ada.fs.watch(&HashSet::from([ROOT]));
    put(&*bucket, "changed", "two").await;
    put(&*bucket, "new", "new").await;
    put(&*bucket, "other/two", "2").await;
    for key in ["doomed", "deep/er/inner"] {
        memory.remove(&bucket::Key::new(key).unwrap());
    }
    until("all is told", || {
        [
            format!("changed {changed} Content"),
            format!("appeared {ROOT} new"),
            "removed /doomed File".to_owned(),
            "removed deep/er/inner File".to_owned(),
            "removed deep/er Directory".to_owned(),
            "removed /deep Directory".to_owned(),
        ]
        .iter()
        .all(|note| notes.has(note))
    })
    .await;
    let all = notes.all();
    let place = |note: &str| all.iter().position(|known| known == note).unwrap();
    assert!(place("removed deep/er/inner File") < place("removed deep/er Directory"));
    assert!(place("removed deep/er Directory") < place("removed /deep Directory"));
    assert!(!all.iter().any(|note| note.ends_with(" two")), "{all:?}");

    ada.fs.watch(&HashSet::new());
    tokio::time::sleep(Duration::from_millis(100)).await;
    let at_rest = memory.calls().list;
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(memory.calls().list, at_rest, "nobody watches any more");
}

#[tokio::test]
async fn a_watched_file_has_its_directory_listed() {
    let folder = tempfile::tempdir().unwrap();
    let (_, bucket) = memory();
    put(&*bucket, "docs/file", "1").await;
    let (ada, notes) = open(&bucket, settings(folder.path(), "ada")).await;
    let file = ada.walk("docs/file").await.unwrap().attr.ino;
    ada.fs.watch(&HashSet::from([file]));
    put(&*bucket, "docs/file", "two").await;
    let note = format!("changed {file} Content");
    until("it is told", || notes.has(&note)).await;
}

#[tokio::test]
async fn a_lazy_workspace_lists_nothing_for_watchers() {
    let folder = tempfile::tempdir().unwrap();
    let (memory, bucket) = memory();
    put(&*bucket, "file", "1").await;
    let mut lazy = settings(folder.path(), "ada");
    lazy.lazy = true;
    let (ada, _) = open(&bucket, lazy).await;
    ada.names("").await.unwrap();
    ada.fs.watch(&HashSet::from([ROOT]));
    let at_rest = memory.calls().list;
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(memory.calls().list, at_rest);
}

#[tokio::test]
async fn what_somebody_says_has_changed_is_looked_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (memory, bucket) = memory();
    for key in ["top", "docs/file", "unread/deep/file"] {
        put(&*bucket, key, "1").await;
    }
    let mut slow = settings(folder.path(), "ada");
    slow.attr_ttl = Duration::from_secs(3600);
    let (ada, notes) = open(&bucket, slow).await;
    ada.names("").await.unwrap();
    ada.names("docs").await.unwrap();
    let file = ada.walk("docs/file").await.unwrap().attr.ino;
    assert_eq!(ada.walk("docs").await.unwrap().attr.kind, Kind::Directory);
    put(&*bucket, "docs/file", "two").await;
    put(&*bucket, "docs/new", "new").await;
    put(&*bucket, "fresh/file", "new").await;
    let before = memory.calls().list;
    ada.fs.refresh(&[
        "docs/file".to_owned(),
        "docs/new".to_owned(),
        "fresh/file".to_owned(),
        "another/workspace".to_owned(),
    ]);
    let notes_wanted = [
        format!("changed {file} Content"),
        format!("appeared {ROOT} fresh"),
    ];
    until("it is told", || {
        notes_wanted.iter().all(|note| notes.has(note))
    })
    .await;
    assert_eq!(ada.read("docs/file").await.unwrap(), b"two");
    assert_eq!(ada.names("docs").await.unwrap(), ["file", "new"]);
    // One for each of the two directories, one for the catalogue of attributes.
    assert!(memory.calls().list - before <= 3, "{:?}", memory.calls());
}

#[tokio::test]
async fn names_that_are_dropped_for_memory_did_not_change() {
    let folder = tempfile::tempdir().unwrap();
    let (_, bucket) = memory();
    for at in 0..50 {
        put(&*bucket, &format!("docs/{at}"), "1").await;
    }
    let mut small = settings(folder.path(), "ada");
    small.memory_limit = 7_000;
    let (ada, notes) = open(&bucket, small).await;
    ada.names("docs").await.unwrap();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(ada.names("docs").await.unwrap().len(), 50);
    assert_eq!(notes.all(), Vec::<String>::new());
}

#[tokio::test]
async fn attributes_that_somebody_says_have_changed_are_read_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (_, bucket) = memory();
    put(&*bucket, "docs/file", "1").await;
    let (ada, _) = open(&bucket, settings(folder.path(), "ada")).await;
    let mut slow = settings(folder.path(), "bea");
    slow.attr_ttl = Duration::from_secs(3600);
    let (bea, notes) = open(&bucket, slow).await;
    bea.names("docs").await.unwrap();
    let there = bea.walk("docs/file").await.unwrap().attr.ino;
    let here = ada.walk("docs/file").await.unwrap().attr.ino;
    let change = filesystem::SetAttr {
        mode: Some(0o700),
        ..filesystem::SetAttr::default()
    };
    ada.fs.setattr(here, change).await.unwrap();
    ada.drain().await;
    let documents: Vec<String> = keys(&*bucket, ".artifacts/attrs/docs/").await;
    assert_eq!(documents.len(), 1, "{documents:?}");
    bea.fs.refresh(&documents);
    let note = format!("changed {there} Attributes");
    until("the mode is told", || notes.has(&note)).await;
    assert_eq!(bea.walk("docs/file").await.unwrap().attr.mode, 0o700);
}

#[tokio::test]
async fn after_a_gap_every_directory_is_listed_before_it_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let (memory, bucket) = memory();
    for key in ["top", "docs/file"] {
        put(&*bucket, key, "1").await;
    }
    let mut slow = settings(folder.path(), "ada");
    slow.attr_ttl = Duration::from_secs(3600);
    let (ada, notes) = open(&bucket, slow).await;
    ada.names("").await.unwrap();
    ada.names("docs").await.unwrap();
    put(&*bucket, "docs/new", "new").await;
    put(&*bucket, "new", "new").await;
    assert_eq!(ada.names("docs").await.unwrap(), ["file"]);
    ada.fs.watch(&HashSet::from([ROOT]));
    let before = memory.calls().list;
    ada.fs.resync();
    let note = format!("appeared {ROOT} new");
    until("who watches is told", || notes.has(&note)).await;
    assert_eq!(ada.names("docs").await.unwrap(), ["file", "new"]);
    // Each directory, and the catalogue of attributes at most as often.
    assert!(memory.calls().list - before <= 4, "{:?}", memory.calls());
}

#[tokio::test]
async fn a_directory_that_is_told_of_without_end_is_not_listed_without_end() {
    let folder = tempfile::tempdir().unwrap();
    let (memory, bucket) = memory();
    put(&*bucket, "docs/file", "1").await;
    let pause = Duration::from_millis(50);
    let faulty = Faulty::new(Arc::clone(&bucket));
    faulty.add(Rule::new(Fault::Delay(pause)).on(Verb::List));
    let slow: Arc<dyn bucket::Bucket> = Arc::new(faulty);
    let (ada, _) = open(&slow, settings(folder.path(), "ada")).await;
    ada.names("docs").await.unwrap();
    let before = memory.calls().list;
    let begin = std::time::Instant::now();
    while begin.elapsed() < Duration::from_secs(1) {
        ada.fs.refresh(&["docs/file".to_owned()]);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // A listing takes 50 ms and more, and a pause three times as long follows.
    let listed = memory.calls().list - before;
    assert!((2..=12).contains(&listed), "{listed} listings in a second");
}

/// The keys that begin so.
async fn keys(bucket: &dyn bucket::Bucket, prefix: &str) -> Vec<String> {
    let request = bucket::ListRequest {
        prefix: prefix.to_owned(),
        ..bucket::ListRequest::default()
    };
    let page = bucket.list(&request).await.unwrap();
    let found = page.objects.into_iter();
    found.map(|object| object.key.to_string()).collect()
}

#[tokio::test]
async fn news_of_very_many_directories_do_not_storm_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let (memory, bucket) = memory();
    for at in 0..300 {
        put(&*bucket, &format!("{at:03}/file"), "1").await;
    }
    let faulty = Arc::new(Faulty::new(Arc::clone(&bucket)));
    let slow: Arc<dyn bucket::Bucket> = Arc::<Faulty>::clone(&faulty);
    let mut patient = settings(folder.path(), "ada");
    patient.attr_ttl = Duration::from_secs(3600);
    let (ada, notes) = open(&slow, patient).await;
    for at in 0..300 {
        ada.names(&format!("{at:03}")).await.unwrap();
    }
    for at in 0..300 {
        put(&*bucket, &format!("{at:03}/new"), "new").await;
    }
    faulty.add(Rule::new(Fault::Delay(Duration::from_millis(10))).on(Verb::List));
    let before = memory.calls().list;
    let keys: Vec<String> = (0..300).map(|at| format!("{at:03}/new")).collect();
    ada.fs.refresh(&keys);
    tokio::time::sleep(Duration::from_millis(8)).await;
    // Every listing has begun by now that ever begins at once, and none has ended.
    tokio::time::sleep(Duration::from_millis(8)).await;
    let at_once = memory.calls().list - before;
    assert!(at_once <= 40, "{at_once} listings at one time");
    until("all is told", || {
        notes
            .all()
            .iter()
            .filter(|note| note.ends_with(" new"))
            .count()
            == 300
    })
    .await;
    // Who asks before its turn has come is shown what is there.
    ada.fs.refresh(&keys);
    for at in (0..300).rev() {
        assert_eq!(
            ada.names(&format!("{at:03}")).await.unwrap(),
            ["file", "new"]
        );
    }
}
