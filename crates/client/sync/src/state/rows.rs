//! Rows of the database.

use bucket::Etag;
use rusqlite::{Connection, Row, params};

use crate::entry::{BaseEntry, Hash, Kind, Seen, Stat};
use crate::known::Fact;
use crate::path::TreePath;
use crate::plan::Sending;

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
    if entry.etag.as_str().contains('-') {
        // It was put together, although the answer was lost.
        let whole = "DELETE FROM uploads WHERE path = ?1 AND path IN
                     (SELECT path FROM sending WHERE path = ?1 AND etag = ?2)";
        db.prepare_cached(whole)?
            .execute(params![path.as_str(), entry.etag.as_str()])?;
    }
    for query in [
        "DELETE FROM sending WHERE path = ?1",
        "DELETE FROM tombstones WHERE path = ?1",
    ] {
        db.prepare_cached(query)?.execute([path.as_str()])?;
    }
    Ok(())
}

/// Says that an upload or a copy begins.
pub(super) fn send(db: &Connection, path: &TreePath, sending: &Sending) -> rusqlite::Result<()> {
    let Sending {
        hash,
        size,
        etag,
        is_copy,
    } = sending;
    db.prepare_cached("INSERT OR REPLACE INTO sending VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![
            path.as_str(),
            hash.0,
            signed(*size),
            etag.as_str(),
            is_copy
        ])
        .map(drop)
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

/// A row of `entries` as it lies in the database.
pub(super) fn fact_of<'r>(row: &'r Row<'_>) -> rusqlite::Result<Fact<'r>> {
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
    Ok(Fact {
        path: row.get_ref(0)?.as_str()?,
        etag: row.get_ref(4)?.as_str()?,
        kind: kind_of(row.get(1)?),
        size,
        hash: Hash(row.get(3)?),
        modified: row.get(9)?,
        seen,
    })
}

pub(super) fn entry_of(row: &Row<'_>) -> rusqlite::Result<BaseEntry> {
    let fact = fact_of(row)?;
    Ok(BaseEntry {
        kind: fact.kind,
        size: fact.size,
        hash: fact.hash,
        etag: Etag::new(fact.etag),
        modified: fact.modified,
        seen: fact.seen,
    })
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
