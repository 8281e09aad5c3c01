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
    let there = of(findings, "fuse")["state"] == "good";
    if !there {
        testkit::tools::note_skip("exit codes of doctor: this machine cannot mount");
    }
    there.then_some(code)
}

/// Every problem and note of a check, by code.
fn codes(findings: &[Value], check: &str) -> Vec<String> {
    let of_check = findings.iter().filter(|f| f["check"] == check);
    of_check
        .map(|f| f["code"].as_str().expect("a code").to_owned())
        .collect()
}

#[test]
fn each_finding_has_a_code_a_title_and_a_next_step_where_there_is_one() {
    let machine = Machine::new();
    let (_, findings) = doctor(&machine, "--offline");
    for finding in &findings {
        let (check, state) = (&finding["check"], &finding["state"]);
        let code = finding["code"].as_str().expect("a code");
        assert!(
            finding["title"].as_str().is_some_and(|t| !t.is_empty()),
            "{finding}"
        );
        assert_eq!(finding["next"].is_null(), state == "good", "{finding}");
        let plain = code.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
        assert!(plain && check.is_string(), "{finding}");
    }
}

#[test]
fn every_bad_file_is_found_and_none_hides_the_others() {
    let mut machine = Machine::new();
    machine
        .set("ARTIFACTS_KEYRING_TYPE", "file")
        .set("ARTIFACTS_KEYRING_PASSWORD", "correct horse");
    let line = "storage set --access-key-id A --secret-stdin";
    machine.run_with_input(line, SECRET).ok();
    let keyring = machine.home.path().join(".local/share/artifacts/keyring");
    let entry = fs::read_dir(&keyring)
        .expect("there")
        .flatten()
        .find(|entry| entry.path().extension().is_some_and(|end| end == "entry"));
    chmod(&entry.expect("an entry").path(), 0o644);
    fs::create_dir_all(machine.config()).expect("made");
    chmod(&machine.config(), 0o700);
    fs::write(machine.credentials(), "ACCESS_KEY_ID=A\n").expect("written");
    chmod(&machine.credentials(), 0o604);
    let state = machine.home.path().join(".local/state/artifacts");
    fs::create_dir_all(&state).expect("made");
    chmod(&state, 0o777);
    let (code, findings) = doctor(&machine, "--offline");
    assert_eq!(
        codes(&findings, "files"),
        ["file-exposed"; 3],
        "{findings:?}"
    );
    assert_eq!(code, 4);

    // A folder that others can write to is one finding, and the rest is looked at all the same.
    chmod(&machine.config(), 0o770);
    let (code, findings) = doctor(&machine, "");
    assert_eq!(code, 4);
    for check in ["files", "keyring", "fuse", "cache"] {
        of(&findings, check);
    }
    chmod(&machine.config(), 0o700);
    if !rustix::process::geteuid().is_root() {
        testkit::skip!("only root can give a file away");
    }
    std::os::unix::fs::chown(machine.credentials(), Some(12345), None).expect("chown");
    let (_, findings) = doctor(&machine, "--offline");
    assert!(
        codes(&findings, "files").contains(&"file-foreign".to_owned()),
        "{findings:?}"
    );
}

#[test]
fn without_the_right_to_mount_the_helper_is_looked_for() {
    if !rustix::process::geteuid().is_root() {
        testkit::skip!("only root has the right that is taken away here");
    }
    if !std::path::Path::new("/dev/fuse").exists() {
        testkit::skip!("there is no /dev/fuse");
    }
    testkit::require!(testkit::tools::Tool::Fusermount3);
    let machine = Machine::new();
    let empty = machine.home.path().join("empty");
    fs::create_dir(&empty).expect("made");
    let look = |path: &str| {
        let output = machine
            .command("/usr/bin/setpriv")
            .args(["--bounding-set=-sys_admin", "--inh-caps=-sys_admin"])
            .args([
                env!("CARGO_BIN_EXE_artifacts"),
                "doctor",
                "--offline",
                "--format",
                "json",
            ])
            .env("PATH", path)
            .output()
            .expect("setpriv, of util-linux");
        let said = support::Said::from(output);
        let findings: Value =
            serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{e}: {}", said.err));
        (said.code, findings.as_array().expect("a list").clone())
    };
    let (code, findings) = look(empty.to_str().expect("a path"));
    assert_eq!(
        (code, codes(&findings, "fuse")),
        (1, vec!["fuse-missing".to_owned()])
    );
    let passthrough = of(&findings, "passthrough");
    assert_eq!(passthrough["state"], "note", "{passthrough}");
    let (code, findings) = look("/usr/local/bin:/usr/bin:/bin");
    assert_eq!(
        (code, of(&findings, "fuse")["state"].clone()),
        (0, "good".into())
    );
}

#[test]
fn little_room_is_noted() {
    let mut machine = Machine::new();
    let small = machine.home.path().join("small");
    fs::create_dir(&small).expect("made");
    let mount = |args: &[&str]| {
        let mut command = std::process::Command::new(args[0]);
        let ended = command.args(&args[1..]).arg(&small).status();
        ended.is_ok_and(|status| status.success())
    };
    if !mount(&["mount", "-t", "tmpfs", "-o", "size=12m,mode=700", "tmpfs"]) {
        testkit::skip!("only root can make a small disk (tmpfs)");
    }
    machine.set("XDG_CACHE_HOME", small.to_str().expect("a path"));
    let (code, findings) = doctor(&machine, "--offline");
    assert!(mount(&["umount"]));
    assert_eq!(of(&findings, "cache")["code"], "cache-little-room");
    assert!(without_fuse(code, &findings).is_none_or(|code| code == 0));
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

    let read = r#"{"Statement":[{"Effect":"Allow","Action":["s3:GetObject","s3:ListBucket"],"Resource":"*"}]}"#;
    let key = server.keys().add(read).expect("a key");
    use secrecy::ExposeSecret;
    let line = format!(
        "storage set --profile ro --access-key-id {} --secret-stdin",
        key.id
    );
    machine
        .run_with_input(&line, key.secret.expose_secret())
        .ok();
    machine.unset_keys();
    let (_, findings) = doctor(&machine, "cases --profile ro");
    assert_eq!(codes(&findings, "bucket"), ["bucket-lacks"]);
    assert_eq!(codes(&findings, "clock"), ["clock-not-known"]);
    machine.set_keys(testkit::ACCESS_KEY_ID, testkit::SECRET_ACCESS_KEY);

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
    assert_eq!(keyring["code"], "keyring-locked");
    machine.set("ARTIFACTS_KEYRING_PASSWORD", "wrong horse");
    let (_, findings) = doctor(&machine, "--offline");
    assert_eq!(of(&findings, "keyring")["code"], "keyring-password");
}
