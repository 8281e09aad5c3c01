//! What the program prints: data to standard output, all else to standard error.

use std::io::{self, Write};

use clap::ValueEnum;
use serde::Serialize;
use serde_json::json;

use crate::failure::{Code, Failure, Result};

/// How data and errors are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// The two streams.
#[derive(Clone, Copy)]
pub(crate) struct Output {
    format: Format,
}

impl Output {
    pub(crate) fn new(format: Format) -> Self {
        Self { format }
    }

    /// Whether programs read along.
    pub(crate) fn is_json(self) -> bool {
        self.format == Format::Json
    }

    /// Prints a command's data: `value` for programs, `text` for people.
    pub(crate) fn data(self, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<()> {
        if !self.is_json() {
            return self.text(&text());
        }
        let mut line = serde_json::to_string_pretty(value)
            .map_err(|e| Failure::new(Code::Failed, format!("the answer has no JSON form: {e}")))?;
        line.push('\n');
        self.text(&line)
    }

    /// Prints text that is the same in both forms.
    pub(crate) fn text(self, text: &str) -> Result<()> {
        self.bytes(text.as_bytes())
    }

    /// Prints bytes as they are.
    pub(crate) fn bytes(self, bytes: &[u8]) -> Result<()> {
        let mut stdout = io::stdout().lock();
        match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
            // Whoever read has seen enough.
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Err(e) => Err(Failure::new(Code::Failed, format!("cannot print: {e}"))),
            Ok(()) => Ok(()),
        }
    }

    /// Tells people something that is no data.
    pub(crate) fn note(self, text: &str) {
        self.stderr(&plain(text));
    }

    /// Warns people.
    pub(crate) fn warn(self, text: &str, hint: &str) {
        self.stderr(&plain(&format!("warning: {text}\nhint: {hint}")));
    }

    /// Prints why the command failed.
    pub(crate) fn failure(self, failure: &Failure) {
        if self.is_json() {
            let error = json!({
                "code": failure.code.as_str(),
                "message": failure.message,
                "hint": failure.hint,
            });
            return self.stderr(&json!({ "error": error }).to_string());
        }
        let hint = failure.hint.as_ref().map(|hint| format!("\nhint: {hint}"));
        let hint = hint.unwrap_or_default();
        self.stderr(&plain(&format!("error: {}{hint}", failure.message)));
    }

    fn stderr(self, text: &str) {
        // Nobody is left to tell that nobody reads.
        let _ = writeln!(io::stderr().lock(), "{text}");
    }
}

/// A text as a terminal may be shown it. Servers, buckets and files have a say in names and
/// messages: none of it may steer the terminal or turn the order of what is read around.
fn plain(text: &str) -> String {
    let steers = |c: char| {
        (c.is_control() && !matches!(c, '\n' | '\t'))
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.replace(steers, "\u{fffd}")
}

/// The same in one line.
pub(crate) fn cell(text: &str) -> String {
    plain(text).replace('\n', " ")
}

/// Columns under a heading line.
pub(crate) fn table(heading: &[&str], rows: Vec<Vec<String>>) -> String {
    let rows = rows
        .iter()
        .map(|row| row.iter().map(|text| cell(text)).collect::<Vec<_>>());
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    table.set_header(heading);
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt() + "\n"
}

/// Names and values, one pair a line.
pub(crate) fn pairs(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    rows.iter()
        .map(|(name, value)| format!("{name:width$}  {}\n", cell(value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_say_does_not_steer_the_terminal() {
        let hostile = "a\u{1b}[2J\u{1b}]52;c;x\u{7}b\r\u{9b}31m\u{202e}c";
        let shown = plain(hostile);
        assert!(
            !shown.contains(['\u{1b}', '\u{7}', '\r', '\u{9b}', '\u{202e}']),
            "{shown:?}"
        );
        assert_eq!(plain("two\nlines\tand ä"), "two\nlines\tand ä");
        let forged = pairs(&[("trouble", "none\nhint: run this".to_owned())]);
        assert_eq!(forged, "trouble  none hint: run this\n");
        let forged = table(&["A"], vec![vec!["x\ny\u{1b}".to_owned()]]);
        assert!(forged.contains("x y\u{fffd}"), "{forged:?}");
    }
}
