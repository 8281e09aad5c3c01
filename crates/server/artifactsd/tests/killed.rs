//! The orchestrator is killed (SIGKILL) at every call that it makes at the store: when the call
//! comes, and when it was carried out and nobody has heard of it. Each time another one starts on
//! the same database, and in the end everything is done or as if it had never begun: the store has
//! what the rows say, and nothing besides.
//!
//! How many calls an operation makes is not written here. It is killed at the first, the second
//! and so on, until it comes to its end before the call that would have killed it.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![cfg(all(feature = "dev", feature = "orchestrator"))]

mod common;
#[path = "killed/inventory.rs"]
mod inventory;
#[path = "killed/killer.rs"]
mod killer;
#[path = "killed/lab.rs"]
mod lab;

use std::collections::BTreeSet;
use std::io;

use killer::Moment;
use lab::{Asked, KEYS, Lab, Tenant, text};
use serde_json::{Value, json};

/// How it ended for one that was begun.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// It was answered.
    Answered,
    /// It was cut short, and then the background work had its time.
    Cut,
}

/// Kills at every call of what `act` does, and looks each time at what there is afterwards.
/// Answers the calls.
fn killed_at_every_call<T>(
    lab: &mut Lab,
    prepare: impl Fn(&mut Lab, &str) -> T,
    act: impl Fn(&Lab, &T) -> io::Result<(u16, Value)>,
    check: impl Fn(&Lab, &T, End),
) -> Vec<String> {
    let mut calls = Vec::new();
    for &moment in moments(lab) {
        for call in 1.. {
            let subject = prepare(lab, &format!("{moment:?}-{call}").to_lowercase());
            lab.set_trap(call, moment);
            let answer = act(lab, &subject);
            let seen = lab.lift_trap();
            say(moment, call, seen.calls.last());
            if seen.sprung.is_none() {
                let (status, answer) = answer.unwrap();
                assert!((200..=201).contains(&status), "{status} {answer}");
                assert_eq!(
                    seen.calls.len(),
                    call - 1,
                    "it makes as many calls as before"
                );
                lab.the_books_balance();
                check(lab, &subject, End::Answered);
                calls = seen.calls;
                break;
            }
            lab.two_minutes_pass();
            lab.restart();
            lab.settle(|| false);
            lab.the_books_balance();
            check(lab, &subject, End::Cut);
        }
    }
    lab.run(&["audit", "verify"]);
    calls
}

/// The one moment is enough for a second database but in the long form: before a call, the rows
/// are as they were after the one before it, or one step on.
#[allow(clippy::print_stdout, reason = "what is left out is said")]
fn moments(lab: &Lab) -> &'static [Moment] {
    let all = &[Moment::After, Moment::Before];
    if lab.is_on_sqlite() || std::env::var_os("ARTIFACTS_LONG").is_some() {
        return all;
    }
    println!("only killed after each call; before each, too, with ARTIFACTS_LONG");
    &all[..1]
}

/// Shown with the output of a test that fails.
#[allow(clippy::print_stdout, reason = "which call it was tells where to look")]
fn say(moment: Moment, call: usize, name: Option<&String>) {
    println!("{moment:?} call {call}: {name:?}");
}

fn has_made(calls: &[String], wanted: &[&str]) {
    let calls: BTreeSet<&str> = calls.iter().map(String::as_str).collect();
    for call in wanted {
        assert!(calls.contains(call), "no {call} in {calls:?}");
    }
}

/// Each end of something is in the audit once, however often it was tried.
fn told_once(lab: &Lab, action: &str, table: &str, states: &str) {
    let told = format!("SELECT count(*) FROM audit WHERE action = '{action}'");
    let ended = format!("SELECT count(*) FROM {table} WHERE state IN ({states})");
    let ended = lab.sql(&ended);
    assert_ne!(ended, ["0"], "nothing ended: {table}");
    assert_eq!(lab.sql(&told), ended, "{action}");
}

fn making_a_tenant(mut lab: Lab) {
    let asked = |lab: &Lab, handle: &String| Asked {
        method: "POST",
        path: "/tenants".into(),
        token: lab.operator.clone(),
        body: lab.wanted(handle),
    };
    let calls = killed_at_every_call(
        &mut lab,
        |_, name| format!("tenant-{name}"),
        |lab, handle| lab.send(&asked(lab, handle)),
        |lab, handle, _| {
            let listed = lab.ask("GET", "/tenants", &lab.operator, Value::Null, 200);
            let all = listed["items"].as_array().unwrap();
            let ours = || all.iter().filter(|tenant| tenant["handle"] == **handle);
            assert_eq!(ours().count(), 1, "{listed}");
            let tenant = ours().next().unwrap();
            assert_eq!(tenant["state"], "active", "{tenant}");
            // It is there: whoever did not hear so is told now.
            let again = asked(lab, handle);
            let again = lab.send(&again).unwrap();
            assert_eq!((again.0, &again.1["code"]), (409, &json!("conflict")));
            let tenant = lab.machine(&text(&tenant["tenant_id"]));
            assert_eq!(lab.open(&lab.key(&tenant, Value::Null)), Ok(()));
        },
    );
    has_made(&calls, &["HEAD", "PUT"]);
    told_once(&lab, "TenantActivated", "tenants", "'active'");
}

/// What there is of keys, and how many.
fn states(lab: &Lab, tenant: &Tenant) -> Vec<String> {
    let listed = lab.ask("GET", KEYS, &tenant.session, Value::Null, 200);
    let items = listed["items"].as_array().unwrap();
    items.iter().map(|key| text(&key["state"])).collect()
}

fn issuing(tenant: &Tenant) -> Asked {
    Asked {
        method: "POST",
        path: KEYS.into(),
        token: tenant.session.clone(),
        body: Value::Null,
    }
}

fn issuing_a_key(mut lab: Lab) {
    let tenant = lab.tenant("ada");
    let calls = killed_at_every_call(
        &mut lab,
        |lab, _| states(lab, &tenant),
        |lab, _| lab.send(&issuing(&tenant)),
        |lab, before, end| {
            // Its secret was lost with the answer, so it is taken back.
            let new = match end {
                End::Answered => "active",
                End::Cut => "revoked",
            };
            let expected = [before.as_slice(), &[new.to_owned()]].concat();
            assert_eq!(states(lab, &tenant), expected);
            assert_eq!(lab.open(&lab.key(&tenant, Value::Null)), Ok(()));
        },
    );
    has_made(
        &calls,
        &[
            "CreatePolicy",
            "CreateUser",
            "AttachUserPolicy",
            "CreateAccessKey",
        ],
    );
    told_once(&lab, "MountCredentialOrphaned", "credentials", "'revoked'");
    told_once(&lab, "MountCredentialDeleted", "credentials", "'revoked'");
}

/// The background work is killed while it takes back a key whose issuing was cut short when
/// everything of it was made.
fn taking_back_a_key(mut lab: Lab) {
    let tenant = lab.tenant("ada");
    lab.set_trap(usize::MAX, Moment::Before);
    lab.send(&issuing(&tenant)).unwrap();
    let last = lab.lift_trap().calls.len();
    let calls = killed_at_every_call(
        &mut lab,
        |lab, _| {
            lab.set_trap(last, Moment::After);
            let lost = lab.send(&issuing(&tenant));
            assert!(lab.lift_trap().sprung.is_some() && lost.is_err());
            lab.restart();
            states(lab, &tenant)
        },
        |lab, before| {
            assert_eq!(before.last().unwrap(), "pending");
            lab.two_minutes_pass();
            lab.settle(|| lab.killer.sprung());
            Ok((200, Value::Null))
        },
        |lab, before, _| {
            let (_, others) = before.split_last().unwrap();
            let expected = [others, &["revoked".to_owned()]].concat();
            assert_eq!(states(lab, &tenant), expected);
        },
    );
    has_made(&calls, &["DeleteAccessKey", "DeleteUser", "DeletePolicy"]);
    told_once(&lab, "MountCredentialDeleted", "credentials", "'revoked'");
}

/// A key, and what asks for the end of it.
struct Ending {
    key: Value,
    asked: Asked,
}

const DEAD: &str = "InvalidAccessKeyId";

fn revoking_a_key(mut lab: Lab) {
    let tenant = lab.tenant("ada");
    let other = lab.key(&tenant, Value::Null);
    let calls = killed_at_every_call(
        &mut lab,
        |lab, _| {
            let key = lab.key(&tenant, Value::Null);
            let asked = Asked {
                method: "DELETE",
                path: format!("{KEYS}/{}", text(&key["credential_id"])),
                token: tenant.session.clone(),
                body: Value::Null,
            };
            assert_eq!(lab.open(&key), Ok(()));
            Ending { key, asked }
        },
        |lab, ending| lab.send(&ending.asked),
        |lab, ending, _| {
            assert_eq!(lab.open(&ending.key), Err(DEAD.to_owned()));
            assert_eq!(lab.open(&other), Ok(()));
            let (status, again) = lab.send(&ending.asked).unwrap();
            let ended = (status, &again["state"], &again["deletion_status"]);
            assert_eq!(ended, (200, &json!("revoked"), &json!("completed")));
        },
    );
    has_made(&calls, &["DeleteAccessKey", "DeleteUser", "DeletePolicy"]);
    told_once(&lab, "MountCredentialRevoked", "credentials", "'revoked'");
    told_once(&lab, "MountCredentialDeleted", "credentials", "'revoked'");
}

fn deleting_a_tenant(mut lab: Lab) {
    let stays = lab.tenant("stays");
    let other = lab.key(&stays, Value::Null);
    let calls = killed_at_every_call(
        &mut lab,
        |lab, name| {
            let tenant = lab.tenant(&format!("tenant-{name}"));
            let key = lab.key(&tenant, Value::Null);
            let asked = Asked {
                method: "DELETE",
                path: format!("/tenants/{}?bucket=delete", tenant.id),
                token: lab.operator.clone(),
                body: Value::Null,
            };
            assert_eq!(lab.open(&key), Ok(()));
            Ending { key, asked }
        },
        |lab, ending| lab.send(&ending.asked),
        |lab, ending, _| {
            assert_eq!(lab.open(&ending.key), Err(DEAD.to_owned()));
            assert_eq!(lab.open(&other), Ok(()));
            let (path, _) = ending.asked.path.split_once('?').unwrap();
            let tenant = lab.ask("GET", path, &lab.operator, Value::Null, 200);
            assert_eq!(tenant["state"], "deleted", "{tenant}");
            assert_eq!(tenant["trouble"], Value::Null, "{tenant}");
            let again = lab.send(&ending.asked).unwrap();
            assert_eq!((again.0, &again.1["code"]), (409, &json!("conflict")));
            // Its name is free.
            lab.tenant(tenant["handle"].as_str().unwrap());
        },
    );
    has_made(&calls, &["DeleteAccessKey", "DeletePolicy", "DELETE"]);
    told_once(&lab, "TenantDeleted", "tenants", "'deleted'");
    told_once(&lab, "MountCredentialDeleted", "credentials", "'revoked'");
}

fn deleting_a_workspace(mut lab: Lab) {
    let tenant = lab.tenant("ada");
    let other = lab.key(&tenant, Value::Null);
    let calls = killed_at_every_call(
        &mut lab,
        |lab, name| {
            let name = format!("cases-{name}");
            let named = json!({ "name": name });
            let made = lab.ask("POST", "/workspaces", &tenant.session, named, 201);
            let wanted = json!({ "workspace_id": made["workspace_id"] });
            let key = lab.key(&tenant, wanted);
            let asked = Asked {
                method: "DELETE",
                path: format!("/workspaces/ada/{name}"),
                token: tenant.session.clone(),
                body: Value::Null,
            };
            assert_eq!(lab.open(&key), Ok(()));
            Ending { key, asked }
        },
        |lab, ending| lab.send(&ending.asked),
        |lab, ending, _| {
            assert_eq!(lab.open(&ending.key), Err(DEAD.to_owned()));
            assert_eq!(lab.open(&other), Ok(()));
            assert_eq!(lab.send(&ending.asked).unwrap().0, 404);
            // Its name is free.
            let (_, name) = ending.asked.path.rsplit_once('/').unwrap();
            let named = json!({ "name": name });
            lab.ask("POST", "/workspaces", &tenant.session, named, 201);
        },
    );
    has_made(&calls, &["DeleteAccessKey", "DeleteUser", "DeletePolicy"]);
    told_once(&lab, "WorkspaceDeleted", "workspaces", "'deleted'");
    told_once(&lab, "MountCredentialDeleted", "credentials", "'revoked'");
}

/// Each of them on a database of its own.
macro_rules! on_both {
    ($($name:ident = $test:ident;)*) => {
        mod sqlite {
            $(#[test] fn $name() {
                super::$test(super::Lab::on_sqlite());
            })*
        }

        mod postgres {
            $(#[test] fn $name() {
                super::$test(super::Lab::on_postgres(testkit::require_postgres!()));
            })*
        }
    };
}

on_both! {
    a_tenant_is_made_whole = making_a_tenant;
    a_key_that_nobody_got_is_taken_back = issuing_a_key;
    taking_a_key_back_goes_on = taking_back_a_key;
    a_revocation_goes_on = revoking_a_key;
    the_end_of_a_tenant_goes_on = deleting_a_tenant;
    the_end_of_a_workspace_goes_on = deleting_a_workspace;
}
