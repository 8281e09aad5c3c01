//! The rules that leave files out, against git's own, on generated cases.

#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use sync::folder::Folder;
use sync::folder::disk::DiskFolder;
use sync::ignored::{Filter, NAME, Rules, why};
use sync::{Known, TreePath};

const CASES: usize = 2_000;
const PER_TREE: usize = 20;

/// Pieces of which patterns are made.
fn pattern() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        3 => Just("a"),
        2 => Just("b"),
        2 => Just("*"),
        1 => Just("**"),
        1 => Just("?"),
        1 => Just("[ab]"),
        1 => Just("[!a]"),
        1 => Just("a*"),
        1 => Just("*.x"),
        1 => Just("b.x"),
        1 => Just("\\a"),
        1 => Just("a b"),
    ];
    let body = prop::collection::vec(piece, 1..4).prop_map(|parts| parts.join("/"));
    let ends = (any::<bool>(), any::<bool>(), any::<bool>(), 0..6usize);
    (body, ends).prop_map(|(body, (negated, rooted, directory, odd))| {
        let start = if negated { "!" } else { "" };
        let root = if rooted { "/" } else { "" };
        let end = if directory { "/" } else { "" };
        match odd {
            0 => format!("# {body}"),
            1 => format!("{start}{root}{body}{end}  "),
            _ => format!("{start}{root}{body}{end}"),
        }
    })
}

fn path() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        Just("a"),
        Just("b"),
        Just("ab"),
        Just("b.x"),
        Just("a b"),
        Just("c")
    ];
    prop::collection::vec(name, 1..5).prop_map(|names| names.join("/"))
}

#[derive(Debug)]
struct Tree {
    root: Vec<String>,
    nested: Vec<String>,
    given: Vec<String>,
    paths: Vec<String>,
}

fn tree() -> impl Strategy<Value = Tree> {
    let lines = |n| prop::collection::vec(pattern(), 0..n);
    let paths = prop::collection::vec(path(), PER_TREE);
    (lines(5), lines(3), lines(3), paths).prop_map(|(root, nested, given, paths)| Tree {
        root,
        nested,
        given,
        paths,
    })
}

/// The paths that can be files of one tree: none lies below another.
fn files(paths: &[String]) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    for path in paths {
        let clash = |other: &String| {
            other == path
                || other.starts_with(&format!("{path}/"))
                || path.starts_with(&format!("{other}/"))
        };
        if !kept.iter().any(clash) {
            kept.push(path.clone());
        }
    }
    kept
}

/// A folder with these files and rules, of git's and of ours.
fn made(tree: &Tree, files: &[String]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    assert!(git(root, &["init", "-q"]).status().unwrap().success());
    for file in files {
        let at = root.join(file);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::write(at, "").unwrap();
    }
    for name in [".gitignore", NAME] {
        fs::write(root.join(name), tree.root.join("\n")).unwrap();
        if root.join("a").is_dir() {
            fs::write(root.join("a").join(name), tree.nested.join("\n")).unwrap();
        }
    }
    folder
}

fn git(root: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("git");
    command.args(args).current_dir(root).env("HOME", root);
    command.env("GIT_CONFIG_NOSYSTEM", "1");
    command
}

/// What git says of files, those that it ignores.
fn of_git(root: &Path, files: &[String]) -> Vec<String> {
    let mut asked = git(root, &["check-ignore", "--stdin", "-z", "--no-index"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = asked.stdin.take().unwrap();
    stdin.write_all(files.join("\0").as_bytes()).unwrap();
    drop(stdin);
    let said = asked.wait_with_output().unwrap();
    let text = String::from_utf8(said.stdout).unwrap();
    text.split_terminator('\0').map(str::to_owned).collect()
}

/// What git lists as not ignored, with patterns of the command line above those of the files.
fn listed_by_git(root: &Path, given: &[(String, Filter)]) -> Vec<String> {
    let mut asked = git(root, &["ls-files", "-z", "--others"]);
    asked.arg("--exclude-per-directory=.gitignore");
    for (line, _) in given {
        asked.arg(format!("--exclude={line}"));
    }
    let said = asked.output().unwrap();
    assert!(said.status.success(), "{said:?}");
    let text = String::from_utf8(said.stdout).unwrap();
    let mut all: Vec<String> = text.split_terminator('\0').map(str::to_owned).collect();
    all.retain(|path| !path.ends_with(".gitignore") && !path.ends_with(NAME));
    all.sort();
    all
}

/// The filters that lines would be on the command line.
fn filters(lines: &[String]) -> Vec<(String, Filter)> {
    let of = |line: &String| match line.strip_prefix('!') {
        Some(pattern) => Filter::include(pattern),
        None => Filter::exclude(line),
    };
    let lines = lines.iter().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| Some((line.clone(), of(line).ok()?)))
        .collect()
}

/// All that the walk gives, without the files of rules.
fn walked(root: &Path, given: &Rules) -> Vec<String> {
    let walked = DiskFolder::open(root)
        .unwrap()
        .walk(&Known::default(), 0, given)
        .unwrap();
    let all = walked
        .entries
        .into_iter()
        .map(|(path, ..)| path.to_string());
    let mut all: Vec<String> = all.collect();
    all.retain(|path| !path.ends_with(".gitignore") && !path.ends_with(NAME));
    all.retain(|path| !path.starts_with(".git/"));
    all.sort();
    all
}

/// One matcher: what the rules say of a path, what the walk passes over and what the reason
/// names are the same, and git's.
#[test]
fn the_rules_are_gits() {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let (mut seen, mut ignored) = (0, 0);
    while seen < CASES {
        let tree = tree().new_tree(&mut runner).unwrap().current();
        let files = files(&tree.paths);
        let made = made(&tree, &files);
        let root = made.path();
        let theirs = of_git(root, &files);
        let folder = DiskFolder::open(root).unwrap();
        let rules = folder
            .walk(&Known::default(), 0, &Rules::default())
            .unwrap()
            .rules;
        let at = |text: &str| TreePath::parse(text).unwrap();
        for file in &files {
            let ours = rules.leaves_out(&at(file), false);
            assert_eq!(ours, theirs.contains(file), "{file:?} by {tree:#?}");
            let reason = why(&folder, &[], &at(file), false).unwrap();
            let out = reason.is_some_and(|reason| reason.ignored);
            assert_eq!(out, ours, "why {file:?} by {tree:#?}");
        }
        let kept: Vec<&String> = files.iter().filter(|f| !theirs.contains(f)).collect();
        let mut kept: Vec<String> = kept.into_iter().cloned().collect();
        kept.sort();
        assert_eq!(
            walked(root, &Rules::default()),
            kept,
            "the walk by {tree:#?}"
        );
        let given = filters(&tree.given);
        let listed = listed_by_git(root, &given);
        let ours: Vec<Filter> = given.iter().map(|(_, filter)| filter.clone()).collect();
        assert_eq!(
            walked(root, &Rules::given(&ours).unwrap()),
            listed,
            "with {given:?} by {tree:#?}"
        );
        seen += files.len();
        ignored += theirs.len();
    }
    assert!(
        ignored * 10 > seen,
        "only {ignored} of {seen} cases are ignored"
    );
}

/// A directory that is left out costs one entry, whatever it holds: nobody looks into it.
#[test]
fn a_directory_that_is_left_out_is_not_walked() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs::write(root.join(NAME), "node_modules/\n").unwrap();
    fs::create_dir_all(root.join("web/node_modules/a")).unwrap();
    for n in 0..500 {
        fs::write(root.join(format!("web/node_modules/a/{n}")), "").unwrap();
    }
    // A file of rules that cannot be read is told, where it counts.
    fs::write(root.join("web/node_modules").join(NAME), b"\xff").unwrap();
    fs::write(root.join("web/index.js"), "").unwrap();
    let disk = DiskFolder::open(root).unwrap();
    let walked = disk.walk(&Known::default(), 0, &Rules::default()).unwrap();
    let ignored: Vec<&str> = walked.ignored.iter().map(TreePath::as_str).collect();
    assert_eq!(ignored, ["web/node_modules"]);
    assert_eq!(walked.entries.len(), 2);
    assert_eq!(walked.directories.len(), 1);
    fs::write(root.join(NAME), "").unwrap();
    // … and nothing at or below its directory is touched.
    let walked = disk.walk(&Known::default(), 0, &Rules::default()).unwrap();
    let [(directory, why)] = &walked.unknown[..] else {
        panic!("{:?}", walked.unknown);
    };
    assert_eq!(directory.as_str(), "web/node_modules");
    assert!(why.contains("not a text of rules"), "{why}");
    assert_eq!(walked.entries.len(), 2);
    fs::remove_file(root.join("web/node_modules").join(NAME)).unwrap();
    assert_eq!(
        disk.walk(&Known::default(), 0, &Rules::default())
            .unwrap()
            .entries
            .len(),
        502
    );
}
