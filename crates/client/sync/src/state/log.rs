//! The log of passes, what they took away, and what was deleted.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, params};

use super::rows::{kind_number, kind_of, unsigned};
use super::{Result, State};
use crate::entry::Kind;
use crate::path::TreePath;
use crate::settings::DeleteLimit;

/// A deletion that was carried from one side to the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tombstone {
    /// The version in the bucket that was deleted, or was gone.
    pub etag: String,
    /// Whether the user deleted it here (and we in the bucket), not elsewhere.
    pub here: bool,
    /// When it was carried out, in nanoseconds since 1970.
    pub at: i64,
}

impl Tombstone {
    pub(super) fn write(&self, db: &Connection, path: &TreePath) -> rusqlite::Result<()> {
        db.prepare_cached("INSERT OR REPLACE INTO tombstones VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![path.as_str(), self.etag, self.here, self.at])
            .map(drop)
    }
}

/// How a pass ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Both sides were alike.
    Done,
    /// Something was left for the next pass.
    Partial,
    /// It stopped before the first change.
    Stopped,
    /// It failed.
    Failed,
}

impl Outcome {
    /// The word in the database and in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Partial => "partial",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }
}

/// A pass as the log has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pass {
    /// Its number.
    pub id: i64,
    /// Its name in the trashes.
    pub name: String,
    /// When it began, in nanoseconds since 1970.
    pub began: i64,
    /// When it ended; `None` where it was cut off.
    pub ended: Option<i64>,
    /// How; `None` where it was cut off.
    pub outcome: Option<String>,
    /// What it did, or what went wrong.
    pub summary: Option<String>,
}

impl Pass {
    /// Whether it changed neither side by itself: it only brought back what another one took, or
    /// only learned that both sides are alike.
    pub fn is_no_change(&self) -> bool {
        let of = |begin| {
            self.summary
                .as_deref()
                .is_some_and(|text| text.starts_with(begin))
        };
        of("undo:") || of("0 done,")
    }
}

/// Something that a pass took away or replaced, and that lies in a trash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Its path.
    pub path: TreePath,
    /// Whether it was the folder's, and lies in its trash; else the bucket's.
    pub here: bool,
    /// What it was.
    pub kind: Kind,
}

impl State {
    /// Begins a pass. Its name sorts by time and is no other's.
    ///
    /// # Errors
    /// [`StateError`](super::StateError).
    pub fn begin_pass(&self, now: i64) -> Result<Pass> {
        self.transaction(|db| {
            db.execute("INSERT INTO passes (name, began) VALUES ('', ?1)", [now])?;
            let id = db.last_insert_rowid();
            let pair = "SELECT substr(value, 1, 8) FROM meta WHERE name = 'pair'";
            let pair: String = db.query_row(pair, [], |row| row.get(0))?;
            // Other machines have passes of the same moment.
            let name = format!("{:020}-{id}-{pair}", now.max(0));
            db.execute(
                "UPDATE passes SET name = ?1 WHERE id = ?2",
                params![name, id],
            )?;
            Ok(Pass {
                id,
                name,
                began: now,
                ended: None,
                outcome: None,
                summary: None,
            })
        })
    }

    /// Ends a pass.
    ///
    /// # Errors
    /// [`StateError`](super::StateError).
    pub fn end_pass(&self, pass: &Pass, now: i64, outcome: Outcome, summary: &str) -> Result<()> {
        let query = "UPDATE passes SET ended = ?1, outcome = ?2, summary = ?3 WHERE id = ?4";
        let row = params![now, outcome.as_str(), summary, pass.id];
        self.with(|db| db.execute(query, row).map(drop))
    }

    /// The last passes, the newest first.
    ///
    /// # Errors
    /// [`StateError`](super::StateError).
    pub fn passes(&self, most: u32) -> Result<Vec<Pass>> {
        let query = "SELECT id, name, began, ended, outcome, summary FROM passes
                     ORDER BY id DESC LIMIT ?1";
        self.with(|db| {
            let mut query = db.prepare_cached(query)?;
            let rows = query.query_map([most], |row| {
                Ok(Pass {
                    id: row.get(0)?,
                    name: row.get(1)?,
                    began: row.get(2)?,
                    ended: row.get(3)?,
                    outcome: row.get(4)?,
                    summary: row.get(5)?,
                })
            })?;
            rows.collect()
        })
    }

    /// Says that a pass puts something into a trash.
    ///
    /// # Errors
    /// [`StateError`](super::StateError).
    pub fn take(&self, pass: &Pass, taken: &Taken) -> Result<()> {
        let row = params![
            pass.id,
            taken.path.as_str(),
            taken.here,
            kind_number(taken.kind)
        ];
        self.with(|db| {
            db.prepare_cached("INSERT INTO taken VALUES (?1, ?2, ?3, ?4)")?
                .execute(row)
                .map(drop)
        })
    }

    /// What a pass has put into trashes.
    ///
    /// # Errors
    /// [`StateError`](super::StateError).
    pub fn taken(&self, pass: i64) -> Result<Vec<Taken>> {
        let query = "SELECT DISTINCT path, here, kind FROM taken WHERE pass = ?1 ORDER BY path";
        self.with(|db| {
            let mut query = db.prepare_cached(query)?;
            let mut rows = query.query([pass])?;
            let mut all = Vec::new();
            while let Some(row) = rows.next()? {
                let path = TreePath::parse(row.get_ref(0)?.as_str()?);
                let (here, kind) = (row.get(1)?, kind_of(row.get(2)?));
                all.extend(path.ok().map(|path| Taken { path, here, kind }));
            }
            Ok(all)
        })
    }

    /// Says that something of a pass lies in a trash no more.
    ///
    /// # Errors
    /// [`StateError`](super::StateError).
    pub fn forget_taken(&self, pass: &Pass, taken: &Taken) -> Result<()> {
        let query = "DELETE FROM taken WHERE pass = ?1 AND path = ?2 AND here = ?3";
        let row = params![pass.id, taken.path.as_str(), taken.here];
        self.with(|db| db.execute(query, row).map(drop))
    }

    /// When trashes were cleaned last.
    ///
    /// # Errors
    /// [`StateError`](super::StateError).
    pub fn cleaned(&self) -> Result<Option<i64>> {
        Ok(self.meta("cleaned")?.and_then(|text| text.parse().ok()))
    }

    /// Says when they were.
    ///
    /// # Errors
    /// [`StateError`](super::StateError).
    pub fn set_cleaned(&self, now: i64) -> Result<()> {
        self.set_meta("cleaned", &now.to_string())
    }

    /// Says that an object will be deleted because its file was deleted here.
    ///
    /// # Errors
    /// [`StateError`](super::StateError).
    pub fn begin_deleting(&self, path: &TreePath, tombstone: &Tombstone) -> Result<()> {
        self.transaction(|db| tombstone.write(db, path))
    }

    /// Says that it was not.
    ///
    /// # Errors
    /// [`StateError`](super::StateError).
    pub fn end_deleting(&self, path: &TreePath) -> Result<()> {
        let query = "DELETE FROM tombstones WHERE path = ?1";
        self.with(|db| db.execute(query, [path.as_str()]).map(drop))
    }

    /// What was begun to be deleted, and is still known as what both sides had.
    ///
    /// # Errors
    /// [`StateError`](super::StateError).
    pub fn deleting(&self) -> Result<BTreeSet<TreePath>> {
        let query = "SELECT path FROM tombstones JOIN entries USING (path) WHERE here";
        self.with(|db| {
            let mut query = db.prepare_cached(query)?;
            let mut rows = query.query([])?;
            let mut all = BTreeSet::new();
            while let Some(row) = rows.next()? {
                all.extend(TreePath::parse(row.get_ref(0)?.as_str()?).ok());
            }
            Ok(all)
        })
    }

    /// How many files were deleted here, and in the bucket, within the hour before and since
    /// somebody approved of deletions; without those that have come back.
    ///
    /// # Errors
    /// [`StateError`](super::StateError).
    pub fn deleted_lately(&self, now: i64) -> Result<(u64, u64)> {
        let approved = self.meta("approved")?.and_then(|text| text.parse().ok());
        let window = DeleteLimit::WINDOW;
        // A clock that was ahead and was put right must not keep its deletions new for ever.
        let from = approved.unwrap_or(i64::MIN).max(now.saturating_sub(window));
        let query = "SELECT count(*) FILTER (WHERE NOT here), count(*) FILTER (WHERE here)
                     FROM tombstones WHERE at > ?1 AND at <= ?2
                     AND path NOT IN (SELECT path FROM entries)";
        let span = params![from, now.saturating_add(window)];
        self.with(|db| {
            db.query_row(query, span, |row| {
                Ok((unsigned(row.get(0)?), unsigned(row.get(1)?)))
            })
        })
    }

    /// Says that somebody approved of the deletions until now: they count for no limit.
    ///
    /// # Errors
    /// [`StateError`](super::StateError).
    pub fn approve_deletes(&self, now: i64) -> Result<()> {
        self.set_meta("approved", &now.to_string())
    }

    /// A path's deletion, if it was deleted and has not come back.
    ///
    /// # Errors
    /// [`StateError`](super::StateError).
    pub fn tombstone(&self, path: &TreePath) -> Result<Option<Tombstone>> {
        let query = "SELECT etag, here, at FROM tombstones WHERE path = ?1";
        self.with(|db| {
            db.query_row(query, [path.as_str()], |row| {
                Ok(Tombstone {
                    etag: row.get(0)?,
                    here: row.get(1)?,
                    at: row.get(2)?,
                })
            })
            .optional()
        })
    }

    /// Drops what the log has of times before this.
    ///
    /// # Errors
    /// [`StateError`](super::StateError).
    pub fn forget_before(&self, time: i64) -> Result<()> {
        self.transaction(|db| {
            for query in [
                "DELETE FROM taken WHERE pass IN (SELECT id FROM passes WHERE began < ?1)",
                "DELETE FROM passes WHERE began < ?1",
                "DELETE FROM tombstones WHERE at < ?1",
            ] {
                db.execute(query, [time])?;
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_pass_its_takings_and_deletions_are_kept_until_they_are_old() {
        let state = State::in_memory(Uuid::nil()).unwrap();
        let path = TreePath::parse("a/b").unwrap();
        let pass = state.begin_pass(1_000).unwrap();
        let taken = Taken {
            path: path.clone(),
            here: true,
            kind: Kind::Link,
        };
        state.take(&pass, &taken).unwrap();
        state.take(&pass, &taken).unwrap();
        let tombstone = Tombstone {
            etag: "e".into(),
            here: false,
            at: 1_001,
        };
        state.begin_deleting(&path, &tombstone).unwrap();
        assert!(
            state.deleting().unwrap().is_empty(),
            "neither here nor known"
        );
        state.end_deleting(&path).unwrap();
        assert_eq!(state.tombstone(&path).unwrap(), None);
        state.forget(&path, Some(&tombstone)).unwrap();
        state
            .end_pass(&pass, 1_002, Outcome::Partial, "one left")
            .unwrap();
        assert_eq!(state.taken(pass.id).unwrap(), [taken]);
        assert_eq!(state.tombstone(&path).unwrap(), Some(tombstone));
        let last = &state.passes(1).unwrap()[0];
        assert_eq!(
            (last.ended, last.outcome.as_deref()),
            (Some(1_002), Some("partial"))
        );
        assert!(state.begin_pass(2_000).unwrap().name > pass.name);
        state.forget_before(1_500).unwrap();
        assert_eq!(state.tombstone(&path).unwrap(), None);
        assert_eq!(state.passes(9).unwrap().len(), 1);
        assert!(state.taken(pass.id).unwrap().is_empty());
    }

    #[test]
    fn deletions_count_for_an_hour_unless_they_were_approved_or_came_back() {
        let state = State::in_memory(Uuid::nil()).unwrap();
        let (hour, now) = (DeleteLimit::WINDOW, 1_700_000_000_000_000_000);
        let gone = |name: &str, here, at| {
            let etag = String::new();
            let path = TreePath::parse(name).unwrap();
            let tombstone = Tombstone { etag, here, at };
            state.forget(&path, Some(&tombstone)).unwrap();
        };
        gone("old", true, now - hour - 1);
        gone("here", true, now - hour + 1);
        gone("there", false, now - 2);
        gone("there too", false, now - 1);
        gone("by a clock that was far ahead", true, now + 2 * hour);
        assert_eq!(state.deleted_lately(now).unwrap(), (2, 1));
        state.approve_deletes(now - 2).unwrap();
        assert_eq!(state.deleted_lately(now).unwrap(), (1, 0));
    }
}
