//! Three tenants, every verb, real stores: each tries everything in every other's place, with
//! nothing of ours between the test and the store. Only the exact refusal counts.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use artifacts_provider::{Access, Grant, KeyHandle, Kind, NewKey, Provider, issue};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::Credentials;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::presigning::{PresignedRequest, PresigningConfig};
use aws_sdk_s3::types::{
    BucketCannedAcl, CompletedMultipartUpload, CompletedPart, Delete, ObjectCannedAcl,
    ObjectIdentifier,
};
use bytes::Bytes;
use common::{Embedded, bucket, grant, provider, seaweedfs};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use secrecy::ExposeSecret;
use testkit::tools::Tool;

/// The last one's name begins with the first one's: a policy must end where the name does.
const BUCKETS: [&str; 3] = ["tenant-ann", "tenant-bob", "tenant-ann-2"];

/// What every bucket has in it, in the order of a list; one name beside "part/" begins as it
/// does.
const FILES: [&str; 4] = ["file", "other/file", "part/file", "partly/file"];

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
    attack(&*store.provider(), &store.server.endpoint(), false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn seaweedfs_itself() {
    testkit::require!(Tool::Weed);
    let store = seaweedfs();
    let endpoint = store.endpoint();
    attack(&*provider(Kind::Seaweedfs, &endpoint), &endpoint, true).await;
}

/// `mints`: whether the store lets every user make more keys for itself, whatever the policy.
async fn attack(provider: &dyn Provider, endpoint: &str, mints: bool) {
    let admin = testkit::s3::client(endpoint);
    let mut tenants = Vec::new();
    for (id, name) in (1..).zip(BUCKETS) {
        provider.create_bucket(&bucket(name)).await.unwrap();
        for key in FILES {
            let put = admin.put_object().bucket(name).key(key);
            let put = put.body(name.as_bytes().to_vec().into());
            put.send().await.unwrap();
        }
        let grant = grant(id, name, None, Access::ReadWrite);
        tenants.push(tenant(provider, endpoint, grant).await);
    }
    for attacker in &tenants {
        let is_other = |victim: &&Tenant| victim.bucket != attacker.bucket;
        for victim in tenants.iter().filter(is_other) {
            attack_one(attacker, victim, &admin).await;
        }
    }
    let reader = a_reader_writes_nothing(provider, endpoint, &admin).await;
    let partial = a_part_is_no_more_than_that(provider, endpoint, &admin).await;
    let [ann, others @ ..] = &tenants[..] else {
        panic!("there are three")
    };
    let own = ann.iam.create_access_key();
    let own = own.user_name(ann.handle.user.clone().unwrap()).send().await;
    let more = match own {
        Ok(made) if mints => Some(holder(ann, endpoint, &made.access_key.unwrap())),
        own => {
            assert_eq!(refusal(own), denied(), "ann makes a key for herself");
            None
        }
    };
    if let Some(more) = &more {
        attack_one(more, &others[0], &admin).await;
    }
    for (tenant, name) in [
        (ann, "ann"),
        (&reader, "the reader"),
        (&partial, "the part"),
    ] {
        let url = own_url(tenant).await;
        assert_eq!(send(&url).await, None, "{name}'s URL works");
        provider.revoke(&tenant.handle).await.unwrap();
        dies(tenant, name).await;
        assert_eq!(send(&url).await, dead(), "{name}'s URL of before");
    }
    if let Some(more) = &more {
        dies(more, "the key that ann made for herself").await;
    }
    for other in others {
        works(other).await;
    }
    // A key that is made while the others are ended: it ends with its user, or keeps the user
    // there until it is ended as well.
    let bob = &others[0];
    let root = iam(endpoint, &root());
    let deleted = root
        .delete_user()
        .user_name(bob.handle.user.clone().unwrap());
    match refusal(deleted.send().await) {
        None => dies(bob, "the key of a deleted user").await,
        refused => assert_eq!(refused, Some((409, "DeleteConflict".to_owned()))),
    }
    provider.revoke(&bob.handle).await.unwrap();
    dies(bob, "bob").await;
}

fn root() -> NewKey {
    NewKey {
        access_key_id: testkit::ACCESS_KEY_ID.into(),
        secret_access_key: testkit::SECRET_ACCESS_KEY.to_owned().into(),
    }
}

async fn attack_one(attacker: &Tenant, victim: &Tenant, admin: &Client) {
    let (name, who) = (
        victim.bucket,
        format!("{} in {}", attacker.bucket, victim.bucket),
    );
    let upload = open_upload(admin, name).await;
    all_refused(&everything(attacker, name, &upload).await, &who);
    all_refused(&copies(attacker, name).await, &who);
    all_refused(&by_url(attacker, name).await, &who);
    let user = victim.handle.user.clone().unwrap();
    let key = victim.handle.access_key_id.clone().unwrap();
    let mint = attacker.iam.create_access_key().user_name(&user);
    let delete = attacker.iam.delete_access_key().user_name(&user);
    let delete = delete.access_key_id(key);
    let keys = BTreeMap::from([
        ("mint the other's", refusal(mint.send().await)),
        ("delete the other's", refusal(delete.send().await)),
    ]);
    all_refused(&keys, &who);
    untouched(admin, name).await;
    works(attacker).await;
    works(victim).await;
}

/// A tenant with another key of the same user.
fn holder(of: &Tenant, endpoint: &str, key: &aws_sdk_iam::types::AccessKey) -> Tenant {
    let key = NewKey {
        access_key_id: key.access_key_id.clone(),
        secret_access_key: key.secret_access_key.clone().into(),
    };
    Tenant {
        bucket: of.bucket,
        s3: s3(endpoint, &key),
        iam: iam(endpoint, &key),
        handle: of.handle.clone(),
    }
}

async fn a_reader_writes_nothing(
    provider: &dyn Provider,
    endpoint: &str,
    admin: &Client,
) -> Tenant {
    let name = BUCKETS[0];
    let reader = tenant(provider, endpoint, grant(10, name, None, Access::ReadOnly)).await;
    let upload = open_upload(admin, name).await;
    let mut seen = everything(&reader, name, &upload).await;
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
    seen.extend(by_url(&reader, name).await);
    for may in ["get by URL", "head by URL"] {
        assert_eq!(seen.remove(may).unwrap(), None, "a reader may {may}");
    }
    all_refused(&seen, "a reader in its own bucket");
    untouched(admin, name).await;
    reader
}

async fn a_part_is_no_more_than_that(
    provider: &dyn Provider,
    endpoint: &str,
    admin: &Client,
) -> Tenant {
    let name = BUCKETS[0];
    let part = grant(11, name, Some("part/"), Access::ReadWrite);
    let partial = tenant(provider, endpoint, part).await;
    let upload = open_upload(admin, name).await;
    let mut seen = everything(&partial, name, &upload).await;
    // The one place in it that is its own.
    assert_eq!(seen.remove("list a prefix").unwrap(), None);
    all_refused(&seen, "a key for a part, outside of it");
    all_refused(&by_url(&partial, name).await, "a key for a part, by URL");
    all_refused(&nearly(&partial).await, "a key for a part, just beside it");
    untouched(admin, name).await;
    partial
}

async fn tenant(provider: &dyn Provider, endpoint: &str, grant: Grant) -> Tenant {
    let (handle, key) = issue(provider, &grant).await.unwrap();
    let named = |name: &&str| *name == grant.scope.bucket.as_str();
    let name = BUCKETS.into_iter().find(named).unwrap();
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
        "copy into",
        copy("file").copy_source(format!("{}/part/file", by.bucket))
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
    let part = CompletedPart::builder().part_number(1).e_tag("\"0\"");
    let parts = CompletedMultipartUpload::builder().parts(part.build());
    try_it!("complete", complete.multipart_upload(parts.build()));
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
    seen.insert("head", head.map(denied_without_words));
    let head = refusal(s3.head_bucket().bucket(bucket).send().await);
    seen.insert("head bucket", head.map(denied_without_words));
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
    try_it!(
        "mint the administrator's",
        by.iam.create_access_key().user_name("testkit-admin")
    );
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

/// Names that begin as the part does, and are not in it.
async fn nearly(by: &Tenant) -> BTreeMap<&'static str, Refused> {
    let (s3, bucket) = (&by.s3, by.bucket);
    let list = |prefix: &str| s3.list_objects_v2().bucket(bucket).prefix(prefix);
    let put = |key: &str| s3.put_object().bucket(bucket).key(key);
    let get = s3.get_object().bucket(bucket).key("partly/file");
    let delete = s3.delete_object().bucket(bucket).key("partly/file");
    let copy = s3.copy_object().bucket(bucket).key("part/stolen");
    let copy = copy.copy_source(format!("{bucket}/partly/file"));
    let uploads = s3.create_multipart_upload().bucket(bucket).key("part");
    BTreeMap::from([
        ("list half the name", refusal(list("par").send().await)),
        ("list without the slash", refusal(list("part").send().await)),
        ("list beside", refusal(list("partly/").send().await)),
        ("list nothing", refusal(list("").send().await)),
        ("get beside", refusal(get.send().await)),
        ("put the name itself", refusal(put("part").send().await)),
        ("put beside", refusal(put("partly/new").send().await)),
        ("delete beside", refusal(delete.send().await)),
        ("copy from beside", refusal(copy.send().await)),
        ("upload the name itself", refusal(uploads.send().await)),
    ])
}

/// Requests that are signed beforehand, sent by somebody without a key.
async fn by_url(by: &Tenant, bucket: &str) -> BTreeMap<&'static str, Refused> {
    let s3 = &by.s3;
    let get = s3.get_object().bucket(bucket).key("file");
    let head = s3.head_object().bucket(bucket).key("file");
    let put = s3.put_object().bucket(bucket).key("file");
    let delete = s3.delete_object().bucket(bucket).key("file");
    let signed = [
        ("get by URL", get.presigned(soon()).await.unwrap()),
        ("put by URL", put.presigned(soon()).await.unwrap()),
        ("delete by URL", delete.presigned(soon()).await.unwrap()),
    ];
    let mut seen = BTreeMap::new();
    for (name, url) in signed {
        seen.insert(name, send(&url).await);
    }
    // A HEAD answers without a body, so without a code.
    let head = send(&head.presigned(soon()).await.unwrap()).await;
    seen.insert("head by URL", head.map(denied_without_words));
    seen
}

async fn own_url(tenant: &Tenant) -> PresignedRequest {
    let get = tenant.s3.get_object().bucket(tenant.bucket);
    get.key("part/file").presigned(soon()).await.unwrap()
}

fn soon() -> PresigningConfig {
    PresigningConfig::expires_in(Duration::from_secs(60)).unwrap()
}

/// Sends a request as it stands, on a connection of its own.
async fn send(signed: &PresignedRequest) -> Refused {
    let uri: hyper::Uri = signed.uri().parse().unwrap();
    let host = uri.authority().unwrap().as_str().to_owned();
    let mut request = hyper::Request::builder()
        .method(signed.method())
        .uri(uri.path_and_query().unwrap().as_str())
        .header("host", &host);
    for (name, value) in signed.headers() {
        request = request.header(name, value);
    }
    let evil = if signed.method() == "PUT" { "evil" } else { "" };
    let request = request.body(Full::new(Bytes::from(evil))).unwrap();
    let stream = tokio::net::TcpStream::connect(&host).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let (head, body) = sender.send_request(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let code = code_in(&body);
    (!head.status.is_success()).then(|| (head.status.as_u16(), code))
}

fn all_refused(seen: &BTreeMap<&'static str, Refused>, who: &str) {
    let exact = denied();
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
    assert_eq!(keys, FILES);
    for key in FILES {
        let got = admin.get_object().bucket(bucket).key(key).send().await;
        let body = got.unwrap().body.collect().await.unwrap().to_vec();
        assert_eq!(body, bucket.as_bytes(), "{bucket}/{key}");
    }
}

/// The attacker's own key is alive, or all refusals would mean nothing.
async fn works(tenant: &Tenant) {
    let put = tenant.s3.put_object().bucket(tenant.bucket).key("works");
    put.body(b"yes".to_vec().into()).send().await.unwrap();
    assert_eq!(send(&own_url(tenant).await).await, None, "its own URL");
}

/// The refusal that counts.
fn denied() -> Refused {
    Some((403, "AccessDenied".to_owned()))
}

/// What the store says of a key that it does not know.
fn dead() -> Refused {
    Some((403, "InvalidAccessKeyId".to_owned()))
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
        if seen == dead() {
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

/// The status of a refusal that could not say more.
fn denied_without_words((status, _): (u16, String)) -> (u16, String) {
    (status, "AccessDenied".into())
}

fn refusal<T, E>(result: Result<T, SdkError<E>>) -> Refused
where
    E: ProvideErrorMetadata,
{
    let error = result.err()?;
    let Some(response) = error.raw_response() else {
        return Some((0, String::new()));
    };
    // SeaweedFS refuses calls of IAM in the words of S3, which the client does not look for.
    let code = error.code().map_or_else(
        || code_in(response.body().bytes().unwrap_or_default()),
        str::to_owned,
    );
    Some((response.status().as_u16(), code))
}

fn code_in(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let rest = text.split_once("<Code>").map_or("", |(_, rest)| rest);
    let code = rest.split_once("</Code>").map_or("", |(code, _)| code);
    code.to_owned()
}
