//! Makes it so: looks at each step, and changes only what is not as the step says. A second
//! run, also after a first that was cut off, finds done what is done.

use aws_sdk_iam::error::BuildError as IamBuildError;
use aws_sdk_s3::types::{
    BucketLifecycleConfiguration, BucketLocationConstraint, CreateBucketConfiguration,
    ExpirationStatus, LifecycleExpiration, LifecycleRule, LifecycleRuleFilter,
};
use serde_json::Value;

use super::clients::Admin;
use super::documents::SID;
use super::grants::{same, statements};
use super::plan::{Plan, Step};
use super::told::Told;
use crate::error::{Kind, Result, SecretError};

/// What became of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was so already.
    AlreadySo,
    /// It was not there, and is now.
    Made,
    /// It was otherwise, and is so now.
    Changed,
    /// It is to be done by hand.
    ByHand,
}

/// Does the plan's steps, in their order; says of each what became of it.
///
/// # Errors
/// The first step that cannot be done; those before it are.
pub async fn apply(
    admin: &Admin,
    plan: &Plan,
    mut done: impl FnMut(&Step, &Outcome),
) -> Result<()> {
    for step in &plan.steps {
        let outcome = admin.carry_out(step).await?;
        done(step, &outcome);
    }
    Ok(())
}

impl Admin {
    async fn carry_out(&self, step: &Step) -> Result<Outcome> {
        match step {
            Step::Bucket { bucket, region } => self.make_bucket(bucket, region).await,
            Step::BucketPolicy { bucket, document } => self.guard(bucket, document).await,
            Step::Lifecycle { bucket, document } => self.let_end(bucket, document).await,
            Step::Provider { arn, url, audience } => self.provide(arn, url, audience).await,
            Step::Role {
                role,
                path,
                document,
            } => self.make_role(role, path, document).await,
            Step::RolePolicy {
                role,
                policy,
                document,
            } => self.allow(role, policy, document).await,
            Step::IamJson { .. } => Ok(Outcome::ByHand),
        }
    }

    async fn make_bucket(&self, bucket: &str, region: &str) -> Result<Outcome> {
        // Not HeadBucket: that is a listing, which the bucket's policy refuses.
        let there = self.s3.get_bucket_location().bucket(bucket).send().await;
        match Told::of(&there) {
            Told::Done => return Ok(Outcome::AlreadySo),
            told if told.is("NoSuchBucket") => {}
            told => return Err(told.failed(&format!("looking for the bucket {bucket}"))),
        }
        let mut call = self.s3.create_bucket().bucket(bucket);
        // S3 API, CreateBucket: this one region is not written.
        if region != "us-east-1" {
            let place = BucketLocationConstraint::from(region);
            let place = CreateBucketConfiguration::builder().location_constraint(place);
            call = call.create_bucket_configuration(place.build());
        }
        match Told::of(&call.send().await) {
            Told::Done => Ok(Outcome::Made),
            told => Err(told.failed(&format!("making the bucket {bucket}"))),
        }
    }

    async fn guard(&self, bucket: &str, wanted: &Value) -> Result<Outcome> {
        let there = self.bucket_policy(bucket).await?;
        let outcome = match &there {
            None => Outcome::Made,
            Some(there) if same(there, wanted) => return Ok(Outcome::AlreadySo),
            Some(there) => {
                refuse_foreign(bucket, there)?;
                Outcome::Changed
            }
        };
        let call = self.s3.put_bucket_policy().bucket(bucket);
        match Told::of(&call.policy(wanted.to_string()).send().await) {
            Told::Done => Ok(outcome),
            told => Err(told.failed(&format!("setting the policy of bucket {bucket}"))),
        }
    }

    /// A bucket's policy, if it has one.
    pub(super) async fn bucket_policy(&self, bucket: &str) -> Result<Option<Value>> {
        let doing = format!("reading the policy of bucket {bucket}");
        let there = self.s3.get_bucket_policy().bucket(bucket).send().await;
        match Told::of(&there) {
            Told::Done => {}
            told if told.is("NoSuchBucketPolicy") => return Ok(None),
            told => return Err(told.failed(&doing)),
        }
        let text = there.ok().and_then(|answer| answer.policy);
        parsed(&text.unwrap_or_default(), &doing).map(Some)
    }

    async fn let_end(&self, bucket: &str, wanted: &Value) -> Result<Outcome> {
        let doing = format!("setting the lifecycle of bucket {bucket}");
        let wanted = rule(wanted)?;
        let rules = self.rules(bucket, &doing).await?;
        let (ours, others): (Vec<_>, Vec<_>) =
            rules.into_iter().partition(|rule| rule.id == wanted.id);
        let outcome = match ours.first() {
            None => Outcome::Made,
            Some(there) if is_rule(there, &wanted) => return Ok(Outcome::AlreadySo),
            Some(_) => Outcome::Changed,
        };
        let rules = others.into_iter().chain([wanted]).collect();
        let rules = BucketLifecycleConfiguration::builder().set_rules(Some(rules));
        let rules = rules.build().map_err(|error| unbuilt(&error))?;
        let call = self.s3.put_bucket_lifecycle_configuration().bucket(bucket);
        match Told::of(&call.lifecycle_configuration(rules).send().await) {
            Told::Done => Ok(outcome),
            told => Err(told.failed(&doing)),
        }
    }

    async fn rules(&self, bucket: &str, doing: &str) -> Result<Vec<LifecycleRule>> {
        let call = self.s3.get_bucket_lifecycle_configuration();
        let there = call.bucket(bucket).send().await;
        match Told::of(&there) {
            Told::Done => Ok(there.ok().and_then(|there| there.rules).unwrap_or_default()),
            told if told.is("NoSuchLifecycleConfiguration") => Ok(Vec::new()),
            told => Err(told.failed(doing)),
        }
    }

    /// Whether a bucket's lifecycle has this rule.
    pub(super) async fn has_rule(&self, bucket: &str, wanted: &Value) -> Result<bool> {
        let wanted = rule(wanted)?;
        let doing = format!("reading the lifecycle of bucket {bucket}");
        let rules = self.rules(bucket, &doing).await?;
        let is_it = |there: &LifecycleRule| there.id == wanted.id && is_rule(there, &wanted);
        Ok(rules.iter().any(is_it))
    }

    async fn provide(&self, arn: &str, url: &str, audience: &str) -> Result<Outcome> {
        let call = self.iam.get_open_id_connect_provider();
        let there = call.open_id_connect_provider_arn(arn).send().await;
        let told = match Told::of(&there) {
            Told::Done => {
                let clients = there.ok().and_then(|there| there.client_id_list);
                if clients
                    .unwrap_or_default()
                    .iter()
                    .any(|client| client == audience)
                {
                    return Ok(Outcome::AlreadySo);
                }
                let call = self.iam.add_client_id_to_open_id_connect_provider();
                let call = call.open_id_connect_provider_arn(arn).client_id(audience);
                (Told::of(&call.send().await), Outcome::Changed)
            }
            told if told.is("NoSuchEntity") => {
                let call = self.iam.create_open_id_connect_provider().url(url);
                let made = call.client_id_list(audience).send().await;
                (Told::of(&made), Outcome::Made)
            }
            told => (told, Outcome::Made),
        };
        match told {
            (Told::Done, outcome) => Ok(outcome),
            (told, _) => Err(told.failed(&format!("the OpenID Connect provider {url}"))),
        }
    }

    async fn make_role(&self, role: &str, path: &str, trust: &Value) -> Result<Outcome> {
        let told = match self.trust(role).await? {
            Some(there) if same(&there, trust) => return Ok(Outcome::AlreadySo),
            Some(_) => {
                let call = self.iam.update_assume_role_policy().role_name(role);
                let changed = call.policy_document(trust.to_string()).send().await;
                (Told::of(&changed), Outcome::Changed)
            }
            None => {
                let call = self.iam.create_role().role_name(role).path(path);
                let call = call.description("Actors of the vault, each in its own prefix");
                let call = call.assume_role_policy_document(trust.to_string());
                (Told::of(&call.send().await), Outcome::Made)
            }
        };
        match told {
            (Told::Done, outcome) => Ok(outcome),
            (told, _) => Err(told.failed(&format!("the role {role}"))),
        }
    }

    /// A role's trust policy, if the role is there.
    pub(super) async fn trust(&self, role: &str) -> Result<Option<Value>> {
        let doing = format!("reading the role {role}");
        let there = self.iam.get_role().role_name(role).send().await;
        match Told::of(&there) {
            Told::Done => {}
            told if told.is("NoSuchEntity") => return Ok(None),
            told => return Err(told.failed(&doing)),
        }
        let role = there.ok().and_then(|answer| answer.role);
        let document = role.and_then(|role| role.assume_role_policy_document);
        parsed(&decoded(&document.unwrap_or_default()), &doing).map(Some)
    }

    async fn allow(&self, role: &str, policy: &str, wanted: &Value) -> Result<Outcome> {
        let outcome = match self.role_policy(role, policy).await? {
            Some(there) if same(&there, wanted) => return Ok(Outcome::AlreadySo),
            Some(_) => Outcome::Changed,
            None => Outcome::Made,
        };
        let call = self
            .iam
            .put_role_policy()
            .role_name(role)
            .policy_name(policy);
        match Told::of(&call.policy_document(wanted.to_string()).send().await) {
            Told::Done => Ok(outcome),
            told => Err(told.failed(&format!("the policy {policy} of role {role}"))),
        }
    }

    /// An inline policy of a role, if it is there.
    pub(super) async fn role_policy(&self, role: &str, policy: &str) -> Result<Option<Value>> {
        let doing = format!("reading the policy {policy} of role {role}");
        let call = self.iam.get_role_policy().role_name(role);
        let there = call.policy_name(policy).send().await;
        match Told::of(&there) {
            Told::Done => {}
            told if told.is("NoSuchEntity") => return Ok(None),
            told => return Err(told.failed(&doing)),
        }
        let document = there.ok().map(|answer| answer.policy_document);
        parsed(&decoded(&document.unwrap_or_default()), &doing).map(Some)
    }
}

/// A policy that somebody else has written is not ours to replace.
fn refuse_foreign(bucket: &str, there: &Value) -> Result<()> {
    let foreign: Vec<String> = statements(there)
        .into_iter()
        .filter(|name| !name.starts_with(SID))
        .collect();
    if foreign.is_empty() {
        return Ok(());
    }
    Err(SecretError::new(
        Kind::Conflict,
        format!(
            "bucket {bucket} has a policy with statements that are not the vault's: {}",
            foreign.join(", ")
        ),
        "give the vault a bucket of its own, or remove them first (aws s3api delete-bucket-policy)",
    ))
}

fn rule(document: &Value) -> Result<LifecycleRule> {
    let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str);
    let days = document.pointer("/Expiration/Days").and_then(Value::as_i64);
    let days = days.and_then(|days| i32::try_from(days).ok());
    let filter = LifecycleRuleFilter::builder().set_prefix(text("/Filter/Prefix").map(Into::into));
    LifecycleRule::builder()
        .set_id(text("/ID").map(Into::into))
        .set_status(text("/Status").map(ExpirationStatus::from))
        .filter(filter.build())
        .expiration(LifecycleExpiration::builder().set_days(days).build())
        .build()
        .map_err(|error| unbuilt(&error))
}

/// Whether two rules do the same; stores write a prefix in one of two places.
fn is_rule(there: &LifecycleRule, wanted: &LifecycleRule) -> bool {
    let days = |rule: &LifecycleRule| rule.expiration.as_ref().and_then(|end| end.days);
    #[allow(deprecated, reason = "some stores answer with it")]
    let prefix = |rule: &LifecycleRule| {
        let filter = rule
            .filter
            .as_ref()
            .and_then(|filter| filter.prefix.clone());
        filter.or_else(|| rule.prefix.clone())
    };
    days(there) == days(wanted)
        && prefix(there) == prefix(wanted)
        && there.status == wanted.status
        && there.transitions.is_none()
}

fn unbuilt(error: &IamBuildError) -> SecretError {
    SecretError::new(
        Kind::Failed,
        format!("the lifecycle rule cannot be written: {error}"),
        "look at it: artifacts vault provision --plan",
    )
}

fn parsed(text: &str, doing: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|_| {
        SecretError::new(
            Kind::Failed,
            format!("{doing}: the store's answer is no JSON document"),
            "look at it by hand, with the store's own tools",
        )
    })
}

/// IAM's documents come URL-encoded (API reference of GetRole).
fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text)
        .decode_utf8_lossy()
        .into_owned()
}
