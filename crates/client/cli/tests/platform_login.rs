//! Logging in at an orchestrator, and what a machine leaves when it goes: the real server,
//! the real store.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs;

use serde_json::Value;
use support::platform::Platform;
use support::{Machine, mode};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// The token that is kept on a machine.
fn token(machine: &Machine) -> String {
    let folder = machine.config().join("sessions");
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap());
    let mut files = files.filter(|file| !file.file_name().to_str().unwrap().starts_with('.'));
    let text = fs::read_to_string(files.next().unwrap().path()).unwrap();
    json(&text)["token"].as_str().unwrap().to_owned()
}

#[test]
fn a_machine_is_let_in_once_and_says_whom_it_stands_for() {
    let platform = Platform::start();
    let machine = platform.machine();
    machine
        .run("whoami")
        .refused(2, "no orchestrator is known", "artifacts login URL");
    let url = &platform.url;
    machine
        .run(&format!("whoami {url}"))
        .refused(3, "not logged in at", "artifacts login");

    let said = platform.let_in(&machine, &format!("login {url} --manual-code"));
    assert!(said.contains(&format!("{url}/device")), "{said}");
    assert!(said.contains("the login is kept in"), "{said}");
    let secret = token(&machine);
    assert!(!said.contains(&secret));
    let file = fs::read_dir(machine.config().join("sessions")).unwrap();
    for file in file {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
    }
    let me = json(&machine.run("whoami --format json").ok());
    assert_eq!((&me["valid"], &me["handle"]), (&true.into(), &"ada".into()));
    assert!(me["expires_in"].as_i64().unwrap() > 24 * 3600, "{me}");
    assert!(!me.to_string().contains(&secret));
    let config = fs::read_to_string(machine.config().join("config.toml")).unwrap();
    assert!(config.contains(url.as_str()), "{config}");

    // Again: nothing is asked, and no second session is made.
    let again = machine.run(&format!("login {url} --manual-code"));
    assert_eq!(again.code, 0);
    assert!(again.err.contains("logged in already"), "{}", again.err);
    assert_eq!(token(&machine), secret);

    // Another login takes the place of the first, which is ended.
    platform.let_in(&machine, "login --again --manual-code");
    assert_ne!(token(&machine), secret);
    platform.call_as(&secret, "GET", "/whoami", Value::Null, 401);
}

#[test]
fn a_refused_login_leaves_nothing_and_says_so() {
    let platform = Platform::start();
    let machine = platform.machine();
    let line = format!("login {} --manual-code", platform.url);
    let said = platform.answer(&machine, &line, "deny", 3);
    assert!(said.contains("the login was refused"), "{said}");
    assert!(!machine.config().join("sessions").exists());
}

#[test]
fn a_login_never_goes_over_a_network_in_the_clear() {
    let machine = Machine::new();
    machine
        .run("login http://192.0.2.1:8080")
        .refused(2, "unencrypted", "https");
}

#[test]
fn a_session_that_was_ended_elsewhere_is_no_login() {
    let platform = Platform::start();
    let machine = platform.logged_in();
    platform.call_as(&token(&machine), "POST", "/logout", Value::Null, 204);
    let said = machine.run_openly("whoami --format json");
    assert_eq!(said.code, 3);
    assert_eq!(json(&said.out)["valid"], false);
    assert_eq!(said.error()["code"], "login-needed");
}

#[test]
fn a_token_of_the_environment_goes_to_its_own_server_only() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let other = format!("http://{}", listener.local_addr().unwrap());
    let mut machine = Machine::new();
    machine
        .set("ARTIFACTS_TOKEN", "art_for_the_usual_one")
        .set("ARTIFACTS_ORCHESTRATOR_URL", "https://orchestrator.example");
    machine
        .run(&format!("whoami {other}"))
        .refused(3, "not logged in at", "artifacts login");
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "nobody has connected");
}

#[test]
fn a_login_that_has_ended_keeps_nobody_from_logging_out() {
    let platform = Platform::start();
    let machine = platform.logged_in();
    machine.run("workspace create cases").ok();
    platform.call_as(&token(&machine), "POST", "/logout", Value::Null, 204);
    let said = machine.run("logout");
    assert_eq!(said.code, 8, "{}", said.err);
    assert!(said.err.contains("does not count"), "{}", said.err);
    machine
        .run("whoami")
        .refused(3, "not logged in", "artifacts login");
    // A purge asks for the login before it removes anything.
    machine.run("workspace delete cases --purge --yes").refused(
        3,
        "not logged in",
        "artifacts login",
    );
    let said = machine.run("workspace delete cases --force");
    assert_eq!(said.code, 0, "{}", said.err);
}

#[test]
fn an_operators_session_is_kept_beside_the_tenants() {
    let platform = Platform::start();
    let machine = platform.logged_in();
    machine
        .run("platform tenant list")
        .refused(4, "only an operator", "an operator");
    platform.let_in(&machine, "login --operator --manual-code");
    machine.run("platform tenant list").ok();
    let me = json(&machine.run("whoami --format json").ok());
    assert_eq!(me["handle"], "ada");
    machine.run("workspace create cases").ok();
    machine.run("logout").ok();
    machine
        .run("platform tenant list")
        .refused(3, "not logged in", "artifacts login");
}

#[test]
fn a_service_token_in_the_environment_needs_no_login() {
    let platform = Platform::start();
    let owner = platform.logged_in();
    let made = owner.run_openly("platform token create --description ci --mode ro");
    let secret = made.ok().trim().to_owned();
    assert!(secret.starts_with("art_"));
    let mut machine = platform.machine();
    machine
        .set("ARTIFACTS_TOKEN", &secret)
        .set("ARTIFACTS_ORCHESTRATOR_URL", &platform.url);
    let said = machine.run("whoami").ok();
    assert!(said.contains("ro for the tenant's bucket"), "{said}");
    assert!(!said.contains(&secret));
    machine
        .run("platform tenant list")
        .refused(4, "only an operator", "an operator");
    let listed = owner.run("platform token list --format json").ok();
    let id = json(&listed)["items"][0]["token_id"]
        .as_str()
        .unwrap()
        .to_owned();
    owner.run(&format!("platform token revoke {id}")).ok();
    machine
        .run("whoami")
        .refused(3, "does not count", "log in again");
}

#[test]
fn logging_out_revokes_what_this_machine_was_issued_and_nothing_else() {
    let platform = Platform::start();
    let (one, other) = (platform.logged_in(), platform.logged_in());
    one.run("workspace create cases").ok();
    other.run("workspace create notes").ok();
    assert_eq!(platform.live_keys(&one).len(), 2);
    let secret = token(&one);
    let said = one.run("logout");
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(
        said.err.contains("the one key of this machine is revoked"),
        "{}",
        said.err
    );
    let left = platform.live_keys(&other);
    assert_eq!(left.len(), 1);
    platform.call_as(&secret, "GET", "/whoami", Value::Null, 401);
    one.run("whoami")
        .refused(3, "not logged in at", "artifacts login");
    assert!(one.cached().is_empty(), "{:?}", one.cached());
    one.run("logout")
        .refused(3, "not logged in at", "artifacts login");
}

#[test]
fn an_orchestrator_that_is_away_is_said_to_be_away() {
    let mut platform = Platform::start();
    let machine = platform.logged_in();
    platform.stop();
    for line in [
        "whoami",
        "workspace list --remote",
        "platform key list",
        "logout",
    ] {
        machine
            .run(line)
            .refused(7, "does not answer", "Try again later");
    }
    platform.start_again();
    machine.run("whoami").ok();
}
