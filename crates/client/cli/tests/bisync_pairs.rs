//! Which folder may be synced with which workspace, and what becomes of one that moves.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod mounting;
mod support;

use std::fs;
use std::process::Command;

use support::Machine;
use support::synced::*;

fn copy(machine: &Machine, from: &str, to: &str) {
    let (from, to) = (machine.home.path().join(from), machine.home.path().join(to));
    let status = Command::new("cp").arg("-a").args([&from, &to]).status();
    assert!(status.expect("cp").success());
}

/// > A folder that was moved goes on as it was.
#[test]
fn a_folder_that_was_moved_goes_on_as_it_was() {
    let site = Site::new();
    let a = &site.machine;
    write(a, "kept", "1");
    write(a, "gone", "2");
    sync(a, "--exclude *.tmp").ok();
    fs::rename(dir(a), a.home.path().join("moved")).expect("renamed");
    fs::remove_file(a.home.path().join("moved/gone")).expect("removed");
    let preview = a.run("bisync notes moved --dry-run");
    assert!(
        preview.err.contains("and goes on as it was"),
        "{}",
        preview.err
    );
    assert!(preview.ok().contains("delete in bucket"));
    let old = a.run("bisync notes dir");
    old.refused(5, "is not there any more", "--resync");
    assert!(!dir(a).exists(), "no folder is made in its place");
    let said = a.run("bisync notes moved").ok();
    assert!(said.contains("delete in bucket"), "no first run: {said}");
    let said = a.run("bisync-status notes").ok();
    assert!(
        said.contains("/moved") && said.contains("--exclude *.tmp"),
        "{said}"
    );
    // Its old name is free for another.
    fs::create_dir(dir(a)).expect("made");
    let said = a.run("bisync notes dir").ok();
    assert!(said.contains("download"), "{said}");
    let all = a.run("bisync-status --format json").ok();
    let all: serde_json::Value = serde_json::from_str(&all).expect("JSON");
    assert_eq!(all.as_array().map(Vec::len), Some(2), "{all}");
}

/// > A copy of a synced folder, a folder in or around another synced one, and a folder of two workspaces are refused.
#[test]
fn a_copy_of_a_synced_folder_is_refused_and_may_begin_anew() {
    let site = Site::new();
    let a = &site.machine;
    write(a, "note.md", "1");
    sync(a, "").ok();
    copy(a, "dir", "copied");
    fs::remove_file(a.home.path().join("copied/note.md")).expect("removed");
    let said = a.run("bisync notes copied");
    said.refused(6, "is a copy of", "--resync");
    a.run("bisync notes copied --resync --yes").ok();
    assert_eq!(files(a).len(), 1, "nothing was deleted by it");
    assert!(a.home.path().join("copied/note.md").exists());
    a.run("bisync notes copied").ok();
    sync(a, "").ok();
    // Its original is gone: it may be the folder, on another disk.
    copy(a, "dir", "third");
    fs::remove_dir_all(dir(a)).expect("removed");
    let said = a.run("bisync notes third");
    said.refused(6, "is another directory", "--resync");
    a.run("bisync notes third --resync --yes").ok();
}

/// > A copy of a synced folder, a folder in or around another synced one, and a folder of two workspaces are refused.
#[test]
fn folders_in_each_other_and_of_two_workspaces_are_refused() {
    let site = Site::new();
    let a = &site.machine;
    let made = "workspace create other --bucket bucket --prefix other/";
    a.run(made).ok();
    fs::create_dir_all(a.home.path().join("around/dir/deep")).expect("made");
    a.run("bisync notes around/dir").ok();
    let said = a.run("bisync other around/dir");
    said.refused(
        6,
        "is synced with workspace notes already",
        "another folder",
    );
    let said = a.run("bisync other around/dir/deep");
    said.refused(6, "lies in", "beside it");
    let said = a.run("bisync other around");
    said.refused(
        6,
        "which is synced with workspace notes already, lies in",
        "beside it",
    );
    let said = a.run("bisync notes around/dir/deep --dry-run");
    said.refused(6, "lies in", "beside it");
    assert!(!a.home.path().join("around/dir/deep/.artifacts").exists());
    a.run("bisync other beside").ok();
}

#[test]
fn a_folder_in_a_mounted_workspace_is_refused() {
    require_fuse!();
    let site = Site::new();
    let a = &site.machine;
    let made = "workspace create other --bucket bucket --prefix other/";
    a.run(made).ok();
    fs::create_dir(a.home.path().join("mnt")).expect("made");
    a.run("mount other mnt").ok();
    let on = a.run("bisync notes mnt");
    let inside = a.run("bisync notes mnt/dir");
    a.run("unmount mnt").ok();
    on.refused(6, "lies in workspace other, which is mounted", "on a disk");
    inside.refused(6, "lies in workspace other, which is mounted", "on a disk");
}

/// Two machines that share a disk: the second takes the folder over, the first is told.
#[test]
fn a_folder_that_another_machine_took_over_is_refused() {
    let site = Site::new();
    let (a, b) = (&site.machine, site.other());
    write(a, "note.md", "1");
    sync(a, "").ok();
    std::os::unix::fs::symlink(dir(a), dir(&b)).expect("linked");
    sync(&b, "").ok();
    let said = sync(a, "");
    said.refused(6, "another sync of this workspace", "--resync");
}
