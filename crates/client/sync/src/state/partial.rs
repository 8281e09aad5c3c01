//! Transfers that were begun and are not whole: what it takes to go on with them.

use bucket::Etag;
use rusqlite::{Row, params};

use super::rows::{signed, unsigned};
use super::{Result, State};
use crate::path::TreePath;

/// What version 2 of the format has more than version 1.
pub(super) const SECOND: &str = "
    ALTER TABLE entries ADD COLUMN modified INTEGER;
    CREATE TABLE uploads (
        path TEXT PRIMARY KEY, key TEXT NOT NULL, upload TEXT NOT NULL, about TEXT NOT NULL,
        begun INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE downloads (
        path TEXT PRIMARY KEY, etag TEXT NOT NULL, size INTEGER NOT NULL,
        block INTEGER NOT NULL, name TEXT NOT NULL, done BLOB NOT NULL, begun INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
";

/// An upload in parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartialUpload {
    /// Of what.
    pub path: TreePath,
    /// The object that it will be.
    pub key: String,
    /// The store's name for it.
    pub upload: String,
    /// What the object will say of the file; of another file it is no part.
    pub about: String,
    /// When it was begun, in nanoseconds since 1970.
    pub begun: i64,
}

/// A download in blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartialDownload {
    /// Of what.
    pub path: TreePath,
    /// The version.
    pub etag: Etag,
    /// Its bytes.
    pub size: u64,
    /// Bytes of a block.
    pub block: u64,
    /// The file in which the blocks are gathered.
    pub name: String,
    /// Which blocks are there, and on the disk.
    pub done: Vec<bool>,
    /// When it was begun, in nanoseconds since 1970.
    pub begun: i64,
}

impl State {
    /// Remembers an upload in parts, in the place of an earlier one of this path.
    ///
    /// # Errors
    /// [`StateError`](super::StateError).
    pub fn begin_upload(&self, upload: &PartialUpload) -> Result<()> {
        let row = params![
            upload.path.as_str(),
            upload.key,
            upload.upload,
            upload.about,
            upload.begun
        ];
        let query = "INSERT OR REPLACE INTO uploads VALUES (?1, ?2, ?3, ?4, ?5)";
        self.with(|db| db.execute(query, row).map(drop))
    }

    /// The upload in parts of a path.
    ///
    /// # Errors
    /// [`StateError`](super::StateError).
    pub fn upload(&self, path: &TreePath) -> Result<Option<PartialUpload>> {
        let all = self.uploads()?;
        Ok(all.into_iter().find(|upload| upload.path == *path))
    }

    /// All uploads in parts that are remembered; there are few.
    ///
    /// # Errors
    /// [`StateError`](super::StateError).
    pub fn uploads(&self) -> Result<Vec<PartialUpload>> {
        let query = "SELECT path, key, upload, about, begun FROM uploads";
        self.all(query, |row| {
            let Ok(path) = TreePath::parse(row.get_ref(0)?.as_str()?) else {
                return Ok(None);
            };
            Ok(Some(PartialUpload {
                path,
                key: row.get(1)?,
                upload: row.get(2)?,
                about: row.get(3)?,
                begun: row.get(4)?,
            }))
        })
    }

    /// Forgets the upload in parts of a path.
    ///
    /// # Errors
    /// [`StateError`](super::StateError).
    pub fn forget_upload(&self, path: &TreePath) -> Result<()> {
        let query = "DELETE FROM uploads WHERE path = ?1";
        self.with(|db| db.execute(query, [path.as_str()]).map(drop))
    }

    /// Remembers a download in blocks, or how far it is.
    ///
    /// # Errors
    /// [`StateError`](super::StateError).
    pub fn note_download(&self, download: &PartialDownload) -> Result<()> {
        let done: Vec<u8> = download.done.iter().map(|done| u8::from(*done)).collect();
        let row = params![
            download.path.as_str(),
            download.etag.as_str(),
            signed(download.size),
            signed(download.block),
            download.name,
            done,
            download.begun
        ];
        let query = "INSERT OR REPLACE INTO downloads VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        self.with(|db| db.prepare_cached(query)?.execute(row).map(drop))
    }

    /// All downloads in blocks that are remembered; there are few.
    ///
    /// # Errors
    /// [`StateError`](super::StateError).
    pub fn downloads(&self) -> Result<Vec<PartialDownload>> {
        let query = "SELECT path, etag, size, block, name, done, begun FROM downloads";
        self.all(query, |row| {
            let Ok(path) = TreePath::parse(row.get_ref(0)?.as_str()?) else {
                return Ok(None);
            };
            let done = row.get_ref(5)?.as_blob()?.iter();
            Ok(Some(PartialDownload {
                path,
                etag: Etag::new(row.get_ref(1)?.as_str()?),
                size: unsigned(row.get(2)?),
                block: unsigned(row.get(3)?),
                name: row.get(4)?,
                done: done.map(|done| *done != 0).collect(),
                begun: row.get(6)?,
            }))
        })
    }

    /// Forgets the download in blocks of a path.
    ///
    /// # Errors
    /// [`StateError`](super::StateError).
    pub fn forget_download(&self, path: &TreePath) -> Result<()> {
        let query = "DELETE FROM downloads WHERE path = ?1";
        self.with(|db| db.execute(query, [path.as_str()]).map(drop))
    }

    fn all<T>(
        &self,
        query: &str,
        of: impl Fn(&Row<'_>) -> rusqlite::Result<Option<T>>,
    ) -> Result<Vec<T>> {
        self.with(|db| {
            let mut query = db.prepare_cached(query)?;
            let mut rows = query.query([])?;
            let mut all = Vec::new();
            while let Some(row) = rows.next()? {
                all.extend(of(row)?);
            }
            Ok(all)
        })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn what_is_half_done_is_remembered_until_it_is_whole() {
        let state = State::in_memory(Uuid::nil()).unwrap();
        let path = TreePath::parse("a/b").unwrap();
        let upload = PartialUpload {
            path: path.clone(),
            key: "p/a/b".to_owned(),
            upload: "u".to_owned(),
            about: "1.5 644".to_owned(),
            begun: 7,
        };
        state.begin_upload(&upload).unwrap();
        let again = PartialUpload {
            upload: "v".to_owned(),
            ..upload
        };
        state.begin_upload(&again).unwrap();
        assert_eq!(state.upload(&path).unwrap(), Some(again));
        state.forget_upload(&path).unwrap();
        assert_eq!(state.upload(&path).unwrap(), None);
        let download = PartialDownload {
            path: path.clone(),
            etag: Etag::new("e"),
            size: u64::MAX,
            block: 8,
            name: "part-1".to_owned(),
            done: vec![true, false, true],
            begun: 9,
        };
        state.note_download(&download).unwrap();
        assert_eq!(state.downloads().unwrap(), [download]);
        state.forget_download(&path).unwrap();
        assert!(state.downloads().unwrap().is_empty());
    }
}
