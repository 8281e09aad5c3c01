//! No passage of SEMANTICS.md without a test that quotes it.

#![allow(clippy::unwrap_used, missing_docs)]

use std::path::{Path, PathBuf};

#[test]
fn every_passage_is_quoted_by_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    let text = std::fs::read_to_string(root.join("SEMANTICS.md")).unwrap();
    let passages: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("- "))
        .collect();
    assert!(
        passages.len() > 10,
        "SEMANTICS.md lists its passages as items"
    );
    let mut quotes = String::new();
    for folder in ["crates/client/filesystem/tests", "crates/client/cli/tests"] {
        for file in sources(&root.join(folder)) {
            let source = std::fs::read_to_string(file).unwrap();
            quotes.extend(
                source
                    .lines()
                    .filter_map(|line| line.trim().strip_prefix("/// > "))
                    .map(|q| format!("{q}\n")),
            );
        }
    }
    let unheld: Vec<_> = passages
        .into_iter()
        .filter(|passage| !quotes.lines().any(|quote| quote == *passage))
        .collect();
    assert_eq!(unheld, Vec::<&str>::new(), "passages that no test quotes");
    let stale: Vec<_> = quotes
        .lines()
        .filter(|quote| !text.contains(&format!("- {quote}\n")))
        .collect();
    assert_eq!(
        stale,
        Vec::<&str>::new(),
        "quotes that SEMANTICS.md does not hold"
    );
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}
