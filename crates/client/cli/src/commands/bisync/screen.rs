//! The plan and what came of it, for people and for programs.

use model::Profile;
use serde::Serialize;
use serde_json::json;
use sync::apply::Applied;
use sync::plan::{Act, Action, Plan, Refusal, Verdict};
use sync::settings::{Loser, Settings};

use super::pair::Pair;
use crate::context::Context;
use crate::failure::Result;
use crate::output::{cell, pairs, table};

/// So many actions are listed for people; programs get all.
const LISTED: usize = 200;

/// So many names are listed in a question.
const ASKED: usize = 20;

/// Where a run is shown.
pub(super) struct Screen<'a> {
    pub(super) context: &'a Context,
    pub(super) pair: &'a Pair,
    pub(super) settings: &'a Settings,
    pub(super) profile: Profile,
    pub(super) dry_run: bool,
}

/// A plan as programs get it.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    verdict: Verdict,
    counts: Counts,
    actions: Vec<Line>,
    /// Files that changed so lately that they are left alone until they are still.
    waiting: Vec<String>,
    left_alone: Vec<Left>,
    warnings: Vec<Left>,
}

/// How much of what.
#[derive(Debug, Default, Clone, Copy, Serialize)]
struct Counts {
    upload: Amount,
    download: Amount,
    moved: u64,
    deleted_here: u64,
    deleted_in_bucket: u64,
    conflicts: u64,
    directories: u64,
    times: u64,
    left_alone: u64,
    ignored_here: u64,
    ignored_in_bucket: Amount,
}

#[derive(Debug, Default, Clone, Copy, Serialize)]
struct Amount {
    files: u64,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct Line {
    action: &'static str,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    other: Option<String>,
    reason: String,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct Left {
    name: String,
    reason: String,
}

impl From<&Refusal> for Left {
    fn from(refusal: &Refusal) -> Self {
        Self {
            name: refusal.name.clone(),
            reason: refusal.reason.clone(),
        }
    }
}

impl From<&Action> for Line {
    fn from(action: &Action) -> Self {
        let other = match &action.act {
            Act::MoveLocal { from, .. } | Act::MoveRemote { from, .. } => Some(from),
            Act::KeepTheirs { copy, .. }
            | Act::SetLocalAside { copy, .. }
            | Act::SetRemoteAside { copy, .. } => Some(copy),
            Act::KeepOurs { copy, .. } => copy.as_ref(),
            _ => None,
        };
        Self {
            action: action.act.name(),
            path: action.path.to_string(),
            other: other.map(ToString::to_string),
            reason: action.reason.to_string(),
            bytes: action.bytes(),
        }
    }
}

impl Shown {
    pub(super) fn of(plan: &Plan) -> Self {
        Self {
            verdict: plan.verdict(),
            counts: Counts::of(plan),
            actions: plan.actions.iter().map(Line::from).collect(),
            waiting: plan.fresh.iter().map(ToString::to_string).collect(),
            left_alone: plan.refused.iter().map(Left::from).collect(),
            warnings: plan.warnings.iter().map(Left::from).collect(),
        }
    }

    /// What a look comes to, in words.
    fn ending(&self) -> String {
        let waiting = self.waiting.iter();
        let waiting = waiting.map(|path| format!("waits until it is still: {}\n", cell(path)));
        let end = match self.verdict {
            Verdict::Alike => ALIKE.to_owned(),
            Verdict::Unknown => alike_but(&self.left_alone),
            Verdict::Differ => "nothing was changed\n".to_owned(),
        };
        waiting.collect::<String>() + &end
    }
}

const ALIKE: &str = "both sides are alike\n";

fn alike_but(left: &[Left]) -> String {
    match left.len() {
        0 => "what could be read is alike; some files change too fast to be compared\n".to_owned(),
        left => format!("what could be compared is alike; {left} names are left alone\n"),
    }
}

impl Counts {
    fn of(plan: &Plan) -> Self {
        let mut counts = Self {
            left_alone: plan.refused.len() as u64,
            ignored_here: plan.seen.ignored_here,
            ignored_in_bucket: Amount {
                files: plan.seen.ignored_there,
                bytes: plan.seen.ignored_bytes,
            },
            ..Self::default()
        };
        for action in &plan.actions {
            counts.add(action);
        }
        counts
    }

    fn add(&mut self, action: &Action) {
        if action.is_conflict() {
            self.conflicts += 1;
            return;
        }
        let bytes = action.bytes();
        match action.act {
            Act::Upload { .. } => self.upload.add(bytes),
            Act::Download { .. } => self.download.add(bytes),
            Act::MoveLocal { .. } | Act::MoveRemote { .. } => self.moved += 1,
            Act::DeleteLocal { .. } => self.deleted_here += 1,
            Act::DeleteRemote { .. } => self.deleted_in_bucket += 1,
            Act::SetTime { .. } | Act::SendTime { .. } => self.times += 1,
            Act::MakeDirectory
            | Act::RemoveDirectory
            | Act::PutMarker
            | Act::DeleteMarker { .. } => self.directories += 1,
            Act::KeepTheirs { .. }
            | Act::KeepOurs { .. }
            | Act::SetLocalAside { .. }
            | Act::SetRemoteAside { .. } => self.conflicts += 1,
        }
    }

    fn text(self) -> String {
        let amount = |amount: Amount| format!("{} files, {} bytes", amount.files, amount.bytes);
        pairs(&[
            ("upload", amount(self.upload)),
            ("download", amount(self.download)),
            ("moved", self.moved.to_string()),
            ("deleted here", self.deleted_here.to_string()),
            ("deleted in bucket", self.deleted_in_bucket.to_string()),
            ("conflicts", self.conflicts.to_string()),
            ("directories", self.directories.to_string()),
            ("times", self.times.to_string()),
            ("left alone", self.left_alone.to_string()),
            ("ignored here", self.ignored_here.to_string()),
            ("ignored in bucket", amount(self.ignored_in_bucket)),
        ])
    }
}

impl Amount {
    fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }
}

impl Screen<'_> {
    /// Shows a plan to people, the same for a run and a preview. Programs get it with the
    /// result.
    pub(super) fn show(&self, plan: &Plan) -> Result<()> {
        if self.context.output.is_json() {
            return Ok(());
        }
        let counts = Counts::of(plan).text();
        let mut text = format!("{}\n{counts}", self.heading());
        text += &actions(plan);
        text += &list("LEFT ALONE", &plan.refused);
        text += &list("NOTE", &plan.warnings);
        self.context.output.text(&text)
    }

    fn heading(&self) -> String {
        let loser = match self.settings.loser {
            Loser::Copy => "the other version is kept beside it",
            Loser::Trash => "the other version goes to the trash",
        };
        format!(
            "{} and {}\nprofile {}: in a conflict {} keeps the name, {loser}; at most {} may be \
             deleted on either side",
            self.pair.opened.name,
            self.pair.folder.display(),
            self.profile,
            match self.settings.resolve.as_str() {
                "none" | "path2" => "the bucket's",
                "path1" => "the folder's",
                rule => rule_text(rule),
            },
            self.settings.limit,
        )
    }

    /// Shows what came of it; `None` after a preview.
    pub(super) fn result(&self, shown: &Shown, applied: Option<&Applied>) -> Result<()> {
        let data = json!({
            "workspace": self.pair.opened.name,
            "folder": self.pair.folder,
            "profile": self.profile,
            "conflict_resolve": self.settings.resolve.as_str(),
            "max_delete": { "files": self.settings.limit.count, "percent": self.settings.limit.percent },
            "dry_run": self.dry_run,
            "plan": shown,
            "result": applied.map(|applied| json!({
                "done": applied.done,
                "bytes": applied.bytes,
                "again": applied.again,
                "still_written": applied.busy,
                "notes": applied.notes,
                "failed": applied.failed.iter()
                    .map(|(path, reason)| json!({ "path": path, "reason": reason }))
                    .collect::<Vec<_>>(),
            })),
        });
        self.context.output.data(&data, || match applied {
            None => shown.ending(),
            Some(applied) => outcome(applied, &shown.left_alone),
        })
    }
}

fn rule_text(rule: &str) -> &'static str {
    match rule {
        "newer" => "the newer",
        "older" => "the older",
        "larger" => "the larger",
        _ => "the smaller",
    }
}

fn actions(plan: &Plan) -> String {
    if plan.actions.is_empty() {
        return String::new();
    }
    let row = |line: Line| {
        let path = match line.other {
            Some(other) => format!("{} ({other})", line.path),
            None => line.path,
        };
        vec![line.action.to_owned(), path, line.reason]
    };
    let rows = plan.actions.iter().take(LISTED).map(|a| row(Line::from(a)));
    let mut text = "\n".to_owned() + &table(&["ACTION", "PATH", "REASON"], rows.collect());
    let more = plan.actions.len().saturating_sub(LISTED);
    if more > 0 {
        text += &format!("and {more} more; --format json lists all\n");
    }
    text
}

fn list(heading: &str, refusals: &[Refusal]) -> String {
    if refusals.is_empty() {
        return String::new();
    }
    let rows = refusals.iter().take(LISTED);
    let rows = rows.map(|r| vec![r.name.clone(), r.reason.clone()]);
    "\n".to_owned() + &table(&[heading, "REASON"], rows.collect())
}

fn outcome(applied: &Applied, left: &[Left]) -> String {
    let head = match (applied.done, applied.is_whole()) {
        (0, true) if left.is_empty() => ALIKE.to_owned(),
        (0, true) => alike_but(left),
        (done, _) => format!("{done} done, {} bytes moved\n", applied.bytes),
    };
    let lines = told(applied).into_iter().map(|line| line + "\n");
    head + &lines.collect::<String>()
}

/// What there is to say of single files after a run, each in one line whatever its name is.
pub(super) fn told(applied: &Applied) -> Vec<String> {
    let failed = applied.failed.iter();
    let failed = failed.map(|(path, reason)| format!("failed: {path}: {reason}"));
    let again = applied
        .again
        .iter()
        .map(|path| match applied.busy.contains(path) {
            true => format!("still being written: {path}"),
            false => format!("changed meanwhile: {path}"),
        });
    let notes = applied.notes.iter().map(|note| format!("note: {note}"));
    let all = failed.chain(again).chain(notes);
    all.map(|line| cell(&line)).collect()
}

/// The names that a question is about, each in a line of its own whatever it is.
pub(super) fn listed<'n>(names: impl ExactSizeIterator<Item = &'n str>) -> String {
    let more = names.len().saturating_sub(ASKED);
    let mut text: String = names
        .take(ASKED)
        .map(|name| format!("\n  {}", cell(name)))
        .collect();
    if more > 0 {
        text += &format!("\n  and {more} more");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_lists_twenty_names_and_counts_the_others() {
        let names = |count| vec!["a\nb"; count];
        let of = |names: Vec<&str>| listed(names.into_iter());
        assert_eq!(of(names(2)), "\n  a b\n  a b");
        assert_eq!(of(names(20)), "\n  a b".repeat(20));
        assert_eq!(of(names(23)), "\n  a b".repeat(20) + "\n  and 3 more");
    }

    #[test]
    fn a_name_with_a_line_end_forges_no_line() {
        let name = "a\nboth sides are alike\nx";
        let applied = Applied {
            failed: vec![(name.to_owned(), "no\nroom".to_owned())],
            again: vec![name.to_owned(), "b\nc".to_owned()],
            busy: vec!["b\nc".to_owned()],
            notes: vec![format!("the upload of {name} is given up")],
            ..Applied::default()
        };
        assert_eq!(
            outcome(&applied, &[]).lines().collect::<Vec<_>>(),
            [
                "0 done, 0 bytes moved",
                "failed: a both sides are alike x: no room",
                "changed meanwhile: a both sides are alike x",
                "still being written: b c",
                "note: the upload of a both sides are alike x is given up",
            ]
        );
    }

    #[test]
    fn sides_of_which_something_was_left_out_are_not_called_alike() {
        let refusal = || Refusal {
            name: "d".to_owned(),
            reason: "it cannot be read".to_owned(),
        };
        let said = |plan: &Plan| Shown::of(plan).ending();
        let mut plan = Plan::default();
        assert_eq!(
            (plan.verdict(), said(&plan)),
            (Verdict::Alike, ALIKE.to_owned())
        );
        plan.refused.push(refusal());
        assert_eq!(plan.verdict(), Verdict::Unknown);
        assert_eq!(
            said(&plan),
            "what could be compared is alike; 1 names are left alone\n"
        );
        let whole = Applied::default();
        assert_eq!(outcome(&whole, &Shown::of(&plan).left_alone), said(&plan));
        plan.fresh.extend(sync::TreePath::parse("f").ok());
        assert_eq!(plan.verdict(), Verdict::Differ);
        assert_eq!(
            said(&plan),
            "waits until it is still: f\nnothing was changed\n"
        );
    }
}
