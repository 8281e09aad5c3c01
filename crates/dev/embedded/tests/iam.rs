//! The IAM API, over HTTP: what a user's key may do, and what is refused with which code.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use aws_sdk_iam::Client as Iam;
use aws_sdk_iam::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_iam::types::StatusType;
use common::{BUCKET, Lab, plain_post, refusal};

const READ_ALL: &str = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::lab-bucket/*"}}"#;

fn iam_as(lab: &Lab, id: &str, secret: &str) -> Iam {
    let config = aws_sdk_iam::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(testkit::REGION))
        .endpoint_url(lab.server.endpoint())
        .credentials_provider(Credentials::new(id, secret, None, None, "test"))
        .build();
    Iam::from_conf(config)
}

fn iam(lab: &Lab) -> Iam {
    iam_as(lab, testkit::ACCESS_KEY_ID, testkit::SECRET_ACCESS_KEY)
}

/// A user with a policy and a key; answers the key's id and secret.
async fn a_reader(iam: &Iam, name: &str) -> (String, String) {
    iam.create_user().user_name(name).send().await.unwrap();
    let policy = iam.create_policy().policy_name(name);
    let policy = policy.policy_document(READ_ALL).send().await.unwrap();
    let arn = policy.policy.unwrap().arn.unwrap();
    let attach = iam.attach_user_policy().user_name(name).policy_arn(arn);
    attach.send().await.unwrap();
    let made = iam.create_access_key().user_name(name).send().await;
    let key = made.unwrap().access_key.unwrap();
    (key.access_key_id, key.secret_access_key)
}

fn named(code: &str, status: u16) -> (String, u16) {
    (code.into(), status)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_users_key_does_what_the_users_policies_say_from_call_to_call() {
    let lab = Lab::start().await;
    lab.put("k", b"x").await;
    let iam = iam(&lab);
    let (id, secret) = a_reader(&iam, "ann").await;
    let client = lab.client_of(&id, &secret);
    let get = || client.get_object().bucket(BUCKET).key("k").send();
    let denied = named("AccessDenied", 403);
    assert!(get().await.is_ok());
    let put = client.put_object().bucket(BUCKET).key("k").send();
    assert_eq!(refusal(put.await), denied);
    assert_eq!(refusal(client.list_buckets().send().await), denied);

    let attached = iam.list_attached_user_policies().user_name("ann").send();
    let attached = attached.await.unwrap().attached_policies.unwrap();
    let arn = attached[0].policy_arn().unwrap();
    let detach = iam.detach_user_policy().user_name("ann").policy_arn(arn);
    detach.send().await.unwrap();
    assert_eq!(refusal(get().await), denied, "at once");
    let inline = iam.put_user_policy().user_name("ann").policy_name("read");
    inline.policy_document(READ_ALL).send().await.unwrap();
    assert!(get().await.is_ok());

    let status = |status| {
        let update = iam.update_access_key().user_name("ann").access_key_id(&id);
        update.status(status).send()
    };
    let gone = named("InvalidAccessKeyId", 403);
    status(StatusType::Inactive).await.unwrap();
    assert_eq!(refusal(get().await), gone);
    status(StatusType::Active).await.unwrap();
    assert!(get().await.is_ok());
    let delete = iam.delete_access_key().user_name("ann").access_key_id(&id);
    delete.send().await.unwrap();
    assert_eq!(refusal(get().await), gone);
}

#[tokio::test(flavor = "multi_thread")]
async fn users_and_policies_outlive_the_server() {
    let lab = Lab::start().await;
    lab.put("k", b"x").await;
    let (id, secret) = a_reader(&iam(&lab), "ann").await;
    let lab = lab.restart().await;
    let client = lab.client_of(&id, &secret);
    let got = client.get_object().bucket(BUCKET).key("k").send().await;
    assert!(got.is_ok());
    let user = iam(&lab).get_user().user_name("ann").send().await.unwrap();
    let user = user.user.unwrap();
    assert_eq!(user.arn(), "arn:aws:iam::000000000000:user/ann");
    assert!(user.user_id().starts_with("AIDA"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_use_missing_or_taken_has_iams_codes() {
    let lab = Lab::start().await;
    let iam = iam(&lab);
    let (id, _) = a_reader(&iam, "ann").await;
    let taken = iam.create_user().user_name("ann").send().await;
    assert_eq!(refusal(taken), named("EntityAlreadyExists", 409));
    let policy = |document: &str| {
        let policy = iam.create_policy().policy_name("ann");
        policy.policy_document(document).send()
    };
    assert_eq!(
        refusal(policy(READ_ALL).await),
        named("EntityAlreadyExists", 409)
    );
    let malformed = named("MalformedPolicyDocument", 400);
    assert_eq!(refusal(policy("{").await), malformed);
    let foreign = r#"{"Statement":{"Effect":"Permit","Action":"*","Resource":"*"}}"#;
    assert_eq!(refusal(policy(foreign).await), malformed);

    let conflict = named("DeleteConflict", 409);
    assert_eq!(
        refusal(iam.delete_user().user_name("ann").send().await),
        conflict
    );
    let arn = "arn:aws:iam::000000000000:policy/ann";
    assert_eq!(
        refusal(iam.delete_policy().policy_arn(arn).send().await),
        conflict
    );

    let second = || iam.create_access_key().user_name("ann").send();
    second().await.unwrap();
    assert_eq!(refusal(second().await), named("LimitExceeded", 409));

    let missing = named("NoSuchEntity", 404);
    let bob = iam.get_user().user_name("bob").send().await;
    assert_eq!(refusal(bob), missing);
    let bobs = iam.delete_access_key().user_name("bob").access_key_id(&id);
    assert_eq!(refusal(bobs.send().await), missing);
    let other = iam
        .get_policy()
        .policy_arn("arn:aws:iam::111111111111:policy/ann");
    assert_eq!(refusal(other.send().await), missing);
    let other = iam.detach_user_policy().user_name("ann").policy_arn(arn);
    other.clone().send().await.unwrap();
    assert_eq!(
        refusal(other.send().await),
        missing,
        "not attached any more"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_in_pages_and_by_path() {
    let lab = Lab::start().await;
    let iam = iam(&lab);
    for n in 0..5 {
        let path = if n == 4 { "/other/" } else { "/ours/" };
        let user = iam.create_user().user_name(format!("user-{n}")).path(path);
        user.send().await.unwrap();
    }
    let mut names = Vec::new();
    let mut marker = None;
    loop {
        let page = iam.list_users().path_prefix("/ours/").max_items(3);
        let page = page.set_marker(marker).send().await.unwrap();
        assert!(page.users().len() <= 3);
        names.extend(page.users().iter().map(|user| user.user_name().to_owned()));
        marker = page.marker().map(str::to_owned);
        assert_eq!(page.is_truncated(), marker.is_some());
        if marker.is_none() {
            break;
        }
    }
    assert_eq!(names, ["user-0", "user-1", "user-2", "user-3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_keys_that_may_call_iam_do() {
    let lab = Lab::start().await;
    let root = iam(&lab);
    let (id, secret) = a_reader(&root, "ann").await;
    let denied = named("AccessDenied", 403);
    let ann = iam_as(&lab, &id, &secret);
    assert_eq!(refusal(ann.list_users().send().await), denied);
    assert_eq!(
        refusal(ann.get_user().user_name("ann").send().await),
        denied
    );
    let grown = ann.put_user_policy().user_name("ann").policy_name("more");
    let all = r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#;
    assert_eq!(refusal(grown.policy_document(all).send().await), denied);
    assert_eq!(refusal(ann.create_access_key().send().await), denied);

    let (_, everything_of_s3) =
        lab.client_with(r#"{"Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}"#);
    let key = lab.server.keys().show(&everything_of_s3).unwrap();
    let s3_only = iam_as(
        &lab,
        &key.id,
        secrecy::ExposeSecret::expose_secret(&key.secret),
    );
    assert_eq!(refusal(s3_only.list_users().send().await), denied);

    let admin = root.put_user_policy().user_name("ann").policy_name("more");
    admin.policy_document(all).send().await.unwrap();
    assert!(ann.list_users().send().await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_signed_by_a_key_of_ours_is_refused() {
    let lab = Lab::start().await;
    let wrong = iam_as(&lab, testkit::ACCESS_KEY_ID, "wrong");
    let refused = wrong.list_users().send().await;
    assert_eq!(refusal(refused), named("SignatureDoesNotMatch", 403));
    let nobody = iam_as(&lab, "AKIANOBODY", "wrong");
    let refused = nobody.list_users().send().await;
    assert_eq!(refusal(refused), named("InvalidClientTokenId", 403));
    let scope = "Credential=testkit-admin/20200102/us-east-1/iam/aws4_request";
    let old = format!(
        "Authorization: AWS4-HMAC-SHA256 {scope}, SignedHeaders=host;x-amz-date, Signature=00\r\n\
         X-Amz-Date: 20200102T030405Z\r\n"
    );
    let form = "Action=ListUsers&Version=2010-05-08";
    let answer = plain_post(&lab.server.endpoint(), &old, form).await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    assert!(
        answer.contains("<Code>SignatureDoesNotMatch</Code>"),
        "{answer}"
    );
    assert!(answer.contains("Signature expired"), "{answer}");
    let unsigned = "Content-Type: application/x-www-form-urlencoded\r\n";
    let answer = plain_post(&lab.server.endpoint(), unsigned, form).await;
    // What nobody signed goes to STS, some of whose calls need no signature.
    let sts = "this store's STS does not have ListUsers";
    assert!(answer.starts_with("HTTP/1.1 501"), "{answer}");
    assert!(answer.contains(sts), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_this_store_cannot_do_is_refused_and_not_skipped() {
    let lab = Lab::start().await;
    let iam = iam(&lab);
    let tag = aws_sdk_iam::types::Tag::builder().key("k").value("v");
    let tagged = iam
        .create_user()
        .user_name("ann")
        .tags(tag.build().unwrap());
    assert_eq!(refusal(tagged.send().await), named("ValidationError", 400));
    let absent = iam.get_user().user_name("ann").send().await;
    assert_eq!(refusal(absent), named("NoSuchEntity", 404));
    let groups = iam.list_groups().send().await;
    assert_eq!(refusal(groups), named("InvalidAction", 400));
}
