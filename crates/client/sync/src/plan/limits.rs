//! What deletes more than may be deleted stops before the first change.

use std::fmt;

use super::decide::{Decision, Decisions};
use super::{Act, Picture, Plan, Reason};
use crate::settings::{DeleteLimit, Deletes, Settings};

/// Why nothing may be changed before somebody has been asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// Too many deletions.
    TooManyDeletes {
        /// Files that would be deleted here.
        here: u64,
        /// Files that would be deleted in the bucket.
        there: u64,
        /// Files that were deleted here in the hour before, and in the bucket.
        lately: (u64, u64),
        /// Files that both sides had.
        known: u64,
        /// What is allowed on either side.
        limit: DeleteLimit,
    },
    /// A side that had files has none.
    SideEmpty {
        /// Whether it is the folder.
        here: bool,
        /// Files that it had.
        known: u64,
    },
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyDeletes {
                here,
                there,
                lately,
                known,
                limit,
            } => {
                write!(
                    f,
                    "this would delete {here} files here and {there} in the bucket, of {known}; "
                )?;
                if *lately != (0, 0) {
                    let (here, there) = lately;
                    write!(f, "{here} and {there} were deleted within the last hour; ")?;
                }
                write!(f, "the limit is {limit} on either side")
            }
            Self::SideEmpty { here, known } => {
                let side = if *here { "the folder" } else { "the bucket" };
                write!(f, "{side} is empty, and had {known} files")
            }
        }
    }
}

pub(super) fn apply(
    picture: &Picture,
    settings: &Settings,
    decisions: &mut Decisions,
    plan: &mut Plan,
) {
    let stop = stop(picture, settings, decisions);
    match settings.deletes {
        Deletes::Ask => plan.stop = stop,
        Deletes::Approve => {}
        Deletes::Restore if stop.is_some() => restore(decisions),
        Deletes::Restore => {}
    }
}

fn stop(picture: &Picture, settings: &Settings, decisions: &Decisions) -> Option<Stop> {
    // What a rule leaves out by now is neither there nor gone.
    let known = picture.base.entries.len() + picture.settled.len();
    let known = known.saturating_sub(picture.ignored.len()) as u64;
    let empty =
        |here, count: usize| (known > 0 && count == 0).then_some(Stop::SideEmpty { here, known });
    let both = picture.local.entries.is_empty() && picture.remote.entries.is_empty();
    let one = empty(true, picture.local.entries.len())
        .or_else(|| empty(false, picture.remote.entries.len()));
    if let Some(stop) = one.filter(|_| !both && picture.settled.is_empty()) {
        return Some(stop);
    }
    let count = |is: fn(&Act) -> bool| {
        let acts = decisions.values();
        // What a move left over is there under another name.
        acts.filter(
            |d| matches!(d, Decision::Act(act, reason) if is(act) && *reason != Reason::Moved),
        )
        .count() as u64
    };
    let here = count(|act| matches!(act, Act::DeleteLocal { .. }));
    let there = count(|act| matches!(act, Act::DeleteRemote { .. }));
    let lately = picture.lately;
    let passed = passed(&settings.limit, (here, there), lately, known);
    passed.then_some(Stop::TooManyDeletes {
        here,
        there,
        lately,
        known,
        limit: settings.limit,
    })
}

/// Whether either side's deletions are too many. What was deleted a moment ago counts too, else
/// many small runs would delete everything.
fn passed(limit: &DeleteLimit, now: (u64, u64), lately: (u64, u64), known: u64) -> bool {
    [(now.0, lately.0), (now.1, lately.1)]
        .into_iter()
        .any(|(now, lately)| now > 0 && limit.is_passed(now + lately, known + lately))
}

/// What was deleted on one side comes back from the other.
fn restore(decisions: &mut Decisions) {
    for decision in decisions.values_mut() {
        let Decision::Act(act, Reason::Deleted) = decision else {
            continue;
        };
        let back = match act {
            Act::DeleteRemote { remote } => Act::Download {
                remote: remote.clone(),
                over: None,
            },
            Act::DeleteLocal { local } => Act::Upload {
                local: local.clone(),
                over: None,
            },
            _ => continue,
        };
        *decision = Decision::Act(back, Reason::Restored);
    }
}

#[cfg(test)]
mod tests {
    use model::Profile;

    use super::*;

    #[test]
    fn what_was_deleted_lately_counts_on_its_side_where_something_is_deleted() {
        let limit = |lately, here, there| {
            let settings = Settings::of(Profile::Balanced, "h");
            passed(&settings.limit, (here, there), lately, 200)
        };
        assert!(!limit((0, 0), 20, 20));
        assert!(limit((6, 0), 20, 0) && limit((0, 6), 0, 20));
        assert!(!limit((5, 0), 20, 0), "25 in all");
        assert!(!limit((0, 6), 20, 0), "the other side's");
        assert!(!limit((90, 90), 0, 0), "nothing is deleted now");
    }
}
