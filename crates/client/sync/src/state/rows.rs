//! Rows of the database.

use bucket::Etag;
use rusqlite::{Connection, Row, params};

use crate::entry::{BaseEntry, Hash, Kind, Seen, Stat};
use crate::path::TreePath;

pub(super) fn write(db: &Connection, path: &TreePath, entry: &BaseEntry) -> rusqlite::Result<()> {
    let stat = entry.seen.map(|seen| seen.stat);
    db.prepare_cached("INSERT OR REPLACE INTO entries VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10)")?
        .execute(params![
            path.as_str(),
            kind_number(entry.kind),
            signed(entry.size),
            entry.hash.0,
            entry.etag.as_str(),
            stat.map(|stat| stat.mtime),
            stat.map(|stat| stat.ctime),
            stat.map(|stat| signed(stat.ino)),
            entry.seen.map(|seen| seen.at),
            entry.modified,
        ])?;
    for query in [
        "DELETE FROM sending WHERE path = ?1",
        "DELETE FROM tombstones WHERE path = ?1",
    ] {
        db.prepare_cached(query)?.execute([path.as_str()])?;
    }
    Ok(())
}

pub(super) fn remove(db: &Connection, path: &TreePath) -> rusqlite::Result<()> {
    for query in [
        "DELETE FROM entries WHERE path = ?1",
        "DELETE FROM sending WHERE path = ?1",
    ] {
        db.prepare_cached(query)?.execute([path.as_str()])?;
    }
    Ok(())
}

pub(super) fn entry_of(row: &Row<'_>) -> rusqlite::Result<Option<(TreePath, BaseEntry)>> {
    let Ok(path) = TreePath::parse(row.get_ref(0)?.as_str()?) else {
        return Ok(None);
    };
    let size = unsigned(row.get(2)?);
    let seen = match row.get::<_, Option<i64>>(8)? {
        Some(at) => Some(Seen {
            stat: Stat {
                size,
                mtime: row.get(5)?,
                ctime: row.get(6)?,
                ino: unsigned(row.get(7)?),
            },
            at,
        }),
        None => None,
    };
    let entry = BaseEntry {
        kind: kind_of(row.get(1)?),
        size,
        hash: Hash(row.get(3)?),
        etag: Etag::new(row.get_ref(4)?.as_str()?),
        modified: row.get(9)?,
        seen,
    };
    Ok(Some((path, entry)))
}

pub(super) fn kind_number(kind: Kind) -> i64 {
    match kind {
        Kind::File => 0,
        Kind::Link => 1,
    }
}

pub(super) fn kind_of(number: i64) -> Kind {
    match number {
        1 => Kind::Link,
        _ => Kind::File,
    }
}

/// SQLite has no unsigned numbers: the bits are kept.
pub(super) fn signed(number: u64) -> i64 {
    number.cast_signed()
}

pub(super) fn unsigned(number: i64) -> u64 {
    number.cast_unsigned()
}
