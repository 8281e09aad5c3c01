//! Bodies: how bytes come in, where the index says they are, when they are let go.

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::PathBuf;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};

use super::Result;
use super::files::{Files, NewFile};
use super::writer::Change;

/// Bodies up to this many bytes live in the index: no file to create, open or flush.
pub(crate) const INLINE: usize = 32 * 1024;

/// A body being received: in memory while small, in a file beyond.
pub(crate) struct Draft {
    files: Files,
    small: Vec<u8>,
    file: Option<NewFile>,
    size: u64,
}

/// A body received whole, not yet named by the index.
pub(crate) struct NewBody {
    /// Bytes in it.
    pub(crate) size: u64,
    place: Place,
}

enum Place {
    Index(Vec<u8>),
    File(NewFile),
}

/// A run of a body's bytes, in one place.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    /// Bytes in it.
    pub(crate) size: u64,
    /// Where they are.
    pub(crate) source: Source,
}

/// Where a piece's bytes are.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// Here.
    Bytes(Bytes),
    /// In this whole file.
    File(PathBuf),
}

impl Draft {
    pub(crate) fn new(files: Files) -> Self {
        Self {
            files,
            small: Vec::new(),
            file: None,
            size: 0,
        }
    }

    /// Whether the next `more` bytes still stay in memory (so that writing cannot block).
    pub(crate) fn stays_small(&self, more: usize) -> bool {
        self.file.is_none() && self.small.len() + more <= INLINE
    }

    /// Appends bytes. May block on the disk.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.size += bytes.len() as u64;
        if self.stays_small(bytes.len()) {
            self.small.extend_from_slice(bytes);
            return Ok(());
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let mut file = self.files.create()?;
                file.write_all(&self.small)?;
                self.small = Vec::new();
                none.insert(file)
            }
        };
        file.write_all(bytes)
    }

    /// Ends the body; its bytes are as durable as the store was told to make them.
    pub(crate) fn finish(self) -> io::Result<NewBody> {
        let place = match self.file {
            None => Place::Index(self.small),
            Some(mut file) => {
                file.settle()?;
                Place::File(file)
            }
        };
        Ok(NewBody {
            size: self.size,
            place,
        })
    }
}

#[cfg(test)]
impl NewBody {
    /// A small body.
    pub(super) fn of_bytes(bytes: &[u8]) -> Self {
        Self {
            size: bytes.len() as u64,
            place: Place::Index(bytes.to_vec()),
        }
    }
}

/// Writes a new body's row, with one user.
pub(super) fn insert(change: &mut Change<'_>, body: NewBody) -> Result<i64> {
    let sql = "INSERT INTO bodies (refs, size, file, bytes) VALUES (1, ?1, ?2, ?3)";
    let mut statement = change.index.prepare_cached(sql)?;
    match body.place {
        Place::Index(bytes) => {
            statement.execute(params![signed(body.size), None::<&str>, bytes])?;
        }
        Place::File(file) => {
            statement.execute(params![signed(body.size), file.id(), None::<&[u8]>])?;
            drop(statement);
            change.bring(file);
        }
    }
    Ok(change.index.last_insert_rowid())
}

/// Writes a body that is other bodies one after the other, and becomes their user.
pub(super) fn join(change: &Change<'_>, bodies: &[(i64, u64)]) -> Result<i64> {
    let size: u64 = bodies.iter().map(|(_, size)| size).sum();
    let index = change.index;
    index
        .prepare_cached("INSERT INTO bodies (refs, size, file, bytes) VALUES (1, ?1, NULL, NULL)")?
        .execute([signed(size)])?;
    let whole = index.last_insert_rowid();
    let mut add = index
        .prepare_cached("INSERT INTO pieces (whole, seq, body, size) VALUES (?1, ?2, ?3, ?4)")?;
    for (seq, (body, size)) in (0_i64..).zip(bodies) {
        add.execute(params![whole, seq, body, signed(*size)])?;
        share(index, *body)?;
    }
    Ok(whole)
}

/// Counts one more user of a body.
pub(super) fn share(index: &Connection, body: i64) -> Result<()> {
    index
        .prepare_cached("UPDATE bodies SET refs = refs + 1 WHERE id = ?1")?
        .execute([body])?;
    Ok(())
}

/// Counts one user less, and removes the body with the last.
pub(super) fn release(change: &mut Change<'_>, body: i64) -> Result<()> {
    let index = change.index;
    let (refs, file) = index
        .prepare_cached("UPDATE bodies SET refs = refs - 1 WHERE id = ?1 RETURNING refs, file")?
        .query_row([body], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, Option<String>>(1)?))
        })?;
    if refs > 0 {
        return Ok(());
    }
    index
        .prepare_cached("DELETE FROM bodies WHERE id = ?1")?
        .execute([body])?;
    if let Some(file) = file {
        change.free(&file);
    }
    for piece in pieces_of(index, body)? {
        release(change, piece)?;
    }
    index
        .prepare_cached("DELETE FROM pieces WHERE whole = ?1")?
        .execute([body])?;
    Ok(())
}

/// Where the bytes of a body are.
pub(super) fn locate(index: &Connection, files: &Files, body: i64) -> Result<Vec<Piece>> {
    let own = index
        .prepare_cached("SELECT size, file, bytes FROM bodies WHERE id = ?1 AND (file IS NOT NULL OR bytes IS NOT NULL)")?
        .query_row([body], |row| piece(row, files))
        .optional()?;
    if let Some(own) = own {
        return Ok(vec![own]);
    }
    let sql = "SELECT b.size, b.file, b.bytes, b.id FROM pieces p JOIN bodies b ON b.id = p.body
               WHERE p.whole = ?1 ORDER BY p.seq";
    let mut statement = index.prepare_cached(sql)?;
    let mut rows = statement.query([body])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.push((piece(row, files)?, row.get::<_, i64>(3)?));
    }
    let mut flat = Vec::with_capacity(all.len());
    for (piece, id) in all {
        // A piece that is itself joined has neither file nor bytes of its own.
        match &piece.source {
            Source::Bytes(bytes) if bytes.len() as u64 != piece.size => {
                flat.extend(locate(index, files, id)?)
            }
            _ => flat.push(piece),
        }
    }
    Ok(flat)
}

/// Removes body files that no row names.
pub(super) fn sweep(index: &Connection, files: &Files) -> Result<usize> {
    let mut statement = index.prepare("SELECT file FROM bodies WHERE file IS NOT NULL")?;
    let known = statement
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<HashSet<String>>>()?;
    Ok(files.sweep(|name| known.contains(name))?)
}

/// SQLite's integers are signed; no body reaches 2^63 bytes.
pub(super) fn signed(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

fn piece(row: &rusqlite::Row<'_>, files: &Files) -> rusqlite::Result<Piece> {
    let size = row.get::<_, i64>(0)?.unsigned_abs();
    let source = match row.get::<_, Option<String>>(1)? {
        Some(id) => Source::File(files.path(&id)),
        None => Source::Bytes(row.get::<_, Option<Vec<u8>>>(2)?.unwrap_or_default().into()),
    };
    Ok(Piece { size, source })
}

fn pieces_of(index: &Connection, whole: i64) -> Result<Vec<i64>> {
    let mut statement = index.prepare_cached("SELECT body FROM pieces WHERE whole = ?1")?;
    let ids = statement
        .query_map([whole], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(ids)
}
