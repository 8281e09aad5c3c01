//! A watch that goes on by itself: failures, stops, and one process for a pair.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::Machine;
use support::synced::*;

/// While the store is away the pauses grow, the status has the last error, and others may have
/// the pair; when it is back, all goes on.
#[test]
fn pauses_grow_while_the_store_is_away_and_the_status_says_why() {
    let site = Site::new();
    let a = &site.machine;
    write(a, "first", "1");
    sync(a, "").ok();
    drop(site.store);
    let watching = Watching::on(a);
    let begun = Instant::now();
    eventually("three failures", || {
        status(a)["failures_in_a_row"].as_u64() >= Some(3)
    });
    assert!(
        begun.elapsed() >= Duration::from_secs(3),
        "one second, then two"
    );
    let ill = status(a);
    assert_eq!(ill["last_error"]["code"], "store-unreachable");
    assert_eq!(ill["healthy"], false);
    assert!(ill["last_success"].is_string());
    assert_eq!(a.run("bisync-status").code, 7);
    eventually("waiting", || status(a)["state"] == "waiting");
    assert!(status(a)["next_run"].is_string());
    assert_eq!(status(a)["pid"], watching.0.id());
    // Nobody has the pair in a pause: another command fails by the store, not by the lock.
    let said = sync(a, "");
    assert_eq!(said.code, 7);
    assert!(!said.err.contains("is syncing this folder"), "{}", said.err);
    assert_eq!(watching.stop(), 0);
    let over = status(a);
    assert_eq!(
        (&over["pid"], &over["next_run"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(over["state"], "idle");
}

/// A stop that asks the user leaves the pair to the command that answers, and the watch goes on.
#[test]
fn a_watch_that_stops_at_the_limit_goes_on_once_it_is_answered() {
    let site = Site::new();
    let a = &site.machine;
    for n in 0..8 {
        write(a, &format!("f{n}"), "x");
    }
    sync(a, "").ok();
    let watching = Watching::on(a);
    eventually("alike", || status(a)["state"] == "waiting");
    for n in 0..6 {
        fs::remove_file(dir(a).join(format!("f{n}"))).expect("removed");
    }
    eventually("a stop", || {
        status(a)["last_error"]["code"] == "deletes-stopped"
    });
    assert_eq!(a.run("bisync-status notes").code, 6);
    eventually("an answer", || sync(a, "--approve-deletes").code == 0);
    write(a, "more", "y");
    let b = site.other();
    eventually("it goes on", || {
        sync(&b, "").code == 0 && files(&b).contains_key("more")
    });
    assert_eq!(files(&b).len(), 3);
    assert_eq!(watching.stop(), 0);
}

/// SIGTERM in the middle of a pass ends it at the next step, with 0; the next run finishes it.
#[test]
fn a_watch_is_ended_in_the_middle_of_a_pass() {
    for signal in ["TERM", "INT"] {
        let site = Site::new();
        let a = &site.machine;
        for n in 0..400 {
            write(a, &format!("d{}/f{n}", n % 7), &format!("content {n}"));
        }
        let mut watch = a
            .artifacts("bisync notes dir --watch")
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        eventually("it began", || {
            dir(a).join(".artifacts/folder.json").exists()
        });
        let pid = watch.id().to_string();
        let begun = Instant::now();
        let told = Command::new("kill").args(["-s", signal, &pid]).status();
        assert!(told.expect("kill").success());
        let code = watch.wait().expect("ended").code();
        assert_eq!(code, Some(0), "{signal}");
        assert!(begun.elapsed() < Duration::from_secs(10), "{signal}");
        sync(a, "").ok();
        let b = site.other();
        sync(&b, "").ok();
        assert_eq!(files(&b).len(), 400);
        assert_eq!(a.run("bisync check notes dir").code, 0);
    }
}

/// The lock is the kernel's: it goes with its owner, however that ends.
#[test]
fn a_dead_owners_pair_is_taken_over() {
    let site = Site::new();
    let a = &site.machine;
    write(a, "first", "1");
    let mut dead = Watching::on(a);
    eventually("alike", || status(a)["state"] == "waiting");
    let pid = status(a)["pid"].clone();
    let refused = sync(a, "");
    refused.refused(
        7,
        &format!("process {pid} is syncing this folder"),
        "bisync-service stop",
    );
    assert_eq!(second(a), 7, "nor a second watch");
    dead.0.kill().expect("killed");
    dead.0.wait().expect("ended");
    let idle = status(a);
    assert_eq!(
        (&idle["state"], &idle["pid"]),
        (&"idle".into(), &Value::Null)
    );
    sync(a, "").ok();
}

/// Another home knows nothing of this one's lock; the folder's own is seen by both.
#[test]
fn a_folder_that_another_home_syncs_is_refused_for_now() {
    let site = Site::new();
    let a = &site.machine;
    write(a, "first", "1");
    sync(a, "").ok();
    let folder = fs::File::open(dir(a)).expect("opened");
    folder.lock().expect("locked");
    write(a, "second", "2");
    let refused = sync(a, "");
    refused.refused(
        7,
        "another process is syncing this folder",
        "bisync-service stop",
    );
    assert_eq!(a.run("bisync check notes dir").code, 1, "looking is free");
    drop(folder);
    sync(a, "").ok();
    assert_eq!(a.run("bisync check notes dir").code, 0);
}

/// A run says what it leaves alone; so does a watch, once, and nobody calls the sides alike.
#[test]
fn a_watch_tells_what_it_leaves_alone_once() {
    let site = Site::new();
    let a = &site.machine;
    write(a, "first", "1");
    sync(a, "").ok();
    fs::write(dir(a).join(OsStr::from_bytes(b"no \xff name")), "x").expect("written");
    let said = a.run("bisync check notes dir");
    assert_eq!(said.code, 1);
    let words = "what could be compared is alike; 1 names are left alone";
    assert!(said.out.contains(words), "{}", said.out);
    assert!(sync(a, "").ok().contains(words));
    let told = dir(a).with_extension("told");
    let mut watch = a
        .artifacts("bisync notes dir --watch --interval 1s")
        .stderr(fs::File::create(&told).expect("made"))
        .spawn()
        .expect("started");
    let lines = |of: &str| {
        let all = fs::read_to_string(&told).unwrap_or_default();
        all.lines().filter(|line| line.starts_with(of)).count()
    };
    eventually("it is told", || lines("left alone: /no ") == 1);
    for name in ["second", "third"] {
        write(a, name, "2");
        let b = site.other();
        eventually("one more run", || {
            sync(&b, "").code == 0 && files(&b).contains_key(name)
        });
    }
    assert_eq!(lines("left alone: "), 1);
    fs::remove_file(dir(a).join(OsStr::from_bytes(b"no \xff name"))).expect("removed");
    eventually("that is told too", || {
        lines("no more left alone: /no ") == 1
    });
    watch.kill().expect("killed");
    watch.wait().expect("ended");
}

fn second(machine: &Machine) -> i32 {
    let watch = machine.artifacts("bisync notes dir --watch");
    let mut watch = watch_quietly(watch);
    watch.wait().expect("ended").code().unwrap_or(-1)
}

fn watch_quietly(mut command: Command) -> std::process::Child {
    command.stderr(Stdio::null()).spawn().expect("started")
}

/// A disk that is not mounted: no folder is made, the watch waits for it.
#[test]
fn a_folder_that_goes_away_and_comes_back_is_waited_for() {
    let site = Site::new();
    let a = &site.machine;
    write(a, "first", "1");
    let watching = Watching::on(a);
    eventually("alike", || status(a)["state"] == "waiting");
    let aside = a.home.path().join("aside");
    fs::rename(dir(a), &aside).expect("renamed");
    eventually("trouble", || status(a)["last_error"].is_object());
    assert!(!dir(a).exists());
    fs::rename(&aside, dir(a)).expect("renamed");
    eventually("well again", || status(a)["last_error"].is_null());
    write(a, "second", "2");
    let b = site.other();
    eventually("and goes on", || {
        sync(&b, "").code == 0 && files(&b).len() == 2
    });
    assert_eq!(watching.stop(), 0);
}
