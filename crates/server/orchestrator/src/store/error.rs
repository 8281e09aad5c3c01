//! Why the database did not do what was asked, by what the caller can do about it.

use base::Failure;

/// What went wrong in the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Something of that name, code or pair is there already.
    #[error("it exists already")]
    Exists,
    /// The database cannot be reached or is too busy: try again.
    #[error("the database does not answer: {0}")]
    Unavailable(String),
    /// A row says what no version of this program writes, or a statement is wrong. Nothing
    /// that a caller did.
    #[error("the database and the program do not agree: {0}")]
    Broken(String),
    /// The database cannot be opened at all.
    #[error("{0}")]
    Open(String),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error;
        match &error {
            Error::Database(answer) if answer.is_unique_violation() => Self::Exists,
            Error::Database(answer) if is_passing(answer.code().as_deref()) => {
                Self::Unavailable(error.to_string())
            }
            Error::Io(_) | Error::Tls(_) | Error::PoolTimedOut | Error::PoolClosed => {
                Self::Unavailable(error.to_string())
            }
            _ => Self::Broken(error.to_string()),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Exists => Self::conflict("it exists already"),
            StoreError::Unavailable(reason) => {
                tracing::warn!(reason, "the database does not answer");
                Self::unavailable("the database does not answer")
            }
            StoreError::Broken(reason) | StoreError::Open(reason) => {
                tracing::error!(reason, "the database and the program do not agree");
                Self::internal()
            }
        }
    }
}

/// SQLite's BUSY (5, and its extended forms) and LOCKED (6); PostgreSQL's classes 08
/// (connection), 40 (rolled back, try again), 53 (out of resources) and 57 (operator's doing:
/// stopping or starting).
fn is_passing(code: Option<&str>) -> bool {
    let Some(code) = code else { return false };
    match code.parse::<u32>() {
        Ok(number) if code.len() < 5 => matches!(number & 0xff, 5 | 6),
        _ => ["08", "40", "53", "57"]
            .iter()
            .any(|class| code.starts_with(class)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_by_itself_is_told_from_what_does_not() {
        for passing in ["5", "517", "6", "40001", "40P01", "57P01", "08006"] {
            assert!(is_passing(Some(passing)), "{passing}");
        }
        for lasting in ["1", "2067", "42P01", "23505", "22P02"] {
            assert!(!is_passing(Some(lasting)), "{lasting}");
        }
        assert!(!is_passing(None));
    }
}
