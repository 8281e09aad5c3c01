//! What is known of a pair beside its state: where it is, what is left out, and how its last
//! run ended. A small file, so that it can be read while somebody syncs.
//!
//! # Format, version 1
//!
//! One JSON object. Members that are added later are left aside by earlier programs; a file
//! that is none is taken for not there.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ignored::Filter;

/// The version that this program writes.
const FORMAT: u32 = 1;

/// A pair of workspace and folder on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    format: u32,
    /// The pair's number, which the folder's marker repeats.
    pub pair: Uuid,
    /// The workspace's number.
    pub workspace: Uuid,
    /// The workspace's name on this machine.
    pub name: String,
    /// The folder, without links.
    #[serde(with = "lossless")]
    pub folder: PathBuf,
    /// The inode of the folder, once it was synced.
    pub root: Option<u64>,
    /// What is left out beside what the folder's own files say.
    #[serde(default)]
    pub filters: Vec<Filter>,
    /// How it is.
    #[serde(default)]
    pub standing: Standing,
}

/// How a pair is: times in nanoseconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Standing {
    /// When both sides were last alike.
    pub alike: Option<i64>,
    /// What the last run ended with, where they were not.
    pub trouble: Option<Trouble>,
    /// Runs in a row that ended so.
    pub failures: u32,
    /// When the next run begins, where somebody waits for that.
    pub next: Option<i64>,
    /// What the last look found.
    pub seen: Seen,
}

/// Why a run ended without both sides alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// When.
    pub at: i64,
    /// The kind of failure, as scripts know it.
    pub code: String,
    /// What the command ended with.
    pub exit: u8,
    /// What happened.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// What a look at both sides found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Seen {
    /// Files and links that are synced.
    pub files: u64,
    /// Conflict copies among them.
    pub conflicts: u64,
    /// Files and directories here that a rule leaves out.
    pub ignored_here: u64,
    /// Objects that a rule leaves out.
    pub ignored_there: u64,
    /// Their bytes.
    pub ignored_bytes: u64,
    /// Names that one side cannot hold, and what else was left alone.
    pub left_alone: u64,
}

impl Record {
    /// That of a pair that was never synced.
    pub fn new(pair: Uuid, workspace: Uuid, name: &str, folder: &Path) -> Self {
        Self {
            format: FORMAT,
            pair,
            workspace,
            name: name.to_owned(),
            folder: folder.to_owned(),
            root: None,
            filters: Vec::new(),
            standing: Standing::default(),
        }
    }

    /// Reads one; `None` where there is none.
    pub(crate) fn read(path: &Path) -> Option<Self> {
        let text = fs::read_to_string(path).ok()?;
        let record: Self = serde_json::from_str(&text).ok()?;
        (record.format <= FORMAT).then_some(record)
    }

    /// Replaces the file in one step; `lasting` makes that outlive a power cut.
    pub(crate) fn write(&self, path: &Path, lasting: bool) -> io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        serde_json::to_writer_pretty(&mut file, self)?;
        file.write_all(b"\n")?;
        if lasting {
            file.as_file().sync_all()?;
        }
        file.persist(path)?;
        if lasting {
            fs::File::open(folder)?.sync_all()?;
        }
        Ok(())
    }
}

impl Seen {
    /// One file more, or one fewer.
    pub(crate) fn count(&mut self, name: &str, more: bool) {
        let is_copy = model::conflict::original_name(name).is_some();
        let change = |count: u64, by: u64| match more {
            true => count + by,
            false => count.saturating_sub(by),
        };
        self.files = change(self.files, 1);
        self.conflicts = change(self.conflicts, u64::from(is_copy));
    }
}

impl Standing {
    /// A run ended with both sides alike.
    pub fn well(&mut self, now: i64) {
        self.alike = Some(now);
        self.trouble = None;
        self.failures = 0;
        self.next = None;
    }

    /// A run ended otherwise.
    pub fn ill(&mut self, trouble: Trouble) {
        self.trouble = Some(trouble);
        self.failures = self.failures.saturating_add(1);
        self.next = None;
    }
}

/// A path as text: as it is where it is UTF-8, else its bytes.
mod lossless {
    use std::ffi::OsString;
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    use std::path::{Path, PathBuf};

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// No absolute path begins so.
    const BYTES: &str = "hex:";

    pub(super) fn serialize<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
        match path.to_str() {
            Some(text) => to.serialize_str(text),
            None => {
                let bytes = hex::encode(path.as_os_str().as_bytes());
                to.serialize_str(&format!("{BYTES}{bytes}"))
            }
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
        let text = String::deserialize(from)?;
        match text.strip_prefix(BYTES) {
            Some(bytes) => {
                let bytes = hex::decode(bytes).map_err(D::Error::custom)?;
                Ok(OsString::from_vec(bytes).into())
            }
            None => Ok(text.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written_and_a_later_one_is_left_alone() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("a.json");
        assert_eq!(Record::read(&file), None);
        for folder in [&b"/home/u/my notes"[..], b"/home/u/\xff"] {
            let folder = Path::new(OsStr::from_bytes(folder));
            let mut record = Record::new(Uuid::from_u128(1), Uuid::from_u128(2), "notes", folder);
            record.filters = vec![Filter::exclude("*.tmp").unwrap()];
            record.standing.ill(Trouble {
                at: 7,
                code: "store-unreachable".into(),
                exit: 7,
                message: "no answer".into(),
                hint: None,
            });
            record.write(&file, true).unwrap();
            assert_eq!(Record::read(&file), Some(record));
        }
        let later = fs::read_to_string(&file)
            .unwrap()
            .replace("\"format\": 1", "\"format\": 2");
        fs::write(&file, later).unwrap();
        assert_eq!(Record::read(&file), None);
        fs::write(&file, "{").unwrap();
        assert_eq!(Record::read(&file), None);
        assert_eq!(
            fs::read_dir(place.path()).unwrap().count(),
            1,
            "nothing else"
        );
    }

    #[test]
    fn failures_are_counted_until_all_is_well() {
        let mut standing = Standing::default();
        let trouble = Trouble {
            at: 1,
            code: "c".into(),
            exit: 7,
            message: "m".into(),
            hint: None,
        };
        standing.ill(trouble.clone());
        standing.ill(trouble);
        assert_eq!((standing.failures, standing.alike), (2, None));
        standing.well(5);
        assert_eq!((standing.failures, standing.alike), (0, Some(5)));
        assert_eq!(standing.trouble, None);
    }
}
