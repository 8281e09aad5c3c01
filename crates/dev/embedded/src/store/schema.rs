//! The index's tables, and how a connection to it is set up.
//!
//! Keys are BLOBs: compared byte by byte, which is the order that S3 lists in, and any
//! string is welcome. A body's bytes are in the index when it is small, in a file named
//! by a random id when it is not, or (after a multipart completion) a list of other
//! bodies. `refs` counts who uses a body: objects, parts and joined bodies.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::Durability;

/// The layout that this program writes; a folder of a newer one is refused. 2 added the
/// settings of buckets, which a program of 1 would not heed.
pub(crate) const VERSION: i64 = 2;

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS buckets (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    created INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS settings (
    bucket INTEGER NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (bucket, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS bodies (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    refs INTEGER NOT NULL,
    size INTEGER NOT NULL,
    file TEXT,
    bytes BLOB
);
CREATE TABLE IF NOT EXISTS pieces (
    whole INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    body INTEGER NOT NULL,
    size INTEGER NOT NULL,
    PRIMARY KEY (whole, seq)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS objects (
    bucket INTEGER NOT NULL,
    key BLOB NOT NULL,
    body INTEGER NOT NULL,
    size INTEGER NOT NULL,
    etag TEXT NOT NULL,
    modified INTEGER NOT NULL,
    attributes TEXT,
    PRIMARY KEY (bucket, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS uploads (
    id TEXT PRIMARY KEY,
    bucket INTEGER NOT NULL,
    key BLOB NOT NULL,
    initiated INTEGER NOT NULL,
    attributes TEXT
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS uploads_by_key ON uploads (bucket, key, id);
CREATE TABLE IF NOT EXISTS parts (
    upload TEXT NOT NULL,
    number INTEGER NOT NULL,
    body INTEGER NOT NULL,
    size INTEGER NOT NULL,
    etag TEXT NOT NULL,
    modified INTEGER NOT NULL,
    checksums TEXT,
    PRIMARY KEY (upload, number)
) WITHOUT ROWID;
";

/// Opens the index for writing and creates what is missing.
pub(crate) fn open_writer(path: &Path, durability: Durability) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    let synchronous = match durability {
        Durability::Process => "OFF",
        Durability::Consistent => "NORMAL",
        Durability::Full => "FULL",
    };
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.pragma_update(None, "wal_autocheckpoint", 4096)?;
    connection.pragma_update(None, "cache_size", -16_384)?;
    connection.execute_batch(TABLES)?;
    prepare(&connection);
    Ok(connection)
}

/// Opens the index for reading only.
pub(crate) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.pragma_update(None, "query_only", true)?;
    prepare(&connection);
    Ok(connection)
}

/// The layout version of an open index; 0 for a new one.
pub(crate) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Writes the layout version down.
pub(crate) fn set_version(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "user_version", VERSION)
}

fn prepare(connection: &Connection) {
    connection.set_prepared_statement_cache_capacity(64);
}
