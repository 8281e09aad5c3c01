//! What is another's is not there, and what is one's own may be chosen and managed.

use crate::common::Lab;
use crate::common::browser::location;
use crate::{cases, lab, refused, signed_in, with_token};
use serde_json::{Value, json};

#[tokio::test]
async fn what_another_tenant_has_is_not_there() {
    let (lab, operator) = lab().await;
    let (bob, _) = lab.tenant(&operator, "bob").await;
    cases(&lab, "bob").await;
    let mut browser = signed_in(&lab, "ada").await;
    for page in [
        "/console/workspaces/bob/cases".to_owned(),
        "/console/workspaces/bob/nothing".into(),
        format!("/console/tenants/{bob}"),
        "/console/tenants/0190f5a4-7b1c-7d2e-8f3a-4b5c6d7e8f90".into(),
        "/console/tenants/x".into(),
    ] {
        refused(&browser.get(&lab, &page).await, 404, "there is no such");
    }
    refused(
        &browser.get(&lab, "/console/tenants").await,
        403,
        "only an operator may do this",
    );
    // Their things are not revoked, and one's own pages do not show them.
    let key = lab
        .post("/tenant/mount/credentials", &lab.person("bob"), Value::Null)
        .await;
    let path = format!("/console/keys/{}/revoke", key.field("credential_id"));
    let answer = browser.submit(&lab, "/console/keys", &path, &[]).await;
    refused(&answer, 404, "there is no such key");
    let keys = browser.get(&lab, "/console/keys").await.ok(200);
    assert!(!keys.text.contains(&key.field("access_key")));
    // The audit is the own tenant's, whatever is asked for.
    let audit = browser
        .get(&lab, &format!("/console/audit?tenant={bob}"))
        .await
        .ok(200);
    assert!(!audit.text.contains(&key.field("credential_id")));
}

#[tokio::test]
async fn a_member_who_is_no_owner_does_no_more_here_than_elsewhere() {
    let (lab, operator) = lab().await;
    let (tenant, workspace) = cases(&lab, "ada").await;
    let member = json!({ "issuer": lab.issuer.url, "subject": "max", "role": "member" });
    lab.post(&format!("/tenants/{tenant}/members"), &operator, member)
        .await
        .ok(201);
    let mut browser = signed_in(&lab, "max").await;
    let text = "only an owner of the tenant may do this";
    let forms: [(&str, &[(&str, &str)]); 4] = [
        (
            "/console/workspaces",
            &[("name", "more"), ("backend", "managed")],
        ),
        (
            "/console/tickets",
            &[
                ("workspace_id", &workspace),
                ("mode", "ro"),
                ("ttl_seconds", "600"),
            ],
        ),
        (
            "/console/grants",
            &[
                ("workspace_id", &workspace),
                ("mode", "ro"),
                ("grantee", "ada"),
            ],
        ),
        (
            "/console/tokens",
            &[("description", "x"), ("mode", "ro"), ("purpose", "mount")],
        ),
    ];
    for (form, fields) in forms {
        let answer = browser.submit(&lab, "/", form, fields).await;
        refused(&answer, 403, text);
    }
    refused(&browser.get(&lab, "/console/audit").await, 403, text);
    let page = browser.get(&lab, "/console/workspaces").await.ok(200);
    assert!(!page.text.contains("Create a workspace"));
}

#[tokio::test]
async fn an_operator_makes_and_deletes_tenants_and_their_members() {
    let lab = Lab::new().await;
    let operator = lab.operator().await;
    let mut browser = with_token(&lab, &operator).await;
    let list = "/console/tenants";
    let fields = [
        ("handle", "ada"),
        ("display_name", "Ada"),
        ("backend", "managed"),
        ("issuer", lab.issuer.url.as_str()),
        ("subject", "ada"),
    ];
    let answer = browser.submit(&lab, list, list, &fields).await;
    let there = location(&answer).to_owned();
    let one = there.strip_suffix("?done=tenant-created").unwrap();
    let again = browser.submit(&lab, list, list, &fields).await;
    refused(&again, 409, "a tenant has this handle");
    let fields = [
        ("issuer", lab.issuer.url.as_str()),
        ("subject", "max"),
        ("role", "member"),
    ];
    let members = format!("{one}/members");
    let answer = browser.submit(&lab, one, &members, &fields).await;
    assert_eq!(location(&answer), format!("{one}?done=member-put"));
    signed_in(&lab, "max")
        .await
        .get(&lab, "/console/keys")
        .await
        .ok(200);
    let page = browser.get(&lab, one).await.ok(200).text;
    let (_, rest) = page.rsplit_once(&format!("action=\"{members}/")).unwrap();
    let leave = format!("{members}/{}", rest.split_once('"').unwrap().0);
    let answer = browser.submit(&lab, one, &leave, &[]).await;
    assert_eq!(location(&answer), format!("{one}?done=member-removed"));
    let delete = format!("{one}/delete");
    let answer = browser
        .submit(&lab, one, &delete, &[("handle", "bob")])
        .await;
    refused(&answer, 422, "so nothing was done");
    let fields = [("handle", "ada"), ("bucket", "delete")];
    let answer = browser.submit(&lab, one, &delete, &fields).await;
    assert_eq!(location(&answer), format!("{one}?done=tenant-deleting"));
    let page = browser.get(&lab, one).await.ok(200).text;
    assert!(
        page.contains("<span class=\"badge off\">deleted</span>"),
        "{page}"
    );
    let mut ada = signed_in(&lab, "ada").await;
    refused(
        &ada.get(&lab, "/console/keys").await,
        403,
        "stands in no active tenant",
    );
}

#[tokio::test]
async fn whoever_belongs_to_several_tenants_chooses_one() {
    let (lab, operator) = lab().await;
    let (bob, _) = lab.tenant(&operator, "bob").await;
    let (eve, _) = lab.tenant(&operator, "eve").await;
    let member = json!({ "issuer": lab.issuer.url, "subject": "ada", "role": "member" });
    lab.post(&format!("/tenants/{bob}/members"), &operator, member)
        .await
        .ok(201);
    cases(&lab, "bob").await;
    let mut browser = signed_in(&lab, "ada").await;
    let text = "stands in no active tenant";
    refused(&browser.get(&lab, "/console/workspaces").await, 403, text);
    let page = browser.get(&lab, "/").await.ok(200).text;
    assert!(page.contains("Go to ada") && page.contains("Go to bob") && !page.contains("eve"));
    let choose = |id: &str| [("tenant_id", id.to_owned())];
    for stranger in [eve.as_str(), "0190f5a4-7b1c-7d2e-8f3a-4b5c6d7e8f90"] {
        let [(name, id)] = choose(stranger);
        let answer = browser
            .submit(&lab, "/", "/console/tenant", &[(name, &id)])
            .await;
        refused(&answer, 403, text);
        // Nor by a cookie that nobody here has set.
        let cookie = "__Host-artifacts-tenant".to_owned();
        browser.cookies.insert(cookie.clone(), id);
        refused(&browser.get(&lab, "/console/workspaces").await, 403, text);
        browser.cookies.remove(&cookie);
    }
    let answer = browser
        .submit(&lab, "/", "/console/tenant", &[("tenant_id", &bob)])
        .await;
    assert_eq!(location(&answer), "/?done=tenant-chosen");
    let page = browser.get(&lab, "/console/workspaces").await.ok(200).text;
    assert!(page.contains("bob/cases") && !page.contains("Create a workspace"));
    // A session that is for one tenant leaves no choice.
    let device = lab
        .form("/oauth/device_authorization", "client_id=a&machine=b")
        .await;
    let code = device.field("user_code");
    let fields = [
        ("user_code", code.as_str()),
        ("tenant_id", bob.as_str()),
        ("decision", "approve"),
    ];
    let answer = browser.submit(&lab, "/", "/device", &fields).await.ok(200);
    assert!(answer.text.contains("b is let in"), "{}", answer.text);
    let grant = "urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code";
    let code = device.field("device_code");
    let fields = format!("grant_type={grant}&client_id=a&device_code={code}");
    let session = lab
        .form("/oauth/token", &fields)
        .await
        .field("access_token");
    let mut bound = with_token(&lab, &session).await;
    let page = bound.get(&lab, "/").await.ok(200).text;
    assert!(page.contains("Tenant bob") && !page.contains("Your tenants"));
    let me = lab.get("/whoami", &lab.person("ada")).await.json();
    assert_eq!(me["tenant_id"], Value::Null);
    let ada = lab.get("/tenants", &operator).await.json()["items"][0]["tenant_id"].clone();
    let fields = [("tenant_id", ada.as_str().unwrap())];
    let answer = bound.submit(&lab, "/", "/console/tenant", &fields).await;
    refused(&answer, 404, "there is no such tenant");
    // Not even when the membership that it was for has ended.
    let actor = me["identity"]["actor"].as_str().unwrap();
    lab.delete(&format!("/tenants/{bob}/members/{actor}"), &operator)
        .await
        .ok(204);
    let answer = bound.submit(&lab, "/", "/console/tenant", &fields).await;
    refused(&answer, 403, text);
    let device = lab
        .form("/oauth/device_authorization", "client_id=a&machine=b")
        .await;
    let decision = json!({ "user_code": device.field("user_code"), "tenant_id": ada });
    lab.post("/device/approve", &session, decision)
        .await
        .refused(403, "forbidden");
}
