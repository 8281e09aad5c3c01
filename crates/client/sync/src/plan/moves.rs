//! A deletion and a new file of the same content are a move: nothing is sent.

use std::collections::BTreeMap;

use bucket::Etag;

use super::decide::{Decision, Decisions};
use super::{Act, Picture, Plan, Reason};
use crate::composite::is_md5;
use crate::entry::{Hash, LocalEntry, RemoteEntry};
use crate::path::TreePath;

/// Finds moves among the decisions.
pub(super) fn join(picture: &Picture, decisions: &mut Decisions, plan: &mut Plan) {
    join_local(picture, decisions, plan);
    join_remote(picture, decisions);
}

/// Renames made here become copies inside the store.
fn join_local(picture: &Picture, decisions: &mut Decisions, plan: &mut Plan) {
    let mut gone: BTreeMap<Hash, Vec<TreePath>> = BTreeMap::new();
    let mut sizes = std::collections::BTreeSet::new();
    for (path, decision) in decisions.iter() {
        if let Decision::Act(Act::DeleteRemote { remote }, _) = decision
            && let Some(base) = picture.base_of(path)
            && remote.size > 0
        {
            sizes.insert(remote.size);
            gone.entry(base.hash).or_default().push(path.clone());
        }
    }
    if gone.is_empty() {
        return;
    }
    let appeared: Vec<(TreePath, LocalEntry)> = decisions
        .iter()
        .filter_map(|(path, decision)| match decision {
            Decision::Act(Act::Upload { local, over: None }, Reason::New)
                if sizes.contains(&local.stat.size) =>
            {
                Some((path.clone(), local.clone()))
            }
            _ => None,
        })
        .collect();
    for (path, local) in appeared {
        let Some(hash) = local.hash else {
            plan.questions.hash.insert(path);
            continue;
        };
        let Some(from) = gone.get_mut(&hash).and_then(|all| source(all, &path)) else {
            continue;
        };
        let Some(Decision::Act(Act::DeleteRemote { remote }, _)) = decisions.remove(&from) else {
            continue;
        };
        if remote.kind != local.kind {
            decisions.insert(
                from,
                Decision::Act(Act::DeleteRemote { remote }, Reason::Deleted),
            );
            continue;
        }
        let act = Act::MoveRemote {
            from,
            remote,
            local,
            at: picture.local.at,
            hash,
        };
        decisions.insert(path, Decision::Act(act, Reason::Moved));
    }
}

/// Renames made elsewhere become renames here.
fn join_remote(picture: &Picture, decisions: &mut Decisions) {
    let mut gone: BTreeMap<Etag, Vec<TreePath>> = BTreeMap::new();
    for (path, decision) in decisions.iter() {
        if let Decision::Act(Act::DeleteLocal { local }, _) = decision
            && let Some(base) = picture.base_of(path)
            && local.stat.size > 0
            && is_content_hash(&base.etag)
        {
            gone.entry(base.etag).or_default().push(path.clone());
        }
    }
    if gone.is_empty() {
        return;
    }
    let appeared: Vec<(TreePath, RemoteEntry)> = decisions
        .iter()
        .filter_map(|(path, decision)| match decision {
            Decision::Act(Act::Download { remote, over: None }, Reason::New) => {
                Some((path.clone(), remote.clone()))
            }
            _ => None,
        })
        .collect();
    for (path, remote) in appeared {
        let Some(all) = gone.get_mut(&remote.etag) else {
            continue;
        };
        if !is_free_here(picture, &path) {
            continue;
        }
        let Some(from) = source(all, &path) else {
            continue;
        };
        let Some(Decision::Act(Act::DeleteLocal { local }, reason)) = decisions.remove(&from)
        else {
            continue;
        };
        let base = picture.base_of(&from);
        let fits = |size, kind| size == remote.size && kind == remote.kind;
        let Some(base) = base.filter(|base| fits(base.size, base.kind)) else {
            decisions.insert(from, Decision::Act(Act::DeleteLocal { local }, reason));
            continue;
        };
        let act = Act::MoveLocal {
            from,
            local,
            remote,
            hash: base.hash,
        };
        decisions.insert(path, Decision::Act(act, Reason::Moved));
    }
}

/// Takes the most likely source: one of the same name, else any.
fn source(all: &mut Vec<TreePath>, to: &TreePath) -> Option<TreePath> {
    let fits = |from: &TreePath| !from.is_below(to) && !to.is_below(from);
    let best = all
        .iter()
        .position(|from| fits(from) && from.name() == to.name());
    let best = best.or_else(|| all.iter().position(fits))?;
    Some(all.remove(best))
}

/// Whether a rename to this name is possible before anything is deleted.
fn is_free_here(picture: &Picture, path: &TreePath) -> bool {
    let is_file = |path: &TreePath| picture.local.entries.contains_key(path);
    !picture.local.directories.contains(path) && !path.ancestors().any(|above| is_file(&above))
}

/// Whether equal ETags mean equal bytes: MD5, of the whole or of the MD5s of its parts.
fn is_content_hash(etag: &Etag) -> bool {
    let (digest, parts) = etag
        .as_str()
        .split_once('-')
        .unwrap_or((etag.as_str(), "1"));
    is_md5(digest) && parts.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hashes_of_content_tell_a_move() {
        let is = |text| is_content_hash(&Etag::new(text));
        assert!(is("d41d8cd98f00b204e9800998ecf8427e"));
        assert!(is("d41d8cd98f00b204e9800998ecf8427e-12"));
        assert!(!is("CJqg8KaF/uUCEAE="));
        assert!(!is("d41d8cd98f00b204e9800998ecf8427e-x"));
        assert!(!is("17"));
    }
}
