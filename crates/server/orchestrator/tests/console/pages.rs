//! What single pages do: keys, devices, the audit, live mounts.

use std::time::Duration;

use crate::common::Answer;
use crate::common::browser::location;
use crate::{cases, lab, refused, signed_in, with_token};
use serde_json::json;

#[tokio::test]
async fn a_key_is_issued_shown_once_and_revoked() {
    let (lab, _) = lab().await;
    cases(&lab, "ada").await;
    let mut browser = signed_in(&lab, "ada").await;
    let fields = [
        ("mode", "ro"),
        ("description", "laptop"),
        ("ttl_seconds", "3600"),
    ];
    let answer = browser
        .submit(&lab, "/console/keys", "/console/keys", &fields)
        .await
        .ok(201);
    let secrets = lab.fake.secrets();
    let secret = secrets.last().unwrap();
    assert!(answer.text.contains(secret.as_str()));
    assert_eq!(answer.headers["cache-control"], "no-store");
    let list = browser.get(&lab, "/console/keys").await.ok(200);
    assert!(list.text.contains("laptop") && !list.text.contains(secret.as_str()));
    let (_, rest) = list.text.split_once("action=\"/console/keys/").unwrap();
    let path = format!("/console/keys/{}", rest.split_once('"').unwrap().0);
    let answer = browser.submit(&lab, "/console/keys", &path, &[]).await;
    assert_eq!(location(&answer), "/console/keys?done=key-revoked");
    let page = browser
        .get(&lab, "/console/keys?done=key-revoked")
        .await
        .ok(200);
    assert!(
        page.text
            .contains("<p class=\"note good\" role=\"status\">The key was revoked.</p>")
    );
    assert!(
        page.text
            .contains("<span class=\"badge off\">revoked</span>")
    );
    let audit = lab.audit().await;
    for line in ["MountCredentialCreated", "MountCredentialRevoked"] {
        assert!(audit.contains(&line.to_owned()), "{audit:?}");
    }
    // What breaks a rule is said on the page, with the status that programs get.
    let answer = browser
        .submit(
            &lab,
            "/console/keys",
            "/console/keys",
            &[("ttl_seconds", "1")],
        )
        .await;
    refused(&answer, 422, "Lifetime: 1 is out of bounds");
}

#[tokio::test]
async fn a_machine_is_let_in_or_turned_away_on_its_page() {
    let (lab, _) = lab().await;
    let mut browser = signed_in(&lab, "ada").await;
    let ask = || {
        lab.form(
            "/oauth/device_authorization",
            "client_id=artifacts&machine=laptop",
        )
    };
    let device = ask().await.ok(200);
    let link = device.field("verification_uri_complete");
    let page = link
        .strip_prefix("https://orchestrator.example.com")
        .unwrap();
    let shown = browser.get(&lab, page).await.ok(200).text;
    let code = device.field("user_code");
    assert!(shown.contains("laptop") && shown.contains(&code), "{shown}");
    let fields = [("user_code", code.as_str()), ("decision", "approve")];
    let answer = browser.submit(&lab, page, "/device", &fields).await.ok(200);
    assert!(
        answer
            .text
            .contains("laptop is let in. You can go back to it.")
    );
    let grant = "urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code";
    let exchange = |device: &Answer| {
        let code = device.field("device_code");
        format!("grant_type={grant}&client_id=artifacts&device_code={code}")
    };
    let session = lab.form("/oauth/token", &exchange(&device)).await.ok(200);
    let me = lab.get("/whoami", &session.field("access_token")).await;
    assert_eq!(me.field("handle"), "ada");
    // Twice is once.
    let answer = browser.submit(&lab, "/", "/device", &fields).await;
    refused(&answer, 404, "no machine waits with this code");
    let device = ask().await.ok(200);
    let code = device.field("user_code");
    let fields = [("user_code", code.as_str()), ("decision", "deny")];
    let answer = browser.submit(&lab, "/", "/device", &fields).await.ok(200);
    assert!(answer.text.contains("laptop was turned away"));
    let answer = lab.form("/oauth/token", &exchange(&device)).await;
    assert_eq!(answer.field("error"), "access_denied");
    let lines = lab.audit().await;
    for line in ["DeviceApproved: machine laptop", "DeviceDenied"] {
        assert!(lines.contains(&line.to_owned()), "{lines:?}");
    }
}

#[tokio::test]
async fn codes_are_not_tried_out_on_the_page_either() {
    let (lab, _) = lab().await;
    let mut browser = signed_in(&lab, "ada").await;
    for _ in 0..10 {
        let answer = browser.get(&lab, "/device?user_code=BCDF-GHJK").await;
        refused(&answer, 404, "no machine waits with this code");
    }
    let answer = browser.get(&lab, "/device?user_code=BCDF-GHJK").await;
    refused(&answer, 429, "too many requests");
    assert!(answer.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn the_audit_is_searched_from_its_end() {
    let (lab, operator) = lab().await;
    let (tenant, workspace) = cases(&lab, "ada").await;
    for number in 0..60 {
        let entry = crate::common::entry(lab.now(), "Tick");
        let subject = Some(format!("tick-{number}."));
        let entry = artifacts_orchestrator::store::Entry { subject, ..entry };
        lab.store.record(&entry).await.unwrap();
    }
    let mut browser = with_token(&lab, &operator).await;
    let page = browser.get(&lab, "/console/audit").await.ok(200).text;
    assert!(page.contains("tick-59.") && page.contains("tick-10.") && !page.contains("tick-9."));
    let (_, rest) = page.split_once("<a href=\"/console/audit?").unwrap();
    let older = rest.split_once('"').unwrap().0.replace("&#38;", "&");
    let page = browser
        .get(&lab, &format!("/console/audit?{older}"))
        .await
        .ok(200)
        .text;
    assert!(
        page.contains("tick-9.") && page.contains("TenantCreated") && !page.contains("tick-10.")
    );
    let page = browser
        .get(
            &lab,
            &format!("/console/audit?search={}", workspace.to_uppercase()),
        )
        .await
        .ok(200)
        .text;
    assert!(
        page.contains("WorkspaceCreated") && !page.contains("Tick"),
        "{page}"
    );
    let page = browser
        .get(&lab, &format!("/console/audit?tenant={tenant}"))
        .await
        .ok(200)
        .text;
    assert!(
        page.contains("WorkspaceCreated") && !page.contains("Tick"),
        "{page}"
    );
    let answer = browser.get(&lab, "/console/audit?tenant=x").await;
    refused(&answer, 422, "Tenant is no tenant");
    let mut owner = signed_in(&lab, "ada").await;
    let page = owner.get(&lab, "/console/audit").await.ok(200).text;
    assert!(
        page.contains("WorkspaceCreated") && !page.contains("Tick"),
        "{page}"
    );
}

#[tokio::test]
async fn live_mounts_show_how_far_behind_they_are() {
    let (lab, _) = lab().await;
    let (_, workspace) = cases(&lab, "ada").await;
    let ada = lab.person("ada");
    let mount = format!(
        "/workspaces/{workspace}/mounts/{}",
        uuid::Uuid::from_u128(7)
    );
    let report = |last: i64| {
        json!({
            "machine": "laptop", "mode": "rw", "last_event_id": last,
            "pending": 2, "pending_bytes": 1536, "oldest_pending_seconds": 90,
        })
    };
    lab.call("PUT", &mount, &ada, report(0)).await.ok(204);
    let changed = json!({ "workspace_id": workspace, "changed": [{ "key": "a" }] });
    lab.post("/sync", &ada, changed).await.ok(200);
    let mut browser = signed_in(&lab, "ada").await;
    let page = browser.get(&lab, "/console/mounts").await.ok(200).text;
    assert!(
        page.contains("<span class=\"badge wait\">1 event</span>"),
        "{page}"
    );
    assert!(page.contains("2 changes, 1.50 KiB, for 90 s"), "{page}");
    lab.call("PUT", &mount, &ada, report(1)).await.ok(204);
    let page = browser.get(&lab, "/console/mounts").await.ok(200).text;
    assert!(
        page.contains("<span class=\"badge good\">up to date</span>"),
        "{page}"
    );
    lab.clock.advance(Duration::from_secs(46));
    let page = browser.get(&lab, "/console/mounts").await.ok(200).text;
    assert!(
        page.contains("has said anything in the last 45 seconds"),
        "{page}"
    );
}

#[tokio::test]
async fn what_was_made_last_is_on_top() {
    let (lab, _) = lab().await;
    let (_, workspace) = cases(&lab, "ada").await;
    let ada = lab.person("ada");
    for number in 0..101 {
        let name = format!("number {number}.");
        let key = json!({ "description": name });
        let key = lab.post("/tenant/mount/credentials", &ada, key).await;
        // As many in a minute as a tenant may ask for.
        if number < 60 {
            key.ok(201);
        }
        let token = json!({ "description": name, "mode": "ro" });
        lab.post("/tokens", &ada, token).await.ok(201);
        let ticket = json!({
            "workspace_id": workspace, "mode": "ro", "ttl_seconds": 600, "description": name,
        });
        lab.post("/tickets", &ada, ticket).await.ok(201);
        lab.clock.advance(Duration::from_millis(1));
    }
    let mut browser = signed_in(&lab, "ada").await;
    let place = |page: &str, number: usize| page.find(&format!("number {number}."));
    let keys = browser.get(&lab, "/console/keys").await.ok(200).text;
    assert!(place(&keys, 59) < place(&keys, 0) && place(&keys, 0).is_some());
    for (path, more) in [
        ("/console/tokens", "/console/tokens?page_token="),
        ("/console/sharing", "/console/sharing?tickets="),
    ] {
        let page = browser.get(&lab, path).await.ok(200).text;
        assert!(place(&page, 100) < place(&page, 1), "{path}");
        assert!(
            place(&page, 1).is_some() && place(&page, 0).is_none(),
            "{path}"
        );
        let (_, rest) = page.split_once(more).unwrap();
        let next = format!("{more}{}", rest.split_once('"').unwrap().0);
        let page = browser.get(&lab, &next).await.ok(200).text;
        assert!(
            place(&page, 0).is_some() && place(&page, 1).is_none(),
            "{path}"
        );
    }
}

#[tokio::test]
async fn nobody_has_the_audit_searched_without_end() {
    let (lab, operator) = lab().await;
    let mut browser = with_token(&lab, &operator).await;
    for _ in 0..60 {
        browser.get(&lab, "/console/audit?search=x").await.ok(200);
    }
    let answer = browser.get(&lab, "/console/audit?search=x").await;
    assert_eq!(answer.status, 429);
    assert!(answer.headers.contains_key("retry-after"));
    browser.get(&lab, "/console/tenants").await.ok(200);
}
