//! Every operation of the document that names something of a tenant, asked by others: by another
//! tenant's owner, service token, ticket and store. Each gets exactly the refusal that is due, and
//! nothing of the tenant changes; those whom it is for get what they ask for with the same request.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "../common/mod.rs"]
mod common;

mod operations;
mod table;
mod two;

use std::collections::BTreeSet;

use operations::operations;
use table::{FORBIDDEN, NAMELESS, NAMING, Nobody, Operator, Owner, Store};
use two::Two;
use uuid::Uuid;

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
