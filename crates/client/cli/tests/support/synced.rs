//! Machines with synced folders, on one store.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::store::Store;
use super::{Machine, Said};

/// A store, and one machine with a workspace `notes` in it.
pub(crate) struct Site {
    pub(crate) store: Store,
    pub(crate) machine: Machine,
}

impl Site {
    pub(crate) fn new() -> Self {
        let store = Store::start().with_bucket("bucket");
        let site = Self {
            machine: machine(&store),
            store,
        };
        let made = "workspace create notes --bucket bucket --prefix notes/";
        site.machine.run(made).ok();
        site
    }

    /// Another machine of the same workspace.
    pub(crate) fn other(&self) -> Machine {
        let other = machine(&self.store);
        let line = "workspace attach notes --bucket bucket --prefix notes/";
        other.run(line).ok();
        other
    }
}

pub(crate) fn machine(store: &Store) -> Machine {
    let mut machine = Machine::new();
    machine
        .set_keys(testkit::ACCESS_KEY_ID, testkit::SECRET_ACCESS_KEY)
        .set("ARTIFACTS_S3_ENDPOINT", &store.server.endpoint());
    machine
}

pub(crate) fn dir(machine: &Machine) -> PathBuf {
    machine.home.path().join("dir")
}

/// Writes a file that was changed an hour ago: nobody types in it any more.
pub(crate) fn write(machine: &Machine, path: &str, content: &str) {
    let at = dir(machine).join(path);
    fs::create_dir_all(at.parent().expect("a folder")).expect("made");
    fs::write(&at, content).expect("written");
    let file = fs::File::options().write(true).open(&at).expect("opened");
    let before = SystemTime::now() - Duration::from_secs(3_600);
    file.set_modified(before).expect("set");
}

pub(crate) fn sync(machine: &Machine, options: &str) -> Said {
    machine.run(&format!("bisync notes dir {options}"))
}

pub(crate) fn plan(machine: &Machine, options: &str) -> Value {
    let said = sync(machine, &format!("--format json {options}"));
    serde_json::from_str(&said.ok()).expect("JSON")
}

/// Every file below a folder, with its content.
pub(crate) fn everything(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).expect("listed") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path
                    .strip_prefix(root)
                    .expect("below")
                    .display()
                    .to_string();
                all.insert(name, fs::read(&path).expect("read"));
            }
        }
    }
    all
}

/// The files of a synced folder without ours.
pub(crate) fn files(machine: &Machine) -> BTreeMap<String, String> {
    let all = everything(&dir(machine)).into_iter();
    all.filter(|(name, _)| !name.starts_with(".artifacts/"))
        .map(|(name, bytes)| (name, String::from_utf8_lossy(&bytes).into_owned()))
        .collect()
}

/// A machine that watches, ended with its signal when dropped.
pub(crate) struct Watching(pub(crate) std::process::Child);

impl Watching {
    pub(crate) fn on(machine: &Machine) -> Self {
        let line = "bisync notes dir --watch --interval 1s";
        Self(machine.artifacts(line).spawn().expect("started"))
    }

    pub(crate) fn stop(mut self) -> i32 {
        let pid = self.0.id().to_string();
        let told = std::process::Command::new("kill")
            .args(["-TERM", &pid])
            .status();
        assert!(told.expect("kill").success());
        self.0.wait().expect("ended").code().unwrap_or(-1)
    }
}

/// How the only synced folder of a machine is; null before its first run.
pub(crate) fn status(machine: &Machine) -> Value {
    let said = machine.run("bisync-status notes --format json");
    // Nothing is said of a folder that was never synced.
    let all: Value = serde_json::from_str(&said.out).unwrap_or_default();
    let one = all.get(0).cloned().unwrap_or_default();
    assert!(all.get(1).is_none(), "{all}");
    one
}

pub(crate) fn eventually(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..200 {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("{what}: not in 20 s");
}
