//! Directories: they follow their files, and have objects of their own where they are empty.

use std::collections::BTreeSet;

use super::decide::{Decision, Decisions};
use super::settled::add_with_ancestors;
use super::{Act, Action, Picture, Plan, Reason, Record};
use crate::path::TreePath;

/// Sees to every directory that any side knows.
pub(super) fn settle(picture: &Picture, decisions: &Decisions, plan: &mut Plan) {
    let settled = picture.settled.directories();
    let mut there = settled.clone();
    let objects = picture.remote.entries.keys();
    for path in objects.chain(picture.remote.markers.keys()) {
        if let Some(above) = path.parent() {
            add_with_ancestors(&mut there, above);
        }
    }
    there.extend(picture.remote.markers.keys().cloned());
    let files = Files::after(settled, decisions);
    let mut all: BTreeSet<&TreePath> = picture.local.directories.iter().collect();
    all.extend(&picture.base.directories);
    all.extend(&there);
    let mut settling = Settling {
        picture,
        files,
        there: &there,
        present: BTreeSet::new(),
        plan,
    };
    // From the inside out: a directory is empty only when what is in it needs no marker.
    for directory in all.into_iter().rev() {
        if !picture.is_frozen(directory) {
            settling.one(directory);
        }
    }
}

/// Directories that have files on both sides after the plan, and names that files take.
struct Files {
    above: BTreeSet<TreePath>,
    names: BTreeSet<TreePath>,
}

impl Files {
    /// What is settled has no name that a directory of either side has.
    fn after(settled: BTreeSet<TreePath>, decisions: &Decisions) -> Self {
        let mut files = Self {
            above: settled,
            names: BTreeSet::new(),
        };
        for (path, decision) in decisions {
            if decision.survives() {
                files.add(path);
            }
            let acts: Vec<&Act> = match decision {
                Decision::Act(act, _) => vec![act],
                Decision::Several(acts) => acts.iter().map(|(act, _)| act).collect(),
                _ => continue,
            };
            for copy in acts.into_iter().filter_map(Act::copy) {
                files.add(copy);
            }
        }
        files
    }

    /// Whether a file has this name, or that of a directory above.
    fn takes(&self, path: &TreePath) -> bool {
        self.names.contains(path) || path.ancestors().any(|above| self.names.contains(&above))
    }

    fn add(&mut self, path: &TreePath) {
        self.names.insert(path.clone());
        if let Some(above) = path.parent() {
            add_with_ancestors(&mut self.above, above);
        }
    }
}

impl Act {
    /// The conflict copy that it makes.
    fn copy(&self) -> Option<&TreePath> {
        match self {
            Self::KeepTheirs { copy, .. }
            | Self::SetLocalAside { copy, .. }
            | Self::SetRemoteAside { copy, .. } => Some(copy),
            Self::KeepOurs { copy, .. } => copy.as_ref(),
            _ => None,
        }
    }
}

struct Settling<'a> {
    picture: &'a Picture,
    files: Files,
    there: &'a BTreeSet<TreePath>,
    /// Directories that stay and have something below them in the bucket.
    present: BTreeSet<TreePath>,
    plan: &'a mut Plan,
}

impl Settling<'_> {
    fn one(&mut self, path: &TreePath) {
        let here = self.picture.local.directories.contains(path);
        let there = self.there.contains(path);
        let known = self.picture.base.directories.contains(path);
        let marker = self.picture.remote.markers.get(path);
        let full = self.files.above.contains(path);
        let wanted = if known { here && there } else { here || there };
        // An empty directory has no bytes: it gives way to a file.
        let is_free = !self.files.takes(path);
        let stays = full || (wanted && is_free) || self.present.contains(path);
        if !stays {
            let kept = here && self.picture.kept.contains(path);
            if here && !kept {
                self.act(path, Act::RemoveDirectory, Reason::Deleted);
            }
            if let Some(etag) = marker.cloned() {
                self.act(path, Act::DeleteMarker { etag }, Reason::Deleted);
            }
            if known && !kept {
                let record = Record::ForgetDirectory(path.clone());
                self.plan.records.push(record);
            }
            return;
        }
        if !here && !full {
            self.act(path, Act::MakeDirectory, Reason::Empty);
        }
        if !full && marker.is_none() && !self.present.contains(path) {
            self.act(path, Act::PutMarker, Reason::Empty);
        }
        if !known {
            self.plan.records.push(Record::Directory(path.clone()));
        }
        self.present.extend(path.parent());
    }

    fn act(&mut self, path: &TreePath, act: Act, reason: Reason) {
        self.plan.actions.push(Action {
            path: path.clone(),
            act,
            reason,
        });
    }
}
