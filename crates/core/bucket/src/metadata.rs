//! User metadata: what may be stored, and how text beyond ASCII travels in a header.
//!
//! S3 takes user metadata as HTTP headers. Names are case-insensitive and come back in
//! lower case; values are ASCII, so anything else goes as RFC 2047 encoded words, which is
//! also the form in which Amazon S3 itself shows values that a header cannot hold.

use aws_smithy_types::base64;

use crate::{Error, Metadata, Result};

/// The most bytes of all names and values together (S3 User Guide, "User-defined object
/// metadata").
const MAX_BYTES: usize = 2048;

/// The most characters of one encoded word (RFC 2047 §2).
const MAX_WORD: usize = 75;

const WORD_START: &str = "=?UTF-8?B?";
const WORD_END: &str = "?=";

/// Names in lower case; refused where a store could not keep them.
pub(crate) fn normalized(metadata: Metadata) -> Result<Metadata> {
    let mut kept = Metadata::new();
    let mut bytes = 0;
    for (name, value) in metadata {
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(Error::Invalid {
                reason: format!("metadata name {name:?}"),
            });
        }
        bytes += name.len() + encode(&value).len();
        kept.insert(name.to_ascii_lowercase(), value);
    }
    if bytes > MAX_BYTES {
        return Err(Error::Invalid {
            reason: format!("metadata of {bytes} bytes, at most {MAX_BYTES}"),
        });
    }
    Ok(kept)
}

/// The value as a header can carry it.
pub(crate) fn encode(value: &str) -> String {
    if travels_plain(value) {
        return value.to_owned();
    }
    let room = (MAX_WORD - WORD_START.len() - WORD_END.len()) / 4 * 3;
    let words = pieces(value, room).into_iter();
    let words = words.map(|piece| format!("{WORD_START}{}{WORD_END}", base64::encode(piece)));
    words.collect::<Vec<_>>().join(" ")
}

/// The value that a header carried; one that is no well-formed encoding is itself.
pub(crate) fn decode(header: &str) -> String {
    if !header.starts_with("=?") {
        return header.to_owned();
    }
    let words: Option<Vec<Vec<u8>>> = header.split_ascii_whitespace().map(decode_word).collect();
    words
        .and_then(|words| String::from_utf8(words.concat()).ok())
        .unwrap_or_else(|| header.to_owned())
}

/// Whether a header gives the value back unchanged: printable ASCII without space at the
/// ends, and not itself of the encoded form.
fn travels_plain(value: &str) -> bool {
    value.bytes().all(|b| (0x20..0x7f).contains(&b))
        && value.trim() == value
        && !value.contains("=?")
}

/// Cuts between characters, so that each word is whole UTF-8 (RFC 2047 §5).
fn pieces(value: &str, room: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = value;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.floor_char_boundary(room));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

fn decode_word(word: &str) -> Option<Vec<u8>> {
    let inner = word.strip_prefix("=?")?.strip_suffix("?=")?;
    let mut parts = inner.splitn(3, '?');
    let (charset, encoding, text) = (parts.next()?, parts.next()?, parts.next()?);
    if !charset.eq_ignore_ascii_case("utf-8") {
        return None;
    }
    match encoding {
        "B" | "b" => base64::decode(text).ok(),
        "Q" | "q" => decode_q(text),
        _ => None,
    }
}

/// The "Q" encoding (RFC 2047 §4.2): `_` is a space, `=XX` a byte.
fn decode_q(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(b) = rest.next() {
        bytes.push(match b {
            b'_' => b' ',
            b'=' => hex::decode([rest.next()?, rest.next()?]).ok()?[0],
            other => other,
        });
    }
    Some(bytes)
}

/// A character of a header name (RFC 9110 §5.6.2).
fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_comes_back() {
        let long = "ü🙂 ".repeat(60);
        for value in [
            "",
            "plain",
            " edge ",
            "tab\there",
            "line\nline",
            "=?UTF-8?B?eA==?=",
            "é",
            &long,
        ] {
            let header = encode(value);
            assert!(
                header.bytes().all(|b| (0x20..0x7f).contains(&b)),
                "{header}"
            );
            assert!(
                header
                    .split(' ')
                    .all(|w| w.len() <= MAX_WORD || header == value),
                "{header}"
            );
            assert_eq!(decode(&header), value);
        }
    }

    #[test]
    fn other_writers_forms_are_read() {
        assert_eq!(decode("=?utf-8?q?caf=C3=A9_noir?="), "café noir");
        assert_eq!(decode("=?utf-8?q?broken=C3?="), "=?utf-8?q?broken=C3?=");
        assert_eq!(decode("=?latin1?q?x?="), "=?latin1?q?x?=");
    }

    #[test]
    fn what_no_header_can_hold_is_refused() {
        let named = |name: &str, value: &str| Metadata::from([(name.to_owned(), value.to_owned())]);
        let refused = normalized(named("a b", "x")).unwrap_err();
        assert_eq!(
            refused,
            Error::Invalid {
                reason: "metadata name \"a b\"".into()
            }
        );
        let refused = normalized(named("k", &"v".repeat(2048))).unwrap_err();
        assert_eq!(
            refused,
            Error::Invalid {
                reason: "metadata of 2049 bytes, at most 2048".into()
            }
        );
        assert_eq!(
            normalized(named("Mixed", "x")).unwrap(),
            named("mixed", "x")
        );
    }
}
