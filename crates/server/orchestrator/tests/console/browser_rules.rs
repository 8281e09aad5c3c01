//! What the browser is told to forbid: cookies, policies, others' forms, and what people write.

use crate::common::Lab;
use crate::common::browser::{Browser, csrf, set_cookies};
use crate::{begin, cases, claims, come_back, lab, refused, signed_in, with_token};
use serde_json::json;

#[tokio::test]
async fn every_page_tells_the_browser_what_is_forbidden() {
    let (lab, operator) = lab().await;
    let (tenant, _) = cases(&lab, "ada").await;
    let mut owner = signed_in(&lab, "ada").await;
    let mut operator = with_token(&lab, &operator).await;
    let mut nobody = Browser::default();
    let pages = [
        "/",
        "/device",
        "/console/workspaces",
        "/console/workspaces/ada/cases",
        "/console/mounts",
        "/console/keys",
        "/console/sharing",
        "/console/tokens",
        "/console/audit",
    ];
    let mut answers = Vec::new();
    for page in pages {
        let answer = owner.get(&lab, page).await.ok(200);
        answers.push((page, answer));
    }
    let one = format!("/console/tenants/{tenant}");
    for page in ["/console/tenants", &one] {
        answers.push((page, operator.get(&lab, page).await.ok(200)));
    }
    for (page, status) in [
        ("/console/sign-in", 200),
        ("/", 303),
        ("/console/nothing", 404),
        ("/console/static/console.css", 200),
        ("/console/static/console.js", 200),
        ("/console/static/nothing", 404),
        ("/console/sign-in/callback", 403),
        ("/console/sign-in/with/7", 404),
    ] {
        answers.push((page, nobody.get(&lab, page).await.ok(status)));
    }
    for (page, answer) in &answers {
        let header = |name: &str| answer.headers[name].to_str().unwrap();
        assert_eq!(
            header("content-security-policy"),
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
             connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
            "{page}"
        );
        assert_eq!(header("referrer-policy"), "no-referrer");
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("x-frame-options"), "DENY");
        assert_eq!(header("cross-origin-opener-policy"), "same-origin");
        let kept = header("cache-control");
        let is_file = page.contains("/static/console.");
        assert_eq!(kept, if is_file { "max-age=300" } else { "no-store" });
        // What the policy would keep from working is not there.
        for inline in ["<script>", "<style", " style=", " onclick=", "javascript:"] {
            assert!(!answer.text.contains(inline), "{page} has {inline}");
        }
    }
}

#[tokio::test]
async fn cookies_are_kept_from_scripts_and_other_sites() {
    let (lab, operator) = lab().await;
    let mut browser = Browser::default();
    let page = browser.get(&lab, "/console/sign-in").await;
    let [form] = set_cookies(&page)[..] else {
        panic!("{page:?}");
    };
    let rest = "; Path=/; Max-Age=600; HttpOnly; SameSite=Lax; Secure";
    assert!(
        form.starts_with("__Host-artifacts-form=") && form.ends_with(rest),
        "{form}"
    );
    let fields = [("csrf", &*csrf(&page.text)), ("token", &operator)];
    let answer = browser.post(&lab, "/console/sign-in/token", &fields).await;
    let session = format!(
        "__Host-artifacts-session={operator}; Path=/; Max-Age=43200; HttpOnly; SameSite=Lax; Secure"
    );
    assert!(set_cookies(&answer).contains(&&*session), "{answer:?}");
    // Half a day, however long the session lasts; by an issuer the session too.
    let mut browser = Browser::default();
    let asked = begin(&lab, &mut browser, "/console/sign-in/with/0").await;
    let token = lab.issuer.key().sign(None, &claims(&lab, "ada", &asked));
    lab.issuer.answers("code", token);
    let answer = come_back(&lab, &mut browser, &asked["state"], "code").await;
    let set = set_cookies(&answer);
    let is_session = |line: &&&str| line.starts_with("__Host-artifacts-session=");
    let session = set.iter().find(is_session).unwrap();
    let rest = "; Path=/; Max-Age=43200; HttpOnly; SameSite=Lax; Secure";
    assert!(session.ends_with(rest), "{session}");
    // What belonged to the sign-in is gone.
    assert_eq!(
        browser.cookies.keys().collect::<Vec<_>>(),
        ["__Host-artifacts-session"]
    );
}

#[tokio::test]
async fn a_server_without_tls_sets_cookies_that_its_browser_takes() {
    let lab = Lab::with(|settings| settings.public_url = "http://127.0.0.1:8100".into()).await;
    let page = Browser::default().get(&lab, "/console/sign-in").await;
    let [form] = set_cookies(&page)[..] else {
        panic!("{page:?}");
    };
    assert!(form.starts_with("artifacts-form="), "{form}");
    assert!(!form.contains("Secure"), "{form}");
}

#[tokio::test]
async fn a_form_that_is_not_the_sessions_own_is_refused_and_does_nothing() {
    let (lab, operator) = lab().await;
    let (tenant, _) = cases(&lab, "ada").await;
    let mut browser = signed_in(&lab, "ada").await;
    let mut other = with_token(&lab, &operator).await;
    let others = csrf(&other.get(&lab, "/").await.text);
    let before = lab.audit().await;
    let id = "0190f5a4-7b1c-7d2e-8f3a-4b5c6d7e8f90";
    let actor = "0".repeat(64);
    let forms = [
        "/device".to_owned(),
        "/console/sign-out".into(),
        "/console/tenant".into(),
        "/console/workspaces".into(),
        "/console/workspaces/ada/cases/delete".into(),
        "/console/keys".into(),
        format!("/console/keys/{id}/revoke"),
        "/console/grants".into(),
        format!("/console/grants/{id}/revoke"),
        "/console/tickets".into(),
        format!("/console/tickets/{id}/revoke"),
        "/console/tokens".into(),
        format!("/console/tokens/{id}/revoke"),
        "/console/tenants".into(),
        format!("/console/tenants/{tenant}/delete"),
        format!("/console/tenants/{tenant}/members"),
        format!("/console/tenants/{tenant}/members/{actor}/remove"),
    ];
    let text = "this form does not belong to your session, so nothing was done";
    for form in &forms {
        for fields in [
            &[("name", "cases")][..],
            &[("csrf", ""), ("name", "cases")],
            &[("csrf", others.as_str()), ("name", "cases")],
        ] {
            refused(&browser.post(&lab, form, fields).await, 403, text);
        }
    }
    let after = lab.audit().await;
    assert_eq!(after.len() - before.len(), forms.len() * 3);
    let reason = "RequestRefused: a form without the session's CSRF token";
    assert!(after[before.len()..].iter().all(|line| line == reason));
    // Before anybody is signed in: another browser's form, and none.
    let page = Browser::default().get(&lab, "/console/sign-in").await;
    let foreign = csrf(&page.text);
    let mut victim = Browser::default();
    victim.get(&lab, "/console/sign-in").await;
    for fields in [
        &[("token", operator.as_str())][..],
        &[("csrf", foreign.as_str()), ("token", operator.as_str())],
    ] {
        let answer = victim.post(&lab, "/console/sign-in/token", fields).await;
        refused(&answer, 403, text);
        assert!(!victim.cookies.contains_key("__Host-artifacts-session"));
    }
    // The session's own does something.
    let answer = browser
        .submit(&lab, "/console/keys", "/console/keys", &[("mode", "ro")])
        .await;
    assert_eq!(answer.status, 201, "{answer:?}");
}

#[tokio::test]
async fn what_people_write_is_text_on_every_page() {
    let (lab, operator) = lab().await;
    let evil = "<img src=x onerror=alert(1)>\"'&";
    let shown = "&#60;img src=x onerror=alert(1)&#62;&#34;&#39;&#38;";
    let ada = lab.person("ada");
    let (tenant, workspace) = cases(&lab, "ada").await;
    let key = json!({ "description": evil });
    lab.post("/tenant/mount/credentials", &ada, key)
        .await
        .ok(201);
    let token = json!({ "description": evil, "mode": "ro" });
    lab.post("/tokens", &ada, token).await.ok(201);
    let ticket = json!({
        "workspace_id": workspace, "mode": "ro", "ttl_seconds": 600, "description": evil,
    });
    lab.post("/tickets", &ada, ticket).await.ok(201);
    let body = json!({ "handle": "eve", "backend": "byo", "display_name": evil });
    lab.post("/tenants", &operator, body).await.ok(201);
    let report = json!({ "machine": evil, "mode": "rw" });
    let mount = format!(
        "/workspaces/{workspace}/mounts/{}",
        uuid::Uuid::from_u128(7)
    );
    lab.call("PUT", &mount, &ada, report).await.ok(204);
    let machine = form_urlencoded::byte_serialize(evil.as_bytes()).collect::<String>();
    let device = lab
        .form(
            "/oauth/device_authorization",
            &format!("client_id={machine}&machine={machine}"),
        )
        .await
        .ok(200);
    let mut owner = signed_in(&lab, "ada").await;
    let device = format!("/device?user_code={}", device.field("user_code"));
    for page in [
        "/console/keys",
        "/console/tokens",
        "/console/sharing",
        "/console/mounts",
        &device,
    ] {
        let answer = owner.get(&lab, page).await.ok(200);
        assert!(answer.text.contains(shown), "{page}: {}", answer.text);
        assert!(!answer.text.contains("<img src=x"), "{page}");
    }
    let mut operator = with_token(&lab, &operator).await;
    let answer = operator.get(&lab, "/console/tenants").await.ok(200);
    assert!(answer.text.contains(shown) && !answer.text.contains("<img src=x"));
    // What comes back at once: a search, a wrong code, a wrong field, a word of a link.
    let query = form_urlencoded::byte_serialize(evil.as_bytes()).collect::<String>();
    let answer = operator
        .get(&lab, &format!("/console/audit?search={query}"))
        .await
        .ok(200);
    assert!(answer.text.contains(shown) && !answer.text.contains("<img src=x"));
    let answer = owner
        .get(&lab, &format!("/device?user_code={query}"))
        .await
        .ok(422);
    assert!(!answer.text.contains("<img src=x"));
    let fields = [("name", evil), ("backend", evil)];
    let answer = owner
        .submit(&lab, "/console/workspaces", "/console/workspaces", &fields)
        .await
        .ok(422);
    assert!(!answer.text.contains("<img src=x"));
    let answer = owner.get(&lab, &format!("/?done={query}")).await.ok(200);
    assert!(!answer.text.contains("onerror"));
    assert_eq!(tenant.len(), 36);
}
