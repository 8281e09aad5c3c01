//! The documents of a target. The policies are [`vault::isolation`]'s.

use serde_json::{Value, json};
use vault::isolation;

use super::target::Target;

pub(super) use isolation::{AUDIENCE, POLICY, SID};

/// The lifecycle's rule.
pub(super) const RULE: &str = "artifacts-vault-credentials";

/// Who may assume the role.
pub(super) fn trust_policy(target: &Target) -> Value {
    isolation::trust_policy(&target.isolation())
}

/// What the role may do.
pub(super) fn role_policy(target: &Target) -> Value {
    isolation::role_policy(&target.isolation())
}

/// What the bucket refuses.
pub(super) fn bucket_policy(target: &Target) -> Value {
    isolation::bucket_policy(&target.isolation())
}

/// What SeaweedFS's `iam.json` must hold.
pub(super) fn seaweedfs_iam(target: &Target) -> Value {
    isolation::seaweedfs_iam(&target.isolation())
}

/// The rule by which credentials end, where they shall.
pub(super) fn lifecycle_rule(target: &Target) -> Option<Value> {
    let days = target.expire_days?;
    Some(json!({
        "ID": RULE,
        "Status": "Enabled",
        "Filter": { "Prefix": "bots/" },
        "Expiration": { "Days": days.get() },
    }))
}
