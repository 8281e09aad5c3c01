//! The plan: a pure function of what was, what is here and what is there.
//!
//! [`plan`] never looks at a disk or a bucket. What it would have to know in addition (a
//! hash, whether two contents are the same) it asks for in [`Plan::questions`]; whoever
//! called puts the answers into the [`Picture`] and calls again.
//!
//! In order: [`decide`] judges each path by itself ([`times`] where only times differ), [`moves`] joins a deletion and a new
//! file of one content, [`clashes`] parts files from directories of the same name,
//! [`directories`] sees to empty ones, [`limits`] stops what deletes too much.

mod action;
mod clashes;
mod decide;
mod directories;
mod limits;
mod moves;
mod names;
mod picture;
mod settled;
mod times;

use std::collections::BTreeSet;

pub use action::{Act, Action, Reason, Record};
pub use limits::Stop;
pub(crate) use names::folded;
pub use picture::{Answers, Base, Local, Picture, Remote, Sending};
use serde::Serialize;
pub use settled::Settled;

use crate::entry::Seen;
use crate::path::TreePath;
use crate::settings::Settings;

/// What a pass would do.
#[derive(Debug, Default)]
pub struct Plan {
    /// The changes, in the order in which they may be made.
    pub actions: Vec<Action>,
    /// What only the state has to learn.
    pub records: Vec<Record>,
    /// What has to be known first. While there are any, the rest is provisional.
    pub questions: Questions,
    /// Paths that need one more look after this plan. Among them are local files that would be
    /// replaced, and changed so short a time ago that one more change could not be seen.
    pub fresh: BTreeSet<TreePath>,
    /// What is left alone, with the reason.
    pub refused: Vec<Refusal>,
    /// What works here and may not elsewhere.
    pub warnings: Vec<Refusal>,
    /// Why nothing may be changed.
    pub stop: Option<Stop>,
    /// What the look at both sides found beside that.
    pub seen: crate::record::Seen,
}

/// What a plan needs to know.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Questions {
    /// Files here whose hash is needed.
    pub hash: BTreeSet<TreePath>,
    /// Paths whose two contents have to be compared.
    pub same: BTreeSet<TreePath>,
    /// Objects whose modification time is needed.
    pub times: BTreeSet<TreePath>,
}

impl Questions {
    /// Whether everything is known.
    pub fn is_empty(&self) -> bool {
        self.hash.is_empty() && self.same.is_empty() && self.times.is_empty()
    }
}

/// A name and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refusal {
    /// The path, or the key where it is none.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// Plans a pass.
pub fn plan(picture: &Picture, settings: &Settings) -> Plan {
    let mut plan = Plan {
        refused: picture.refused.clone(),
        ..Plan::default()
    };
    let mut copies = names::Copies::new(picture, settings);
    let mut decisions = decide::all(picture, settings, &mut copies, &mut plan);
    moves::join(picture, &mut decisions, &mut plan);
    limits::apply(picture, settings, &mut decisions, &mut plan);
    clashes::part(picture, &mut copies, &mut decisions, &mut plan);
    clashes::part_links(picture, &mut copies, &mut decisions, &mut plan);
    spare_fresh(picture, settings, &mut decisions, &mut plan);
    names::warn(picture, &decisions, &mut plan);
    directories::settle(picture, &decisions, &mut plan);
    for (path, decision) in decisions {
        plan.take(path, decision);
    }
    plan.actions.sort_by_key(Action::order);
    plan
}

/// Leaves files alone that could change once more without a trace.
fn spare_fresh(
    picture: &Picture,
    settings: &Settings,
    decisions: &mut decide::Decisions,
    plan: &mut Plan,
) {
    let at = picture.local.at;
    let is_fresh = |act: &Act| {
        let stat = act.replaces().copied();
        stat.is_some_and(|stat| !Seen { stat, at }.is_certain(settings.time_step))
    };
    for (path, decision) in decisions {
        let fresh = match decision {
            decide::Decision::Act(act, _) => is_fresh(act),
            decide::Decision::Several(acts) => acts.iter().any(|(act, _)| is_fresh(act)),
            _ => false,
        };
        if fresh {
            *decision = decide::Decision::Frozen;
            plan.fresh.insert(path.clone());
        }
    }
}

/// What a look at both sides comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// They are alike.
    Alike,
    /// They are not.
    Differ,
    /// What could be compared is alike; not all could.
    Unknown,
}

impl Plan {
    /// Whether both sides are alike, as far as the look can tell.
    pub fn verdict(&self) -> Verdict {
        if !self.actions.is_empty() || !self.fresh.is_empty() || self.stop.is_some() {
            return Verdict::Differ;
        }
        match self.refused.is_empty() && self.questions.is_empty() {
            true => Verdict::Alike,
            false => Verdict::Unknown,
        }
    }

    /// Whether both sides are alike as far as they can be.
    pub fn is_done(&self) -> bool {
        self.actions.is_empty()
            && self.fresh.is_empty()
            && self.stop.is_none()
            && self.questions.is_empty()
    }

    fn take(&mut self, path: TreePath, decision: decide::Decision) {
        match decision {
            decide::Decision::Act(act, reason) => self.actions.push(Action { path, act, reason }),
            decide::Decision::Record(record) => self.records.push(record),
            decide::Decision::Several(acts) => {
                let acts = acts.into_iter();
                self.actions.extend(acts.map(|(act, reason)| Action {
                    path: path.clone(),
                    act,
                    reason,
                }));
            }
            decide::Decision::Nothing | decide::Decision::Frozen => {}
        }
    }
}
