//! A broker's key and its tokens, made by what the broker makes them with; and tokens that no
//! broker makes.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::num::NonZeroU16;

use artifacts_secrets::provision::{AdminKeys, Identities, StoreKind, Target};
use async_trait::async_trait;
use model::Actor;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use vault::{DeviceKey, SignEs256, VerifyKeys, WebIdentity, mint_web_identity};

pub(crate) const BUCKET: &str = "vault-bucket";

/// A broker, as far as a store sees it: an issuer with discovery and keys, on this machine.
pub(crate) struct Broker {
    key: DeviceKey,
    pub(crate) issuer: String,
}

/// The broker's tokens of one actor.
pub(crate) struct Tokens<'a> {
    pub(crate) broker: &'a Broker,
    pub(crate) actor: Actor,
}

impl Broker {
    pub(crate) fn start() -> Self {
        let key = DeviceKey::generate().unwrap();
        let keys = VerifyKeys::from_keys([key.public_jwk().clone()]).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let discovery = json!({"issuer": issuer, "jwks_uri": format!("{issuer}/jwks.json")});
        let jwks = keys.jwks();
        // Ends with the test's process.
        std::thread::spawn(move || serve(&listener, &discovery, &jwks));
        Self { key, issuer }
    }

    pub(crate) fn token(&self, actor: &Actor) -> SecretString {
        let identity = WebIdentity {
            iss: self.issuer.clone(),
            actor: actor.clone(),
            iat: artifacts_secrets::now(),
            jti: jti(),
        };
        mint_web_identity(&identity, &self.key).unwrap()
    }

    /// A token with other claims than the broker writes, signed by this key.
    pub(crate) fn signed(&self, key: &DeviceKey, claims: &Value) -> SecretString {
        let kid = self.key.public_jwk().thumbprint().to_string();
        let text = |value: &Value| encoded(value.to_string().as_bytes());
        let header = json!({"alg": "ES256", "typ": "JWT", "kid": kid});
        let input = format!("{}.{}", text(&header), text(claims));
        let signature = key.sign(input.as_bytes()).unwrap();
        format!("{input}.{}", encoded(&signature)).into()
    }

    /// The claims that the broker writes, for changes.
    pub(crate) fn claims(&self, actor: &Actor) -> Value {
        let token = self.token(actor);
        let claims = token.expose_secret().split('.').nth(1).unwrap();
        let bytes = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(claims).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    /// Every token that a store must not take, by what is wrong with it. (That of an actor
    /// with a wildcard in its name cannot be made by the broker; here its key makes one.)
    pub(crate) fn bad_tokens(&self, actor: &Actor) -> Vec<(&'static str, SecretString)> {
        let claims = self.claims(actor);
        let with = |changes: &[(&str, Value)]| {
            let mut claims = claims.clone();
            for (name, value) in changes {
                claims[*name] = value.clone();
            }
            claims
        };
        let [nested, flat] = [
            "https://aws.amazon.com/tags",
            "https://aws.amazon.com/tags/principal_tags",
        ];
        let tagged = |value: &str| {
            with(&[
                (
                    nested,
                    json!({"principal_tags": {"artifacts_actor": [value]}, "transitive_tag_keys": ["artifacts_actor"]}),
                ),
                (flat, json!({"artifacts_actor": [value]})),
            ])
        };
        let mut untagged = claims.clone();
        untagged.as_object_mut().unwrap().remove(nested);
        untagged.as_object_mut().unwrap().remove(flat);
        let stranger = DeviceKey::generate().unwrap();
        let ours = |claims: &Value| self.signed(&self.key, claims);
        vec![
            ("forged", self.signed(&stranger, &claims)),
            ("expired", ours(&with(&[("exp", json!(1))]))),
            ("audience", ours(&with(&[("aud", json!("another"))]))),
            (
                "issuer",
                ours(&with(&[("iss", json!("https://another.example.com"))])),
            ),
            ("untagged", ours(&untagged)),
            ("wildcard", ours(&tagged("*"))),
        ]
    }
}

#[async_trait]
impl Identities for Tokens<'_> {
    fn actor(&self) -> &Actor {
        &self.actor
    }

    async fn token(&self) -> artifacts_secrets::Result<SecretString> {
        Ok(self.broker.token(&self.actor))
    }
}

pub(crate) fn ada() -> Actor {
    Actor::from_oidc("https://id.example.com", "ada").unwrap()
}

pub(crate) fn bob() -> Actor {
    Actor::from_oidc("https://id.example.com", "bob").unwrap()
}

pub(crate) fn admin_keys() -> AdminKeys {
    AdminKeys {
        access_key_id: testkit::ACCESS_KEY_ID.into(),
        secret_access_key: testkit::SECRET_ACCESS_KEY.to_owned().into(),
        session_token: None,
    }
}

pub(crate) fn target(kind: StoreKind, endpoint: &str, issuer: &str) -> Target {
    let role = match kind {
        StoreKind::SeaweedFs => "arn:aws:iam::role/artifacts-vault",
        _ => "arn:aws:iam::000000000000:role/artifacts-vault",
    };
    Target {
        kind,
        bucket: BUCKET.parse().unwrap(),
        endpoint: Some(endpoint.parse().unwrap()),
        sts_endpoint: None,
        ca: None,
        region: testkit::REGION.into(),
        role: role.parse().unwrap(),
        issuer: issuer.parse().unwrap(),
        expire_days: NonZeroU16::new(90),
    }
}

/// What is said to a token's exchange: the keys, or the code of the refusal and its status.
pub(crate) async fn exchange(
    target: &Target,
    token: &SecretString,
) -> Result<aws_sdk_s3::Client, (String, u16)> {
    use aws_sdk_sts::error::ProvideErrorMetadata;
    let endpoint = target.endpoint.as_ref().unwrap().as_str();
    let config = aws_sdk_sts::Config::builder()
        .behavior_version(aws_sdk_sts::config::BehaviorVersion::latest())
        .region(aws_sdk_sts::config::Region::new(testkit::REGION))
        .endpoint_url(endpoint)
        .allow_no_auth();
    let sts = aws_sdk_sts::Client::from_conf(config.build());
    let call = sts.assume_role_with_web_identity();
    let call = call
        .role_arn(target.role.as_str())
        .role_session_name("agent");
    match call.web_identity_token(token.expose_secret()).send().await {
        Ok(answer) => {
            let keys = answer.credentials().unwrap();
            let keys = aws_sdk_s3::config::Credentials::new(
                keys.access_key_id(),
                keys.secret_access_key(),
                Some(keys.session_token().to_owned()),
                None,
                "test",
            );
            let config = testkit::s3::client(endpoint).config().to_builder();
            Ok(aws_sdk_s3::Client::from_conf(
                config.credentials_provider(keys).build(),
            ))
        }
        Err(error) => {
            let status = error.raw_response().map_or(0, |raw| raw.status().as_u16());
            Err((error.code().unwrap_or("none").to_owned(), status))
        }
    }
}

fn jti() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

fn encoded(bytes: &[u8]) -> String {
    base64_simd::URL_SAFE_NO_PAD.encode_to_string(bytes)
}

fn serve(listener: &TcpListener, discovery: &Value, jwks: &Value) {
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let mut asked = [0; 4096];
        let length = stream.read(&mut asked).unwrap_or_default();
        let asked = String::from_utf8_lossy(&asked[..length]).into_owned();
        let body = match asked.starts_with("GET /jwks.json ") {
            true => jwks.to_string(),
            false => discovery.to_string(),
        };
        let length = body.len();
        let _ = write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
    }
}
