//! Parts what is as it was on both sides from what a plan has to look at.

use std::sync::Arc;

use crate::entry::{LocalEntry, RemoteEntry};
use crate::ignored::{Rules, Sieve};
use crate::known::Known;
use crate::path::TreePath;
use crate::plan::{Picture, Settled};

/// What was found of the known files.
pub(crate) struct Found {
    pub(crate) known: Arc<Known>,
    /// Those that look as they did in the folder.
    pub(crate) here: Vec<u32>,
    /// Those whose object is what it was.
    pub(crate) there: Vec<u32>,
}

/// What is known of a file by its number.
#[derive(Clone, Copy, Default)]
struct Mark {
    is_here: bool,
    is_there: bool,
}

/// Adds the known files to a picture: those about which a plan may have to decide something
/// whole, the others as settled.
pub(crate) fn settle(picture: &mut Picture, found: Found, rules: &Rules) {
    let marks = found.marks();
    let is = settled(picture, &found.known, &marks, rules);
    place(picture, found.known, &marks, is);
}

impl Found {
    fn marks(&self) -> Vec<Mark> {
        let mut marks = vec![Mark::default(); self.known.len()];
        for number in &self.here {
            if let Some(mark) = marks.get_mut(*number as usize) {
                mark.is_here = true;
            }
        }
        for number in &self.there {
            if let Some(mark) = marks.get_mut(*number as usize) {
                mark.is_there = true;
            }
        }
        marks
    }
}

/// Adds what is not settled whole, and the rest as settled.
fn place(picture: &mut Picture, known: Arc<Known>, marks: &[Mark], is: Vec<bool>) {
    for (number, mark) in marks.iter().enumerate() {
        if is.get(number) != Some(&true) {
            add(picture, &known, number, *mark);
        }
    }
    picture.settled = Settled::new(known, is);
}

/// Of each known file, whether nothing has to be decided about it.
fn settled(picture: &Picture, known: &Known, marks: &[Mark], rules: &Rules) -> Vec<bool> {
    let both = |mark: &Mark| mark.is_here && mark.is_there;
    let mut is: Vec<bool> = marks.iter().map(both).collect();
    if known.is_empty() {
        return is;
    }
    if !rules.is_empty() {
        let mut rules = Sieve::new(rules);
        for (number, is) in is.iter_mut().enumerate() {
            *is = *is && !rules.leaves_out_text(known.path(number), false);
        }
    }
    let own = |is: &mut [bool], path: &str| {
        if let Ok(number) = known.find(path, 0) {
            is[number] = false;
        }
    };
    let below = |is: &mut [bool], path: &str| is[known.below(path)].fill(false);
    for path in &picture.frozen {
        own(&mut is, path.as_str());
        below(&mut is, path.as_str());
    }
    let others = [
        picture.sending.keys().collect::<Vec<_>>(),
        picture.deleting.iter().collect(),
        picture.local.entries.keys().collect(),
        picture.remote.entries.keys().collect(),
        picture.remote.shadowed.keys().collect(),
    ];
    let open: Vec<&str> = others.into_iter().flatten().map(TreePath::as_str).collect();
    let known_open: Vec<usize> = (0..known.len()).filter(|number| !is[*number]).collect();
    // A name that is open may be a file's on one side and a directory's on the other.
    let known_open = known_open.iter().map(|number| known.path(*number));
    let mut last = "";
    for path in open.into_iter().chain(known_open) {
        own(&mut is, path);
        below(&mut is, path);
        let above = path.rsplit_once('/').map_or("", |(above, _)| above);
        if above != last {
            last = above;
            above_and(above, |path| own(&mut is, path));
        }
    }
    for path in picture.remote.markers.keys() {
        above_and(path.as_str(), |path| own(&mut is, path));
    }
    is
}

/// Calls for a path and each directory above it.
fn above_and(path: &str, mut call: impl FnMut(&str)) {
    let mut next = Some(path).filter(|path| !path.is_empty());
    while let Some(path) = next {
        call(path);
        next = path.rsplit_once('/').map(|(above, _)| above);
    }
}

/// Adds a known file to every part of a picture in which it is.
fn add(picture: &mut Picture, known: &Known, number: usize, mark: Mark) {
    let Some((path, base)) = known.entry(number) else {
        return;
    };
    if let Some(seen) = base.seen.filter(|_| mark.is_here) {
        let entry = LocalEntry {
            kind: base.kind,
            stat: seen.stat,
            hash: None,
        };
        picture.local.entries.insert(path.clone(), entry);
    }
    let there = picture.remote.entries.get(&path);
    // Where ranges of a listing overlap, a later look may have seen another version.
    let is_there = mark.is_there && there.is_none_or(|there| there.kind != base.kind);
    if let Some(modified) = base.modified.filter(|_| is_there) {
        let entry = RemoteEntry {
            kind: base.kind,
            size: base.size,
            etag: base.etag.clone(),
            modified,
        };
        picture.remote.add(path.clone(), entry);
    }
    picture.base.entries.insert(path, base);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bucket::Etag;
    use model::Profile;
    use proptest::prelude::*;

    use super::*;
    use crate::entry::{Hash, Kind, Seen, Stat};
    use crate::known::{Fact, Stored};
    use crate::plan::{Plan, Questions, plan};
    use crate::settings::Settings;

    const NOW: i64 = 1_700_000_000_000_000_000;
    /// Names that are files and directories of each other, and that differ by case.
    const NAMES: &[&str] = &[
        "a", "A", "a/b", "a/b/c", "a/d", "a-", "b", "b/a", "b/a/x", "c", "d/e/f", "d/e/g", "d/E",
    ];

    /// What each side has of each name: nothing, one of three contents, or what was known.
    #[derive(Debug, Clone)]
    struct Scene {
        base: Vec<u8>,
        here: Vec<u8>,
        there: Vec<u8>,
        markers: Vec<bool>,
        directories: Vec<bool>,
        rules: &'static str,
        frozen: Option<usize>,
        sending: Option<usize>,
    }

    fn scenes() -> impl Strategy<Value = Scene> {
        let side = || prop::collection::vec(0_u8..8, NAMES.len());
        let rare = || prop::collection::vec(prop::bool::weighted(0.1), NAMES.len());
        let one = || prop::option::weighted(0.1, 0..NAMES.len());
        let rules = prop::sample::select(vec!["", "", "", "b/", "*.x", "c", "/a/*"]);
        (side(), side(), side(), rare(), rare(), rules, one(), one()).prop_map(
            |(base, here, there, markers, directories, rules, frozen, sending)| Scene {
                base,
                here,
                there,
                markers,
                directories,
                rules,
                frozen,
                sending,
            },
        )
    }

    fn path(number: usize) -> TreePath {
        TreePath::parse(NAMES[number]).unwrap()
    }

    fn kind(content: u8) -> Kind {
        if content == 2 { Kind::Link } else { Kind::File }
    }

    fn stat(content: u8, number: usize) -> Stat {
        Stat {
            size: u64::from(content.min(3)),
            mtime: NOW - 3_600_000_000_000 - i64::from(content),
            ctime: NOW - 3_600_000_000_000,
            ino: number as u64,
        }
    }

    fn etag(content: u8) -> Etag {
        Etag::new(&format!("{content:032x}"))
    }

    impl Scene {
        /// Content 0 is none; above 3 a side has what is known.
        fn of(&self, side: &[u8], number: usize) -> u8 {
            if side[number] > 3 {
                self.base[number]
            } else {
                side[number]
            }
        }

        fn known(&self) -> Known {
            let mut known = Known::default();
            let mut numbers: Vec<usize> = (0..NAMES.len()).collect();
            numbers.sort_by_key(|number| NAMES[*number]);
            for number in numbers
                .into_iter()
                .filter(|n| (1..=3).contains(&self.base[*n]))
            {
                let content = self.base[number];
                let seen = Seen {
                    stat: stat(content, number),
                    at: NOW - 60_000_000_000,
                };
                assert!(known.push(&Fact {
                    path: NAMES[number],
                    etag: etag(content).as_str(),
                    kind: kind(content),
                    size: seen.stat.size,
                    hash: Hash::of(&[content]),
                    modified: (number % 5 > 0).then_some(NOW - 7),
                    seen: Some(seen),
                }));
            }
            known
        }

        /// The picture as walk and listing make it. In a folder a name above a file is a
        /// directory.
        fn picture(&self, known: &Known) -> (Picture, Vec<u32>, Vec<u32>) {
            let mut picture = Picture::default();
            picture.local.at = NOW;
            let (mut here, mut there, mut near) = (Vec::new(), Vec::new(), 0);
            let mut files = BTreeMap::new();
            for number in (0..NAMES.len()).filter(|n| (1..=3).contains(&self.of(&self.here, *n))) {
                let is_taken = |(other, _): (&TreePath, &usize)| {
                    other.is_below(&path(number)) || path(number).is_below(other)
                };
                if !files.iter().any(is_taken) {
                    files.insert(path(number), number);
                }
            }
            for (path, number) in &files {
                let content = self.of(&self.here, *number);
                let (kind, stat) = (kind(content), stat(content, *number));
                picture.local.directories.extend(path.ancestors());
                match known.as_seen(path.as_str(), kind, &stat, 1, &mut near) {
                    Some(found) => here.push(found),
                    None => {
                        let hash = Some(Hash::of(&[content]));
                        let entry = LocalEntry { kind, stat, hash };
                        picture.local.entries.insert(path.clone(), entry);
                    }
                }
            }
            for (number, name) in NAMES.iter().enumerate() {
                let content = self.of(&self.there, number);
                if (1..=3).contains(&content) {
                    let size = stat(content, number).size;
                    let (kind, etag) = (kind(content), etag(content));
                    // Some were touched in the bucket since.
                    let touched = i64::from(self.there[number] == 6);
                    let stored = Stored {
                        kind,
                        size,
                        etag: etag.as_str(),
                        modified: NOW - 7 + touched,
                    };
                    match known.as_stored(name, &stored, &mut near) {
                        Some(found) => there.push(found),
                        None => {
                            let entry = RemoteEntry {
                                kind,
                                size,
                                modified: NOW - 7 + touched,
                                etag,
                            };
                            picture.remote.add(path(number), entry);
                        }
                    }
                    // A link and a file of one name are different objects.
                    if self.here[number] == 7 {
                        let entry = RemoteEntry {
                            kind: if kind == Kind::File {
                                Kind::Link
                            } else {
                                Kind::File
                            },
                            size: 9,
                            etag: Etag::new("other"),
                            modified: NOW - 9,
                        };
                        picture.remote.add(path(number), entry);
                    }
                }
                if self.markers[number] {
                    picture.remote.markers.insert(path(number), Etag::new("m"));
                }
                if self.directories[number] {
                    picture.base.directories.insert(path(number));
                }
            }
            picture.frozen.extend(self.frozen.map(path));
            picture.deleting.extend(self.sending.map(path));
            (picture, here, there)
        }

        fn plans(&self) -> [Plan; 2] {
            let known = Arc::new(self.known());
            let mut rules = Rules::default();
            if !self.rules.is_empty() {
                let root = TreePath::parse(crate::ignored::NAME).unwrap();
                rules.add(&root, self.rules).unwrap();
            }
            let settings = Settings::of(Profile::Balanced, "host");
            [true, false].map(|settles| {
                let (mut picture, here, there) = self.picture(&known);
                let known = Arc::clone(&known);
                let found = Found { known, here, there };
                let marks = found.marks();
                let is = match settles {
                    true => settled(&picture, &found.known, &marks, &rules),
                    false => vec![false; marks.len()],
                };
                place(&mut picture, found.known, &marks, is);
                crate::look::leave_out(&mut picture, &rules, Vec::new());
                for _ in 0..3 {
                    let questions = plan(&picture, &settings).questions;
                    answer(&mut picture, questions);
                }
                plan(&picture, &settings)
            })
        }
    }

    fn answer(picture: &mut Picture, questions: Questions) {
        for path in questions.same {
            picture.answers.same.insert(path, (false, Hash([1; 32])));
        }
        for path in questions.times {
            picture.answers.times.insert(path, Some(NOW));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn what_is_settled_changes_no_plan(scene in scenes()) {
            let [settled, whole] = scene.plans();
            prop_assert_eq!(settled.actions, whole.actions);
            prop_assert_eq!(settled.records, whole.records);
            prop_assert_eq!(settled.questions, whole.questions);
            prop_assert_eq!(settled.fresh, whole.fresh);
            prop_assert_eq!(settled.refused, whole.refused);
            prop_assert_eq!(settled.warnings, whole.warnings);
            prop_assert_eq!(settled.stop, whole.stop);
        }
    }
}
