//! What the administrator can see: that role and bucket have these documents and no others.

use std::collections::BTreeSet;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use serde_json::{Map, Value};

use super::clients::Admin;
use super::documents::{POLICY, bucket_policy, lifecycle_rule, role_policy, trust_policy};
use super::report::Report;
use super::target::Target;
use super::told::Told;
use crate::error::SecretError;

/// Looks at everything that could grant more than the plan's documents do.
pub(super) async fn look(admin: &Admin, target: &Target, report: &mut Report) {
    let role = target.role.name();
    let name = format!("role {role} trusts tagged tokens of the issuer only");
    report.add(name, trusts(admin, target).await);
    let name = format!("policy {POLICY} of role {role} is the plan's");
    report.add(name, own_policy(admin, target).await);
    let name = format!("role {role} has no other policy");
    report.add(name, no_other(admin, role).await);
    let name = format!("policy of bucket {} is the plan's", target.bucket);
    report.add(name, guarded(admin, target).await);
    if let Some(rule) = lifecycle_rule(target) {
        let name = format!("lifecycle of bucket {} has the plan's rule", target.bucket);
        let found = admin.has_rule(target.bucket.as_str(), &rule).await;
        report.add(name, found.map_err(words).and_then(there));
    }
}

fn there(is_there: bool) -> Found {
    match is_there {
        true => Ok(()),
        false => Err("it has not: artifacts vault provision --apply puts it right".to_owned()),
    }
}

type Found = Result<(), String>;

async fn trusts(admin: &Admin, target: &Target) -> Found {
    let role = target.role.name();
    match admin.trust(role).await.map_err(words)? {
        None => Err(format!("there is no role {role}")),
        Some(there) => equal(&there, &trust_policy(target)),
    }
}

async fn own_policy(admin: &Admin, target: &Target) -> Found {
    let role = target.role.name();
    match admin.role_policy(role, POLICY).await.map_err(words)? {
        None => Err("it is not there".to_owned()),
        Some(there) => equal(&there, &role_policy(target)),
    }
}

async fn no_other(admin: &Admin, role: &str) -> Found {
    let mut others = Vec::new();
    let mut pages = admin
        .iam
        .list_role_policies()
        .role_name(role)
        .into_paginator()
        .send();
    while let Some(page) = pages.next().await {
        let page = heard(page, "listing its inline policies")?;
        let other = page.policy_names.into_iter().filter(|name| name != POLICY);
        others.extend(other.map(|name| format!("inline policy {name}")));
    }
    let call = admin.iam.list_attached_role_policies().role_name(role);
    let mut pages = call.into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = heard(page, "listing its attached policies")?;
        let attached = page.attached_policies.unwrap_or_default().into_iter();
        let arn = attached.map(|policy| policy.policy_arn.unwrap_or_default());
        others.extend(arn.map(|arn| format!("attached policy {arn}")));
    }
    match others.is_empty() {
        true => Ok(()),
        false => Err(format!(
            "what it may do is broader by: {}",
            others.join(", ")
        )),
    }
}

async fn guarded(admin: &Admin, target: &Target) -> Found {
    let bucket = target.bucket.as_str();
    let wanted = bucket_policy(target);
    let Some(there) = admin.bucket_policy(bucket).await.map_err(words)? else {
        return Err("the bucket has no policy".to_owned());
    };
    let known: BTreeSet<String> = statements(&wanted).into_iter().collect();
    let others: Vec<String> = statements(&there)
        .into_iter()
        .filter(|name| !known.contains(name))
        .collect();
    match others.is_empty() {
        true => equal(&there, &wanted),
        false => Err(format!("it has other statements: {}", others.join(", "))),
    }
}

fn heard<T, E>(
    result: Result<T, aws_sdk_s3::error::SdkError<E, HttpResponse>>,
    doing: &str,
) -> Result<T, String>
where
    E: aws_sdk_s3::error::ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let told = Told::of(&result);
    result.map_err(|_| format!("not known: {doing}: {}", told.shown()))
}

fn words(error: SecretError) -> String {
    format!("not known: {}", error.message)
}

fn equal(there: &Value, wanted: &Value) -> Found {
    match same(there, wanted) {
        true => Ok(()),
        false => Err("it is another: artifacts vault provision --apply puts it right".to_owned()),
    }
}

/// The names of a policy's statements; one without name is shown whole.
pub(super) fn statements(policy: &Value) -> Vec<String> {
    let all = policy.get("Statement").cloned().unwrap_or_default();
    let all = match all {
        Value::Array(all) => all,
        Value::Null => Vec::new(),
        one => vec![one],
    };
    let name = |statement: &Value| match statement.get("Sid").and_then(Value::as_str) {
        Some(sid) if !sid.is_empty() => sid.to_owned(),
        _ => statement.to_string(),
    };
    all.iter().map(name).collect()
}

/// Whether two documents say the same. Stores write a list of one as its one, sort lists, and
/// leave out nothing.
pub(super) fn same(left: &Value, right: &Value) -> bool {
    plain(left) == plain(right)
}

fn plain(value: &Value) -> Value {
    match value {
        Value::Array(all) if all.len() == 1 => plain(&all[0]),
        Value::Array(all) => {
            let mut all: Vec<Value> = all.iter().map(plain).collect();
            all.sort_by_key(Value::to_string);
            Value::Array(all)
        }
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(name, value)| (name.clone(), plain(value)));
            Value::Object(fields.collect::<Map<_, _>>())
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn documents_are_compared_by_what_they_say() {
        let one =
            json!({"Statement": [{"Sid": "A", "Action": ["s3:Get", "s3:Put"], "Resource": ["x"]}]});
        let other =
            json!({"Statement": {"Sid": "A", "Action": ["s3:Put", "s3:Get"], "Resource": "x"}});
        assert!(same(&one, &other));
        let broader =
            json!({"Statement": {"Sid": "A", "Action": ["s3:Put", "s3:Get"], "Resource": "*"}});
        assert!(!same(&one, &broader));
        let more = json!({"Statement": [{"Sid": "A"}, {"Effect": "Allow"}]});
        assert_eq!(statements(&more), ["A", r#"{"Effect":"Allow"}"#]);
    }
}
