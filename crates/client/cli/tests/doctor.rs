//! `artifacts doctor`: each finding is made to appear.

mod support;

use std::fs;

use serde_json::Value;
use support::{Machine, SECRET, chmod};

/// Exit code, and the findings by check.
fn doctor(machine: &Machine, line: &str) -> (i32, Vec<Value>) {
    let said = machine.run(&format!("doctor {line} --format json"));
    let findings: Value =
        serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{e}: {}", said.err));
    (said.code, findings.as_array().expect("a list").clone())
}

fn of<'f>(findings: &'f [Value], check: &str) -> &'f Value {
    let found = findings.iter().find(|f| f["check"] == check);
    found.unwrap_or_else(|| panic!("no {check} in {findings:?}"))
}

/// What this test machine's FUSE lacks is no part of these tests.
fn without_fuse(code: i32, findings: &[Value]) -> Option<i32> {
    (of(findings, "fuse")["state"] == "good").then_some(code)
}

#[test]
fn a_fresh_machine_is_fine() {
    let machine = Machine::new();
    let (code, findings) = doctor(&machine, "--offline");
    assert_eq!(of(&findings, "files")["state"], "good");
    assert_eq!(of(&findings, "keyring")["state"], "good");
    assert_ne!(of(&findings, "cache")["state"], "problem");
    assert!(without_fuse(code, &findings).is_none_or(|code| code == 0));
    let text = machine.run("doctor --offline").out;
    assert!(text.starts_with("CHECK"), "{text}");
}

#[test]
fn an_open_secret_is_found_with_the_command_that_mends_it() {
    let machine = Machine::new();
    let line = "storage set --access-key-id A --secret-stdin";
    machine.run_with_input(line, SECRET).ok();
    chmod(&machine.credentials(), 0o644);
    let (code, findings) = doctor(&machine, "--offline");
    let files = of(&findings, "files");
    assert_eq!((code, &files["state"]), (4, &"problem".into()));
    assert_eq!(files["code"], "file-exposed");
    let next = files["next"].as_str().expect("a next step");
    assert!(next.starts_with("run: chmod 600 "), "{next}");
}

#[test]
fn a_keyring_that_cannot_be_used_is_found() {
    let mut machine = Machine::new();
    machine
        .set("ARTIFACTS_KEYRING_TYPE", "system")
        .set("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere");
    let (code, findings) = doctor(&machine, "--offline");
    let keyring = of(&findings, "keyring");
    assert_eq!(keyring["code"], "keyring-unavailable", "{keyring}");
    assert!(without_fuse(code, &findings).is_none_or(|code| code == 3));
}

#[test]
fn a_store_is_probed_and_its_clock_read() {
    let data = tempfile::tempdir().expect("a temporary folder");
    let mut options = embedded::Options::new(data.path());
    options.durability = embedded::Durability::Process;
    options.root = Some(embedded::AccessKey {
        id: testkit::ACCESS_KEY_ID.to_owned(),
        secret: testkit::SECRET_ACCESS_KEY.into(),
    });
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let server = runtime
        .block_on(embedded::Server::start(options))
        .expect("a store");
    testkit::s3::create_bucket(&server.endpoint(), "cases").expect("a bucket");
    let mut machine = Machine::new();
    machine.set_keys(testkit::ACCESS_KEY_ID, testkit::SECRET_ACCESS_KEY);
    let endpoint = server.endpoint();
    let line = format!("workspace create cases --bucket cases --endpoint {endpoint}");
    machine.run(&line).ok();
    let (code, findings) = doctor(&machine, "");
    assert_eq!(of(&findings, "keys")["state"], "good");
    assert_eq!(of(&findings, "clock")["state"], "good", "{findings:?}");
    assert_ne!(of(&findings, "bucket")["state"], "problem", "{findings:?}");
    assert!(without_fuse(code, &findings).is_none_or(|code| code == 0));

    drop(server);
    let (code, findings) = doctor(&machine, "cases");
    assert_eq!(of(&findings, "bucket")["code"], "store-unreachable");
    assert!(without_fuse(code, &findings).is_none_or(|code| code == 7));
    machine.unset_keys();
    fs::remove_file(machine.credentials()).expect("cached before");
    let (_, findings) = doctor(&machine, "cases");
    assert_eq!(of(&findings, "keys")["code"], "no-keys");
}

#[test]
fn a_locked_file_keyring_is_as_it_should_be_and_a_wrong_password_is_not() {
    let mut machine = Machine::new();
    machine
        .set("ARTIFACTS_KEYRING_TYPE", "file")
        .set("ARTIFACTS_KEYRING_PASSWORD", "correct horse");
    machine
        .run_with_input("storage set --access-key-id A --secret-stdin", SECRET)
        .ok();
    machine.run("auth keyring lock").ok();
    machine.unset("ARTIFACTS_KEYRING_PASSWORD");
    let (_, findings) = doctor(&machine, "--offline");
    let keyring = of(&findings, "keyring");
    assert_eq!(keyring["state"], "good", "{keyring}");
    let title = keyring["title"].as_str().expect("a title");
    assert!(title.contains("is locked"), "{title}");
    machine.set("ARTIFACTS_KEYRING_PASSWORD", "wrong horse");
    let (_, findings) = doctor(&machine, "--offline");
    assert_eq!(of(&findings, "keyring")["code"], "keyring-password");
}
