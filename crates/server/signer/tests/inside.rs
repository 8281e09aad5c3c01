//! The door for other servers: who gets which key, who is told what, and what the audit says.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use artifacts_signer::{Rates, file};
use common::{Lab, passphrase, person, refused, said, with_json};
use model::Actor;
use serde_json::{Value, json};

fn wanted(operator: &Actor, actor: &Actor, epoch: u32) -> Value {
    json!({ "operator": operator, "actor": actor, "epoch": epoch })
}

#[tokio::test]
async fn a_worker_gets_one_key_for_one_actor_of_one_operator_and_epoch() {
    let lab = Lab::start().await;
    let worker = lab.peer("worker");
    let (ada, bob) = (person("ada"), person("bob"));
    let agent = ada.agent("build").unwrap();
    let mut keys = Vec::new();
    for (operator, actor) in [(&ada, &ada), (&ada, &agent), (&bob, &bob), (&bob, &agent)] {
        let (status, answer) = lab.derive(&worker, wanted(operator, actor, 1)).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(
            (&answer["epoch"], &answer["current_epoch"]),
            (&1.into(), &1.into())
        );
        let again = lab.derive(&worker, wanted(operator, actor, 1)).await;
        assert_eq!(again.1, answer);
        keys.push(answer["kek"].as_str().unwrap().to_owned());
    }
    assert!(
        keys.iter()
            .all(|key| base64_simd::STANDARD.decode_to_vec(key).unwrap().len() == 32)
    );
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 4);
    let record = lab.last();
    assert_eq!(record["op"], "derive-cred-kek");
    assert_eq!(record["outcome"], "done");
    assert_eq!(record["role"], "worker");
    assert_eq!(record["operator"], bob.as_str());
    assert_eq!(record["actor"], agent.as_str());
    assert_eq!(record["epoch"], 1);
    let text = std::fs::read_to_string(lab.audit()).unwrap();
    assert!(keys.iter().all(|key| !text.contains(key.as_str())));
}

#[tokio::test]
async fn every_other_role_is_refused_and_recorded() {
    let lab = Lab::start().await;
    let ada = person("ada");
    for role in ["broker", "signer", "operator-admin", "workers"] {
        let peer = lab.peer(role);
        let answer = lab.derive(&peer, wanted(&ada, &ada, 1)).await;
        let text = refused(&answer, (403, "forbidden"));
        assert_eq!(
            text,
            format!("this is not for the role {role}\nhint: it is for worker")
        );
        let record = lab.last();
        assert_eq!(
            (&record["outcome"], &record["role"]),
            (&"forbidden".into(), &role.into())
        );
    }
    for (role, allowed) in [
        ("worker", true),
        ("broker", true),
        ("operator-admin", true),
        ("signer", false),
    ] {
        let answer = said(lab.peer(role).get(format!("{}/v1/epoch", lab.inside))).await;
        if allowed {
            assert_eq!(answer, (200, json!({ "current_epoch": 1 })), "{role}");
        } else {
            refused(&answer, (403, "forbidden"));
        }
    }
}

#[tokio::test]
async fn what_is_outside_is_not_inside_and_the_other_way_round() {
    let lab = Lab::start().await;
    let worker = lab.peer("worker");
    for path in ["/v1/derive-own-kek", "/dev/sign-message"] {
        let answer = said(with_json(
            worker.post(format!("{}{path}", lab.inside)),
            &json!({}),
        ))
        .await;
        refused(&answer, (404, "not_found"));
    }
    let ada = person("ada");
    let session = lab.session(&ada, &ada);
    for path in ["/v1/derive-cred-kek", "/v1/epoch/reload"] {
        let answer = lab.ask(path, &session, wanted(&ada, &ada, 1)).await;
        refused(&answer, (404, "not_found"));
    }
}

#[tokio::test]
async fn epochs_to_come_are_refused_and_older_ones_stay_readable() {
    let lab = Lab::start().await;
    let worker = lab.peer("worker");
    let ada = person("ada");
    let (_, before) = lab.derive(&worker, wanted(&ada, &ada, 1)).await;
    for epoch in [0, 2, u32::MAX] {
        let answer = lab.derive(&worker, wanted(&ada, &ada, epoch)).await;
        let text = refused(&answer, (422, "invalid"));
        assert!(text.starts_with(&format!(
            "there is no epoch {epoch}; the current one is 1\n"
        )));
    }
    let path = lab.folder.path().join("signer.sealed");
    file::advance(&path, &passphrase(), 2).await.unwrap();
    // Not before it is told.
    refused(
        &lab.derive(&worker, wanted(&ada, &ada, 2)).await,
        (422, "invalid"),
    );
    let reload = format!("{}/v1/epoch/reload", lab.inside);
    refused(&said(worker.post(&reload)).await, (403, "forbidden"));
    let answer = said(lab.peer("operator-admin").post(&reload)).await;
    assert_eq!(answer, (200, json!({ "current_epoch": 2 })));
    let (_, new) = lab.derive(&worker, wanted(&ada, &ada, 2)).await;
    let (_, old) = lab.derive(&worker, wanted(&ada, &ada, 1)).await;
    assert_eq!(
        (&old["kek"], &old["current_epoch"]),
        (&before["kek"], &2.into())
    );
    assert_ne!(new["kek"], old["kek"]);
}

#[tokio::test]
async fn an_older_copy_of_the_file_and_another_signers_are_not_taken_up() {
    let lab = Lab::start().await;
    let path = lab.folder.path().join("signer.sealed");
    let copy = std::fs::read(&path).unwrap();
    file::advance(&path, &passphrase(), 2).await.unwrap();
    lab.signer.reload().await.unwrap();
    let admin = lab.peer("operator-admin");
    let reload = format!("{}/v1/epoch/reload", lab.inside);
    std::fs::write(&path, copy).unwrap();
    refused(&said(admin.post(&reload)).await, (409, "conflict"));
    std::fs::remove_file(&path).unwrap();
    file::init(&path, &passphrase(), 1).await.unwrap();
    file::advance(&path, &passphrase(), 2).await.unwrap();
    refused(&said(admin.post(&reload)).await, (409, "conflict"));
    assert_eq!(lab.signer.epochs().current(), 2);
}

#[tokio::test]
async fn a_body_that_is_none_is_refused_with_the_field_that_is_wrong() {
    let lab = Lab::start().await;
    let worker = lab.peer("worker");
    let ada = person("ada");
    let good = wanted(&ada, &ada, 1);
    for (field, value) in [
        ("actor", json!("ADA")),
        ("operator", json!(format!("{}0", ada.as_str()))),
        ("epoch", json!(-1)),
        ("epoch", json!(4_294_967_296_u64)),
        ("epoch", json!("1")),
    ] {
        let mut body = good.clone();
        body[field] = value;
        refused(&lab.derive(&worker, body).await, (422, "invalid"));
        assert_eq!(lab.last()["outcome"], "invalid");
    }
    let mut large = good;
    large["padding"] = json!("a".repeat(9_000));
    refused(&lab.derive(&worker, large).await, (413, "too_large"));
}

#[tokio::test]
async fn a_worker_that_asks_too_often_waits_and_another_does_not() {
    let rates = Rates {
        derive: 3,
        ..Rates::default()
    };
    let lab = Lab::with(rates).await;
    let ada = person("ada");
    let worker = lab.peer("worker");
    for _ in 0..3 {
        assert_eq!(lab.derive(&worker, wanted(&ada, &ada, 1)).await.0, 200);
    }
    let answer = lab.derive(&worker, wanted(&ada, &ada, 1)).await;
    refused(&answer, (429, "rate_limited"));
    assert_eq!(lab.last()["outcome"], "rate_limited");
    // Another certificate of the same role.
    let other = lab.peer("worker");
    assert_eq!(lab.derive(&other, wanted(&ada, &ada, 1)).await.0, 200);
}

#[tokio::test]
async fn every_request_is_in_the_audit_and_a_change_of_it_shows() {
    let lab = Lab::start().await;
    let worker = lab.peer("worker");
    let ada = person("ada");
    for n in 0..5 {
        lab.derive(&worker, wanted(&ada, &ada, n % 2)).await;
    }
    let outcomes: Vec<_> = lab
        .records()
        .iter()
        .map(|one| one["outcome"].clone())
        .collect();
    assert_eq!(outcomes, ["invalid", "done", "invalid", "done", "invalid"]);
    let text = std::fs::read_to_string(lab.audit()).unwrap();
    std::fs::write(lab.audit(), text.replacen("\"done\"", "\"none\"", 1)).unwrap();
    let verdict = base::audit::verify(&lab.audit()).unwrap();
    assert_eq!(verdict, base::audit::Verdict::Broken { seq: 2 });
}

#[tokio::test]
async fn nothing_is_handed_out_that_the_audit_cannot_say() {
    let lab = Lab::start().await;
    let worker = lab.peer("worker");
    let ada = person("ada");
    assert_eq!(lab.derive(&worker, wanted(&ada, &ada, 1)).await.0, 200);
    // No write of this process makes a file longer than this one is.
    let length = std::fs::metadata(lab.audit()).unwrap().len();
    let ceiling = Ceiling::at(length + 10);
    let answer = lab.derive(&worker, wanted(&ada, &ada, 1)).await;
    let text = refused(&answer, (503, "unavailable"));
    assert!(text.starts_with("the audit cannot be written, so nothing is done"));
    drop(ceiling);
    assert_eq!(lab.derive(&worker, wanted(&ada, &ada, 1)).await.0, 200);
    assert_eq!(lab.records().len(), 2);
}

/// The largest size of a file (RLIMIT_FSIZE), until dropped. The signal that comes with it is
/// ignored by the test's process, so that writes fail with EFBIG.
struct Ceiling(rustix::process::Rlimit);

impl Ceiling {
    fn at(length: u64) -> Self {
        use rustix::process::{Resource, getrlimit, setrlimit};
        ignore_file_size_signal();
        let before = getrlimit(Resource::Fsize);
        let mut limit = before;
        limit.current = Some(length);
        setrlimit(Resource::Fsize, limit).unwrap();
        Self(before)
    }
}

impl Drop for Ceiling {
    fn drop(&mut self) {
        use rustix::process::{Resource, setrlimit};
        setrlimit(Resource::Fsize, self.0).unwrap();
    }
}

#[allow(unsafe_code, reason = "a test ignores a signal that would end it")]
fn ignore_file_size_signal() {
    // SAFETY: SIG_IGN runs no code of ours.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}
