//! What is worth knowing from mount to mount: for each object its inode number, attributes
//! and cached body. Everything here can be lost without losing anything but time.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rusqlite::{Connection, params};

use crate::journal::RowAttrs;

const FORMAT: i64 = 1;

/// The database of remembered entries.
pub(crate) struct Remembered {
    db: Mutex<Connection>,
    /// Nothing was remembered at the start: spare the look-ups.
    empty: AtomicBool,
}

/// One remembered entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) segment: String,
    pub(crate) kind: MemoryKind,
    pub(crate) ino: u64,
    pub(crate) etag: String,
    pub(crate) size: u64,
    pub(crate) attrs: RowAttrs,
    /// A whole cached body.
    pub(crate) body: Option<String>,
    /// A link's target.
    pub(crate) target: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MemoryKind {
    File,
    Directory,
    Symlink,
}

impl Remembered {
    /// Opens the database; one that cannot be used is thrown away, since it only saves time.
    pub(crate) fn open(folder: &Path) -> rusqlite::Result<Self> {
        let path = folder.join("names.db");
        open(&path).or_else(|error| {
            tracing::warn!(%error, "remembered names cannot be read; starting without them");
            for suffix in ["", "-wal", "-shm"] {
                let mut name = path.as_os_str().to_owned();
                name.push(suffix);
                let _ = std::fs::remove_file(name);
            }
            open(&path)
        })
    }

    /// The largest inode number that was given out.
    pub(crate) fn largest_ino(&self) -> u64 {
        let db = self.db.lock();
        db.query_row("SELECT max(ino) FROM entries", [], |row| {
            row.get::<_, Option<i64>>(0)
        })
        .ok()
        .flatten()
        .map_or(0, i64::cast_unsigned)
    }

    /// What is remembered of a directory's entries, by key segment.
    pub(crate) fn recall(&self, directory: &str) -> HashMap<(String, bool), Memory> {
        if self.empty.load(Ordering::Relaxed) {
            return HashMap::new();
        }
        let db = self.db.lock();
        let read = || -> rusqlite::Result<HashMap<(String, bool), Memory>> {
            db.prepare_cached(
                "SELECT segment, kind, ino, etag, size, attrs, body, target
                 FROM entries WHERE directory = ?1",
            )?
            .query_map([directory], |row| {
                let attrs: String = row.get(5)?;
                let kind = match row.get::<_, i64>(1)? {
                    0 => MemoryKind::File,
                    1 => MemoryKind::Directory,
                    _ => MemoryKind::Symlink,
                };
                let memory = Memory {
                    segment: row.get(0)?,
                    kind,
                    ino: row.get::<_, i64>(2)?.cast_unsigned(),
                    etag: row.get(3)?,
                    size: row.get::<_, i64>(4)?.cast_unsigned(),
                    attrs: serde_json::from_str(&attrs).unwrap_or(RowAttrs {
                        mode: 0o644,
                        uid: 0,
                        gid: 0,
                        mtime: 0,
                        xattrs: None,
                        chosen: false,
                    }),
                    body: row.get(6)?,
                    target: row.get(7)?,
                };
                let is_directory = kind == MemoryKind::Directory;
                Ok(((memory.segment.clone(), is_directory), memory))
            })?
            .collect()
        };
        read().unwrap_or_else(|error| {
            tracing::warn!(%error, "remembered names cannot be read");
            HashMap::new()
        })
    }

    /// Remembers some entries and forgets others, in one step.
    pub(crate) fn store(&self, keep: &[(String, Memory)], forget: &[(String, String, bool)]) {
        if keep.is_empty() && forget.is_empty() {
            return;
        }
        self.empty.store(false, Ordering::Relaxed);
        let mut db = self.db.lock();
        if let Err(error) = write(&mut db, keep, forget) {
            tracing::warn!(%error, "names cannot be remembered");
        }
    }

    /// The bodies that are remembered.
    pub(crate) fn bodies(&self) -> HashSet<String> {
        let db = self.db.lock();
        let read = || -> rusqlite::Result<HashSet<String>> {
            db.prepare("SELECT body FROM entries WHERE body IS NOT NULL")?
                .query_map([], |row| row.get(0))?
                .collect()
        };
        read().unwrap_or_default()
    }

    /// Whether the bodies may be trusted, as far as this database knows: they were all written
    /// by this boot of the machine, or the last mount ended in order. Marks the database as in
    /// use.
    pub(crate) fn begin(&self, boot: &str) -> bool {
        let db = self.db.lock();
        let last: Option<String> = db
            .query_row("SELECT boot FROM meta", [], |row| row.get(0))
            .ok();
        let trusted = last
            .as_deref()
            .is_none_or(|last| last == boot || last.is_empty());
        let _ = db.execute("UPDATE meta SET boot = ?1", [boot]);
        trusted
    }

    /// Forgets every body: it may hold anything.
    pub(crate) fn distrust(&self) {
        let db = self.db.lock();
        if let Err(error) = db.execute("UPDATE entries SET body = NULL", []) {
            tracing::warn!(%error, "remembered bodies cannot be forgotten");
        }
    }

    /// Forgets these bodies.
    pub(crate) fn distrust_some<'a>(&self, bodies: impl Iterator<Item = &'a str>) {
        let db = self.db.lock();
        for body in bodies {
            if let Err(error) = db.execute("UPDATE entries SET body = NULL WHERE body = ?1", [body])
            {
                tracing::warn!(%error, "a remembered body cannot be forgotten");
            }
        }
    }

    /// What is remembered of one directory, by its place and key segment.
    pub(crate) fn directory_attrs(&self, parent: &str, segment: &str) -> Option<RowAttrs> {
        if self.empty.load(Ordering::Relaxed) {
            return None;
        }
        let db = self.db.lock();
        let attrs: Option<String> = db
            .query_row(
                "SELECT attrs FROM entries
                 WHERE directory = ?1 AND segment = ?2 AND kind = 1",
                [parent, segment],
                |row| row.get(0),
            )
            .ok();
        serde_json::from_str(&attrs?).ok()
    }

    /// Says that everything is on the disk: call after the bodies were synced.
    pub(crate) fn end(&self) {
        let db = self.db.lock();
        let _ = db.execute("UPDATE meta SET boot = ''", []);
    }
}

fn open(path: &Path) -> rusqlite::Result<Remembered> {
    let db = Connection::open(path)?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "OFF")?;
    db.execute_batch(
        "CREATE TABLE IF NOT EXISTS meta (format INTEGER NOT NULL, boot TEXT NOT NULL);
         CREATE TABLE IF NOT EXISTS entries (
             directory TEXT NOT NULL, segment TEXT NOT NULL, kind INTEGER NOT NULL,
             ino INTEGER NOT NULL, etag TEXT NOT NULL, size INTEGER NOT NULL,
             attrs TEXT NOT NULL, body TEXT, target TEXT,
             PRIMARY KEY (directory, segment, kind)) WITHOUT ROWID;
         INSERT INTO meta SELECT 1, '' WHERE NOT EXISTS (SELECT 1 FROM meta);",
    )?;
    let format: i64 = db.query_row("SELECT format FROM meta", [], |row| row.get(0))?;
    if format != FORMAT {
        return Err(rusqlite::Error::InvalidQuery);
    }
    let known: i64 = db.query_row("SELECT EXISTS (SELECT 1 FROM entries)", [], |row| {
        row.get(0)
    })?;
    Ok(Remembered {
        db: Mutex::new(db),
        empty: AtomicBool::new(known == 0),
    })
}

fn write(
    db: &mut Connection,
    keep: &[(String, Memory)],
    forget: &[(String, String, bool)],
) -> rusqlite::Result<()> {
    let tx = db.transaction()?;
    {
        let mut remove = tx.prepare_cached(
            "DELETE FROM entries WHERE directory = ?1 AND segment = ?2 AND (kind = 1) = ?3",
        )?;
        for (directory, segment, is_directory) in forget {
            remove.execute(params![directory, segment, is_directory])?;
        }
        let mut put = tx.prepare_cached(
            "INSERT OR REPLACE INTO entries
             (directory, segment, kind, ino, etag, size, attrs, body, target)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?;
        for (directory, memory) in keep {
            put.execute(params![
                directory,
                memory.segment,
                memory.kind as i64,
                memory.ino.cast_signed(),
                memory.etag,
                memory.size.cast_signed(),
                serde_json::to_string(&memory.attrs).unwrap_or_default(),
                memory.body,
                memory.target,
            ])?;
        }
    }
    tx.commit()
}
