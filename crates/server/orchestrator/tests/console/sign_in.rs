//! Who is let in, by an issuer or a token, and where they go then.

use std::time::Duration;

use crate::common::browser::{Browser, csrf, location};
use crate::common::issuer::Key;
use crate::common::{Answer, Lab};
use crate::{begin, cases, claims, come_back, lab, refused, signed_in, with_token};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const CALLBACK: &str = "https://orchestrator.example.com/console/sign-in/callback";

#[tokio::test]
async fn an_issuer_is_asked_by_code_and_pkce() {
    let (lab, _) = lab().await;
    let mut browser = Browser::default();
    let asked = begin(&lab, &mut browser, "/console/sign-in/with/0").await;
    let expected = [
        ("response_type", "code"),
        ("client_id", "console"),
        ("redirect_uri", CALLBACK),
        ("scope", "openid"),
        ("code_challenge_method", "S256"),
    ];
    for (name, value) in expected {
        assert_eq!(asked[name], value);
    }
    let token = lab.issuer.key().sign(None, &claims(&lab, "ada", &asked));
    lab.issuer.answers("code", token);
    come_back(&lab, &mut browser, &asked["state"], "code").await;
    let exchanged = lab.issuer.asked();
    let verifier = &exchanged["code_verifier"];
    let digest = Sha256::digest(verifier);
    let challenge = base64_simd::URL_SAFE_NO_PAD.encode_to_string(digest);
    assert_eq!(asked["code_challenge"], challenge);
    assert_eq!(exchanged["redirect_uri"], CALLBACK);
    assert_eq!(exchanged["grant_type"], "authorization_code");
    // Each sign-in has its own of everything.
    let again = begin(&lab, &mut browser, "/console/sign-in/with/0").await;
    for name in ["state", "nonce", "code_challenge"] {
        assert_ne!(asked[name], again[name]);
    }
    let line = format!("SessionCreated: console, by {}", lab.issuer.url);
    assert!(lab.audit().await.contains(&line));
}

/// A sign-in whose ID token was changed; answers what the person sees and the audit has.
async fn with_claims(lab: &Lab, change: impl FnOnce(&mut Value)) -> (Answer, String) {
    let mut browser = Browser::default();
    let asked = begin(lab, &mut browser, "/console/sign-in/with/0").await;
    let mut claims = claims(lab, "ada", &asked);
    change(&mut claims);
    lab.issuer
        .answers("code", lab.issuer.key().sign(Some("JWT"), &claims));
    let answer = come_back(lab, &mut browser, &asked["state"], "code").await;
    assert!(!browser.cookies.contains_key("__Host-artifacts-session"));
    (answer, lab.audit().await.pop().unwrap())
}

#[tokio::test]
async fn an_id_token_that_is_not_for_this_sign_in_is_refused() {
    let (lab, _) = lab().await;
    let now = lab.now().seconds();
    let text = "what the issuer said of you does not count";
    type Change = Box<dyn FnOnce(&mut Value)>;
    let changes: [(&str, Change); 8] = [
        (
            "it is not the answer to this sign-in (nonce)",
            Box::new(|claims| claims["nonce"] = json!("another")),
        ),
        (
            "it is not the answer to this sign-in (nonce)",
            Box::new(|claims| drop(claims.as_object_mut().unwrap().remove("nonce"))),
        ),
        (
            "it is for somebody else (aud)",
            Box::new(|claims| claims["aud"] = json!("artifacts")),
        ),
        (
            "it is for somebody else (aud)",
            Box::new(|claims| claims["azp"] = json!("another")),
        ),
        (
            "its issuer is not known",
            Box::new(|claims| claims["iss"] = json!("https://evil.example")),
        ),
        (
            "it has ended",
            Box::new(move |claims| claims["exp"] = json!(now - 31)),
        ),
        (
            "it does not count yet",
            Box::new(move |claims| claims["iat"] = json!(now + 31)),
        ),
        (
            "a claim is missing or of the wrong form",
            Box::new(|claims| drop(claims.as_object_mut().unwrap().remove("sub"))),
        ),
    ];
    for (reason, change) in changes {
        let (answer, recorded) = with_claims(&lab, change).await;
        refused(&answer, 401, text);
        assert_eq!(recorded, format!("RequestRefused: {reason}"));
    }
    // The same without a change is good.
    signed_in(&lab, "ada").await;
}

#[tokio::test]
async fn an_id_token_of_another_key_type_or_code_is_refused() {
    let (lab, _) = lab().await;
    let text = "what the issuer said of you does not count";
    let stranger = Key::new("first");
    type Sign<'a> = &'a dyn Fn(&Value) -> Option<String>;
    let sign: [(&str, Sign<'_>); 4] = [
        ("its signature does not verify", &|claims| {
            Some(stranger.sign(Some("JWT"), claims))
        }),
        ("its type is not allowed here", &|claims| {
            Some(lab.issuer.key().sign(Some("at+jwt"), claims))
        }),
        ("it is no token of any kind that is known", &|_| {
            Some("x".into())
        }),
        ("the issuer refused the code", &|_| None),
    ];
    for (reason, sign) in sign {
        let mut browser = Browser::default();
        let asked = begin(&lab, &mut browser, "/console/sign-in/with/0").await;
        if let Some(token) = sign(&claims(&lab, "ada", &asked)) {
            lab.issuer.answers("code", token);
        }
        let answer = come_back(&lab, &mut browser, &asked["state"], "code").await;
        refused(&answer, 401, text);
        let recorded = lab.audit().await.pop().unwrap();
        assert_eq!(recorded, format!("RequestRefused: {reason}"));
    }
}

#[tokio::test]
async fn a_sign_in_ends_in_the_browser_that_began_it_and_nowhere_else() {
    let (lab, _) = lab().await;
    let text = "this sign-in was not begun in this browser, or too long ago";
    let recorded = "RequestRefused: a sign-in that this browser did not begin (state)";
    let mut attacker = Browser::default();
    let asked = begin(&lab, &mut attacker, "/console/sign-in/with/0").await;
    let good = lab.issuer.key().sign(None, &claims(&lab, "ada", &asked));
    lab.issuer.answers("code", good);
    // Another browser: without a sign-in of its own, and with one.
    let mut victim = Browser::default();
    let answer = come_back(&lab, &mut victim, &asked["state"], "code").await;
    refused(&answer, 403, text);
    begin(&lab, &mut victim, "/console/sign-in/with/0").await;
    let answer = come_back(&lab, &mut victim, &asked["state"], "code").await;
    refused(&answer, 403, text);
    let answer = victim
        .get(&lab, "/console/sign-in/callback?code=code")
        .await;
    refused(&answer, 403, text);
    assert_eq!(lab.audit().await.pop().unwrap(), recorded);
    assert!(!victim.cookies.contains_key("__Host-artifacts-session"));
    // RFC 9207: the answer of another issuer.
    let path = format!(
        "/console/sign-in/callback?code=code&state={}&iss=https%3A%2F%2Fevil.example",
        asked["state"]
    );
    let answer = attacker.get(&lab, &path).await;
    refused(&answer, 401, "the answer comes from another issuer");
    // The person said no there.
    let path = format!(
        "/console/sign-in/callback?error=access_denied&state={}",
        asked["state"]
    );
    let answer = attacker.get(&lab, &path).await;
    refused(&answer, 401, "the sign-in was cancelled at the issuer");
    // In its own browser, once.
    let state = &asked["state"];
    let answer = come_back(&lab, &mut attacker, state, "code").await;
    assert_eq!(location(&answer), "/");
    let answer = come_back(&lab, &mut attacker, state, "code").await;
    refused(&answer, 403, text);
}

#[tokio::test]
async fn only_sessions_that_were_begun_here_open_the_console() {
    let (lab, operator) = lab().await;
    let (_, workspace) = cases(&lab, "ada").await;
    let ada = lab.person("ada");
    let body = json!({ "description": "build", "mode": "rw" });
    let service = lab.post("/tokens", &ada, body).await.field("token");
    let body = json!({ "workspace_id": workspace, "mode": "rw", "ttl_seconds": 600 });
    let ticket = lab.post("/tickets", &ada, body).await.field("ticket");
    let text = "only the token of a session that was begun here opens the console";
    for token in [&ada, &service, &ticket] {
        let mut browser = Browser::default();
        let answer = browser
            .submit(
                &lab,
                "/console/sign-in",
                "/console/sign-in/token",
                &[("token", token)],
            )
            .await;
        refused(&answer, 401, text);
        // Nor as a cookie.
        let name = "__Host-artifacts-session".to_owned();
        browser.cookies.insert(name.clone(), token.clone());
        assert_eq!(location(&browser.get(&lab, "/").await), "/console/sign-in");
        assert!(!browser.cookies.contains_key(&name));
    }
    for token in ["", "artboot_wrong", "x"] {
        let answer = Browser::default()
            .submit(
                &lab,
                "/console/sign-in",
                "/console/sign-in/token",
                &[("token", token)],
            )
            .await;
        assert_eq!(answer.status, 401, "{answer:?}");
    }
    with_token(&lab, &operator).await;
}

#[tokio::test]
async fn the_first_operator_signs_in_with_the_bootstrap_token_once() {
    let lab = Lab::new().await;
    let token = lab.bootstrap_token().await;
    let mut browser = with_token(&lab, &token).await;
    browser.get(&lab, "/console/tenants").await.ok(200);
    let answer = Browser::default()
        .submit(
            &lab,
            "/console/sign-in",
            "/console/sign-in/token",
            &[("token", &token)],
        )
        .await;
    refused(&answer, 401, "the bootstrap token does not count");
}

#[tokio::test]
async fn signing_out_ends_the_session_everywhere() {
    let (lab, _) = lab().await;
    let mut browser = signed_in(&lab, "ada").await;
    let token = browser.cookies["__Host-artifacts-session"].clone();
    lab.get("/whoami", &token).await.ok(200);
    let mut copy = Browser {
        cookies: browser.cookies.clone(),
    };
    let answer = browser.submit(&lab, "/", "/console/sign-out", &[]).await;
    assert_eq!(location(&answer), "/console/sign-in?done=signed-out");
    assert!(browser.cookies.is_empty(), "{:?}", browser.cookies);
    lab.get("/whoami", &token)
        .await
        .refused(401, "unauthenticated");
    assert_eq!(location(&copy.get(&lab, "/").await), "/console/sign-in");
    assert!(lab.audit().await.contains(&"SessionRevoked".to_owned()));
}

#[tokio::test]
async fn a_session_ends_by_itself() {
    let (lab, _) = lab().await;
    let mut browser = signed_in(&lab, "ada").await;
    lab.clock.advance(Duration::from_secs(12 * 3600 - 1));
    browser.get(&lab, "/").await.ok(200);
    lab.clock.advance(Duration::from_secs(60));
    assert_eq!(location(&browser.get(&lab, "/").await), "/console/sign-in");
}

#[tokio::test]
async fn whoever_is_not_signed_in_is_sent_to_the_door_and_back() {
    let (lab, operator) = lab().await;
    let mut browser = Browser::default();
    let answer = browser.get(&lab, "/device?user_code=WDJB-MJHT").await;
    let door = "/console/sign-in?next=%2Fdevice%3Fuser_code%3DWDJB-MJHT";
    assert_eq!(location(&answer), door);
    let page = browser.get(&lab, door).await.ok(200);
    let onward = "/console/sign-in/with/0?next=%2Fdevice%3Fuser_code%3DWDJB-MJHT";
    assert!(page.text.contains(onward), "{}", page.text);
    let asked = begin(&lab, &mut browser, onward).await;
    let token = lab.issuer.key().sign(None, &claims(&lab, "ada", &asked));
    lab.issuer.answers("code", token);
    let answer = come_back(&lab, &mut browser, &asked["state"], "code").await;
    assert_eq!(location(&answer), "/device?user_code=WDJB-MJHT");
    // A form is not sent again, and a token in a header opens no page.
    let answer = Browser::default().post(&lab, "/console/keys", &[]).await;
    assert_eq!(location(&answer), "/console/sign-in");
    let answer = lab.get("/console/keys", &operator).await;
    assert_eq!(location(&answer), "/console/sign-in?next=%2Fconsole%2Fkeys");
}

#[tokio::test]
async fn nobody_is_led_out_of_the_console_by_a_link() {
    let (lab, operator) = lab().await;
    for next in [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "/console/../../evil",
        "/console//evil.example",
        "javascript:alert(1)",
        "/whoami",
    ] {
        let query = form_urlencoded::byte_serialize(next.as_bytes()).collect::<String>();
        let mut browser = Browser::default();
        let page = browser
            .get(&lab, &format!("/console/sign-in?next={query}"))
            .await
            .ok(200);
        assert!(!page.text.contains("evil"), "{next}: {}", page.text);
        let fields = [
            ("csrf", &*csrf(&page.text)),
            ("token", &operator),
            ("next", next),
        ];
        let answer = browser.post(&lab, "/console/sign-in/token", &fields).await;
        assert_eq!(location(&answer), "/", "{next}");
        let begin_at = format!("/console/sign-in/with/0?next={query}");
        let asked = begin(&lab, &mut browser, &begin_at).await;
        let token = lab.issuer.key().sign(None, &claims(&lab, "ada", &asked));
        lab.issuer.answers("code", token);
        let answer = come_back(&lab, &mut browser, &asked["state"], "code").await;
        assert_eq!(location(&answer), "/", "{next}");
    }
}

#[tokio::test]
async fn a_sign_in_that_was_made_up_or_begun_too_long_ago_asks_no_issuer() {
    let (lab, _) = lab().await;
    let mut browser = Browser::default();
    let asked = begin(&lab, &mut browser, "/console/sign-in/with/0").await;
    let token = lab.issuer.key().sign(None, &claims(&lab, "ada", &asked));
    lab.issuer.answers("code", token);
    let name = "__Host-artifacts-attempt";
    let true_one = browser.cookies[name].clone();
    let parts: Vec<&str> = true_one.split('.').collect();
    // Another way in, another time, another seal.
    for (at, other) in [(1, "1"), (3, "1"), (4, "AAAA")] {
        let mut parts = parts.clone();
        parts[at] = other;
        browser.cookies.insert(name.into(), parts.join("."));
        let answer = come_back(&lab, &mut browser, &asked["state"], "code").await;
        assert_eq!(answer.status, 403, "{at}");
        assert!(
            answer.text.contains("was not begun in this browser"),
            "{at}"
        );
    }
    lab.clock.advance(Duration::from_secs(601));
    browser.cookies.insert(name.into(), true_one);
    let answer = come_back(&lab, &mut browser, &asked["state"], "code").await;
    assert_eq!(answer.status, 403);
    assert!(lab.issuer.asked().is_empty(), "{:?}", lab.issuer.asked());
}
