//! The console as a browser meets it: who is let in, what every page forbids the browser, whose
//! forms count, and that a page shows and does no more than the JSON endpoints would.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "../common/mod.rs"]
mod common;

mod browser_rules;
mod pages;
mod sign_in;
mod tenants;

use std::collections::HashMap;

use common::browser::{Browser, location};
use common::{Answer, Lab};
use serde_json::{Value, json};

/// A tenant `ada` with an owner of this name, and the operator's session.
async fn lab() -> (Lab, String) {
    let lab = Lab::new().await;
    let operator = lab.operator().await;
    lab.tenant(&operator, "ada").await;
    (lab, operator)
}

/// Begins to sign in; answers what the issuer was asked.
async fn begin(lab: &Lab, browser: &mut Browser, path: &str) -> HashMap<String, String> {
    let answer = browser.get(lab, path).await;
    let (there, query) = location(&answer).split_once('?').unwrap();
    assert_eq!(there, format!("{}/authorize", lab.issuer.url));
    form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .collect()
}

/// The claims of the ID token that belongs to a sign-in.
fn claims(lab: &Lab, subject: &str, asked: &HashMap<String, String>) -> Value {
    let mut claims = lab.issuer.claims(subject, lab.now());
    claims["aud"] = json!("console");
    claims["nonce"] = json!(asked["nonce"]);
    claims
}

async fn come_back(lab: &Lab, browser: &mut Browser, state: &str, code: &str) -> Answer {
    let path = format!("/console/sign-in/callback?code={code}&state={state}");
    browser.get(lab, &path).await
}

/// A browser of somebody whom the issuer knows.
async fn signed_in(lab: &Lab, subject: &str) -> Browser {
    let mut browser = Browser::default();
    let asked = begin(lab, &mut browser, "/console/sign-in/with/0").await;
    let token = lab
        .issuer
        .key()
        .sign(Some("JWT"), &claims(lab, subject, &asked));
    lab.issuer.answers("code", token);
    let answer = come_back(lab, &mut browser, &asked["state"], "code").await;
    assert_eq!(location(&answer), "/");
    browser
}

/// A browser with the session of a token.
async fn with_token(lab: &Lab, token: &str) -> Browser {
    let mut browser = Browser::default();
    let answer = browser
        .submit(
            lab,
            "/console/sign-in",
            "/console/sign-in/token",
            &[("token", token)],
        )
        .await;
    assert_eq!(location(&answer), "/");
    browser
}

/// The exact refusal, as a page.
#[track_caller]
fn refused(answer: &Answer, status: u16, text: &str) {
    assert_eq!(answer.status.as_u16(), status, "{answer:?}");
    assert_eq!(answer.headers["content-type"], "text/html; charset=utf-8");
    assert!(answer.text.contains(text), "{text}: {}", answer.text);
}

/// The numbers of a tenant and of a workspace `cases` of it.
async fn cases(lab: &Lab, handle: &str) -> (String, String) {
    let owner = lab.person(handle);
    let made = lab
        .post("/workspaces", &owner, json!({ "name": "cases" }))
        .await
        .ok(201);
    (made.field("tenant_id"), made.field("workspace_id"))
}
