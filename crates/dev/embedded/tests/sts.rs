//! STS: sessions of keys, of roles and of providers' tokens, and each way to be refused.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use artifacts_embedded::STS_FILE;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use aws_sdk_sts::Client as StsClient;
use aws_sdk_sts::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sts::types::Credentials as Session;
use common::{BUCKET, Lab, refusal};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

const ALL: &str = r#"{"Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}"#;
const ROLE: &str = "arn:aws:iam::000000000000:role/Reader";
const ISSUER: &str = "https://id.example.com";

/// A long-lived key of the lab's store: id and secret.
fn new_key(lab: &Lab) -> (String, String) {
    use secrecy::ExposeSecret;
    let key = lab.server.keys().add(ALL).unwrap();
    (key.id.clone(), key.secret.expose_secret().to_owned())
}

fn sts(lab: &Lab, keys: Option<Credentials>) -> StsClient {
    let mut config = aws_sdk_sts::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(lab.server.endpoint())
        .allow_no_auth();
    config.set_credentials_provider(keys.map(aws_sdk_sts::config::SharedCredentialsProvider::new));
    StsClient::from_conf(config.build())
}

fn long_lived((id, secret): &(String, String)) -> Option<Credentials> {
    Some(Credentials::new(id, secret, None, None, "test"))
}

/// An S3 client with a session's keys, and with this token.
fn s3(lab: &Lab, session: &Session, token: Option<&str>) -> aws_sdk_s3::Client {
    let keys = Credentials::new(
        session.access_key_id(),
        session.secret_access_key(),
        token.map(str::to_owned),
        None,
        "test",
    );
    let config = lab.client.config().to_builder();
    aws_sdk_s3::Client::from_conf(config.credentials_provider(keys).build())
}

fn with_token(lab: &Lab, session: &Session) -> aws_sdk_s3::Client {
    s3(lab, session, Some(session.session_token()))
}

fn write_settings(lab: &Lab, settings: &Value) {
    let path = lab.folder.path().join(STS_FILE);
    fs::write(&path, settings.to_string()).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn reader(trust: Value) -> Value {
    let policy = json!({"Statement": [
        {"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": "*"}
    ]});
    json!({"arn": ROLE, "trust": trust, "policy": policy, "max_seconds": 7200})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_needs_its_token_and_ends_with_its_time_and_its_key() {
    let lab = Lab::start().await;
    let key = new_key(&lab);
    let begin = |seconds| {
        let call = sts(&lab, long_lived(&key)).get_session_token();
        async move { call.duration_seconds(seconds).send().await }
    };
    let long = begin(3600).await.unwrap();
    let long = long.credentials().unwrap();
    let left = long.expiration().secs() - time::OffsetDateTime::now_utc().unix_timestamp();
    assert!((3590..=3600).contains(&left), "{left}");
    let list = |client: aws_sdk_s3::Client| async move { client.list_buckets().send().await };
    assert!(list(with_token(&lab, long)).await.is_ok());
    for token in [None, Some("wrong")] {
        let refused = refusal(list(s3(&lab, long, token)).await);
        assert_eq!(refused, ("InvalidToken".into(), 400), "{token:?}");
    }
    let short = begin(1).await.unwrap();
    let short = short.credentials().unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let refused = refusal(list(with_token(&lab, short)).await);
    assert_eq!(refused, ("ExpiredToken".into(), 400));
    for seconds in [0, -1, 129_601] {
        let refused = refusal(begin(seconds).await);
        assert_eq!(refused, ("ValidationError".into(), 400), "{seconds}");
    }
    // A session makes no session.
    let keys = Credentials::new(
        long.access_key_id(),
        long.secret_access_key(),
        Some(long.session_token().to_owned()),
        None,
        "test",
    );
    let again = sts(&lab, Some(keys.clone()))
        .get_session_token()
        .send()
        .await;
    assert_eq!(refusal(again), ("AccessDenied".into(), 403));
    let who = sts(&lab, Some(keys.clone())).get_caller_identity();
    let arn = who.clone().send().await.unwrap().arn.unwrap();
    assert_eq!(arn, format!("arn:aws:iam::000000000000:user/{}", key.0));
    // It still lasts, and is dead with its key.
    lab.server.keys().revoke(&key.0).unwrap();
    let refused = refusal(list(with_token(&lab, long)).await);
    assert_eq!(refused, ("InvalidAccessKeyId".into(), 403));
    assert_eq!(refusal(who.send().await).0, "InvalidToken");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_gives_just_its_rights_to_just_whom_it_trusts() {
    let lab = Lab::start().await;
    lab.put("a", b"x").await;
    let (ada, bob) = (new_key(&lab), new_key(&lab));
    let trust = json!([{"key": ada.0, "external_id": "agreed"}]);
    write_settings(&lab, &json!({"version": 1, "roles": [reader(trust)]}));
    let assume = |key: &(String, String), role: &str, external: Option<&str>| {
        let call = sts(&lab, long_lived(key)).assume_role();
        let call = call.role_arn(role).role_session_name("test");
        let call = call.set_external_id(external.map(str::to_owned));
        async move { call.send().await }
    };
    let denied = ("AccessDenied".to_owned(), 403);
    for (key, role, external) in [
        (&bob, ROLE, Some("agreed")),
        (&ada, ROLE, Some("other")),
        (&ada, ROLE, None),
        (
            &ada,
            "arn:aws:iam::000000000000:role/Nobody",
            Some("agreed"),
        ),
    ] {
        let refused = refusal(assume(key, role, external).await);
        assert_eq!(refused, denied, "{role} {external:?}");
    }
    let answer = assume(&ada, ROLE, Some("agreed")).await.unwrap();
    let user = answer.assumed_role_user().unwrap().arn();
    assert_eq!(user, "arn:aws:sts::000000000000:assumed-role/Reader/test");
    let client = with_token(&lab, answer.credentials().unwrap());
    assert!(
        client
            .get_object()
            .bucket(BUCKET)
            .key("a")
            .send()
            .await
            .is_ok()
    );
    let put = client
        .put_object()
        .bucket(BUCKET)
        .key("b")
        .body(b"x".to_vec().into());
    assert_eq!(refusal(put.send().await), denied);
    let long = sts(&lab, long_lived(&ada)).assume_role().role_arn(ROLE);
    let long = long.role_session_name("test").external_id("agreed");
    let long = long.duration_seconds(7201).send().await;
    assert_eq!(refusal(long), ("ValidationError".into(), 400));
    lab.server.keys().revoke(&ada.0).unwrap();
    let gone = client.get_object().bucket(BUCKET).key("a").send().await;
    assert_eq!(refusal(gone), ("InvalidAccessKeyId".into(), 403));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_asked_of_the_device_that_is_named() {
    let lab = Lab::start().await;
    let key = new_key(&lab);
    let trust = json!([{"key": "*", "mfa": true}]);
    let devices = json!([
        {"serial": "fixed", "code": "123456"},
        {"serial": "totp", "totp": "3132333435363738393031323334353637383930"}
    ]);
    write_settings(
        &lab,
        &json!({"version": 1, "roles": [reader(trust)], "mfa_devices": devices}),
    );
    let session = |serial: &str, code: Option<&str>| {
        let call = sts(&lab, long_lived(&key)).get_session_token();
        let call = call
            .serial_number(serial)
            .set_token_code(code.map(str::to_owned));
        async move { call.send().await }
    };
    let denied = ("AccessDenied".to_owned(), 403);
    for (serial, code) in [
        ("fixed", None),
        ("fixed", Some("123457")),
        ("nobodys", Some("123456")),
        ("totp", Some("12345")),
    ] {
        assert_eq!(
            refusal(session(serial, code).await),
            denied,
            "{serial} {code:?}"
        );
    }
    assert!(session("fixed", Some("123456")).await.is_ok());
    let assume = || {
        sts(&lab, long_lived(&key))
            .assume_role()
            .role_arn(ROLE)
            .role_session_name("me")
    };
    assert_eq!(
        refusal(assume().send().await),
        denied,
        "the role wants a code"
    );
    let wrong = assume().serial_number("fixed").token_code("000000");
    assert_eq!(refusal(wrong.send().await), denied);
    let right = assume().serial_number("fixed").token_code("123456");
    assert!(right.send().await.is_ok());
}

/// A provider with one key on P-256.
struct Provider {
    pair: EcdsaKeyPair,
}

impl Provider {
    fn new() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Self { pair }
    }

    fn jwks(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        let text = |bytes: &[u8]| base64_simd::URL_SAFE_NO_PAD.encode_to_string(bytes);
        json!({"keys": [{
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "one",
            "x": text(&point[1..33]), "y": text(&point[33..]),
        }]})
    }

    fn token(&self, changes: &[(&str, Value)]) -> String {
        let now = time::OffsetDateTime::now_utc().unix_timestamp();
        let mut claims = json!({
            "iss": ISSUER, "sub": "ci:main", "aud": "sts.amazonaws.com", "exp": now + 300,
        });
        for (name, value) in changes {
            claims[*name] = value.clone();
        }
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some("one".into());
        let der = self.pair.to_pkcs8v1().unwrap();
        encode(&header, &claims, &EncodingKey::from_ec_der(der.as_ref())).unwrap()
    }
}

fn provided(jwks: &str) -> Value {
    let trust = json!([{"issuer": ISSUER, "audience": "sts.amazonaws.com", "subject": "ci:*"}]);
    json!({
        "version": 1, "roles": [reader(trust)],
        "providers": [{"issuer": ISSUER, "jwks": jwks}],
    })
}

async fn exchange(lab: &Lab, token: &str) -> Result<Session, (String, u16)> {
    let call = sts(lab, None).assume_role_with_web_identity();
    let call = call.role_arn(ROLE).role_session_name("ci");
    match call.web_identity_token(token).send().await {
        Ok(answer) => {
            assert_eq!(answer.subject_from_web_identity_token(), Some("ci:main"));
            Ok(answer.credentials.unwrap())
        }
        refused => Err(refusal(refused)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_believed_only_whole_and_in_its_time() {
    let lab = Lab::start().await;
    lab.put("a", b"x").await;
    let (provider, other) = (Provider::new(), Provider::new());
    fs::write(
        lab.folder.path().join("jwks.json"),
        provider.jwks().to_string(),
    )
    .unwrap();
    write_settings(&lab, &provided("jwks.json"));
    let session = exchange(&lab, &provider.token(&[])).await.unwrap();
    let got = with_token(&lab, &session)
        .get_object()
        .bucket(BUCKET)
        .key("a")
        .send();
    assert!(got.await.is_ok());
    let refused = |code: &str, status| Err((code.to_owned(), status));
    let invalid = || refused("InvalidIdentityToken", 400);
    let tried = |changes: &[(&str, Value)]| provider.token(changes);
    for (token, expected) in [
        (other.token(&[]), invalid()),
        (
            tried(&[("iss", json!("https://evil.example.com"))]),
            invalid(),
        ),
        (tried(&[("nbf", json!(32_503_680_000_i64))]), invalid()),
        (
            tried(&[("exp", json!(1))]),
            refused("ExpiredTokenException", 400),
        ),
        (
            tried(&[("aud", json!("another"))]),
            refused("AccessDenied", 403),
        ),
        (
            tried(&[("sub", json!("pull:main"))]),
            refused("AccessDenied", 403),
        ),
        ("a.b.c".to_owned(), invalid()),
    ] {
        assert_eq!(exchange(&lab, &token).await.map(drop), expected, "{token}");
    }
    // Signed with the public key as if it were a shared secret: the algorithm is not its to choose.
    let key = EncodingKey::from_secret(provider.pair.public_key().as_ref());
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some("one".into());
    let claims = json!({"iss": ISSUER, "sub": "ci:main", "aud": "sts.amazonaws.com", "exp": 32_503_680_000_i64});
    let forged = encode(&header, &claims, &key).unwrap();
    assert_eq!(exchange(&lab, &forged).await.map(drop), invalid());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_providers_keys_are_fetched_from_this_machine_only() {
    let lab = Lab::start().await;
    let provider = Provider::new();
    let body = provider.jwks().to_string();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let length = stream.read(&mut [0; 4096]).unwrap();
            assert!(length > 0);
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
        }
    });
    write_settings(&lab, &provided(&format!("http://{address}/jwks")));
    exchange(&lab, &provider.token(&[])).await.unwrap();
    for elsewhere in ["http://192.0.2.1:80/jwks", "http://127.0.0.1:1/jwks"] {
        write_settings(&lab, &provided(elsewhere));
        let refused = exchange(&lab, &provider.token(&[])).await.map(drop);
        let expected = ("IDPCommunicationError".to_owned(), 400);
        assert_eq!(refused, Err(expected), "{elsewhere}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_are_wrong_or_open_to_others_are_refused() {
    let lab = Lab::start().await;
    let key = new_key(&lab);
    let assume = || {
        let call = sts(&lab, long_lived(&key)).assume_role().role_arn(ROLE);
        let call = call.role_session_name("test");
        async move { refusal(call.send().await) }
    };
    let good = json!({"version": 1, "roles": [reader(json!([{"key": "*"}]))]});
    let path = lab.folder.path().join(STS_FILE);
    let mut bad = vec![json!({"version": 2}), json!({"version": 1, "role": []})];
    let mut unknown = good.clone();
    unknown["roles"][0]["trust"][0]["exernal_id"] = "misspelt".into();
    bad.push(unknown);
    for settings in bad {
        write_settings(&lab, &settings);
        assert_eq!(
            assume().await,
            ("InternalFailure".into(), 500),
            "{settings}"
        );
    }
    write_settings(&lab, &good);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(assume().await, ("InternalFailure".into(), 500));
}
