//! A key that becomes active while its tenant ends: on PostgreSQL both happen at the same time,
//! in every order that there is, and the key is never left active.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use api::{Backend, CredentialId, CredentialState, Mode, TenantId, TenantState, Timestamp};
use artifacts_orchestrator::store::{
    CredentialRow, Credentials, Due, KeysOf, NewCredential, NewTenant, PostgresStore, Tenants,
};
use common::entry;
use sqlx::{Postgres, Transaction};
use testkit::postgres::Postgres as Server;
use tokio::task::JoinHandle;
use uuid::Uuid;

/// Two servers of one database, and a tenant with a key that is being issued.
struct Lab {
    one: Arc<PostgresStore>,
    two: Arc<PostgresStore>,
    tenant: TenantId,
    key: NewCredential,
    _server: Arc<Server>,
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(1_790_000_000_000_000 + seconds * 1_000_000)
}

impl Lab {
    async fn new(server: Server) -> Self {
        let url = server.create_database().unwrap().into();
        let one = Arc::new(PostgresStore::open(&url).await.unwrap());
        let two = Arc::new(PostgresStore::open(&url).await.unwrap());
        let (tenant, key) = tenant_with_key(&one, "racing").await;
        Self {
            one,
            two,
            tenant,
            key,
            _server: Arc::new(server),
        }
    }

    fn activate(&self) -> JoinHandle<bool> {
        let (store, id) = (Arc::clone(&self.one), self.key.id);
        tokio::spawn(async move { activated(&store, id).await })
    }

    fn end(&self) -> JoinHandle<Vec<CredentialRow>> {
        let (store, tenant) = (Arc::clone(&self.two), self.tenant);
        tokio::spawn(async move { ended(&store, tenant).await })
    }

    /// A statement of the store, begun and not committed.
    async fn half(&self, name: &str, values: &[Value<'_>]) -> Transaction<'static, Postgres> {
        let mut transaction = self.one.pool().begin().await.unwrap();
        let mut query = sqlx::query(statement(name));
        for value in values {
            query = match value {
                Value::Id(id) => query.bind(*id),
                Value::Text(text) => query.bind((*text).to_owned()),
                Value::Time(time) => query.bind(time.map(Timestamp::micros)),
            };
        }
        let done = query.execute(&mut *transaction).await.unwrap();
        assert_eq!(done.rows_affected(), 1, "{name}");
        transaction
    }

    async fn key_state(&self) -> CredentialState {
        let row = self.two.credential(self.tenant, self.key.id).await.unwrap();
        row.unwrap().credential.state
    }
}

enum Value<'a> {
    Id(Uuid),
    Text(&'a str),
    Time(Option<Timestamp>),
}

fn statement(name: &str) -> &'static str {
    let all = PostgresStore::statements();
    let mut named = all.iter().filter(|(found, _)| *found == name);
    let (_, text) = named.next().unwrap();
    assert!(named.next().is_none(), "{name} is more than one statement");
    text
}

async fn tenant_with_key(store: &PostgresStore, handle: &str) -> (TenantId, NewCredential) {
    let bucket: api::BucketName = format!("bucket-{handle}").parse().unwrap();
    let tenant = NewTenant {
        id: Uuid::now_v7().into(),
        handle: handle.parse().unwrap(),
        display_name: None,
        backend: Backend::Managed,
        bucket: Some(bucket.clone()),
        state: TenantState::Active,
        created_by: "race".into(),
        created_at: at(0),
        due_at: None,
        owner: None,
    };
    store.add_tenant(&tenant, &entry(at(0), "T")).await.unwrap();
    let key = NewCredential {
        id: Uuid::now_v7().into(),
        tenant: tenant.id,
        bucket_tenant: tenant.id,
        workspace: None,
        grant: None,
        via: None,
        bucket,
        prefix: "".parse().unwrap(),
        mode: Mode::Rw,
        description: None,
        created_by: "race".into(),
        created_at: at(0),
        expires_at: None,
        due_at: at(120),
    };
    (tenant.id, key)
}

async fn activated(store: &PostgresStore, id: CredentialId) -> bool {
    let note = entry(at(1), "MountCredentialCreated");
    let activated = store.activate_credential(id, "AK", "{}", None, &note).await;
    activated.unwrap()
}

/// What the ending of a tenant does, up to asking the provider.
async fn ended(store: &PostgresStore, tenant: TenantId) -> Vec<CredentialRow> {
    let note = entry(at(1), "End");
    let begun = store.begin_tenant_end(tenant, true, at(1), &note).await;
    assert!(begun.unwrap());
    let keys = KeysOf::Holder(tenant);
    store.begin_revocations(keys, at(1), &note).await.unwrap()
}

/// That it waits for another transaction.
async fn waits<T>(task: &mut JoinHandle<T>) {
    let soon = tokio::time::timeout(Duration::from_millis(300), task).await;
    assert!(soon.is_err(), "it did not wait");
}

#[tokio::test]
async fn a_key_that_became_active_first_is_revoked() {
    let lab = Lab::new(testkit::require_postgres!()).await;
    assert!(lab.one.add_credential(&lab.key).await.unwrap());
    let (id, none) = (lab.key.id.uuid(), Value::Time(None));
    let values = [Value::Id(id), Value::Text("AK"), Value::Text("{}"), none];
    let active = lab.half("ACTIVATE", &values).await;
    let mut ending = lab.end();
    waits(&mut ending).await;
    active.commit().await.unwrap();
    let revoked = ending.await.unwrap();
    assert_eq!(
        revoked.len(),
        1,
        "the key that it waited for is one of them"
    );
    let known = revoked[0].credential.access_key.as_deref();
    assert_eq!(known, Some("AK"), "as it was when it became active");
    assert_eq!(lab.key_state().await, CredentialState::Revoking);
}

#[tokio::test]
async fn a_key_whose_revocation_came_first_does_not_become_active() {
    let lab = Lab::new(testkit::require_postgres!()).await;
    assert!(lab.one.add_credential(&lab.key).await.unwrap());
    let now = Value::Time(Some(at(1)));
    let values = [now, Value::Id(lab.tenant.uuid())];
    let revoking = lab.half("REVOKE_OF_HOLDER", &values).await;
    let mut becoming = lab.activate();
    waits(&mut becoming).await;
    revoking.commit().await.unwrap();
    assert!(!becoming.await.unwrap());
    assert_eq!(lab.key_state().await, CredentialState::Revoking);
}

/// The row of a key that was begun while the tenant was active, and is there only after its keys
/// were counted: the tenant is gone before it, and it never opens anything.
#[tokio::test]
async fn a_key_whose_row_came_too_late_does_not_become_active_and_is_taken_back() {
    let lab = Lab::new(testkit::require_postgres!()).await;
    let (tenant, key) = (lab.tenant.uuid(), &lab.key);
    let mut late = lab.one.pool().begin().await.unwrap();
    let added = sqlx::query(statement_of_credentials())
        .bind(key.id.uuid())
        .bind(tenant)
        .bind(tenant)
        .bind(None::<Uuid>)
        .bind(None::<Uuid>)
        .bind(None::<Uuid>)
        .bind(key.bucket.as_str())
        .bind("")
        .bind("rw")
        .bind(None::<String>)
        .bind("race")
        .bind(at(0).micros())
        .bind(None::<i64>)
        .bind(at(120).micros());
    let added = added.execute(&mut *late).await.unwrap();
    assert_eq!(added.rows_affected(), 1);
    assert!(lab.end().await.unwrap().is_empty(), "nobody sees it yet");
    assert_eq!(lab.two.living_keys_of_tenant(lab.tenant).await.unwrap(), 0);
    late.commit().await.unwrap();
    assert!(!lab.activate().await.unwrap());
    assert_eq!(lab.key_state().await, CredentialState::Pending);
    let due = Due {
        now: at(120),
        again: at(150),
        limit: 10,
    };
    let due = lab.two.due_credentials(due).await.unwrap();
    assert_eq!(due.len(), 1, "the background takes it back");
}

fn statement_of_credentials() -> &'static str {
    let all = PostgresStore::statements();
    let found = all
        .iter()
        .find(|(name, text)| *name == "ADD" && text.starts_with("INSERT INTO credentials"));
    found.unwrap().1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn at_the_same_time_again_and_again_no_key_is_left_active() {
    let lab = Lab::new(testkit::require_postgres!()).await;
    for round in 0..200 {
        let (tenant, key) = tenant_with_key(&lab.one, &format!("race-{round}")).await;
        assert!(lab.one.add_credential(&key).await.unwrap());
        let (one, two, id) = (Arc::clone(&lab.one), Arc::clone(&lab.two), key.id);
        let becoming = tokio::spawn(async move { activated(&one, id).await });
        let ending = tokio::spawn(async move { ended(&two, tenant).await });
        let (became, revoked) = (becoming.await.unwrap(), ending.await.unwrap());
        assert_eq!(revoked.len(), 1, "round {round}");
        let row = lab.two.credential(tenant, id).await.unwrap().unwrap();
        assert_eq!(row.credential.state, CredentialState::Revoking);
        let known = row.credential.access_key.is_some();
        assert_eq!(
            known, became,
            "round {round}: whoever became active is known by its key"
        );
    }
}
