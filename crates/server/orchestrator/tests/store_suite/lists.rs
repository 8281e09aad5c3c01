//! Lists from their end are lists from their beginning, turned round.

use artifacts_orchestrator::store::{Back, NewServiceToken, NewTicket};
use uuid::Uuid;

use super::{Shared, active_key, add_workspace, at, first, new_key, note, tenant, workspace_place};

/// Some of each kind in a tenant, and some in another.
pub(super) async fn lists_are_read_from_their_end(store: &Shared) {
    let id = tenant(store, "lists").await;
    let other = tenant(store, "other-lists").await;
    let workspace = add_workspace(store, id, "cases", workspace_place()).await;
    for number in 0_u8..6 {
        let owner = if number < 4 { id } else { other };
        assert!(active_key(store, &new_key(owner, owner)).await);
        let ticket = NewTicket {
            id: Uuid::now_v7().into(),
            tenant: owner,
            workspace,
            mode: api::Mode::Ro,
            description: None,
            created_by: "suite".into(),
            created_at: at(0),
            expires_at: at(600),
        };
        store.add_ticket(&ticket, &note("T")).await.unwrap();
        let token = NewServiceToken {
            id: Uuid::now_v7().into(),
            tenant: owner,
            hash: vec![b'l', number],
            description: "build".parse().unwrap(),
            mode: api::Mode::Ro,
            purpose: api::Purpose::Mount,
            workspace: None,
            created_by: "suite".into(),
            created_at: at(0),
            expires_at: None,
        };
        store.add_service_token(&token, &note("T")).await.unwrap();
    }
    macro_rules! turned_round {
        ($list:ident, $back:ident, $number:ident) => {
            let mut all = store.$list(id, first(9)).await.unwrap();
            all.reverse();
            assert_eq!(all.len(), 4);
            let back = async |before, limit| {
                let part = Back { before, limit };
                store.$back(id, part).await.unwrap()
            };
            assert_eq!(back(Uuid::max(), 9).await, all);
            assert_eq!(back(Uuid::max(), 2).await, all[..2]);
            assert_eq!(back(all[1].$number.uuid(), 9).await, all[2..]);
            assert!(back(all[3].$number.uuid(), 9).await.is_empty());
        };
    }
    turned_round!(credentials, credentials_back, credential_id);
    turned_round!(tickets, tickets_back, ticket_id);
    turned_round!(service_tokens, service_tokens_back, token_id);
}
