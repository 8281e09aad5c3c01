//! The journal: what is wanted of the bucket and not yet so, on disk before `close` returns.
//!
//! One SQLite database in WAL mode per workspace. A committed row survives a crash of this
//! process; [`Journal::sync`] makes all rows so far survive a crash of the machine. A
//! journal that cannot be read is set aside under another name, never deleted.
//!
//! A reserve of disk lies beside it: on a full disk it is given up, so that what was begun can
//! still be recorded (above all the deletes that make room), and nothing new is begun until it
//! could be set up again.

use std::path::{Path, PathBuf};

use bucket::{Etag, Key};
use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use crate::FsError;

/// The journal's file in a workspace's state folder.
pub(crate) const JOURNAL: &str = "journal.db";

const FORMAT: i64 = 1;
/// Bytes of the reserve: thousands of rows.
const RESERVE: u64 = 2 << 20;
/// How a journal is called that could not be read, with the time after it.
const ASIDE: &str = ".corrupt-";

/// The open journal.
pub(crate) struct Journal {
    db: Mutex<Connection>,
    reserve: PathBuf,
}

/// One pending operation as it lies on disk: enough to carry it out with nothing else
/// than the body's file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) want: RowWant,
    pub(crate) base: Option<Etag>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) maybe: Vec<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) any: bool,
    pub(crate) token: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) attrs: Option<RowAttrs>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RowWant {
    /// A file written here; `source` while missing bytes must still come from there.
    Body {
        id: String,
    },
    Link {
        target: String,
    },
    Marker,
    Copy {
        from: Key,
        etag: Etag,
        size: u64,
        link: bool,
    },
    Delete,
}

/// A node's attributes as they lie on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RowAttrs {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) xattrs: Option<std::collections::BTreeMap<String, Vec<u8>>>,
    #[serde(default)]
    pub(crate) chosen: bool,
}

/// What a journal kept for the next mount, oldest change first.
pub(crate) struct Replay {
    pub(crate) rows: Vec<(Key, Row)>,
    /// Entries of directories whose attributes are not in the bucket yet: (directory
    /// prefix, name, attributes).
    pub(crate) attributes: Vec<(String, String, String)>,
    /// Where a journal that could not be read was put.
    pub(crate) set_aside: Option<PathBuf>,
}

impl Journal {
    /// Opens the journal in `folder`, making it when there is none.
    pub(crate) fn open(folder: &Path) -> Result<(Self, Replay), rusqlite::Error> {
        let path = folder.join(JOURNAL);
        let reserve = folder.join("journal.reserve");
        // What a full disk keeps from being opened needs it.
        let _ = std::fs::remove_file(&reserve);
        let (contents, set_aside) = match open_checked(&path) {
            Err(error) if is_corrupt(&error) => {
                tracing::error!(%error, path = %path.display(), "the journal cannot be read");
                let aside = set_aside(&path);
                (open_checked(&path)?, Some(aside))
            }
            other => (other?, None),
        };
        let (db, rows, attributes) = contents;
        let db = Mutex::new(db);
        let journal = Self { db, reserve };
        journal.has_room();
        Ok((
            journal,
            Replay {
                rows,
                attributes,
                set_aside,
            },
        ))
    }

    /// Whether a journal that could not be read still lies there. Its bodies may be all that
    /// is left of what it knew.
    pub(crate) fn any_set_aside(folder: &Path) -> bool {
        let is_one = |entry: std::fs::DirEntry| entry.file_name().to_string_lossy().contains(ASIDE);
        // When in doubt nothing is removed.
        std::fs::read_dir(folder).map_or(true, |entries| entries.flatten().any(is_one))
    }

    /// Whether the reserve is there; sets it up where there is room again.
    pub(crate) fn has_room(&self) -> bool {
        if self.reserve.exists() {
            return true;
        }
        let set_up = || -> std::io::Result<()> {
            let file = std::fs::File::create(&self.reserve)?;
            rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, RESERVE)?;
            Ok(())
        };
        match set_up() {
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => {
                self.give_up_reserve();
                false
            }
            // A file system that cannot reserve: then the writes themselves tell.
            _ => true,
        }
    }

    fn give_up_reserve(&self) -> bool {
        std::fs::remove_file(&self.reserve).is_ok()
    }

    /// Writes, with the reserve's room when the disk is full.
    fn write(
        &self,
        write: impl Fn(&mut Connection) -> rusqlite::Result<()>,
    ) -> Result<(), FsError> {
        let mut db = self.db.lock();
        let full = |error: &rusqlite::Error| {
            error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
        };
        match write(&mut db) {
            Err(error) if full(&error) && self.give_up_reserve() => write(&mut db),
            other => other,
        }
        .map_err(|error| journal_error(&error))
    }

    /// Writes the new state of some keys: `None` where nothing is wanted any more. All or
    /// nothing.
    pub(crate) fn record(&self, changes: &[(Key, Option<Row>)]) -> Result<(), FsError> {
        if changes.is_empty() {
            return Ok(());
        }
        self.write(|db| {
            let tx = db.transaction()?;
            {
                let mut put = tx.prepare_cached(
                    "INSERT INTO ops (key, row) VALUES (?1, ?2)
                     ON CONFLICT (key) DO UPDATE SET row = ?2",
                )?;
                let mut remove = tx.prepare_cached("DELETE FROM ops WHERE key = ?1")?;
                for (key, row) in changes {
                    match row {
                        Some(row) => put.execute(params![key.as_str(), encode(row)])?,
                        None => remove.execute([key.as_str()])?,
                    };
                }
            }
            tx.commit()
        })
    }

    /// Keeps (or, with `None`, drops) what is to be told to a directory's attribute index.
    pub(crate) fn record_attributes(
        &self,
        directory: &str,
        entries: &[(String, Option<String>)],
    ) -> Result<(), FsError> {
        self.write(|db| {
            let tx = db.transaction()?;
            for (name, value) in entries {
                match value {
                    Some(value) => tx
                        .prepare_cached(
                            "INSERT INTO attributes (directory, name, value) VALUES (?1, ?2, ?3)
                             ON CONFLICT (directory, name) DO UPDATE SET value = ?3",
                        )?
                        .execute([directory, name, value])?,
                    None => tx
                        .prepare_cached(
                            "DELETE FROM attributes WHERE directory = ?1 AND name = ?2",
                        )?
                        .execute([directory, name])?,
                };
            }
            tx.commit()
        })
    }

    /// Returns when everything recorded so far is on the disk, not only with the kernel.
    pub(crate) fn sync(&self) -> Result<(), FsError> {
        self.write(|db| {
            db.pragma_update(None, "synchronous", "FULL")?;
            let done = db.execute("UPDATE meta SET syncs = syncs + 1", []);
            db.pragma_update(None, "synchronous", "NORMAL")?;
            done.map(|_| ())
        })
    }
}

type Contents = (Connection, Vec<(Key, Row)>, Vec<(String, String, String)>);

fn open_checked(path: &Path) -> rusqlite::Result<Contents> {
    let db = Connection::open(path)?;
    db.busy_timeout(std::time::Duration::from_secs(5))?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "NORMAL")?;
    db.execute_batch(
        "CREATE TABLE IF NOT EXISTS meta (format INTEGER NOT NULL, syncs INTEGER NOT NULL);
         CREATE TABLE IF NOT EXISTS ops (
             seq INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, row TEXT NOT NULL);
         CREATE TABLE IF NOT EXISTS attributes (
             directory TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL,
             PRIMARY KEY (directory, name)) WITHOUT ROWID;",
    )?;
    let format: Option<i64> = db
        .query_row("SELECT format FROM meta", [], |row| row.get(0))
        .optional()?;
    match format {
        None => {
            db.execute("INSERT INTO meta VALUES (?1, 0)", [FORMAT])?;
        }
        Some(FORMAT) => {}
        Some(_) => return Err(corrupt("unknown journal format")),
    }
    let check: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if check != "ok" {
        return Err(corrupt(&check));
    }
    let rows = db
        .prepare("SELECT key, row FROM ops ORDER BY seq")?
        .query_map([], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
        })?
        .map(|found| {
            let (key, row) = found?;
            let key = Key::new(key).map_err(|error| corrupt(&error.to_string()))?;
            let row = serde_json::from_str(&row).map_err(|error| corrupt(&error.to_string()))?;
            Ok((key, row))
        })
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let attributes = db
        .prepare("SELECT directory, name, value FROM attributes")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    Ok((db, rows, attributes))
}

fn encode(row: &Row) -> String {
    // Plain structs of strings and numbers always serialise.
    serde_json::to_string(row).unwrap_or_default()
}

fn corrupt(why: &str) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(
        rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT),
        Some(why.to_owned()),
    )
}

fn is_corrupt(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase)
    )
}

/// Moves the database and its side files to a name with the time in it.
fn set_aside(path: &Path) -> PathBuf {
    let stamp = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_millis());
    let mut target = path.as_os_str().to_owned();
    target.push(format!("{ASIDE}{stamp}"));
    for suffix in ["", "-wal", "-shm"] {
        let mut from = path.as_os_str().to_owned();
        from.push(suffix);
        let mut to = target.clone();
        to.push(suffix);
        let _ = std::fs::rename(from, to);
    }
    PathBuf::from(target)
}

fn journal_error(error: &rusqlite::Error) -> FsError {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DiskFull) => FsError::NoSpace,
        _ => FsError::Local(format!("journal: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str) -> Row {
        Row {
            want: RowWant::Body { id: id.to_owned() },
            base: Some(Etag::new("e")),
            maybe: vec!["t0".to_owned()],
            any: false,
            token: "t1".to_owned(),
            attrs: None,
        }
    }

    #[test]
    fn rows_come_back_in_order_and_removed_ones_do_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let key = |text: &str| Key::new(text).expect("a key");
        let (journal, _) = Journal::open(folder.path()).expect("opens");
        journal
            .record(&[(key("b"), Some(row("1"))), (key("a"), Some(row("2")))])
            .expect("records");
        journal.record(&[(key("b"), None)]).expect("records");
        journal
            .record(&[(key("b"), Some(row("3")))])
            .expect("records");
        journal.sync().expect("syncs");
        drop(journal);
        let (_, replay) = Journal::open(folder.path()).expect("opens again");
        assert_eq!(replay.rows, [(key("a"), row("2")), (key("b"), row("3"))]);
        assert_eq!(replay.set_aside, None);
    }

    #[test]
    fn a_journal_that_cannot_be_read_is_kept_aside() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal.db");
        std::fs::write(
            &path,
            b"this is no database, and is longer than a header".repeat(9),
        )
        .expect("writes");
        let before = std::fs::read(&path).expect("reads");
        let (_, replay) = Journal::open(folder.path()).expect("opens anew");
        let aside = replay.set_aside.expect("set aside");
        assert_eq!(std::fs::read(aside).expect("still there"), before);
        assert!(replay.rows.is_empty());
    }
}
