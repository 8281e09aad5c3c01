//! On SeaweedFS, a store that we have not made: the same probes.

use artifacts_secrets::provision::{
    IamJson, Plan, Report, Seen, Step, StoreKind, Target, Verdict, verify,
};
use base64_simd::STANDARD;
use serde_json::{Value, json};
use testkit::seaweedfs::{Options, SeaweedFs};
use testkit::tools::Tool;

use super::tokens::{BUCKET, Broker, Tokens, ada, bob, exchange, target};

struct Lab {
    broker: Broker,
    target: Target,
    s3: aws_sdk_s3::Client,
    /// What the store was started with.
    file: String,
    _server: SeaweedFs,
}

impl Lab {
    /// A store whose `iam.json` has the parts that the plan says, changed like this.
    fn start(change: impl FnOnce(&mut Value)) -> Self {
        let broker = Broker::start();
        // The file does not depend on where the store will be.
        let planned = Plan::of(&target(
            StoreKind::SeaweedFs,
            "http://127.0.0.1:1",
            &broker.issuer,
        ));
        let is_file = |step: &&Step| matches!(step, Step::IamJson { .. });
        let step = planned.steps.iter().find(is_file).unwrap();
        let mut iam = step.document().unwrap().clone();
        iam["sts"] = json!({
            "tokenDuration": "1h", "maxSessionLength": "12h", "issuer": "seaweedfs-sts",
            "signingKey": STANDARD.encode_to_string([7; 32]),
        });
        change(&mut iam);
        let file = iam.to_string();
        let options = Options {
            iam: Some(iam),
            ..Options::default()
        };
        let server = SeaweedFs::start_with(options).unwrap();
        server.create_bucket(BUCKET).unwrap();
        Self {
            target: target(StoreKind::SeaweedFs, &server.endpoint(), &broker.issuer),
            s3: testkit::s3::client(&server.endpoint()),
            broker,
            file,
            _server: server,
        }
    }

    async fn verify(&self) -> Report {
        let file = IamJson::parse(self.file.as_bytes()).unwrap();
        self.verify_by(Seen::Read(&file)).await
    }

    async fn verify_by(&self, seen: Seen<'_>) -> Report {
        let tokens = Tokens {
            broker: &self.broker,
            actor: ada(),
        };
        verify(&self.target, &tokens, seen).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_planned_file_isolates_actors() {
    let _weed = testkit::require!(Tool::Weed);
    let lab = Lab::start(|_| {});
    let report = lab.verify().await;
    let failed: Vec<_> = report.failures().collect();
    assert!(report.passed(), "{failed:#?}");
    assert!(report.checks.len() > 80, "{}", report.checks.len());
    let skipped = |check: &&artifacts_secrets::provision::Check| check.verdict == Verdict::Skipped;
    assert_eq!(report.checks.iter().filter(skipped).count(), 1);
    assert_eq!(report.unchecked().count(), 0);
    let key = format!("bots/{}/credentials/openrouter.enc", bob().as_str());
    let bob = exchange(&lab.target, &lab.broker.token(&bob()))
        .await
        .unwrap();
    bob.put_object()
        .bucket(BUCKET)
        .key(&key)
        .send()
        .await
        .unwrap();
    let ada = exchange(&lab.target, &lab.broker.token(&ada()))
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
    bob.get_object()
        .bucket(BUCKET)
        .key(&key)
        .send()
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_tokens_are_refused_or_open_nothing() {
    let _weed = testkit::require!(Tool::Weed);
    let lab = Lab::start(|_| {});
    let key = format!("bots/{}/credentials/openrouter.enc", bob().as_str());
    lab.s3
        .put_object()
        .bucket(BUCKET)
        .key(&key)
        .send()
        .await
        .unwrap();
    for (what, token) in lab.broker.bad_tokens(&ada()) {
        let expected = match what {
            "forged" => Some(("InvalidParameterValue", 400)),
            "expired" => Some(("ExpiredTokenException", 400)),
            "audience" | "issuer" => Some(("AccessDenied", 403)),
            // Its STS does not look at tags: the policy does, at every request.
            _ => None,
        };
        let said = exchange(&lab.target, &token).await;
        let Some((code, status)) = expected else {
            opens_nothing(what, &said.unwrap(), &key).await;
            continue;
        };
        let said = said.map(|_| "keys");
        assert_eq!(said, Err((code.to_owned(), status)), "{what}");
    }
}

async fn opens_nothing(what: &str, client: &aws_sdk_s3::Client, key: &str) {
    use aws_sdk_s3::error::ProvideErrorMetadata;
    let own = format!("bots/{}/credentials/x", ada().as_str());
    for key in [key, &own, "bots/*/credentials/x", "bots//credentials/x"] {
        let put = client.put_object().bucket(BUCKET).key(key).send().await;
        assert_eq!(
            put.unwrap_err().code(),
            Some("AccessDenied"),
            "{what}: put {key}"
        );
        let get = client.get_object().bucket(BUCKET).key(key).send().await;
        assert_eq!(
            get.unwrap_err().code(),
            Some("AccessDenied"),
            "{what}: get {key}"
        );
    }
    let list = client.list_objects_v2().bucket(BUCKET);
    let list = list.prefix(format!("bots/{}/credentials/", bob().as_str()));
    let refused = list.send().await.unwrap_err();
    assert_eq!(refused.code(), Some("AccessDenied"), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broad_grant_beside_makes_verify_fail() {
    let _weed = testkit::require!(Tool::Weed);
    let lab = Lab::start(|iam: &mut Value| {
        let broad = json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": [format!("arn:aws:s3:::{BUCKET}/*")]}]});
        let policies = iam["policies"].as_array_mut().unwrap();
        policies.push(json!({"name": "beside", "document": broad}));
        let attached = iam["roles"][0]["attachedPolicies"].as_array_mut().unwrap();
        attached.push(json!("beside"));
    });
    let report = lab.verify().await;
    let failed: Vec<_> = report.failures().map(|check| check.name.clone()).collect();
    assert!(!failed.is_empty());
    let reads = |name: &String| name.starts_with("GetObject of");
    assert!(failed.iter().any(reads), "{failed:#?}");
    assert!(
        !failed.iter().any(|name| name.starts_with("PutObject")),
        "{failed:#?}"
    );
}

/// What was not looked at is no pass, and says how it is looked at.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_file_it_is_not_shown() {
    let _weed = testkit::require!(Tool::Weed);
    let lab = Lab::start(|_| {});
    let report = lab.verify_by(Seen::Unseen).await;
    assert_eq!(report.failures().count(), 0);
    assert!(!report.passed());
    let left: Vec<_> = report.unchecked().collect();
    assert_eq!(left.len(), 1, "{left:#?}");
    assert!(left[0].reason.as_ref().unwrap().contains("--iam-json"));
}

/// A second role opens everything to the same tokens, and no call of the first can show it.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_role_beside_makes_verify_fail_and_is_named() {
    let _weed = testkit::require!(Tool::Weed);
    let lab = Lab::start(|iam: &mut Value| {
        let all = json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": ["s3:*"], "Resource": ["*"]}]});
        let policies = iam["policies"].as_array_mut().unwrap();
        policies.push(json!({"name": "everything", "document": all}));
        let mut role = iam["roles"][0].clone();
        role["roleName"] = json!("planted");
        role["roleArn"] = json!("arn:aws:iam::role/planted");
        role["attachedPolicies"] = json!(["everything"]);
        iam["roles"].as_array_mut().unwrap().push(role);
    });
    // It is real: a token of one actor reads another's object by it.
    let key = format!("bots/{}/credentials/openrouter.enc", bob().as_str());
    let put = lab.s3.put_object().bucket(BUCKET).key(&key);
    put.send().await.unwrap();
    let planted = Target {
        role: "arn:aws:iam::role/planted".parse().unwrap(),
        ..lab.target.clone()
    };
    let ada = exchange(&planted, &lab.broker.token(&ada())).await.unwrap();
    ada.get_object()
        .bucket(BUCKET)
        .key(&key)
        .send()
        .await
        .unwrap();
    let report = lab.verify().await;
    let failed: Vec<String> = report
        .failures()
        .map(|check| format!("{}: {}", check.name, check.reason.clone().unwrap()))
        .collect();
    assert_eq!(
        failed,
        [
            "iam.json has the plan's role artifacts-vault and no other: it has others beside: planted",
            "iam.json has the plan's policy artifacts-vault-own-prefix and no other: \
             it has others beside: everything",
        ]
    );
}
