//! The log of events that daemons follow: bounded by age and by number for each operator.
//! Numbers grow for ever, across restarts too.

use api::vault::OperatorEvent;
use model::Actor;
use sqlx::Row;

use super::{Result, Store, StoreError};

/// The operator of events that concern all of them.
pub(crate) const EVERYBODY: &str = "";

/// An event with its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Happened {
    pub(crate) id: i64,
    pub(crate) event: OperatorEvent,
}

/// What is behind an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missed {
    /// Whether something that was behind it is forgotten, or it is no event of this log.
    pub(crate) gap: bool,
    /// In order, at most as many as were asked for.
    pub(crate) events: Vec<Happened>,
    /// The newest number of all.
    pub(crate) newest: i64,
}

/// The number that was given last; SQLite keeps it when all rows are gone.
const NEWEST: &str = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0)";

const BEHIND: &str = "SELECT id, data FROM (
        SELECT id, data FROM events WHERE operator = ?1 AND id > ?2
        UNION ALL
        SELECT id, data FROM events WHERE operator = '' AND id > ?2
    ) ORDER BY id LIMIT ?3";

impl Store {
    /// Adds an event of one operator, or of [`EVERYBODY`].
    pub(crate) async fn add_event(
        &self,
        operator: &str,
        event: &OperatorEvent,
        now: i64,
    ) -> Result<i64> {
        let data = serde_json::to_string(event).map_err(|_| StoreError::Row("data"))?;
        let add = sqlx::query("INSERT INTO events (operator, at, data) VALUES (?, ?, ?)");
        let add = add.bind(operator).bind(now).bind(data);
        Ok(add.execute(&self.pool).await?.last_insert_rowid())
    }

    /// The number that was given last.
    pub(crate) async fn newest_event(&self) -> Result<i64> {
        let row = sqlx::query(NEWEST).fetch_one(&self.pool).await?;
        Ok(row.try_get(0)?)
    }

    /// An operator's events behind a number.
    pub(crate) async fn events(&self, operator: &Actor, last: i64, limit: i64) -> Result<Missed> {
        // One moment's state: nothing is forgotten between the questions.
        let mut moment = self.pool.begin().await?;
        let newest: i64 = sqlx::query(NEWEST)
            .fetch_one(&mut *moment)
            .await?
            .try_get(0)?;
        let floor = "SELECT coalesce(max(id), 0) FROM forgotten WHERE operator IN (?, '')";
        let floor = sqlx::query(floor).bind(operator.as_str());
        let floor: i64 = floor.fetch_one(&mut *moment).await?.try_get(0)?;
        if last < floor || last > newest {
            return Ok(Missed {
                gap: true,
                events: Vec::new(),
                newest,
            });
        }
        let behind = sqlx::query(BEHIND)
            .bind(operator.as_str())
            .bind(last)
            .bind(limit);
        let rows = behind.fetch_all(&mut *moment).await?;
        let events: Result<Vec<_>> = rows.iter().map(read).collect();
        Ok(Missed {
            gap: false,
            events: events?,
            newest,
        })
    }

    /// Forgets events from before `oldest`, and of each operator all but the newest `most`.
    pub(crate) async fn forget_events(&self, oldest: i64, most: i64) -> Result<()> {
        let mut change = self.begin().await?;
        let doomed = "SELECT operator, max(id) AS id FROM (
                SELECT operator, id, at,
                    row_number() OVER (PARTITION BY operator ORDER BY id DESC) AS place
                FROM events
            ) WHERE at < ?1 OR place > ?2 GROUP BY operator";
        let doomed = sqlx::query(doomed).bind(oldest).bind(most);
        for row in doomed.fetch_all(&mut *change).await? {
            let (operator, id): (String, i64) = (row.try_get("operator")?, row.try_get("id")?);
            let floor = "INSERT INTO forgotten (operator, id) VALUES (?1, ?2)
                ON CONFLICT (operator) DO UPDATE SET id = max(id, excluded.id)";
            let floor = sqlx::query(floor).bind(&operator).bind(id);
            floor.execute(&mut *change).await?;
            // Numbers follow time: what is older than one that goes, goes too.
            let gone = sqlx::query("DELETE FROM events WHERE operator = ? AND id <= ?");
            gone.bind(operator).bind(id).execute(&mut *change).await?;
        }
        Ok(change.commit().await?)
    }
}

fn read(row: &sqlx::sqlite::SqliteRow) -> Result<Happened> {
    let data: String = row.try_get("data")?;
    let event = serde_json::from_str(&data).map_err(|_| StoreError::Row("data"))?;
    Ok(Happened {
        id: row.try_get("id")?,
        event,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operator(name: &str) -> Actor {
        Actor::from_oidc("https://a", name).unwrap()
    }

    #[tokio::test]
    async fn numbers_grow_across_restarts_and_what_is_forgotten_is_a_gap() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("broker.db");
        let store = Store::open(&path).await.unwrap();
        let (ada, bob) = (operator("ada"), operator("bob"));
        let epoch = |epoch| OperatorEvent::Epoch { epoch };
        for (at, who) in [(1, ada.as_str()), (2, EVERYBODY), (3, bob.as_str())] {
            let event = epoch(u32::try_from(at).unwrap());
            store.add_event(who, &event, at).await.unwrap();
        }
        let ids = |missed: Missed| missed.events.iter().map(|e| e.id).collect::<Vec<_>>();
        assert_eq!(ids(store.events(&ada, 0, 10).await.unwrap()), [1, 2]);
        assert_eq!(ids(store.events(&bob, 0, 10).await.unwrap()), [2, 3]);
        // Of everybody's, what ada missed is gone; bob's own is still there.
        store.forget_events(3, 10).await.unwrap();
        assert!(store.events(&ada, 1, 10).await.unwrap().gap);
        assert_eq!(ids(store.events(&bob, 2, 10).await.unwrap()), [3]);
        store.forget_events(9, 10).await.unwrap();
        store.close().await;
        let store = Store::open(&path).await.unwrap();
        assert_eq!(store.newest_event().await.unwrap(), 3);
        let id = store.add_event(ada.as_str(), &epoch(4), 9).await.unwrap();
        assert_eq!(id, 4);
        assert!(!store.events(&ada, 3, 10).await.unwrap().gap);
        assert!(store.events(&ada, 5, 10).await.unwrap().gap);
    }

    #[tokio::test]
    async fn of_one_operator_only_the_newest_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("broker.db")).await.unwrap();
        let (ada, bob) = (operator("ada"), operator("bob"));
        let event = OperatorEvent::Resync;
        store.add_event(bob.as_str(), &event, 5).await.unwrap();
        for _ in 0..5 {
            store.add_event(ada.as_str(), &event, 5).await.unwrap();
        }
        store.forget_events(0, 2).await.unwrap();
        assert!(store.events(&ada, 3, 10).await.unwrap().gap);
        assert_eq!(store.events(&ada, 4, 10).await.unwrap().events.len(), 2);
        assert_eq!(store.events(&bob, 0, 10).await.unwrap().events.len(), 1);
    }
}
