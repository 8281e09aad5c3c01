//! Conflicts in a synced folder, by its files and by its workspace.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use serde_json::Value;
use support::Machine;
use support::synced::*;

/// Two machines after a conflict, with both versions on both.
fn conflict() -> (Site, Machine) {
    let site = Site::new();
    let (a, b) = (&site.machine, site.other());
    write(a, "d/note.md", "one\ntwo\n");
    sync(a, "").ok();
    sync(&b, "").ok();
    write(a, "d/note.md", "one\nby a\n");
    write(&b, "d/note.md", "one\nby b!\n");
    sync(a, "").ok();
    sync(&b, "--profile safe").ok();
    sync(a, "").ok();
    assert_eq!(files(a).len(), 2);
    (site, b)
}

fn listed(machine: &Machine, what: &str) -> Vec<Value> {
    let said = machine.run(&format!("conflicts list {what} --format json"));
    serde_json::from_str(&said.ok()).expect("JSON")
}

#[test]
fn the_folder_and_the_workspace_show_the_same_conflict() {
    let (site, b) = conflict();
    let a = &site.machine;
    assert_eq!(status(a)["conflicts"], 1);
    for what in ["notes", "./dir", "dir"] {
        let all = listed(a, what);
        assert_eq!(all.len(), 1, "{what}");
        assert_eq!(all[0]["original"], "d/note.md");
        let shown = a.run(&format!("conflicts show {what} d/note.md")).ok();
        assert!(shown.contains("\n-by a\n+by b!\n"), "{what}: {shown}");
        let copy = all[0]["copy"]["path"].as_str().expect("a path");
        let shown = a.run(&format!("conflicts show {what} {copy}")).ok();
        assert!(shown.contains("+by b!"), "{what}: {shown}");
    }
    // Offline: the folder needs no store.
    drop(site.store);
    assert_eq!(listed(&b, "./dir").len(), 1);
    assert_eq!(b.run("conflicts list notes").code, 7);
}

#[test]
fn a_conflict_settled_by_its_files_is_settled_everywhere() {
    for (keep, kept) in [
        ("mine", vec!["one\nby b!\n"]),
        ("theirs", vec!["one\nby a\n"]),
        ("both", vec!["one\nby b!\n", "one\nby a\n"]),
    ] {
        let (site, b) = conflict();
        let a = &site.machine;
        let said = b.run(&format!("conflicts resolve ./dir d/note.md --keep {keep}"));
        assert!(said.err.contains("next run"), "{}", said.err);
        said.ok();
        sync(&b, "").ok();
        sync(a, "").ok();
        assert_eq!(files(a), files(&b), "{keep}");
        let all: Vec<String> = files(a).into_values().collect();
        assert_eq!(all, kept, "{keep}");
        assert!(listed(a, "notes").is_empty() && listed(&b, "./dir").is_empty());
        assert_eq!(status(&b)["conflicts"], 0);
        assert_eq!(b.run("bisync check notes dir").code, 0);
    }
}

#[test]
fn what_is_no_conflict_is_refused() {
    let (site, _b) = conflict();
    let a = &site.machine;
    let said = a.run("conflicts show ./dir d/other.md");
    said.refused(5, "is no conflict copy", "conflicts list");
    let said = a.run("conflicts show notes d/other.md");
    said.refused(5, "is no conflict copy", "conflicts list");
    let said = a.run("conflicts list ./nowhere");
    said.refused(5, "is no workspace, and no synced folder", "bisync-status");
}
