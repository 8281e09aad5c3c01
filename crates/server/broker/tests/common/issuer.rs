//! An OpenID Connect provider on loopback that signs whatever a test wants signed.

use std::collections::HashMap;
use std::sync::Arc;

use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use base::tokens::{IssuerConfig, IssuerKind, PinnedAlgorithm};
use parking_lot::Mutex;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use vault::{DeviceKey, SignEs256, jws};

/// The provider; it ends with the test's runtime.
pub(crate) struct Issuer {
    pub(crate) url: String,
    pub(crate) key: Arc<DeviceKey>,
    codes: Arc<Mutex<HashMap<String, String>>>,
}

impl Issuer {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let key = Arc::new(super::new_key());
        let discovery = json!({
            "issuer": url,
            "jwks_uri": format!("{url}/keys"),
            "authorization_endpoint": format!("{url}/authorize"),
            "token_endpoint": format!("{url}/token"),
        });
        let keys = json!({ "keys": [key.public_jwk().jwk()] });
        let codes: Arc<Mutex<HashMap<String, String>>> = Arc::default();
        let known = Arc::clone(&codes);
        let exchange =
            async move |axum::Form(asked): axum::Form<HashMap<String, String>>| match known
                .lock()
                .remove(&asked["code"])
            {
                Some(token) => (StatusCode::OK, Json(json!({ "id_token": token }))),
                None => (StatusCode::BAD_REQUEST, Json(json!({}))),
            };
        let router = Router::new()
            .route(
                "/.well-known/openid-configuration",
                get(async move || Json(discovery)),
            )
            .route("/keys", get(async move || Json(keys)))
            .route("/token", post(exchange));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, key, codes }
    }

    pub(crate) fn config(&self) -> IssuerConfig {
        IssuerConfig {
            url: self.url.clone(),
            kind: IssuerKind::Oidc,
            algorithms: vec![PinnedAlgorithm::Es256],
            name: Some("Example".into()),
            client_id: Some("broker-pages".into()),
            client_secret_file: None,
            client_secret_env: None,
        }
    }

    /// The claims of a good token.
    pub(crate) fn claims(&self, subject: &str, now: i64) -> Value {
        json!({
            "iss": self.url, "sub": subject, "aud": "artifacts",
            "iat": now, "exp": now + 3600,
        })
    }

    pub(crate) fn token(&self, subject: &str, now: i64) -> String {
        self.sign("JWT", &self.claims(subject, now))
    }

    pub(crate) fn sign(&self, kind: &str, claims: &Value) -> String {
        let token = jws::sign(kind, claims, &*self.key).unwrap();
        token.expose_secret().to_owned()
    }

    /// From now on this code is exchanged for this ID token, once.
    pub(crate) fn answers(&self, code: &str, token: String) {
        self.codes.lock().insert(code.into(), token);
    }
}
