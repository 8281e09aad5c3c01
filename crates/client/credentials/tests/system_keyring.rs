//! The system keyring against a real GNOME keyring in a private D-Bus session.
//!
//! The keyring's client finds its session through the environment, which a test cannot change
//! for itself: each test starts this program again, for one other test, in the session's
//! environment.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use artifacts_credentials::Error;
use artifacts_credentials::keyring::{
    EntryName, Keyring, KeyringError, Secret, SystemKeyring, contract,
};
use testkit::secret_service::SecretService;
use testkit::tools::Tool;

const INSIDE: &str = "ARTIFACTS_TEST_INSIDE";

/// Runs `test` of this program again in a session.
fn inside(test: &str, environment: &[(&str, String)]) -> Output {
    Command::new(std::env::current_exe().expect("this program"))
        .args([test, "--exact", "--nocapture"])
        .env(INSIDE, test)
        .env_remove("DISPLAY")
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .output()
        .expect("started")
}

#[track_caller]
fn passes_inside(test: &str, environment: &[(&str, String)]) {
    let output = inside(test, environment);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
}

fn is_inside(test: &str) -> bool {
    std::env::var(INSIDE).is_ok_and(|name| name == test)
}

fn name() -> EntryName {
    "storage/default".parse().expect("a name")
}

fn secret() -> Secret {
    Secret::new(b"ACCESS_KEY_ID=A\nSECRET_ACCESS_KEY=b\n".to_vec())
}

#[test]
fn contract_inside() {
    if is_inside("contract_inside") {
        contract::check(&SystemKeyring::new());
    }
}

#[test]
fn a_real_keyring_keeps_the_contract() {
    testkit::require!(Tool::GnomeKeyringDaemon);
    let session = SecretService::start().expect("a keyring");
    passes_inside("contract_inside", &session.environment());
}

#[test]
fn store_inside() {
    if is_inside("store_inside") {
        let keyring = SystemKeyring::new();
        keyring.store(&name(), &secret()).expect("kept");
    }
}

#[test]
fn what_is_stored_is_what_the_desktops_own_tool_finds() {
    testkit::require!(Tool::GnomeKeyringDaemon);
    testkit::require!(Tool::SecretTool);
    let session = SecretService::start().expect("a keyring");
    passes_inside("store_inside", &session.environment());
    let attributes = ["service", "artifacts", "username", "storage/default"];
    let seen = session.witness(&attributes).expect("secret-tool runs");
    assert_eq!(seen.as_deref(), Some(secret().expose()));
}

/// Every call fails within five seconds, with the error that `expect` takes.
fn all_calls_fail(expect: impl Fn(&Error) -> bool) {
    let calls: [fn(&SystemKeyring) -> Option<Error>; 3] = [
        |k| k.load(&name()).err(),
        |k| k.store(&name(), &secret()).err(),
        |k| k.remove(&name()).err(),
    ];
    for call in calls {
        let started = Instant::now();
        let error = call(&SystemKeyring::new()).expect("an error");
        let took = started.elapsed();
        assert!(took < Duration::from_secs(5), "{took:?}");
        assert!(expect(&error), "{error:?}");
        let hint = error.hint().expect("a next step");
        assert!(hint.contains("ARTIFACTS_KEYRING_TYPE=file"), "{hint}");
    }
}

fn is_unavailable(error: &Error) -> bool {
    matches!(error, Error::Keyring(KeyringError::Unavailable { .. }))
}

fn waits_for_somebody(error: &Error) -> bool {
    use KeyringError as E;
    matches!(error, Error::Keyring(E::Silent { .. } | E::Locked))
}

#[test]
fn without_bus_inside() {
    if is_inside("without_bus_inside") {
        all_calls_fail(is_unavailable);
    }
}

#[test]
fn without_a_bus_it_is_unavailable() {
    let nowhere = tempfile::tempdir().expect("a folder");
    let path = nowhere.path().display().to_string();
    let bus = ("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={path}/none"));
    passes_inside("without_bus_inside", &[bus, ("XDG_RUNTIME_DIR", path)]);
}

#[test]
fn locked_inside() {
    if is_inside("locked_inside") {
        all_calls_fail(waits_for_somebody);
    }
}

#[test]
fn a_locked_keyring_is_given_up_in_time() {
    testkit::require!(Tool::GnomeKeyringDaemon);
    let mut session = SecretService::start().expect("a keyring");
    passes_inside("store_inside", &session.environment());
    session.restart_locked().expect("a keyring");
    passes_inside("locked_inside", &session.environment());
}

#[test]
fn silent_inside() {
    if is_inside("silent_inside") {
        let silent = KeyringError::Silent {
            after: Duration::from_secs(4),
        };
        all_calls_fail(|error| *error == silent.clone().into());
    }
}

#[test]
fn a_keyring_that_never_answers_is_given_up_in_time() {
    testkit::require!(Tool::GnomeKeyringDaemon);
    let session = SecretService::start().expect("a keyring");
    session.fall_silent();
    passes_inside("silent_inside", &session.environment());
}
