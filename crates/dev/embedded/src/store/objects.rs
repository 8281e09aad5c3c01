//! Objects: looked up, written, copied and deleted, each under its conditions.

use rusqlite::{Connection, OptionalExtension, params};

use super::bodies::{self, NewBody, Piece};
use super::writer::Change;
use super::{
    Attributes, Error, Reading, Result, Store, attributes_from_text, attributes_to_text, buckets,
    now,
};

/// An object without its bytes.
#[derive(Debug, Clone)]
pub(crate) struct ObjectRow {
    pub(crate) size: u64,
    /// Without quotes.
    pub(crate) etag: String,
    /// Nanoseconds since the Unix epoch.
    pub(crate) modified: i64,
    pub(crate) attributes: Attributes,
    body: i64,
}

/// One side of a condition: any object, or the one with this entity tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tag {
    Any,
    Exactly(String),
}

/// What must be at a key for a change to happen (RFC 9110 §13.1).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Conditions {
    /// The object that must be there.
    pub(crate) if_match: Option<Tag>,
    /// The object that must not be there.
    pub(crate) if_none_match: Option<Tag>,
    /// Its size, where a delete states it.
    pub(crate) size: Option<u64>,
    /// Its time in seconds since the Unix epoch, where a delete states it.
    pub(crate) modified: Option<i64>,
}

impl Tag {
    /// Whether an object with this entity tag is meant.
    pub(crate) fn fits(&self, etag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exactly(wanted) => wanted == etag,
        }
    }
}

impl Conditions {
    /// Checks against what is there. A required object that is missing is "no such key",
    /// as S3 answers it.
    pub(crate) fn check(&self, there: Option<&ObjectRow>) -> Result<()> {
        let Some(object) = there else {
            let wants_object =
                self.if_match.is_some() || self.size.is_some() || self.modified.is_some();
            return if wants_object {
                Err(Error::NoSuchKey)
            } else {
                Ok(())
            };
        };
        let holds = self
            .if_match
            .as_ref()
            .is_none_or(|tag| tag.fits(&object.etag))
            && !self
                .if_none_match
                .as_ref()
                .is_some_and(|tag| tag.fits(&object.etag))
            && self.size.is_none_or(|size| size == object.size)
            && self
                .modified
                .is_none_or(|seconds| seconds == object.modified / 1_000_000_000);
        if holds {
            Ok(())
        } else {
            Err(Error::Precondition)
        }
    }
}

impl Store {
    /// Looks an object up.
    pub(crate) fn head(&self, bucket: &str, key: &str) -> Result<ObjectRow> {
        self.readers.read(|index| find(index, bucket, key))
    }

    /// Looks an object up, with the places of its bytes: good for as long as the
    /// [`Reading`] is held.
    pub(crate) fn open_object(
        &self,
        bucket: &str,
        key: &str,
    ) -> Result<(ObjectRow, Vec<Piece>, Reading)> {
        let reading = self.reclaimer.reading();
        self.readers.snapshot(|index| {
            let object = find(index, bucket, key)?;
            let pieces = bodies::locate(index, &self.files, object.body)?;
            Ok((object, pieces, reading))
        })
    }

    /// Makes the key name a new body.
    pub(crate) async fn put(
        &self,
        bucket: String,
        key: String,
        body: NewBody,
        etag: String,
        attributes: Attributes,
        conditions: Conditions,
    ) -> Result<()> {
        self.writer
            .change(move |change| {
                let bucket = buckets::id(change.index, &bucket)?;
                conditions.check(row(change.index, bucket, &key)?.as_ref())?;
                let size = body.size;
                let body = bodies::insert(change, body)?;
                let object = ObjectRow {
                    size,
                    etag,
                    modified: now(),
                    attributes,
                    body,
                };
                point(change, bucket, &key, &object)
            })
            .await
    }

    /// Makes a key name the body of another, which is shared and never copied. `source`
    /// judges the source, and gives the new attributes.
    pub(crate) async fn copy(
        &self,
        from: (String, String),
        to: (String, String),
        source: impl FnOnce(&ObjectRow) -> Result<Attributes> + Send + 'static,
        conditions: Conditions,
    ) -> Result<ObjectRow> {
        self.writer
            .change(move |change| {
                let bucket = buckets::id(change.index, &to.0)?;
                let mut object = find(change.index, &from.0, &from.1)?;
                object.attributes = source(&object)?;
                object.modified = now();
                conditions.check(row(change.index, bucket, &to.1)?.as_ref())?;
                bodies::share(change.index, object.body)?;
                point(change, bucket, &to.1, &object)?;
                Ok(object)
            })
            .await
    }

    /// Removes an object. Nothing there is well, unless a condition wants something.
    pub(crate) async fn delete(
        &self,
        bucket: String,
        key: String,
        conditions: Conditions,
    ) -> Result<()> {
        self.writer
            .change(move |change| {
                let bucket = buckets::id(change.index, &bucket)?;
                remove(change, bucket, &key, &conditions)
            })
            .await
    }

    /// Removes many objects in one commit, each under its own conditions.
    pub(crate) async fn delete_many(
        &self,
        bucket: String,
        keys: Vec<(String, Conditions)>,
    ) -> Result<Vec<Result<()>>> {
        self.writer
            .change(move |change| {
                let bucket = buckets::id(change.index, &bucket)?;
                Ok(keys
                    .iter()
                    .map(|(key, conditions)| remove(change, bucket, key, conditions))
                    .collect())
            })
            .await
    }
}

/// Finds an object by the names of its bucket and key.
pub(super) fn find(index: &Connection, bucket: &str, key: &str) -> Result<ObjectRow> {
    row(index, buckets::id(index, bucket)?, key)?.ok_or(Error::NoSuchKey)
}

/// Finds an object by the number of its bucket.
pub(super) fn row(index: &Connection, bucket: i64, key: &str) -> Result<Option<ObjectRow>> {
    let found = index
        .prepare_cached("SELECT body, size, etag, modified, attributes FROM objects WHERE bucket = ?1 AND key = ?2")?
        .query_row(params![bucket, key.as_bytes()], |row| {
            Ok(ObjectRow {
                body: row.get(0)?,
                size: row.get::<_, i64>(1)?.unsigned_abs(),
                etag: row.get(2)?,
                modified: row.get(3)?,
                attributes: attributes_from_text(row.get::<_, Option<String>>(4)?.as_deref()),
            })
        })
        .optional()?;
    Ok(found)
}

/// Makes a key name an object, and lets go of what it named before.
pub(super) fn point(
    change: &mut Change<'_>,
    bucket: i64,
    key: &str,
    object: &ObjectRow,
) -> Result<()> {
    let before = row(change.index, bucket, key)?;
    change
        .index
        .prepare_cached(
            "INSERT OR REPLACE INTO objects (bucket, key, body, size, etag, modified, attributes)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            bucket,
            key.as_bytes(),
            object.body,
            bodies::signed(object.size),
            object.etag,
            object.modified,
            attributes_to_text(&object.attributes),
        ])?;
    match before {
        Some(before) => bodies::release(change, before.body),
        None => Ok(()),
    }
}

/// An object whose body is already in the index.
pub(super) fn of_body(body: i64, size: u64, etag: String, attributes: Attributes) -> ObjectRow {
    ObjectRow {
        size,
        etag,
        modified: now(),
        attributes,
        body,
    }
}

/// Removes an object under conditions.
pub(super) fn remove(
    change: &mut Change<'_>,
    bucket: i64,
    key: &str,
    conditions: &Conditions,
) -> Result<()> {
    let there = row(change.index, bucket, key)?;
    conditions.check(there.as_ref())?;
    let Some(object) = there else { return Ok(()) };
    change
        .index
        .prepare_cached("DELETE FROM objects WHERE bucket = ?1 AND key = ?2")?
        .execute(params![bucket, key.as_bytes()])?;
    bodies::release(change, object.body)
}
