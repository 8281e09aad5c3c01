//! What both sides had when they were last alike, in one piece of memory, in byte order.
//!
//! Most of a folder is as it was. What is as it was on both sides needs no structure of its
//! own: walk and listing look each file up here, and say only its number.

use std::cmp::Ordering;
use std::ops::Range;

use bucket::Etag;

use crate::entry::{BaseEntry, Hash, Kind, Seen, Stat};
use crate::keys;
use crate::path::TreePath;

/// All files that both sides had. About 180 bytes for each.
#[derive(Debug, Default)]
pub struct Known {
    /// Paths and ETags, one after the other.
    text: String,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    at: usize,
    path: u16,
    etag: u16,
    kind: Kind,
    is_seen: bool,
    size: u64,
    mtime: i64,
    ctime: i64,
    ino: u64,
    seen_at: i64,
    modified: i64,
    is_listed: bool,
    hash: Hash,
}

/// What is known of a file, with its path and ETag as somebody else's text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fact<'a> {
    pub(crate) path: &'a str,
    pub(crate) etag: &'a str,
    pub(crate) kind: Kind,
    pub(crate) size: u64,
    pub(crate) hash: Hash,
    pub(crate) modified: Option<i64>,
    pub(crate) seen: Option<Seen>,
}

impl Known {
    /// Adds a file that comes after all others. What does not fit is told by `false`: no path
    /// and no ETag is so long.
    pub(crate) fn push(&mut self, fact: &Fact<'_>) -> bool {
        let lengths = u16::try_from(fact.path.len())
            .ok()
            .zip(u16::try_from(fact.etag.len()).ok());
        let is_next = self
            .rows
            .last()
            .is_none_or(|last| self.path_of(last) < fact.path);
        let Some((path, etag)) = lengths.filter(|_| is_next) else {
            return false;
        };
        let stat = fact.seen.map(|seen| seen.stat);
        self.rows.push(Row {
            at: self.text.len(),
            path,
            etag,
            kind: fact.kind,
            is_seen: fact.seen.is_some(),
            size: fact.size,
            mtime: stat.map_or(0, |stat| stat.mtime),
            ctime: stat.map_or(0, |stat| stat.ctime),
            ino: stat.map_or(0, |stat| stat.ino),
            seen_at: fact.seen.map_or(0, |seen| seen.at),
            modified: fact.modified.unwrap_or(0),
            is_listed: fact.modified.is_some(),
            hash: fact.hash,
        });
        self.text.push_str(fact.path);
        self.text.push_str(fact.etag);
        true
    }

    /// Makes room for so many.
    pub(crate) fn reserve(&mut self, count: usize) {
        self.rows.reserve_exact(count);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The path of a file, by its number.
    pub(crate) fn path(&self, number: usize) -> &str {
        self.rows.get(number).map_or("", |row| self.path_of(row))
    }

    fn path_of(&self, row: &Row) -> &str {
        &self.text[row.at..row.at + usize::from(row.path)]
    }

    fn etag_of(&self, row: &Row) -> &str {
        let at = row.at + usize::from(row.path);
        &self.text[at..at + usize::from(row.etag)]
    }

    /// A file as the state has it.
    pub(crate) fn entry(&self, number: usize) -> Option<(TreePath, BaseEntry)> {
        let row = self.rows.get(number)?;
        let path = TreePath::parse(self.path_of(row)).ok()?;
        let entry = BaseEntry {
            kind: row.kind,
            size: row.size,
            hash: row.hash,
            etag: Etag::new(self.etag_of(row)),
            modified: row.is_listed.then_some(row.modified),
            seen: row.seen(),
        };
        Some((path, entry))
    }

    /// The number of a path, or of the first one after it. Whoever asks for one path after
    /// the other, in order, says where the last one was.
    pub(crate) fn find(&self, path: &str, near: usize) -> Result<usize, usize> {
        let compare = |row: &Row| self.path_of(row).cmp(path);
        let mut low = near.min(self.rows.len());
        if low > 0 && compare(&self.rows[low - 1]) != Ordering::Less {
            return self.rows[..low].binary_search_by(compare);
        }
        let (mut high, mut step) = (low, 1);
        while self
            .rows
            .get(high)
            .is_some_and(|row| compare(row) == Ordering::Less)
        {
            low = high + 1;
            high += step;
            step *= 2;
        }
        let end = (high + 1).min(self.rows.len());
        match self.rows[low..end].binary_search_by(compare) {
            Ok(at) => Ok(low + at),
            Err(at) => Err(low + at),
        }
    }

    /// The files below a path, as if it were a directory.
    pub(crate) fn below(&self, path: &str) -> Range<usize> {
        // `0` is the byte after `/`.
        let (Ok(from) | Err(from)) = self.find(&format!("{path}/"), 0);
        let (Ok(to) | Err(to)) = self.find(&format!("{path}0"), from);
        from..to
    }

    /// The number of a file of the folder that looks as it did, and could not have changed
    /// without a trace.
    pub fn as_seen(
        &self,
        path: &str,
        kind: Kind,
        stat: &Stat,
        step: i64,
        near: &mut usize,
    ) -> Option<u32> {
        let number = self.find(path, *near);
        let (Ok(at) | Err(at)) = number;
        *near = at;
        let row = self.rows.get(number.ok()?)?;
        let seen = row.seen().filter(|seen| seen.stat == *stat)?;
        let is_same = row.kind == kind && seen.is_certain(step) && !keys::is_reserved_name(path);
        is_same.then(|| u32::try_from(at).ok()).flatten()
    }

    /// The number of a file whose object is the one that it was, as it was listed.
    pub(crate) fn as_stored(
        &self,
        path: &str,
        object: &Stored<'_>,
        near: &mut usize,
    ) -> Option<u32> {
        let number = self.find(path, *near);
        let (Ok(at) | Err(at)) = number;
        *near = at;
        let row = self.rows.get(number.ok()?)?;
        let known = Stored {
            kind: row.kind,
            size: row.size,
            etag: self.etag_of(row),
            modified: row.modified,
        };
        let is_same = row.is_listed && known == *object;
        is_same.then(|| u32::try_from(at).ok()).flatten()
    }
}

/// An object as a listing has it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stored<'a> {
    pub(crate) kind: Kind,
    pub(crate) size: u64,
    pub(crate) etag: &'a str,
    pub(crate) modified: i64,
}

impl Row {
    fn seen(&self) -> Option<Seen> {
        let stat = Stat {
            size: self.size,
            mtime: self.mtime,
            ctime: self.ctime,
            ino: self.ino,
        };
        let at = self.seen_at;
        self.is_seen.then_some(Seen { stat, at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(paths: &[&str]) -> Known {
        let mut known = Known::default();
        for path in paths {
            let fact = Fact {
                path,
                etag: "e",
                kind: Kind::File,
                size: 1,
                hash: Hash([0; 32]),
                modified: None,
                seen: None,
            };
            assert!(known.push(&fact), "{path}");
        }
        known
    }

    #[test]
    fn every_path_is_found_from_everywhere() {
        let names = ["a", "a-b", "a/b", "a/c/d", "a0", "b", "c/x", "c/y", "d"];
        let known = known(&names);
        for near in 0..=names.len() {
            for (number, name) in names.iter().enumerate() {
                assert_eq!(known.find(name, near), Ok(number), "{name} from {near}");
                let after = format!("{name}\u{1}");
                assert_eq!(known.find(&after, near), Err(number + 1), "{after:?}");
            }
        }
        assert_eq!(known.below("a"), 2..4);
        assert_eq!(known.below("c"), 6..8);
        assert!(known.below("b").is_empty() && known.below("zz").is_empty());
    }

    #[test]
    fn what_is_out_of_order_is_no_part_of_it() {
        let mut known = known(&["b"]);
        let mut fact = Fact {
            path: "a",
            etag: "e",
            kind: Kind::File,
            size: 1,
            hash: Hash([0; 32]),
            modified: None,
            seen: None,
        };
        assert!(!known.push(&fact));
        fact.path = "b";
        assert!(!known.push(&fact));
        assert_eq!(known.len(), 1);
    }
}
