//! People log in: a machine that they let in by a code, a browser with an issuer, a wallet.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::time::Duration;

use common::{BEGIN, Broker, Reply, claims, id, new_key};
use k256::ecdsa::SigningKey;
use reqwest::Method;
use serde_json::{Value, json};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

async fn form(broker: &Broker, path: &str, fields: &[(&str, &str)]) -> Reply {
    let mut form = String::new();
    for (name, value) in fields {
        let value: String = value.replace(':', "%3A").replace(' ', "+");
        form.push_str(&format!("{name}={value}&"));
    }
    let request = broker.request(Method::POST, path).body(form);
    let kind = "application/x-www-form-urlencoded";
    broker.send(request.header("content-type", kind)).await
}

async fn authorize(broker: &Broker) -> Value {
    let fields = [("client_id", "artifacts"), ("machine", "laptop")];
    form(broker, "/oauth/device_authorization", &fields)
        .await
        .done()
}

/// Asks again, after the pause that is due.
async fn poll(broker: &Broker, asked: &Value) -> Reply {
    broker.clock.advance(Duration::from_secs(5));
    let code = asked["device_code"].as_str().unwrap();
    let fields = [
        ("grant_type", GRANT),
        ("device_code", code),
        ("client_id", "artifacts"),
    ];
    form(broker, "/oauth/token", &fields).await
}

#[track_caller]
fn is_not_yet(reply: &Reply, error: &str) {
    let found = (reply.status.as_u16(), reply.body["error"].as_str());
    assert_eq!(found, (400, Some(error)), "{}", reply.text);
}

#[tokio::test]
async fn a_machine_is_let_in_by_whom_its_code_was_typed() {
    let broker = Broker::start().await;
    let ada = broker.operator("ada").await;
    let agent = broker.agent(&ada, "ci").await;
    let asked = authorize(&broker).await;
    is_not_yet(&poll(&broker, &asked).await, "authorization_pending");
    let path = format!("/v1/device/{}", asked["user_code"].as_str().unwrap());
    let seen = broker.get(&path, &ada.token).await.done();
    assert_eq!(
        (&seen["machine"], &seen["client_id"]),
        (&json!("laptop"), &json!("artifacts"))
    );
    let yes = json!({ "approve": true });
    let refused = broker.post(&path, Some(&agent.token), &yes).await;
    refused.is_failure(403, "forbidden");
    assert_eq!(broker.post(&path, Some(&ada.token), &yes).await.status, 204);
    let code = asked["device_code"].as_str().unwrap();
    let other = [
        ("grant_type", GRANT),
        ("device_code", code),
        ("client_id", "other"),
    ];
    is_not_yet(
        &form(&broker, "/oauth/token", &other).await,
        "invalid_grant",
    );
    // That was too quick, and costs five seconds more.
    broker.clock.advance(Duration::from_secs(10));
    let key = new_key();
    let body = format!("grant_type={GRANT}&device_code={code}&client_id=artifacts");
    let send = async |proof: String| {
        let request = broker.request(Method::POST, "/oauth/token");
        let kind = "application/x-www-form-urlencoded";
        let request = request.header("content-type", kind);
        let request = request.header("artifacts-proof", proof);
        broker.send(request.body(body.clone())).await
    };
    let wrong = send(broker.proof("/oauth/token", None, &key, "other")).await;
    wrong.is_refused(403, "proof_invalid");
    broker.clock.advance(Duration::from_secs(10));
    let token = send(broker.proof("/oauth/token", None, &key, &body)).await;
    let token = token.token();
    assert_eq!(claims(&token)["sub"], ada.actor.as_str());
    assert_eq!(claims(&token)["device"], id(&key).to_string());
    is_not_yet(&poll(&broker, &asked).await, "invalid_grant");

    let asked = authorize(&broker).await;
    let path = format!("/v1/device/{}", asked["user_code"].as_str().unwrap());
    let no = json!({ "approve": false });
    assert_eq!(broker.post(&path, Some(&ada.token), &no).await.status, 204);
    is_not_yet(&poll(&broker, &asked).await, "access_denied");

    let asked = authorize(&broker).await;
    is_not_yet(&poll(&broker, &asked).await, "authorization_pending");
    let code = asked["device_code"].as_str().unwrap();
    let again = [
        ("grant_type", GRANT),
        ("device_code", code),
        ("client_id", "artifacts"),
    ];
    is_not_yet(&form(&broker, "/oauth/token", &again).await, "slow_down");
    broker.clock.advance(Duration::from_secs(600));
    is_not_yet(&poll(&broker, &asked).await, "expired_token");
}

/// A browser, as far as these pages need one.
struct Browser<'a> {
    broker: &'a Broker,
    cookies: Vec<(String, String)>,
}

impl Browser<'_> {
    async fn go(
        &mut self,
        method: Method,
        path: &str,
        body: Option<String>,
    ) -> (u16, String, String) {
        let mut request = self.broker.request(method, path);
        let cookies: Vec<String> = self
            .cookies
            .iter()
            .map(|(n, v)| format!("{n}={v}"))
            .collect();
        request = request.header("cookie", cookies.join("; "));
        if let Some(body) = body {
            request = request
                .header("content-type", "application/x-www-form-urlencoded")
                .body(body);
        }
        let response = request.send().await.unwrap();
        let policy = response.headers()["content-security-policy"]
            .to_str()
            .unwrap();
        assert!(policy.starts_with("default-src 'none'"), "{policy}");
        for cookie in response.headers().get_all("set-cookie") {
            let text = cookie.to_str().unwrap();
            assert!(text.contains("; HttpOnly; SameSite=Lax"), "{text}");
            let (name, rest) = text.split_once('=').unwrap();
            let value = rest.split(';').next().unwrap();
            self.cookies.retain(|(known, _)| known != name);
            self.cookies.push((name.to_owned(), value.to_owned()));
        }
        let there = response.headers().get("location");
        let there = there.map_or(String::new(), |there| there.to_str().unwrap().to_owned());
        let status = response.status().as_u16();
        (status, there, response.text().await.unwrap())
    }
}

fn parameter(url: &str, name: &str) -> String {
    let url: reqwest::Url = url.parse().unwrap();
    let mut pairs = url.query_pairs();
    pairs
        .find(|(known, _)| known == name)
        .unwrap()
        .1
        .into_owned()
}

fn hidden(page: &str, name: &str) -> String {
    let begin = format!("name=\"{name}\" value=\"");
    let (_, rest) = page.split_once(&begin).unwrap();
    rest.split('"').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_browser_signs_in_with_an_issuer_and_approves() {
    let broker = Broker::start().await;
    let asked = authorize(&broker).await;
    let code = asked["user_code"].as_str().unwrap();
    let mut browser = Browser {
        broker: &broker,
        cookies: Vec::new(),
    };
    let page = format!("/device?user_code={code}");
    let (status, _, text) = browser.go(Method::GET, &page, None).await;
    assert_eq!(status, 200);
    let door = format!("/sign-in/with/0?user_code={code}");
    assert!(
        text.contains(&door) && text.contains("Continue with Example"),
        "{text}"
    );
    assert!(!text.contains("laptop"), "strangers see no machine");
    let (status, there, _) = browser.go(Method::GET, &door, None).await;
    assert_eq!(status, 303);
    assert!(there.starts_with(&format!("{}/authorize?", broker.issuer.url)));
    assert_eq!(parameter(&there, "code_challenge_method"), "S256");
    let mut said = broker.issuer.claims("ada", BEGIN);
    said["aud"] = json!("broker-pages");
    said["nonce"] = json!(parameter(&there, "nonce"));
    broker
        .issuer
        .answers("c0de", broker.issuer.sign("JWT", &said));
    let state = parameter(&there, "state");

    // Another browser cannot finish it, nor this one with another's state.
    let callback = format!("/sign-in/callback?code=c0de&state={state}");
    let mut other = Browser {
        broker: &broker,
        cookies: Vec::new(),
    };
    assert_eq!(other.go(Method::GET, &callback, None).await.0, 403);
    let wrong = "/sign-in/callback?code=c0de&state=x";
    assert_eq!(browser.go(Method::GET, wrong, None).await.0, 403);
    let (status, there, _) = browser.go(Method::GET, &callback, None).await;
    assert_eq!((status, &*there), (303, &*page));
    let (_, _, text) = browser.go(Method::GET, &page, None).await;
    assert!(text.contains("laptop") && text.contains(code), "{text}");
    let csrf = hidden(&text, "csrf");
    let send = |csrf: &str| Some(format!("csrf={csrf}&user_code={code}&decision=approve"));
    let (status, _, text) = browser.go(Method::POST, "/device", send("x")).await;
    assert_eq!(status, 403, "{text}");
    is_not_yet(&poll(&broker, &asked).await, "authorization_pending");
    let (status, _, text) = browser.go(Method::POST, "/device", send(&csrf)).await;
    assert!(
        status == 200 && text.contains("is let in"),
        "{status} {text}"
    );
    let token = poll(&broker, &asked).await.token();
    assert_eq!(claims(&token)["sub"], broker.actor("ada").as_str());

    let (status, _, _) = browser
        .go(Method::POST, "/sign-out", Some(format!("csrf={csrf}")))
        .await;
    assert_eq!(status, 303);
    let record = broker.kept.last();
    assert_eq!(record["action"], "session.end");
    assert_eq!(record["actor"], broker.actor("ada").as_str());
    let (_, _, text) = browser.go(Method::GET, "/device", None).await;
    assert!(text.contains("Continue with Example"), "{text}");
}

fn message(broker: &Broker, nonce: &str, address: &str) -> String {
    let url = &broker.url;
    let domain = url.strip_prefix("http://").unwrap();
    let at = api::Timestamp::from_micros(broker.now() * 1_000_000);
    format!(
        "{domain} wants you to sign in with your Ethereum account:\n{address}\n\n\nURI: {url}\nVersion: 1\nChain ID: 31337\nNonce: {nonce}\nIssued At: {at}"
    )
}

fn signed(key: &SigningKey, text: &str) -> String {
    let whole = format!("\x19Ethereum Signed Message:\n{}{text}", text.len());
    let hash = alloy_primitives::keccak256(whole);
    let (signature, parity) = key.sign_prehash_recoverable(hash.as_slice()).unwrap();
    format!(
        "0x{}{:02x}",
        hex::encode(signature.to_bytes()),
        parity.to_byte() + 27
    )
}

#[tokio::test]
async fn a_wallet_logs_in_once_for_each_nonce() {
    let broker = Broker::start().await;
    let digits = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
    let key = SigningKey::from_slice(&hex::decode(digits).unwrap()).unwrap();
    let address = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
    let nonce = async || {
        let answer = broker
            .post("/v1/wallet/nonce", None, &json!({}))
            .await
            .done();
        assert_eq!(answer["chain_ids"], json!([31_337]));
        answer["nonce"].as_str().unwrap().to_owned()
    };
    let login = async |text: &str, signature: &str| {
        let body = json!({ "message": text, "signature": signature });
        broker.post("/v1/wallet/login", None, &body).await
    };
    let text = message(&broker, &nonce().await, address);
    let (device, signature) = (new_key(), signed(&key, &text));
    let body = json!({ "message": text, "signature": signature });
    let begun = broker.prove("/v1/wallet/login", None, &device, &body).await;
    let token = begun.token();
    assert_eq!(claims(&token)["device"], id(&device).to_string());
    let actor = model::Actor::from_evm(&address.to_lowercase()).unwrap();
    assert_eq!(claims(&token)["sub"], actor.as_str());
    let refused = async |text: &str, signature: &str, note: &str| {
        login(text, signature)
            .await
            .is_failure(401, "unauthenticated");
        let record = broker.kept.last();
        assert!(record["note"].as_str().unwrap().contains(note), "{record}");
    };
    refused(&text, &signed(&key, &text), "nonce").await;
    let other = message(
        &broker,
        &nonce().await,
        "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
    );
    refused(&other, &signed(&key, &other), "signature").await;
    let text = message(&broker, &nonce().await, address);
    let elsewhere = text.replace("127.0.0.1", "127.0.0.2");
    refused(&elsewhere, &signed(&key, &elsewhere), "domain").await;
    let invented = message(&broker, "0123456789abcdef0123456789abcdef", address);
    refused(&invented, &signed(&key, &invented), "nonce").await;
    broker.clock.advance(Duration::from_secs(301));
    refused(&text, &signed(&key, &text), "ended").await;
}

#[tokio::test]
async fn where_no_chain_is_named_no_wallet_logs_in() {
    let broker = Broker::start_with(|settings| settings.wallet_chains.clear()).await;
    let refused = broker.post("/v1/wallet/nonce", None, &json!({})).await;
    refused.is_failure(403, "forbidden");
}
