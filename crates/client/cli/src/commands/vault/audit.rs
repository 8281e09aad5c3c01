//! `artifacts vault audit`: whether the audits of worker, broker and signer are as they were
//! written, and what they tell.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use api::Timestamp;
use clap::Args;
use credentials::Error;
use model::{Actor, ServiceName};
use serde::{Deserialize, Serialize};
use vault::audit::{Verdict, follow};

use crate::anchored::{Anchors, Beside, Head, Lost};
use crate::context::Context;
use crate::failure::{Code, Failure, Result};
use crate::output::{pairs, table};

/// Check audits of worker, broker or signer, and count what was done and what was refused why.
///
/// Each line is bound to all before it, so that one that was changed, taken out or put in shows.
/// Lines cut off at the end show only against a head that was kept elsewhere: --seen, or --anchors.
#[derive(Args)]
pub(crate) struct Audit {
    /// The audits.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Count only what this actor asked for, or what was asked about its secrets.
    #[arg(long, value_name = "ACTOR")]
    actor: Option<Actor>,
    /// Count only what was about this service.
    #[arg(long, value_name = "SERVICE")]
    service: Option<ServiceName>,
    /// Count only what was later: a day (2026-09-21) or a moment (2026-09-21T14:13:20Z).
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Timestamp>,
    /// What was shown before of one file, as `RECORDS:HEAD`: its records must still be there and
    /// be the same.
    #[arg(long, value_name = "RECORDS:HEAD")]
    seen: Option<Head>,
    /// Ask the chain of `vault.registry` what was anchored of one file: all of it must still be
    /// there.
    #[arg(long)]
    anchors: bool,
    /// Who has anchored it [default: who is logged in at the broker, else this machine's wallet].
    #[arg(long, value_name = "ACTOR", requires = "anchors")]
    operator: Option<Actor>,
}

/// What of a record is counted. Servers write more, and each its own.
#[derive(Deserialize)]
struct Record {
    at: Option<Timestamp>,
    #[serde(alias = "action")]
    op: Option<String>,
    outcome: Option<String>,
    operator: Option<Actor>,
    actor: Option<Actor>,
    target: Option<Actor>,
    service: Option<String>,
    #[serde(default)]
    omitted: u64,
}

/// What was found, as it is shown.
#[derive(Serialize)]
struct Found {
    files: Vec<Checked>,
    counts: Vec<Count>,
    /// Refusals that a server counted and did not write: there were too many.
    omitted: u64,
}

/// One file.
#[derive(Serialize)]
struct Checked {
    file: PathBuf,
    /// Records that follow from each other, from the first.
    records: u64,
    /// The last one's hash, to be kept elsewhere; none where the chain breaks.
    head: Option<String>,
    /// The record that is missing, or where it or one before it was changed.
    broken_at: Option<u64>,
    /// Whether what was seen before is still there; absent where nothing was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    has_seen: Option<bool>,
    /// What was anchored; absent where that was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    anchors: Option<Anchored>,
}

/// A file beside what was anchored of it.
#[derive(Serialize)]
struct Anchored {
    operator: Actor,
    count: usize,
    /// The first one that the file has not. Not told of a file whose chain breaks.
    lost: Option<Lost>,
}

/// How often something ended in a way.
#[derive(Serialize)]
struct Count {
    op: String,
    outcome: String,
    count: u64,
}

#[derive(Default)]
struct Tally {
    counts: BTreeMap<(String, String), u64>,
    omitted: u64,
}

pub(super) fn run(command: &Audit, context: &Context) -> Result<()> {
    if (command.seen.is_some() || command.anchors) && command.files.len() > 1 {
        let text = "--seen and --anchors are of one file, and there are more";
        return Err(Failure::new(Code::Usage, text).with_hint("check each file by itself"));
    }
    let anchors = match command.anchors {
        true => Some(anchors(command, context)?),
        false => None,
    };
    let mut tally = Tally::default();
    let files = command.files.iter();
    let files = files.map(|file| check(command, file, anchors.as_ref(), &mut tally));
    let found = Found {
        files: files.collect::<Result<_>>()?,
        omitted: tally.omitted,
        counts: tally
            .counts
            .into_iter()
            .map(|((op, outcome), count)| Count { op, outcome, count })
            .collect(),
    };
    context.output.data(&found, || shown(&found))?;
    let broken = found.files.iter().filter_map(trouble);
    let broken: Vec<String> = broken.collect();
    if broken.is_empty() {
        return Ok(());
    }
    let hint = "compare with a copy, and find out who may write to the server's folder; what stands before it is whole";
    Err(Failure::new(Code::AuditBroken, broken.join("; ")).with_hint(hint))
}

/// None is no proof of anything: somebody may have named the wrong operator, or an RPC may lie.
fn anchors(command: &Audit, context: &Context) -> Result<Anchors> {
    let anchors = context.anchors(command.operator.as_ref())?;
    if anchors.count() == 0 {
        let text = format!("nothing was anchored for {}", anchors.operator);
        return Err(Failure::new(Code::RegistryNotFound, text)
            .with_hint("anchor the audit with artifacts registry anchor, or give --operator"));
    }
    Ok(anchors)
}

fn check(
    command: &Audit,
    path: &Path,
    anchors: Option<&Anchors>,
    tally: &mut Tally,
) -> Result<Checked> {
    let io = |e| Error::io("read", path, e);
    let file = File::open(path).map_err(io)?;
    let mut last = 0;
    let mut has_seen = command.seen.map(|_| false);
    let mut beside = anchors.map(Anchors::beside);
    let verdict = follow(BufReader::new(file), |link, object| {
        last = link.seq;
        if command.seen.is_some_and(|seen| seen.is(&link)) {
            has_seen = Some(true);
        }
        if let Some(beside) = &mut beside {
            beside.see(&link);
        }
        // A record of another form is bound in the chain like all others, and of no kind here.
        if let Ok(record) = serde_json::from_str::<Record>(object) {
            tally.count(command, record);
        }
    });
    let (head, broken_at) = match verdict.map_err(io)? {
        Verdict::Whole { head, .. } => (Some(head), None),
        Verdict::Broken { seq } => (None, Some(seq)),
    };
    let lost = beside.and_then(Beside::lost);
    Ok(Checked {
        file: path.to_owned(),
        records: last,
        head,
        broken_at,
        has_seen,
        anchors: anchors.map(|anchors| Anchored {
            operator: anchors.operator.clone(),
            count: anchors.count(),
            lost: lost.filter(|_| broken_at.is_none()),
        }),
    })
}

impl Tally {
    fn count(&mut self, command: &Audit, record: Record) {
        if !command.wants(&record) {
            return;
        }
        let word = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        let key = (word(record.op), word(record.outcome));
        *self.counts.entry(key).or_default() += 1;
        self.omitted = self.omitted.saturating_add(record.omitted);
    }
}

impl Audit {
    fn wants(&self, record: &Record) -> bool {
        let of_actor = self.actor.as_ref().is_none_or(|actor| {
            let asked = record.actor.as_ref().or(record.operator.as_ref());
            let named = [asked, record.target.as_ref()];
            named.into_iter().flatten().any(|named| named == actor)
        });
        let of_service = self
            .service
            .as_ref()
            .is_none_or(|service| record.service.as_deref() == Some(service.as_str()));
        let of_time = self
            .since
            .is_none_or(|since| record.at.is_some_and(|at| at >= since));
        of_actor && of_service && of_time
    }
}

/// What is wrong with a file.
fn trouble(checked: &Checked) -> Option<String> {
    let file = checked.file.display();
    if let Some(seq) = checked.broken_at {
        return Some(format!(
            "record {seq} of {file} was changed, or one before it is missing"
        ));
    }
    if checked.has_seen == Some(false) {
        return Some(format!(
            "{file} has not the records that were seen before: it was cut off or written anew"
        ));
    }
    let lost = checked.anchors.as_ref()?.lost.as_ref()?;
    Some(lost.words(&checked.file, checked.records))
}

fn shown(found: &Found) -> String {
    let file = |checked: &Checked| {
        let state = match (&checked.head, checked.broken_at) {
            (_, Some(seq)) => format!("broken at record {seq}"),
            (Some(head), None) => format!("whole, {}:{head}", checked.records),
            (None, None) => "empty".to_owned(),
        };
        let anchored = match &checked.anchors {
            Some(anchored) if anchored.lost.is_none() && checked.broken_at.is_none() => {
                let Anchored {
                    count, operator, ..
                } = anchored;
                format!(", all {count} anchors of {operator} in it")
            }
            _ => String::new(),
        };
        (checked.file.display().to_string(), state + &anchored)
    };
    let files: Vec<(String, String)> = found.files.iter().map(file).collect();
    let files: Vec<(&str, String)> = files
        .iter()
        .map(|(file, state)| (file.as_str(), state.clone()))
        .collect();
    let rows = found.counts.iter().map(|count| {
        let number = count.count.to_string();
        vec![count.op.clone(), count.outcome.clone(), number]
    });
    let mut text = pairs(&files);
    text.push('\n');
    text += &table(&["OP", "OUTCOME", "COUNT"], rows.collect());
    if found.omitted > 0 {
        text += &format!(
            "\n{} more refusals were counted, not written.\n",
            found.omitted
        );
    }
    text
}

fn moment(text: &str) -> std::result::Result<Timestamp, String> {
    let whole = match text.len() {
        10 => format!("{text}T00:00:00Z"),
        _ => text.to_owned(),
    };
    Timestamp::try_from(whole)
        .map_err(|_| "a day is written 2026-09-21, a moment 2026-09-21T14:13:20Z".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_they_are_written() {
        let day = moment("2026-09-21").expect("a day");
        assert_eq!(day.to_string(), "2026-09-21T00:00:00Z");
        assert!(moment("2026-09-21T00:00:01+00:00").expect("a moment") > day);
        for bad in ["", "yesterday", "2026-9-21", "2026-13-01"] {
            assert!(moment(bad).is_err(), "{bad}");
        }
    }
}
