//! The system keyring against a real GNOME keyring in a private D-Bus session, and against a
//! fake one that lies, answers late, is dismissed or refuses.
//!
//! The keyring's client finds its session through the environment, which a test cannot change
//! for itself: each test starts this program again, for one other test, in the session's
//! environment.

mod fake_service;

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use artifacts_credentials::Error;
use artifacts_credentials::keyring::{
    EntryName, Keyring, KeyringError, SECRET_LIMIT, Secret, SystemKeyring, contract,
};
use fake_service::{Fake, Manner};
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
    // A name that no test has would pass as well.
    let ran = String::from_utf8_lossy(&output.stdout);
    assert!(ran.contains("test result: ok. 1 passed;"), "{ran}");
}

fn is_inside(test: &str) -> bool {
    std::env::var(INSIDE).is_ok_and(|name| name == test)
}

/// The keyring, with a lock that lies in the private session's folder.
fn keyring() -> SystemKeyring {
    let folder = std::env::var_os("XDG_RUNTIME_DIR").expect("of the session");
    SystemKeyring::new(std::path::Path::new(&folder).join("lock"))
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
        contract::check(&keyring());
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
        keyring().store(&name(), &secret()).expect("kept");
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
        let error = call(&keyring()).expect("an error");
        let took = started.elapsed();
        assert!(took < Duration::from_secs(5), "{took:?}");
        assert!(expect(&error), "{error:?}");
        let hint = error.hint().expect("a next step");
        assert!(hint.contains("ARTIFACTS_KEYRING_TYPE=file"), "{hint}");
    }
}

/// All calls that a command may make, with one keyring: five seconds for them all.
fn together_they_fail_in_time(expect: impl Fn(&Error) -> bool) {
    let (keyring, started) = (keyring(), Instant::now());
    let errors = [
        keyring.load(&name()).err(),
        keyring.store(&name(), &secret()).err(),
        keyring.names().err(),
        keyring.remove(&name()).err(),
    ];
    let took = started.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    for error in errors {
        let error = error.expect("an error");
        assert!(expect(&error), "{error:?}");
    }
}

fn is_silent(error: &Error) -> bool {
    let after = Duration::from_secs(4);
    *error == KeyringError::Silent { after }.into()
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
        all_calls_fail(is_silent);
        together_they_fail_in_time(is_silent);
    }
}

#[test]
fn a_keyring_that_never_answers_is_given_up_in_time() {
    testkit::require!(Tool::GnomeKeyringDaemon);
    let session = SecretService::start().expect("a keyring");
    session.fall_silent();
    passes_inside("silent_inside", &session.environment());
}

#[test]
fn a_fake_that_does_as_it_is_told_keeps_the_contract() {
    testkit::require!(Tool::DbusDaemon);
    let fake = Fake::start(Manner::Honest);
    passes_inside("contract_inside", &fake.environment());
}

#[test]
fn lied_to_inside() {
    if is_inside("lied_to_inside") {
        let refused = keyring().store(&name(), &secret());
        let expected = KeyringError::NotKept { name: name() };
        assert_eq!(refused, Err(expected.into()));
    }
}

#[test]
fn what_a_keyring_says_that_it_has_kept_is_looked_at() {
    testkit::require!(Tool::DbusDaemon);
    let fake = Fake::start(Manner::Lies);
    // The first time an item is made, the second time it is changed.
    passes_inside("lied_to_inside", &fake.environment());
    passes_inside("lied_to_inside", &fake.environment());
}

#[test]
fn hoarded_inside() {
    if is_inside("hoarded_inside") {
        let keyring = keyring();
        keyring.store(&name(), &secret()).expect("kept");
        let expected = KeyringError::NotRemoved { name: name() };
        assert_eq!(keyring.remove(&name()), Err(expected.into()));
    }
}

#[test]
fn what_a_keyring_says_that_it_has_removed_is_looked_at() {
    testkit::require!(Tool::DbusDaemon);
    let fake = Fake::start(Manner::Hoards);
    passes_inside("hoarded_inside", &fake.environment());
}

#[test]
fn late_inside() {
    if is_inside("late_inside") {
        all_calls_fail(is_silent);
        together_they_fail_in_time(is_silent);
    }
}

#[test]
fn a_keyring_that_answers_too_late_is_given_up_in_time() {
    testkit::require!(Tool::DbusDaemon);
    let fake = Fake::start(Manner::Late(Duration::from_secs(6)));
    passes_inside("late_inside", &fake.environment());
}

#[test]
fn dismissed_inside() {
    if is_inside("dismissed_inside") {
        let locked = Error::from(KeyringError::Locked);
        assert_eq!(keyring().store(&name(), &secret()), Err(locked));
    }
}

#[test]
fn a_prompt_that_somebody_closes_leaves_the_keyring_locked() {
    testkit::require!(Tool::DbusDaemon);
    let fake = Fake::start(Manner::Dismissed);
    passes_inside("dismissed_inside", &fake.environment());
}

#[test]
fn too_long_inside() {
    if is_inside("too_long_inside") {
        let keyring = keyring();
        keyring.store(&name(), &secret()).expect("kept");
        let long = Secret::new(vec![b'x'; 5000]);
        let refused = keyring.store(&name(), &long).expect_err("refused");
        let is_refusal = |error: &Error| {
            matches!(error, Error::Keyring(KeyringError::Refused { reason })
                if reason.contains("the secret is too long"))
        };
        assert!(is_refusal(&refused), "{refused:?}");
        let found = keyring.load(&name()).expect("readable").expect("there");
        assert_eq!(found.expose(), secret().expose(), "as it was");
        let longer = Secret::new(vec![b'x'; SECRET_LIMIT + 1]);
        let limit = SECRET_LIMIT;
        let ours = Err(KeyringError::TooLarge { limit }.into());
        assert_eq!(keyring.store(&name(), &longer), ours);
    }
}

#[test]
fn a_size_that_the_keyring_refuses_is_said_in_its_words() {
    testkit::require!(Tool::DbusDaemon);
    let fake = Fake::start(Manner::Refuses(4096));
    passes_inside("too_long_inside", &fake.environment());
}
