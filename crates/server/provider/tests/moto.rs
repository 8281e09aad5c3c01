//! The AWS adapter's calls against moto, which knows AWS's paths, pages, settings and codes.
//! It does not judge policies, so what keys open is tested elsewhere.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::sync::Arc;

use artifacts_provider::{
    Access, Config, Creation, Error, KeyHandle, Kind, Provider, Setting, issue, open,
};
use aws_sdk_s3::types::{
    BucketLifecycleConfiguration, ExpirationStatus, LifecycleExpiration, LifecycleRule,
    LifecycleRuleFilter,
};
use common::conformance::{all_issued, nothing_is_left};
use common::gate::Gate;
use common::{admin, bucket, grant};
use testkit::moto::Moto;
use testkit::tools::Tool;

fn aws(endpoint: &str, region: &str) -> Arc<dyn Provider> {
    let config = Config {
        endpoint: Some(endpoint.parse().unwrap()),
        iam_endpoint: Some(endpoint.parse().unwrap()),
        region: Some(region.into()),
        ..Config::new(Kind::Aws, admin())
    };
    open(config).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_come_and_go() {
    testkit::require!(Tool::MotoServer);
    let moto = Moto::start().unwrap();
    let gate = Gate::before(moto.address()).await;
    let provider = aws(&gate.endpoint(), "us-east-1");
    let grant = grant(1, "cases", Some("part/"), Access::ReadWrite);
    let mut handle = KeyHandle::new(grant.credential);
    for &step in provider.steps(&grant).unwrap() {
        for _ in 0..2 {
            provider.take_step(step, &grant, &mut handle).await.unwrap();
        }
    }
    let arn = handle.policy_arn.clone().unwrap();
    assert!(arn.contains(":policy/artifacts/artifacts-"), "{arn}");
    let seen = gate.take_seen();
    let actions: Vec<_> = seen.iter().map(|seen| seen.action()).collect();
    assert_eq!(
        actions,
        [
            "CreatePolicy",
            "CreatePolicy",
            "ListPolicies",
            "CreateUser",
            "CreateUser",
            "AttachUserPolicy",
            "AttachUserPolicy",
            "ListAccessKeys",
            "CreateAccessKey",
            "ListAccessKeys",
            "DeleteAccessKey",
            "CreateAccessKey",
        ]
    );
    let listing = seen[2].form();
    assert_eq!(listing["Scope"], "Local");
    assert_eq!(listing["PathPrefix"], "/artifacts/");
    assert_eq!(seen[3].form()["Path"], "/artifacts/");
    let signed = &seen[0].authorization;
    assert!(signed.contains("/us-east-1/iam/aws4_request"), "{signed}");

    let listed = all_issued(&*provider).await;
    assert_eq!(listed.len(), 1);
    assert_eq!(
        Some(&listed[0].access_key_ids[0]),
        handle.access_key_id.as_ref()
    );
    gate.take_seen();
    provider
        .revoke(&KeyHandle::new(grant.credential))
        .await
        .unwrap();
    let actions: Vec<_> = gate.take_seen().iter().map(|seen| seen.action()).collect();
    assert_eq!(
        actions,
        [
            "ListAccessKeys",
            "DeleteAccessKey",
            "ListAttachedUserPolicies",
            "DetachUserPolicy",
            "DeleteUser",
            "ListPolicies",
            "DeletePolicy",
        ]
    );
    provider.revoke(&handle).await.unwrap();
    nothing_is_left(&*provider).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_of_many_keys_come_in_pages() {
    testkit::require!(Tool::MotoServer);
    let moto = Moto::start().unwrap();
    let provider = aws(&moto.endpoint(), "us-east-1");
    for id in 0..120 {
        let grant = grant(id, "cases", None, Access::ReadOnly);
        issue(&*provider, &grant).await.unwrap();
    }
    assert_eq!(all_issued(&*provider).await.len(), 120);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_gets_all_settings_and_keeps_the_rules_it_had() {
    testkit::require!(Tool::MotoServer);
    let moto = Moto::start().unwrap();
    let provider = aws(&moto.endpoint(), "us-east-1");
    let name = bucket("moto-bucket");
    assert_eq!(provider.create_bucket(&name).await, Ok(Creation::New));
    assert_eq!(
        provider.create_bucket(&name).await,
        Ok(Creation::AlreadyOurs)
    );
    let client = testkit::s3::client(&moto.endpoint());
    let theirs = LifecycleRule::builder()
        .id("theirs")
        .status(ExpirationStatus::Enabled)
        .filter(LifecycleRuleFilter::builder().prefix("logs/").build())
        .expiration(LifecycleExpiration::builder().days(30).build())
        .build()
        .unwrap();
    let rules = BucketLifecycleConfiguration::builder().rules(theirs);
    client
        .put_bucket_lifecycle_configuration()
        .bucket(name.as_str())
        .lifecycle_configuration(rules.build().unwrap())
        .send()
        .await
        .unwrap();
    for _ in 0..2 {
        let settings = provider.settle_bucket(&name).await.unwrap();
        assert_eq!(settings.uploads_expire, Setting::Applied);
        assert_eq!(settings.public_access_blocked, Setting::Applied);
        assert_eq!(settings.cors_off, Setting::Applied);
    }
    let kept = client.get_bucket_lifecycle_configuration();
    let kept = kept.bucket(name.as_str()).send().await.unwrap();
    let ids: Vec<_> = kept.rules().iter().filter_map(|rule| rule.id()).collect();
    assert_eq!(ids, ["theirs", "artifacts-unfinished-uploads"]);
    provider.delete_bucket(&name).await.unwrap();
    let gone = provider.settle_bucket(&name).await;
    assert!(matches!(gone, Err(Error::NotFound { .. })), "{gone:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_is_made_in_the_region() {
    testkit::require!(Tool::MotoServer);
    let moto = Moto::start().unwrap();
    let gate = Gate::before(moto.address()).await;
    let provider = aws(&gate.endpoint(), "eu-central-1");
    let name = bucket("moto-region");
    assert_eq!(provider.create_bucket(&name).await, Ok(Creation::New));
    let seen = gate.take_seen();
    let made = seen.iter().find(|seen| seen.method == "PUT").unwrap();
    assert!(
        made.body.contains("<LocationConstraint>eu-central-1<"),
        "{}",
        made.body
    );
}
