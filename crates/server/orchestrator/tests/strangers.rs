//! Every operation of the document that names something of a tenant, asked by others: by another
//! tenant's owner, service token, ticket and store. Each gets exactly the refusal that is due, and
//! nothing of the tenant changes; those whom it is for get what they ask for with the same request.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::document::document;
use common::{Answer, Lab};
use serde_json::{Value, json};
use uuid::Uuid;

const KEYS: &str = "/tenant/mount/credentials";

/// What is not there for whoever asks.
const HIDDEN: (u16, &str) = (404, "not_found");

/// What such a token may not do at all, or not there.
const FORBIDDEN: (u16, &str) = (403, "forbidden");

/// Whom an operation is for, and that they get what they ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rightful {
    Owner,
    Operator,
    Store,
    /// It is over: the tenant itself is refused like a stranger.
    Nobody,
}

use Rightful::{Nobody, Operator, Owner, Store};

/// What is due to another tenant's owner, service token and ticket; another tenant's store is
/// forbidden everything here. In an order in which the rightful ones can ask for all of it.
type Due = (&'static str, [(u16, &'static str); 3], Rightful);

const NAMING: &[Due] = &[
    ("list_audit", [FORBIDDEN; 3], Owner),
    ("show_tenant", [FORBIDDEN; 3], Operator),
    ("list_members", [FORBIDDEN; 3], Owner),
    ("add_member", [FORBIDDEN; 3], Owner),
    ("show_workspace", [HIDDEN; 3], Owner),
    ("workspace_formatted", [HIDDEN, FORBIDDEN, FORBIDDEN], Owner),
    // A ticket is for its own workspace, whether there is another or not.
    ("issue_credential", [HIDDEN, HIDDEN, FORBIDDEN], Owner),
    ("credential_used", [HIDDEN; 3], Owner),
    ("announce", [HIDDEN; 3], Owner),
    ("receive_webhook", [FORBIDDEN; 3], Store),
    ("follow_events", [HIDDEN; 3], Owner),
    ("report_mount", [HIDDEN; 3], Owner),
    ("list_mounts", [HIDDEN; 3], Owner),
    ("create_grant", [HIDDEN, FORBIDDEN, FORBIDDEN], Owner),
    ("create_ticket", [HIDDEN, FORBIDDEN, FORBIDDEN], Owner),
    ("create_token", [HIDDEN, FORBIDDEN, FORBIDDEN], Owner),
    // The machine waits for anybody; what it is asked into is the tenant.
    ("approve_device", [FORBIDDEN; 3], Owner),
    // Somebody of the tenant has approved these machines.
    ("show_device", [HIDDEN, FORBIDDEN, FORBIDDEN], Nobody),
    ("deny_device", [HIDDEN, FORBIDDEN, FORBIDDEN], Nobody),
    ("end_mount", [HIDDEN; 3], Owner),
    ("revoke_credential", [HIDDEN; 3], Owner),
    ("revoke_grant", [HIDDEN, FORBIDDEN, FORBIDDEN], Owner),
    ("revoke_ticket", [HIDDEN, FORBIDDEN, FORBIDDEN], Owner),
    ("revoke_token", [HIDDEN, FORBIDDEN, FORBIDDEN], Owner),
    ("delete_workspace", [HIDDEN, FORBIDDEN, FORBIDDEN], Owner),
    ("remove_member", [FORBIDDEN; 3], Owner),
    ("delete_tenant", [FORBIDDEN; 3], Operator),
];

/// Operations that name nothing of a tenant: what they are about comes from the token alone.
const NAMELESS: &[&str] = &[
    "bootstrap",
    "create_tenant",
    "create_workspace",
    "device_authorization",
    "device_token",
    "healthz",
    "jwks",
    "list_credentials",
    "list_grants",
    "list_mounts_of_tenant",
    "list_received_grants",
    "list_tenants",
    "list_tickets",
    "list_tokens",
    "list_workspaces",
    "logout",
    "metrics",
    "mount_info",
    "openapi",
    "readyz",
    "whoami",
];

/// An operation as the document has it.
struct Operation {
    method: String,
    path: String,
    value: &'static Value,
}

fn operations() -> BTreeMap<&'static str, Operation> {
    let mut all = BTreeMap::new();
    for (path, item) in document().value["paths"].as_object().unwrap() {
        for (method, value) in item.as_object().unwrap() {
            let (method, path) = (method.to_uppercase(), path.clone());
            let id = value["operationId"].as_str().unwrap();
            all.insert(
                id,
                Operation {
                    method,
                    path,
                    value,
                },
            );
        }
    }
    all
}

impl Operation {
    /// Whether its path, query or body has room for the number or name of something.
    fn names_something(&self) -> bool {
        let parameters = self.value["parameters"].as_array();
        let mut names = parameters.into_iter().flatten();
        self.path.contains('{')
            || names.any(|parameter| is_number(parameter["name"].as_str().unwrap()))
            || self.fields().iter().any(|field| is_number(field))
    }

    fn fields(&self) -> Vec<String> {
        let contents = self.value["requestBody"]["content"].as_object();
        let mut fields = Vec::new();
        for content in contents.into_iter().flat_map(|contents| contents.values()) {
            fields_of(&content["schema"], &mut fields);
        }
        fields
    }
}

/// A `client_id` is a program's.
fn is_number(name: &str) -> bool {
    name.ends_with("_id") && name != "client_id"
}

fn fields_of(schema: &Value, fields: &mut Vec<String>) {
    if let Some(place) = schema["$ref"].as_str() {
        let place = place.trim_start_matches('#');
        fields_of(document().value.pointer(place).unwrap(), fields);
    }
    for parts in ["allOf", "oneOf", "anyOf"] {
        for part in schema[parts].as_array().into_iter().flatten() {
            fields_of(part, fields);
        }
    }
    let properties = schema["properties"].as_object();
    fields.extend(
        properties
            .into_iter()
            .flat_map(|fields| fields.keys().cloned()),
    );
}

#[test]
fn every_operation_is_one_that_names_something_or_one_that_does_not() {
    let naming: BTreeSet<&str> = NAMING.iter().map(|(id, ..)| *id).collect();
    let nameless: BTreeSet<&str> = NAMELESS.iter().copied().collect();
    assert_eq!(naming.len(), NAMING.len(), "one is there twice");
    for (id, operation) in operations() {
        let found = (naming.contains(id), nameless.contains(id));
        let due = (operation.names_something(), !operation.names_something());
        assert_eq!(
            found, due,
            "{id}: NAMING or NAMELESS does not say what is due"
        );
    }
    assert_eq!(naming.len() + nameless.len(), operations().len());
}

/// Ada has something of everything, and Bob comes with everything that he can have.
struct Two {
    lab: Lab,
    operator: String,
    /// Ada's.
    owner: String,
    store: String,
    /// What a placeholder or a field of a body is called, and what of Ada's it means.
    names: BTreeMap<&'static str, String>,
    /// Bob, his service token, his ticket, and his store's token.
    strangers: [String; 4],
}

impl Two {
    async fn new() -> Self {
        let lab = Lab::new().await;
        let operator = lab.operator().await;
        let (tenant, owner) = lab.tenant(&operator, "ada").await;
        let (_, bob) = lab.tenant(&operator, "bob").await;
        lab.tenant(&operator, "eve").await;
        let (store, names) = belongings(&lab, &tenant, &owner).await;
        let (workspace, token, ticket, webhook) = bearers(&lab, &bob).await;
        // They count: Bob's own workspace is open to them.
        for holder in [&bob, &token, &ticket] {
            let said = json!({ "workspace_id": workspace });
            lab.post("/sync", holder, said).await.ok(200);
        }
        Self {
            lab,
            operator,
            owner,
            store,
            names,
            strangers: [bob, token, ticket, webhook],
        }
    }

    /// The operation, about what is Ada's.
    async fn ask(&self, id: &str, token: &str) -> Answer {
        let (method, path, body) = self.request(id);
        self.lab.call(&method, &path, token, body).await
    }

    fn request(&self, id: &str) -> (String, String, Value) {
        let operation = &operations()[id];
        let mut path = operation.path.clone();
        for (name, value) in &self.names {
            path = path.replace(&format!("{{{name}}}"), value);
        }
        if matches!(id, "show_device" | "deny_device") {
            path = path.replace(self.name("user_code"), self.name("approved"));
        }
        assert!(
            !path.contains('{'),
            "{path}: a placeholder with nothing to fill it"
        );
        if id == "list_audit" {
            path = format!("{path}?tenant_id={}", self.name("tenant_id"));
        }
        (operation.method.clone(), path, self.body(id))
    }

    fn name(&self, name: &str) -> &str {
        &self.names[name]
    }

    fn body(&self, id: &str) -> Value {
        let workspace = self.name("workspace_id");
        match id {
            "add_member" => {
                json!({ "issuer": self.lab.issuer.url, "subject": "zoe", "role": "owner" })
            }
            "approve_device" => {
                json!({ "user_code": self.name("user_code"), "tenant_id": self.name("tenant_id") })
            }
            "deny_device" => json!({ "user_code": self.name("approved") }),
            "issue_credential" => json!({ "workspace_id": workspace }),
            "announce" => json!({ "workspace_id": workspace, "changed": [{ "key": "a" }] }),
            "receive_webhook" => json!({ "Records": [{
                "eventName": "s3:ObjectCreated:Put",
                "s3": {
                    "bucket": { "name": self.name("bucket") },
                    "object": { "key": "cases/a", "eTag": "0cc1" },
                },
            }] }),
            "report_mount" => json!({ "machine": "laptop of Bob", "mode": "ro" }),
            "create_grant" => {
                json!({ "workspace_id": workspace, "grantee": "bob", "mode": "rw" })
            }
            "create_ticket" => {
                json!({ "workspace_id": workspace, "mode": "rw", "ttl_seconds": 600 })
            }
            "create_token" => {
                json!({ "workspace_id": workspace, "description": "x", "mode": "rw" })
            }
            _ => Value::Null,
        }
    }

    /// Everything of Ada's that somebody could change.
    async fn state(&self) -> Vec<(String, Value)> {
        let tenant = self.name("tenant_id");
        let mut state = Vec::new();
        for path in [
            "/workspaces".to_owned(),
            "/grants".to_owned(),
            "/grants/received".to_owned(),
            "/tickets".to_owned(),
            "/tokens".to_owned(),
            KEYS.to_owned(),
            "/tenant/mount/info".to_owned(),
            "/tenant/mounts".to_owned(),
            format!("/tenants/{tenant}/members"),
            format!("/audit?tenant_id={tenant}&limit=1000"),
        ] {
            let found = self.lab.get(&path, &self.owner).await.ok(200).json();
            state.push((path, found));
        }
        let path = format!("/tenants/{tenant}");
        let about = self.lab.get(&path, &self.operator).await.ok(200).json();
        state.push((path, about));
        let workspace = self.name("workspace_id").parse().unwrap();
        let newest = self.lab.store.newest_event(workspace).await.unwrap();
        state.push(("events".into(), json!(newest)));
        let content = format!("{:?}", self.lab.fake.content());
        state.push(("the provider's".into(), json!(content)));
        state
    }
}

/// Something of everything of Ada's; answers her store's token, and what is what.
async fn belongings(
    lab: &Lab,
    tenant: &str,
    owner: &str,
) -> (String, BTreeMap<&'static str, String>) {
    let (workspace, token_id, ticket_id, grant_id) = shared(lab, owner).await;
    let key = lab.post(KEYS, owner, Value::Null).await.ok(201);
    let mount = Uuid::now_v7().to_string();
    let on = json!({ "machine": "laptop of Ada", "mode": "rw" });
    let path = format!("/workspaces/{workspace}/mounts/{mount}");
    lab.call("PUT", &path, owner, on).await.ok(204);
    let max = json!({ "issuer": lab.issuer.url, "subject": "max", "role": "member" });
    let members = format!("/tenants/{tenant}/members");
    let max = lab.post(&members, owner, max).await.ok(201);
    let wanted = json!({ "description": "minio", "mode": "ro", "purpose": "webhook" });
    let store = lab.post("/tokens", owner, wanted).await.ok(201);
    let (waits, approved) = (machine(lab).await, machine(lab).await);
    let decision = json!({ "user_code": approved });
    lab.post("/device/approve", owner, decision).await.ok(204);
    let names = BTreeMap::from([
        ("tenant_id", tenant.to_owned()),
        ("tenant", tenant.to_owned()),
        ("sender", "minio".to_owned()),
        ("handle", "ada".to_owned()),
        ("name", "cases".to_owned()),
        ("workspace_id", workspace),
        ("token_id", token_id),
        ("ticket_id", ticket_id),
        ("grant_id", grant_id),
        ("credential_id", key.field("credential_id")),
        ("bucket", key.field("bucket_name")),
        ("mount_id", mount),
        ("actor", max.field("actor")),
        ("user_code", waits),
        ("approved", approved),
    ]);
    (store.field("token"), names)
}

/// A workspace, and a token, a ticket and a grant of it: their numbers.
async fn shared(lab: &Lab, owner: &str) -> (String, String, String, String) {
    let made = lab.post("/workspaces", owner, json!({ "name": "cases" }));
    let workspace = made.await.ok(201).field("workspace_id");
    let token = json!({ "description": "build", "mode": "rw" });
    let token = lab.post("/tokens", owner, token).await.ok(201);
    let ticket = json!({ "workspace_id": workspace, "mode": "rw", "ttl_seconds": 600 });
    let ticket = lab.post("/tickets", owner, ticket).await.ok(201);
    let grant = json!({ "workspace_id": workspace, "grantee": "eve", "mode": "ro" });
    let grant = lab.post("/grants", owner, grant).await.ok(201);
    let (token, ticket) = (token.field("token_id"), ticket.field("ticket_id"));
    (workspace, token, ticket, grant.field("grant_id"))
}

/// The code of a machine that waits to be let in.
async fn machine(lab: &Lab) -> String {
    let fields = "client_id=artifacts&machine=laptop";
    let begun = lab.form("/oauth/device_authorization", fields).await;
    begun.ok(200).field("user_code")
}

/// A workspace's number, and a service token, a ticket and a store's token of its tenant.
async fn bearers(lab: &Lab, owner: &str) -> (String, String, String, String) {
    let made = lab.post("/workspaces", owner, json!({ "name": "own" }));
    let workspace = made.await.ok(201).field("workspace_id");
    let token = json!({ "description": "build", "mode": "rw" });
    let token = lab.post("/tokens", owner, token).await.ok(201);
    let ticket = json!({ "workspace_id": workspace, "mode": "rw", "ttl_seconds": 600 });
    let ticket = lab.post("/tickets", owner, ticket).await.ok(201);
    let store = json!({ "description": "minio", "mode": "ro", "purpose": "webhook" });
    let store = lab.post("/tokens", owner, store).await.ok(201);
    (
        workspace,
        token.field("token"),
        ticket.field("ticket"),
        store.field("token"),
    )
}

#[tokio::test]
async fn another_tenant_gets_the_refusal_that_is_due_and_changes_nothing() {
    let t = Two::new().await;
    let before = t.state().await;
    for (id, [owner, token, ticket], _) in NAMING {
        let due = [*owner, *token, *ticket, FORBIDDEN];
        let kinds = ["owner", "service token", "ticket", "store"];
        for ((stranger, (status, code)), kind) in t.strangers.iter().zip(due).zip(kinds) {
            let answer = t.ask(id, stranger).await;
            let found = (answer.status.as_u16(), answer.field("code"));
            assert_eq!(found, (status, code.into()), "{id} by a {kind}: {answer:?}");
            assert_eq!(t.state().await, before, "{id} by a {kind}");
        }
    }
}

/// Nobody finds out by a refusal what another tenant has.
#[tokio::test]
async fn what_is_anothers_is_answered_like_what_nobody_has() {
    let mut t = Two::new().await;
    let theirs = all_answers(&t).await;
    for (name, value) in &mut t.names {
        match *name {
            // What a stranger may know of: the form of a notice, a tenant's handle, and a machine
            // that waits for anybody.
            "sender" | "handle" | "user_code" => {}
            "name" => *value = "nothing".into(),
            "bucket" => *value = "nothing-of-ours".into(),
            "actor" => *value = "0".repeat(64),
            "approved" => *value = "BBBB-BBBB".into(),
            _ => *value = Uuid::now_v7().to_string(),
        }
    }
    let nobodys = all_answers(&t).await;
    assert_eq!(theirs.len(), NAMING.len() * t.strangers.len());
    assert_eq!(theirs, nobodys);
}

/// What every stranger is told about everything.
async fn all_answers(t: &Two) -> Vec<(&'static str, usize, u16, String)> {
    let mut all = Vec::new();
    for (id, ..) in NAMING {
        for (place, stranger) in t.strangers.iter().enumerate() {
            let answer = t.ask(id, stranger).await;
            all.push((*id, place, answer.status.as_u16(), answer.text));
        }
    }
    all
}

/// What is refused to strangers is refused for who they are: the same requests are good ones.
#[tokio::test]
async fn those_whom_it_is_for_get_what_they_ask_for_with_the_same_requests() {
    let t = Two::new().await;
    for (id, _, rightful) in NAMING {
        let token = match rightful {
            Owner | Nobody => &t.owner,
            Operator => &t.operator,
            Store => &t.store,
        };
        if *id == "follow_events" {
            // An answer without an end.
            let followed = t.lab.follow(t.name("workspace_id"), token, None).await;
            assert!(followed.is_ok(), "{id}");
            continue;
        }
        let answer = t.ask(id, token).await;
        match rightful {
            Nobody => drop(answer.refused(404, "not_found")),
            _ => assert!(answer.status.is_success(), "{id}: {answer:?}"),
        }
    }
}
