//! The pages that are tables.

use crate::failure::{Code, EXIT_CODES};
use crate::variables::VARIABLES;

/// Says at the top of each page where it comes from.
pub(super) const NOTICE: &str =
    "<!-- Printed by `artifacts reference`; change the code, not this file. -->\n";

pub(super) fn environment() -> String {
    let rows = VARIABLES
        .iter()
        .map(|v| format!("| `{}` | {} | {} |\n", v.name, v.meaning, v.otherwise));
    page(
        "Environment variables",
        "An empty variable counts as unset.",
        "| variable | what it does | where it is unset |\n|---|---|---|\n",
        rows,
    )
}

pub(super) fn exit_codes() -> String {
    let rows = EXIT_CODES
        .iter()
        .map(|(code, meaning)| format!("| {code} | {meaning} |\n"));
    page(
        "Exit codes",
        "A script may rely on them. `artifacts exec` ends with the exit code of what it ran.",
        "| code | meaning |\n|---|---|\n",
        rows,
    )
}

pub(super) fn error_codes() -> String {
    let rows = Code::ALL.into_iter().map(|code| {
        let facts = code.facts();
        format!(
            "| `{}` | {} | {} | {} |\n",
            facts.code, facts.exit, facts.title, facts.next
        )
    });
    page(
        "Error codes",
        "With `--format json` a command that fails prints one line on standard error: \
         `{\"error\":{\"code\":…,\"message\":…,\"hint\":…}}`. The code is stable, the texts are not.",
        "| code | exit code | what happened | what to do |\n|---|---|---|---|\n",
        rows,
    )
}

fn page(title: &str, text: &str, heading: &str, rows: impl Iterator<Item = String>) -> String {
    let rows: String = rows.collect();
    format!("{NOTICE}\n# {title}\n\n{text}\n\n{heading}{rows}")
}
