//! The whole way once, on scratch buckets: make, issue, use, revoke, delete.

use std::time::Duration;

use serde::Serialize;
use uuid::Uuid;

use crate::verify::{Finding, Holder, MAKE_A_BUCKET, Reach, Surroundings, Verdict};
use crate::{
    Access, BucketName, Error, Grant, KeyHandle, NewKey, Page, Prefix, Provider, Result, Scope,
    Setting, issue, patiently,
};

/// What the names of scratch buckets begin with.
pub const BUCKET_BEGIN: &str = "artifacts-check-";

/// How long is waited.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Until a new key works.
    pub alive: Duration,
    /// Until a revoked key is dead.
    pub dead: Duration,
}

/// Everything that was seen.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// In the order of events.
    pub rows: Vec<Row>,
}

/// One thing that was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The key or bucket.
    pub subject: &'static str,
    /// What was done.
    pub what: String,
    /// What was seen, where that is not just what had to be.
    pub seen: String,
    /// Whether that is right.
    pub outcome: Outcome,
}

/// How one thing went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// As it should.
    Passed,
    /// Not as it should.
    Failed,
    /// The store does not have it, which is no failure.
    Unsupported,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            alive: Duration::from_secs(30),
            dead: Duration::from_secs(5),
        }
    }
}

impl Report {
    /// Whether nothing went wrong.
    pub fn is_good(&self) -> bool {
        self.rows.iter().all(|row| row.outcome != Outcome::Failed)
    }
}

/// Checks a store. Whatever fails, everything that was made is deleted again.
pub async fn check(
    provider: &dyn Provider,
    reach: &Reach,
    limits: Limits,
    new_id: impl Fn() -> Uuid + Sync,
) -> Report {
    let mut bench = Bench {
        provider,
        reach,
        limits,
        new_id: &new_id,
        rows: Vec::new(),
        buckets: Vec::new(),
        issued: Vec::new(),
    };
    // What had to be done and was not is in the rows.
    let _ = bench.go().await;
    bench.clean_up().await;
    Report { rows: bench.rows }
}

/// A key that was issued in the check.
struct Issued {
    subject: &'static str,
    handle: KeyHandle,
    holder: Holder,
    revoked: bool,
}

struct Bench<'a> {
    provider: &'a dyn Provider,
    reach: &'a Reach,
    limits: Limits,
    new_id: &'a (dyn Fn() -> Uuid + Sync),
    rows: Vec<Row>,
    buckets: Vec<BucketName>,
    issued: Vec<Issued>,
}

/// What went wrong is in the rows already.
struct Stopped;

impl Bench<'_> {
    async fn go(&mut self) -> std::result::Result<(), Stopped> {
        let first = self.make_bucket().await?;
        self.settle(&first).await;
        let scope = |prefix: Option<&str>, access| -> Result<Scope> {
            Ok(Scope {
                bucket: first.clone(),
                prefix: prefix.map(str::parse::<Prefix>).transpose()?,
                access,
            })
        };
        let rw = self.noted("keys", "name a scope", scope(None, Access::ReadWrite))?;
        let ro = self.noted("keys", "name a scope", scope(None, Access::ReadOnly))?;
        let part = scope(Some("part/"), Access::ReadWrite);
        let part = self.noted("keys", "name a scope", part)?;
        if !self.can_issue("keys", &rw) {
            return Ok(());
        }
        let second = self.make_bucket().await?;
        let other_scope = Scope {
            bucket: second.clone(),
            ..rw.clone()
        };
        let (writer, other) = (
            self.issue("rw key", rw).await?,
            self.issue("other's key", other_scope).await?,
        );
        self.put(writer, "check-own").await?;
        self.put(writer, "part/check-own").await?;
        self.put(other, "check-other").await?;
        let around = |own: &str| Surroundings {
            own: own.to_owned(),
            beside: Some("check-own".to_owned()),
            other_bucket: second.clone(),
            other: "check-other".to_owned(),
        };
        let reader = self.issue("ro key", ro).await?;
        self.try_everything(reader, &around("check-own")).await;
        if self.can_issue("prefix key", &part) {
            let partial = self.issue("prefix key", part).await?;
            self.try_everything(partial, &around("part/check-own"))
                .await;
        }
        self.try_everything(writer, &around("check-own")).await;
        self.revoke_all().await;
        self.look_for_leftovers().await;
        Ok(())
    }

    async fn make_bucket(&mut self) -> std::result::Result<BucketName, Stopped> {
        let id = (self.new_id)().simple().to_string();
        let name: Result<BucketName> = format!("{BUCKET_BEGIN}{id}").parse();
        let name = self.noted("buckets", "name one", name)?;
        // Before it is there, so that it goes even if the answer is lost.
        self.buckets.push(name.clone());
        let made = patiently(|| self.provider.create_bucket(&name)).await;
        self.note("buckets", &format!("create {name}"), made)?;
        let again = patiently(|| self.provider.create_bucket(&name)).await;
        self.note("buckets", "create it again", again)?;
        Ok(name)
    }

    async fn settle(&mut self, bucket: &BucketName) {
        let settings = match patiently(|| self.provider.settle_bucket(bucket)).await {
            Ok(settings) => settings,
            Err(error) => {
                self.push("buckets", "settings", &one_line(&error), Outcome::Failed);
                return;
            }
        };
        let each = [
            ("unfinished uploads expire", settings.uploads_expire),
            ("public access is blocked", settings.public_access_blocked),
            ("cross-origin reads are off", settings.cors_off),
        ];
        for (what, setting) in each {
            match setting {
                Setting::Applied => self.push("buckets", what, "", Outcome::Passed),
                Setting::Unsupported => {
                    self.push("buckets", what, "not known there", Outcome::Unsupported);
                }
            }
        }
    }

    fn can_issue(&mut self, subject: &'static str, scope: &Scope) -> bool {
        let grant = Grant {
            credential: Uuid::nil(),
            scope: scope.clone(),
        };
        match self.provider.steps(&grant) {
            Ok(_) => true,
            Err(error) => {
                self.push(subject, "issue", &one_line(&error), Outcome::Unsupported);
                false
            }
        }
    }

    /// Answers the place of the key among the issued ones.
    async fn issue(
        &mut self,
        subject: &'static str,
        scope: Scope,
    ) -> std::result::Result<usize, Stopped> {
        let grant = Grant {
            credential: (self.new_id)(),
            scope,
        };
        let (handle, key) = match issue(self.provider, &grant).await {
            Ok(issued) => issued,
            Err(failed) => {
                self.push(subject, "issue", &one_line(&failed.error), Outcome::Failed);
                if let Some(left) = failed.left_over {
                    self.push(subject, "take it back", &one_line(&left), Outcome::Failed);
                }
                return Err(Stopped);
            }
        };
        self.push(subject, "issue", &handle_shown(&handle), Outcome::Passed);
        let holder = self.hold(&key, grant.scope);
        let alive = holder.wait_alive(self.limits.alive).await;
        self.issued.push(Issued {
            subject,
            handle,
            holder,
            revoked: false,
        });
        match self.found(subject, alive) {
            true => Ok(self.issued.len() - 1),
            false => Err(Stopped),
        }
    }

    fn hold(&self, key: &NewKey, scope: Scope) -> Holder {
        Holder::new(self.reach, key, scope)
    }

    async fn put(&mut self, issued: usize, key: &str) -> std::result::Result<(), Stopped> {
        let issued = &self.issued[issued];
        let (subject, finding) = (issued.subject, issued.holder.put(key).await);
        if self.found(subject, finding) {
            Ok(())
        } else {
            Err(Stopped)
        }
    }

    async fn try_everything(&mut self, issued: usize, around: &Surroundings) {
        let issued = &self.issued[issued];
        let subject = issued.subject;
        let findings = issued.holder.try_everything(around).await;
        let spare: Result<BucketName> = issued.holder.spare_bucket().parse();
        for finding in findings {
            let made = finding.request == MAKE_A_BUCKET && finding.seen == Verdict::Allowed;
            self.buckets.extend(spare.clone().ok().filter(|_| made));
            self.found(subject, finding);
        }
    }

    async fn revoke_all(&mut self) {
        for place in 0..self.issued.len() {
            let issued = &self.issued[place];
            let (subject, handle) = (issued.subject, issued.handle.clone());
            let revoked = patiently(|| self.provider.revoke(&handle)).await;
            if self.note(subject, "revoke", revoked).is_err() {
                continue;
            }
            let issued = &mut self.issued[place];
            issued.revoked = true;
            let dead = issued.holder.wait_dead(self.limits.dead).await;
            self.found(subject, dead);
            let again = patiently(|| self.provider.revoke(&handle)).await;
            // What is wrong with it is in the rows.
            let _ = self.note(subject, "revoke it again", again);
        }
    }

    async fn look_for_leftovers(&mut self) {
        let listed = self.list_all_keys().await;
        let Ok(listed) = self.note_value("keys", "list", listed) else {
            return;
        };
        let ours = |id: &Uuid| {
            self.issued
                .iter()
                .any(|issued| issued.handle.credential == *id)
        };
        let left = listed.iter().filter(|credential| ours(credential)).count();
        match left {
            0 => self.push("keys", "nothing is left over", "", Outcome::Passed),
            left => {
                let seen = format!("{left} of the check's keys are still listed");
                self.push("keys", "nothing is left over", &seen, Outcome::Failed);
            }
        }
    }

    async fn list_all_keys(&self) -> Result<Vec<Uuid>> {
        let (mut all, mut from) = (Vec::new(), None);
        loop {
            let page: Page<_> = patiently(|| self.provider.list_keys(from.as_ref())).await?;
            all.extend(page.items.iter().map(|key| key.handle.credential));
            from = page.next;
            if from.is_none() {
                return Ok(all);
            }
        }
    }

    async fn clean_up(&mut self) {
        for issued in std::mem::take(&mut self.issued) {
            if !issued.revoked {
                let revoked = patiently(|| self.provider.revoke(&issued.handle)).await;
                let _ = self.note(issued.subject, "take it back", revoked);
            }
        }
        for bucket in std::mem::take(&mut self.buckets) {
            let deleted = self.delete_bucket(&bucket).await;
            let _ = self.note("buckets", &format!("delete {bucket}"), deleted);
        }
    }

    async fn delete_bucket(&self, bucket: &BucketName) -> Result<()> {
        let emptied = async {
            while patiently(|| self.provider.empty_bucket(bucket)).await?.more {}
            patiently(|| self.provider.delete_bucket(bucket)).await
        };
        match emptied.await {
            // It was never made.
            Err(Error::NotFound { .. }) => Ok(()),
            other => other,
        }
    }

    fn found(&mut self, subject: &'static str, finding: Finding) -> bool {
        let right = finding.is_right();
        let (seen, outcome) = match right {
            true => (word(&finding.seen), Outcome::Passed),
            false => (
                format!("{}, not {}", word(&finding.seen), word(&finding.expected)),
                Outcome::Failed,
            ),
        };
        self.push(subject, &finding.request, &seen, outcome);
        right
    }

    fn note<T>(
        &mut self,
        subject: &'static str,
        what: &str,
        result: Result<T>,
    ) -> std::result::Result<(), Stopped> {
        self.note_value(subject, what, result).map(drop)
    }

    fn note_value<T>(
        &mut self,
        subject: &'static str,
        what: &str,
        result: Result<T>,
    ) -> std::result::Result<T, Stopped> {
        match result {
            Ok(value) => {
                self.push(subject, what, "", Outcome::Passed);
                Ok(value)
            }
            Err(error) => {
                self.push(subject, what, &one_line(&error), Outcome::Failed);
                Err(Stopped)
            }
        }
    }

    /// As [`note_value`](Self::note_value), without a row when all is well.
    fn noted<T>(
        &mut self,
        subject: &'static str,
        what: &str,
        result: Result<T>,
    ) -> std::result::Result<T, Stopped> {
        match result {
            Ok(value) => Ok(value),
            error => self.note_value(subject, what, error),
        }
    }

    fn push(&mut self, subject: &'static str, what: &str, seen: &str, outcome: Outcome) {
        self.rows.push(Row {
            subject,
            what: what.to_owned(),
            seen: seen.to_owned(),
            outcome,
        });
    }
}

fn word(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Allowed => "allowed".into(),
        Verdict::Refused => "refused".into(),
        Verdict::Dead => "the key is dead".into(),
        Verdict::Other(words) => words.clone(),
    }
}

fn handle_shown(handle: &KeyHandle) -> String {
    handle.access_key_id.clone().unwrap_or_default()
}

fn one_line(error: &Error) -> String {
    let text = error.to_string();
    match text.split_once("\nhint: ") {
        Some((what, hint)) => format!("{what} ({hint})"),
        None => text,
    }
}
