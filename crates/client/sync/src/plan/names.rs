//! New names for conflict copies, and names that are trouble elsewhere.

use std::collections::{BTreeSet, HashMap};

use model::conflict::copy_name;
use model::entry_name::{LINK_SUFFIX, MAX_BYTES};
use time::{Duration, OffsetDateTime};
use unicode_normalization::UnicodeNormalization;

use super::decide::{Decision, Decisions};
use super::{Picture, Plan, Refusal};
use crate::entry::{Kind, RemoteEntry};
use crate::path::TreePath;
use crate::settings::Settings;

/// Finds names for conflict copies that nobody has.
pub(super) struct Copies<'p> {
    picture: &'p Picture,
    host: &'p str,
    given: BTreeSet<TreePath>,
}

impl<'p> Copies<'p> {
    pub(super) fn new(picture: &'p Picture, settings: &'p Settings) -> Self {
        Self {
            picture,
            host: &settings.host,
            given: BTreeSet::new(),
        }
    }

    /// The path of a copy of the version that was made at `when` (nanoseconds since 1970).
    /// The same version gets the same name each time, as long as that is free. `None` where
    /// no name would fit.
    pub(super) fn of(&mut self, path: &TreePath, kind: Kind, when: i64) -> Option<TreePath> {
        self.find(path, kind, when, None)
    }

    /// The path of a copy of an object: the one that an earlier pass made before it was cut off,
    /// if there is one.
    pub(super) fn of_object(&mut self, path: &TreePath, object: &RemoteEntry) -> Option<TreePath> {
        self.find(path, object.kind, object.modified, Some(object))
    }

    fn find(
        &mut self,
        path: &TreePath,
        kind: Kind,
        when: i64,
        object: Option<&RemoteEntry>,
    ) -> Option<TreePath> {
        let room = self.room(path, kind)?;
        let mut when = OffsetDateTime::from_unix_timestamp(when.div_euclid(1_000_000_000))
            .ok()
            .filter(|when| (0..=9999).contains(&when.year()))
            .unwrap_or(OffsetDateTime::UNIX_EPOCH);
        loop {
            let name = copy_name(path.name(), self.host, when, room);
            let copy = path.sibling(&name).ok()?;
            let is_made = object.is_some_and(|object| self.is_copy(&copy, object));
            let is_free = is_made || !self.picture.is_taken(&copy);
            if is_free && self.given.insert(copy.clone()) {
                return Some(copy);
            }
            when += Duration::SECOND;
        }
    }

    /// Whether the bucket alone has this name, with this version.
    fn is_copy(&self, copy: &TreePath, object: &RemoteEntry) -> bool {
        let Picture {
            base,
            local,
            remote,
            ..
        } = self.picture;
        let there = remote.entries.get(copy);
        let same = |there: &RemoteEntry| {
            (there.kind, there.size, &there.etag) == (object.kind, object.size, &object.etag)
        };
        there.is_some_and(same)
            && !base.entries.contains_key(copy)
            && !local.entries.contains_key(copy)
            && !local.directories.contains(copy)
    }

    fn room(&self, path: &TreePath, kind: Kind) -> Option<usize> {
        let suffix = match kind {
            Kind::File => 0,
            Kind::Link => LINK_SUFFIX.len(),
        };
        let above = path.as_str().len() - path.name().len();
        let used = self.picture.prefix_bytes + above + suffix;
        let room = bucket::Key::MAX_BYTES.checked_sub(used)?;
        let room = room.min(MAX_BYTES - suffix);
        // The mark, a host of 32 characters and an extension have to fit.
        (room >= 96).then_some(room)
    }
}

/// Says which new names would be one name, or none, on other systems.
pub(super) fn warn(picture: &Picture, decisions: &Decisions, plan: &mut Plan) {
    let fresh = |path: &TreePath, decision: &Decision| {
        matches!(decision, Decision::Act(..)) && !picture.base.entries.contains_key(path)
    };
    let new: Vec<&TreePath> = decisions
        .iter()
        .filter(|(path, decision)| fresh(path, decision))
        .map(|(path, _)| path)
        .collect();
    if new.is_empty() {
        return;
    }
    let mut names: HashMap<String, Vec<&str>> = new
        .iter()
        .map(|path| (folded(path.as_str()), Vec::new()))
        .collect();
    let stay = decisions.iter().filter(|(_, d)| d.survives());
    let stay = stay.map(|(path, _)| path.as_str());
    for path in stay.chain(picture.settled.paths()) {
        if let Some(like) = names.get_mut(&folded(path)) {
            like.push(path);
        }
    }
    for path in new {
        let like = names.get(&folded(path.as_str())).into_iter().flatten();
        if let Some(other) = like.filter(|other| **other != path.as_str()).min() {
            let reason = format!("{other} is the same name where case or accents do not count");
            plan.warnings.push(refusal(path, reason));
        }
        if let Some(reason) = unusual(path.name()) {
            plan.warnings.push(refusal(path, reason.to_owned()));
        }
    }
}

fn refusal(path: &TreePath, reason: String) -> Refusal {
    Refusal {
        name: path.to_string(),
        reason,
    }
}

/// A name as macOS and Windows compare it.
pub(crate) fn folded(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    text.nfc().flat_map(char::to_lowercase).nfc().collect()
}

/// What is wrong with a name on Windows.
fn unusual(name: &str) -> Option<&'static str> {
    if name.ends_with(['.', ' ']) {
        return Some("Windows drops the dot or space at its end");
    }
    let forbidden = |c: char| c.is_ascii_control() || r#"<>:"\|?*"#.contains(c);
    name.chars()
        .any(forbidden)
        .then_some("Windows has no file of such a name")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_other_systems_take_for_one_name_is_folded_to_one() {
        assert_eq!(folded("Notes/É.md"), folded("notes/e\u{301}.MD"));
        assert_ne!(folded("a"), folded("b"));
        assert!(unusual("trailing.").is_some() && unusual("a:b").is_some());
        assert!(unusual("fine.md").is_none());
    }
}
