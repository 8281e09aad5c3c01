//! What is set of a bucket: its policy, its lifecycle, and the end of what is too old.

use rusqlite::{OptionalExtension, params};

use super::listing::after_prefix;
use super::objects::remove;
use super::writer::Change;
use super::{Conditions, Result, Store, buckets, uploads};

/// Which setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setting {
    /// The policy's JSON.
    Policy,
    /// The lifecycle's rules, as JSON.
    Lifecycle,
}

impl Setting {
    fn name(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Lifecycle => "lifecycle",
        }
    }
}

impl Store {
    /// A setting of a bucket, if it is there.
    pub(crate) fn setting(&self, bucket: &str, setting: Setting) -> Result<Option<String>> {
        self.readers.read(|index| {
            let bucket = buckets::id(index, bucket)?;
            let value = index
                .prepare_cached("SELECT value FROM settings WHERE bucket = ?1 AND name = ?2")?
                .query_row(params![bucket, setting.name()], |row| row.get(0))
                .optional()?;
            Ok(value)
        })
    }

    /// A setting of every bucket that has it, by the bucket's name.
    pub(crate) fn settings(&self, setting: Setting) -> Result<Vec<(String, String)>> {
        self.readers.read(|index| {
            let mut statement = index.prepare_cached(
                "SELECT buckets.name, value FROM settings
                 JOIN buckets ON buckets.id = settings.bucket WHERE settings.name = ?1",
            )?;
            let rows =
                statement.query_map([setting.name()], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Sets it, or takes it away.
    pub(crate) async fn set(
        &self,
        bucket: String,
        setting: Setting,
        value: Option<String>,
    ) -> Result<()> {
        self.writer
            .change(move |change| {
                let bucket = buckets::id(change.index, &bucket)?;
                let place = params![bucket, setting.name(), value];
                match &value {
                    Some(_) => change
                        .index
                        .prepare_cached("INSERT OR REPLACE INTO settings VALUES (?1, ?2, ?3)")?
                        .execute(place)?,
                    None => change
                        .index
                        .prepare_cached("DELETE FROM settings WHERE bucket = ?1 AND name = ?2")?
                        .execute(params![bucket, setting.name()])?,
                };
                Ok(())
            })
            .await
    }

    /// Ends the objects with a prefix that were last changed before a time, and the uploads
    /// that were begun before one; says how many.
    pub(crate) async fn end(
        &self,
        bucket: &str,
        prefix: &str,
        objects: Option<i64>,
        uploads: Option<i64>,
    ) -> Result<usize> {
        let (bucket, prefix) = (bucket.to_owned(), prefix.to_owned());
        self.writer
            .change(move |change| {
                let bucket = buckets::id(change.index, &bucket)?;
                let mut ended = 0;
                if let Some(before) = objects {
                    ended += end_objects(change, bucket, &prefix, before)?;
                }
                if let Some(before) = uploads {
                    ended += end_uploads(change, bucket, &prefix, before)?;
                }
                Ok(ended)
            })
            .await
    }
}

fn end_objects(change: &mut Change<'_>, bucket: i64, prefix: &str, before: i64) -> Result<usize> {
    let mut statement = change.index.prepare_cached(
        "SELECT key FROM objects WHERE bucket = ?1 AND key >= ?2 AND (?3 IS NULL OR key < ?3)
         AND modified < ?4",
    )?;
    let place = params![
        bucket,
        prefix.as_bytes(),
        after_prefix(prefix.as_bytes()),
        before
    ];
    let keys = statement.query_map(place, |row| row.get::<_, Vec<u8>>(0))?;
    let keys = keys.collect::<rusqlite::Result<Vec<_>>>()?;
    drop(statement);
    // A key is UTF-8: it came as text.
    for key in keys.iter().filter_map(|key| std::str::from_utf8(key).ok()) {
        remove(change, bucket, key, &Conditions::default())?;
    }
    Ok(keys.len())
}

fn end_uploads(change: &mut Change<'_>, bucket: i64, prefix: &str, before: i64) -> Result<usize> {
    let mut statement = change.index.prepare_cached(
        "SELECT id FROM uploads WHERE bucket = ?1 AND key >= ?2 AND (?3 IS NULL OR key < ?3)
         AND initiated < ?4",
    )?;
    let place = params![
        bucket,
        prefix.as_bytes(),
        after_prefix(prefix.as_bytes()),
        before
    ];
    let ids = statement.query_map(place, |row| row.get::<_, String>(0))?;
    let ids = ids.collect::<rusqlite::Result<Vec<_>>>()?;
    drop(statement);
    for id in &ids {
        uploads::forget(change, id)?;
    }
    Ok(ids.len())
}
