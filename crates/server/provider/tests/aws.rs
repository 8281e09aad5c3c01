//! What is asked of AWS, request by request. Behind the gate stands the embedded store, which
//! has AWS's paths and codes of IAM, or a script with AWS's answers. (`moto.rs` asks the same
//! of a server that others wrote.)

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use artifacts_provider::{
    Access, Config, Creation, Error, Grant, KeyHandle, Kind, Provider, Setting, issue, open,
};
use common::conformance::nothing_is_left;
use common::gate::{Fate, Gate, Seen};
use common::{Embedded, admin, bucket, grant};

const USER: &str = "artifacts-00000000-0000-0000-0000-000000000007";
const ACCOUNT: &str = "000000000000";

fn provider(kind: Kind, gate: &Gate, region: &str) -> Arc<dyn Provider> {
    let config = Config {
        endpoint: Some(gate.endpoint().parse().unwrap()),
        iam_endpoint: Some(gate.endpoint().parse().unwrap()),
        region: Some(region.into()),
        ..Config::new(kind, admin())
    };
    open(config).unwrap()
}

fn the_grant() -> Grant {
    grant(7, "cases", Some("part/"), Access::ReadWrite)
}

fn form(fields: &[(&str, &str)]) -> BTreeMap<String, String> {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    fields.iter().map(own).collect()
}

/// The forms, once it is sure that each was posted to IAM of the one region it has, and that
/// none has a secret in it.
fn forms(seen: &[Seen]) -> Vec<BTreeMap<String, String>> {
    for request in seen {
        let line = (request.method.as_str(), request.uri.as_str());
        assert_eq!(line, ("POST", "/"));
        let signed = &request.authorization;
        assert!(signed.contains("/us-east-1/iam/aws4_request"), "{signed}");
        assert!(!request.body.contains(testkit::SECRET_ACCESS_KEY));
    }
    seen.iter().map(Seen::form).collect()
}

/// `GET /cases?cors`, whichever way the client writes the path.
fn lines(seen: &[Seen]) -> Vec<String> {
    let line = |seen: &Seen| format!("{} {}", seen.method, seen.uri.replace("/?", "?"));
    seen.iter()
        .map(|seen| line(seen).trim_end_matches('/').to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_a_policy_a_user_an_attachment_and_a_key_and_goes_the_other_way() {
    let store = Embedded::start().await;
    let gate = Gate::before(store.server.address()).await;
    let provider = provider(Kind::Aws, &gate, "us-east-1");
    let grant = the_grant();
    let mut handle = KeyHandle::new(grant.credential);
    let mut ids = Vec::new();
    for &step in provider.steps(&grant).unwrap() {
        for _ in 0..2 {
            let key = provider.take_step(step, &grant, &mut handle).await.unwrap();
            ids.extend(key.map(|key| key.access_key_id));
        }
    }
    let seen = forms(&gate.take_seen());
    let name = seen[0]["PolicyName"].clone();
    assert!(name.starts_with(&format!("{USER}-")), "{name}");
    let arn = format!("arn:aws:iam::{ACCOUNT}:policy/artifacts/{name}");
    assert_eq!(handle.policy_arn.as_ref(), Some(&arn));
    assert_eq!(handle.user.as_deref(), Some(USER));
    let policy = form(&[
        ("Action", "CreatePolicy"),
        ("PolicyName", &name),
        ("Path", "/artifacts/"),
        ("PolicyDocument", &grant.scope.document()),
    ]);
    let policies = form(&[
        ("Action", "ListPolicies"),
        ("Scope", "Local"),
        ("PathPrefix", "/artifacts/"),
    ]);
    let of_user = |action: &str| form(&[("Action", action), ("UserName", USER)]);
    let user = form(&[
        ("Action", "CreateUser"),
        ("UserName", USER),
        ("Path", "/artifacts/"),
    ]);
    let with_policy =
        |action: &str| form(&[("Action", action), ("UserName", USER), ("PolicyArn", &arn)]);
    let delete_key = |id: &str| {
        form(&[
            ("Action", "DeleteAccessKey"),
            ("UserName", USER),
            ("AccessKeyId", id),
        ])
    };
    let attach = with_policy("AttachUserPolicy");
    let (keys, mint) = (of_user("ListAccessKeys"), of_user("CreateAccessKey"));
    assert_eq!(
        seen,
        [
            policy.clone(),
            policy,
            policies.clone(),
            user.clone(),
            user,
            attach.clone(),
            attach,
            keys.clone(),
            mint.clone(),
            keys.clone(),
            delete_key(&ids[0]),
            mint,
        ]
    );

    // With nothing but the id: what there is, is found.
    provider
        .revoke(&KeyHandle::new(grant.credential))
        .await
        .unwrap();
    let delete_policy = form(&[("Action", "DeletePolicy"), ("PolicyArn", &arn)]);
    let attached = of_user("ListAttachedUserPolicies");
    assert_eq!(
        forms(&gate.take_seen()),
        [
            keys.clone(),
            delete_key(&ids[1]),
            attached.clone(),
            with_policy("DetachUserPolicy"),
            of_user("DeleteUser"),
            policies,
            delete_policy.clone(),
        ]
    );
    // With all that is known: no list of the account's policies is asked for.
    provider.revoke(&handle).await.unwrap();
    assert_eq!(
        forms(&gate.take_seen()),
        [keys, attached, of_user("DeleteUser"), delete_policy]
    );
    nothing_is_left(&*provider).await;
}

/// "IAM is eventually consistent": AWS may not know for a moment what it just made.
#[tokio::test(flavor = "multi_thread")]
async fn what_aws_does_not_know_yet_is_asked_again_and_elsewhere_it_is_missing() {
    let store = Embedded::start().await;
    let gate = Gate::before(store.server.address()).await;
    let forgetful = |times: usize| {
        let mut left = BTreeMap::from([("AttachUserPolicy", times), ("CreateAccessKey", times)]);
        move |seen: &Seen| match left.get_mut(seen.action().as_str()) {
            Some(left) if *left > 0 => {
                *left -= 1;
                Fate::refusal(404, "NoSuchEntity")
            }
            _ => Fate::Pass,
        }
    };
    gate.judge(forgetful(2));
    let aws = provider(Kind::Aws, &gate, "us-east-1");
    let (handle, _) = issue(&*aws, &the_grant()).await.unwrap();
    let keys = store.server.keys().list().unwrap();
    assert_eq!(keys.len(), 2, "the root key and this one");
    aws.revoke(&handle).await.unwrap();

    gate.judge(forgetful(1));
    let embedded = provider(Kind::Embedded, &gate, "us-east-1");
    let failed = issue(&*embedded, &the_grant()).await.err().unwrap();
    assert_eq!(failed.error, Error::NotFound { what: USER.into() });
    assert!(failed.left_over.is_none(), "{failed:?}");
    nothing_is_left(&*embedded).await;
}

fn answer(status: u16, body: &str) -> Fate {
    Fate::Answer {
        status,
        retry_after: None,
        body: body.to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_is_made_in_its_region_and_settled() {
    let kept = "<LifecycleConfiguration><Rule><ID>theirs</ID><Filter><Prefix>logs/</Prefix></Filter><Status>Enabled</Status><Expiration><Days>30</Days></Expiration></Rule></LifecycleConfiguration>";
    let rules = kept.replace(
        "</LifecycleConfiguration>",
        "<Rule><ID>artifacts-unfinished-uploads</ID><Filter><Prefix></Prefix></Filter><Status>Enabled</Status><AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation></AbortIncompleteMultipartUpload></Rule></LifecycleConfiguration>",
    );
    let blocked = "<PublicAccessBlockConfiguration><BlockPublicAcls>true</BlockPublicAcls><IgnorePublicAcls>true</IgnorePublicAcls><BlockPublicPolicy>true</BlockPublicPolicy><RestrictPublicBuckets>true</RestrictPublicBuckets></PublicAccessBlockConfiguration>";
    let cors = "<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>*</AllowedOrigin></CORSRule></CORSConfiguration>";
    let script = vec![
        answer(404, ""),
        answer(200, ""),
        answer(200, kept),
        answer(200, ""),
        answer(200, &rules),
        answer(200, ""),
        answer(200, blocked),
        answer(200, cors),
        answer(204, ""),
    ];
    let gate = Gate::scripted(script).await;
    let provider = provider(Kind::Aws, &gate, "eu-central-1");
    let name = bucket("cases");
    assert_eq!(provider.create_bucket(&name).await, Ok(Creation::New));
    let settings = provider.settle_bucket(&name).await.unwrap();
    let all = [
        settings.uploads_expire,
        settings.public_access_blocked,
        settings.cors_off,
    ];
    assert_eq!(all, [Setting::Applied; 3]);
    let seen = gate.take_seen();
    assert_eq!(
        lines(&seen),
        [
            "HEAD /cases",
            "PUT /cases",
            "GET /cases?lifecycle",
            "PUT /cases?lifecycle",
            "GET /cases?lifecycle",
            "PUT /cases?publicAccessBlock",
            "GET /cases?publicAccessBlock",
            "GET /cases?cors",
            "DELETE /cases?cors",
        ]
    );
    let signed = |seen: &Seen| seen.authorization.contains("/eu-central-1/s3/aws4_request");
    assert!(seen.iter().all(signed), "{seen:#?}");
    let place = "<LocationConstraint>eu-central-1</LocationConstraint>";
    assert!(seen[1].body.contains(place), "{}", seen[1].body);
    let put = &seen[3].body;
    for part in [
        "<ID>theirs</ID>",
        "<Days>30</Days>",
        "<ID>artifacts-unfinished-uploads</ID>",
        "<DaysAfterInitiation>7</DaysAfterInitiation>",
    ] {
        assert!(put.contains(part), "{part} is not in {put}");
    }
    for part in [
        "BlockPublicAcls",
        "IgnorePublicAcls",
        "BlockPublicPolicy",
        "RestrictPublicBuckets",
    ] {
        let part = format!("<{part}>true</{part}>");
        assert!(seen[5].body.contains(&part), "{part} is not there");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_says_yes_and_keeps_nothing_is_not_believed() {
    let none = "<LifecycleConfiguration></LifecycleConfiguration>";
    let half = "<PublicAccessBlockConfiguration><BlockPublicAcls>true</BlockPublicAcls></PublicAccessBlockConfiguration>";
    let script = vec![
        Fate::s3_refusal(404, "NoSuchLifecycleConfiguration"),
        answer(200, ""),
        answer(200, none),
        answer(200, ""),
        answer(200, half),
        Fate::s3_refusal(404, "NoSuchCORSConfiguration"),
    ];
    let gate = Gate::scripted(script).await;
    let provider = provider(Kind::Aws, &gate, "us-east-1");
    let settings = provider.settle_bucket(&bucket("cases")).await.unwrap();
    assert_eq!(settings.uploads_expire, Setting::Unsupported);
    assert_eq!(settings.public_access_blocked, Setting::Unsupported);
    assert_eq!(settings.cors_off, Setting::Applied);
}

/// In us-east-1 Amazon answers 200 to the owner who makes a bucket again, and 403 to a HEAD of
/// somebody else's.
#[tokio::test(flavor = "multi_thread")]
async fn whose_a_bucket_is_says_the_list_of_ours() {
    let listed = |name: &str| {
        let list = format!(
            "<ListAllMyBucketsResult><Buckets><Bucket><Name>{name}</Name></Bucket></Buckets></ListAllMyBucketsResult>"
        );
        answer(200, &list)
    };
    let script = vec![
        answer(200, ""),
        listed("cases"),
        answer(403, ""),
        listed("cases-2"),
        answer(404, ""),
        Fate::s3_refusal(409, "BucketAlreadyExists"),
        listed("cases-2"),
    ];
    let gate = Gate::scripted(script).await;
    let provider = provider(Kind::Aws, &gate, "us-east-1");
    let name = bucket("cases");
    let create = || provider.create_bucket(&name);
    assert_eq!(create().await, Ok(Creation::AlreadyOurs));
    let theirs = Err(Error::AlreadyExists {
        what: "the bucket cases".into(),
    });
    assert_eq!(create().await, theirs);
    assert_eq!(create().await, theirs);
    let seen = gate.take_seen();
    let list = "GET ?x-id=ListBuckets&max-buckets=1000&prefix=cases";
    assert_eq!(
        lines(&seen),
        [
            "HEAD /cases",
            list,
            "HEAD /cases",
            list,
            "HEAD /cases",
            "PUT /cases",
            list
        ]
    );
    assert_eq!(seen[5].body, "", "us-east-1 is not named");
}
