//! Who asks, and whom a statement is about.

use std::collections::BTreeMap;

use serde_json::Value;

/// The one account of a store.
pub(crate) const ACCOUNT: &str = "000000000000";

/// Who asks, as policies see it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Principal {
    /// `aws:PrincipalArn`: of a user, of a role (not of its session), of an identity
    /// provider.
    pub(crate) arn: String,
    /// The ARN of the session of a role.
    pub(crate) session: Option<String>,
    /// `aws:username`, of an IAM user.
    pub(crate) user: Option<String>,
    /// Session tags, by their keys in lower case: tag keys are compared without regard to
    /// case.
    pub(crate) tags: BTreeMap<String, String>,
}

/// Whom a statement is about.
#[derive(Debug, Clone)]
pub(super) enum Principals {
    Anyone,
    These(Vec<String>),
}

impl Principal {
    /// An IAM user.
    pub(crate) fn user(name: &str) -> Self {
        Self {
            user: Some(name.to_owned()),
            ..Self::named(format!("arn:aws:iam::{ACCOUNT}:user/{name}"))
        }
    }

    /// Someone who is nothing but an ARN.
    pub(crate) fn named(arn: String) -> Self {
        Self {
            arn,
            ..Self::default()
        }
    }

    /// The value of a session tag.
    pub(super) fn tag(&self, key: &str) -> Option<&str> {
        self.tags.get(key).map(String::as_str)
    }
}

impl Principals {
    /// `"*"`, or `{"AWS": …}` with account, user, role and session ARNs.
    pub(super) fn of_bucket(value: &Value) -> Result<Self, &'static str> {
        if value == "*" {
            return Ok(Self::Anyone);
        }
        let names = names(value, "AWS")?;
        if names.iter().any(|name| name == "*") {
            return Ok(Self::Anyone);
        }
        let good = |name: &String| name == ACCOUNT || name.starts_with("arn:aws:");
        match names.iter().all(good) && !names.iter().any(|name| name.contains('*')) {
            true => Ok(Self::These(names)),
            false => Err("an AWS principal is *, this store's account, or an ARN"),
        }
    }

    /// `{"Federated": …}` with the ARNs of identity providers.
    pub(super) fn of_trust(value: &Value) -> Result<Self, &'static str> {
        let names = names(value, "Federated")?;
        let provider = format!("arn:aws:iam::{ACCOUNT}:oidc-provider/");
        let good = |name: &String| name.starts_with(&provider) && !name.contains('*');
        match names.iter().all(good) {
            true => Ok(Self::These(names)),
            false => Err("a Federated principal is the ARN of an OpenID Connect provider"),
        }
    }

    /// Whether they are meant. That the account is named refuses everybody in it, but grants
    /// nobody anything: it leaves that to the policies of its users and roles.
    pub(super) fn hold(&self, asking: Option<&Principal>, refusing: bool) -> bool {
        match (self, asking) {
            (Self::Anyone, _) => true,
            (Self::These(_), None) => false,
            (Self::These(names), Some(asking)) => {
                let root = format!("arn:aws:iam::{ACCOUNT}:root");
                names.iter().any(|name| {
                    *name == asking.arn
                        || Some(name) == asking.session.as_ref()
                        || refusing && (name == ACCOUNT || *name == root)
                })
            }
        }
    }
}

fn names(value: &Value, kind: &str) -> Result<Vec<String>, &'static str> {
    let wrong = match kind {
        "AWS" => "this store knows \"*\" and {\"AWS\": …} as principals of a bucket's policy",
        _ => "this store knows {\"Federated\": …} as principals of a trust policy",
    };
    let kinds = value.as_object().filter(|kinds| kinds.len() == 1);
    let named = kinds.and_then(|kinds| kinds.get(kind)).ok_or(wrong)?;
    let texts = match named {
        Value::Array(all) => all.iter().map(Value::as_str).collect(),
        one => vec![one.as_str()],
    };
    let names: Option<Vec<String>> = texts
        .into_iter()
        .map(|text| text.map(str::to_owned))
        .collect();
    names.filter(|names| !names.is_empty()).ok_or(wrong)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_bucket_policy_is_about_anyone_an_account_or_arns() {
        let role = Principal {
            session: Some("arn:aws:sts::000000000000:assumed-role/R/s".into()),
            ..Principal::named("arn:aws:iam::000000000000:role/R".into())
        };
        let about = |value: Value| {
            let principals = Principals::of_bucket(&value).unwrap();
            [false, true].map(|refusing| principals.hold(Some(&role), refusing))
        };
        for account in ["000000000000", "arn:aws:iam::000000000000:root"] {
            assert_eq!(about(json!({"AWS": [account]})), [false, true]);
        }
        for yes in [
            json!("*"),
            json!({"AWS": "*"}),
            json!({"AWS": ["arn:aws:iam::000000000000:user/x", "arn:aws:iam::000000000000:role/R"]}),
            json!({"AWS": "arn:aws:sts::000000000000:assumed-role/R/s"}),
        ] {
            assert_eq!(about(yes.clone()), [true, true], "{yes}");
        }
        let other = json!({"AWS": "arn:aws:iam::000000000000:role/S"});
        assert_eq!(about(other), [false, false]);
        for wrong in [
            json!({}),
            json!({"Service": "s3.amazonaws.com"}),
            json!({"AWS": "*", "Federated": "x"}),
            json!({"AWS": []}),
            json!({"AWS": ["arn:aws:iam::000000000000:user/*"]}),
            json!({"AWS": "ann"}),
        ] {
            assert!(Principals::of_bucket(&wrong).is_err(), "{wrong}");
        }
        for wrong in [json!("*"), json!({"AWS": "*"}), json!({"Federated": "*"})] {
            assert!(Principals::of_trust(&wrong).is_err(), "{wrong}");
        }
    }
}
