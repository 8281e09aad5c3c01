//! Folders that take names for one that differ only by case, or by how an accent is written:
//! those of macOS and Windows, and some of Linux's.
//!
//! The bucket may have both names; such a folder has room for one. The one that is here keeps
//! it, or else the first in byte order. The other is told of and left where it is, and nothing
//! of it is ever written over the first.

use std::collections::BTreeMap;

use crate::path::TreePath;
use crate::plan::{Picture, Refusal, folded};
use crate::settle::Found;

/// Freezes what the folder cannot hold beside what it has.
pub(crate) fn part(picture: &mut Picture, found: &Found) {
    let mut names = Names::of(picture, found);
    let there: Vec<TreePath> = {
        let remote = &picture.remote;
        let all = remote.entries.keys().chain(remote.markers.keys());
        let new = all.filter(|path| !picture.local.entries.contains_key(*path));
        new.cloned().collect()
    };
    for path in there {
        let Some((mine, other)) = names.take(&path, picture, found) else {
            continue;
        };
        picture.refused.push(Refusal {
            name: path.to_string(),
            reason: format!("this folder takes {mine} and {other} for one name"),
        });
        picture.frozen.insert(mine);
    }
}

/// Every name that is taken, by how the folder sees it.
struct Names {
    taken: BTreeMap<String, TreePath>,
}

impl Names {
    fn of(picture: &Picture, found: &Found) -> Self {
        let local = &picture.local;
        let all = local.entries.keys().chain(&local.directories).cloned();
        let known = found.here.iter();
        let known = known.map(|number| found.known.path(*number as usize));
        let known = known.filter_map(|path| TreePath::parse(path).ok());
        Self {
            taken: all
                .chain(known)
                .map(|path| (folded(path.as_str()), path))
                .collect(),
        }
    }

    /// Takes a name and those of the directories above; gives the first that clashes, and with
    /// what.
    fn take(
        &mut self,
        path: &TreePath,
        picture: &Picture,
        found: &Found,
    ) -> Option<(TreePath, TreePath)> {
        let mut parts: Vec<TreePath> = path.ancestors().collect();
        parts.reverse();
        parts.push(path.clone());
        for part in &parts {
            let key = folded(part.as_str());
            match self.taken.get(&key) {
                Some(taken) if taken != part && !gives_way(taken, picture, found) => {
                    return Some((part.clone(), taken.clone()));
                }
                _ => {}
            }
        }
        for part in parts {
            self.taken.insert(folded(part.as_str()), part);
        }
        None
    }
}

/// Whether a file has another name elsewhere by now, so that its old one becomes free here.
fn gives_way(taken: &TreePath, picture: &Picture, found: &Found) -> bool {
    let Ok(number) = found.known.find(taken.as_str(), 0) else {
        return false;
    };
    let is_there = u32::try_from(number).is_ok_and(|number| found.there.contains(&number));
    !is_there && !picture.remote.entries.contains_key(taken)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bucket::Etag;

    use super::*;
    use crate::entry::{Hash, Kind, LocalEntry, RemoteEntry, Stat};
    use crate::known::{Fact, Known};

    fn path(text: &str) -> TreePath {
        TreePath::parse(text).unwrap()
    }

    /// What is known is as it was where a side has it.
    fn picture(local: &[&str], remote: &[&str], base: &[&str]) -> (Picture, Found) {
        let mut known = Known::default();
        for path in base {
            let fact = Fact {
                path,
                etag: "e",
                kind: Kind::File,
                size: 1,
                hash: Hash::of(b"x"),
                modified: None,
                seen: None,
            };
            assert!(known.push(&fact));
        }
        let stat = Stat {
            size: 1,
            mtime: 0,
            ctime: 0,
            ino: 1,
        };
        let mut picture = Picture::default();
        let (mut here, mut there) = (Vec::new(), Vec::new());
        for name in local {
            picture.local.directories.extend(path(name).ancestors());
            if let Ok(number) = known.find(name, 0) {
                here.push(u32::try_from(number).unwrap());
                continue;
            }
            let entry = LocalEntry {
                kind: Kind::File,
                stat,
                hash: None,
            };
            picture.local.entries.insert(path(name), entry);
        }
        for name in remote {
            if let Ok(number) = known.find(name, 0) {
                there.push(u32::try_from(number).unwrap());
                continue;
            }
            let entry = RemoteEntry {
                kind: Kind::File,
                size: 1,
                etag: Etag::new("e"),
                modified: 0,
            };
            picture.remote.entries.insert(path(name), entry);
        }
        let known = Arc::new(known);
        (picture, Found { known, here, there })
    }

    #[test]
    fn what_is_here_keeps_the_name_and_the_rest_is_told() {
        for (local, remote, base, frozen) in [
            (
                &["note"][..],
                &["Note", "note"][..],
                &["note"][..],
                &["Note"][..],
            ),
            (&["note"], &["Note"], &[], &["Note"]),
            (&[], &["A", "a", "b"], &[], &["a"]),
            (&["d/x"], &["D/y", "d/x"], &["d/x"], &["D"]),
            (&[], &["D/x", "d/y"], &[], &["d"]),
            (
                &["e\u{301}"],
                &["\u{e9}", "e\u{301}"],
                &["e\u{301}"],
                &["\u{e9}"],
            ),
            // Renamed elsewhere: the old name becomes free.
            (&["note"], &["Note"], &["note"], &[]),
            (&["a"], &["a", "b"], &["a"], &[]),
        ] {
            let (mut picture, known) = picture(local, remote, base);
            part(&mut picture, &known);
            let found: Vec<&str> = picture.frozen.iter().map(TreePath::as_str).collect();
            assert_eq!(found, frozen, "{local:?} {remote:?}");
            assert_eq!(picture.refused.is_empty(), frozen.is_empty());
        }
    }
}
