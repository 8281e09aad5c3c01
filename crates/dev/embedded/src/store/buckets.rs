//! Buckets.

use rusqlite::{Connection, OptionalExtension, params};

use super::{Error, Result, Store, now};

impl Store {
    /// Creates a bucket.
    pub(crate) async fn create_bucket(&self, name: String) -> Result<()> {
        self.writer
            .change(move |change| {
                let added = change
                    .index
                    .prepare_cached(
                        "INSERT OR IGNORE INTO buckets (name, created) VALUES (?1, ?2)",
                    )?
                    .execute(params![name, now()])?;
                if added == 0 {
                    Err(Error::BucketExists)
                } else {
                    Ok(())
                }
            })
            .await
    }

    /// Removes a bucket that holds neither objects nor unfinished uploads.
    pub(crate) async fn delete_bucket(&self, name: String) -> Result<()> {
        self.writer
            .change(move |change| {
                let bucket = id(change.index, &name)?;
                let used: bool = change.index.query_row(
                    "SELECT EXISTS (SELECT 1 FROM objects WHERE bucket = ?1) OR EXISTS (SELECT 1 FROM uploads WHERE bucket = ?1)",
                    [bucket],
                    |row| row.get(0),
                )?;
                if used {
                    return Err(Error::BucketNotEmpty);
                }
                change.index.execute("DELETE FROM settings WHERE bucket = ?1", [bucket])?;
                change.index.execute("DELETE FROM buckets WHERE id = ?1", [bucket])?;
                Ok(())
            })
            .await
    }

    /// Says when the bucket was made, in nanoseconds, if it is there.
    pub(crate) fn head_bucket(&self, name: &str) -> Result<()> {
        self.readers.read(|index| id(index, name).map(|_| ()))
    }

    /// All buckets by name, with the time they were made in nanoseconds.
    pub(crate) fn list_buckets(&self) -> Result<Vec<(String, i64)>> {
        self.readers.read(|index| {
            let mut statement =
                index.prepare_cached("SELECT name, created FROM buckets ORDER BY name")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }
}

/// The number of a bucket.
pub(super) fn id(index: &Connection, name: &str) -> Result<i64> {
    index
        .prepare_cached("SELECT id FROM buckets WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?
        .ok_or(Error::NoSuchBucket)
}
