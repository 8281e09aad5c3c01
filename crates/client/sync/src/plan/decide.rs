//! What becomes of one path, seen by itself.

use std::collections::{BTreeMap, BTreeSet};

use super::names::Copies;
use super::{Act, Picture, Plan, Reason, Record, times};
use crate::entry::{BaseEntry, Hash, LocalEntry, RemoteEntry};
use crate::path::TreePath;
use crate::settings::{Loser, Resolve, Settings};

/// What becomes of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// Both sides have it, and shall.
    Nothing,
    /// It may not be touched.
    Frozen,
    /// Only the state changes.
    Record(Record),
    /// A change.
    Act(Act, Reason),
    /// Changes that belong together.
    Several(Vec<(Act, Reason)>),
}

pub(super) type Decisions = BTreeMap<TreePath, Decision>;

impl Decision {
    /// Whether a file of this path is on both sides afterwards.
    pub(super) fn survives(&self) -> bool {
        match self {
            Self::Nothing | Self::Frozen | Self::Record(Record::Alike(..)) => true,
            Self::Record(_) | Self::Several(_) => false,
            Self::Act(act, _) => !matches!(
                act,
                Act::DeleteLocal { .. }
                    | Act::DeleteRemote { .. }
                    | Act::SetLocalAside { .. }
                    | Act::SetRemoteAside { .. }
            ),
        }
    }
}

/// Judges every path that any side knows.
pub(super) fn all(
    picture: &Picture,
    settings: &Settings,
    copies: &mut Copies<'_>,
    plan: &mut Plan,
) -> Decisions {
    let mut paths: BTreeSet<&TreePath> = picture.base.entries.keys().collect();
    paths.extend(picture.local.entries.keys());
    paths.extend(picture.remote.entries.keys());
    let mut decisions = Decisions::new();
    for path in paths {
        let mut judge = Judge {
            picture,
            settings,
            plan,
            copies,
            path,
        };
        let decision = judge.decide();
        decisions.insert(path.clone(), decision);
    }
    decisions
}

struct Judge<'a, 'p> {
    picture: &'a Picture,
    settings: &'a Settings,
    plan: &'a mut Plan,
    copies: &'a mut Copies<'p>,
    path: &'a TreePath,
}

/// How a side stands to the base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Same,
    Changed,
    Gone,
}

impl Judge<'_, '_> {
    fn decide(&mut self) -> Decision {
        if self.picture.ignored.contains(self.path) {
            return Decision::Record(Record::LeaveOut(self.path.clone()));
        }
        if self.picture.is_frozen(self.path) {
            return Decision::Frozen;
        }
        let base = self.picture.base_of(self.path);
        let local = self.picture.local.entries.get(self.path);
        let remote = self.picture.remote.entries.get(self.path);
        match base {
            Some(base) => self.known(&base, local, remote),
            None => self.unknown(local, remote),
        }
    }

    /// A path that was never on both sides.
    fn unknown(&mut self, local: Option<&LocalEntry>, remote: Option<&RemoteEntry>) -> Decision {
        match (local, remote) {
            (Some(local), None) => upload(local, None, Reason::New),
            // What a move that was cut off left behind: its content is known under another name.
            (None, Some(remote)) if self.picture.is_left_by_a_move(self.path, &remote.etag) => {
                let remote = remote.clone();
                Decision::Act(Act::DeleteRemote { remote }, Reason::Moved)
            }
            (None, Some(remote)) => download(remote, None, Reason::New),
            (Some(local), Some(remote)) => self.both(local, remote),
            (None, None) => Decision::Record(Record::Forget(self.path.clone())),
        }
    }

    fn known(
        &mut self,
        base: &BaseEntry,
        local: Option<&LocalEntry>,
        remote: Option<&RemoteEntry>,
    ) -> Decision {
        let Some(here) = self.here(base, local) else {
            self.plan.questions.hash.insert(self.path.clone());
            return Decision::Nothing;
        };
        let there = there(base, remote);
        match (here, local, there, remote) {
            (Change::Same, Some(local), Change::Same, Some(remote)) => {
                self.alike(base, local, remote)
            }
            (Change::Same, Some(local), Change::Changed, Some(remote)) => {
                download(remote, Some(local), Reason::Changed)
            }
            (Change::Changed, Some(local), Change::Same, Some(remote)) => {
                upload(local, Some(remote), Reason::Changed)
            }
            (_, None, Change::Same, Some(remote)) => {
                let remote = remote.clone();
                Decision::Act(Act::DeleteRemote { remote }, Reason::Deleted)
            }
            (_, None, _, Some(remote)) => download(remote, None, Reason::EditBeatsDelete),
            // It was we who deleted it there; the user has it again since.
            (Change::Same, Some(local), _, None) if self.picture.deleting.contains(self.path) => {
                upload(local, None, Reason::EditBeatsDelete)
            }
            (Change::Same, Some(local), _, None) => {
                let local = local.clone();
                Decision::Act(Act::DeleteLocal { local }, Reason::Deleted)
            }
            (_, Some(local), _, None) => upload(local, None, Reason::EditBeatsDelete),
            (_, Some(local), _, Some(remote)) => self.both(local, remote),
            (_, None, _, None) => Decision::Record(Record::Forget(self.path.clone())),
        }
    }

    /// How the folder stands to the base; `None` where only a hash could tell.
    fn here(&self, base: &BaseEntry, local: Option<&LocalEntry>) -> Option<Change> {
        let Some(local) = local else {
            return Some(Change::Gone);
        };
        if local.kind != base.kind || local.stat.size != base.size {
            return Some(Change::Changed);
        }
        if let Some(hash) = local.hash {
            return Some(same_if(hash == base.hash));
        }
        let seen = base.seen.filter(|seen| seen.stat == local.stat)?;
        seen.is_certain(self.settings.time_step)
            .then_some(Change::Same)
    }

    /// Both sides are as they were, but for their times perhaps.
    fn alike(&mut self, base: &BaseEntry, local: &LocalEntry, remote: &RemoteEntry) -> Decision {
        match times::judge(self.picture, self.path, base, local, remote) {
            times::Times::Alike => self.refresh(base, local, remote),
            times::Times::Unknown => {
                self.plan.questions.times.insert(self.path.clone());
                Decision::Nothing
            }
            times::Times::Differ(act) => Decision::Act(act, Reason::Touched),
        }
    }

    /// At most the state has to learn how the file looks now.
    fn refresh(&self, base: &BaseEntry, local: &LocalEntry, remote: &RemoteEntry) -> Decision {
        let recorded = self.picture.base.entries.get(self.path);
        let seen = base.seen.filter(|seen| seen.stat == local.stat);
        let certain = seen.is_some_and(|seen| seen.is_certain(self.settings.time_step));
        let modified = Some(remote.modified);
        if certain && recorded == Some(base) && base.modified == modified {
            return Decision::Nothing;
        }
        let mut base = base.clone();
        base.seen = Some(self.picture.seen(local));
        base.modified = modified;
        Decision::Record(Record::Alike(self.path.clone(), base))
    }

    /// Both sides have something that the base does not.
    fn both(&mut self, local: &LocalEntry, remote: &RemoteEntry) -> Decision {
        if local.kind != remote.kind || local.stat.size != remote.size {
            return self.conflict(local, remote);
        }
        match self.picture.answers.same.get(self.path) {
            Some((true, hash)) => self.adopt(local, remote, *hash),
            Some((false, _)) => self.conflict(local, remote),
            None => {
                self.plan.questions.same.insert(self.path.clone());
                Decision::Nothing
            }
        }
    }

    /// Both sides have the same already.
    fn adopt(&self, local: &LocalEntry, remote: &RemoteEntry, hash: Hash) -> Decision {
        let seen = Some(self.picture.seen(local));
        let base = BaseEntry {
            modified: Some(remote.modified),
            ..LocalEntry::alike(local.kind, local.stat.size, hash, &remote.etag, seen)
        };
        Decision::Record(Record::Alike(self.path.clone(), base))
    }

    fn conflict(&mut self, local: &LocalEntry, remote: &RemoteEntry) -> Decision {
        let by_time = matches!(self.settings.resolve, Resolve::Newer | Resolve::Older);
        let told = self.picture.answers.times.get(self.path).copied();
        if by_time && told.is_none() {
            self.plan.questions.times.insert(self.path.clone());
            return Decision::Nothing;
        }
        let there = told.flatten().unwrap_or(remote.modified);
        let (ours, why) = winner(self.settings.resolve, local, remote, there);
        let (local, remote) = (local.clone(), remote.clone());
        let reason = Reason::Conflict(why);
        let copies = self.settings.loser == Loser::Copy;
        let act = match (ours, copies) {
            (true, true) => match self.copies.of_object(self.path, &remote) {
                copy @ Some(_) => Act::KeepOurs {
                    copy,
                    local,
                    remote,
                },
                None => return self.no_name(),
            },
            (true, false) => Act::KeepOurs {
                copy: None,
                local,
                remote,
            },
            (false, true) => match self.copies.of(self.path, local.kind, local.stat.mtime) {
                Some(copy) => Act::KeepTheirs {
                    copy,
                    local,
                    remote,
                },
                None => return self.no_name(),
            },
            (false, false) => Act::Download {
                over: Some(local.stat),
                remote,
            },
        };
        Decision::Act(act, reason)
    }

    fn no_name(&mut self) -> Decision {
        self.plan.refused.push(super::Refusal {
            name: self.path.to_string(),
            reason: "changed on both sides, and its path is too long for a conflict copy".into(),
        });
        Decision::Frozen
    }
}

fn there(base: &BaseEntry, remote: Option<&RemoteEntry>) -> Change {
    match remote {
        None => Change::Gone,
        // A store that gives two contents one ETag is not believed about the size as well.
        Some(remote) => same_if(
            remote.kind == base.kind && remote.etag == base.etag && remote.size == base.size,
        ),
    }
}

fn same_if(same: bool) -> Change {
    if same { Change::Same } else { Change::Changed }
}

fn upload(local: &LocalEntry, over: Option<&RemoteEntry>, reason: Reason) -> Decision {
    let act = Act::Upload {
        local: local.clone(),
        over: over.cloned(),
    };
    Decision::Act(act, reason)
}

fn download(remote: &RemoteEntry, over: Option<&LocalEntry>, reason: Reason) -> Decision {
    let act = Act::Download {
        remote: remote.clone(),
        over: over.map(|local| local.stat),
    };
    Decision::Act(act, reason)
}

/// Whether ours keeps the name, and by which rule. Where a rule finds no difference, the
/// bucket's version keeps it. `there` is when that was modified, as far as it says so.
fn winner(
    resolve: Resolve,
    local: &LocalEntry,
    remote: &RemoteEntry,
    there: i64,
) -> (bool, &'static str) {
    let here = local.stat.mtime;
    let (ours, theirs) = (local.stat.size, remote.size);
    match resolve {
        Resolve::None => (false, "the bucket's keeps the name"),
        Resolve::Newer if here > there => (true, "ours is newer"),
        Resolve::Newer => (false, "the bucket's is newer"),
        Resolve::Older if here < there => (true, "ours is older"),
        Resolve::Older => (false, "the bucket's is older"),
        Resolve::Larger if ours > theirs => (true, "ours is larger"),
        Resolve::Larger => (false, "the bucket's is larger"),
        Resolve::Smaller if ours < theirs => (true, "ours is smaller"),
        Resolve::Smaller => (false, "the bucket's is smaller"),
        Resolve::Path1 => (true, "the folder's keeps the name"),
        Resolve::Path2 => (false, "the bucket's keeps the name"),
    }
}
