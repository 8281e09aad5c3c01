//! Identities for an STS: for a session's own actor, and for what a capability is about.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use artifacts_broker::internal;
use base::ca::{Authority, Order};
use base::mutual::{Identity, client};
use base::peer::TrustDomain;
use base::{ClientCa, Clock, Listener, SystemClock, Tls};
use common::{Broker, Person, claims, id, new_key};
use reqwest::StatusCode;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use vault::jws;

const SERVICE: &str = "openrouter";
const OWN: &str = "/v1/mint-oidc-jwt";
const PATH: &str = "/v1/worker/web-identity";

/// The inner listener, and certificates for it.
struct Inside {
    url: String,
    authority: Authority,
    folder: tempfile::TempDir,
    domain: TrustDomain,
}

impl Inside {
    async fn open(broker: &Broker) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let domain: TrustDomain = "artifacts".parse().unwrap();
        let now = SystemClock.now();
        let authority = Authority::open_or_make(folder.path(), &domain, now).unwrap();
        let mut inside = Self {
            url: String::new(),
            authority,
            folder,
            domain,
        };
        let own = inside.identity("broker", &["127.0.0.1".to_owned()]);
        let tls = Tls {
            certificate: own.certificate,
            key: own.key,
            clients: Some(ClientCa {
                file: own.ca,
                trust_domain: inside.domain.clone(),
            }),
        };
        let address = "127.0.0.1:0".parse().unwrap();
        let listener = Listener::bind(address, Some(&tls), false).await.unwrap();
        inside.url = format!("https://{}", listener.address());
        let router = internal(Arc::clone(&broker.app));
        tokio::spawn(base::serve(listener, router, CancellationToken::new()));
        inside
    }

    fn identity(&self, role: &str, names: &[String]) -> Identity {
        let order = Order {
            role: Some(role),
            names,
            lifetime: Duration::from_secs(3600),
        };
        let issued = self.authority.issue(&order, SystemClock.now()).unwrap();
        let whose = if names.is_empty() { "client" } else { "server" };
        let at = |what: &str| {
            let name = format!("{whose}-{role}{what}.pem");
            self.folder.path().join(name)
        };
        let (certificate, key) = (at(""), at("-key"));
        issued.write(&certificate, &key).unwrap();
        Identity {
            ca: self.authority.certificate().to_owned(),
            certificate,
            key,
            trust_domain: self.domain.clone(),
        }
    }

    async fn ask(&self, role: &str, cap: &str) -> (StatusCode, Value) {
        let identity = self.identity(role, &[]);
        let client = client(&identity, "broker").unwrap().build().unwrap();
        let body = json!({ "cap": cap }).to_string();
        let answer = client.post(format!("{}{PATH}", self.url)).body(body);
        let answer = answer.send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// The reason for which a worker is refused.
    async fn refusal(&self, cap: &str) -> (u16, String) {
        let (status, body) = self.ask("worker", cap).await;
        let reason = body["reason"].as_str().unwrap_or("none").to_owned();
        (status.as_u16(), reason)
    }
}

fn is_tagged(token: &str, broker: &Broker, actor: &model::Actor) {
    let claims = claims(token);
    let tags = json!({ "artifacts_actor": [actor] });
    assert_eq!(claims["https://aws.amazon.com/tags/principal_tags"], tags);
    let both = &claims["https://aws.amazon.com/tags"];
    assert_eq!(both["principal_tags"], tags);
    assert_eq!(both["transitive_tag_keys"], json!(["artifacts_actor"]));
    assert_eq!(claims["aud"], "sts.amazonaws.com");
    assert_eq!(claims["sub"], actor.as_str());
    assert_eq!(claims["iss"], broker.url);
    assert_eq!(claims["exp"].as_i64(), Some(broker.now() + 300));
    assert!(vault::token::is_tag_value(actor.as_str()));
}

async fn cap(broker: &Broker, who: &Person, op: &str, body: &Value) -> String {
    let answer = broker.cap(who, op, body).await.done();
    answer["cap"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_operator_gets_an_identity_of_their_own_actor_and_no_other() {
    let broker = Broker::start().await;
    let ada = broker.operator("ada").await;
    let ask = async |who: &Person, body: Value| {
        broker.prove(OWN, Some(&who.token), &who.key, &body).await
    };
    // Whatever the body names is nobody's concern.
    let answer = ask(&ada, json!({ "actor": "*" })).await.done();
    let token = answer["token"].as_str().unwrap();
    is_tagged(token, &broker, &ada.actor);
    assert_eq!(answer["expires_in"], 300);
    let record = broker.kept.last();
    assert_eq!(record["action"], "identity.own");
    assert_eq!(record["target"], ada.actor.as_str());
    assert_eq!(record["device"], id(&ada.key).to_string());
    // The worker alone reaches the bucket for an agent: it knows its scope.
    let agent = broker.agent(&ada, "ci").await;
    let refused = ask(&agent, json!({})).await;
    refused.is_failure(403, "forbidden");
    assert!(refused.text.contains("an agent gets no keys to the bucket"));
    assert_eq!(broker.kept.last()["outcome"], "forbidden");
    // The session counts, and its device does not.
    broker.book.forget(id(&ada.key));
    let refused = ask(&ada, json!({})).await;
    refused.is_refused(403, "device_unknown");
    assert_eq!(broker.kept.last()["outcome"], "device_unknown");
}

/// Every server that a session is shown to could use it otherwise.
#[tokio::test]
async fn a_session_alone_gets_no_identity() {
    let broker = Broker::start().await;
    let ada = broker.operator("ada").await;
    let body = json!({});
    let bare = broker.post(OWN, Some(&ada.token), &body).await;
    bare.is_refused(403, "proof_missing");
    let thief = new_key();
    // Not by a device that is registered as the operator's, either: the session is the other's.
    broker.book.add(&ada.actor, &ada.actor, id(&thief), 3);
    let stolen = broker.prove(OWN, Some(&ada.token), &thief, &body).await;
    stolen.is_refused(403, "proof_invalid");
    let elsewhere = broker.proof("/v1/drop", Some(&ada.token), &ada.key, "{}");
    let other = broker
        .with_proof(OWN, Some(&ada.token), &elsewhere, &body)
        .await;
    other.is_refused(403, "proof_invalid");
    let unbound = broker.login("ada").await;
    let refused = broker.prove(OWN, Some(&unbound), &ada.key, &body).await;
    refused.is_failure(403, "forbidden");
    assert!(refused.text.contains("bound to no device"));
    let proof = broker.proof(OWN, Some(&ada.token), &ada.key, "{}");
    let first = broker.with_proof(OWN, Some(&ada.token), &proof, &body);
    first.await.done();
    let again = broker.with_proof(OWN, Some(&ada.token), &proof, &body);
    again.await.is_refused(403, "proof_replayed");
    let nobody = broker.prove(OWN, Some(""), &ada.key, &body).await;
    nobody.is_failure(401, "unauthenticated");
}

#[tokio::test]
async fn a_worker_gets_an_identity_of_exactly_the_capability_s_actor() {
    let broker = Broker::start().await;
    let inside = Inside::open(&broker).await;
    let ada = broker.operator("ada").await;
    let agent = broker.agent(&ada, "ci").await;
    broker.book.allow(&ada.actor, &agent.actor, SERVICE, false);
    let service = json!({ "service": SERVICE });
    for (op, body) in [
        ("store", &service),
        ("fetch", &service),
        ("list", &json!({})),
    ] {
        let cap = cap(&broker, &agent, op, body).await;
        let (status, answer) = inside.ask("worker", &cap).await;
        assert_eq!(status, 200, "{answer}");
        is_tagged(answer["token"].as_str().unwrap(), &broker, &agent.actor);
    }
    let target = json!({ "target": agent.actor, "label": "ci" });
    let teardown = cap(&broker, &ada, "teardown", &target).await;
    let (status, answer) = inside.ask("worker", &teardown).await;
    assert_eq!(status, 200, "{answer}");
    is_tagged(answer["token"].as_str().unwrap(), &broker, &agent.actor);
    let record = broker.kept.last();
    assert_eq!(record["action"], "identity.worker");
    assert_eq!(record["target"], agent.actor.as_str());
    assert_eq!(record["actor"], ada.actor.as_str());
    // For workers only, whatever is shown.
    for role in ["signer", "broker", "operator-admin"] {
        let (status, body) = inside.ask(role, &teardown).await;
        assert_eq!((status.as_u16(), &body["code"]), (403, &json!("forbidden")));
    }
    // And not on the outer listener.
    let outside = broker.post(PATH, None, &json!({ "cap": teardown })).await;
    outside.is_failure(404, "not_found");
}

#[tokio::test]
async fn a_capability_that_a_worker_would_refuse_is_worth_no_identity() {
    let broker = Broker::start().await;
    let inside = Inside::open(&broker).await;
    let ada = broker.operator("ada").await;
    broker.book.allow(&ada.actor, &ada.actor, SERVICE, false);
    let service = json!({ "service": SERVICE });
    let fresh = async || cap(&broker, &ada, "store", &service).await;
    let good = fresh().await;
    let refused = |status: u16, reason: &str| (status, reason.to_owned());
    let (rest, _) = good.rsplit_once('.').unwrap();
    let forged = jws::sign("cap+jwt", &claims(&good), &new_key()).unwrap();
    let foreign = broker.issuer.sign("cap+jwt", &claims(&good));
    let invalid = refused(403, "cap_signature_invalid");
    for wrong in [
        forged.expose_secret(),
        &foreign,
        &format!("{rest}."),
        &ada.token,
        "x",
    ] {
        assert_eq!(inside.refusal(wrong).await, invalid);
        assert_eq!(broker.kept.last()["outcome"], "cap_signature_invalid");
    }
    broker.book.allow(&ada.actor, &ada.actor, SERVICE, true);
    let denied = inside.refusal(&good).await;
    assert_eq!(denied, refused(403, "scope_read_only"));
    broker.book.disallow(&ada.actor, &ada.actor, SERVICE);
    let denied = inside.refusal(&good).await;
    assert_eq!(denied, refused(403, "scope_denied"));
    broker.book.allow(&ada.actor, &ada.actor, SERVICE, false);
    broker.book.set_epoch(2);
    let old = inside.refusal(&good).await;
    assert_eq!(old, refused(403, "epoch_mismatch"));
    let good = fresh().await;
    broker.book.set_away(true);
    let away = inside.refusal(&good).await;
    assert_eq!(away, refused(502, "registry_unavailable"));
    broker.book.set_away(false);
    broker.clock.advance(Duration::from_secs(120));
    let ended = inside.refusal(&good).await;
    assert_eq!(ended, refused(403, "cap_expired"));
    let good = fresh().await;
    broker.book.revoke(id(&ada.key));
    let gone = inside.refusal(&good).await;
    assert_eq!(gone, refused(403, "device_revoked"));
    assert_eq!(broker.kept.last()["actor"], ada.actor.as_str());
}
