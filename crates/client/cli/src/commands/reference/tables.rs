//! The pages that are tables.

use crate::failure::{Code, EXIT_CODES};
use crate::variables::VARIABLES;

/// Says at the top of each page where it comes from.
pub(super) const NOTICE: &str =
    "<!-- Printed by `artifacts reference`; change the code, not this file. -->\n";

pub(super) fn environment() -> String {
    let rows = VARIABLES.iter().map(|v| {
        [
            format!("`{}`", v.name),
            v.meaning.into(),
            v.otherwise.into(),
        ]
    });
    page(
        "Environment variables",
        "An empty variable counts as unset.",
        &table(["variable", "what it does", "where it is unset"], rows),
    )
}

pub(super) fn exit_codes() -> String {
    let rows = EXIT_CODES
        .iter()
        .map(|(code, meaning)| [code.to_string(), meaning.to_string()]);
    page(
        "Exit codes",
        "A script may rely on them. `artifacts exec` ends with the exit code of what it ran.",
        &table(["code", "meaning"], rows),
    )
}

pub(super) fn error_codes() -> String {
    let rows = Code::ALL.into_iter().map(|code| {
        let facts = code.facts();
        [
            format!("`{}`", facts.code),
            facts.exit.to_string(),
            facts.title.to_string(),
            facts.next.to_string(),
        ]
    });
    page(
        "Error codes",
        "With `--format json` a command that fails prints one line on standard error: \
         `{\"error\":{\"code\":…,\"message\":…,\"hint\":…}}`. The code is stable, the texts are not.",
        &table(["code", "exit code", "what happened", "what to do"], rows),
    )
}

/// A table with these column headings.
pub(super) fn table<const COLUMNS: usize>(
    headings: [&str; COLUMNS],
    rows: impl Iterator<Item = [String; COLUMNS]>,
) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let rule = "---|".repeat(COLUMNS);
    let rows: String = rows.map(|cells| line(&cells)).collect();
    format!("{}|{rule}\n{rows}", line(&headings.map(String::from)))
}

fn page(title: &str, text: &str, table: &str) -> String {
    format!("{NOTICE}\n# {title}\n\n{text}\n\n{table}")
}
