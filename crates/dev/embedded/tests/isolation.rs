//! Web identity tokens with session tags: a role of IAM whose policy gives each tag a prefix
//! of its own, each way for a token to be refused, and bucket policies beside it.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;

use artifacts_embedded::STS_FILE;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use aws_sdk_iam::Client as Iam;
use aws_sdk_s3::Client as S3;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sts::types::Credentials as Session;
use common::{BUCKET, Lab, refusal};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

const ISSUER: &str = "https://broker.example.com";
const PROVIDER: &str = "arn:aws:iam::000000000000:oidc-provider/broker.example.com";
const AUDIENCE: &str = "sts.amazonaws.com";
const ROLE: &str = "arn:aws:iam::000000000000:role/vault";
const ADA: &str = "aaaa0000";
const BOB: &str = "bbbb1111";

/// An identity provider with one key, and the store that trusts it.
struct House {
    lab: Lab,
    pair: EcdsaKeyPair,
}

impl House {
    /// A store with the provider, whose keys are a file, and the role.
    async fn build() -> Self {
        let lab = Lab::start().await;
        let house = Self {
            lab,
            pair: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
        };
        house.write("jwks.json", &house.jwks());
        let settings =
            json!({"version": 1, "providers": [{"issuer": ISSUER, "jwks": "jwks.json"}]});
        house.write(STS_FILE, &settings);
        house.add_provider(ISSUER).await;
        house.add_role(&trust(PROVIDER, "broker.example.com")).await;
        house
    }

    fn write(&self, name: &str, value: &Value) {
        let path = self.lab.folder.path().join(name);
        fs::write(&path, value.to_string()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn iam(&self) -> Iam {
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
            .endpoint_url(self.lab.server.endpoint())
            .credentials_provider(keys);
        Iam::from_conf(config.build())
    }

    async fn add_provider(&self, url: &str) {
        let call = self.iam().create_open_id_connect_provider().url(url);
        call.client_id_list(AUDIENCE).send().await.unwrap();
    }

    async fn add_role(&self, trust: &Value) {
        let iam = self.iam();
        let role = iam.create_role().role_name("vault");
        let role = role.assume_role_policy_document(trust.to_string());
        role.send().await.unwrap();
        self.put_policy("own", &own_prefix()).await;
    }

    async fn put_policy(&self, name: &str, document: &Value) {
        let call = self.iam().put_role_policy().role_name("vault");
        let call = call.policy_name(name).policy_document(document.to_string());
        call.send().await.unwrap();
    }

    fn jwks(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        let text = |bytes: &[u8]| base64_simd::URL_SAFE_NO_PAD.encode_to_string(bytes);
        json!({"keys": [{
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "one",
            "x": text(&point[1..33]), "y": text(&point[33..]),
        }]})
    }

    /// A token of this actor, with changes.
    fn token(&self, actor: &str, changes: &[(&str, Value)]) -> String {
        signed(&self.pair, actor, changes)
    }

    async fn exchange(&self, token: &str) -> Result<Session, (String, u16)> {
        self.exchange_for(ROLE, token).await
    }

    async fn exchange_for(&self, role: &str, token: &str) -> Result<Session, (String, u16)> {
        let config = aws_sdk_sts::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(testkit::REGION))
            .endpoint_url(self.lab.server.endpoint())
            .allow_no_auth();
        let sts = aws_sdk_sts::Client::from_conf(config.build());
        let call = sts.assume_role_with_web_identity().role_arn(role);
        let call = call.role_session_name("agent").web_identity_token(token);
        match call.send().await {
            Ok(answer) => Ok(answer.credentials.unwrap()),
            refused => Err(refusal(refused)),
        }
    }

    fn s3(&self, session: &Session) -> S3 {
        let keys = Credentials::new(
            session.access_key_id(),
            session.secret_access_key(),
            Some(session.session_token().to_owned()),
            None,
            "test",
        );
        let config = self.lab.client.config().to_builder();
        S3::from_conf(config.credentials_provider(keys).build())
    }

    async fn s3_of(&self, actor: &str) -> S3 {
        let session = self.exchange(&self.token(actor, &[])).await.unwrap();
        self.s3(&session)
    }
}

fn trust(provider: &str, short: &str) -> Value {
    json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow",
        "Principal": {"Federated": provider},
        "Action": ["sts:AssumeRoleWithWebIdentity", "sts:TagSession"],
        "Condition": {
            "StringEquals": {format!("{short}:aud"): AUDIENCE},
            "StringLike": {"aws:RequestTag/artifacts_actor": "?*"},
        },
    }]})
}

fn own_prefix() -> Value {
    let own = "bots/${aws:PrincipalTag/artifacts_actor}/credentials/*";
    json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "s3:ListBucket",
         "Resource": format!("arn:aws:s3:::{BUCKET}"),
         "Condition": {"StringLike": {"s3:prefix": own}}},
        {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
         "Resource": format!("arn:aws:s3:::{BUCKET}/{own}")},
    ]})
}

fn tags(value: &Value) -> [(&'static str, Value); 2] {
    [
        (
            "https://aws.amazon.com/tags",
            json!({"principal_tags": {"artifacts_actor": value},
                   "transitive_tag_keys": ["artifacts_actor"]}),
        ),
        (
            "https://aws.amazon.com/tags/principal_tags",
            json!({"artifacts_actor": value}),
        ),
    ]
}

fn signed(pair: &EcdsaKeyPair, actor: &str, changes: &[(&str, Value)]) -> String {
    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    let mut claims =
        json!({"iss": ISSUER, "sub": actor, "aud": AUDIENCE, "iat": now, "exp": now + 300});
    for (name, value) in tags(&json!([actor])).iter().chain(changes) {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(*name)),
            value => claims[*name] = value.clone(),
        }
    }
    let mut header = Header::new(Algorithm::ES256);
    header.kid = Some("one".into());
    let der = pair.to_pkcs8v1().unwrap();
    encode(&header, &claims, &EncodingKey::from_ec_der(der.as_ref())).unwrap()
}

fn named(code: &str, status: u16) -> (String, u16) {
    (code.into(), status)
}

fn denied() -> (String, u16) {
    named("AccessDenied", 403)
}

fn key_of(actor: &str) -> String {
    format!("bots/{actor}/credentials/openrouter.enc")
}

async fn put(client: &S3, key: &str) -> Result<(), (String, u16)> {
    let call = client.put_object().bucket(BUCKET).key(key);
    told(call.body(b"sealed".to_vec().into()).send().await)
}

async fn get(client: &S3, key: &str) -> Result<(), (String, u16)> {
    told(client.get_object().bucket(BUCKET).key(key).send().await)
}

async fn list(client: &S3, prefix: Option<&str>) -> Result<(), (String, u16)> {
    let call = client.list_objects_v2().bucket(BUCKET);
    told(call.set_prefix(prefix.map(Into::into)).send().await)
}

fn told<T: std::fmt::Debug, E: aws_sdk_s3::error::ProvideErrorMetadata>(
    result: Result<T, aws_sdk_s3::error::SdkError<E>>,
) -> Result<(), (String, u16)> {
    match result {
        Ok(_) => Ok(()),
        refused => Err(refusal(refused)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_actor_works_in_its_own_prefix_and_nowhere_else() {
    let house = House::build().await;
    house.lab.put(&key_of(BOB), b"bobs").await;
    let ada = house.s3_of(ADA).await;
    let own = key_of(ADA);
    assert_eq!(put(&ada, &own).await, Ok(()));
    assert_eq!(get(&ada, &own).await, Ok(()));
    assert_eq!(
        list(&ada, Some(&format!("bots/{ADA}/credentials/"))).await,
        Ok(())
    );
    for key in [
        key_of(BOB),
        format!("bots/{ADA}/other"),
        format!("bots/{ADA}0/credentials/x"),
        format!("bots/{}/credentials/x", ADA.to_uppercase()),
        "bots/${aws:PrincipalTag/artifacts_actor}/credentials/x".into(),
        "bots/*/credentials/x".into(),
        "bots//credentials/x".into(),
        "x".into(),
    ] {
        assert_eq!(put(&ada, &key).await, Err(denied()), "put {key}");
        assert_eq!(get(&ada, &key).await, Err(denied()), "get {key}");
        let delete = ada.delete_object().bucket(BUCKET).key(&key).send().await;
        assert_eq!(refusal(delete), denied(), "delete {key}");
    }
    let of_bob = format!("bots/{BOB}/credentials/");
    for prefix in [
        Some(of_bob.as_str()),
        Some("bots/"),
        Some(""),
        None,
        Some("bots/*/credentials/"),
    ] {
        assert_eq!(list(&ada, prefix).await, Err(denied()), "{prefix:?}");
    }
    let copy = ada.copy_object().bucket(BUCKET).key(&own);
    let copy = copy.copy_source(format!("{BUCKET}/{}", key_of(BOB)));
    assert_eq!(refusal(copy.send().await), denied());
    let delete = ada.delete_object().bucket(BUCKET).key(&own).send().await;
    assert_eq!(told(delete), Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_other_verb_is_refused_in_the_own_prefix_too() {
    let house = House::build().await;
    let ada = house.s3_of(ADA).await;
    let own = key_of(ADA);
    put(&ada, &own).await.unwrap();
    let bucket = || BUCKET.to_owned();
    let refused = [
        ("list buckets", told(ada.list_buckets().send().await)),
        (
            "acl",
            told(ada.get_object_acl().bucket(bucket()).key(&own).send().await),
        ),
        (
            "tagging",
            told(
                ada.get_object_tagging()
                    .bucket(bucket())
                    .key(&own)
                    .send()
                    .await,
            ),
        ),
        (
            "location",
            told(ada.get_bucket_location().bucket(bucket()).send().await),
        ),
        (
            "policy",
            told(ada.get_bucket_policy().bucket(bucket()).send().await),
        ),
        (
            "drop policy",
            told(ada.delete_bucket_policy().bucket(bucket()).send().await),
        ),
        (
            "lifecycle",
            told(ada.delete_bucket_lifecycle().bucket(bucket()).send().await),
        ),
        (
            "bucket",
            told(ada.delete_bucket().bucket(bucket()).send().await),
        ),
        (
            "new bucket",
            told(ada.create_bucket().bucket("another").send().await),
        ),
        (
            "versions",
            told(
                ada.list_object_versions()
                    .bucket(bucket())
                    .prefix(&own)
                    .send()
                    .await,
            ),
        ),
        (
            "uploads",
            told(
                ada.list_multipart_uploads()
                    .bucket(bucket())
                    .prefix(&own)
                    .send()
                    .await,
            ),
        ),
        (
            "set policy",
            told(
                ada.put_bucket_policy()
                    .bucket(bucket())
                    .policy("{}")
                    .send()
                    .await,
            ),
        ),
    ];
    for (verb, said) in refused {
        assert_eq!(said, Err(denied()), "{verb}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_bad_token_is_refused_with_its_own_code() {
    let house = House::build().await;
    let other = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let invalid = || named("InvalidIdentityToken", 400);
    let tagged = |value: Value| house.token(ADA, &tags(&value));
    let [nested, flat] = [
        "https://aws.amazon.com/tags",
        "https://aws.amazon.com/tags/principal_tags",
    ];
    let bobs = json!({"artifacts_actor": [BOB]});
    for (what, token, expected) in [
        ("forged", signed(&other, ADA, &[]), invalid()),
        (
            "expired",
            house.token(ADA, &[("exp", json!(1))]),
            named("ExpiredTokenException", 400),
        ),
        (
            "audience",
            house.token(ADA, &[("aud", json!("other"))]),
            invalid(),
        ),
        (
            "issuer",
            house.token(ADA, &[("iss", json!("https://other.example.com"))]),
            invalid(),
        ),
        (
            "untagged",
            house.token(ADA, &[(nested, Value::Null), (flat, Value::Null)]),
            denied(),
        ),
        ("empty", tagged(json!([""])), denied()),
        ("star", tagged(json!(["*"])), invalid()),
        ("question mark", tagged(json!(["aaaa000?"])), invalid()),
        (
            "variable",
            tagged(json!(["${aws:PrincipalTag/artifacts_actor}"])),
            invalid(),
        ),
        ("two", tagged(json!([ADA, BOB])), invalid()),
        ("disagreeing", house.token(ADA, &[(flat, bobs)]), invalid()),
        ("text", tagged(json!(ADA)), invalid()),
    ] {
        let refused = house.exchange(&token).await.map(drop);
        assert_eq!(refused, Err(expected), "{what}");
    }
    for alone in [nested, flat] {
        let other = if alone == nested { flat } else { nested };
        let session = house
            .exchange(&house.token(ADA, &[(other, Value::Null)]))
            .await;
        let client = house.s3(&session.unwrap());
        assert_eq!(put(&client, &key_of(ADA)).await, Ok(()), "{alone}");
        assert_eq!(put(&client, &key_of(BOB)).await, Err(denied()), "{alone}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_need_tag_session_and_no_tag_opens_nothing() {
    let house = House::build().await;
    let set_trust = async |trust: Value| {
        let call = house.iam().update_assume_role_policy().role_name("vault");
        call.policy_document(trust.to_string())
            .send()
            .await
            .unwrap();
    };
    let mut document = trust(PROVIDER, "broker.example.com");
    document["Statement"][0]["Action"] = json!("sts:AssumeRoleWithWebIdentity");
    set_trust(document).await;
    assert_eq!(
        house.exchange(&house.token(ADA, &[])).await.map(drop),
        Err(denied())
    );
    // Trust without the condition lets an untagged token in; the policy's variable then
    // stands for nothing.
    let mut document = trust(PROVIDER, "broker.example.com");
    document["Statement"][0]["Condition"]
        .as_object_mut()
        .unwrap()
        .remove("StringLike");
    set_trust(document).await;
    let untagged = [
        ("https://aws.amazon.com/tags", Value::Null),
        ("https://aws.amazon.com/tags/principal_tags", Value::Null),
    ];
    let session = house.exchange(&house.token(ADA, &untagged)).await.unwrap();
    let client = house.s3(&session);
    for key in [
        key_of(ADA),
        key_of(""),
        key_of("${aws:PrincipalTag/artifacts_actor}"),
    ] {
        assert_eq!(put(&client, &key).await, Err(denied()), "{key}");
    }
    assert_eq!(
        list(&client, Some("bots//credentials/")).await,
        Err(denied())
    );
    // Another provider's ARN in the trust: not this token's.
    set_trust(trust(&format!("{PROVIDER}/x"), "broker.example.com")).await;
    assert_eq!(
        house.exchange(&house.token(ADA, &[])).await.map(drop),
        Err(denied())
    );
    let nobody = "arn:aws:iam::000000000000:role/nobody";
    let refused = house.exchange_for(nobody, &house.token(ADA, &[])).await;
    assert_eq!(refused.map(drop), Err(denied()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_roles_policies_count_as_they_are_now_and_end_with_it() {
    let house = House::build().await;
    let ada = house.s3_of(ADA).await;
    assert_eq!(get(&ada, &key_of(BOB)).await, Err(denied()));
    let broad = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]});
    house.put_policy("broad", &broad).await;
    house.lab.put(&key_of(BOB), b"bobs").await;
    assert_eq!(get(&ada, &key_of(BOB)).await, Ok(()));
    let iam = house.iam();
    let names = iam
        .list_role_policies()
        .role_name("vault")
        .send()
        .await
        .unwrap();
    assert_eq!(names.policy_names(), ["broad", "own"]);
    let taken = iam.delete_role().role_name("vault").send().await;
    assert_eq!(refusal(taken), named("DeleteConflict", 409));
    for name in ["broad", "own"] {
        let call = iam
            .delete_role_policy()
            .role_name("vault")
            .policy_name(name);
        call.send().await.unwrap();
    }
    assert_eq!(get(&ada, &key_of(BOB)).await, Err(denied()));
    iam.delete_role().role_name("vault").send().await.unwrap();
    house.add_role(&trust(PROVIDER, "broker.example.com")).await;
    // The same name, another role: the session of the old one is not its.
    assert_eq!(get(&ada, &key_of(ADA)).await, Err(denied()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_policy_refuses_everybody_but_the_role_and_the_owner() {
    let house = House::build().await;
    let lab = &house.lab;
    let (all, _) =
        lab.client_with(r#"{"Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}"#);
    let (none, id) = lab.client_with(
        r#"{"Statement":[{"Effect":"Allow","Action":"s3:ListAllMyBuckets","Resource":"*"}]}"#,
    );
    let ada = house.s3_of(ADA).await;
    let own = key_of(ADA);
    put(&all, &own).await.unwrap();
    let arn = format!("arn:aws:s3:::{BUCKET}");
    let document = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": format!("{arn}/bots/*"),
         "Condition": {"StringNotEquals": {"aws:PrincipalArn": ROLE}}},
        {"Effect": "Deny", "Principal": "*", "Action": "s3:*",
         "NotResource": [arn.clone(), format!("{arn}/open/*"),
            format!("{arn}/bots/${{aws:PrincipalTag/artifacts_actor}}/credentials/*")]},
        {"Effect": "Allow", "Principal": {"AWS": format!("arn:aws:iam::000000000000:user/{id}")},
         "Action": "s3:PutObject", "Resource": format!("{arn}/*")},
    ]});
    let set = |text: &str| {
        lab.client
            .put_bucket_policy()
            .bucket(BUCKET)
            .policy(text)
            .send()
    };
    set(&document.to_string()).await.unwrap();
    let kept = lab
        .client
        .get_bucket_policy()
        .bucket(BUCKET)
        .send()
        .await
        .unwrap();
    assert_eq!(kept.policy(), Some(document.to_string().as_str()));
    assert_eq!(get(&all, &own).await, Err(denied()));
    assert_eq!(put(&all, "open/x").await, Ok(()));
    assert_eq!(
        put(&none, "open/y").await,
        Ok(()),
        "the bucket's policy grants too"
    );
    assert_eq!(get(&none, "open/y").await, Err(denied()));
    assert_eq!(get(&ada, &own).await, Ok(()));
    house
        .put_policy(
            "broad",
            &json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}),
        )
        .await;
    assert_eq!(get(&ada, &key_of(BOB)).await, Err(denied()));
    assert_eq!(get(&lab.client, &own).await, Ok(()), "the owner");
    for (wrong, code) in [
        (r#"{"Statement":[]}"#.to_owned(), "MalformedPolicy"),
        (
            document.to_string().replace(BUCKET, "other-bucket"),
            "MalformedPolicy",
        ),
        (own_prefix().to_string(), "MalformedPolicy"),
    ] {
        assert_eq!(refusal(set(&wrong).await), named(code, 400), "{wrong}");
    }
    let lab = house.lab.restart().await;
    let again = lab.client_of(
        &id,
        &lab.server
            .keys()
            .show(&id)
            .map(|key| {
                use secrecy::ExposeSecret;
                key.secret.expose_secret().to_owned()
            })
            .unwrap(),
    );
    assert_eq!(put(&again, "open/z").await, Ok(()), "after a restart");
    lab.client
        .delete_bucket_policy()
        .bucket(BUCKET)
        .send()
        .await
        .unwrap();
    assert_eq!(put(&again, "open/z").await, Err(denied()));
    let gone = lab.client.get_bucket_policy().bucket(BUCKET).send().await;
    assert_eq!(refusal(gone), named("NoSuchBucketPolicy", 404));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lifecycle_is_kept_and_one_that_is_not_understood_is_refused() {
    use aws_sdk_s3::types::{
        BucketLifecycleConfiguration, ExpirationStatus, LifecycleExpiration, LifecycleRule,
        LifecycleRuleFilter, Transition,
    };
    let lab = Lab::start().await;
    let rule = |id: &str| {
        LifecycleRule::builder()
            .id(id)
            .status(ExpirationStatus::Enabled)
            .filter(LifecycleRuleFilter::builder().prefix("bots/").build())
            .expiration(LifecycleExpiration::builder().days(90).build())
    };
    let set = |rule: LifecycleRule| {
        let rules = BucketLifecycleConfiguration::builder().rules(rule).build();
        let call = lab
            .client
            .put_bucket_lifecycle_configuration()
            .bucket(BUCKET);
        call.lifecycle_configuration(rules.unwrap()).send()
    };
    let read = || {
        lab.client
            .get_bucket_lifecycle_configuration()
            .bucket(BUCKET)
            .send()
    };
    assert_eq!(
        refusal(read().await),
        named("NoSuchLifecycleConfiguration", 404)
    );
    let given = rule("vault").build().unwrap();
    set(given.clone()).await.unwrap();
    assert_eq!(read().await.unwrap().rules(), std::slice::from_ref(&given));
    let moves = rule("moves").transitions(Transition::builder().days(1).build());
    let refused = set(moves.build().unwrap()).await;
    assert_eq!(refusal(refused), named("NotImplemented", 501));
    assert_eq!(read().await.unwrap().rules(), [given]);
    lab.client
        .delete_bucket_lifecycle()
        .bucket(BUCKET)
        .send()
        .await
        .unwrap();
    assert_eq!(
        refusal(read().await),
        named("NoSuchLifecycleConfiguration", 404)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_providers_keys_are_discovered_on_this_machine() {
    let house = House::build().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let issuer = format!("http://{address}");
    let (jwks, uri) = (house.jwks(), format!("{issuer}/jwks"));
    let discovery = json!({"issuer": issuer, "jwks_uri": uri});
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut asked = [0; 4096];
            let length = stream.read(&mut asked).unwrap();
            let asked = String::from_utf8_lossy(&asked[..length]).into_owned();
            let body = match asked.starts_with("GET /jwks ") {
                true => jwks.to_string(),
                false => discovery.to_string(),
            };
            let length = body.len();
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}"
            );
        }
    });
    house.add_provider(&issuer).await;
    let trust = trust(
        &format!("arn:aws:iam::000000000000:oidc-provider/{address}"),
        &address.to_string(),
    );
    let call = house.iam().update_assume_role_policy().role_name("vault");
    call.policy_document(trust.to_string())
        .send()
        .await
        .unwrap();
    let token = house.token(ADA, &[("iss", json!(issuer))]);
    let session = house.exchange(&token).await.unwrap();
    assert_eq!(put(&house.s3(&session), &key_of(ADA)).await, Ok(()));
    // One whose keys this store cannot fetch, and whose place nobody has named.
    house.add_provider("https://far.example.com").await;
    let token = house.token(ADA, &[("iss", json!("https://far.example.com"))]);
    let refused = house.exchange(&token).await.map(drop);
    assert_eq!(refused, Err(named("IDPCommunicationError", 400)));
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_and_providers_are_read_as_they_were_made_and_outlive_the_server() {
    let house = House::build().await;
    let iam = house.iam();
    let role = iam
        .get_role()
        .role_name("vault")
        .send()
        .await
        .unwrap()
        .role
        .unwrap();
    assert_eq!(role.arn(), ROLE);
    assert_eq!(role.max_session_duration(), Some(3600));
    let document = |text: &str| {
        let plain = percent_encoding::percent_decode_str(text)
            .decode_utf8()
            .unwrap();
        serde_json::from_str::<Value>(&plain).unwrap()
    };
    let kept = document(role.assume_role_policy_document().unwrap());
    assert_eq!(kept, trust(PROVIDER, "broker.example.com"));
    let policy = iam.get_role_policy().role_name("vault").policy_name("own");
    let policy = policy.send().await.unwrap();
    assert_eq!(document(policy.policy_document()), own_prefix());
    let missing = iam
        .get_role_policy()
        .role_name("vault")
        .policy_name("x")
        .send()
        .await;
    assert_eq!(refusal(missing), named("NoSuchEntity", 404));
    let provider = iam
        .get_open_id_connect_provider()
        .open_id_connect_provider_arn(PROVIDER);
    let provider = provider.send().await.unwrap();
    assert_eq!(provider.url(), Some("broker.example.com"));
    assert_eq!(provider.client_id_list(), [AUDIENCE]);
    let made = iam.create_policy().policy_name("read").policy_document(
        r#"{"Statement":{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}}"#,
    );
    let arn = made.send().await.unwrap().policy.unwrap().arn.unwrap();
    iam.attach_role_policy()
        .role_name("vault")
        .policy_arn(&arn)
        .send()
        .await
        .unwrap();
    let held = iam.delete_policy().policy_arn(&arn).send().await;
    assert_eq!(refusal(held), named("DeleteConflict", 409));
    let again = iam
        .create_role()
        .role_name("Vault")
        .assume_role_policy_document(kept.to_string());
    assert_eq!(
        refusal(again.send().await),
        named("EntityAlreadyExists", 409)
    );
    let again = iam
        .create_open_id_connect_provider()
        .url(ISSUER)
        .client_id_list("x");
    assert_eq!(
        refusal(again.send().await),
        named("EntityAlreadyExists", 409)
    );
    let plain = iam
        .create_open_id_connect_provider()
        .url("http://192.0.2.1:80");
    assert_eq!(refusal(plain.send().await), named("ValidationError", 400));
    let wrong = iam
        .create_role()
        .role_name("x")
        .assume_role_policy_document(own_prefix().to_string());
    assert_eq!(
        refusal(wrong.send().await),
        named("MalformedPolicyDocument", 400)
    );

    let House { lab, pair } = house;
    let house = House {
        lab: lab.restart().await,
        pair,
    };
    let iam = house.iam();
    let attached = iam
        .list_attached_role_policies()
        .role_name("vault")
        .send()
        .await
        .unwrap();
    assert_eq!(
        attached.attached_policies()[0].policy_arn(),
        Some(arn.as_str())
    );
    let ada = house.s3_of(ADA).await;
    assert_eq!(put(&ada, &key_of(ADA)).await, Ok(()));
    let roles = iam.list_roles().send().await.unwrap();
    assert_eq!(roles.roles().len(), 1);
    let providers = iam.list_open_id_connect_providers().send().await.unwrap();
    assert_eq!(
        providers.open_id_connect_provider_list()[0].arn(),
        Some(PROVIDER)
    );
    let delete = iam
        .delete_open_id_connect_provider()
        .open_id_connect_provider_arn(PROVIDER);
    delete.send().await.unwrap();
    // `sts.json` still names the issuer: it is the provider then, without a list of audiences.
    let token = house.token(ADA, &[("aud", json!("other"))]);
    assert_eq!(house.exchange(&token).await.map(drop), Err(denied()));
}
