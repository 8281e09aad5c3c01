//! The text of an exported keyring, which is then sealed for whoever may read it.
//!
//! A line `artifacts keyring export 1`; then for each entry a line `NAME LENGTH`, so many
//! bytes, and a newline.
//!
//! Compatibility: what this version has written, every later version reads.

use zeroize::Zeroizing;

use super::{EntryName, Secret};

const TITLE: &str = "artifacts keyring export 1";

/// The text of these entries.
pub fn render(entries: &[(EntryName, Secret)]) -> Zeroizing<Vec<u8>> {
    let length = |(name, secret): &(EntryName, Secret)| {
        name.as_str().len() + secret.expose().len() + " 18446744073709551615\n\n".len()
    };
    let length: usize = entries.iter().map(length).sum();
    // Allocated at once, so that no half-grown copy of it stays in memory.
    let mut text = Zeroizing::new(Vec::with_capacity(TITLE.len() + 1 + length));
    text.extend_from_slice(TITLE.as_bytes());
    text.push(b'\n');
    for (name, secret) in entries {
        let bytes = secret.expose();
        text.extend_from_slice(format!("{name} {}\n", bytes.len()).as_bytes());
        text.extend_from_slice(bytes);
        text.push(b'\n');
    }
    text
}

/// The entries of such a text; `None` where it is none, or not whole.
pub fn parse(text: &[u8]) -> Option<Vec<(EntryName, Secret)>> {
    let mut rest = text.strip_prefix(TITLE.as_bytes())?.strip_prefix(b"\n")?;
    let mut entries: Vec<(EntryName, Secret)> = Vec::new();
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let (name, length) = std::str::from_utf8(&rest[..end]).ok()?.split_once(' ')?;
        let (bytes, after) = rest[end + 1..].split_at_checked(number(length)?)?;
        let name: EntryName = name.parse().ok()?;
        if entries.iter().any(|(known, _)| *known == name) {
            return None;
        }
        entries.push((name, Secret::new(bytes.to_vec())));
        rest = after.strip_prefix(b"\n")?;
    }
    Some(entries)
}

/// Digits, as they are written: no sign, no zero before them.
fn number(text: &str) -> Option<usize> {
    let number: usize = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_export_is_refused_whole() {
        let good = format!("{TITLE}\nstorage/default 3\na\nb\nsession/x 0\n\n");
        let entries = parse(good.as_bytes()).expect("good");
        let read: Vec<_> = entries
            .iter()
            .map(|(name, secret)| (name.as_str(), secret.expose()))
            .collect();
        assert_eq!(
            read,
            [("storage/default", &b"a\nb"[..]), ("session/x", b"")]
        );
        assert_eq!(render(&entries).as_slice(), good.as_bytes());
        for bad in [
            "",
            "artifacts keyring export 2\n",
            &good[..good.len() - 1],
            &format!("{TITLE}\nstorage/default 9\nab\n"),
            &format!("{TITLE}\nstorage/default 18446744073709551615\nab\n"),
            &format!("{TITLE}\nstorage/default x\nab\n"),
            &format!("{TITLE}\nstorage/default +2\nab\n"),
            &format!("{TITLE}\nno name 2\nab\n"),
            &format!("{TITLE}\na/b 1\nx\na/b 1\ny\n"),
        ] {
            assert!(parse(bad.as_bytes()).is_none(), "{bad:?}");
        }
    }
}
