//! What machines that ask for a session and devices that ask for an operator have in common: they
//! wait for somebody's yes, and use it up once.

use std::str::FromStr;

use sqlx::sqlite::SqliteQueryResult;
use sqlx::{Sqlite, query::Query, sqlite::SqliteArguments};

use super::{Result, SessionRow, Store, sessions};

/// Where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nobody has decided.
    Pending,
    /// Somebody said yes.
    Approved,
    /// Somebody said no.
    Denied,
    /// The session was handed over.
    Used,
}

impl Standing {
    /// As the database has it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Used => "used",
        }
    }

    /// What somebody has decided, who said yes in this name or no.
    pub(super) fn decided<T>(yes: Option<&T>) -> Self {
        match yes {
            Some(_) => Self::Approved,
            None => Self::Denied,
        }
    }
}

impl FromStr for Standing {
    type Err = ();

    fn from_str(text: &str) -> std::result::Result<Self, ()> {
        let all = [Self::Pending, Self::Approved, Self::Denied, Self::Used];
        let mut all = all.into_iter();
        all.find(|one| one.as_str() == text).ok_or(())
    }
}

/// Whether a row was added; not, if what it is found by is in use by chance.
pub(super) fn added(done: sqlx::Result<SqliteQueryResult>) -> Result<bool> {
    match done {
        Ok(_) => Ok(true),
        Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Ok(false),
        Err(error) => Err(error.into()),
    }
}

impl Store {
    /// Uses a yes up, for a session; `false` if it was used meanwhile.
    pub(super) async fn use_up(
        &self,
        used: Query<'_, Sqlite, SqliteArguments>,
        session: &SessionRow,
    ) -> Result<bool> {
        let mut change = self.begin().await?;
        if used.execute(&mut *change).await?.rows_affected() != 1 {
            return Ok(false);
        }
        sessions::add(&mut change, session).await?;
        change.commit().await?;
        Ok(true)
    }
}
