//! `artifacts doctor`: each finding is made to appear.

mod support;

use std::fs;
use std::time::Duration;

use serde_json::Value;
use support::store::Store;
use support::{Machine, SECRET, chmod};
use testkit::proxy::{Clock, Proxy};
use testkit::secret_service::SecretService;
use testkit::tools::Tool;

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
    testkit::require!(Tool::Fusermount3);
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

/// What a mount or a login would wait for: nothing of ours has to be in it for that.
#[test]
fn a_locked_system_keyring_is_found_though_it_has_no_entry_of_ours() {
    testkit::require!(Tool::GnomeKeyringDaemon);
    let mut session = SecretService::start().expect("a keyring");
    let machine = Machine::in_session(&session);
    let (_, findings) = doctor(&machine, "--offline");
    assert_eq!(of(&findings, "keyring")["code"], "keyring-good");
    session.restart_locked().expect("a keyring");
    let (code, findings) = doctor(&machine, "--offline");
    let keyring = of(&findings, "keyring");
    assert_eq!(keyring["state"], "problem");
    assert_eq!(keyring["code"], "keyring-unavailable");
    assert_eq!(keyring["title"], "the system keyring is locked");
    let next = keyring["next"].as_str().expect("a next step");
    assert!(next.starts_with("unlock it"), "{next}");
    assert!(without_fuse(code, &findings).is_none_or(|code| code == 3));
    let status = machine.run("auth keyring status");
    status.refused(3, "the system keyring is locked", "unlock it");
}

/// A machine with the root keys and the workspace `cases` at this address.
fn with_workspace(endpoint: &str) -> Machine {
    let mut machine = Machine::new();
    machine.set_keys(testkit::ACCESS_KEY_ID, testkit::SECRET_ACCESS_KEY);
    let line = format!("workspace create cases --bucket cases --endpoint {endpoint}");
    machine.run(&line).ok();
    machine
}

/// A store that is not of our time: up to a quarter of an hour it takes our signatures, beyond
/// that it refuses the first one, and the next is signed by the time that it has told.
#[test]
fn a_clock_that_is_off_is_found_by_degrees() {
    let Store {
        server,
        data: _data,
    } = Store::start_with(|options| {
        options.clock_tolerance = Duration::from_secs(24 * 3600);
    })
    .with_bucket("cases");
    let proxy = Proxy::start(server.address()).expect("a proxy");
    let machine = with_workspace(&proxy.endpoint());
    for (ahead, code, exit) in [
        (0, "clock-good", 0),
        (600, "clock-apart", 0),
        (-600, "clock-apart", 0),
        (7200, "clock-skewed", 1),
        (-7200, "clock-skewed", 1),
    ] {
        proxy.set_clock(Some(Clock {
            ahead,
            says_date: true,
        }));
        let (ended, findings) = doctor(&machine, "cases");
        let clock = of(&findings, "clock");
        assert_eq!(clock["code"], code, "{ahead}: {clock}");
        let title = clock["title"].as_str().expect("a title");
        let rest = title.strip_prefix("cases: this clock and the store's are ");
        let apart = rest.and_then(|rest| rest.strip_suffix(" s apart"));
        let apart: i64 = apart.expect("a number").parse().expect("a number");
        assert!((apart - i64::abs(ahead)).abs() <= 1, "{ahead}: {title}");
        if code != "clock-good" {
            assert_eq!(clock["next"], "set the clock: timedatectl set-ntp true");
        }
        assert!(without_fuse(ended, &findings).is_none_or(|ended| ended == exit));
    }
    // A store that does not say its time leaves the client's signatures as they are.
    proxy.set_clock(Some(Clock {
        ahead: 7200,
        says_date: false,
    }));
    let (ended, findings) = doctor(&machine, "cases");
    let bucket = of(&findings, "bucket");
    assert_eq!(bucket["code"], "clock-skewed", "{bucket}");
    let title = bucket["title"].as_str().expect("a title");
    assert!(
        title.starts_with(
            "cases: this machine's clock is too far from the store's: RequestTimeTooSkewed"
        ),
        "{title}"
    );
    assert_eq!(bucket["next"], "Set the clock: timedatectl set-ntp true.");
    assert!(without_fuse(ended, &findings).is_none_or(|ended| ended == 1));
}

#[test]
fn a_store_is_probed_and_its_clock_read() {
    let Store {
        server,
        data: _data,
    } = Store::start().with_bucket("cases");
    let mut machine = with_workspace(&server.endpoint());
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
