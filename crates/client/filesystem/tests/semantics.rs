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
    for folder in [
        "crates/client/filesystem/tests",
        "crates/client/sync/tests",
        "crates/client/cli/tests",
    ] {
        for file in sources(&root.join(folder)) {
            let source = std::fs::read_to_string(&file).unwrap();
            let stray = quotes_outside_tests(&source);
            assert_eq!(stray, [""; 0], "{}: quoted by no test", file.display());
            quotes.extend(quoted(&source).map(|quote| format!("{quote}\n")));
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

#[test]
fn a_quote_counts_only_in_a_test() {
    let source = "\
QUOTE no test at all
fn helper() {
    QUOTE in a helper
}

/// Why.
QUOTE above a test
#[tokio::test]
async fn one() {
    QUOTE inside a test
    if true {
    }
}
QUOTE above nothing
"
    .replace("QUOTE", "/// >");
    let stray = ["no test at all", "in a helper", "above nothing"];
    assert_eq!(quotes_outside_tests(&source), stray);
}

/// The passages that a source quotes.
fn quoted(source: &str) -> impl Iterator<Item = &str> {
    source.lines().filter_map(quote)
}

fn quote(line: &str) -> Option<&str> {
    line.trim().strip_prefix("/// > ")
}

/// Those that stand neither in the documentation nor in the body of a test.
fn quotes_outside_tests(source: &str) -> Vec<&str> {
    let lines: Vec<&str> = source.lines().collect();
    let tests: Vec<_> = (0..lines.len())
        .filter_map(|at| test_at(&lines, at))
        .collect();
    let in_a_test = |at: usize| tests.iter().any(|test| test.contains(&at));
    let outside = (0..lines.len()).filter(|at| !in_a_test(*at));
    outside.filter_map(|at| quote(lines[at])).collect()
}

/// The lines of the test whose attribute is here: from its first word of documentation to
/// the brace that ends it, which stands as far in as the attribute.
fn test_at(lines: &[&str], at: usize) -> Option<std::ops::RangeInclusive<usize>> {
    let attribute = lines[at].trim_start();
    if !attribute.starts_with("#[test]") && !attribute.starts_with("#[tokio::test") {
        return None;
    }
    let above = lines[..at].iter().rev();
    let documented = above.take_while(|line| {
        let line = line.trim_start();
        line.starts_with("///") || line.starts_with("#[")
    });
    let indent = &lines[at][..lines[at].len() - attribute.len()];
    let end = format!("{indent}}}");
    let length = lines[at..].iter().position(|line| *line == end)?;
    Some(at - documented.count()..=at + length)
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
