//! A name can be a file's or a directory's, not both: the directory keeps it. Nor can it be a
//! file's and a link's, though the two are different objects: the link keeps it.

use std::collections::BTreeSet;

use super::decide::{Decision, Decisions};
use super::names::Copies;
use super::{Act, Picture, Plan, Reason, Refusal};
use crate::entry::{Kind, LocalEntry, RemoteEntry};
use crate::path::TreePath;

/// Parts files from directories of the same name.
pub(super) fn part(
    picture: &Picture,
    copies: &mut Copies<'_>,
    decisions: &mut Decisions,
    plan: &mut Plan,
) {
    let clashing = clashing(picture, decisions);
    for path in clashing {
        let decision = decisions.get(&path);
        if matches!(decision, Some(Decision::Frozen)) {
            continue;
        }
        let local = picture.local.entries.get(&path);
        let remote = picture.remote.entries.get(&path);
        let mut clash = Clash {
            picture,
            path: &path,
            copies,
        };
        match clash.settle(local, remote, decision) {
            Some(acts) => {
                decisions.insert(path, acts);
            }
            None => {
                plan.refused.push(Refusal {
                    name: path.to_string(),
                    reason: "a directory has this name".to_owned(),
                });
                decisions.insert(path, Decision::Frozen);
            }
        }
    }
}

/// Renames objects whose name a link has too, where it was this folder that made them files;
/// one that was deleted here since is deleted there. Those of others are left alone.
///
/// Nothing else is done about such a path before: what is recorded of the link would hide that
/// the file is ours.
pub(super) fn part_links(
    picture: &Picture,
    copies: &mut Copies<'_>,
    decisions: &mut Decisions,
    plan: &mut Plan,
) {
    for (path, file) in &picture.remote.shadowed {
        let may = !picture.is_frozen(path);
        match may
            .then(|| of_shadowed(picture, copies, path, file))
            .flatten()
        {
            Some(act) => {
                let acts = vec![(act, Reason::NameOfLink)];
                decisions.insert(path.clone(), Decision::Several(acts));
                plan.fresh.insert(path.clone());
            }
            None => plan.refused.push(Refusal {
                name: path.to_string(),
                reason: "a symbolic link has this name too".to_owned(),
            }),
        }
    }
}

fn of_shadowed(
    picture: &Picture,
    copies: &mut Copies<'_>,
    path: &TreePath,
    file: &RemoteEntry,
) -> Option<Act> {
    let local = picture.local.entries.get(path);
    let base = picture.base.entries.get(path);
    let base = base.filter(|base| base.kind == Kind::File);
    let sent = picture.sending.get(path).filter(|sent| !sent.is_copy);
    let known = base.map(|base| &base.etag) == Some(&file.etag)
        || sent.map(|sent| &sent.etag) == Some(&file.etag);
    if local.is_none() && known {
        let remote = file.clone();
        return Some(Act::DeleteRemote { remote });
    }
    let ours = base.is_some()
        || picture.is_ours(path, &file.etag)
        || local.is_some_and(|local| local.kind == Kind::File);
    if !ours {
        return None;
    }
    let copy = copies.of_object(path, file)?;
    let remote = file.clone();
    Some(Act::SetRemoteAside { copy, remote })
}

/// Files that would be on both sides, as would something below them.
fn clashing(picture: &Picture, decisions: &Decisions) -> Vec<TreePath> {
    let mut above = BTreeSet::new();
    for (path, _) in decisions.iter().filter(|(_, d)| d.survives()) {
        for directory in path.ancestors() {
            if !above.insert(directory) {
                break;
            }
        }
    }
    let new_there = picture.remote.markers.keys();
    above.extend(
        new_there
            .filter(|marker| !picture.base.directories.contains(*marker))
            .filter(|marker| picture.local.entries.contains_key(*marker))
            .cloned(),
    );
    let files = above.into_iter();
    files
        .filter(|path| decisions.get(path).is_some_and(Decision::survives))
        .collect()
}

struct Clash<'a, 'p> {
    picture: &'a Picture,
    path: &'a TreePath,
    copies: &'a mut Copies<'p>,
}

impl Clash<'_, '_> {
    /// `None` where it is not ours to settle: both are in the bucket, and neither is this
    /// folder's doing.
    fn settle(
        &mut self,
        local: Option<&LocalEntry>,
        remote: Option<&RemoteEntry>,
        decision: Option<&Decision>,
    ) -> Option<Decision> {
        let mut after = self
            .picture
            .remote
            .entries
            .range(self.path.before_below()..);
        let below_there = after
            .next()
            .is_some_and(|(path, _)| path.is_below(self.path));
        let known = self.picture.base_of(self.path).is_some()
            || remote.is_some_and(|remote| self.picture.is_ours(self.path, &remote.etag));
        if local.is_none() && !known && below_there {
            return None;
        }
        let mut acts = Vec::new();
        if let Some(local) = local {
            acts.push(self.local(local, decision)?);
        }
        if let Some(remote) = remote {
            acts.push(self.remote(remote, decision)?);
        }
        let acts = acts.into_iter().map(|act| (act, Reason::NameOfDirectory));
        Some(Decision::Several(acts.collect()))
    }

    /// A version that is in the bucket too comes back with the bucket's copy.
    fn local(&mut self, local: &LocalEntry, decision: Option<&Decision>) -> Option<Act> {
        let is_there_too = match decision {
            Some(Decision::Nothing | Decision::Record(_)) => true,
            Some(Decision::Act(Act::Download { over, .. }, _)) => over.is_some(),
            _ => false,
        };
        let local = local.clone();
        if is_there_too {
            return Some(Act::DeleteLocal { local });
        }
        let copy = self.copies.of(self.path, local.kind, local.stat.mtime)?;
        Some(Act::SetLocalAside { copy, local })
    }

    /// A version that was to be replaced is not kept.
    fn remote(&mut self, remote: &RemoteEntry, decision: Option<&Decision>) -> Option<Act> {
        let is_replaced = matches!(decision, Some(Decision::Act(Act::Upload { .. }, _)));
        let remote = remote.clone();
        if is_replaced {
            return Some(Act::DeleteRemote { remote });
        }
        let copy = self.copies.of_object(self.path, &remote)?;
        Some(Act::SetRemoteAside { copy, remote })
    }
}
