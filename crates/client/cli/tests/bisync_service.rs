//! `artifacts bisync-service`: what it tells the service manager, and what it does without one.
//! With a real systemd: scripts/suites/service.sh.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs;

use serde_json::Value;
use support::synced::*;
use support::{Machine, chmod};

/// A `systemctl` that writes down what it is told.
fn with_manager(machine: &mut Machine) {
    let folder = machine.home.path().join("fake");
    fs::create_dir(&folder).expect("made");
    let script = "#!/bin/sh\necho \"$@\" >>\"$HOME/told\"\n\
                  case \"$*\" in *ActiveState*) printf 'ActiveState=active\\nSubState=running\\nNRestarts=2\\n' ;; esac\n";
    let program = folder.join("systemctl");
    fs::write(&program, script).expect("written");
    chmod(&program, 0o755);
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", folder.display());
    machine.set("PATH", &path);
}

fn told(machine: &Machine) -> Vec<String> {
    let told = machine.home.path().join("told");
    let text = fs::read_to_string(&told).unwrap_or_default();
    let _ = fs::remove_file(told);
    let asks = |line: &&str| !line.contains("show --property=Version");
    text.lines().filter(asks).map(str::to_owned).collect()
}

#[test]
fn the_manager_is_told_to_and_the_unit_is_written() {
    let mut site = Site::new();
    with_manager(&mut site.machine);
    let a = &site.machine;
    let said = a.run("bisync-service install notes");
    said.refused(5, "no synced folder", "artifacts bisync NAME DIR");
    write(a, "note.md", "1");
    sync(a, "").ok();
    a.run("bisync-service start notes").refused(
        5,
        "no service for workspace notes",
        "bisync-service install notes",
    );
    assert!(told(a).is_empty());
    let line = "bisync-service install notes --profile safe --interval 5m --max-delete 5% \
                --conflict-resolve path1";
    let said = a.run(line).ok();
    assert!(said.contains("bisync-service start notes"), "{said}");
    let unit = "artifacts-bisync-notes.service";
    assert_eq!(
        told(a),
        ["--user daemon-reload", &format!("--user enable {unit}")]
    );
    let file = a.home.path().join(".config/systemd/user").join(unit);
    let text = fs::read_to_string(&file).expect("written");
    let folder = dir(a).canonicalize().expect("there");
    let words = format!(
        "\"bisync\" \"notes\" \"{}\" \"--profile\" \"safe\" \"--interval\" \"300000ms\" \
         \"--max-delete\" \"5%%\" \"--conflict-resolve\" \"path1\" \"--watch\"\n",
        folder.display()
    );
    assert!(text.contains(&words), "{text}");
    for secret in [testkit::ACCESS_KEY_ID, testkit::SECRET_ACCESS_KEY] {
        assert!(!text.contains(secret), "{text}");
    }
    a.run("bisync-service start notes").ok();
    a.run("bisync-service stop notes").ok();
    assert_eq!(
        told(a),
        [
            format!("--user restart {unit}"),
            format!("--user stop {unit}")
        ]
    );
    let said = a.run("bisync-service status notes --format json").ok();
    let said: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(
        said["service"]["state"],
        "active (running), restarted 2 times"
    );
    assert_eq!(said["folders"][0]["files"], 1);
    told(a);
    a.run("bisync-service uninstall notes").ok();
    assert_eq!(
        told(a),
        [
            format!("--user disable --now {unit}"),
            "--user daemon-reload".into()
        ]
    );
    assert!(!file.exists() && dir(a).join("note.md").exists());
    assert!(sync(a, "").ok().contains("both sides are alike"));
}

#[test]
fn keys_of_the_shell_alone_are_refused() {
    let mut site = Site::new();
    with_manager(&mut site.machine);
    let a = &site.machine;
    write(a, "note.md", "1");
    sync(a, "").ok();
    fs::remove_file(a.credentials()).expect("removed");
    sync(a, "").ok();
    let said = a.run("bisync-service install notes");
    said.refused(3, "the service would have no keys", "artifacts storage set");
    assert!(told(a).is_empty());
}

#[test]
fn without_a_manager_it_says_so_and_the_status_is_told_all_the_same() {
    let mut site = Site::new();
    site.machine.set("XDG_RUNTIME_DIR", "/nowhere");
    let a = &site.machine;
    write(a, "note.md", "1");
    sync(a, "").ok();
    let said = a.run("bisync-service install notes");
    said.refused(
        1,
        "there is no service manager for this user",
        "another supervisor",
    );
    assert!(!a.home.path().join(".config/systemd").exists());
    let said = a.run("bisync-service status notes").ok();
    assert!(
        said.contains("not installed") && said.contains("last success"),
        "{said}"
    );
    let said = a.run("bisync-service status nobody");
    said.refused(5, "no service for workspace nobody", "install");
}
