//! What every adapter of the store keeps.

mod lists;

use std::sync::Arc;

use api::{
    Backend, BucketName, Change, Changes, CredentialId, CredentialState, Deletion, Event, EventId,
    GrantId, Mode, MountId, Place, ReportMount, Role, Scope, ServiceTokenId, SessionId, Source,
    TenantId, TenantState, TicketId, Timestamp, UserCode, WorkspaceId, WorkspaceState,
};
use artifacts_orchestrator::store::{
    DeviceState, Due, Entry, Happened, Heard, KeysOf, MountsOf, NewCredential, NewDevice, NewGrant,
    NewMember, NewReport, NewServiceToken, NewSession, NewTenant, NewTicket, NewWorkspace, Part,
    Store, StoreError, TenantChange,
};
use artifacts_orchestrator::verify::{Verdict, verify};
use futures::StreamExt;
use model::Actor;
use uuid::Uuid;

use crate::common::entry;

type Shared = Arc<dyn Store>;

/// Runs the whole suite on an empty database.
pub(crate) async fn all(store: Shared) {
    bootstrap_tokens_count_once(&store).await;
    handles_are_one_tenants(&store).await;
    tenants_move_only_from_where_they_are(&store).await;
    members_and_sessions(&store).await;
    somebody_belongs_to_several_tenants(&store).await;
    devices(&store).await;
    keys_go_one_way(&store).await;
    keys_of_what_is_ending_do_not_become_active(&store).await;
    revocations_reach_exactly_the_chosen(&store).await;
    due_rows_are_taken_once(&store).await;
    workspaces_grants_tickets_tokens(&store).await;
    lists::lists_are_read_from_their_end(&store).await;
    events_are_counted_without_gaps(&store).await;
    mounts_say_and_are_forgotten(&store).await;
    the_audit_is_one_chain(&store).await;
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(1_790_000_000_000_000 + seconds * 1_000_000)
}

fn note(action: &'static str) -> Entry {
    entry(at(0), action)
}

fn actor(name: &str) -> Actor {
    Actor::from_oidc("https://id.example.com", name).unwrap()
}

fn first(limit: i64) -> Part {
    Part {
        after: Uuid::nil(),
        limit,
    }
}

fn bucket(name: &str) -> BucketName {
    format!("bucket-{name}").parse().unwrap()
}

fn new_tenant(handle: &str, state: TenantState) -> NewTenant {
    NewTenant {
        id: Uuid::now_v7().into(),
        handle: handle.parse().unwrap(),
        display_name: Some("A tenant".parse().unwrap()),
        backend: Backend::Managed,
        bucket: Some(bucket(handle)),
        state,
        created_by: "suite".into(),
        created_at: at(0),
        due_at: None,
        owner: None,
    }
}

async fn tenant(store: &Shared, handle: &str) -> TenantId {
    let new = new_tenant(handle, TenantState::Active);
    store
        .add_tenant(&new, &note("TenantCreated"))
        .await
        .unwrap();
    new.id
}

fn new_key(tenant: TenantId, bucket_tenant: TenantId) -> NewCredential {
    NewCredential {
        id: Uuid::now_v7().into(),
        tenant,
        bucket_tenant,
        workspace: None,
        grant: None,
        via: None,
        bucket: bucket("keys"),
        prefix: "".parse().unwrap(),
        mode: Mode::Rw,
        description: None,
        created_by: "suite".into(),
        created_at: at(0),
        expires_at: Some(at(1_000_000)),
        due_at: at(1_000_000),
    }
}

async fn active_key(store: &Shared, new: &NewCredential) -> bool {
    assert!(store.add_credential(new).await.unwrap());
    let due = Some(at(1_000_000));
    let entry = note("MountCredentialCreated");
    store
        .activate_credential(new.id, "KEY", r#"{"user":"u"}"#, due, &entry)
        .await
        .unwrap()
}

async fn state(store: &Shared, tenant: TenantId, id: CredentialId) -> CredentialState {
    let row = store.credential(tenant, id).await.unwrap();
    row.unwrap().credential.state
}

fn session(actor: Actor, tenant: Option<TenantId>) -> NewSession {
    NewSession {
        id: SessionId::from(Uuid::now_v7()),
        actor,
        tenant,
        scope: Scope::Tenant,
        machine: "suite".into(),
        created_at: at(0),
        expires_at: at(100),
    }
}

async fn bootstrap_tokens_count_once(store: &Shared) {
    assert!(!store.has_operator().await.unwrap());
    store
        .put_bootstrap(b"first", at(10), &note("B"))
        .await
        .unwrap();
    store
        .put_bootstrap(b"second", at(10), &note("B"))
        .await
        .unwrap();
    let operator = session(actor("operator"), None);
    let mut late = operator.clone();
    late.created_at = at(10);
    for (hash, session) in [(&b"first"[..], &operator), (&b"second"[..], &late)] {
        assert!(
            !store
                .use_bootstrap(hash, session, &note("O"))
                .await
                .unwrap()
        );
    }
    assert!(
        store
            .use_bootstrap(b"second", &operator, &note("O"))
            .await
            .unwrap()
    );
    assert!(
        !store
            .use_bootstrap(b"second", &operator, &note("O"))
            .await
            .unwrap()
    );
    assert!(store.is_operator(&operator.actor).await.unwrap());
    assert!(!store.is_operator(&actor("other")).await.unwrap());
}

async fn handles_are_one_tenants(store: &Shared) {
    let id = tenant(store, "handle").await;
    let again = new_tenant("handle", TenantState::Provisioning);
    let refused = store.add_tenant(&again, &note("TenantCreated")).await;
    assert!(matches!(refused, Err(StoreError::Exists)), "{refused:?}");
    let handle = "handle".parse().unwrap();
    let found = store.tenant_by_handle(&handle).await.unwrap().unwrap();
    assert_eq!(found.tenant.tenant_id, id);
    assert_eq!(found.tenant.bucket_name, Some(bucket("handle")));
    assert!(
        store
            .begin_tenant_end(id, false, at(1), &note("End"))
            .await
            .unwrap()
    );
    let change = TenantChange {
        from: TenantState::Deleting,
        to: TenantState::Deleted,
        trouble: None,
        attempts: 0,
        due_at: None,
    };
    assert!(store.change_tenant(id, &change, None).await.unwrap());
    assert!(store.tenant_by_handle(&handle).await.unwrap().is_none());
    store
        .add_tenant(&again, &note("TenantCreated"))
        .await
        .unwrap();
    assert!(
        store.tenant(id).await.unwrap().is_some(),
        "what is gone is still known"
    );
}

async fn tenants_move_only_from_where_they_are(store: &Shared) {
    let new = new_tenant("moving", TenantState::Provisioning);
    store
        .add_tenant(&new, &note("TenantCreated"))
        .await
        .unwrap();
    let change = TenantChange {
        from: TenantState::Active,
        to: TenantState::Failed,
        trouble: Some("words".into()),
        attempts: 3,
        due_at: None,
    };
    let before = store.recorded(0, 100_000).await.unwrap().len();
    assert!(
        !store
            .change_tenant(new.id, &change, Some(&note("No")))
            .await
            .unwrap()
    );
    let right = TenantChange {
        from: TenantState::Provisioning,
        to: TenantState::Provisioning,
        ..change
    };
    assert!(store.change_tenant(new.id, &right, None).await.unwrap());
    assert_eq!(store.recorded(0, 100_000).await.unwrap().len(), before);
    let row = store.tenant(new.id).await.unwrap().unwrap();
    assert_eq!(
        (row.attempts, row.tenant.trouble.as_deref()),
        (3, Some("words"))
    );
}

async fn members_and_sessions(store: &Shared) {
    let id = tenant(store, "members").await;
    let ada = actor("ada");
    let member = |role| NewMember {
        id: Uuid::now_v7(),
        actor: ada.clone(),
        role,
        created_at: at(0),
    };
    store
        .put_member(id, &member(Role::Member), &note("M"))
        .await
        .unwrap();
    store
        .put_member(id, &member(Role::Owner), &note("M"))
        .await
        .unwrap();
    let members = store.members(id, first(10)).await.unwrap();
    assert_eq!(members.len(), 1);
    assert_eq!(members[0].1.role, Role::Owner);
    let found = store.memberships(&ada, None).await.unwrap();
    assert_eq!(found.len(), 1);
    assert!(
        store
            .memberships(&actor("eve"), Some(id))
            .await
            .unwrap()
            .is_empty()
    );

    store
        .put_bootstrap(b"third", at(10), &note("B"))
        .await
        .unwrap();
    let new = session(ada.clone(), Some(id));
    assert!(
        store
            .use_bootstrap(b"third", &new, &note("S"))
            .await
            .unwrap()
    );
    let row = store.session(new.id, &ada).await.unwrap().unwrap();
    assert_eq!(
        (row.scope, row.tenant, row.operator),
        (Scope::Tenant, Some(id), true)
    );
    assert_eq!(row.membership.unwrap().role, Role::Owner);
    assert!(
        store
            .session(new.id, &actor("eve"))
            .await
            .unwrap()
            .is_none()
    );
    assert!(store.remove_member(id, &ada, &note("M")).await.unwrap());
    assert!(!store.remove_member(id, &ada, &note("M")).await.unwrap());
    let row = store.session(new.id, &ada).await.unwrap().unwrap();
    assert!(row.membership.is_none());
    assert!(
        store
            .revoke_session(new.id, at(1), &note("S"))
            .await
            .unwrap()
    );
    assert!(
        !store
            .revoke_session(new.id, at(1), &note("S"))
            .await
            .unwrap()
    );
    assert_eq!(
        store
            .session(new.id, &ada)
            .await
            .unwrap()
            .unwrap()
            .revoked_at,
        Some(at(1))
    );
    store.forget_ended(at(101)).await.unwrap();
    assert!(store.session(new.id, &ada).await.unwrap().is_none());
}

async fn somebody_belongs_to_several_tenants(store: &Shared) {
    let max = actor("max");
    let mut ids = Vec::new();
    for handle in ["several-1", "several-2", "several-3"] {
        let id = tenant(store, handle).await;
        let member = NewMember {
            id: Uuid::now_v7(),
            actor: max.clone(),
            role: Role::Member,
            created_at: at(0),
        };
        store.put_member(id, &member, &note("M")).await.unwrap();
        ids.push(id);
    }
    ids.sort();
    let part = async |after: Uuid, limit| {
        let part = Part { after, limit };
        let found = store.memberships_part(&max, part).await.unwrap();
        let ids = found.into_iter().map(|found| found.tenant.tenant.tenant_id);
        ids.collect::<Vec<_>>()
    };
    assert_eq!(part(Uuid::nil(), 10).await, ids);
    assert_eq!(part(Uuid::nil(), 2).await, ids[..2]);
    assert_eq!(part(ids[1].uuid(), 10).await, ids[2..]);
    // A tenant that is gone is none of theirs.
    let change = TenantChange {
        from: TenantState::Deleting,
        to: TenantState::Deleted,
        trouble: None,
        attempts: 0,
        due_at: None,
    };
    let entry = note("E");
    let begin = store.begin_tenant_end(ids[0], false, at(0), &entry);
    assert!(begin.await.unwrap());
    assert!(store.change_tenant(ids[0], &change, None).await.unwrap());
    assert_eq!(part(Uuid::nil(), 10).await, ids[1..]);

    let new = session(max.clone(), None);
    let row = async || store.session(new.id, &max).await.unwrap();
    assert!(row().await.is_none());
    store.add_session(&new, &note("S")).await.unwrap();
    let found = row().await.unwrap();
    assert_eq!((found.tenant, found.operator), (None, false));
    assert!(found.membership.is_none());
}

async fn devices(store: &Shared) {
    let code: UserCode = "WDJB-MJHT".parse().unwrap();
    let device = NewDevice {
        device_hash: b"device".to_vec(),
        user_code: code.clone(),
        client_id: "artifacts".parse().unwrap(),
        machine: "laptop".parse().unwrap(),
        scope: Scope::Tenant,
        created_at: at(0),
        expires_at: at(600),
        interval: 5,
    };
    store.add_device(&device).await.unwrap();
    let mut other = device.clone();
    other.device_hash = b"other".to_vec();
    let refused = store.add_device(&other).await;
    assert!(matches!(refused, Err(StoreError::Exists)), "{refused:?}");
    let poll = async |seconds| {
        store
            .poll_device(b"device", at(seconds))
            .await
            .unwrap()
            .unwrap()
    };
    assert!(!poll(0).await.too_fast);
    assert!(poll(4).await.too_fast);
    assert!(poll(13).await.too_fast, "ten seconds now");
    assert!(!poll(28).await.too_fast, "fifteen now");
    assert!(store.poll_device(b"none", at(0)).await.unwrap().is_none());
    let ada = actor("ada");
    let yes = Some((&ada, None));
    assert!(
        !store
            .decide_device(&code, yes, at(600), &note("D"))
            .await
            .unwrap(),
        "too late"
    );
    let new = session(ada.clone(), None);
    assert!(
        !store.use_device(b"device", &new, &note("S")).await.unwrap(),
        "not approved"
    );
    assert!(
        store
            .decide_device(&code, yes, at(599), &note("D"))
            .await
            .unwrap()
    );
    assert!(
        !store
            .decide_device(&code, None, at(599), &note("D"))
            .await
            .unwrap()
    );
    let found = store.device_by_code(&code).await.unwrap().unwrap();
    assert_eq!(
        (found.state, found.actor),
        (DeviceState::Approved, Some(ada))
    );
    assert!(store.use_device(b"device", &new, &note("S")).await.unwrap());
    assert!(!store.use_device(b"device", &new, &note("S")).await.unwrap());
}

async fn keys_go_one_way(store: &Shared) {
    let id = tenant(store, "keys").await;
    let new = new_key(id, id);
    assert!(store.add_credential(&new).await.unwrap());
    store
        .keep_handle(new.id, r#"{"policy":"p"}"#)
        .await
        .unwrap();
    let row = store.credential(id, new.id).await.unwrap().unwrap();
    assert_eq!(
        (row.handle.as_str(), row.credential.state),
        (r#"{"policy":"p"}"#, CredentialState::Pending)
    );
    assert_eq!(store.newest_credential(id).await.unwrap(), None);
    assert!(
        !store
            .touch_credential(id, new.id, at(1), None)
            .await
            .unwrap()
    );
    let created = note("MountCredentialCreated");
    assert!(
        store
            .activate_credential(new.id, "AK", "{}", None, &created)
            .await
            .unwrap()
    );
    assert!(
        !store
            .activate_credential(new.id, "AK", "{}", None, &created)
            .await
            .unwrap()
    );
    assert_eq!(store.newest_credential(id).await.unwrap(), Some(at(0)));
    assert!(
        store
            .touch_credential(id, new.id, at(1), Some(at(9)))
            .await
            .unwrap()
    );
    assert!(!store.finish_revocation(new.id, &note("No")).await.unwrap());
    let key = KeysOf::One(id, new.id);
    let begun = store
        .begin_revocations(key, at(2), &note("R"))
        .await
        .unwrap();
    assert_eq!(begun.len(), 1);
    assert_eq!(begun[0].credential.deletion_status, Some(Deletion::Pending));
    assert!(
        store
            .begin_revocations(key, at(3), &note("R"))
            .await
            .unwrap()
            .is_empty()
    );
    store
        .fail_revocation(new.id, Deletion::Failed, "words", at(4))
        .await
        .unwrap();
    let row = store.credential(id, new.id).await.unwrap().unwrap();
    assert_eq!(
        (row.attempts, row.credential.deletion_status),
        (1, Some(Deletion::Failed))
    );
    assert_eq!(
        store.living_keys_of_tenant(id).await.unwrap(),
        2,
        "as holder and as owner"
    );
    assert!(store.finish_revocation(new.id, &note("D")).await.unwrap());
    let row = store.credential(id, new.id).await.unwrap().unwrap();
    assert_eq!(row.credential.state, CredentialState::Revoked);
    assert_eq!(row.credential.revoked_at, Some(at(2)));
    assert_eq!(store.living_keys_of_tenant(id).await.unwrap(), 0);
}

async fn keys_of_what_is_ending_do_not_become_active(store: &Shared) {
    let (holder, owner) = (tenant(store, "holder").await, tenant(store, "owner").await);
    let new = new_key(holder, owner);
    assert!(store.add_credential(&new).await.unwrap());
    assert!(
        store
            .begin_tenant_end(owner, true, at(1), &note("End"))
            .await
            .unwrap()
    );
    let created = note("MountCredentialCreated");
    assert!(
        !store
            .activate_credential(new.id, "AK", "{}", None, &created)
            .await
            .unwrap()
    );
    assert!(!store.add_credential(&new_key(holder, owner)).await.unwrap());
    assert!(!store.add_credential(&new_key(owner, holder)).await.unwrap());
    let place = workspace_place();
    let workspace = add_workspace(store, holder, "ending", place).await;
    let mut new = new_key(holder, holder);
    new.workspace = Some(workspace);
    assert!(store.add_credential(&new).await.unwrap());
    assert!(
        store
            .begin_workspace_end(workspace, at(1), &note("End"))
            .await
            .unwrap()
    );
    assert!(
        !store
            .activate_credential(new.id, "AK", "{}", None, &created)
            .await
            .unwrap()
    );
}

async fn revocations_reach_exactly_the_chosen(store: &Shared) {
    let (one, two) = (tenant(store, "one").await, tenant(store, "two").await);
    let via = Uuid::now_v7();
    let keys = [new_key(one, one), new_key(one, two), new_key(two, one), {
        let mut key = new_key(two, two);
        key.via = Some(via);
        key
    }];
    for key in &keys {
        assert!(active_key(store, key).await);
    }
    let ids = |rows: Vec<artifacts_orchestrator::store::CredentialRow>| {
        let mut ids: Vec<_> = rows
            .iter()
            .map(|row| row.credential.credential_id)
            .collect();
        ids.sort();
        ids
    };
    let revoke = async |choice| {
        ids(store
            .begin_revocations(choice, at(1), &note("R"))
            .await
            .unwrap())
    };
    let others = revoke(KeysOf::One(two, keys[0].id)).await;
    assert!(others.is_empty(), "another tenant's");
    assert_eq!(revoke(KeysOf::Via(via)).await, [keys[3].id]);
    assert_eq!(revoke(KeysOf::Holder(one)).await, [keys[0].id, keys[1].id]);
    assert_eq!(
        revoke(KeysOf::Bucket(one)).await,
        [keys[2].id],
        "one is revoking already"
    );
    assert_eq!(
        state(store, two, keys[2].id).await,
        CredentialState::Revoking
    );
}

async fn due_rows_are_taken_once(store: &Shared) {
    let id = tenant(store, "due").await;
    let mut new = new_key(id, id);
    new.due_at = at(50_000);
    assert!(store.add_credential(&new).await.unwrap());
    let due = |now| Due {
        now: at(now),
        again: at(now + 30),
        limit: 1_000,
    };
    let taken = async |now| {
        let rows = store.due_credentials(due(now)).await.unwrap();
        rows.iter()
            .filter(|row| row.credential.credential_id == new.id)
            .count()
    };
    assert_eq!(taken(49_999).await, 0);
    assert_eq!(taken(50_000).await, 1);
    assert_eq!(taken(50_001).await, 0, "another server has it");
    assert_eq!(taken(50_030).await, 1, "that one was killed");
    let mut tenant = new_tenant("duetenant", TenantState::Provisioning);
    tenant.due_at = Some(at(60_000));
    store.add_tenant(&tenant, &note("T")).await.unwrap();
    let mine = async |now| {
        let rows = store.due_tenants(due(now)).await.unwrap();
        rows.iter()
            .filter(|row| row.tenant.tenant_id == tenant.id)
            .count()
    };
    assert_eq!(
        (mine(59_999).await, mine(60_000).await, mine(60_001).await),
        (0, 1, 0)
    );
}

fn workspace_place() -> Place {
    Place {
        bucket: bucket("place"),
        endpoint_url: "https://store.example.com".parse().unwrap(),
        region: "auto".parse().unwrap(),
        prefix: "cases/".parse().unwrap(),
    }
}

async fn add_workspace(store: &Shared, tenant: TenantId, name: &str, place: Place) -> WorkspaceId {
    let id = WorkspaceId::from(Uuid::now_v7());
    let new = NewWorkspace {
        id,
        tenant,
        name: name.parse().unwrap(),
        backend: Backend::Managed,
        place,
        created_by: "suite".into(),
        created_at: at(0),
    };
    store
        .add_workspace(&new, &note("WorkspaceCreated"))
        .await
        .unwrap();
    id
}

async fn workspaces_grants_tickets_tokens(store: &Shared) {
    let (ada, bob) = (tenant(store, "wada").await, tenant(store, "wbob").await);
    let id = add_workspace(store, ada, "cases", workspace_place()).await;
    let (handle, name) = ("wada".parse().unwrap(), "cases".parse().unwrap());
    let found = store
        .workspace_by_name(&handle, &name)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((found.workspace_id, found.place), (id, workspace_place()));
    assert!(store.format_workspace(id, at(1), &note("F")).await.unwrap());
    assert!(!store.format_workspace(id, at(1), &note("F")).await.unwrap());
    let grant = NewGrant {
        id: GrantId::from(Uuid::now_v7()),
        workspace: id,
        tenant: ada,
        grantee: bob,
        mode: Mode::Ro,
        created_by: "suite".into(),
        created_at: at(0),
        expires_at: None,
    };
    store.add_grant(&grant, &note("G")).await.unwrap();
    let mut second = grant.clone();
    second.id = GrantId::from(Uuid::now_v7());
    let refused = store.add_grant(&second, &note("G")).await;
    assert!(matches!(refused, Err(StoreError::Exists)), "{refused:?}");
    assert_eq!(
        store.grants_by(ada, first(9)).await.unwrap()[0]
            .grantee
            .as_str(),
        "wbob"
    );
    assert_eq!(store.grants_to(bob, first(9)).await.unwrap().len(), 1);
    assert_eq!(
        store.grant_for(id, bob).await.unwrap().unwrap().mode,
        Mode::Ro
    );
    assert!(store.grant_for(id, ada).await.unwrap().is_none());
    assert!(
        !store
            .revoke_grant(bob, grant.id, at(1), &note("G"))
            .await
            .unwrap()
    );
    assert!(
        store
            .revoke_grant(ada, grant.id, at(1), &note("G"))
            .await
            .unwrap()
    );
    store.add_grant(&second, &note("G")).await.unwrap();
    tickets_and_tokens(store, ada, id).await;
    assert!(
        store
            .begin_workspace_end(id, at(2), &note("E"))
            .await
            .unwrap()
    );
    assert!(
        store.grant_for(id, bob).await.unwrap().is_none(),
        "grants end with it"
    );
    let due = Due {
        now: at(2),
        again: at(32),
        limit: 1_000,
    };
    let rows = store.due_workspaces(due).await.unwrap();
    assert!(
        rows.iter()
            .any(|row| row.workspace_id == id && row.handle == handle)
    );
    assert!(store.finish_workspace_end(id, &note("E")).await.unwrap());
    assert!(
        store
            .workspace_by_name(&handle, &name)
            .await
            .unwrap()
            .is_none()
    );
    let gone = store.workspace(id).await.unwrap().unwrap();
    assert_eq!(gone.state, WorkspaceState::Deleted);
    add_workspace(store, ada, "cases", workspace_place()).await;
    assert_eq!(
        store.workspaces(ada, first(1)).await.unwrap()[0].workspace_id,
        id
    );
    let behind = Part {
        after: id.uuid(),
        limit: 9,
    };
    assert_eq!(store.workspaces(ada, behind).await.unwrap().len(), 1);
}

async fn tickets_and_tokens(store: &Shared, tenant: TenantId, workspace: WorkspaceId) {
    let ticket = NewTicket {
        id: TicketId::from(Uuid::now_v7()),
        tenant,
        workspace,
        mode: Mode::Ro,
        description: None,
        created_by: "suite".into(),
        created_at: at(0),
        expires_at: at(600),
    };
    store.add_ticket(&ticket, &note("T")).await.unwrap();
    let found = store.ticket(ticket.id).await.unwrap().unwrap();
    assert_eq!(
        (found.tenant.tenant.tenant_id, found.ticket.expires_at),
        (tenant, at(600))
    );
    assert!(
        store
            .revoke_ticket(tenant, ticket.id, at(1), &note("T"))
            .await
            .unwrap()
    );
    assert!(
        !store
            .revoke_ticket(tenant, ticket.id, at(1), &note("T"))
            .await
            .unwrap()
    );
    assert_eq!(
        store.tickets(tenant, first(9)).await.unwrap()[0].revoked_at,
        Some(at(1))
    );
    let token = NewServiceToken {
        id: ServiceTokenId::from(Uuid::now_v7()),
        tenant,
        hash: b"hash".to_vec(),
        description: "build".parse().unwrap(),
        mode: Mode::Rw,
        purpose: api::Purpose::Mount,
        workspace: Some(workspace),
        created_by: "suite".into(),
        created_at: at(0),
        expires_at: None,
    };
    store.add_service_token(&token, &note("T")).await.unwrap();
    let found = store.service_token(b"hash").await.unwrap().unwrap();
    assert_eq!(
        (found.token.token_id, found.token.workspace_id),
        (token.id, Some(workspace))
    );
    assert!(store.service_token(b"other").await.unwrap().is_none());
    assert!(
        store
            .revoke_service_token(tenant, token.id, at(1), &note("T"))
            .await
            .unwrap()
    );
    assert_eq!(
        store.service_tokens(tenant, first(9)).await.unwrap().len(),
        1
    );
}

async fn events_are_counted_without_gaps(store: &Shared) {
    let owner = tenant(store, "eventful").await;
    let id = add_workspace(store, owner, "cases", workspace_place()).await;
    let mut heard = store.listen().await.unwrap();
    let event = |key: &str| {
        Event::Changed(Changes {
            objects: vec![Change {
                key: key.parse().unwrap(),
                etag: None,
            }],
            source: Source::Client,
            origin: None,
        })
    };
    // Many at the same time, two events each: a pair stays together.
    let writers = (0..20).map(|number| {
        let store = Arc::clone(store);
        let pair = [event(&format!("{number}a")), event(&format!("{number}b"))];
        tokio::spawn(async move { store.add_events(id, at(1), &pair).await.unwrap().unwrap() })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    assert_eq!(heard.next().await, Some(Heard::Workspace(id)));
    let all = store.events(id, EventId(0), 1_000).await.unwrap();
    let numbers: Vec<i64> = all.events.iter().map(|happened| happened.id.0).collect();
    assert_eq!(numbers, (1..=40).collect::<Vec<_>>());
    assert_eq!((all.newest, all.gap), (EventId(40), false));
    for pair in all.events.chunks(2) {
        let key = |happened: &Happened| match &happened.event {
            Event::Changed(changes) => changes.objects[0].key.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(
            key(&pair[0]).trim_end_matches('a'),
            key(&pair[1]).trim_end_matches('b')
        );
    }
    let rest = store.events(id, EventId(38), 1).await.unwrap();
    assert_eq!((rest.events.len(), rest.gap), (1, false));
    let none = store.events(id, EventId(40), 9).await.unwrap();
    assert!(none.events.is_empty() && !none.gap);
    assert!(store.events(id, EventId(41), 9).await.unwrap().gap);
    store.add_events(id, at(5), &[event("late")]).await.unwrap();
    store.forget_events(at(5)).await.unwrap();
    assert!(store.events(id, EventId(39), 9).await.unwrap().gap);
    let kept = store.events(id, EventId(40), 9).await.unwrap();
    assert_eq!((kept.events.len(), kept.gap), (1, false));
    assert_eq!(store.newest_event(id).await.unwrap(), EventId(41));
    let found = store
        .workspaces_in(&workspace_place().bucket)
        .await
        .unwrap();
    assert!(
        found
            .iter()
            .any(|place| place.workspace == id && place.managed)
    );
    let bucket = &workspace_place().bucket;
    let at = async |prefix: &str| {
        let found = store.workspaces_at(bucket, prefix).await.unwrap();
        found.iter().any(|place| place.workspace == id)
    };
    assert!(at("cases/").await);
    assert!(!at("").await && !at("cases").await && !at("cases/a/").await);
}

async fn mounts_say_and_are_forgotten(store: &Shared) {
    let (owner, guest) = (tenant(store, "mowner").await, tenant(store, "mguest").await);
    let id = add_workspace(store, owner, "cases", workspace_place()).await;
    let other = add_workspace(store, owner, "other", workspace_place()).await;
    let resync = [Event::Resync {}, Event::Resync {}];
    store.add_events(id, at(0), &resync).await.unwrap();
    let new = |tenant, actor: &str| NewReport {
        mount: MountId::from(Uuid::now_v7()),
        workspace: id,
        owner,
        tenant,
        actor: actor.into(),
        report: ReportMount {
            machine: "laptop".parse().unwrap(),
            mode: Mode::Rw,
            last_event_id: Some(EventId(1)),
            pending: 2,
            pending_bytes: u64::MAX,
            oldest_pending_seconds: None,
        },
        at: at(0),
    };
    let (own, foreign) = (new(owner, "ada"), new(guest, "bob"));
    for report in [&own, &foreign] {
        assert!(store.report_mount(report).await.unwrap());
    }
    let mut later = own.clone();
    (later.at, later.report.pending, later.report.last_event_id) = (at(10), 0, None);
    assert!(store.report_mount(&later).await.unwrap());
    type Theft = fn(&mut NewReport, TenantId, WorkspaceId);
    let thefts: [Theft; 3] = [
        |report, _, _| report.actor = "eve".into(),
        |report, guest, _| report.tenant = guest,
        |report, _, other| report.workspace = other,
    ];
    for theft in thefts {
        let mut stolen = later.clone();
        stolen.report.machine = "stolen".parse().unwrap();
        theft(&mut stolen, guest, other);
        assert!(!store.report_mount(&stolen).await.unwrap());
    }
    let listed = async |of, since, part| {
        let mounts = store.mounts(of, at(since), part).await.unwrap();
        let ids = mounts.iter().map(|mount| mount.mount_id);
        (ids.collect::<Vec<_>>(), mounts)
    };
    let (ids, mounts) = listed(MountsOf::Workspace(id), 0, first(9)).await;
    assert_eq!(ids, [own.mount, foreign.mount]);
    assert_eq!(
        (mounts[0].started_at, mounts[0].reported_at),
        (at(0), at(10))
    );
    assert_eq!(
        (mounts[0].report.pending, mounts[0].events_behind),
        (0, None)
    );
    assert_eq!(mounts[0].report.machine.as_str(), "laptop");
    assert_eq!(
        (mounts[1].report.pending, mounts[1].events_behind),
        (2, Some(1))
    );
    assert_eq!(mounts[1].workspace.as_str(), "cases");
    let behind = Part {
        after: own.mount.uuid(),
        limit: 9,
    };
    assert_eq!(
        listed(MountsOf::Workspace(id), 0, behind).await.0,
        [foreign.mount]
    );
    assert_eq!(
        listed(MountsOf::Workspace(id), 1, first(9)).await.0,
        [own.mount]
    );
    assert_eq!(listed(MountsOf::Workspace(other), 0, first(9)).await.0, []);
    assert_eq!(
        listed(MountsOf::Visitor(guest, id), 0, first(9)).await.0,
        [foreign.mount]
    );
    assert_eq!(
        listed(MountsOf::Visitor(guest, other), 0, first(9)).await.0,
        []
    );
    assert_eq!(
        listed(MountsOf::Owner(owner), 0, first(1)).await.0,
        [own.mount]
    );
    assert_eq!(listed(MountsOf::Owner(guest), 0, first(9)).await.0, []);
    for (workspace, actor, ended) in [
        (id, "eve", false),
        (other, "ada", false),
        (id, "ada", true),
        (id, "ada", false),
    ] {
        assert_eq!(
            store.end_mount(own.mount, workspace, actor).await.unwrap(),
            ended
        );
    }
    store.forget_mounts(at(0)).await.unwrap();
    assert_eq!(
        listed(MountsOf::Workspace(id), 0, first(9)).await.0,
        [foreign.mount]
    );
    store.forget_mounts(at(1)).await.unwrap();
    assert_eq!(listed(MountsOf::Workspace(id), 0, first(9)).await.0, []);
}

/// Many at the same time, and still one after the other.
async fn the_audit_is_one_chain(store: &Shared) {
    let writers = (0..20).map(|number| {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            let mut entry = note("Concurrent");
            entry.subject = Some(format!("{number} with \u{e4} and a\nbreak"));
            entry.tenant = Some(TenantId::from(Uuid::now_v7()));
            store.record(&entry).await.unwrap();
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let rows = store.recorded(0, 100_000).await.unwrap();
    let whole = Verdict::Whole {
        rows: i64::try_from(rows.len()).unwrap(),
        head: rows.last().map(|row| row.hash.clone()),
    };
    assert_eq!(verify(&**store).await.unwrap(), whole);
    // The same from its end.
    let last = rows.last().unwrap();
    let back = store.recorded_before(None, i64::MAX, 100_000).await;
    let mut back = back.unwrap();
    back.reverse();
    assert_eq!(back, rows);
    let before = store.recorded_before(None, last.seq, 2).await.unwrap();
    let seqs: Vec<i64> = before.iter().map(|row| row.seq).collect();
    assert_eq!(seqs, [last.seq - 1, last.seq - 2]);
    let own = store.recorded_before(last.tenant, i64::MAX, 10).await;
    assert_eq!(own.unwrap(), std::slice::from_ref(last));
    let own = store.recorded_before(last.tenant, last.seq, 10).await;
    assert!(own.unwrap().is_empty());
}
