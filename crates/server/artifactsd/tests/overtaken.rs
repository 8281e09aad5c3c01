//! Something is made at the store while its end is asked for and done: at every call that its
//! making has, that call is held up until the end has been answered, and goes on then. In the end
//! the store has nothing that no row stands for.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![cfg(all(feature = "dev", feature = "orchestrator"))]

mod common;
#[path = "killed/inventory.rs"]
mod inventory;
#[path = "killed/killer.rs"]
mod killer;
#[path = "killed/lab.rs"]
mod lab;

use std::thread;
use std::time::{Duration, Instant};

use killer::Moment;
use lab::{Asked, KEYS, Lab, text};
use serde_json::{Value, json};

/// Holds up every call of what is asked, one after the other, while `end` is done. Answers how
/// many there were.
fn overtaken_at_every_call(
    lab: &mut Lab,
    prepare: impl Fn(&Lab, usize) -> (Asked, String),
    end: impl Fn(&Lab, &str),
) -> usize {
    for call in 1.. {
        let (asked, subject) = prepare(lab, call);
        lab.set_trap(call, Moment::Held);
        let shared = &*lab;
        let answer = thread::scope(|scope| {
            let asking = scope.spawn(|| shared.send(&asked));
            let deadline = Instant::now() + Duration::from_secs(10);
            while !shared.killer.sprung() && !asking.is_finished() {
                assert!(Instant::now() < deadline, "no call and no answer");
                thread::sleep(Duration::from_millis(5));
            }
            if shared.killer.sprung() {
                end(shared, &subject);
                shared.killer.let_go();
            }
            asking.join().unwrap()
        });
        let seen = lab.lift_trap();
        if seen.sprung.is_none() {
            assert_eq!(answer.unwrap().0, 201);
            return call - 1;
        }
        say(call, &seen.calls[call - 1], &answer.unwrap());
        lab.two_minutes_pass();
        lab.settle(|| false);
        lab.the_books_balance();
    }
    unreachable!("it would have to make more calls than there are numbers")
}

/// Shown with the output of a test that fails.
#[allow(clippy::print_stdout, reason = "which call it was tells where to look")]
fn say(call: usize, name: &str, answer: &(u16, Value)) {
    println!("call {call}, {name}, was held: {} {}", answer.0, answer.1);
}

#[test]
fn a_tenant_that_is_deleted_while_it_is_made_leaves_no_bucket() {
    let mut lab = Lab::on_sqlite();
    let calls = overtaken_at_every_call(
        &mut lab,
        |lab, call| {
            let handle = format!("tenant-{call}");
            let asked = Asked {
                method: "POST",
                path: "/tenants".into(),
                token: lab.operator.clone(),
                body: lab.wanted(&handle),
            };
            (asked, handle)
        },
        |lab, handle| {
            let listed = lab.ask("GET", "/tenants", &lab.operator, Value::Null, 200);
            let all = listed["items"].as_array().unwrap();
            let ours = all.iter().find(|tenant| tenant["handle"] == handle);
            let id = text(&ours.unwrap()["tenant_id"]);
            let asked = Asked {
                method: "DELETE",
                path: format!("/tenants/{id}?bucket=delete"),
                token: lab.operator.clone(),
                body: Value::Null,
            };
            let (status, answer) = lab.send(&asked).unwrap();
            assert!([200, 202].contains(&status), "{status} {answer}");
        },
    );
    assert!(calls >= 2, "a bucket takes more calls than {calls}");
}

#[test]
fn a_key_to_a_workspace_that_is_deleted_meanwhile_leaves_nothing() {
    let mut lab = Lab::on_sqlite();
    let tenant = lab.tenant("ada");
    let calls = overtaken_at_every_call(
        &mut lab,
        |lab, call| {
            let name = format!("cases-{call}");
            let named = json!({ "name": name });
            let made = lab.ask("POST", "/workspaces", &tenant.session, named, 201);
            let asked = Asked {
                method: "POST",
                path: KEYS.into(),
                token: tenant.session.clone(),
                body: json!({ "workspace_id": made["workspace_id"] }),
            };
            (asked, name)
        },
        |lab, name| {
            let asked = Asked {
                method: "DELETE",
                path: format!("/workspaces/ada/{name}"),
                token: tenant.session.clone(),
                body: Value::Null,
            };
            let (status, answer) = lab.send(&asked).unwrap();
            assert!([200, 202].contains(&status), "{status} {answer}");
        },
    );
    assert!(calls >= 4, "a key takes more calls than {calls}");
}
