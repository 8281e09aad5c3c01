//! What a journal holds, counted from outside: also while no mount has it open.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use crate::body::{BodyId, path_of};
use crate::cache::bodies_folder;
use crate::journal::{JOURNAL, Row, RowWant};
use crate::{Filesystem, OpenError};

/// Changes that wait in a workspace's journal on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Left {
    /// Changes of objects that are not in the bucket.
    pub changes: u64,
    /// Files among them whose bytes must still go up.
    pub files: u64,
    /// Bytes of those files, as far as they are found.
    pub bytes: u64,
    /// Attributes (modes, owners, times, extended ones) that are not in the bucket.
    pub attributes: u64,
}

impl Left {
    /// Counts in the journal of these folders; where there is none, nothing waits. Changes
    /// nothing.
    ///
    /// # Errors
    /// [`OpenError::Journal`] when it cannot be read.
    pub fn read(state_dir: &Path, cache_dir: &Path) -> Result<Self, OpenError> {
        let path = state_dir.join(JOURNAL);
        if !path.exists() {
            return Ok(Self::default());
        }
        count(&path, &bodies_folder(cache_dir)).map_err(|error| OpenError::Journal {
            path: state_dir.to_owned(),
            reason: error.to_string(),
        })
    }

    /// Whether everything is in the bucket.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl Filesystem {
    /// What the journal of this workspace holds now.
    ///
    /// # Errors
    /// [`OpenError::Journal`] when it cannot be read.
    pub fn left(&self) -> Result<Left, OpenError> {
        let settings = &self.core.settings;
        Left::read(&settings.state_dir, &settings.cache_dir)
    }
}

fn count(journal: &Path, bodies: &Path) -> rusqlite::Result<Left> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(journal, flags)?;
    db.busy_timeout(std::time::Duration::from_secs(5))?;
    let mut left = Left::default();
    let mut rows = db.prepare("SELECT row FROM ops")?;
    let rows = rows.query_map([], |row| row.get::<_, String>(0))?;
    for row in rows {
        left.changes += 1;
        // Of a row that a later version wrote, only that it is there is known.
        let Ok(Row { want, .. }) = serde_json::from_str(&row?) else {
            continue;
        };
        if let RowWant::Body { id, .. } = want {
            left.files += 1;
            left.bytes += BodyId::parse(&id)
                .and_then(|id| std::fs::metadata(path_of(bodies, &id)).ok())
                .map_or(0, |found| found.len());
        }
    }
    let attributes: i64 = db.query_row("SELECT count(*) FROM attributes", [], |row| row.get(0))?;
    left.attributes = attributes.unsigned_abs();
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Journal;

    #[test]
    fn what_waits_is_counted_while_a_mount_has_it_and_after_it_was_killed() {
        let folder = tempfile::tempdir().unwrap();
        let (state, cache) = (folder.path().join("state"), folder.path().join("cache"));
        for made in [&state, &cache] {
            std::fs::create_dir(made).unwrap();
        }
        assert!(
            Left::read(&state, &cache).unwrap().is_nothing(),
            "no journal"
        );
        let (journal, _) = Journal::open(&state, "boot").unwrap();
        assert!(
            Left::read(&state, &cache).unwrap().is_nothing(),
            "an empty one"
        );
        let id = BodyId::random();
        let body = path_of(&bodies_folder(&cache), &id);
        std::fs::create_dir_all(body.parent().unwrap()).unwrap();
        std::fs::write(body, [0; 700]).unwrap();
        let row = |want| Row {
            want,
            base: None,
            maybe: Vec::new(),
            any: false,
            token: "t".into(),
            attrs: None,
            gone: None,
        };
        let body = RowWant::Body {
            id: id.as_str().to_owned(),
            synced: None,
        };
        let key = |name| bucket::Key::new(name).unwrap();
        let changes = [
            (key("a"), Some(row(body))),
            (key("b"), Some(row(RowWant::Delete))),
        ];
        journal.record(&changes).unwrap();
        journal
            .record_attributes("d/", &[("x".into(), Some("{}".into()))])
            .unwrap();
        let left = Left {
            changes: 2,
            files: 1,
            bytes: 700,
            attributes: 1,
        };
        assert_eq!(Left::read(&state, &cache).unwrap(), left, "in use");
        // As a kill leaves it: nothing was closed.
        let copy = folder.path().join("killed");
        std::fs::create_dir(&copy).unwrap();
        for side in ["", "-wal"] {
            let name = format!("{JOURNAL}{side}");
            std::fs::copy(state.join(&name), copy.join(&name)).unwrap();
        }
        assert_eq!(Left::read(&copy, &cache).unwrap(), left, "after a kill");
    }

    #[test]
    fn a_journal_that_cannot_be_read_is_an_error_and_not_nothing() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(JOURNAL), [7; 5000]).unwrap();
        let error = Left::read(folder.path(), folder.path()).unwrap_err();
        assert!(matches!(error, OpenError::Journal { .. }), "{error}");
    }
}
