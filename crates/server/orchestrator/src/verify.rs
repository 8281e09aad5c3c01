//! Whether the audit is as it was written.

use crate::store::{Audit, Recorded, StoreError};

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Every row follows from the one before it.
    Whole {
        /// How many rows there are.
        rows: i64,
        /// The last one's hash, to be kept elsewhere: rows cut off at the end show only by it.
        head: Option<Vec<u8>>,
    },
    /// The row of this number is missing, or it or one before it was changed.
    Broken {
        /// The number.
        seq: i64,
    },
}

/// Rows in one read.
const BATCH: i64 = 1_000;

/// Follows the chain from its beginning.
///
/// # Errors
/// The database's.
pub async fn verify(audit: &dyn Audit) -> Result<Verdict, StoreError> {
    let mut last: Option<Recorded> = None;
    loop {
        let after = last.as_ref().map_or(0, |row| row.seq);
        let rows = audit.recorded(after, BATCH).await?;
        if rows.is_empty() {
            return Ok(Verdict::Whole {
                rows: after,
                head: last.map(|row| row.hash),
            });
        }
        for row in rows {
            let before = last.as_ref().map_or(vec![0; 32], |row| row.hash.clone());
            let next = last.as_ref().map_or(0, |row| row.seq) + 1;
            if row.seq != next || row.computed_hash(&before) != row.hash {
                return Ok(Verdict::Broken { seq: next });
            }
            last = Some(row);
        }
    }
}
