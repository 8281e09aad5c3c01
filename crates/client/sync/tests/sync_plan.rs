//! The plan as a function: every state of a path, and the cases that histories have taught.

#![allow(clippy::unwrap_used, missing_docs)]

use bucket::Etag;
use model::Profile;
use sync::TreePath;
use sync::entry::{BaseEntry, Hash, Kind, LocalEntry, RemoteEntry, Seen, Stat};
use sync::plan::{Act, Picture, Plan, Reason, plan};
use sync::settings::{Deletes, Settings};

/// When the picture was taken; everything in it is an hour old.
const NOW: i64 = 1_700_000_000_000_000_000;
const THEN: i64 = NOW - 3_600_000_000_000;

fn path(text: &str) -> TreePath {
    TreePath::parse(text).unwrap()
}

fn hash(content: &str) -> Hash {
    Hash::of(content.as_bytes())
}

fn etag(content: &str) -> Etag {
    Etag::new(&format!(
        "{:032x}",
        content.bytes().map(u128::from).sum::<u128>()
    ))
}

fn stat(content: &str, at: i64) -> Stat {
    Stat {
        size: content.len() as u64,
        mtime: at,
        ctime: at,
        ino: 7,
    }
}

struct Case(Picture);

impl Case {
    fn new() -> Self {
        let mut picture = Picture::default();
        picture.local.at = NOW;
        Self(picture)
    }

    /// Both sides had this.
    fn base(mut self, at: &str, content: &str) -> Self {
        let seen = Seen {
            stat: stat(content, THEN),
            at: NOW - 60_000_000_000,
        };
        let entry = BaseEntry {
            kind: Kind::File,
            size: content.len() as u64,
            hash: hash(content),
            etag: etag(content),
            modified: Some(THEN),
            seen: Some(seen),
        };
        self.0.base.entries.insert(path(at), entry);
        self.0.base.directories.extend(path(at).ancestors());
        self
    }

    /// The folder has this, and its hash is known.
    fn here(self, at: &str, content: &str) -> Self {
        self.here_since(at, content, THEN)
    }

    fn here_since(mut self, at: &str, content: &str, time: i64) -> Self {
        let entry = LocalEntry {
            kind: Kind::File,
            stat: stat(content, time),
            hash: Some(hash(content)),
        };
        self.0.local.entries.insert(path(at), entry);
        self.0.local.directories.extend(path(at).ancestors());
        self
    }

    /// The bucket has this; whether it is the same as here is known.
    fn there(mut self, at: &str, content: &str) -> Self {
        let entry = RemoteEntry {
            kind: Kind::File,
            size: content.len() as u64,
            etag: etag(content),
            modified: THEN,
        };
        self.0.remote.entries.insert(path(at), entry);
        if let Some(local) = self.0.local.entries.get(&path(at)) {
            let same = local.hash == Some(hash(content));
            let answer = (same, local.hash.unwrap());
            self.0.answers.same.insert(path(at), answer);
            self.0.answers.times.insert(path(at), None);
        }
        self
    }

    fn plan(&self) -> Plan {
        let mut settings = Settings::of(Profile::Balanced, "host");
        settings.deletes = Deletes::Approve;
        plan(&self.0, &settings)
    }

    /// What is done, in order.
    fn acts(&self) -> Vec<(&'static str, String)> {
        let plan = self.plan();
        assert!(plan.questions.is_empty(), "{:?}", plan.questions);
        let acts = plan.actions.iter();
        acts.map(|action| (action.act.name(), action.path.to_string()))
            .collect()
    }
}

/// Every state of base, folder and bucket of one path, and what becomes of it.
#[test]
fn every_state_of_a_path_has_one_outcome() {
    let (same, new, other) = (Some("1"), Some("2"), Some("3"));
    let none: Option<&str> = None;
    for (base, here, there, expected) in [
        (none, none, none, None),
        (none, new, none, Some("upload")),
        (none, none, new, Some("download")),
        (none, new, new, None),
        (none, new, other, Some("conflict")),
        (same, same, same, None),
        (same, new, same, Some("upload")),
        (same, same, new, Some("download")),
        (same, new, new, None),
        (same, new, other, Some("conflict")),
        (same, none, same, Some("delete in bucket")),
        (same, none, new, Some("download")),
        (same, same, none, Some("delete here")),
        (same, new, none, Some("upload")),
        (same, none, none, None),
    ] {
        let mut case = Case::new();
        if let Some(content) = base {
            case = case.base("f", content);
        }
        if let Some(content) = here {
            case = case.here("f", content);
        }
        if let Some(content) = there {
            case = case.there("f", content);
        }
        let acts: Vec<&str> = case.acts().into_iter().map(|(act, _)| act).collect();
        let expected: Vec<&str> = expected.into_iter().collect();
        assert_eq!(
            acts, expected,
            "base {base:?}, here {here:?}, there {there:?}"
        );
    }
}

#[test]
fn the_same_picture_gives_the_same_plan() {
    let case = || {
        Case::new()
            .base("a", "1")
            .here("b", "1")
            .there("a", "1")
            .here("c", "22")
            .there("c", "33")
    };
    assert_eq!(case().plan().actions, case().plan().actions);
}

#[test]
fn what_only_a_hash_can_tell_is_asked_for() {
    let mut case = Case::new()
        .base("f", "1")
        .here_since("f", "2", NOW - 5)
        .there("f", "1");
    case.0.local.entries.get_mut(&path("f")).unwrap().hash = None;
    let plan = case.plan();
    assert!(plan.questions.hash.contains(&path("f")));
    assert!(plan.actions.is_empty());
}

#[test]
fn a_renamed_file_moves_and_a_changed_one_does_not() {
    let case = Case::new()
        .base("d/a", "1")
        .there("d/a", "1")
        .here("e/b", "1");
    assert_eq!(case.acts()[0], ("move in bucket", "e/b".into()));
    let case = Case::new()
        .base("d/a", "1")
        .here("d/a", "1")
        .there("e/b", "1");
    assert_eq!(case.acts()[0], ("move here", "e/b".into()));
    let case = Case::new().base("a", "1").there("a", "1").here("b", "2");
    let acts = case.acts();
    assert_eq!(
        acts,
        [("upload", "b".into()), ("delete in bucket", "a".into())]
    );
}

/// A rename that changes a name into a directory's cannot be made in one step here.
#[test]
fn a_move_below_its_own_name_is_a_deletion_and_a_new_file() {
    let case = Case::new().base("a", "1").here("a", "1").there("a/b", "1");
    assert_eq!(
        case.acts(),
        [("delete here", "a".into()), ("download", "a/b".into())]
    );
}

/// Found by a history: a file could not come to a folder that had an empty directory below
/// its name.
#[test]
fn an_empty_directory_gives_way_to_a_file_of_a_name_above() {
    let mut case = Case::new().there("a", "1");
    for directory in ["a", "a/x"] {
        case.0.local.directories.insert(path(directory));
        case.0.base.directories.insert(path(directory));
    }
    case.0.remote.markers.insert(path("a/x"), etag(""));
    assert_eq!(
        case.acts(),
        [
            ("remove directory here", "a/x".into()),
            ("remove directory here", "a".into()),
            ("download", "a".into()),
            ("remove directory in bucket", "a/x".into()),
        ]
    );
}

/// Found by a history: written, looked at and written again within one step of the clock, a
/// file looked as before and was replaced.
#[test]
fn a_file_that_may_still_change_without_a_trace_is_not_replaced() {
    let fresh = |time| {
        Case::new()
            .base("f", "1")
            .here_since("f", "1", time)
            .there("f", "2")
    };
    let plan = fresh(NOW - 1_000_000).plan();
    assert!(plan.actions.is_empty() && plan.fresh.contains(&path("f")));
    assert!(!plan.is_done(), "the run looks again");
    assert_eq!(
        fresh(NOW - 3_000_000_000).acts(),
        [("download", "f".into())]
    );
    // A clock that was ahead once holds nothing up for ever.
    assert_eq!(
        fresh(NOW + 3_600_000_000_000).acts(),
        [("download", "f".into())]
    );
}

/// Found by histories: two copies of one moment got one name; and what was done about a link
/// hid that the file of the same name was ours, so that nobody moved it.
#[test]
fn a_file_under_the_name_of_a_link_goes_aside_before_anything_else() {
    let mut case = Case::new().base("f", "1").here("f", "22").there("f", "333");
    let link = RemoteEntry {
        kind: Kind::Link,
        ..case.0.remote.entries[&path("f")].clone()
    };
    let file = case.0.remote.entries.insert(path("f"), link).unwrap();
    case.0.remote.shadowed.insert(path("f"), file.clone());
    let plan = case.plan();
    assert_eq!(plan.actions.len(), 1);
    assert_eq!(plan.actions[0].reason, Reason::NameOfLink);
    assert!(matches!(&plan.actions[0].act, Act::SetRemoteAside { remote, .. } if *remote == file));
    assert!(plan.fresh.contains(&path("f")));
    // Deleted here since: then it is deleted there. Another's is told of.
    let mut gone = Case::new();
    gone.0.remote = case.0.remote.clone();
    assert_eq!(gone.plan().refused[0].name, "f");
    let sent = sync::plan::Sending {
        hash: hash("333"),
        size: 3,
        etag: file.etag,
        is_copy: false,
    };
    gone.0.sending.insert(path("f"), sent);
    assert_eq!(gone.acts(), [("delete in bucket", "f".into())]);
}

/// Cut off after the bucket's version was copied aside: the next pass makes no second copy.
#[test]
fn a_copy_that_was_made_before_a_crash_is_not_made_twice() {
    let case = Case::new().base("f", "1").here("f", "22").there("f", "333");
    let mut settings = Settings::of(Profile::Balanced, "host");
    settings.resolve = sync::settings::Resolve::Path1;
    let copy = |case: &Case| {
        let plan = plan(&case.0, &settings);
        let kept = plan.actions.iter().find_map(|action| match &action.act {
            Act::KeepOurs { copy, .. } => copy.clone(),
            _ => None,
        });
        kept.unwrap()
    };
    let first = copy(&case);
    let made = case.there(first.as_str(), "333");
    assert_eq!(copy(&made), first);
    let other = Case::new().base("f", "1").here("f", "22").there("f", "333");
    let other = other.there(first.as_str(), "444");
    assert_ne!(copy(&other), first, "another's");
}

#[test]
fn a_directory_keeps_its_name_and_the_file_goes_aside() {
    let case = Case::new().here("a", "1").there("a/b", "22");
    let plan = case.plan();
    assert_eq!(plan.actions[0].act.name(), "set aside");
    assert_eq!(plan.actions[0].reason, Reason::NameOfDirectory);
    assert_eq!(plan.actions[1].path, path("a/b"));
    // Both in the bucket, by others: told, and left where they are.
    let case = Case::new().there("a", "1").there("a/b", "22");
    let plan = case.plan();
    assert_eq!(plan.refused[0].name, "a");
    assert_eq!(plan.actions.len(), 1);
}

#[test]
fn nothing_at_or_below_what_is_not_known_is_touched() {
    let mut case = Case::new()
        .base("d/f", "1")
        .base("d/g", "1")
        .there("d/f", "2")
        .there("d/g", "1")
        .there("d/new", "3");
    case.0.frozen.insert(path("d"));
    assert_eq!(case.acts(), []);
    assert!(case.plan().records.is_empty());
}

#[test]
fn an_upload_whose_answer_was_lost_is_no_conflict_with_ourselves() {
    let mut case = Case::new().base("f", "1").here("f", "333").there("f", "22");
    assert_eq!(case.acts(), [("conflict", "f".into())]);
    let sent = sync::plan::Sending {
        hash: hash("22"),
        size: 2,
        etag: etag("22"),
        is_copy: false,
    };
    case.0.sending.insert(path("f"), sent);
    assert_eq!(case.acts(), [("upload", "f".into())]);
}

/// Cut off between the copy's record and the deletion of the old name.
#[test]
fn the_old_name_of_a_move_that_was_cut_off_goes() {
    let mut case = Case::new()
        .base("to", "22")
        .here("to", "22")
        .there("to", "22")
        .there("from", "22");
    assert_eq!(case.acts(), [("download", "from".into())]);
    let sent = sync::plan::Sending {
        hash: hash("22"),
        size: 2,
        etag: etag("22"),
        is_copy: true,
    };
    case.0.sending.insert(path("from"), sent);
    assert_eq!(case.acts(), [("delete in bucket", "from".into())]);
    // Another's version since.
    let case = Case(sync::plan::Picture {
        sending: case.0.sending,
        ..Case::new().there("from", "1").0
    });
    assert_eq!(case.acts(), [("download", "from".into())]);
}

/// Cut off after we deleted it there; the user has the very same file again.
#[test]
fn a_file_that_came_back_after_our_own_deletion_was_cut_off_is_not_deleted() {
    let mut case = Case::new().base("f", "1").here("f", "1");
    assert_eq!(case.acts(), [("delete here", "f".into())]);
    case.0.deleting.insert(path("f"));
    assert_eq!(case.acts(), [("upload", "f".into())]);
}

#[test]
fn directories_follow_their_files_and_stand_alone_where_they_are_empty() {
    // Its last file was deleted here, and it stays.
    let mut case = Case::new().base("d/f", "1").there("d/f", "1");
    case.0.local.directories.insert(path("d"));
    let acts = case.acts();
    assert_eq!(
        acts,
        [
            ("delete in bucket", "d/f".into()),
            ("make directory in bucket", "d".into())
        ]
    );
    // It went with its file elsewhere.
    let case = Case::new().base("d/f", "1").here("d/f", "1");
    let acts = case.acts();
    assert_eq!(
        acts,
        [
            ("delete here", "d/f".into()),
            ("remove directory here", "d".into())
        ]
    );
    // Only the innermost needs an object.
    let mut case = Case::new();
    case.0.local.directories.extend([path("a"), path("a/b")]);
    assert_eq!(case.acts(), [("make directory in bucket", "a/b".into())]);
}
