//! On moto: that the calls are AWS's and that what they make is there. moto judges no policy,
//! so nothing of security follows.

use artifacts_secrets::provision::{Admin, Outcome, Plan, Step, StoreKind, apply};
use serde_json::json;
use testkit::moto::Moto;
use testkit::tools::Tool;

use super::on_embedded::{iam, read_back};
use super::tokens::{admin_keys, target};

#[tokio::test(flavor = "multi_thread")]
async fn the_plan_is_made_once_with_awss_calls() {
    let _moto = testkit::require!(Tool::MotoServer);
    let moto = Moto::start().unwrap();
    let mut target = target(
        StoreKind::Embedded,
        &moto.endpoint(),
        "https://broker.example.com",
    );
    // moto's account.
    target.role = "arn:aws:iam::123456789012:role/team/artifacts-vault"
        .parse()
        .unwrap();
    let admin = Admin::new(&target, &admin_keys());
    let plan = Plan::of(&target);
    let (s3, iam) = (testkit::s3::client(&moto.endpoint()), iam(&moto.endpoint()));
    for expected in [Outcome::Made, Outcome::AlreadySo] {
        let done = |step: &Step, outcome: &Outcome| {
            assert_eq!(*outcome, expected, "{}", step.title());
        };
        apply(&admin, &plan, done).await.unwrap();
    }
    for step in &plan.steps {
        let there = read_back(&s3, &iam, step).await;
        match step {
            Step::Bucket { .. } => assert_eq!(there, json!(true)),
            Step::Provider { audience, .. } => assert_eq!(there["clients"], json!([audience])),
            other => assert_eq!(&there, other.document().unwrap(), "{}", other.title()),
        }
    }
    let role = iam
        .get_role()
        .role_name("artifacts-vault")
        .send()
        .await
        .unwrap();
    assert_eq!(role.role().unwrap().arn(), target.role.as_str());
}
