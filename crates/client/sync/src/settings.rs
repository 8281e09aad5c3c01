//! How a pair of folder and workspace is kept alike: profiles and what they set.

use std::fmt;
use std::str::FromStr;

use model::Profile;

use crate::ignored::Filter;
use crate::progress::Progress;

const MIB8: u64 = 8 << 20;

/// Which of two versions keeps the name, where both sides changed a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Resolve {
    /// The bucket's, whatever they are.
    #[default]
    None,
    /// The one that was changed last.
    Newer,
    /// The one that was changed first.
    Older,
    /// The one with more bytes.
    Larger,
    /// The one with fewer bytes.
    Smaller,
    /// The folder's.
    Path1,
    /// The bucket's.
    Path2,
}

impl Resolve {
    /// All of them, for help texts.
    pub const ALL: [Self; 7] = [
        Self::None,
        Self::Newer,
        Self::Older,
        Self::Larger,
        Self::Smaller,
        Self::Path1,
        Self::Path2,
    ];

    /// The name on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Newer => "newer",
            Self::Older => "older",
            Self::Larger => "larger",
            Self::Smaller => "smaller",
            Self::Path1 => "path1",
            Self::Path2 => "path2",
        }
    }
}

impl FromStr for Resolve {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|r| r.as_str() == text);
        found.ok_or_else(|| {
            let all = Self::ALL.map(Self::as_str).join(", ");
            format!("no way to resolve conflicts is called {text:?}: choose one of {all}")
        })
    }
}

/// What becomes of the version that does not keep the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loser {
    /// It lies beside the other as a conflict copy.
    Copy,
    /// It goes to the trash.
    Trash,
}

/// How many files may be deleted on either side within [`DeleteLimit::WINDOW`]. Both limits
/// count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeleteLimit {
    /// So many files.
    pub count: u64,
    /// So many of a hundred of those that both sides had.
    pub percent: u64,
    /// Fewer deletions than this are no share that counts.
    pub few: u64,
}

impl DeleteLimit {
    /// No limit at all.
    pub const NONE: Self = Self {
        count: u64::MAX,
        percent: 100,
        few: 0,
    };
    /// Deletions of this long ago still count, in nanoseconds: an hour.
    pub const WINDOW: i64 = 3_600_000_000_000;
    /// What a profile takes for few: one of two files is half. A share that a user gives is
    /// meant as it was said.
    pub const FEW: u64 = 5;

    /// Whether so many deletions among so many files are too many.
    pub fn is_passed(&self, deletions: u64, known: u64) -> bool {
        let share = deletions.saturating_mul(100) > known.saturating_mul(self.percent);
        deletions > self.count || (deletions >= self.few && share)
    }
}

impl fmt::Display for DeleteLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count {
            u64::MAX => write!(f, "{} % of the files", self.percent),
            count => write!(f, "{count} files or {} %", self.percent),
        }
    }
}

/// `25` files, or `25%` of them.
impl FromStr for DeleteLimit {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| {
            let number = text.parse::<u64>();
            number.map_err(|_| format!("{text:?} is no number: give a count, or a share as 25%"))
        };
        match text.strip_suffix('%') {
            Some(percent) => match number(percent)? {
                percent @ 0..=100 => Ok(Self {
                    count: u64::MAX,
                    percent,
                    few: 0,
                }),
                more => Err(format!("{more}% is more than all: give at most 100%")),
            },
            None => Ok(Self {
                count: number(text)?,
                percent: 100,
                few: 0,
            }),
        }
    }
}

/// What shall happen to deletions past the limit, or to a side that is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Deletes {
    /// Stop before the first change.
    #[default]
    Ask,
    /// Carry them out.
    Approve,
    /// Bring back what was deleted from the side that still has it.
    Restore,
}

/// How a pass decides.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Who keeps the name in a conflict.
    pub resolve: Resolve,
    /// What becomes of the other.
    pub loser: Loser,
    /// The most deletions.
    pub limit: DeleteLimit,
    /// What to do with more.
    pub deletes: Deletes,
    /// Whether the folder must be the very directory that was synced before.
    pub check_access: bool,
    /// The longest step, in nanoseconds, in which the folder's file system stamps times: a file
    /// that changed less than this before it was looked at is read once more.
    pub time_step: i64,
    /// This machine, as conflict copies name it.
    pub host: String,
    /// Transfers at one time.
    pub transfers: usize,
    /// Files of more bytes than this go in parts, and are gone on with where they were cut off.
    pub large: u64,
    /// Bytes that are fetched at once of such a file.
    pub block: u64,
    /// Told how far transfers are.
    pub progress: Progress,
    /// What is left out beside what `.artifactsignore` says.
    pub filters: Vec<Filter>,
}

impl Settings {
    /// What a profile sets.
    pub fn of(profile: Profile, host: impl Into<String>) -> Self {
        let (resolve, loser, count) = match profile {
            Profile::Safe => (Resolve::None, Loser::Copy, 10),
            Profile::Balanced => (Resolve::Newer, Loser::Copy, 25),
            Profile::Fast => (Resolve::Newer, Loser::Trash, 50),
        };
        Self {
            resolve,
            loser,
            limit: DeleteLimit {
                count,
                percent: 50,
                few: DeleteLimit::FEW,
            },
            deletes: Deletes::default(),
            check_access: true,
            time_step: match profile {
                Profile::Fast => 20_000_000,
                Profile::Balanced | Profile::Safe => 2_000_000_000,
            },
            host: host.into(),
            transfers: 32,
            large: MIB8,
            block: MIB8,
            progress: Progress::default(),
            filters: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_limits_count() {
        let limit = Settings::of(Profile::Balanced, "h").limit;
        assert!(!limit.is_passed(25, 200));
        assert!(limit.is_passed(26, 200), "the count");
        assert!(limit.is_passed(6, 10), "the share");
        assert!(!limit.is_passed(4, 4), "few files are no share");
        assert!(!DeleteLimit::NONE.is_passed(1000, 1000));
    }

    #[test]
    fn a_limit_is_a_count_or_a_share() {
        let count = |count| DeleteLimit {
            count,
            percent: 100,
            few: 0,
        };
        assert_eq!("25".parse(), Ok(count(25)));
        assert_eq!("0".parse(), Ok(count(0)));
        let share = "25%".parse::<DeleteLimit>().unwrap();
        assert!(share.is_passed(51, 200) && !share.is_passed(50, 200));
        assert!(
            share.is_passed(1, 3),
            "few files are a share to whoever gave one"
        );
        let none = "0%".parse::<DeleteLimit>().unwrap();
        assert!(none.is_passed(1, 200) && !none.is_passed(0, 200));
        assert!("101%".parse::<DeleteLimit>().is_err());
        assert!("many".parse::<DeleteLimit>().is_err());
    }

    #[test]
    fn each_profile_sets_what_it_stands_for() {
        let of = |profile| Settings::of(profile, "h");
        let (safe, fast) = (of(Profile::Safe), of(Profile::Fast));
        assert_eq!((safe.limit.count, fast.limit.count), (10, 50));
        assert_eq!(
            (safe.resolve, fast.resolve),
            (Resolve::None, Resolve::Newer)
        );
        assert!(fast.time_step < safe.time_step);
        for profile in Profile::ALL {
            assert!(
                of(profile).check_access,
                "{profile}: another folder is another folder"
            );
        }
        for resolve in Resolve::ALL {
            assert_eq!(resolve.as_str().parse(), Ok(resolve));
        }
    }
}
