//! Two tenants, every verb, real stores: each tries everything in the other's place, with
//! nothing of ours between the test and the store. Only the exact refusal counts.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use artifacts_provider::{Access, Grant, KeyHandle, Kind, NewKey, Provider, issue};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::Credentials;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::types::{
    BucketCannedAcl, CompletedMultipartUpload, Delete, ObjectCannedAcl, ObjectIdentifier,
};
use common::{Embedded, bucket, grant, provider, seaweedfs};
use secrecy::ExposeSecret;
use testkit::tools::Tool;

struct Tenant {
    bucket: &'static str,
    s3: Client,
    iam: aws_sdk_iam::Client,
    handle: KeyHandle,
}

/// What a request came to: `None` when it was done.
type Refused = Option<(u16, String)>;

#[tokio::test(flavor = "multi_thread")]
async fn embedded() {
    let store = Embedded::start().await;
    attack(&*store.provider(), &store.server.endpoint()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn seaweedfs_itself() {
    testkit::require!(Tool::Weed);
    let store = seaweedfs();
    let endpoint = store.endpoint();
    attack(&*provider(Kind::Seaweedfs, &endpoint), &endpoint).await;
}

async fn attack(provider: &dyn Provider, endpoint: &str) {
    let admin = testkit::s3::client(endpoint);
    for name in ["tenant-ann", "tenant-bob"] {
        provider.create_bucket(&bucket(name)).await.unwrap();
        for key in ["file", "part/file", "other/file"] {
            let put = admin.put_object().bucket(name).key(key);
            put.body(name.as_bytes().to_vec().into())
                .send()
                .await
                .unwrap();
        }
    }
    let rw = Access::ReadWrite;
    let ann = tenant(provider, endpoint, grant(1, "tenant-ann", None, rw)).await;
    let bob = tenant(provider, endpoint, grant(2, "tenant-bob", None, rw)).await;
    for (attacker, victim) in [(&ann, &bob), (&bob, &ann)] {
        let uploads = open_upload(&admin, victim.bucket).await;
        let seen = everything(attacker, victim.bucket, &uploads).await;
        all_refused(&seen, attacker.bucket);
        untouched(&admin, victim.bucket).await;
        works(attacker).await;
    }
    // With the object of the other as a source, into one's own.
    for (attacker, victim) in [(&ann, &bob), (&bob, &ann)] {
        let seen = copies(attacker, victim.bucket).await;
        all_refused(&seen, attacker.bucket);
    }
    let ro = grant(3, "tenant-ann", None, Access::ReadOnly);
    let reader = tenant(provider, endpoint, ro).await;
    let uploads = open_upload(&admin, reader.bucket).await;
    let mut seen = everything(&reader, reader.bucket, &uploads).await;
    for may in [
        "get",
        "head",
        "list",
        "list a prefix",
        "list old",
        "head bucket",
        "get a part of",
    ] {
        assert_eq!(seen.remove(may).unwrap(), None, "a reader may {may}");
    }
    all_refused(&seen, "a reader in its own bucket");
    untouched(&admin, reader.bucket).await;

    let part = grant(4, "tenant-ann", Some("part/"), rw);
    let partial = tenant(provider, endpoint, part).await;
    let mut seen = everything(&partial, "tenant-ann", &uploads).await;
    // The one place in it that is its own.
    assert_eq!(seen.remove("list a prefix").unwrap(), None);
    all_refused(&seen, "a key for a part, outside of it");
    untouched(&admin, "tenant-ann").await;

    for (tenant, name) in [
        (&ann, "ann"),
        (&reader, "the reader"),
        (&partial, "the part"),
    ] {
        provider.revoke(&tenant.handle).await.unwrap();
        dies(tenant, name).await;
    }
    works(&bob).await;
}

async fn tenant(provider: &dyn Provider, endpoint: &str, grant: Grant) -> Tenant {
    let (handle, key) = issue(provider, &grant).await.unwrap();
    let name = match grant.scope.bucket.as_str() {
        "tenant-ann" => "tenant-ann",
        _ => "tenant-bob",
    };
    let tenant = Tenant {
        bucket: name,
        s3: s3(endpoint, &key),
        iam: iam(endpoint, &key),
        handle,
    };
    let prefix = grant.scope.prefix.map(|prefix| prefix.to_string());
    let list = || {
        tenant
            .s3
            .list_objects_v2()
            .bucket(name)
            .set_prefix(prefix.clone())
    };
    let begun = Instant::now();
    while list().send().await.is_err() && begun.elapsed() < Duration::from_secs(5) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    list().send().await.unwrap();
    tenant
}

fn credentials(key: &NewKey) -> Credentials {
    let secret = key.secret_access_key.expose_secret();
    Credentials::new(&key.access_key_id, secret, None, None, "attack")
}

fn s3(endpoint: &str, key: &NewKey) -> Client {
    let config = testkit::s3::client(endpoint).config().to_builder();
    Client::from_conf(config.credentials_provider(credentials(key)).build())
}

fn iam(endpoint: &str, key: &NewKey) -> aws_sdk_iam::Client {
    let config = aws_sdk_iam::Config::builder()
        .behavior_version(aws_sdk_iam::config::BehaviorVersion::latest())
        .region(aws_sdk_iam::config::Region::new(testkit::REGION))
        .endpoint_url(endpoint)
        .credentials_provider(credentials(key));
    aws_sdk_iam::Client::from_conf(config.build())
}

/// An upload of the victim's, which the attacker is told of.
async fn open_upload(admin: &Client, bucket: &str) -> String {
    let upload = admin.create_multipart_upload().bucket(bucket).key("file");
    upload.send().await.unwrap().upload_id.unwrap()
}

/// Every verb in `bucket`, by name; what would change something changes "file".
async fn everything(by: &Tenant, bucket: &str, upload: &str) -> BTreeMap<&'static str, Refused> {
    let s3 = &by.s3;
    let mut seen = BTreeMap::new();
    macro_rules! try_it {
        ($name:literal, $call:expr) => {
            seen.insert($name, refusal($call.send().await))
        };
    }
    let named = |key: &str| ObjectIdentifier::builder().key(key).build().unwrap();
    let delete = Delete::builder()
        .objects(named("file"))
        .objects(named("other/file"));
    let delete = delete.build().unwrap();
    try_it!("get", s3.get_object().bucket(bucket).key("file"));
    try_it!(
        "get a part of",
        s3.get_object()
            .bucket(bucket)
            .key("file")
            .range("bytes=0-1")
    );
    try_it!("list", s3.list_objects_v2().bucket(bucket));
    try_it!("list old", s3.list_objects().bucket(bucket));
    try_it!(
        "list a prefix",
        s3.list_objects_v2().bucket(bucket).prefix("part/")
    );
    try_it!("list versions", s3.list_object_versions().bucket(bucket));
    try_it!(
        "put",
        s3.put_object()
            .bucket(bucket)
            .key("file")
            .body(b"evil".to_vec().into())
    );
    try_it!("put new", s3.put_object().bucket(bucket).key("new"));
    try_it!("delete", s3.delete_object().bucket(bucket).key("file"));
    let copy = |to: &str| s3.copy_object().bucket(bucket).key(to.to_owned());
    try_it!(
        "copy within",
        copy("copied").copy_source(format!("{bucket}/file"))
    );
    try_it!(
        "upload",
        s3.create_multipart_upload().bucket(bucket).key("file")
    );
    let part = s3
        .upload_part()
        .bucket(bucket)
        .key("file")
        .upload_id(upload);
    try_it!(
        "upload a part",
        part.part_number(1).body(b"evil".to_vec().into())
    );
    let part = s3
        .upload_part_copy()
        .bucket(bucket)
        .key("file")
        .upload_id(upload);
    try_it!(
        "copy a part",
        part.part_number(1)
            .copy_source(format!("{bucket}/other/file"))
    );
    let complete = s3.complete_multipart_upload().bucket(bucket).key("file");
    let complete = complete.upload_id(upload);
    try_it!(
        "complete",
        complete.multipart_upload(CompletedMultipartUpload::builder().build())
    );
    try_it!(
        "abort",
        s3.abort_multipart_upload()
            .bucket(bucket)
            .key("file")
            .upload_id(upload)
    );
    try_it!(
        "list parts",
        s3.list_parts().bucket(bucket).key("file").upload_id(upload)
    );
    try_it!("list uploads", s3.list_multipart_uploads().bucket(bucket));
    try_it!("get acl", s3.get_object_acl().bucket(bucket).key("file"));
    let acl = s3.put_object_acl().bucket(bucket).key("file");
    try_it!("put acl", acl.acl(ObjectCannedAcl::PublicRead));
    try_it!("get bucket acl", s3.get_bucket_acl().bucket(bucket));
    try_it!(
        "put bucket acl",
        s3.put_bucket_acl()
            .bucket(bucket)
            .acl(BucketCannedAcl::PublicRead)
    );
    try_it!("get policy", s3.get_bucket_policy().bucket(bucket));
    let open = format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::{bucket}/*"}}]}}"#
    );
    try_it!(
        "put policy",
        s3.put_bucket_policy().bucket(bucket).policy(open)
    );
    try_it!("delete policy", s3.delete_bucket_policy().bucket(bucket));
    try_it!("get cors", s3.get_bucket_cors().bucket(bucket));
    try_it!(
        "get lifecycle",
        s3.get_bucket_lifecycle_configuration().bucket(bucket)
    );
    try_it!(
        "get tags",
        s3.get_object_tagging().bucket(bucket).key("file")
    );
    try_it!("delete bucket", s3.delete_bucket().bucket(bucket));
    try_it!("make a bucket", s3.create_bucket().bucket("tenant-eve"));
    // A HEAD answers without a body, so without a code.
    let head = refusal(s3.head_object().bucket(bucket).key("file").send().await);
    seen.insert(
        "head",
        head.map(|(status, _)| (status, "AccessDenied".into())),
    );
    let head = refusal(s3.head_bucket().bucket(bucket).send().await);
    seen.insert(
        "head bucket",
        head.map(|(status, _)| (status, "AccessDenied".into())),
    );
    // Each key of many is answered by itself.
    let many = s3
        .delete_objects()
        .bucket(bucket)
        .delete(delete)
        .send()
        .await;
    seen.insert(
        "delete many",
        match many {
            Err(error) => refusal::<(), _>(Err(error)),
            Ok(answer) if answer.deleted().is_empty() && !answer.errors().is_empty() => {
                let codes: Vec<_> = answer
                    .errors()
                    .iter()
                    .map(|e| e.code().unwrap_or(""))
                    .collect();
                let denied = codes.iter().all(|code| *code == "AccessDenied");
                Some((
                    403,
                    if denied {
                        "AccessDenied".into()
                    } else {
                        codes.join(",")
                    },
                ))
            }
            Ok(_) => None,
        },
    );
    let user = || by.handle.user.clone().unwrap();
    try_it!("list users", by.iam.list_users());
    try_it!("make a user", by.iam.create_user().user_name("eve"));
    try_it!("mint", by.iam.create_access_key().user_name(user()));
    try_it!(
        "list keys",
        by.iam.list_access_keys().user_name("testkit-admin")
    );
    let all = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::*"}]}"#;
    try_it!(
        "make a policy",
        by.iam
            .create_policy()
            .policy_name("eve")
            .policy_document(all)
    );
    let grown = by
        .iam
        .put_user_policy()
        .user_name(user())
        .policy_name("eve");
    try_it!("grow", grown.policy_document(all));
    seen
}

async fn copies(by: &Tenant, from: &str) -> BTreeMap<&'static str, Refused> {
    let source = format!("{from}/file");
    let copy = by
        .s3
        .copy_object()
        .bucket(by.bucket)
        .key("stolen")
        .copy_source(&source);
    let whole = refusal(copy.send().await);
    let upload = by
        .s3
        .create_multipart_upload()
        .bucket(by.bucket)
        .key("stolen");
    let upload = upload.send().await.unwrap().upload_id.unwrap();
    let part = by.s3.upload_part_copy().bucket(by.bucket).key("stolen");
    let part = part.upload_id(upload).part_number(1).copy_source(&source);
    let part = refusal(part.send().await);
    BTreeMap::from([("copy", whole), ("copy as a part", part)])
}

fn all_refused(seen: &BTreeMap<&'static str, Refused>, who: &str) {
    let exact = Some((403, "AccessDenied".to_owned()));
    let others: Vec<_> = seen
        .iter()
        .filter(|(_, refused)| **refused != exact)
        .collect();
    assert!(others.is_empty(), "{who}: {others:#?}");
}

/// The victim's files are all there as they were, and nothing else.
async fn untouched(admin: &Client, bucket: &str) {
    let listed = admin.list_objects_v2().bucket(bucket).send().await.unwrap();
    let keys: Vec<_> = listed
        .contents()
        .iter()
        .filter_map(|object| object.key())
        .collect();
    let keys: Vec<_> = keys.into_iter().filter(|key| *key != "works").collect();
    assert_eq!(keys, ["file", "other/file", "part/file"]);
    let got = admin.get_object().bucket(bucket).key("file").send().await;
    let body = got.unwrap().body.collect().await.unwrap().to_vec();
    assert_eq!(body, bucket.as_bytes());
}

/// The attacker's own key is alive, or all refusals would mean nothing.
async fn works(tenant: &Tenant) {
    let put = tenant.s3.put_object().bucket(tenant.bucket).key("works");
    put.body(b"yes".to_vec().into()).send().await.unwrap();
}

async fn dies(tenant: &Tenant, name: &str) {
    let begun = Instant::now();
    loop {
        let get = tenant
            .s3
            .get_object()
            .bucket(tenant.bucket)
            .key("part/file");
        let seen = refusal(get.send().await);
        if seen == Some((403, "InvalidAccessKeyId".to_owned())) {
            return;
        }
        let waited = begun.elapsed();
        assert!(
            waited < Duration::from_secs(5),
            "{name} still gets {seen:?}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn refusal<T, E>(result: Result<T, SdkError<E>>) -> Refused
where
    E: ProvideErrorMetadata,
{
    let error = result.err()?;
    let status = error
        .raw_response()
        .map_or(0, |response| response.status().as_u16());
    Some((status, error.code().unwrap_or_default().to_owned()))
}
