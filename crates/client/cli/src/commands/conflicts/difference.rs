//! How two versions of a text differ.

use similar::TextDiff;

/// Larger texts are not compared: nobody reads that.
pub(super) const LIMIT: u64 = 1 << 20;

/// The lines that differ, theirs before mine, in the unified form; `None` where one of them is
/// no text.
pub(super) fn of(names: [&str; 2], versions: [&[u8]; 2]) -> Option<String> {
    let [theirs, mine] = versions.map(|bytes| std::str::from_utf8(bytes).ok());
    let (theirs, mine) = (theirs?, mine?);
    if theirs.contains('\0') || mine.contains('\0') {
        return None;
    }
    let [theirs_name, mine_name] = names.map(super::printable);
    let difference = TextDiff::from_lines(theirs, mine);
    let text = difference
        .unified_diff()
        .header(&theirs_name, &mine_name)
        .to_string();
    Some(text.split_inclusive('\n').map(line).collect())
}

/// A line as a terminal may be shown it.
fn line(text: &str) -> String {
    let end = if text.ends_with('\n') { "\n" } else { "" };
    let text = text.trim_end_matches(['\n', '\r']);
    let words = text.split('\t').map(super::printable);
    words.collect::<Vec<_>>().join("\t") + end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_compared_and_others_are_not() {
        let text = of(["a.md", "b.md"], [b"one\ntwo\n", b"one\n2\x1b[2J\tx\n"]).unwrap();
        assert_eq!(
            text,
            "--- a.md\n+++ b.md\n@@ -1,2 +1,2 @@\n one\n-two\n+2\\u{1b}[2J\tx\n"
        );
        assert_eq!(of(["a", "b"], [b"\xff", b"x"]), None);
        assert_eq!(of(["a", "b"], [b"x", b"\0"]), None);
        assert_eq!(of(["a", "b"], [b"x", b"x"]).as_deref(), Some(""));
    }
}
