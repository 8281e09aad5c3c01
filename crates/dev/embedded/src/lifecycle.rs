//! A bucket's lifecycle: rules by which objects end after some days, and uploads that nobody
//! completes.
//!
//! The store carries them out at its start and every hour. As S3 does it, an object's last
//! day is a whole one: it ends at the first midnight (UTC) after its days ("Expiring
//! objects", User Guide). A rule that says anything else than days and a prefix is refused.

use s3s::dto;
use s3s::{S3Error, S3Result, s3_error};
use serde::{Deserialize, Serialize};

use crate::store::{self, Setting, Store};

/// All rules of a bucket.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lifecycle {
    rules: Vec<Rule>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Rule {
    id: String,
    enabled: bool,
    prefix: String,
    /// After this many days an object ends.
    objects: Option<i32>,
    /// After this many days an upload that is not completed ends.
    uploads: Option<i32>,
}

const DAY: i64 = 86_400_000_000_000;

impl Lifecycle {
    /// The rules as a client gives them.
    pub(crate) fn of_s3(rules: &[dto::LifecycleRule]) -> S3Result<Self> {
        let mut read = Vec::with_capacity(rules.len());
        for rule in rules {
            let rule = Rule::of_s3(rule)?;
            if read.iter().any(|other: &Rule| other.id == rule.id) {
                return Err(s3_error!(
                    InvalidArgument,
                    "RuleId must be unique. Found same ID for more than one rule"
                ));
            }
            read.push(rule);
        }
        match read.is_empty() {
            true => Err(s3_error!(MalformedXML, "there are no rules")),
            false => Ok(Self { rules: read }),
        }
    }

    /// The rules as a client reads them.
    pub(crate) fn to_s3(&self) -> Vec<dto::LifecycleRule> {
        self.rules.iter().map(Rule::to_s3).collect()
    }

    pub(crate) fn to_text(&self) -> String {
        serde_json::json!(self).to_string()
    }

    pub(crate) fn of_text(text: &str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }
}

impl Rule {
    fn of_s3(rule: &dto::LifecycleRule) -> S3Result<Self> {
        let other = rule.noncurrent_version_expiration.is_some()
            || rule.noncurrent_version_transitions.is_some()
            || rule.transitions.is_some();
        let expiration = rule.expiration.as_ref();
        let other_end = expiration
            .is_some_and(|end| end.date.is_some() || end.expired_object_delete_marker.is_some());
        if other || other_end {
            return Err(not_here());
        }
        let days = |days: Option<i32>| match days {
            Some(days) if days < 1 => Err(s3_error!(
                InvalidArgument,
                "a number of days must be a positive integer"
            )),
            days => Ok(days),
        };
        let objects = days(expiration.and_then(|end| end.days))?;
        let uploads = rule.abort_incomplete_multipart_upload.as_ref();
        let uploads = days(uploads.and_then(|end| end.days_after_initiation))?;
        if objects.is_none() && uploads.is_none() {
            let message = "At least one action needs to be specified in a rule";
            return Err(s3_error!(InvalidRequest, "{message}"));
        }
        let random = || uuid::Uuid::new_v4().to_string();
        Ok(Self {
            id: rule.id.clone().unwrap_or_else(random),
            enabled: rule.status.as_str() == dto::ExpirationStatus::ENABLED,
            prefix: prefix(rule)?,
            objects,
            uploads,
        })
    }

    fn to_s3(&self) -> dto::LifecycleRule {
        let status = match self.enabled {
            true => dto::ExpirationStatus::ENABLED,
            false => dto::ExpirationStatus::DISABLED,
        };
        let uploads = self
            .uploads
            .map(|days| dto::AbortIncompleteMultipartUpload {
                days_after_initiation: Some(days),
            });
        let objects = self.objects.map(|days| dto::LifecycleExpiration {
            days: Some(days),
            ..Default::default()
        });
        dto::LifecycleRule {
            abort_incomplete_multipart_upload: uploads,
            expiration: objects,
            filter: Some(dto::LifecycleRuleFilter {
                prefix: Some(self.prefix.clone()),
                ..Default::default()
            }),
            id: Some(self.id.clone()),
            noncurrent_version_expiration: None,
            noncurrent_version_transitions: None,
            prefix: None,
            status: dto::ExpirationStatus::from_static(status),
            transitions: None,
        }
    }
}

/// The prefix of a rule, wherever it stands; any other filter is refused.
fn prefix(rule: &dto::LifecycleRule) -> S3Result<String> {
    let Some(filter) = &rule.filter else {
        return Ok(rule.prefix.clone().unwrap_or_default());
    };
    let and = filter.and.as_ref();
    let other = filter.tag.is_some()
        || filter.object_size_greater_than.is_some()
        || filter.object_size_less_than.is_some()
        || and.is_some_and(|and| {
            and.tags.is_some()
                || and.object_size_greater_than.is_some()
                || and.object_size_less_than.is_some()
        });
    if other || rule.prefix.is_some() {
        return Err(not_here());
    }
    let inner = and.and_then(|and| and.prefix.clone());
    Ok(filter.prefix.clone().or(inner).unwrap_or_default())
}

fn not_here() -> S3Error {
    s3_error!(
        NotImplemented,
        "a rule of this store has a prefix, days of objects and days of uploads"
    )
}

/// Ends what the rules of all buckets end at this time (nanoseconds since the Unix epoch).
pub(crate) async fn carry_out(store: &Store, now: i64) -> store::Result<usize> {
    let midnight = now - now.rem_euclid(DAY);
    let mut ended = 0;
    for (bucket, text) in store.settings(Setting::Lifecycle)? {
        let Ok(lifecycle) = Lifecycle::of_text(&text) else {
            tracing::error!(
                bucket,
                "the lifecycle cannot be understood: nothing ends by it"
            );
            continue;
        };
        for rule in lifecycle.rules.into_iter().filter(|rule| rule.enabled) {
            let before = |days: i32| midnight - i64::from(days) * DAY;
            let objects = rule.objects.map(before);
            let uploads = rule.uploads.map(before);
            ended += store.end(&bucket, &rule.prefix, objects, uploads).await?;
        }
    }
    Ok(ended)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(days: Option<i32>) -> dto::LifecycleRule {
        let rule = Rule {
            id: "bots".into(),
            enabled: true,
            prefix: "bots/".into(),
            objects: days,
            uploads: Some(2),
        };
        rule.to_s3()
    }

    #[test]
    fn rules_come_back_as_they_were_given_and_others_are_refused() {
        let given = vec![rule(Some(30))];
        let lifecycle = Lifecycle::of_s3(&given).unwrap();
        let kept = Lifecycle::of_text(&lifecycle.to_text()).unwrap();
        assert_eq!(kept, lifecycle);
        assert_eq!(kept.to_s3(), given);
        let code = |rules: &[dto::LifecycleRule]| {
            let refused = Lifecycle::of_s3(rules).err().unwrap();
            refused.code().as_str().to_owned()
        };
        assert_eq!(code(&[rule(Some(0))]), "InvalidArgument");
        assert_eq!(code(&[rule(None), rule(Some(1))]), "InvalidArgument");
        assert_eq!(code(&[]), "MalformedXML");
        let mut tagged = rule(Some(1));
        tagged.filter = Some(dto::LifecycleRuleFilter {
            tag: Some(dto::Tag::default()),
            ..Default::default()
        });
        assert_eq!(code(&[tagged]), "NotImplemented");
    }
}
