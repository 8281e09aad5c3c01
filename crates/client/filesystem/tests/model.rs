//! A model of a few obviously correct lines, and the real tree beside it: after each random
//! step, local or another client's, both must show the same.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bucket::faults::{Fault, Faulty, Rule, Verb};
use bucket::memory::MemoryBucket;
use bucket::{Bucket, Key};
use common::*;
use filesystem::{FsError, Kind, Settings};
use proptest::prelude::*;
use tokio::runtime::Runtime;

/// A path's content; `None` for a directory.
type Model = BTreeMap<String, Option<String>>;

#[derive(Debug, Clone)]
enum Step {
    Write(String, String),
    Append(String, String),
    Mkdir(String),
    Unlink(String),
    Rmdir(String),
    Rename(String, String),
    /// Another client puts an object.
    OtherPut(String, String),
    /// Another client deletes an object.
    OtherDelete(String),
    /// Another client puts an object whose key no file system could hold.
    OtherOdd(&'static str, String),
    Upload,
    /// kill -9 and a new mount.
    Crash,
}

/// Few names, hostile ones among them, so that steps meet each other.
fn path() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        Just("a"),
        Just("b"),
        Just("c.md"),
        Just("ü"),
        Just("a b"),
        Just("#?&+")
    ];
    prop::collection::vec(name, 1..4).prop_map(|names| names.join("/"))
}

/// Keys below [`ODD`] that are no paths, or get in each other's way as paths.
const ODD_KEYS: &[&str] = &[
    "a//b",
    "a/../b",
    "..",
    ".",
    "./x",
    "//",
    "f",
    "f/x",
    "f/",
    "link",
    "link.rclonelink",
    ".rclonelink",
    "%!00",
    "%2F",
    "tab\t",
    "line\nbreak",
    "\u{1}",
    "back\\slash",
    "trailing dot.",
    "trailing space ",
    "directory/",
];
/// A directory that local steps leave alone.
const ODD: &str = "odd";

fn odd_key() -> impl Strategy<Value = &'static str> {
    let long: &'static str = Box::leak("n".repeat(300).into_boxed_str());
    let mut keys = ODD_KEYS.to_vec();
    keys.push(long);
    prop::sample::select(keys)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (path(), "[a-z]{0,9}").prop_map(|(path, text)| Step::Write(path, text)),
        2 => (path(), "[a-z]{1,5}").prop_map(|(path, text)| Step::Append(path, text)),
        4 => path().prop_map(Step::Mkdir),
        2 => path().prop_map(Step::Unlink),
        2 => path().prop_map(Step::Rmdir),
        5 => (path(), path()).prop_map(|(from, to)| Step::Rename(from, to)),
        2 => (path(), "[A-Z]{1,9}").prop_map(|(path, text)| Step::OtherPut(path, text)),
        1 => path().prop_map(Step::OtherDelete),
        2 => (odd_key(), "[A-Z]{1,9}").prop_map(|(key, text)| Step::OtherOdd(key, text)),
        2 => Just(Step::Upload),
        1 => Just(Step::Crash),
    ]
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

fn is_dir(model: &Model, path: &str) -> bool {
    path.is_empty() || model.get(path) == Some(&None)
}

fn children<'m>(model: &'m Model, path: &str) -> Vec<&'m String> {
    let prefix = if path.is_empty() {
        String::new()
    } else {
        format!("{path}/")
    };
    model
        .keys()
        .filter(|key| {
            key.starts_with(&prefix) && !key[prefix.len()..].contains('/') && key.as_str() != path
        })
        .collect()
}

/// What a local step does to the model: `false` when a file system must refuse it.
fn apply(model: &mut Model, step: &Step) -> bool {
    match step {
        Step::Write(path, text) => {
            let allowed = is_dir(model, parent(path)) && !is_dir(model, path);
            if allowed {
                model.insert(path.clone(), Some(text.clone()));
            }
            allowed
        }
        Step::Append(path, text) => match model.get_mut(path) {
            Some(Some(content)) => {
                content.push_str(text);
                true
            }
            _ => false,
        },
        Step::Mkdir(path) => {
            let allowed = is_dir(model, parent(path)) && !model.contains_key(path);
            if allowed {
                model.insert(path.clone(), None);
            }
            allowed
        }
        Step::Unlink(path) => {
            let allowed = matches!(model.get(path), Some(Some(_)));
            if allowed {
                model.remove(path);
            }
            allowed
        }
        Step::Rmdir(path) => {
            let allowed = model.get(path) == Some(&None) && children(model, path).is_empty();
            if allowed {
                model.remove(path);
            }
            allowed
        }
        Step::Rename(from, to) => rename(model, from, to),
        _ => true,
    }
}

fn rename(model: &mut Model, from: &str, to: &str) -> bool {
    let Some(what) = model.get(from).cloned() else {
        return false;
    };
    if !is_dir(model, parent(to)) || to.starts_with(&format!("{from}/")) {
        return false;
    }
    if from == to {
        return true;
    }
    match (what.is_none(), model.get(to)) {
        (true, Some(Some(_))) | (false, Some(None)) => return false,
        (true, Some(None)) if !children(model, to).is_empty() => return false,
        _ => {}
    }
    let below: Vec<String> = model
        .keys()
        .filter(|key| key.as_str() == from || key.starts_with(&format!("{from}/")))
        .cloned()
        .collect();
    model.remove(to);
    for path in below {
        if let Some(content) = model.remove(&path) {
            model.insert(format!("{to}{}", &path[from.len()..]), content);
        }
    }
    true
}

async fn act(ada: &Machine, step: &Step) -> Result<(), FsError> {
    match step {
        Step::Write(path, text) => ada.write(path, text.as_bytes()).await,
        Step::Append(path, text) => ada.append(path, text.as_bytes()).await,
        Step::Mkdir(path) => ada.mkdir(path).await,
        Step::Unlink(path) => ada.unlink(path).await,
        Step::Rmdir(path) => ada.rmdir(path).await,
        Step::Rename(from, to) => ada.rename(from, to).await,
        _ => Ok(()),
    }
}

/// What the tree shows, read through it.
async fn shown(ada: &Machine) -> Model {
    let mut found = Model::new();
    let mut open = vec![String::new()];
    while let Some(at) = open.pop() {
        for name in ada.names(&at).await.unwrap() {
            if at.is_empty() && name == ODD {
                continue;
            }
            let path = if at.is_empty() {
                name
            } else {
                format!("{at}/{name}")
            };
            let entry = ada.walk(&path).await.unwrap();
            if entry.attr.kind == Kind::Directory {
                found.insert(path.clone(), None);
                open.push(path);
            } else {
                let content = ada.read(&path).await.unwrap();
                assert_eq!(content.len() as u64, entry.attr.size, "{path}");
                found.insert(path, Some(String::from_utf8(content).unwrap()));
            }
        }
    }
    found
}

/// Everything that can be read below [`ODD`], sorted.
async fn odd_bodies(ada: &Machine) -> Vec<String> {
    let mut bodies = Vec::new();
    let root = ada.walk(ODD).await;
    let mut open: Vec<_> = root.into_iter().map(|entry| entry.attr.ino).collect();
    while let Some(at) = open.pop() {
        let handle = ada.fs.opendir(at).await.unwrap();
        let entries = ada.fs.readdir(handle, 0, 1000).await.unwrap();
        ada.fs.releasedir(handle).await;
        for entry in entries.into_iter().skip(2) {
            // As a program comes by it: through its name.
            let found = ada.fs.lookup(at, &entry.name).await.unwrap();
            assert_eq!(found.attr.ino, entry.entry.attr.ino, "{:?}", entry.name);
            let ino = found.attr.ino;
            match found.attr.kind {
                Kind::Directory => open.push(ino),
                Kind::Symlink => bodies.push(ada.fs.readlink(ino).await.unwrap()),
                Kind::File => {
                    let opened = ada.fs.open_file(ino, READ).await.unwrap();
                    let bytes = ada.fs.read(opened.handle, 0, 100).await.unwrap();
                    ada.fs.release(opened.handle).await;
                    bodies.push(String::from_utf8(bytes.to_vec()).unwrap());
                }
            }
        }
    }
    bodies.sort();
    bodies
}

/// The same from the bucket. A key that ends with a slash stands for a directory.
fn odd_in_bucket(memory: &MemoryBucket) -> Vec<String> {
    let odd = |(key, body): (String, String)| {
        (key.starts_with("odd/") && !key.ends_with('/')).then_some(body)
    };
    let mut bodies: Vec<String> = visible(memory).into_iter().filter_map(odd).collect();
    bodies.sort();
    bodies
}

/// What an empty machine would see of the bucket.
fn in_bucket(memory: &MemoryBucket) -> Model {
    let mut found = Model::new();
    for (key, body) in visible(memory) {
        if key.starts_with("odd/") {
            continue;
        }
        let path = key.strip_suffix('/').unwrap_or(&key).to_owned();
        let mut above = parent(&path).to_owned();
        while !above.is_empty() {
            found.insert(above.clone(), None);
            above = parent(&above).to_owned();
        }
        found.insert(path, (!key.ends_with('/')).then_some(body));
    }
    found
}

/// Another client's change, when nothing is pending here; keeps the model's tree a tree.
async fn other(model: &mut Model, bucket: &dyn Bucket, memory: &MemoryBucket, step: &Step) {
    match step {
        Step::OtherPut(path, text) => {
            let mut above = parent(path).to_owned();
            let mut clear = !is_dir(model, path) || path.is_empty();
            while !above.is_empty() {
                clear &= model.get(&above).is_none_or(Option::is_none);
                above = parent(&above).to_owned();
            }
            if !clear {
                return;
            }
            put(bucket, path, text).await;
            let mut above = parent(path).to_owned();
            while !above.is_empty() {
                model.insert(above.clone(), None);
                above = parent(&above).to_owned();
            }
            model.insert(path.clone(), Some(text.clone()));
        }
        Step::OtherDelete(path) if matches!(model.get(path), Some(Some(_))) => {
            memory.remove(&Key::new(path.as_str()).unwrap());
            // A directory that only this object implied goes with it.
            *model = in_bucket(memory);
        }
        Step::OtherOdd(key, text) => {
            let text = if key.ends_with('/') { "" } else { text };
            put(bucket, &format!("{ODD}/{key}"), text).await;
        }
        _ => {}
    }
}

/// A machine with a runtime of its own: dropping both is kill -9, for no task outlives them.
struct Life {
    ada: Machine,
    runtime: Runtime,
}

impl Life {
    fn begin(bucket: &Arc<dyn Bucket>, settings: &Settings) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let ada = runtime.block_on(async {
            let ada = machine(bucket, settings.clone()).await;
            // The listing that every mount begins with must not be under way when another
            // client changes something: whoever joins it would see the time before.
            ada.names("").await.unwrap();
            ada
        });
        Self { ada, runtime }
    }

    fn end(self) {
        self.runtime.shutdown_timeout(Duration::from_secs(5));
    }
}

/// When what is closed goes up.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Uploads {
    WhenTold,
    /// At once and slowly, so that steps and crashes meet uploads under way.
    Always,
}

fn run(steps: &[Step], uploads: Uploads) {
    let folder = tempfile::tempdir().unwrap();
    let (memory, bucket) = memory();
    let mut settings = settings(folder.path(), "ada");
    // Every look asks the bucket.
    settings.attr_ttl = Duration::ZERO;
    settings.upload_delay = Duration::from_secs(3600);
    let mut bucket = bucket;
    if uploads == Uploads::Always {
        settings.upload_delay = Duration::ZERO;
        let slow = Faulty::new(bucket);
        slow.add(
            Rule::new(Fault::Delay(Duration::from_millis(2)))
                .on(Verb::Put)
                .on(Verb::Copy)
                .on(Verb::Delete),
        );
        bucket = Arc::new(slow);
    }
    let mut model = Model::new();
    let mut life = Life::begin(&bucket, &settings);
    for step in steps {
        if matches!(step, Step::Crash) {
            life.end();
            life = Life::begin(&bucket, &settings);
        }
        let Life { ada, runtime } = &life;
        runtime.block_on(async {
            match step {
                Step::Crash => {}
                Step::Upload => {
                    ada.drain().await;
                    assert_eq!(in_bucket(&memory), model, "bucket, after {step:?}");
                }
                Step::OtherPut(..) | Step::OtherDelete(..) | Step::OtherOdd(..) => {
                    ada.drain().await;
                    other(&mut model, &*bucket, &memory, step).await;
                }
                _ => {
                    let allowed = apply(&mut model, step);
                    let done = act(ada, step).await;
                    assert_eq!(done.is_ok(), allowed, "{step:?}: {done:?}");
                }
            }
            assert_eq!(shown(ada).await, model, "tree, after {step:?}");
            let odd = odd_bodies(ada).await;
            assert_eq!(odd, odd_in_bucket(&memory), "odd keys, after {step:?}");
        });
    }
    life.runtime.block_on(async {
        life.ada.drain().await;
        assert_eq!(in_bucket(&memory), model, "bucket, at the end");
        assert_eq!(life.ada.fs.status().conflicts, 0);
    });
    life.end();
    settings.cache_dir = folder.path().join("bob/cache");
    settings.state_dir = folder.path().join("bob/state");
    let fresh = Life::begin(&bucket, &settings);
    let seen = fresh.runtime.block_on(shown(&fresh.ada));
    fresh.end();
    assert_eq!(seen, model, "an empty machine");
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if std::env::var_os("ARTIFACTS_LONG").is_some() { 5_000 } else { 150 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_tree_does_what_the_model_does(steps in prop::collection::vec(step(), 1..40)) {
        run(&steps, Uploads::WhenTold);
    }

    #[test]
    fn the_tree_does_so_while_uploads_are_under_way(steps in prop::collection::vec(step(), 1..40)) {
        run(&steps, Uploads::Always);
    }
}

/// What is found by chance once in a hundred runs, with certainty: the crash comes while the
/// objects of a directory that went away are still in the bucket.
#[test]
fn a_directory_that_went_away_stays_away_after_a_crash() {
    let put = |path: &str| Step::OtherPut(path.to_owned(), "BYTES".to_owned());
    let rename = |from: &str, to: &str| Step::Rename(from.to_owned(), to.to_owned());
    let renamed = [
        put("a/b/c.md"),
        put("a/c.md"),
        rename("a", "ü"),
        Step::Crash,
        put("ü/b/a"),
        Step::Upload,
    ];
    let made_again = [
        put("a/b/c.md"),
        rename("a", "ü"),
        Step::Mkdir("a".to_owned()),
        Step::Crash,
        Step::Mkdir("a/b".to_owned()),
        Step::Crash,
        Step::Upload,
    ];
    let removed = [
        put("a/b/c.md"),
        Step::Unlink("a/b/c.md".to_owned()),
        Step::Rmdir("a/b".to_owned()),
        Step::Crash,
        Step::Upload,
    ];
    let replaced = [
        put("b/c.md/c.md"),
        rename("b", "a"),
        Step::Write("b".to_owned(), "text".to_owned()),
        Step::Unlink("c.md".to_owned()),
        Step::Unlink("c.md".to_owned()),
        Step::Upload,
    ];
    for _ in 0..5 {
        for steps in [&renamed[..], &made_again, &removed, &replaced] {
            run(steps, Uploads::Always);
            run(steps, Uploads::WhenTold);
        }
    }
}
