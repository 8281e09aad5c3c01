//! The rules that leave files out, against git's own, on generated cases.

#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use sync::TreePath;
use sync::ignored::{NAME, Rules};

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
    paths: Vec<String>,
}

fn tree() -> impl Strategy<Value = Tree> {
    let lines = |n| prop::collection::vec(pattern(), 0..n);
    let paths = prop::collection::vec(path(), PER_TREE);
    (lines(5), lines(3), paths).prop_map(|(root, nested, paths)| Tree {
        root,
        nested,
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

/// What git says of files, those that it ignores.
fn of_git(tree: &Tree, files: &[String]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let git = |args: &[&str]| {
        let mut command = Command::new("git");
        command.args(args).current_dir(root).env("HOME", root);
        command.env("GIT_CONFIG_NOSYSTEM", "1");
        command
    };
    assert!(git(&["init", "-q"]).status().unwrap().success());
    for file in files {
        let at = root.join(file);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::write(at, "").unwrap();
    }
    fs::write(root.join(".gitignore"), tree.root.join("\n")).unwrap();
    if root.join("a").is_dir() {
        fs::write(root.join("a/.gitignore"), tree.nested.join("\n")).unwrap();
    }
    let mut asked = git(&["check-ignore", "--stdin", "-z", "--no-index"])
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

#[test]
fn the_rules_are_gits() {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let (mut seen, mut ignored) = (0, 0);
    while seen < CASES {
        let tree = tree().new_tree(&mut runner).unwrap().current();
        let files = files(&tree.paths);
        let theirs = of_git(&tree, &files);
        let mut rules = Rules::default();
        let at = |text: &str| TreePath::parse(text).unwrap();
        rules.add(&at(NAME), &tree.root.join("\n"));
        if files.iter().any(|file| file.starts_with("a/")) {
            rules.add(&at(&format!("a/{NAME}")), &tree.nested.join("\n"));
        }
        for file in &files {
            let ours = rules.leaves_out(&at(file), false);
            assert_eq!(ours, theirs.contains(file), "{file:?} by {tree:#?}");
        }
        seen += files.len();
        ignored += theirs.len();
    }
    assert!(
        ignored * 10 > seen,
        "only {ignored} of {seen} cases are ignored"
    );
}
