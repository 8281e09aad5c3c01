//! What is left out of a synced folder: by files of rules, by the command line, and why.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs;

use serde_json::Value;
use support::synced::*;

/// What decides, as an editor opens it.
#[test]
fn why_names_the_file_the_line_and_the_pattern() {
    let site = Site::new();
    let a = &site.machine;
    let out = a.run("ignore why dir/x.tmp");
    out.refused(5, "lies in no synced folder", "bisync-status");
    write(
        a,
        ".artifactsignore",
        "# nothing\n*.tmp\n!keep.tmp\nbuild/\n",
    );
    write(a, "d/.artifactsignore", "!*.tmp\n");
    sync(a, "").ok();
    let root = dir(a).canonicalize().expect("there");
    let root = root.display();
    let why = |path: &str| a.run(&format!("ignore why {path}")).ok();
    assert_eq!(
        why("dir/x.tmp"),
        format!("x.tmp is left out: {root}/.artifactsignore:2 says *.tmp\n")
    );
    assert_eq!(
        why("dir/keep.tmp"),
        format!("keep.tmp is synced: {root}/.artifactsignore:3 says !keep.tmp\n")
    );
    assert_eq!(
        why("dir/d/x.tmp"),
        format!("d/x.tmp is synced: {root}/d/.artifactsignore:1 says !*.tmp\n")
    );
    assert_eq!(
        why("dir/build/deep/er/x.tmp"),
        format!(
            "build/deep/er/x.tmp is left out: {root}/.artifactsignore:4 says build/ of build, and \
             nothing below it comes back\n"
        )
    );
    assert_eq!(why("dir/build"), "build is synced: no rule speaks of it\n");
    assert!(
        why("dir/build/").contains("left out"),
        "said to be a directory"
    );
    fs::create_dir(dir(a).join("build")).expect("made");
    assert!(why("dir/build").contains("left out"), "it is a directory");
    assert_eq!(
        why("dir/note.md"),
        "note.md is synced: no rule speaks of it\n"
    );
    assert_eq!(why("dir/d/../note.md"), why("dir/note.md"));
    assert!(why("dir").contains("the synced folder itself"));
    assert!(why("dir/.artifacts/folder.json").contains("kept for Artifacts itself"));
    a.run("ignore why dir/../elsewhere")
        .refused(5, "no synced folder", "");
    let json: Value = serde_json::from_str(&why("dir/x.tmp --format json")).expect("JSON");
    assert_eq!(json["left_out"], true);
    assert_eq!(json["by"]["line"], 2);
    assert_eq!(json["by"]["pattern"], "*.tmp");
    assert_eq!(json["workspace"], "notes");
}

/// Filters of the command line count above all files, and are remembered by every command
/// until others are given.
/// > A change of rules or filters deletes nothing on either side.
#[test]
fn filters_are_remembered_and_a_change_of_them_is_told() {
    let site = Site::new();
    let (a, b) = (&site.machine, site.other());
    write(a, "note.md", "1");
    write(a, "movie.mkv", "22");
    write(a, "d/clip.mkv", "333");
    sync(a, "").ok();
    sync(&b, "").ok();
    let said = sync(a, "--exclude *.mkv --include /d/*.mkv");
    assert!(
        said.err
            .contains("filters: --exclude *.mkv --include /d/*.mkv"),
        "{}",
        said.err
    );
    assert!(said.err.contains("until now: none"), "{}", said.err);
    let said = said.ok();
    assert!(
        said.contains("movie.mkv") && said.contains("bisync prune"),
        "{said}"
    );
    assert_eq!(
        files(a).len(),
        3,
        "what is left out now is not deleted here"
    );
    assert_eq!(files(&b).len(), 3, "nor there");
    // Remembered: neither a run nor check nor why needs to be told again.
    write(a, "movie.mkv", "changed");
    let again = sync(a, "");
    assert!(!again.err.contains("filters"), "{}", again.err);
    assert!(again.ok().contains("both sides are alike"));
    assert_eq!(a.run("bisync check notes dir").code, 0);
    let why = a.run("ignore why dir/movie.mkv").ok();
    assert!(why.contains("the command line (--exclude *.mkv)"), "{why}");
    let status = status(a);
    assert_eq!(status["filters"][1], "--include /d/*.mkv");
    assert_eq!(status["ignored_here"], 1);
    assert_eq!(status["ignored_in_bucket"], 1);
    // A preview with others changes nothing about that.
    let preview = plan(a, "--dry-run --no-filters");
    assert_eq!(preview["plan"]["counts"]["conflicts"], 1);
    assert_eq!(a.run("bisync check notes dir").code, 0);
    // What only this folder leaves out, others go on with.
    fs::remove_file(dir(&b).join("movie.mkv")).expect("removed");
    sync(&b, "").ok();
    sync(a, "").ok();
    assert_eq!(files(a)["movie.mkv"], "changed");
    // What is taken in again is compared as on a first run.
    let said = sync(a, "--no-filters").ok();
    assert!(said.contains("movie.mkv") && said.contains("new"), "{said}");
    sync(&b, "").ok();
    assert_eq!(files(&b)["movie.mkv"], "changed");
    assert_eq!(sync(a, "--exclude !x").code, 2);
}

/// Pruned to the one copy that the rules leave to this folder.
#[test]
fn prune_goes_by_the_same_filters() {
    let site = Site::new();
    let a = &site.machine;
    write(a, "note.md", "1");
    write(a, "movie.mkv", "22");
    sync(a, "").ok();
    sync(a, "--exclude *.mkv").ok();
    let said = a.run("bisync prune notes dir --yes").ok();
    assert_eq!(said, "1 objects pruned\n");
    let b = site.other();
    sync(&b, "").ok();
    assert_eq!(files(&b).len(), 1);
    assert_eq!(files(a).len(), 2);
}

/// A second machine goes by the rules of the first from its first run on.
#[test]
fn rules_in_the_bucket_count_before_they_are_here() {
    let site = Site::new();
    let (a, b) = (&site.machine, site.other());
    write(a, ".artifactsignore", "*.secret\n");
    sync(a, "").ok();
    write(&b, "my.secret", "1");
    write(&b, "note.md", "2");
    sync(&b, "").ok();
    sync(a, "").ok();
    assert_eq!(
        files(a).keys().collect::<Vec<_>>(),
        [".artifactsignore", "note.md"]
    );
    // A rule that comes later counts in the pass that brings it.
    write(a, ".artifactsignore", "*.secret\n*.late\n");
    sync(a, "").ok();
    write(&b, "x.late", "3");
    sync(&b, "").ok();
    sync(a, "").ok();
    assert_eq!(files(a).len(), 2, "{:?}", files(a));
    assert_eq!(files(&b).len(), 4);
}
