//! Bad input and hostile surroundings: each with a clear error, a hint and the right exit
//! code. Needs no server.

mod support;

use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::time::{Duration, Instant};

use support::{ID, Machine, SECRET, TOKEN, chmod};
use testkit::fake::Endpoint;

/// A machine with saved keys.
fn with_keys() -> Machine {
    let machine = Machine::new();
    let line = format!("storage set --access-key-id {ID} --secret-stdin --session-token -");
    machine
        .run_with_input(&line, &format!("{SECRET}\n{TOKEN}\n"))
        .ok();
    machine
}

#[test]
fn wrong_usage_is_2() {
    let machine = with_keys();
    for (line, message, hint) in [
        (
            "workspace create a/b --bucket b",
            "<NAME>: \"a/b\" is not a valid name",
            "",
        ),
        (
            "workspace create w --bucket s3://b",
            "\"s3://b\" is not a bucket's name",
            "the name alone",
        ),
        (
            "workspace create w --bucket b --endpoint localhost:9000",
            "is not an endpoint: it does not begin with https:// or http://",
            "https://HOST",
        ),
        (
            "workspace create w --bucket b --prefix a//b",
            "is not a prefix for a workspace: it has an empty folder name in it",
            "FOLDER",
        ),
        (
            "workspace create w",
            "no bucket is given",
            "ARTIFACTS_S3_BUCKET",
        ),
        (
            "storage show --profile a/b",
            "\"a/b\" is not a valid profile",
            "",
        ),
    ] {
        let said = machine.run(line);
        if hint.is_empty() {
            assert_eq!(said.code, 2, "{}", said.err);
            assert!(said.err.contains(message), "{}", said.err);
        } else {
            said.refused(2, message, hint);
        }
    }
    let mut bad = with_keys();
    bad.set("ARTIFACTS_S3_ENDPOINT", "ftp://x");
    bad.run("workspace create w --bucket b").refused(
        2,
        "ARTIFACTS_S3_ENDPOINT: \"ftp://x\" is not an endpoint",
        "https://HOST",
    );
}

#[test]
fn errors_have_a_form_for_programs() {
    let machine = Machine::new();
    for (line, exit, code) in [
        ("--format json workspace create", 2, "usage"),
        ("--format json workspace create a/b", 2, "invalid-value"),
        ("--format json storage show", 3, "no-keys"),
        ("workspace show nix --format=json", 5, "workspace-not-found"),
    ] {
        let said = machine.run(line);
        assert_eq!(said.code, exit, "{line}: {}", said.err);
        let error = said.error();
        assert_eq!(error["code"], code, "{line}");
        assert!(
            error["message"].is_string() && said.out.is_empty(),
            "{line}"
        );
    }
    let known = machine.run("--format json storage show").error();
    assert!(
        known["hint"]
            .as_str()
            .is_some_and(|h| h.contains("artifacts storage set"))
    );
}

#[test]
fn no_keys_names_both_places() {
    let machine = Machine::new();
    let said = machine.run("workspace create w --bucket b");
    let file = machine.credentials().display().to_string();
    assert!(said.err.contains("ARTIFACTS_S3_ACCESS_KEY_ID") && said.err.contains(&file));
    said.refused(3, "no storage keys", "artifacts storage set");
}

#[test]
fn an_unknown_workspace_is_5() {
    let machine = with_keys();
    for line in [
        "workspace show nix",
        "workspace delete nix",
        "workspace delete nix --purge --yes",
        "env nix -f bash",
        "credential-process nix",
    ] {
        machine.run(line).refused(
            5,
            "no workspace nix on this machine",
            "artifacts workspace list",
        );
    }
}

#[test]
fn an_endpoint_that_hangs_is_7_in_bounded_time() {
    let machine = with_keys();
    let silent = Endpoint::silent().expect("listening");
    let started = Instant::now();
    let line = format!(
        "workspace create w --bucket b --endpoint {}",
        silent.endpoint()
    );
    machine
        .run(&line)
        .refused(7, "cannot be reached: no answer in", "--endpoint");
    assert!(
        started.elapsed() < Duration::from_secs(15),
        "{:?}",
        started.elapsed()
    );
    machine
        .run("workspace show w")
        .refused(5, "no workspace w", "");
}

#[test]
fn an_endpoint_where_nobody_listens_is_7() {
    let machine = with_keys();
    let closed = Endpoint::silent().expect("listening").endpoint();
    let started = Instant::now();
    machine
        .run(&format!(
            "workspace create w --bucket b --endpoint {closed}"
        ))
        .refused(7, "cannot be reached", "--endpoint");
    assert!(
        started.elapsed() < Duration::from_secs(15),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn an_endpoint_that_is_no_store_is_1() {
    let machine = with_keys();
    let page = Endpoint::html().expect("listening");
    machine
        .run(&format!(
            "workspace create w --bucket b --endpoint {}",
            page.endpoint()
        ))
        .refused(1, "does not answer as an S3 store", "S3 port");
}

#[test]
fn a_key_file_that_others_can_read_is_4_with_the_remedy() {
    let machine = with_keys();
    chmod(&machine.credentials(), 0o644);
    let remedy = format!("run: chmod 600 {}", machine.credentials().display());
    for line in [
        "storage show",
        "storage set --region x",
        "workspace create w --bucket b",
    ] {
        machine
            .run(line)
            .refused(4, "can be read by other users (mode 0644)", &remedy);
    }
    chmod(&machine.credentials(), 0o600);
    machine.run("storage show").ok();
}

#[test]
fn a_folder_that_others_can_change_is_4() {
    let machine = with_keys();
    chmod(&machine.config(), 0o777);
    machine
        .run("storage show")
        .refused(4, "can be changed by other users", "run: chmod go-w");
}

#[test]
fn a_key_file_that_is_a_link_out_of_its_folder_is_4() {
    let machine = with_keys();
    let outside = machine.home.path().join("outside");
    fs::rename(machine.credentials(), &outside).expect("moved");
    symlink(&outside, machine.credentials()).expect("linked");
    machine.run("storage show").refused(
        4,
        "is a link that leads out of its folder",
        "cp --remove-destination",
    );
}

#[test]
fn the_configuration_folder_of_another_user_is_4() {
    let machine = with_keys();
    if !rustix::process::geteuid().is_root() {
        testkit::skip!("only root can give a folder away");
    }
    chown(machine.config(), Some(12345), None).expect("chown");
    machine.run("storage show").refused(
        4,
        "belongs to user 12345, not to you (user 0)",
        "work as that user",
    );
}

#[test]
fn a_broken_key_file_is_named_by_its_line() {
    let machine = with_keys();
    fs::write(
        machine.credentials(),
        format!("SECRET_ACCESS_KEY={SECRET}\nSECRET_ACCESS_KEY={SECRET}\n"),
    )
    .expect("written");
    machine.run("storage show").refused(
        1,
        "byo-credentials, line 2: SECRET_ACCESS_KEY stands there",
        "mend the line",
    );
}

#[test]
fn no_secret_is_printed_however_much_is_logged() {
    let mut machine = with_keys();
    let page = Endpoint::html().expect("listening");
    let closed = Endpoint::silent().expect("listening").endpoint();
    for log in [
        "trace",
        "trace,aws_smithy_runtime::client=trace,aws_sigv4=trace,hyper=trace",
    ] {
        machine.set("RUST_LOG", log).set("ARTIFACTS_LOG", log);
        for endpoint in [&page.endpoint(), &closed] {
            let line = format!("workspace create w --bucket b --endpoint {endpoint}");
            // `run` looks for the secrets in what it printed.
            let said = machine.run(&line);
            assert!(matches!(said.code, 1 | 7), "{}", said.err);
            assert!(!said.err.contains("Signature="), "{}", said.err);
        }
    }
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let machine = Machine::new();
    let script = "artifacts completions bash | head -c 10 >/dev/null; echo ${PIPESTATUS[0]}";
    let said = machine
        .command("/bin/bash")
        .args(["-c", script])
        .output()
        .expect("bash");
    assert_eq!(String::from_utf8_lossy(&said.stdout).trim(), "0");
}
