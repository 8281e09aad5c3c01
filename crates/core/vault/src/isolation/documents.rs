//! The documents.

use serde_json::{Value, json};

use super::Isolation;

/// Whom tokens are for.
pub const AUDIENCE: &str = "sts.amazonaws.com";

/// The session tag that holds the actor.
pub const TAG: &str = "artifacts_actor";

/// The role's policy.
pub const POLICY: &str = "artifacts-vault-own-prefix";

/// How the names of the bucket policy's statements begin.
pub const SID: &str = "ArtifactsVault";

const VERSION: &str = "2012-10-17";

/// What an actor has of its own.
const OWN: &str = "bots/${aws:PrincipalTag/artifacts_actor}/credentials/*";

/// An actor has 64 characters: a tag of `*`, which acts as a wildcard in some stores, is none.
fn any_actor() -> String {
    "?".repeat(64)
}

/// Who may assume the role.
pub fn trust_policy(of: &Isolation<'_>) -> Value {
    let issuer = of.issuer.short();
    json!({
        "Version": VERSION,
        "Statement": [{
            "Sid": "ArtifactsVaultTaggedTokens",
            "Effect": "Allow",
            "Principal": { "Federated": of.role.provider(of.issuer) },
            "Action": ["sts:AssumeRoleWithWebIdentity", "sts:TagSession"],
            "Condition": {
                "StringEquals": { format!("{issuer}:aud"): AUDIENCE },
                "StringLike": { format!("aws:RequestTag/{TAG}"): any_actor() },
            },
        }],
    })
}

/// What the role may do.
pub fn role_policy(of: &Isolation<'_>) -> Value {
    let bucket = of.bucket_arn();
    let own = format!("{bucket}/{OWN}");
    let is_actor = json!({ "StringLike": { format!("aws:PrincipalTag/{TAG}"): any_actor() } });
    let object = |sid: &str, action: &str| {
        json!({
            "Sid": sid, "Effect": "Allow", "Action": [action], "Resource": [own],
            "Condition": is_actor,
        })
    };
    json!({
        "Version": VERSION,
        "Statement": [
            {
                "Sid": "ListOwn", "Effect": "Allow", "Action": ["s3:ListBucket"],
                "Resource": [bucket],
                "Condition": { "StringLike": {
                    "s3:prefix": [OWN],
                    format!("aws:PrincipalTag/{TAG}"): any_actor(),
                } },
            },
            object("GetOwn", "s3:GetObject"),
            object("PutOwn", "s3:PutObject"),
            object("DeleteOwn", "s3:DeleteObject"),
        ],
    })
}

/// What the bucket refuses. Its administration (policy, lifecycle) stays with whoever has it.
pub fn bucket_policy(of: &Isolation<'_>) -> Value {
    let bucket = of.bucket_arn();
    let objects = format!("{bucket}/*");
    let other_principal = json!({ "StringNotEquals": { "aws:PrincipalArn": of.role.as_str() } });
    let deny = |sid: &str, action: &str, resource: Value, condition: Value| {
        json!({
            "Sid": format!("{SID}{sid}"), "Effect": "Deny", "Principal": "*",
            "Action": action, "Resource": resource, "Condition": condition,
        })
    };
    let elsewhere = json!({ "StringNotLike": { "s3:prefix": OWN } });
    let mut statements = vec![
        deny(
            "OnlyTheRole",
            "s3:*",
            json!(objects),
            other_principal.clone(),
        ),
        deny(
            "OnlyTheRoleLists",
            "s3:ListBucket*",
            json!(bucket),
            other_principal,
        ),
        json!({
            "Sid": format!("{SID}OnlyTheOwnPrefix"), "Effect": "Deny", "Principal": "*",
            "Action": "s3:*", "NotResource": [bucket, format!("{bucket}/{OWN}")],
        }),
        deny(
            "OnlyTheOwnPrefixLists",
            "s3:ListBucket*",
            json!(bucket),
            elsewhere,
        ),
    ];
    if !of.in_clear {
        let plain = json!({ "Bool": { "aws:SecureTransport": "false" } });
        statements.push(deny("OnlyTls", "s3:*", json!([bucket, objects]), plain));
    }
    json!({ "Version": VERSION, "Statement": statements })
}

/// What SeaweedFS's `iam.json` must hold. Its trust policies know neither `sts:TagSession` nor
/// tags; that the token's subject is an actor is the nearest to "it has a tag" (the broker
/// writes the same actor as both), and a policy's condition on the tag is the second bar.
pub fn seaweedfs_iam(of: &Isolation<'_>) -> Value {
    let issuer = of.issuer.as_str();
    let trust = json!({
        "Version": VERSION,
        "Statement": [{
            "Effect": "Allow",
            "Principal": { "Federated": "artifacts-broker" },
            "Action": ["sts:AssumeRoleWithWebIdentity"],
            "Condition": {
                "StringEquals": { "oidc:aud": AUDIENCE },
                "StringLike": { "oidc:sub": any_actor() },
            },
        }],
    });
    json!({
        "policy": { "defaultEffect": "Deny", "storeType": "memory" },
        "providers": [{
            "name": "artifacts-broker", "type": "oidc", "enabled": true,
            "config": {
                "issuer": issuer,
                "clientId": AUDIENCE,
                "jwksUri": format!("{issuer}/jwks.json"),
                "allowedPrincipalTagKeys": [TAG],
            },
        }],
        "roles": [{
            "roleName": of.role.name(),
            "roleArn": of.role.as_str(),
            "attachedPolicies": [POLICY],
            "trustPolicy": trust,
        }],
        "policies": [{ "name": POLICY, "document": role_policy(of) }],
    })
}
