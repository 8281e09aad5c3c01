//! The door for people: their own keys, their own wallet, and nothing else.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use api::Timestamp;
use artifacts_signer::Rates;
use base::{Clock, SystemClock};
use common::{LOGIN_AT, Lab, person, refused, said, text_of, with_json};
use serde_json::json;
use vault::{DeviceKey, legacy};

#[tokio::test]
async fn a_person_gets_the_key_that_a_worker_gets_for_them() {
    let lab = Lab::start().await;
    let ada = person("ada");
    let session = lab.session(&ada, &ada);
    let (status, own) = lab.ask("/v1/derive-own-kek", &session, json!({})).await;
    assert_eq!(status, 200, "{own}");
    let record = lab.last();
    assert_eq!(
        (&record["op"], &record["outcome"]),
        (&"derive-own-kek".into(), &"done".into())
    );
    assert_eq!(
        (&record["actor"], &record["epoch"]),
        (&ada.as_str().into(), &1.into())
    );
    assert!(record["session"].as_str().unwrap().starts_with("session-"));
    let body = json!({ "operator": ada, "actor": ada, "epoch": 1 });
    let (_, worker) = lab.derive(&lab.peer("worker"), body).await;
    assert_eq!(own, worker);
    let named = lab
        .ask("/v1/derive-own-kek", &session, json!({ "epoch": 1 }))
        .await;
    assert_eq!(named, (200, own));
    let ahead = lab
        .ask("/v1/derive-own-kek", &session, json!({ "epoch": 2 }))
        .await;
    refused(&ahead, (422, "invalid"));
}

#[tokio::test]
async fn an_agent_gets_no_key_but_the_epoch() {
    let lab = Lab::start().await;
    let ada = person("ada");
    let session = lab.session(&ada, &ada.agent("build").unwrap());
    let answer = lab.ask("/v1/derive-own-kek", &session, json!({})).await;
    let text = refused(&answer, (403, "forbidden"));
    let none = "the keys of an agent are not handed out";
    assert!(text.starts_with(none), "{text}");
    let message = json!({ "message": "x" });
    let answer = lab.ask("/dev/sign-message", &session, message).await;
    let text = refused(&answer, (403, "forbidden"));
    assert!(text.starts_with(none), "{text}");
    let http = reqwest::Client::new();
    let request = http.get(format!("{}/v1/epoch", lab.outside));
    let answer = said(request.bearer_auth(&session)).await;
    assert_eq!(answer, (200, json!({ "current_epoch": 1 })));
}

/// Whoever sees a session, as each server does that it is shown to, opens nothing with it.
#[tokio::test]
async fn a_session_opens_nothing_without_the_device_that_it_is_bound_to() {
    let lab = Lab::start().await;
    let ada = person("ada");
    let session = lab.session(&ada, &ada);
    let thief = DeviceKey::generate().unwrap();
    for path in ["/v1/derive-own-kek", "/dev/sign-message"] {
        let body = json!({ "message": "x" });
        let missing = lab.ask_by(path, &session, &body, None).await;
        let text = refused(&missing, (403, "forbidden"));
        assert!(text.starts_with("there is no proof"), "{text}");
        let other = json!({ "message": "y" });
        let elsewhere = "/v1/elsewhere";
        let another = lab.session(&person("bob"), &person("bob"));
        for proof in [
            lab.proof(&thief, path, &session, &body),
            lab.proof(&lab.device, elsewhere, &session, &body),
            lab.proof(&lab.device, path, &session, &other),
            lab.proof(&lab.device, path, &another, &body),
            "x".to_owned(),
        ] {
            let wrong = lab.ask_by(path, &session, &body, Some(&proof)).await;
            let text = refused(&wrong, (403, "forbidden"));
            assert!(text.starts_with("the proof is not by"), "{text}");
        }
        let mut unbound = lab.claims(&ada, &ada, 60);
        unbound.device = None;
        let unbound = text_of(&unbound, lab.broker());
        let answer = lab.ask(path, &unbound, body.clone()).await;
        let text = refused(&answer, (403, "forbidden"));
        assert!(
            text.starts_with("the session is bound to no device"),
            "{text}"
        );
        let mut old = lab.claims(&ada, &ada, 60);
        old.iat -= 24 * 3600;
        let answer = lab.ask(path, &text_of(&old, lab.broker()), body).await;
        let text = refused(&answer, (401, "unauthenticated"));
        assert!(
            text.starts_with("the session began more than a day ago"),
            "{text}"
        );
    }
    let path = "/v1/derive-own-kek";
    let proof = lab.proof(&lab.device, path, &session, &json!({}));
    let first = lab.ask_by(path, &session, &json!({}), Some(&proof)).await;
    assert_eq!(first.0, 200, "{}", first.1);
    let again = lab.ask_by(path, &session, &json!({}), Some(&proof)).await;
    let text = refused(&again, (403, "forbidden"));
    assert!(text.starts_with("the proof was used before"), "{text}");
}

/// The broker's key makes any session; it is worth keys of people's own only where the signer's
/// operator has said so.
#[tokio::test]
async fn keys_of_people_s_own_are_given_only_where_that_is_said() {
    let lab = Lab::without_own_keys().await;
    let ada = person("ada");
    let session = lab.session(&ada, &ada);
    let off = "this signer hands out no keys of people's own\nhint: --credential-backend";
    let answer = lab.ask("/v1/derive-own-kek", &session, json!({})).await;
    let text = refused(&answer, (403, "forbidden"));
    assert!(text.starts_with(off), "{text}");
    let sign = async |message: &str| {
        let body = json!({ "message": message });
        lab.ask("/dev/sign-message", &session, body).await
    };
    let answer = sign("which wallet is mine").await;
    let text = refused(&answer, (403, "forbidden")).to_owned();
    let at = text.find("0x").unwrap();
    let wallet: legacy::Wallet = text[at..at + 42].parse().unwrap();
    let answer = sign(&legacy::kek_message(
        &wallet,
        &"openrouter".parse().unwrap(),
    ))
    .await;
    let text = refused(&answer, (403, "forbidden"));
    assert!(text.starts_with(off), "{text}");
    // A worker gets them as before.
    let body = json!({ "operator": ada, "actor": ada, "epoch": 1 });
    assert_eq!(lab.derive(&lab.peer("worker"), body).await.0, 200);
}

#[tokio::test]
async fn a_session_that_does_not_count_opens_nothing() {
    let lab = Lab::start().await;
    let (ada, bob) = (person("ada"), person("bob"));
    let stranger = DeviceKey::generate().unwrap();
    let good = lab.session(&ada, &ada);
    let (head, signature) = good.rsplit_once('.').unwrap();
    let (_, others) = lab
        .session(&bob, &bob)
        .rsplit_once('.')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    let ended = lab.session_by(lab.broker(), &ada, &ada, -1);
    let invalid = "this is no session of this broker";
    for (session, reason) in [
        (lab.session_by(&stranger, &ada, &ada, 60), invalid),
        (format!("{head}.{others}"), invalid),
        (format!("{head}."), invalid),
        (format!("{head}.{signature}x"), invalid),
        (head.to_owned(), invalid),
        ("x".repeat(5000), invalid),
        (ended, "the session has ended"),
    ] {
        for path in ["/v1/derive-own-kek", "/dev/sign-message"] {
            let answer = lab.ask(path, &session, json!({ "message": "x" })).await;
            let text = refused(&answer, (401, "unauthenticated"));
            assert!(text.starts_with(reason), "{text}");
        }
    }
    let http = reqwest::Client::new();
    let bare = said(with_json(
        http.post(format!("{}/v1/derive-own-kek", lab.outside)),
        &json!({}),
    ))
    .await;
    assert!(refused(&bare, (401, "unauthenticated")).starts_with("there is no session"));
    assert!(
        lab.records()
            .iter()
            .all(|record| record["outcome"] == "unauthenticated")
    );
}

#[tokio::test]
async fn a_wallet_signs_the_messages_of_its_own_envelopes_and_a_login_now() {
    let lab = Lab::start().await;
    let ada = person("ada");
    let session = lab.session(&ada, &ada);
    let sign = async |message: &str| {
        lab.ask("/dev/sign-message", &session, json!({ "message": message }))
            .await
    };
    let text = sign("what is my address").await;
    let text = refused(&text, (403, "forbidden")).to_owned();
    let at = text.find("0x").unwrap();
    let wallet: legacy::Wallet = text[at..at + 42].parse().unwrap();
    let message = legacy::kek_message(&wallet, &"openrouter".parse().unwrap());
    let (status, signed) = sign(&message).await;
    assert_eq!(status, 200, "{signed}");
    assert_eq!(signed["address"], wallet.as_str());
    assert_eq!(signed["signature"].as_str().unwrap().len(), 132);
    assert_eq!(
        sign(&message).await.1,
        signed,
        "the same message, the same signature"
    );
    let record = lab.last();
    assert_eq!(
        (&record["purpose"], &record["service"]),
        (&"kek".into(), &"openrouter".into())
    );
    // Another person has another wallet, and gets no signature for this one's envelopes.
    let bob = person("bob");
    let theirs = lab.session(&bob, &bob);
    let answer = lab
        .ask("/dev/sign-message", &theirs, json!({ "message": message }))
        .await;
    refused(&answer, (403, "forbidden"));
    let text = std::fs::read_to_string(lab.audit()).unwrap();
    assert!(!text.contains(&signed["signature"].as_str().unwrap()[2..60]));
    assert!(!text.contains("what is my address"));
}

#[tokio::test]
async fn a_login_is_signed_only_for_the_named_place_and_only_now() {
    let lab = Lab::start().await;
    let ada = person("ada");
    let session = lab.session(&ada, &ada);
    let sign = async |message: String| {
        lab.ask("/dev/sign-message", &session, json!({ "message": message }))
            .await
    };
    let (_, refusal) = sign(String::new()).await;
    let text = refusal["message"].as_str().unwrap().to_owned();
    let at = text.find("0x").unwrap();
    let address = checksummed(&text[at..at + 42]);
    let login = |host: &str, issued: Timestamp| {
        format!(
            "{host} wants you to sign in with your Ethereum account:\n{address}\n\n\nURI: https://{host}\nVersion: 1\nChain ID: 1\nNonce: 0123456789abcdef\nIssued At: {issued}"
        )
    };
    let now = SystemClock.now();
    let host = LOGIN_AT.strip_prefix("https://").unwrap();
    let (status, signed) = sign(login(host, now)).await;
    assert_eq!(status, 200, "{signed}");
    assert_eq!(lab.last()["purpose"], "login");
    refused(&sign(login("evil.example", now)).await, (403, "forbidden"));
    let old = now.minus(std::time::Duration::from_secs(301));
    refused(&sign(login(host, old)).await, (403, "forbidden"));
}

#[tokio::test]
async fn a_person_that_asks_too_often_waits_and_another_does_not() {
    let rates = Rates {
        own: 2,
        sign: 2,
        ..Rates::default()
    };
    let lab = Lab::with(rates).await;
    let (ada, bob) = (person("ada"), person("bob"));
    let (hers, his) = (lab.session(&ada, &ada), lab.session(&bob, &bob));
    for (path, status) in [("/v1/derive-own-kek", 200), ("/dev/sign-message", 403)] {
        let body = json!({ "message": "x" });
        for _ in 0..2 {
            assert_eq!(lab.ask(path, &hers, body.clone()).await.0, status);
        }
        refused(
            &lab.ask(path, &hers, body.clone()).await,
            (429, "rate_limited"),
        );
        assert_eq!(lab.ask(path, &his, body).await.0, status);
    }
}

#[tokio::test]
async fn strangers_do_not_fill_the_audit() {
    let rates = Rates {
        address: 1_000,
        ..Rates::default()
    };
    let lab = Lab::with(rates).await;
    for _ in 0..320 {
        refused(
            &lab.ask("/v1/derive-own-kek", "none", json!({})).await,
            (401, "unauthenticated"),
        );
    }
    let before = lab.records().len();
    assert!((300..=315).contains(&before), "{before}");
    let ada = person("ada");
    lab.ask("/v1/derive-own-kek", &lab.session(&ada, &ada), json!({}))
        .await;
    let record = lab.last();
    assert_eq!(record["outcome"], "done");
    assert_eq!(record["omitted"], 320 - before);
}

/// EIP-55.
fn checksummed(address: &str) -> String {
    use sha3::{Digest, Keccak256};
    let digits = &address[2..];
    let hash = hex::encode(Keccak256::digest(digits));
    let capital = |(digit, nibble): (char, char)| match nibble {
        '8'..='f' => digit.to_ascii_uppercase(),
        _ => digit,
    };
    let digits: String = digits.chars().zip(hash.chars()).map(capital).collect();
    format!("0x{digits}")
}
