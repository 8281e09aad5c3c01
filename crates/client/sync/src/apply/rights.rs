//! A store that refuses one change after the other is asked no further.

use bucket::Error as BucketError;
use parking_lot::Mutex;

use crate::error::SyncError;

/// So many refusals without a call that was let through say that all will be refused.
const MOST: usize = 3;

/// What the store has refused in a pass, reading and writing apart.
#[derive(Default)]
pub(crate) struct Rights {
    read: Mutex<Standing>,
    write: Mutex<Standing>,
}

#[derive(Default)]
struct Standing {
    in_row: usize,
    refused: Vec<(String, String)>,
    untried: usize,
}

impl Standing {
    fn is_closed(&self) -> bool {
        self.in_row >= MOST
    }

    fn told(self, what: &str) -> Vec<(String, String)> {
        let others = self.refused.len() + self.untried;
        if !self.is_closed() || others < 2 {
            return self.refused;
        }
        let first = self.refused.into_iter().next();
        let one = first.map(|(path, reason)| {
            let text = format!(
                "{reason}: the store refuses these keys to {what}; {} others are left as they are",
                others - 1
            );
            (path, text)
        });
        one.into_iter().collect()
    }
}

impl Rights {
    fn of(&self, writes: bool) -> &Mutex<Standing> {
        if writes { &self.write } else { &self.read }
    }

    /// Whether there is any sense in one more call.
    pub(crate) fn may_try(&self, writes: bool) -> bool {
        let mut standing = self.of(writes).lock();
        if standing.is_closed() {
            standing.untried += 1;
        }
        !standing.is_closed()
    }

    /// Notes an answer. Says whether it was a refusal, which is told when all is done.
    pub(crate) fn is_refused<T>(
        &self,
        writes: bool,
        path: &str,
        answer: &Result<T, SyncError>,
    ) -> bool {
        let mut standing = self.of(writes).lock();
        match answer {
            Err(SyncError::Bucket(error @ BucketError::PermissionDenied { .. })) => {
                standing.in_row += 1;
                standing.refused.push((path.to_owned(), error.to_string()));
                true
            }
            Ok(_) => {
                standing.in_row = 0;
                false
            }
            Err(_) => false,
        }
    }

    /// What there is to tell of it.
    pub(crate) fn told(self) -> Vec<(String, String)> {
        let mut all = self.write.into_inner().told("write");
        all.extend(self.read.into_inner().told("read"));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied() -> Result<(), SyncError> {
        let action = "put a".to_owned();
        Err(BucketError::PermissionDenied { action }.into())
    }

    #[test]
    fn refusals_in_a_row_close_the_way_and_are_one_message() {
        let rights = Rights::default();
        for path in ["a", "b", "c"] {
            assert!(rights.may_try(true));
            assert!(rights.is_refused(true, path, &denied()));
        }
        assert!(!rights.may_try(true) && !rights.may_try(true));
        assert!(rights.may_try(false), "reading is another right");
        let told = rights.told();
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].0, "a");
        assert!(
            told[0].1.ends_with("4 others are left as they are"),
            "{told:?}"
        );
    }

    #[test]
    fn refusals_of_single_keys_close_nothing() {
        let rights = Rights::default();
        for path in ["a", "b", "c", "d"] {
            assert!(rights.may_try(true) && rights.is_refused(true, path, &denied()));
            assert!(!rights.is_refused(true, "other", &Ok(())));
        }
        assert!(rights.may_try(true));
        assert_eq!(rights.told().len(), 4);
    }
}
