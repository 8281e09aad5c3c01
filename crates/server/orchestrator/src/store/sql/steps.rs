//! The steps that the methods of all tables are made of.

use sqlx::query::Query;

use super::audit::append;
use super::{Adapter, Connection, Database, DbRow};
use crate::store::{Back, Due, Entry, Part, Result};

/// A statement with its values.
pub(super) type Bound<'q> = Query<'q, Database, <Database as sqlx::Database>::Arguments>;

impl Adapter {
    /// Adds a row, and the entry with it.
    pub(super) async fn add(&self, statement: Bound<'_>, entry: &Entry) -> Result<()> {
        let mut transaction = self.begin().await?;
        statement.execute(&mut *transaction).await?;
        append(&mut transaction, entry).await?;
        Ok(transaction.commit().await?)
    }

    /// Changes what is in the state that the statement starts from, with the entry; answers
    /// whether anything was.
    pub(super) async fn change(&self, statement: Bound<'_>, entry: &Entry) -> Result<bool> {
        let mut transaction = self.begin().await?;
        let changed = took_place(&mut transaction, statement).await?;
        if changed {
            append(&mut transaction, entry).await?;
        }
        transaction.commit().await?;
        Ok(changed)
    }

    /// The row that there is, if any.
    pub(super) async fn one<T>(
        &self,
        statement: Bound<'_>,
        read: impl Fn(&DbRow) -> Result<T> + Send,
    ) -> Result<Option<T>> {
        let row = statement.fetch_optional(&self.pool).await?;
        row.as_ref().map(read).transpose()
    }

    /// All rows that there are.
    pub(super) async fn all<T>(
        &self,
        statement: Bound<'_>,
        read: impl Fn(&DbRow) -> Result<T> + Send,
    ) -> Result<Vec<T>> {
        let rows = statement.fetch_all(&self.pool).await?;
        rows.iter().map(read).collect()
    }
}

/// Whether a change, which names the state that it starts from, found any row in it.
pub(super) async fn took_place(connection: &mut Connection, statement: Bound<'_>) -> Result<bool> {
    Ok(statement.execute(connection).await?.rows_affected() > 0)
}

/// Binds which part of a list is meant, as the statement's last two values.
pub(super) fn part_of(statement: Bound<'_>, part: Part) -> Bound<'_> {
    statement.bind(part.after).bind(part.limit)
}

/// The same, from the end of the list.
pub(super) fn back_of(statement: Bound<'_>, back: Back) -> Bound<'_> {
    statement.bind(back.before).bind(back.limit)
}

/// A statement that takes what is due.
pub(super) fn due_by(statement: &'static str, due: Due) -> Bound<'static> {
    sqlx::query(statement)
        .bind(due.now.micros())
        .bind(due.again.micros())
        .bind(due.limit)
}
