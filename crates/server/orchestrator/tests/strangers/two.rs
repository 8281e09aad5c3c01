//! Two tenants: one that has something of everything, and one that comes with everything.

use std::collections::BTreeMap;

use crate::common::{Answer, Lab};
use crate::operations::operations;
use serde_json::{Value, json};
use uuid::Uuid;

const KEYS: &str = "/tenant/mount/credentials";

/// Ada has something of everything, and Bob comes with everything that he can have.
pub(crate) struct Two {
    pub(crate) lab: Lab,
    pub(crate) operator: String,
    /// Ada's.
    pub(crate) owner: String,
    pub(crate) store: String,
    /// What a placeholder or a field of a body is called, and what of Ada's it means.
    pub(crate) names: BTreeMap<&'static str, String>,
    /// Bob, his service token, his ticket, and his store's token.
    pub(crate) strangers: [String; 4],
}

impl Two {
    pub(crate) async fn new() -> Self {
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
    pub(crate) async fn ask(&self, id: &str, token: &str) -> Answer {
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

    pub(crate) fn name(&self, name: &str) -> &str {
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
    pub(crate) async fn state(&self) -> Vec<(String, Value)> {
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
