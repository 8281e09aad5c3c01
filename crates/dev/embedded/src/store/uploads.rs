//! Multipart uploads: parts are bodies of their own, and completing one joins them by
//! reference in the same commit that checks the conditions.

use rusqlite::{Connection, OptionalExtension, params};

use super::bodies::{self, NewBody};
use super::objects::{self, Conditions, ObjectRow};
use super::writer::Change;
use super::{
    Attributes, Checksums, Error, Result, Store, attributes_from_text, attributes_to_text, buckets,
    now,
};

/// Every part but the last has at least this many bytes (S3 User Guide, "Multipart upload limits").
const SMALLEST_PART: u64 = 5 * 1024 * 1024;

/// A part, received.
#[derive(Debug, Clone)]
pub(crate) struct PartRow {
    pub(crate) number: i32,
    pub(crate) size: u64,
    pub(crate) etag: String,
    pub(crate) modified: i64,
    pub(crate) checksums: Checksums,
    body: i64,
}

/// An upload that is neither completed nor aborted.
#[derive(Debug, Clone)]
pub(crate) struct UploadRow {
    pub(crate) id: String,
    pub(crate) key: String,
    pub(crate) initiated: i64,
}

/// A part as the completing client names it.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) number: i32,
    pub(crate) etag: Option<String>,
}

/// Which upload: all three must fit together.
#[derive(Debug, Clone)]
pub(crate) struct UploadName {
    pub(crate) bucket: String,
    pub(crate) key: String,
    pub(crate) id: String,
}

impl Store {
    /// Begins an upload and names it.
    pub(crate) async fn create_upload(
        &self,
        bucket: String,
        key: String,
        attributes: Attributes,
    ) -> Result<String> {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let name = id.clone();
        self.writer
            .change(move |change| {
                let bucket = buckets::id(change.index, &bucket)?;
                let sql = "INSERT INTO uploads (id, bucket, key, initiated, attributes) VALUES (?1, ?2, ?3, ?4, ?5)";
                change.index.prepare_cached(sql)?.execute(params![
                    name,
                    bucket,
                    key.as_bytes(),
                    now(),
                    attributes_to_text(&attributes)
                ])?;
                Ok(())
            })
            .await?;
        Ok(id)
    }

    /// Takes a part, in place of an earlier one with its number.
    pub(crate) async fn put_part(
        &self,
        upload: UploadName,
        number: i32,
        body: NewBody,
        etag: String,
        checksums: Checksums,
    ) -> Result<i64> {
        self.writer
            .change(move |change| {
                find(change.index, &upload)?;
                drop_part(change, &upload.id, number)?;
                let (size, modified) = (body.size, now());
                let body = bodies::insert(change, body)?;
                let sql =
                    "INSERT INTO parts (upload, number, body, size, etag, modified, checksums)
                           VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
                let checksums = serde_json::to_string(&checksums).ok();
                let size = bodies::signed(size);
                change.index.prepare_cached(sql)?.execute(params![
                    upload.id, number, body, size, etag, modified, checksums
                ])?;
                Ok(modified)
            })
            .await
    }

    /// The parts of an upload, by number, without those up to `after`.
    pub(crate) fn list_parts(&self, upload: &UploadName, after: i32) -> Result<Vec<PartRow>> {
        self.readers.snapshot(|index| {
            find(index, upload)?;
            parts(index, &upload.id, after)
        })
    }

    /// The unfinished uploads of a bucket with a prefix, by key and then by id, after a
    /// position; at most `limit`.
    pub(crate) fn list_uploads(
        &self,
        bucket: &str,
        prefix: &str,
        after: &(String, String),
        limit: usize,
    ) -> Result<Vec<UploadRow>> {
        self.readers.snapshot(|index| {
            let bucket = buckets::id(index, bucket)?;
            let end = super::listing::after_prefix(prefix.as_bytes());
            let sql = "SELECT id, key, initiated FROM uploads WHERE bucket = ?1 AND key >= ?2
                       AND (?3 IS NULL OR key < ?3) AND (key, id) > (?4, ?5) ORDER BY key, id LIMIT ?6";
            let mut statement = index.prepare_cached(sql)?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let bounds = params![bucket, prefix.as_bytes(), end, after.0.as_bytes(), after.1, limit];
            let rows = statement.query_map(bounds, |row| {
                let key = String::from_utf8_lossy(row.get_ref(1)?.as_blob().unwrap_or_default()).into_owned();
                Ok(UploadRow { id: row.get(0)?, key, initiated: row.get(2)? })
            })?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Ends an upload: its key names the joined parts, if the conditions hold. `name_tag`
    /// makes the entity tag of the parts' tags. On a failed condition the upload stays.
    pub(crate) async fn complete_upload(
        &self,
        upload: UploadName,
        wanted: Vec<Wanted>,
        conditions: Conditions,
        name_tag: impl FnOnce(&[PartRow]) -> String + Send + 'static,
    ) -> Result<ObjectRow> {
        self.writer
            .change(move |change| {
                let (bucket, attributes) = find(change.index, &upload)?;
                let chosen = choose(parts(change.index, &upload.id, 0)?, &wanted)?;
                conditions.check(objects::row(change.index, bucket, &upload.key)?.as_ref())?;
                let places: Vec<_> = chosen.iter().map(|part| (part.body, part.size)).collect();
                let body = bodies::join(change, &places)?;
                let size = chosen.iter().map(|part| part.size).sum();
                let object = objects::of_body(body, size, name_tag(&chosen), attributes);
                objects::point(change, bucket, &upload.key, &object)?;
                forget(change, &upload.id)?;
                Ok(object)
            })
            .await
    }

    /// Ends an upload and lets its parts go.
    pub(crate) async fn abort_upload(&self, upload: UploadName) -> Result<()> {
        self.writer
            .change(move |change| {
                find(change.index, &upload)?;
                forget(change, &upload.id)
            })
            .await
    }
}

fn find(index: &Connection, upload: &UploadName) -> Result<(i64, Attributes)> {
    let bucket = buckets::id(index, &upload.bucket)?;
    let attributes = index
        .prepare_cached(
            "SELECT attributes FROM uploads WHERE id = ?1 AND bucket = ?2 AND key = ?3",
        )?
        .query_row(params![upload.id, bucket, upload.key.as_bytes()], |row| {
            row.get::<_, Option<String>>(0)
        })
        .optional()?
        .ok_or(Error::NoSuchUpload)?;
    Ok((bucket, attributes_from_text(attributes.as_deref())))
}

fn parts(index: &Connection, upload: &str, after: i32) -> Result<Vec<PartRow>> {
    let sql = "SELECT number, size, etag, modified, checksums, body FROM parts
               WHERE upload = ?1 AND number > ?2 ORDER BY number";
    let mut statement = index.prepare_cached(sql)?;
    let rows = statement.query_map(params![upload, after], |row| {
        let checksums = row.get::<_, Option<String>>(4)?;
        Ok(PartRow {
            number: row.get(0)?,
            size: row.get::<_, i64>(1)?.unsigned_abs(),
            etag: row.get(2)?,
            modified: row.get(3)?,
            checksums: checksums
                .and_then(|text| serde_json::from_str(&text).ok())
                .unwrap_or_default(),
            body: row.get(5)?,
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Takes the wanted parts out of those that are there, in the order wanted.
fn choose(there: Vec<PartRow>, wanted: &[Wanted]) -> Result<Vec<PartRow>> {
    if wanted
        .windows(2)
        .any(|pair| pair[0].number >= pair[1].number)
    {
        return Err(Error::InvalidPartOrder);
    }
    let mut there = there.into_iter();
    let mut chosen = Vec::with_capacity(wanted.len());
    for want in wanted {
        let part = there.find(|part| part.number >= want.number);
        let fits = |part: &PartRow| {
            part.number == want.number && want.etag.as_ref().is_none_or(|etag| *etag == part.etag)
        };
        chosen.push(part.filter(fits).ok_or(Error::InvalidPart(want.number))?);
    }
    let small = chosen
        .iter()
        .rev()
        .skip(1)
        .find(|part| part.size < SMALLEST_PART);
    match small {
        Some(part) => Err(Error::EntityTooSmall(part.number)),
        None => Ok(chosen),
    }
}

fn drop_part(change: &mut Change<'_>, upload: &str, number: i32) -> Result<()> {
    let body = change
        .index
        .prepare_cached("DELETE FROM parts WHERE upload = ?1 AND number = ?2 RETURNING body")?
        .query_row(params![upload, number], |row| row.get(0))
        .optional()?;
    body.map_or(Ok(()), |body| bodies::release(change, body))
}

pub(super) fn forget(change: &mut Change<'_>, upload: &str) -> Result<()> {
    for part in parts(change.index, upload, 0)? {
        bodies::release(change, part.body)?;
    }
    change
        .index
        .prepare_cached("DELETE FROM parts WHERE upload = ?1")?
        .execute([upload])?;
    change
        .index
        .prepare_cached("DELETE FROM uploads WHERE id = ?1")?
        .execute([upload])?;
    Ok(())
}
