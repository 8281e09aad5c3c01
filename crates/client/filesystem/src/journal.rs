//! The journal: what is wanted of the bucket and not yet so, on disk before `close` returns.
//!
//! One SQLite database in WAL mode per workspace. A committed row survives a crash of this
//! process; [`Journal::sync`] makes all rows so far survive a crash of the machine.
//!
//! What cannot be read is set aside, never deleted: a whole journal under another name, a
//! single row in a table of its own, so that the others go on. One that a newer program wrote
//! is refused and left as it is.
//!
//! # Format, version 1
//!
//! Only ever extended: every journal of version 1 can be read by every later program, which
//! takes a field that is missing as unknown and ignores one that it does not know.
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
use crate::body::BodyStamp;

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
    boot: String,
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
    /// Of a deletion: the topmost directory that went away with the object. A listing shows it,
    /// and those on the way to the object, for as long as the object is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) gone: Option<Key>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RowWant {
    /// A file written here; `source` while missing bytes must still come from there.
    Body {
        id: String,
        /// How the file looked when all of it was last known to survive a power cut.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        synced: Option<RowStamp>,
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

/// What tells that a body's file is as it was; see [`BodyStamp`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RowStamp {
    size: u64,
    /// Nanoseconds since 1970. No program can set it.
    ctime: i64,
}

impl From<BodyStamp> for RowStamp {
    fn from(stamp: BodyStamp) -> Self {
        Self {
            size: stamp.size,
            ctime: i64::try_from(stamp.ctime).unwrap_or(i64::MAX),
        }
    }
}

/// A row with what the journal itself adds to it.
#[derive(Serialize)]
struct Written<'a> {
    #[serde(flatten)]
    row: &'a Row,
    /// The boot of the machine in which it was written.
    boot: &'a str,
}

/// A row as an earlier mount left it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Kept {
    #[serde(flatten)]
    pub(crate) row: Row,
    /// The boot of the machine in which it was written, where that is known.
    #[serde(default)]
    pub(crate) boot: Option<String>,
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
    pub(crate) rows: Vec<(Key, Kept)>,
    /// Entries of directories whose attributes are not in the bucket yet: (directory
    /// prefix, name, attributes).
    pub(crate) attributes: Vec<(String, String, String)>,
    /// Where a journal that could not be read was put, now or by an earlier mount.
    pub(crate) set_aside: Option<PathBuf>,
    /// Whether that happened now.
    pub(crate) newly_set_aside: bool,
    /// Single rows that cannot be read, now or earlier.
    pub(crate) damaged: Vec<Damaged>,
    /// Whether the last mount ended in order, or in this boot of the machine.
    pub(crate) in_order: bool,
}

/// A row that cannot be read, as it lies in the table `aside`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Damaged {
    pub(crate) key: String,
    row: String,
}

impl Damaged {
    /// What may be the names of bodies in it.
    pub(crate) fn bodies(&self) -> impl Iterator<Item = &str> {
        let is_other = |c: char| !c.is_ascii_hexdigit();
        self.row.split(is_other).filter(|word| word.len() == 32)
    }
}

/// Why a journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JournalError {
    /// A newer program wrote it.
    #[error("it has format {0}, which this program does not know")]
    Newer(i64),
    #[error(transparent)]
    Database(#[from] rusqlite::Error),
}

impl Journal {
    /// Opens the journal in `folder`, making it when there is none. `boot` is this boot of
    /// the machine.
    pub(crate) fn open(folder: &Path, boot: &str) -> Result<(Self, Replay), JournalError> {
        let path = folder.join(JOURNAL);
        let reserve = folder.join("journal.reserve");
        // What a full disk keeps from being opened needs it.
        let _ = std::fs::remove_file(&reserve);
        let (contents, newly) = match open_checked(&path, boot) {
            Err(JournalError::Database(error)) if is_corrupt(&error) => {
                tracing::error!(%error, path = %path.display(), "the journal cannot be read");
                let aside = set_aside(&path);
                (open_checked(&path, boot)?, Some(aside))
            }
            other => (other?, None),
        };
        let (db, mut replay) = contents;
        replay.newly_set_aside = newly.is_some();
        replay.set_aside = newly.or_else(|| set_aside_before(folder));
        let journal = Self {
            db: Mutex::new(db),
            reserve,
            boot: boot.to_owned(),
        };
        journal.has_room();
        Ok((journal, replay))
    }

    /// Says that the bodies of everything recorded are on the disk, and the journal too.
    pub(crate) fn end(&self) -> Result<(), FsError> {
        self.write(|db| durably(db, |db| note_boot(db, "")))
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
                        Some(row) => put.execute(params![key.as_str(), self.encode(row)])?,
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

    fn encode(&self, row: &Row) -> String {
        let boot = &self.boot;
        // Plain structs of strings and numbers always serialise.
        serde_json::to_string(&Written { row, boot }).unwrap_or_default()
    }

    /// Returns when everything recorded so far is on the disk, not only with the kernel.
    pub(crate) fn sync(&self) -> Result<(), FsError> {
        self.write(|db| {
            durably(db, |db| {
                db.execute("UPDATE meta SET syncs = syncs + 1", [])
                    .map(|_| ())
            })
        })
    }
}

/// Writes so that this and all that was written before is on the disk afterwards.
fn durably(
    db: &Connection,
    write: impl FnOnce(&Connection) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    db.pragma_update(None, "synchronous", "FULL")?;
    let done = write(db);
    db.pragma_update(None, "synchronous", "NORMAL")?;
    done
}

fn open_checked(path: &Path, boot: &str) -> Result<(Connection, Replay), JournalError> {
    let mut db = Connection::open(path)?;
    db.busy_timeout(std::time::Duration::from_secs(5))?;
    check_format(&db)?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "NORMAL")?;
    db.execute_batch(
        "CREATE TABLE IF NOT EXISTS meta (format INTEGER NOT NULL, syncs INTEGER NOT NULL);
         CREATE TABLE IF NOT EXISTS boots (boot TEXT NOT NULL);
         CREATE TABLE IF NOT EXISTS ops (
             seq INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, row TEXT NOT NULL);
         CREATE TABLE IF NOT EXISTS aside (key TEXT NOT NULL, row TEXT NOT NULL);
         CREATE TABLE IF NOT EXISTS attributes (
             directory TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL,
             PRIMARY KEY (directory, name)) WITHOUT ROWID;",
    )?;
    db.execute(
        "INSERT INTO meta SELECT ?1, 0 WHERE NOT EXISTS (SELECT 1 FROM meta)",
        [FORMAT],
    )?;
    let check: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if check != "ok" {
        return Err(corrupt(&check).into());
    }
    let rows = read_rows(&mut db)?;
    let damaged = db
        .prepare("SELECT key, row FROM aside ORDER BY rowid")?
        .query_map([], |row| {
            Ok(Damaged {
                key: row.get(0)?,
                row: row.get(1)?,
            })
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let attributes = db
        .prepare("SELECT directory, name, value FROM attributes")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let last: Option<String> = db
        .query_row("SELECT boot FROM boots", [], |row| row.get(0))
        .optional()?;
    let in_order = last
        .as_deref()
        .is_none_or(|last| last.is_empty() || last == boot);
    if last.as_deref() != Some(boot) {
        durably(&db, |db| note_boot(db, boot))?;
    }
    let replay = Replay {
        rows,
        attributes,
        set_aside: None,
        newly_set_aside: false,
        damaged,
        in_order,
    };
    Ok((db, replay))
}

/// Refuses what a newer program wrote, before anything in it is changed.
fn check_format(db: &Connection) -> Result<(), JournalError> {
    let made: bool = db.query_row(
        "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'meta')",
        [],
        |row| row.get(0),
    )?;
    if !made {
        return Ok(());
    }
    let format: Option<i64> = db
        .query_row("SELECT format FROM meta", [], |row| row.get(0))
        .optional()?;
    match format {
        Some(newer) if newer > FORMAT => Err(JournalError::Newer(newer)),
        Some(FORMAT) | None => Ok(()),
        Some(_) => Err(corrupt("unknown journal format").into()),
    }
}

/// The boot in which bodies are written that may not be on the disk; empty for none.
fn note_boot(db: &Connection, boot: &str) -> rusqlite::Result<()> {
    match db.execute("UPDATE boots SET boot = ?1", [boot])? {
        0 => db
            .execute("INSERT INTO boots VALUES (?1)", [boot])
            .map(|_| ()),
        _ => Ok(()),
    }
}

/// The rows, oldest first; those that cannot be read are put into the table `aside`, so that
/// nothing that is written at their keys replaces them.
fn read_rows(db: &mut Connection) -> rusqlite::Result<Vec<(Key, Kept)>> {
    let found = db
        .prepare("SELECT seq, key, row FROM ops ORDER BY seq")?
        .query_map([], |row| {
            Ok((row.get::<_, i64>(0)?, text(row, 1)?, text(row, 2)?))
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let mut rows = Vec::with_capacity(found.len());
    let mut damaged = Vec::new();
    for (seq, key, row) in found {
        match (Key::new(key.as_str()), serde_json::from_str::<Kept>(&row)) {
            (Ok(key), Ok(kept)) => rows.push((key, kept)),
            _ => damaged.push((seq, key, row)),
        }
    }
    if damaged.is_empty() {
        return Ok(rows);
    }
    let tx = db.transaction()?;
    for (seq, key, row) in damaged {
        tracing::error!(key, "a row of the journal cannot be read and is set aside");
        tx.execute("INSERT INTO aside VALUES (?1, ?2)", [&key, &row])?;
        tx.execute("DELETE FROM ops WHERE seq = ?1", [seq])?;
    }
    tx.commit()?;
    Ok(rows)
}

/// A column as text, whatever lies in it.
fn text(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<String> {
    use rusqlite::types::ValueRef;
    Ok(match row.get_ref(column)? {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
            String::from_utf8_lossy(bytes).into_owned()
        }
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => number.to_string(),
        ValueRef::Null => String::new(),
    })
}

/// A journal that an earlier mount set aside. Its bodies may be all that is left of what it
/// knew, so none that nobody knows is removed while it lies there.
fn set_aside_before(folder: &Path) -> Option<PathBuf> {
    let is_one = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.contains(ASIDE) && !name.ends_with("-wal") && !name.ends_with("-shm")
    };
    let found = std::fs::read_dir(folder).ok()?.flatten();
    found.map(|entry| entry.path()).filter(is_one).max()
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

    const BOOT: &str = "this boot";

    fn key(text: &str) -> Key {
        Key::new(text).expect("a key")
    }

    fn row(id: &str) -> Row {
        Row {
            want: RowWant::Body {
                id: id.to_owned(),
                synced: None,
            },
            base: Some(Etag::new("e")),
            maybe: vec!["t0".to_owned()],
            any: false,
            token: "t1".to_owned(),
            attrs: None,
            gone: None,
        }
    }

    fn kept(id: &str) -> Kept {
        Kept {
            row: row(id),
            boot: Some(BOOT.to_owned()),
        }
    }

    #[test]
    fn rows_come_back_in_order_and_removed_ones_do_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let (journal, _) = Journal::open(folder.path(), BOOT).expect("opens");
        journal
            .record(&[(key("b"), Some(row("1"))), (key("a"), Some(row("2")))])
            .expect("records");
        journal.record(&[(key("b"), None)]).expect("records");
        journal
            .record(&[(key("b"), Some(row("3")))])
            .expect("records");
        journal.sync().expect("syncs");
        drop(journal);
        let (_, replay) = Journal::open(folder.path(), BOOT).expect("opens again");
        assert_eq!(replay.rows, [(key("a"), kept("2")), (key("b"), kept("3"))]);
        assert_eq!(replay.set_aside, None);
        assert_eq!(replay.damaged, []);
    }

    /// As the first release wrote it: no boots, no table for damaged rows.
    fn old_journal(folder: &Path, format: i64, rows: &[(&str, &str)]) {
        let db = Connection::open(folder.join("journal.db")).expect("opens");
        db.execute_batch(
            "CREATE TABLE meta (format INTEGER NOT NULL, syncs INTEGER NOT NULL);
             CREATE TABLE ops (
                 seq INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, row TEXT NOT NULL);
             CREATE TABLE attributes (
                 directory TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL,
                 PRIMARY KEY (directory, name)) WITHOUT ROWID;",
        )
        .expect("tables");
        db.execute("INSERT INTO meta VALUES (?1, 0)", [format])
            .expect("meta");
        for (key, row) in rows {
            db.execute("INSERT INTO ops (key, row) VALUES (?1, ?2)", [key, row])
                .expect("a row");
        }
    }

    const OLD_ROW: &str = r#"{"want":{"body":{"id":"1"}},"base":"e","maybe":["t0"],"token":"t1"}"#;

    #[test]
    fn a_journal_of_the_first_release_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        old_journal(folder.path(), 1, &[("a", OLD_ROW)]);
        let (_, replay) = Journal::open(folder.path(), BOOT).expect("opens");
        let unknown = Kept {
            row: row("1"),
            boot: None,
        };
        assert_eq!(replay.rows, [(key("a"), unknown)]);
        assert!(replay.in_order, "nothing is known to the contrary");
    }

    #[test]
    fn a_journal_of_a_newer_program_is_refused_and_left_as_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        old_journal(folder.path(), 2, &[("a", "whatever")]);
        let before = std::fs::read(folder.path().join("journal.db")).expect("reads");
        let refused = Journal::open(folder.path(), BOOT).map(|_| ());
        assert!(
            matches!(refused, Err(JournalError::Newer(2))),
            "{refused:?}"
        );
        let after = std::fs::read(folder.path().join("journal.db")).expect("reads");
        assert!(before == after, "nothing in it is changed");
    }

    #[test]
    fn a_row_that_cannot_be_read_is_kept_and_the_others_go_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let id = "0123456789abcdef0123456789abcdef";
        let broken = format!(r#"{{"want":{{"body":{{"id":"{id}"}}}},"tok"#);
        old_journal(
            folder.path(),
            1,
            &[("good", OLD_ROW), ("bad", &broken), ("", OLD_ROW)],
        );
        for _ in 0..2 {
            let (journal, replay) = Journal::open(folder.path(), BOOT).expect("opens");
            assert_eq!(replay.rows.len(), 1);
            assert_eq!(replay.rows[0].0, key("good"));
            let keys: Vec<_> = replay.damaged.iter().map(|row| row.key.as_str()).collect();
            assert_eq!(keys, ["bad", ""]);
            assert_eq!(replay.damaged[0].bodies().collect::<Vec<_>>(), [id]);
            assert_eq!(replay.set_aside, None);
            // Something new at the same key does not replace it.
            journal.record(&[(key("bad"), None)]).expect("records");
        }
    }

    #[test]
    fn another_boot_without_an_end_is_noticed() {
        let folder = tempfile::tempdir().expect("a folder");
        let in_order = |boot| {
            let (journal, replay) = Journal::open(folder.path(), boot).expect("opens");
            (journal, replay.in_order)
        };
        assert!(in_order("one").1);
        assert!(in_order("one").1, "a crash of the process alone");
        let (journal, kept) = in_order("two");
        assert!(!kept, "the machine went down");
        journal.end().expect("ends");
        drop(journal);
        assert!(in_order("three").1);
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
        let (_, replay) = Journal::open(folder.path(), BOOT).expect("opens anew");
        assert!(replay.newly_set_aside);
        let aside = replay.set_aside.expect("set aside");
        assert_eq!(std::fs::read(&aside).expect("still there"), before);
        assert!(replay.rows.is_empty());
        let (_, replay) = Journal::open(folder.path(), BOOT).expect("opens again");
        assert_eq!(replay.set_aside, Some(aside), "still named");
        assert!(!replay.newly_set_aside);
    }
}
