//! The chain of an audit: one line of JSON for each record, each bound to all before it.
//!
//! A line is an object whose first member is `seq` (1, 2, 3 …) and whose last is `hash`, 64
//! hexadecimal digits: `SHA-256("artifacts.audit.v1" ‖ the hash before ‖ the object without its
//! hash)`, where 32 zero bytes stand before the first. So a line that is changed, taken out or
//! put in breaks the chain there. Lines cut off at the end show only against a hash that was
//! kept elsewhere.
//!
//! Servers write it; they and the command line follow it.

use std::io::{self, BufRead};

use serde::Serialize;
use sha2::{Digest, Sha256};

const DOMAIN: &[u8] = b"artifacts.audit.v1";
const HASH_MEMBER: &str = ",\"hash\":\"";

/// What a line has behind its object: the member, 64 digits, `"}`.
const TAIL: usize = HASH_MEMBER.len() + 64 + 2;

/// No line of ours is longer.
pub const LONGEST_LINE: usize = 16 * 1024;

/// A record's place in the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Link {
    /// Its number; 0 before the first.
    pub seq: u64,
    /// Its hash; zero before the first.
    pub hash: [u8; 32],
}

/// Why a record is no line.
#[derive(Debug, thiserror::Error)]
pub enum Unwritable {
    /// It is longer than any of ours.
    #[error("a record is longer than a line of the audit may be")]
    TooLong,
    /// It has no JSON form.
    #[error("a record has no JSON form: {0}")]
    Form(#[from] serde_json::Error),
}

/// What following a chain found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Every line follows from the one before it.
    Whole {
        /// How many there are.
        records: u64,
        /// The last one's hash.
        head: String,
    },
    /// The line of this number is missing, or it or one before it was changed.
    Broken {
        /// The number.
        seq: u64,
    },
}

#[derive(Serialize)]
struct Line<'a, T> {
    seq: u64,
    #[serde(flatten)]
    record: &'a T,
}

impl Link {
    /// The line that follows, with its end, and its place. The record is a struct of named
    /// members, none of them `seq` or `hash`.
    ///
    /// # Errors
    /// It is no line.
    pub fn next(&self, record: &impl Serialize) -> Result<(String, Self), Unwritable> {
        let seq = self.seq + 1;
        let mut line = serde_json::to_string(&Line { seq, record })?;
        if line.len() + TAIL > LONGEST_LINE {
            return Err(Unwritable::TooLong);
        }
        let hash = chained(&self.hash, &line);
        line.pop();
        line.push_str(HASH_MEMBER);
        line.push_str(&hex::encode(hash));
        line.push_str("\"}\n");
        Ok((line, Self { seq, hash }))
    }

    /// What a line (without its end) says of its place; not whether that is so.
    pub fn told(line: &[u8]) -> Option<Self> {
        parse(line).map(|(link, _)| link)
    }
}

/// Follows a chain from its beginning, and tells of each record that follows from the one before
/// it: its place, and the object without its hash.
///
/// # Errors
/// It cannot be read.
pub fn follow(mut lines: impl BufRead, mut tell: impl FnMut(Link, &str)) -> io::Result<Verdict> {
    let mut last = Link::default();
    let mut text = Vec::new();
    loop {
        text.clear();
        let limit = LONGEST_LINE as u64 + 1;
        let read = io::Read::take(&mut lines, limit).read_until(b'\n', &mut text)?;
        if read == 0 {
            let head = hex::encode(last.hash);
            return Ok(Verdict::Whole {
                records: last.seq,
                head,
            });
        }
        let seq = last.seq + 1;
        let line = text.strip_suffix(b"\n").and_then(parse);
        match line
            .filter(|(link, object)| link.seq == seq && chained(&last.hash, object) == link.hash)
        {
            Some((link, object)) => {
                last = link;
                tell(link, &object);
            }
            None => return Ok(Verdict::Broken { seq }),
        }
    }
}

/// The place of a line as it says, and the object without its hash.
fn parse(line: &[u8]) -> Option<(Link, String)> {
    let line = std::str::from_utf8(line).ok()?;
    let (object, tail) = line.split_at_checked(line.len().checked_sub(TAIL)?)?;
    let digits = tail.strip_prefix(HASH_MEMBER)?.strip_suffix("\"}")?;
    let hash = hex::decode(digits).ok()?.try_into().ok()?;
    let digits = object.strip_prefix("{\"seq\":")?;
    let end = digits
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(digits.len());
    let seq = digits[..end].parse().ok()?;
    Some((Link { seq, hash }, format!("{object}}}")))
}

fn chained(before: &[u8; 32], object: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [DOMAIN, before, object.as_bytes()] {
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Record {
        n: usize,
    }

    #[derive(Serialize)]
    struct Long {
        text: String,
    }

    fn lines(count: usize) -> Vec<String> {
        let mut last = Link::default();
        let line = |n| {
            let (line, next) = last.next(&Record { n }).expect("a line");
            last = next;
            line
        };
        (0..count).map(line).collect()
    }

    fn followed(text: &str) -> (Verdict, Vec<String>) {
        let mut told = Vec::new();
        let verdict = follow(text.as_bytes(), |_, object| told.push(object.to_owned()));
        (verdict.expect("readable"), told)
    }

    #[test]
    fn a_whole_chain_is_told_record_by_record_and_a_broken_one_up_to_the_break() {
        let lines = lines(3);
        let (verdict, told) = followed(&lines.concat());
        let head = hex::encode(
            Link::told(lines[2].trim_end().as_bytes())
                .expect("told")
                .hash,
        );
        assert_eq!(verdict, Verdict::Whole { records: 3, head });
        assert_eq!(told[1], "{\"seq\":2,\"n\":1}");
        let (verdict, told) = followed(&lines.concat().replace("\"n\":1", "\"n\":7"));
        assert_eq!((verdict, told.len()), (Verdict::Broken { seq: 2 }, 1));
        let (verdict, told) = followed(&[&*lines[0], &*lines[2]].concat());
        assert_eq!((verdict, told.len()), (Verdict::Broken { seq: 2 }, 1));
        let cut = lines.concat();
        let (verdict, told) = followed(&cut[..cut.len() - 1]);
        assert_eq!((verdict, told.len()), (Verdict::Broken { seq: 3 }, 2));
    }

    #[test]
    fn the_hash_is_as_it_is_written_down() {
        let object = "{\"seq\":1,\"n\":0}";
        let all = [
            b"artifacts.audit.v1".as_slice(),
            &[0; 32],
            object.as_bytes(),
        ]
        .concat();
        let hash = hex::encode(Sha256::digest(all));
        assert_eq!(
            lines(1)[0],
            format!("{{\"seq\":1,\"n\":0,\"hash\":\"{hash}\"}}\n")
        );
    }

    #[test]
    fn no_line_is_longer_than_those_that_are_read() {
        let written = |length| {
            let text = "x".repeat(length);
            Link::default().next(&Long { text })
        };
        let (line, _) =
            written(LONGEST_LINE - TAIL - "{\"seq\":1,\"text\":\"\"}".len()).expect("fits");
        assert_eq!(line.len(), LONGEST_LINE);
        assert!(matches!(
            followed(&line).0,
            Verdict::Whole { records: 1, .. }
        ));
        let long = written(LONGEST_LINE);
        assert!(matches!(long, Err(Unwritable::TooLong)));
    }
}
