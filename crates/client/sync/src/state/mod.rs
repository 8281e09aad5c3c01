//! What is known of a pair of folder and workspace between two passes: one SQLite database.
//!
//! What both sides had when they were last alike, uploads whose answer was not seen, what
//! was deleted (tombstones), and a log of the passes with what they took away, for undo.
//!
//! Everything here follows what was done, never goes before it: a crash between a change and
//! its row leaves two sides that are alike already, which the next plan sees. The one row that
//! goes before is that of an upload, so that a lost answer is no conflict with ourselves.
//!
//! # Format, version 2
//!
//! `PRAGMA user_version` is the version. A later version is refused and left as it is; an
//! earlier one is brought up to this one when it is opened, step by step ([`STEPS`]).

mod log;
mod partial;
mod rows;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bucket::Etag;
use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension};
use uuid::Uuid;

pub use log::{Outcome, Pass, Taken, Tombstone};
pub use partial::{PartialDownload, PartialUpload};
use rows::{entry_of, fact_of, remove, send, unsigned, write};

use crate::entry::{BaseEntry, Hash};
use crate::known::Known;
use crate::path::TreePath;
use crate::plan::{Base, Sending};

/// The version that this program writes.
const FORMAT: i64 = 2;

/// What leads from nothing to version 1, from there to version 2, and so on.
const STEPS: [&str; 2] = [FIRST, partial::SECOND];

const FIRST: &str = "
    CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
    CREATE TABLE entries (
        path TEXT PRIMARY KEY, kind INTEGER NOT NULL, size INTEGER NOT NULL,
        hash BLOB NOT NULL, etag TEXT NOT NULL,
        mtime INTEGER, ctime INTEGER, ino INTEGER, seen INTEGER
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE directories (path TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
    CREATE TABLE sending (
        path TEXT PRIMARY KEY, hash BLOB NOT NULL, size INTEGER NOT NULL, etag TEXT NOT NULL,
        copy INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE tombstones (
        path TEXT PRIMARY KEY, etag TEXT NOT NULL, here INTEGER NOT NULL, at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE passes (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL, began INTEGER NOT NULL, ended INTEGER,
        outcome TEXT, summary TEXT
    ) STRICT;
    CREATE TABLE taken (
        pass INTEGER NOT NULL, path TEXT NOT NULL, here INTEGER NOT NULL, kind INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX taken_of ON taken (pass);
";

/// Shorthand for a result with a [`StateError`].
pub type Result<T> = std::result::Result<T, StateError>;

/// Why the state cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// A later program wrote it.
    #[error("{path} was written by a newer version of artifacts (format {format})")]
    Newer {
        /// The database.
        path: String,
        /// Its format.
        format: i64,
    },
    /// Another process syncs this pair.
    #[error("{} is syncing this folder", process(*holder))]
    Locked {
        /// Its number; 0 where that is not known.
        holder: u32,
    },
    /// What is in it is not what this program wrote.
    #[error("the sync state {path} is damaged: {reason}")]
    Damaged {
        /// The database.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Anything else that the database or the disk says.
    #[error("the sync state {path} cannot be used: {reason}")]
    Unusable {
        /// The database.
        path: String,
        /// Their words.
        reason: String,
    },
}

fn process(number: u32) -> String {
    match number {
        0 => "another process".to_owned(),
        number => format!("process {number}"),
    }
}

/// The open state of one pair.
pub struct State {
    db: Mutex<Connection>,
    path: String,
}

/// What a state says of its pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairInfo {
    /// The pair's number, which the folder's marker repeats.
    pub pair: Uuid,
    /// The workspace's.
    pub workspace: Uuid,
    /// The inode of the folder, once it was synced.
    pub root: Option<u64>,
}

impl State {
    /// Opens the database, or makes it.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn open(path: &Path, workspace: Uuid) -> Result<Self> {
        let at = path.display().to_string();
        let db = Connection::open(path).map_err(|error| unusable(&at, &error))?;
        Self::prepare(db, at, workspace)
    }

    /// Opens a copy in a folder of its own, so that nothing at `path` changes, not even for a
    /// moment. `None` where there is no database.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn look(path: &Path, copy_in: &Path, workspace: Uuid) -> Result<Option<Self>> {
        let failed = |error: std::io::Error| StateError::Unusable {
            path: path.display().to_string(),
            reason: error.to_string(),
        };
        if !path.try_exists().map_err(failed)? {
            return Ok(None);
        }
        let copy = copy_in.join("state.db");
        std::fs::copy(path, &copy).map_err(failed)?;
        let log = beside(path, "-wal");
        if log.exists() {
            std::fs::copy(&log, beside(&copy, "-wal")).map_err(failed)?;
        }
        let at = path.display().to_string();
        let db = Connection::open(&copy).map_err(|error| unusable(&at, &error))?;
        Self::prepare(db, at, workspace).map(Some)
    }

    /// A state that lasts no longer than this value.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn in_memory(workspace: Uuid) -> Result<Self> {
        let at = "memory".to_owned();
        let db = Connection::open_in_memory().map_err(|error| unusable(&at, &error))?;
        Self::prepare(db, at, workspace)
    }

    fn prepare(db: Connection, path: String, workspace: Uuid) -> Result<Self> {
        let failed = |error: rusqlite::Error| unusable(&path, &error);
        let format: i64 = db
            .query_row("PRAGMA user_version", [], |row| row.get(0))
            .map_err(failed)?;
        if format > FORMAT {
            return Err(StateError::Newer { path, format });
        }
        // One process has it at a time (the pair's lock), so no shared memory is needed.
        db.execute_batch(
            "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL;
             PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 8000;",
        )
        .map_err(failed)?;
        let done = usize::try_from(format).unwrap_or(0);
        let mut steps: String = STEPS.iter().skip(done).copied().collect();
        if format == 0 {
            let pair = Uuid::new_v4();
            steps += &format!(
                "INSERT INTO meta VALUES ('pair', '{pair}'), ('workspace', '{workspace}');"
            );
        }
        if !steps.is_empty() {
            let all = format!("BEGIN; {steps} PRAGMA user_version = {FORMAT}; COMMIT;");
            db.execute_batch(&all).map_err(failed)?;
        }
        db.set_prepared_statement_cache_capacity(32);
        Ok(Self {
            db: Mutex::new(db),
            path,
        })
    }

    /// What the state says of its pair.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn info(&self) -> Result<PairInfo> {
        let number = |name: &str| -> Result<Uuid> {
            let text = self.meta(name)?.unwrap_or_default();
            Uuid::parse_str(&text).map_err(|_| self.broken(format!("{name} is {text:?}")))
        };
        Ok(PairInfo {
            pair: number("pair")?,
            workspace: number("workspace")?,
            root: self.meta("root")?.and_then(|text| text.parse().ok()),
        })
    }

    /// Remembers the folder's inode.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn set_root(&self, ino: u64) -> Result<()> {
        self.set_meta("root", &ino.to_string())
    }

    fn meta(&self, name: &str) -> Result<Option<String>> {
        let query = "SELECT value FROM meta WHERE name = ?1";
        self.with(|db| db.query_row(query, [name], |row| row.get(0)).optional())
    }

    fn set_meta(&self, name: &str, value: &str) -> Result<()> {
        let query = "INSERT OR REPLACE INTO meta VALUES (?1, ?2)";
        self.with(|db| db.execute(query, [name, value]).map(drop))
    }

    /// Everything that both sides had.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn base(&self) -> Result<Base> {
        let known = self.known()?;
        Ok(Base {
            entries: (0..known.len()).filter_map(|n| known.entry(n)).collect(),
            directories: self.directories()?,
        })
    }

    /// The files that both sides had, in few bytes.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn known(&self) -> Result<Known> {
        let mut known = Known::default();
        let in_order = self.with(|db| {
            let count = "SELECT count(*) FROM entries";
            let count: i64 = db.query_row(count, [], |row| row.get(0))?;
            known.reserve(usize::try_from(count).unwrap_or(0));
            // The key's own order: nothing is sorted.
            let mut entries = db.prepare_cached("SELECT * FROM entries ORDER BY path")?;
            let mut rows = entries.query([])?;
            while let Some(row) = rows.next()? {
                if !known.push(&fact_of(row)?) {
                    return Ok(false);
                }
            }
            Ok(true)
        })?;
        match in_order {
            true => Ok(known),
            false => Err(self.broken("its rows are out of order, or too long".to_owned())),
        }
    }

    /// What both sides had at a path.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn entry(&self, path: &TreePath) -> Result<Option<BaseEntry>> {
        let query = "SELECT * FROM entries WHERE path = ?1";
        self.with(|db| {
            let mut query = db.prepare_cached(query)?;
            let mut rows = query.query([path.as_str()])?;
            rows.next()?.map(entry_of).transpose()
        })
    }

    /// The directories that both sides had.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn directories(&self) -> Result<BTreeSet<TreePath>> {
        self.with(|db| {
            let mut query = db.prepare_cached("SELECT path FROM directories")?;
            let mut rows = query.query([])?;
            let mut all = BTreeSet::new();
            while let Some(row) = rows.next()? {
                all.extend(TreePath::parse(row.get_ref(0)?.as_str()?).ok());
            }
            Ok(all)
        })
    }

    /// Uploads whose answer was not seen.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn sending(&self) -> Result<std::collections::BTreeMap<TreePath, Sending>> {
        let mut all = std::collections::BTreeMap::new();
        self.with(|db| {
            let mut query =
                db.prepare_cached("SELECT path, hash, size, etag, copy FROM sending")?;
            let mut rows = query.query([])?;
            while let Some(row) = rows.next()? {
                let sent = Sending {
                    hash: Hash(row.get(1)?),
                    size: unsigned(row.get(2)?),
                    etag: Etag::new(&row.get::<_, String>(3)?),
                    is_copy: row.get(4)?,
                };
                let path = TreePath::parse(&row.get::<_, String>(0)?);
                all.extend(path.ok().map(|path| (path, sent)));
            }
            Ok(())
        })?;
        Ok(all)
    }

    /// Whether something was sent to a path whose answer was not seen.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn was_sending(&self, path: &TreePath) -> Result<bool> {
        let query = "SELECT 1 FROM sending WHERE path = ?1";
        self.with(|db| db.prepare_cached(query)?.exists([path.as_str()]))
    }

    /// Says that an upload begins.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn begin_sending(&self, path: &TreePath, sending: &Sending) -> Result<()> {
        self.with(|db| send(db, path, sending))
    }

    /// Says that a file has another name now, and that its object of the old name, which is
    /// this copy, is about to go.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn record_moved(
        &self,
        to: &TreePath,
        entry: &BaseEntry,
        from: &TreePath,
        copy: &Sending,
    ) -> Result<()> {
        self.transaction(|db| {
            write(db, to, entry)?;
            remove(db, from)?;
            send(db, from, copy)
        })
    }

    /// Says what both sides have at a path now.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn record(&self, path: &TreePath, entry: &BaseEntry) -> Result<()> {
        self.transaction(|db| write(db, path, entry))
    }

    /// The same of many paths, all or none.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn record_all(&self, changes: &[(TreePath, Option<BaseEntry>)]) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        self.transaction(|db| {
            for (path, entry) in changes {
                match entry {
                    Some(entry) => write(db, path, entry)?,
                    None => remove(db, path)?,
                }
            }
            Ok(())
        })
    }

    /// Says that neither side has a path any more; with what it was where it was deleted.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn forget(&self, path: &TreePath, deleted: Option<&Tombstone>) -> Result<()> {
        self.transaction(|db| {
            remove(db, path)?;
            deleted.map_or(Ok(()), |tombstone| tombstone.write(db, path))
        })
    }

    /// Says which directories both sides have, or have no more.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn record_directories(&self, changes: &[(TreePath, bool)]) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        self.transaction(|db| {
            for (path, there) in changes {
                let query = match there {
                    true => "INSERT OR REPLACE INTO directories VALUES (?1)",
                    false => "DELETE FROM directories WHERE path = ?1",
                };
                db.prepare_cached(query)?.execute([path.as_str()])?;
            }
            Ok(())
        })
    }

    /// Forgets what both sides had, so that the next pass is a first one.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn forget_everything(&self) -> Result<()> {
        self.transaction(|db| {
            db.execute_batch(
                "DELETE FROM entries; DELETE FROM directories; DELETE FROM sending;
                 DELETE FROM meta WHERE name = 'root';",
            )
        })
    }

    fn with<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        work(&self.db.lock()).map_err(|error| unusable(&self.path, &error))
    }

    fn transaction<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        let mut db = self.db.lock();
        let run = || {
            let tx = db.transaction()?;
            let answer = work(&tx)?;
            tx.commit()?;
            Ok(answer)
        };
        run().map_err(|error: rusqlite::Error| unusable(&self.path, &error))
    }

    fn broken(&self, reason: String) -> StateError {
        StateError::Damaged {
            path: self.path.clone(),
            reason,
        }
    }
}

/// The file beside a database whose name ends so, too.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn unusable(path: &str, error: &rusqlite::Error) -> StateError {
    use rusqlite::{Error, ErrorCode};
    let (path, reason) = (path.to_owned(), error.to_string());
    let is_damage = match error {
        Error::FromSqlConversionFailure(..) | Error::InvalidColumnType(..) => true,
        _ => matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
        ),
    };
    match is_damage {
        true => StateError::Damaged { path, reason },
        false => StateError::Unusable { path, reason },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Kind, Seen, Stat};

    fn entry(etag: &str, seen: bool) -> BaseEntry {
        let stat = Stat {
            size: 3,
            mtime: -7,
            ctime: i64::MAX,
            ino: u64::MAX,
        };
        BaseEntry {
            kind: Kind::Link,
            size: 3,
            hash: Hash::of(b"abc"),
            etag: Etag::new(etag),
            modified: seen.then_some(-3),
            seen: seen.then_some(Seen { stat, at: 9 }),
        }
    }

    fn path(text: &str) -> TreePath {
        TreePath::parse(text).unwrap()
    }

    #[test]
    fn what_was_recorded_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pair.db");
        let workspace = Uuid::new_v4();
        let state = State::open(&file, workspace).unwrap();
        let info = state.info().unwrap();
        state.record(&path("a"), &entry("1", true)).unwrap();
        state.record(&path("b/ü"), &entry("2", false)).unwrap();
        state.record(&path("c"), &entry("3", true)).unwrap();
        state.forget(&path("c"), None).unwrap();
        state
            .record_directories(&[(path("b"), true), (path("d"), true)])
            .unwrap();
        state.record_directories(&[(path("d"), false)]).unwrap();
        state.set_root(42).unwrap();
        drop(state);
        let state = State::open(&file, Uuid::new_v4()).unwrap();
        let base = state.base().unwrap();
        let all: Vec<_> = base.entries.into_iter().collect();
        assert_eq!(
            all,
            [
                (path("a"), entry("1", true)),
                (path("b/ü"), entry("2", false))
            ]
        );
        assert_eq!(
            base.directories.into_iter().collect::<Vec<_>>(),
            [path("b")]
        );
        let root = Some(42);
        assert_eq!(
            state.info().unwrap(),
            PairInfo {
                root,
                workspace,
                ..info
            }
        );
    }

    #[test]
    fn an_upload_is_under_way_until_its_end_is_recorded() {
        let state = State::in_memory(Uuid::nil()).unwrap();
        let sending = Sending {
            hash: Hash::of(b"abc"),
            size: 3,
            etag: Etag::new("e"),
            is_copy: true,
        };
        state.begin_sending(&path("a"), &sending).unwrap();
        assert_eq!(state.sending().unwrap()[&path("a")], sending);
        state.record(&path("a"), &entry("e", true)).unwrap();
        assert!(state.sending().unwrap().is_empty());
    }

    #[test]
    fn a_later_format_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pair.db");
        let db = Connection::open(&file).unwrap();
        db.execute_batch("PRAGMA user_version = 3").unwrap();
        drop(db);
        let before = std::fs::read(&file).unwrap();
        let refused = State::open(&file, Uuid::nil()).map(drop).unwrap_err();
        let path = file.display().to_string();
        assert_eq!(refused, StateError::Newer { path, format: 3 });
        assert_eq!(std::fs::read(&file).unwrap(), before);
    }

    #[test]
    fn an_earlier_format_is_brought_up_and_keeps_what_it_knows() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pair.db");
        let workspace = Uuid::new_v4();
        let db = Connection::open(&file).unwrap();
        db.execute_batch(&format!(
            "{FIRST} INSERT INTO meta VALUES ('pair', '{workspace}'), ('workspace', '{workspace}');
             PRAGMA user_version = 1;"
        ))
        .unwrap();
        db.execute(
            "INSERT INTO entries VALUES ('a', 0, 3, ?1, 'e', 1, 2, 4, 5)",
            [Hash::of(b"abc").0],
        )
        .unwrap();
        drop(db);
        let state = State::open(&file, Uuid::nil()).unwrap();
        let base = state.base().unwrap();
        let entry = &base.entries[&path("a")];
        assert_eq!((entry.modified, entry.etag.as_str()), (None, "e"));
        assert_eq!(entry.seen.unwrap().stat.ino, 4);
        assert_eq!(state.info().unwrap().workspace, workspace);
        assert!(state.uploads().unwrap().is_empty());
    }

    #[test]
    fn looking_changes_nothing_even_after_a_crash() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pair.db");
        let state = State::open(&file, Uuid::nil()).unwrap();
        state.record(&path("a"), &entry("1", true)).unwrap();
        // As kill -9 leaves it: the log is not yet in the database.
        std::mem::forget(state);
        let names = || {
            let mut all: Vec<_> = std::fs::read_dir(folder.path())
                .unwrap()
                .map(|e| e.unwrap())
                .map(|e| (e.file_name(), std::fs::read(e.path()).unwrap()))
                .collect();
            all.sort();
            all
        };
        let before = names();
        let elsewhere = tempfile::tempdir().unwrap();
        let look = State::look(&file, elsewhere.path(), Uuid::nil())
            .unwrap()
            .unwrap();
        assert!(look.base().unwrap().entries.contains_key(&path("a")));
        drop(look);
        assert_eq!(names(), before);
    }
}
