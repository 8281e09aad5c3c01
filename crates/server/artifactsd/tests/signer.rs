//! The signer as a program: what it refuses to start with, what others can see of its process, and
//! what is left of its file when it is killed.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![cfg(all(feature = "signer", feature = "ca"))]

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::PROGRAM;
use common::signer::{PASSPHRASE, Place, Running, good, said};
use serde_json::Value;

fn is_root() -> bool {
    rustix::process::getuid().is_root()
}

#[test]
fn what_opens_nothing_is_told_exactly() {
    let place = Place::new();
    place.secret("passphrase", "too short");
    let refused = said(&place.command(&["init"]).output().unwrap());
    assert!(
        refused.starts_with("error: the passphrase is too short"),
        "{refused}"
    );
    assert!(!place.path("data").join("signer.sealed").exists());
    place.secret("passphrase", PASSPHRASE);
    assert_eq!(place.did(&["init"])["current_epoch"], 1);
    let sealed = place.path("data").join("signer.sealed");
    assert_eq!(fs::metadata(&sealed).unwrap().mode() & 0o777, 0o600);
    let again = said(&place.command(&["init"]).output().unwrap());
    assert!(again.contains("signer.sealed is there already"), "{again}");
    place.secret("passphrase", "another passphrase");
    let refused = said(&place.serve().output().unwrap());
    let wrong = "the passphrase is not the file's, or its head was changed";
    assert!(refused.contains(wrong), "{refused}");
    fs::set_permissions(place.path("passphrase"), fs::Permissions::from_mode(0o644)).unwrap();
    let refused = said(&place.command(&["epoch", "show"]).output().unwrap());
    assert!(
        refused.contains("passphrase can be read by others (mode 0644)"),
        "{refused}"
    );
    let mut nowhere = Command::new(PROGRAM);
    nowhere
        .args(["signer", "epoch", "show", "--data"])
        .arg(place.path("data"));
    let refused = said(&nowhere.stdin(Stdio::null()).output().unwrap());
    assert!(refused.contains("there is no terminal"), "{refused}");
}

#[test]
fn another_passphrase_takes_the_place_of_the_first() {
    let place = Place::new();
    place.did(&["init"]);
    place.secret("new", "a better passphrase");
    let mut command = place.command(&["passwd"]);
    command.arg("--new-passphrase-file").arg(place.path("new"));
    good(&command.output().unwrap());
    let refused = place.command(&["epoch", "show"]).output().unwrap();
    assert!(
        said(&refused).contains("the passphrase is not the file's"),
        "{}",
        said(&refused)
    );
    place.secret("passphrase", "a better passphrase");
    assert_eq!(place.did(&["epoch", "show"])["current_epoch"], 1);
}

#[test]
fn its_process_is_not_dumped_not_read_and_not_swapped() {
    let place = Place::new();
    place.did(&["init"]);
    // Where an ordinary user reaches it, whoever's home it was built in.
    let program = place.path("artifactsd");
    fs::copy(PROGRAM, &program).unwrap();
    let mut command = place.serve_by(&program);
    // Root reads everything; that others of its user cannot shows with an ordinary one, whom the
    // kernel then does not even give the process's own files.
    if is_root() {
        give_away(place.0.path(), 65_534);
        command.uid(65_534).gid(65_534);
    }
    let server = Running::start(command);
    let limits = server.proc("limits");
    let cores = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    assert_eq!(
        cores.split_whitespace().skip(4).take(2).collect::<Vec<_>>(),
        ["0", "0"]
    );
    let folder = fs::metadata(format!("/proc/{}/environ", server.child.id())).unwrap();
    assert_eq!(
        folder.uid(),
        0,
        "a process that can be dumped belongs to its user"
    );
    assert!(server.locked_kib() >= 4, "{}", server.locked_kib());
    if !is_root() {
        testkit::skip!("only root may lock all of its memory");
    }
    drop(server);
    give_away(place.0.path(), 0);
    let server = Running::start(place.serve());
    let status = server.proc("status");
    let all = status
        .lines()
        .find_map(|line| line.strip_prefix("VmSize:"))
        .unwrap();
    let all: u64 = all.trim().trim_end_matches(" kB").parse().unwrap();
    // But for a few pages of the kernel's own.
    assert!(
        server.locked_kib() + 1024 >= all,
        "{} of {all}",
        server.locked_kib()
    );
}

fn give_away(path: &Path, user: u32) {
    std::os::unix::fs::chown(path, Some(user), Some(user)).unwrap();
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            give_away(&entry.unwrap().path(), user);
        }
    }
}

#[test]
fn a_new_epoch_is_taken_up_on_sighup() {
    let place = Place::new();
    place.did(&["init"]);
    let server = Running::start(place.serve());
    let worker = place.identity("worker");
    assert_eq!(server.epoch(&worker)["current_epoch"], 1);
    assert_eq!(place.did(&["epoch", "advance"])["current_epoch"], 2);
    assert_eq!(server.epoch(&worker)["current_epoch"], 1);
    let pid = rustix::process::Pid::from_child(&server.child);
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while server.epoch(&worker)["current_epoch"] != 2 {
        assert!(Instant::now() < deadline, "not taken up");
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(server);
    let mut checked = Command::new(PROGRAM);
    checked
        .args(["signer", "audit", "--data"])
        .arg(place.path("data"));
    let output = checked.output().unwrap();
    good(&output);
    let verdict: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(verdict["records"].as_u64().unwrap() >= 3, "{verdict}");
}

#[test]
fn kill_9_at_any_moment_of_an_advance_leaves_the_old_epochs_or_the_new() {
    let place = Place::new();
    place.did(&["init"]);
    let begun = Instant::now();
    let mut before = place.did(&["epoch", "advance"]);
    let mut whole = begun.elapsed();
    let (mut killed, mut tries) = (0, 0);
    while killed < 5 || tries < 8 {
        assert!(tries < 40, "only {killed} of {tries} were killed in time");
        let moment = tries % 8;
        tries += 1;
        let mut child = place
            .command(&["epoch", "advance"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(whole * moment / 6);
        let _ = child.kill();
        if child.wait().unwrap().signal() == Some(9) {
            killed += 1;
        } else if moment < 6 {
            // The machine was busier when the first one was measured.
            whole = whole * 3 / 4;
        }
        let after = place.did(&["epoch", "show"]);
        let (was, is) = (
            before["epochs"].as_array().unwrap(),
            after["epochs"].as_array().unwrap(),
        );
        assert!((was.len()..=was.len() + 1).contains(&is.len()), "{after}");
        assert_eq!(is[..was.len()], was[..]);
        before = after;
    }
    let left: Vec<_> = fs::read_dir(place.path("data"))
        .unwrap()
        .map(|one| one.unwrap().file_name())
        .collect();
    assert!(left.len() <= 3, "{left:?}");
}
