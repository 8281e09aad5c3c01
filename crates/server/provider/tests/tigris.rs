//! What is asked of Tigris, request by request, and what is made of its answers. There is no
//! Tigris to be run here: this is the contract as its documentation tells it.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use artifacts_provider::{
    Access, AdminKeys, Config, Creation, Error, Grant, Issuing, KeyHandle, Kind, Provider, issue,
    open,
};
use common::gate::{Fate, Gate, Seen};
use common::{bucket, grant};
use secrecy::ExposeSecret;

const USER: &str = "artifacts-00000000-0000-0000-0000-000000000007";
const ARN: &str =
    "arn:aws:iam::org_7:policy/artifacts-00000000-0000-0000-0000-000000000007-d1e10f5c70c7";

fn tigris(gate: &Gate) -> Arc<dyn Provider> {
    let admin = AdminKeys {
        access_key_id: "tid_admin".into(),
        secret_access_key: "tsec_admin".to_owned().into(),
        session_token: None,
    };
    let config = Config {
        endpoint: Some(gate.endpoint().parse().unwrap()),
        iam_endpoint: Some(gate.endpoint().parse().unwrap()),
        ..Config::new(Kind::Tigris, admin)
    };
    open(config).unwrap()
}

fn the_grant() -> Grant {
    grant(7, "cases", None, Access::ReadOnly)
}

/// The policy's name as the provider makes it.
fn policy_name(seen: &[Seen]) -> String {
    let form = seen.iter().map(Seen::form);
    let mut names = form.filter_map(|mut form| form.remove("PolicyName"));
    names.next().unwrap()
}

fn answer(action: &str, result: &str) -> Fate {
    Fate::Answer {
        status: 200,
        retry_after: None,
        body: format!(
            "<{action}Response xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><{action}Result>{result}</{action}Result><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></{action}Response>"
        ),
    }
}

fn done(action: &str) -> Fate {
    answer(action, "")
}

fn listed_keys(keys: &[(&str, &str)]) -> Fate {
    let members: String = keys
        .iter()
        .map(|(id, user)| {
            format!("<member><AccessKeyId>{id}</AccessKeyId><UserName>{user}</UserName><Status>Active</Status></member>")
        })
        .collect();
    let list =
        format!("<AccessKeyMetadata>{members}</AccessKeyMetadata><IsTruncated>false</IsTruncated>");
    answer("ListAccessKeys", &list)
}

fn made_policy() -> Fate {
    answer(
        "CreatePolicy",
        &format!("<Policy><Arn>{ARN}</Arn></Policy>"),
    )
}

fn made_key(id: &str) -> Fate {
    let key = format!(
        "<AccessKey><AccessKeyId>{id}</AccessKeyId><SecretAccessKey>tsec_new</SecretAccessKey><Status>Active</Status><UserName>{USER}</UserName></AccessKey>"
    );
    answer("CreateAccessKey", &key)
}

fn holders(ids: &[&str]) -> Fate {
    let members: String = ids
        .iter()
        .map(|id| format!("<member><UserName>{id}</UserName></member>"))
        .collect();
    let list = format!("<PolicyUsers>{members}</PolicyUsers><IsTruncated>false</IsTruncated>");
    answer("ListEntitiesForPolicy", &list)
}

fn form(fields: &[(&str, &str)]) -> BTreeMap<String, String> {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    fields.iter().map(own).collect()
}

fn forms(seen: &[Seen]) -> Vec<BTreeMap<String, String>> {
    for request in seen {
        assert_eq!(
            (request.method.as_str(), request.uri.as_str()),
            ("POST", "/")
        );
        let signed = &request.authorization;
        assert!(signed.contains("Credential=tid_admin/"), "{signed}");
        assert!(signed.contains("/auto/iam/aws4_request"), "{signed}");
        assert!(!request.body.contains("tsec_"), "no secret is ever sent");
    }
    seen.iter().map(Seen::form).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_made_without_a_user_and_then_gets_its_policy() {
    let script = vec![
        made_policy(),
        listed_keys(&[("tid_other", "somebody")]),
        made_key("tid_new"),
        done("AttachUserPolicy"),
    ];
    let gate = Gate::scripted(script).await;
    let (handle, key) = issue(&*tigris(&gate), &the_grant()).await.unwrap();
    assert_eq!(key.access_key_id, "tid_new");
    assert_eq!(key.secret_access_key.expose_secret(), "tsec_new");
    assert_eq!(handle.user, None);
    assert_eq!(handle.policy_arn.as_deref(), Some(ARN));
    let seen = gate.take_seen();
    let name = policy_name(&seen);
    assert!(name.starts_with(&format!("{USER}-")), "{name}");
    assert_eq!(
        forms(&seen),
        [
            form(&[
                ("Action", "CreatePolicy"),
                ("PolicyName", &name),
                ("PolicyDocument", &the_grant().scope.document()),
            ]),
            form(&[("Action", "ListAccessKeys")]),
            form(&[("Action", "CreateAccessKey"), ("UserName", USER)]),
            form(&[
                ("Action", "AttachUserPolicy"),
                ("UserName", "tid_new"),
                ("PolicyArn", ARN),
            ]),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_takes_rights_then_keys_then_the_policy() {
    let script = vec![
        listed_keys(&[
            ("tid_other", "somebody"),
            ("tid_new", USER),
            ("tid_lost", USER),
        ]),
        holders(&["tid_new"]),
        Fate::refusal(404, "NoSuchEntity"),
        done("DeleteAccessKey"),
        done("DetachUserPolicy"),
        Fate::refusal(404, "NoSuchEntity"),
        done("DeletePolicy"),
    ];
    let gate = Gate::scripted(script).await;
    let handle = KeyHandle {
        policy_arn: Some(ARN.into()),
        access_key_id: Some("tid_new".into()),
        ..KeyHandle::new(the_grant().credential)
    };
    tigris(&gate).revoke(&handle).await.unwrap();
    let detach = |id: &str| {
        form(&[
            ("Action", "DetachUserPolicy"),
            ("UserName", id),
            ("PolicyArn", ARN),
        ])
    };
    let delete = |id: &str| form(&[("Action", "DeleteAccessKey"), ("AccessKeyId", id)]);
    assert_eq!(
        forms(&gate.take_seen()),
        [
            form(&[("Action", "ListAccessKeys")]),
            form(&[("Action", "ListEntitiesForPolicy"), ("PolicyArn", ARN)]),
            detach("tid_lost"),
            delete("tid_lost"),
            detach("tid_new"),
            delete("tid_new"),
            form(&[("Action", "DeletePolicy"), ("PolicyArn", ARN)]),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_found_again_by_its_name_on_any_page() {
    let page = |arn: &str, end: &str| {
        answer(
            "ListPolicies",
            &format!("<Policies><member><Arn>{arn}</Arn></member></Policies>{end}"),
        )
    };
    let gate = Gate::scripted(vec![]).await;
    let provider = tigris(&gate);
    // The real name has the document's digest.
    let _ = issue(&*provider, &the_grant()).await;
    let name = policy_name(&gate.take_seen());
    let arn = format!("arn:aws:iam::org_7:policy/{name}");
    let mut script = vec![
        Fate::refusal(409, "EntityAlreadyExists"),
        page(
            "arn:aws:iam::org_7:policy/other",
            "<IsTruncated>true</IsTruncated><Marker>m</Marker>",
        ),
        page(&arn, "<IsTruncated>false</IsTruncated>"),
    ]
    .into_iter();
    gate.judge(move |_| script.next().unwrap());
    let grant = the_grant();
    let mut issuing = Issuing::begin(&*provider, &grant, None).unwrap();
    issuing.advance().await.unwrap();
    assert_eq!(issuing.handle().policy_arn.as_deref(), Some(arn.as_str()));
    let seen = forms(&gate.take_seen());
    assert_eq!(
        seen[1..],
        [
            form(&[("Action", "ListPolicies")]),
            form(&[("Action", "ListPolicies"), ("Marker", "m")]),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_for_a_part_of_a_bucket_is_refused_before_anything_is_asked() {
    let gate = Gate::scripted(vec![]).await;
    let part = grant(7, "cases", Some("part/"), Access::ReadOnly);
    let failed = issue(&*tigris(&gate), &part).await.err().unwrap();
    assert!(matches!(failed.error, Error::Unsupported { .. }));
    assert_eq!(gate.take_seen(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_ours_are_known_by_their_names() {
    let listed = listed_keys(&[("tid_other", "somebody"), ("tid_new", USER)]);
    let gate = Gate::scripted(vec![listed]).await;
    let page = tigris(&gate).list_keys(None).await.unwrap();
    assert_eq!(page.items.len(), 1);
    assert_eq!(page.items[0].handle.credential, the_grant().credential);
    assert_eq!(page.items[0].access_key_ids, ["tid_new"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_is_looked_for_and_made() {
    let bare = |status| Fate::Answer {
        status,
        retry_after: None,
        body: String::new(),
    };
    let gate = Gate::scripted(vec![bare(404), bare(200)]).await;
    let made = tigris(&gate).create_bucket(&bucket("cases")).await;
    assert_eq!(made, Ok(Creation::New));
    let seen = gate.take_seen();
    let lines: Vec<_> = seen
        .iter()
        .map(|seen| (seen.method.as_str(), seen.uri.as_str()))
        .collect();
    assert_eq!(lines, [("HEAD", "/cases/"), ("PUT", "/cases/")]);
    assert!(
        seen.iter()
            .all(|seen| seen.authorization.contains("/auto/s3/aws4_request"))
    );
    assert_eq!(seen[1].body, "", "no region is asked for");
}
