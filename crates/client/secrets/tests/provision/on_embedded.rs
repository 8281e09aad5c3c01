//! On the embedded store, whose policies are AWS's.

use artifacts_secrets::Kind;
use artifacts_secrets::provision::{
    Admin, Outcome, Plan, Report, Seen, Step, StoreKind, Target, apply, verify,
};
use aws_sdk_iam::config::{BehaviorVersion, Credentials, Region};
use embedded::{AccessKey, Durability, Options, Server};
use serde_json::{Value, json};

use super::tokens::{BUCKET, Broker, Tokens, ada, admin_keys, bob, exchange, target};

struct Lab {
    broker: Broker,
    target: Target,
    admin: Admin,
    s3: aws_sdk_s3::Client,
    iam: aws_sdk_iam::Client,
    _server: Server,
    _folder: tempfile::TempDir,
}

impl Lab {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = AccessKey {
            id: testkit::ACCESS_KEY_ID.into(),
            secret: testkit::SECRET_ACCESS_KEY.to_owned().into(),
        };
        let options = Options {
            root: Some(root),
            durability: Durability::Process,
            ..Options::new(folder.path())
        };
        let server = Server::start(options).await.unwrap();
        let broker = Broker::start();
        let target = target(StoreKind::Embedded, &server.endpoint(), &broker.issuer);
        Self {
            admin: Admin::new(&target, &admin_keys()),
            s3: testkit::s3::client(&server.endpoint()),
            iam: iam(&server.endpoint()),
            broker,
            target,
            _server: server,
            _folder: folder,
        }
    }

    async fn provisioned() -> Self {
        let lab = Self::start().await;
        lab.apply().await;
        lab
    }

    async fn apply(&self) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        let plan = Plan::of(&self.target);
        apply(&self.admin, &plan, |_, outcome| {
            outcomes.push(outcome.clone())
        })
        .await
        .unwrap();
        outcomes
    }

    async fn verify(&self) -> Report {
        let tokens = Tokens {
            broker: &self.broker,
            actor: ada(),
        };
        verify(&self.target, &tokens, Seen::Asked(&self.admin))
            .await
            .unwrap()
    }

    async fn put_role_policy(&self, name: &str, action: &str) {
        let document = json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": action, "Resource": "*"}]});
        let call = self.iam.put_role_policy().role_name("artifacts-vault");
        let call = call.policy_name(name).policy_document(document.to_string());
        call.send().await.unwrap();
    }
}

pub(crate) fn iam(endpoint: &str) -> aws_sdk_iam::Client {
    let keys = Credentials::new(
        testkit::ACCESS_KEY_ID,
        testkit::SECRET_ACCESS_KEY,
        None,
        None,
        "test",
    );
    let config = aws_sdk_iam::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(testkit::REGION))
        .endpoint_url(endpoint)
        .credentials_provider(keys);
    aws_sdk_iam::Client::from_conf(config.build())
}

/// What is there of each step, read with other clients than those that made it.
pub(crate) async fn read_back(
    s3: &aws_sdk_s3::Client,
    iam: &aws_sdk_iam::Client,
    step: &Step,
) -> Value {
    let plain = |text: &str| {
        let text = percent_encoding::percent_decode_str(text)
            .decode_utf8()
            .unwrap();
        serde_json::from_str::<Value>(&text).unwrap()
    };
    match step {
        Step::Bucket { bucket, .. } => {
            let there = s3.get_bucket_location().bucket(bucket).send().await;
            json!(there.is_ok())
        }
        Step::BucketPolicy { bucket, .. } => {
            let there = s3.get_bucket_policy().bucket(bucket).send().await.unwrap();
            plain(there.policy().unwrap())
        }
        Step::Lifecycle { bucket, .. } => {
            let there = s3.get_bucket_lifecycle_configuration().bucket(bucket);
            let there = there.send().await.unwrap();
            let rule = &there.rules()[0];
            json!({
                "ID": rule.id(), "Status": rule.status().as_str(),
                "Filter": {"Prefix": rule.filter().unwrap().prefix()},
                "Expiration": {"Days": rule.expiration().unwrap().days()},
            })
        }
        Step::Provider { arn, .. } => {
            let there = iam
                .get_open_id_connect_provider()
                .open_id_connect_provider_arn(arn);
            let there = there.send().await.unwrap();
            json!({"url": there.url(), "clients": there.client_id_list()})
        }
        Step::Role { role, .. } => {
            let there = iam.get_role().role_name(role).send().await.unwrap();
            plain(there.role().unwrap().assume_role_policy_document().unwrap())
        }
        Step::RolePolicy { role, policy, .. } => {
            let there = iam.get_role_policy().role_name(role).policy_name(policy);
            plain(there.send().await.unwrap().policy_document())
        }
        Step::IamJson { .. } => Value::Null,
    }
}

fn failures(report: &Report) -> Vec<String> {
    let shown = |check: &artifacts_secrets::provision::Check| {
        format!(
            "{}: {}",
            check.name,
            check.reason.clone().unwrap_or_default()
        )
    };
    report.failures().map(shown).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn apply_makes_exactly_the_plan_and_a_second_time_nothing() {
    let lab = Lab::start().await;
    let plan = Plan::of(&lab.target);
    let outcomes = lab.apply().await;
    assert_eq!(outcomes, vec![Outcome::Made; plan.steps.len()]);
    for step in &plan.steps {
        let there = read_back(&lab.s3, &lab.iam, step).await;
        let expected = match step {
            Step::Bucket { .. } => json!(true),
            Step::Provider { url, audience, .. } => {
                json!({"url": url.split_once("://").unwrap().1, "clients": [audience]})
            }
            other => other.document().unwrap().clone(),
        };
        assert_eq!(there, expected, "{}", step.title());
    }
    let role = lab
        .iam
        .list_role_policies()
        .role_name("artifacts-vault")
        .send()
        .await;
    assert_eq!(role.unwrap().policy_names().len(), 1, "and nothing else");
    assert_eq!(
        lab.apply().await,
        vec![Outcome::AlreadySo; plan.steps.len()]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_cut_off_or_changed_is_put_right() {
    let lab = Lab::start().await;
    let plan = Plan::of(&lab.target);
    // Cut off after each step, then run whole.
    for most in 0..plan.steps.len() {
        let part = Plan {
            steps: plan.steps[..most].to_vec(),
        };
        apply(&lab.admin, &part, |_, _| {}).await.unwrap();
    }
    let outcomes = lab.apply().await;
    let (last, before) = outcomes.split_last().unwrap();
    assert!(before.iter().all(|outcome| *outcome == Outcome::AlreadySo));
    assert_eq!(*last, Outcome::Made);
    lab.put_role_policy("artifacts-vault-own-prefix", "s3:*")
        .await;
    let outcomes = lab.apply().await;
    assert_eq!(outcomes.last(), Some(&Outcome::Changed));
    let report = lab.verify().await;
    assert!(report.passed(), "{:#?}", failures(&report));
    // A policy that somebody else wrote is not replaced.
    let foreign = json!({"Version": "2012-10-17", "Statement": [{"Sid": "Theirs", "Effect": "Allow",
        "Principal": "*", "Action": "s3:GetObject", "Resource": format!("arn:aws:s3:::{BUCKET}/*")}]});
    let call = lab.s3.put_bucket_policy().bucket(BUCKET);
    call.policy(foreign.to_string()).send().await.unwrap();
    let refused = apply(&lab.admin, &plan, |_, _| {}).await.unwrap_err();
    assert_eq!(refused.kind, Kind::Conflict);
    assert!(refused.message.contains("Theirs"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_provisioned_isolates_and_verify_says_so() {
    let lab = Lab::provisioned().await;
    let report = lab.verify().await;
    assert!(report.passed(), "{:#?}", failures(&report));
    assert!(report.checks.len() > 85, "{}", report.checks.len());
    // Nothing is left behind.
    let there = lab
        .s3
        .list_objects_v2()
        .bucket(BUCKET)
        .send()
        .await
        .unwrap();
    assert_eq!(there.contents().len(), 0);
    // Against another's object that is there, too.
    let ada = exchange(&lab.target, &lab.broker.token(&ada()))
        .await
        .unwrap();
    let key = format!("bots/{}/credentials/openrouter.enc", bob().as_str());
    lab.s3
        .put_object()
        .bucket(BUCKET)
        .key(&key)
        .send()
        .await
        .unwrap();
    let refused = ada
        .get_object()
        .bucket(BUCKET)
        .key(&key)
        .send()
        .await
        .unwrap_err();
    assert_eq!(refused.raw_response().unwrap().status().as_u16(), 403);
    let bob = exchange(&lab.target, &lab.broker.token(&bob()))
        .await
        .unwrap();
    bob.get_object()
        .bucket(BUCKET)
        .key(&key)
        .send()
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_tokens_are_refused_each_with_its_own_code() {
    let lab = Lab::provisioned().await;
    for (what, token) in lab.broker.bad_tokens(&ada()) {
        let (code, status) = match what {
            "expired" => ("ExpiredTokenException", 400),
            "untagged" => ("AccessDenied", 403),
            _ => ("InvalidIdentityToken", 400),
        };
        let said = exchange(&lab.target, &token).await.map(|_| "keys");
        assert_eq!(said, Err((code.to_owned(), status)), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broad_grant_beside_makes_verify_fail_and_is_named() {
    let lab = Lab::provisioned().await;
    lab.put_role_policy("planted", "s3:*").await;
    let found = failures(&lab.verify().await);
    let named = |found: &[String], text: &str| found.iter().any(|line| line.contains(text));
    assert!(named(&found, "inline policy planted"), "{found:#?}");
    assert!(
        named(&found, "GetBucketLocation is refused: it was allowed"),
        "{found:#?}"
    );
    // The bucket's policy still holds the prefixes apart; without it they are open, and seen.
    assert!(!named(&found, "GetObject of"), "{found:#?}");
    lab.s3
        .delete_bucket_policy()
        .bucket(BUCKET)
        .send()
        .await
        .unwrap();
    let found = failures(&lab.verify().await);
    assert!(named(&found, "the bucket has no policy"), "{found:#?}");
    assert!(named(&found, "PutObject to bots/"), "{found:#?}");
    let call = lab.iam.delete_role_policy().role_name("artifacts-vault");
    call.policy_name("planted").send().await.unwrap();
    lab.apply().await;
    assert_eq!(failures(&lab.verify().await), Vec::<String>::new());

    let policy = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]});
    let made = lab.iam.create_policy().policy_name("attached-beside");
    let made = made
        .policy_document(policy.to_string())
        .send()
        .await
        .unwrap();
    let arn = made.policy.unwrap().arn.unwrap();
    let call = lab.iam.attach_role_policy().role_name("artifacts-vault");
    call.policy_arn(&arn).send().await.unwrap();
    let found = failures(&lab.verify().await);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(
        found[0].contains(&format!("attached policy {arn}")),
        "{found:#?}"
    );
    let call = lab.iam.detach_role_policy().role_name("artifacts-vault");
    call.policy_arn(&arn).send().await.unwrap();

    let mut bucket = read_back(&lab.s3, &lab.iam, &Plan::of(&lab.target).steps[1]).await;
    let open = json!({"Sid": "Beside", "Effect": "Allow", "Principal": "*",
        "Action": "s3:GetObject", "Resource": format!("arn:aws:s3:::{BUCKET}/*")});
    bucket["Statement"].as_array_mut().unwrap().push(open);
    let call = lab.s3.put_bucket_policy().bucket(BUCKET);
    call.policy(bucket.to_string()).send().await.unwrap();
    let found = failures(&lab.verify().await);
    assert!(named(&found, "other statements: Beside"), "{found:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_or_fails_otherwise_is_no_pass() {
    let lab = Lab::provisioned().await;
    // The bucket is another, which is not there: every probe is refused, none as it must be.
    let target = Target {
        bucket: "no-such-bucket".parse().unwrap(),
        ..lab.target.clone()
    };
    let tokens = Tokens {
        broker: &lab.broker,
        actor: ada(),
    };
    let report = verify(&target, &tokens, Seen::Asked(&lab.admin))
        .await
        .unwrap();
    assert!(!report.passed());
    let away = Target {
        endpoint: Some("http://127.0.0.1:9".parse().unwrap()),
        ..lab.target.clone()
    };
    let admin = Admin::new(&away, &admin_keys());
    let report = verify(&away, &tokens, Seen::Asked(&admin)).await.unwrap();
    assert!(!report.passed());
    let passed = report
        .checks
        .iter()
        .filter(|check| check.reason.is_none())
        .count();
    assert_eq!(passed, 0, "{report:#?}");
    let unseen = verify(&lab.target, &tokens, Seen::Unseen)
        .await
        .unwrap_err();
    assert_eq!(unseen.kind, Kind::Usage);
}
