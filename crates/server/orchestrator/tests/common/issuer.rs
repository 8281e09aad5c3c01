//! An OpenID Connect provider on loopback that signs whatever a test wants signed.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use api::Timestamp;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use parking_lot::Mutex;
use serde_json::{Value, json};

/// The provider; it ends with the test's runtime.
pub(crate) struct Issuer {
    pub(crate) url: String,
    /// How often its keys were fetched.
    pub(crate) fetched: Arc<AtomicUsize>,
    keys: Arc<Mutex<Value>>,
    key: Key,
    /// The ID tokens that its codes are exchanged for, and the last exchange that was asked for.
    codes: Arc<Mutex<Codes>>,
}

#[derive(Default)]
struct Codes {
    tokens: HashMap<String, String>,
    asked: HashMap<String, String>,
    authorization: Option<String>,
}

/// A key with its number.
pub(crate) struct Key {
    pub(crate) id: String,
    signs: EncodingKey,
    public: Value,
    /// The public half, as bytes that an attacker may use as a shared secret.
    pub(crate) public_bytes: Vec<u8>,
}

impl Key {
    pub(crate) fn new(id: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let point = pair.public_key().as_ref().to_vec();
        let encode = |bytes: &[u8]| base64_simd::URL_SAFE_NO_PAD.encode_to_string(bytes);
        Self {
            id: id.to_owned(),
            signs: EncodingKey::from_ec_der(pair.to_pkcs8v1().unwrap().as_ref()),
            public: json!({
                "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": id,
                "x": encode(&point[1..33]), "y": encode(&point[33..]),
            }),
            public_bytes: point,
        }
    }

    /// A token with this header's type and these claims.
    pub(crate) fn sign(&self, kind: Option<&str>, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.typ = kind.map(str::to_owned);
        header.kid = Some(self.id.clone());
        jsonwebtoken::encode(&header, claims, &self.signs).unwrap()
    }
}

impl Issuer {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let key = Key::new("first");
        let keys = Arc::new(Mutex::new(json!({ "keys": [key.public] })));
        let fetched = Arc::new(AtomicUsize::new(0));
        let discovery = json!({
            "issuer": url,
            "jwks_uri": format!("{url}/keys"),
            "authorization_endpoint": format!("{url}/authorize"),
            "token_endpoint": format!("{url}/token"),
        });
        let codes = Arc::new(Mutex::new(Codes::default()));
        let (shown, count) = (Arc::clone(&keys), Arc::clone(&fetched));
        let kept = Arc::clone(&codes);
        let router = Router::new()
            .route(
                "/.well-known/openid-configuration",
                get(async move || Json(discovery)),
            )
            .route(
                "/keys",
                get(async move || {
                    count.fetch_add(1, Ordering::SeqCst);
                    Json(shown.lock().clone())
                }),
            )
            .route(
                "/token",
                post(
                    async move |headers: HeaderMap,
                                axum::Form(asked): axum::Form<HashMap<String, String>>| {
                        let mut codes = kept.lock();
                        let found = codes.tokens.remove(&asked["code"]);
                        codes.asked = asked;
                        let authorization = headers.get("authorization");
                        codes.authorization =
                            authorization.map(|value| value.to_str().unwrap().to_owned());
                        match found {
                            Some(token) => (StatusCode::OK, Json(json!({ "id_token": token }))),
                            None => (
                                StatusCode::BAD_REQUEST,
                                Json(json!({ "error": "invalid_grant" })),
                            ),
                        }
                    },
                ),
            );
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            url,
            fetched,
            keys,
            key,
            codes,
        }
    }

    /// From now on this code is exchanged for this ID token, once.
    pub(crate) fn answers(&self, code: &str, token: String) {
        self.codes.lock().tokens.insert(code.into(), token);
    }

    /// What the last exchange was asked for with.
    pub(crate) fn asked(&self) -> HashMap<String, String> {
        self.codes.lock().asked.clone()
    }

    /// What came with it as `Authorization`.
    pub(crate) fn authorization(&self) -> Option<String> {
        self.codes.lock().authorization.clone()
    }

    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    /// Its keys are these from now on.
    pub(crate) fn show_keys(&self, keys: &[&Key]) {
        let keys: Vec<_> = keys.iter().map(|key| &key.public).collect();
        *self.keys.lock() = json!({ "keys": keys });
    }

    /// The claims of a good token.
    pub(crate) fn claims(&self, subject: &str, now: Timestamp) -> Value {
        json!({
            "iss": self.url, "sub": subject, "aud": "artifacts",
            "iat": now.seconds(), "exp": now.seconds() + 3600,
        })
    }

    pub(crate) fn token(&self, subject: &str, now: Timestamp) -> String {
        self.key.sign(Some("JWT"), &self.claims(subject, now))
    }
}
