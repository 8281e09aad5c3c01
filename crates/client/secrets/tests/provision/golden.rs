//! The documents word for word: whoever applies them by hand, or has them in Terraform, sees
//! every change of them.

use std::path::Path;

use artifacts_secrets::provision::{Plan, Step, StoreKind, Target};
use serde_json::Value;

fn aws() -> Target {
    Target {
        endpoint: None,
        role: "arn:aws:iam::123456789012:role/artifacts-vault"
            .parse()
            .unwrap(),
        ..super::tokens::target(
            StoreKind::Aws,
            "https://unused.example.com",
            "https://broker.example.com",
        )
    }
}

/// Compares with the file of this name; `ARTIFACTS_UPDATE_GOLDEN` writes it anew.
fn check(name: &str, document: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/provision/golden")
        .join(name);
    let text = serde_json::to_string_pretty(document).unwrap() + "\n";
    if std::env::var_os("ARTIFACTS_UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        text, kept,
        "{name}; run with ARTIFACTS_UPDATE_GOLDEN=1 if it is meant so"
    );
}

#[test]
fn the_documents_are_these() {
    for step in Plan::of(&aws()).steps {
        let name = match &step {
            Step::Bucket { .. } | Step::Provider { .. } => continue,
            Step::BucketPolicy { .. } => "bucket-policy.json",
            Step::Lifecycle { .. } => "lifecycle-rule.json",
            Step::Role { .. } => "trust-policy.json",
            Step::RolePolicy { .. } => "role-policy.json",
            Step::IamJson { .. } => panic!("not on AWS"),
        };
        check(name, step.document().unwrap());
    }
    let weed = super::tokens::target(
        StoreKind::SeaweedFs,
        "https://s3.example.com",
        "https://broker.example.com",
    );
    let plan = Plan::of(&weed);
    check(
        "seaweedfs-iam.json",
        plan.steps.last().unwrap().document().unwrap(),
    );
}

#[test]
fn the_bucket_refuses_before_the_role_may_anything() {
    let titles: Vec<String> = Plan::of(&aws()).steps.iter().map(Step::title).collect();
    assert_eq!(
        titles,
        [
            "bucket vault-bucket",
            "policy of bucket vault-bucket",
            "lifecycle rule of bucket vault-bucket",
            "OpenID Connect provider https://broker.example.com for sts.amazonaws.com",
            "role artifacts-vault and who may assume it",
            "policy artifacts-vault-own-prefix of role artifacts-vault",
        ]
    );
    let lasting = Target {
        expire_days: None,
        ..aws()
    };
    let has_rule = |step: &Step| matches!(step, Step::Lifecycle { .. });
    assert!(!Plan::of(&lasting).steps.iter().any(has_rule));
}
