//! What was found.

use serde::Serialize;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What.
    pub name: String,
    /// How it is.
    pub verdict: Verdict,
    /// Why, where it did not pass.
    pub reason: Option<String>,
}

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it must be.
    Passed,
    /// Not as it must be, or not known: either is no pass.
    Failed,
    /// It does not matter at this store; the reason says why.
    Skipped,
    /// It was not looked at, though it matters: nothing is known of it.
    Unchecked,
}

/// All checks, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Report {
    /// The checks.
    pub checks: Vec<Check>,
}

impl Report {
    /// Whether nothing failed, nothing that matters was left out, and something was looked at.
    pub fn passed(&self) -> bool {
        let missing = self.failures().next().is_some() || self.unchecked().next().is_some();
        let any = |check: &Check| check.verdict == Verdict::Passed;
        !missing && self.checks.iter().any(any)
    }

    /// What matters and was not looked at.
    pub fn unchecked(&self) -> impl Iterator<Item = &Check> {
        let unchecked = |check: &&Check| check.verdict == Verdict::Unchecked;
        self.checks.iter().filter(unchecked)
    }

    /// What failed.
    pub fn failures(&self) -> impl Iterator<Item = &Check> {
        let failed = |check: &&Check| check.verdict == Verdict::Failed;
        self.checks.iter().filter(failed)
    }

    pub(super) fn add(&mut self, name: impl Into<String>, found: Result<(), String>) {
        let verdict = match found {
            Ok(()) => Verdict::Passed,
            Err(_) => Verdict::Failed,
        };
        self.checks.push(Check {
            name: name.into(),
            verdict,
            reason: found.err(),
        });
    }

    pub(super) fn skip(&mut self, name: impl Into<String>, reason: &str) {
        self.without(Verdict::Skipped, name.into(), reason);
    }

    pub(super) fn leave_out(&mut self, name: impl Into<String>, reason: &str) {
        self.without(Verdict::Unchecked, name.into(), reason);
    }

    fn without(&mut self, verdict: Verdict, name: String, reason: &str) {
        self.checks.push(Check {
            name,
            verdict,
            reason: Some(reason.to_owned()),
        });
    }
}
