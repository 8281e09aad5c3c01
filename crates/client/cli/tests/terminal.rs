//! What is asked on a terminal, driven through a pseudo-terminal: prompts, no echo, and a
//! Control-C that leaves nothing half-written.

mod support;

use std::fs;
use std::fs::File;

use support::terminal::Terminal;
use support::{ID, Machine, SECRET};

fn machine() -> Machine {
    let mut machine = Machine::new();
    machine.set("ARTIFACTS_KEYRING_TYPE", "file");
    machine
}

const PASSWORD: &str = "correct horse";

#[test]
fn a_new_keyring_asks_twice_and_shows_nothing_of_it() {
    let machine = machine();
    let line = format!("storage set --access-key-id {ID} --secret-access-key -");
    let mut terminal = Terminal::start(&machine, &line);
    terminal
        .shows("secret access key: ")
        .types_unseen(&format!("{SECRET}x\x7f\r"))
        .shows("a password for the new keyring")
        .types_unseen(&format!("{PASSWORD}\r"))
        .shows("the same password again: ")
        .types_unseen(&format!("{PASSWORD}\r"))
        .shows("Saved ACCESS_KEY_ID, SECRET_ACCESS_KEY in the keyring");
    assert_eq!(terminal.ends(), 0);
    for secret in [SECRET, PASSWORD] {
        assert!(!terminal.seen.contains(secret), "{}", terminal.seen);
    }
    machine.run("auth keyring lock").ok();
    let mut terminal = Terminal::start(&machine, "storage show");
    terminal
        .shows("password of the keyring")
        .types_unseen("a mistyped one\r")
        .forgets()
        .shows("password of the keyring")
        .types_unseen(&format!("{PASSWORD}\r"))
        .shows("ACCESS_KEY_ID");
    assert_eq!(terminal.ends(), 0, "a mistyped password may be typed again");
}

#[test]
fn two_different_passwords_make_nothing() {
    let machine = machine();
    let line = format!("storage set --access-key-id {ID} --secret-access-key -");
    let mut terminal = Terminal::start(&machine, &line);
    terminal
        .shows("secret access key: ")
        .types_unseen(&format!("{SECRET}\r"))
        .shows("a password for the new keyring")
        .types_unseen("correct horse\r")
        .shows("again: ")
        .types_unseen("correct house\r")
        .shows("the two passwords differ; nothing was changed");
    assert_eq!(terminal.ends(), 1);
    let head = machine
        .home
        .path()
        .join(".local/share/artifacts/keyring/head");
    assert!(!head.exists());
}

#[test]
fn control_c_leaves_nothing_half_written_and_the_terminal_as_it_was() {
    let machine = machine();
    let line = format!("storage set --access-key-id {ID} --secret-access-key -");
    let mut terminal = Terminal::start(&machine, &line);
    terminal
        .shows("secret access key: ")
        .types_unseen("half a sec\x03")
        .shows("interrupted; nothing was changed");
    assert_eq!(terminal.ends(), 1);
    let mut terminal = Terminal::start(&machine, &line);
    terminal
        .shows("secret access key: ")
        .types_unseen(&format!("{SECRET}\r"))
        .shows("a password for the new keyring")
        .types_unseen("corr\x03")
        .shows("interrupted; nothing was changed");
    assert_eq!(terminal.ends(), 1);
    assert!(!machine.credentials().exists());
    let head = machine
        .home
        .path()
        .join(".local/share/artifacts/keyring/head");
    assert!(!head.exists());
}

/// Makes the keyring, without an unlock that lasts, with one set of storage keys in it.
fn with_keys() -> Machine {
    let mut machine = machine();
    let text = "[auth.keyring]\ntype = \"file\"\nspec.unlock_for = \"0s\"\n";
    fs::create_dir_all(machine.config()).expect("made");
    support::chmod(&machine.config(), 0o700);
    let file = machine.config().join("config.toml");
    fs::write(&file, text).expect("written");
    support::chmod(&file, 0o600);
    machine.set("ARTIFACTS_KEYRING_PASSWORD", PASSWORD);
    let line = format!("storage set --access-key-id {ID} --secret-stdin");
    machine.run_with_input(&line, SECRET).ok();
    machine.unset("ARTIFACTS_KEYRING_PASSWORD");
    machine
}

fn nothing_secret_was_shown(terminal: &Terminal) {
    for secret in [SECRET, PASSWORD, "battery staple"] {
        assert!(!terminal.seen.contains(secret), "{}", terminal.seen);
    }
}

#[test]
fn without_input_nothing_is_asked_even_on_a_terminal() {
    let machine = with_keys();
    for (line, code) in [
        ("storage set --secret-access-key - --no-input", 2),
        ("auth user configure --identity x --no-input", 2),
        ("auth user configure --access-key-id A --no-input", 2),
        ("auth keyring export keys.age --no-input", 2),
        ("auth logout --all --keychain --no-input", 2),
        ("storage clear --all --no-input", 2),
        ("storage show --no-input", 3),
        ("auth keyring passwd --no-input", 3),
        ("auth list --no-input", 0),
    ] {
        let password = code == 2;
        let mut machine_now = Machine::new();
        let machine: &Machine = match password {
            // So that what is missing is the answer, not the keyring's password.
            true => machine_now
                .set("ARTIFACTS_KEYRING_TYPE", "file")
                .set("ARTIFACTS_KEYRING_PASSWORD", PASSWORD),
            false => &machine,
        };
        if password {
            let line = "auth user configure --identity a --access-key-id A --secret-stdin";
            machine.run_with_input(line, SECRET).ok();
        }
        let mut terminal = Terminal::start(machine, line);
        assert_eq!(terminal.ends(), code, "{line}: {}", terminal.seen);
        assert!(!terminal.seen.contains("password of the keyring"), "{line}");
    }
}

#[test]
fn who_cannot_see_the_question_is_not_asked() {
    let machine = with_keys();
    let log = machine.home.path().join("errors");
    let errors = File::create(&log).expect("a file");
    let mut terminal = Terminal::start_with(&machine, "storage show", Some(errors.into()));
    assert_eq!(terminal.ends(), 3, "{}", terminal.seen);
    let said = fs::read_to_string(log).expect("read");
    assert!(
        said.contains("ARTIFACTS_KEYRING_PASSWORD is not set"),
        "{said}"
    );
}

#[test]
fn an_identity_is_configured_question_by_question() {
    let machine = with_keys();
    let mut terminal = Terminal::start(&machine, "auth user configure --identity ada");
    terminal
        .shows("password of the keyring")
        .types_unseen(&format!("{PASSWORD}\r"))
        .shows("access key id: ")
        .types(&format!("{ID}\r"))
        .shows("secret access key: ")
        .types_unseen(&format!("{SECRET}\r"))
        .shows("MFA device (serial number or ARN; empty for none): ")
        .types("GAHT12345678\r")
        .shows("session length (45m, 12h; empty for as long as the store gives): ")
        .types("45m\r")
        .shows("Identity ada is configured");
    assert_eq!(terminal.ends(), 0, "{}", terminal.seen);
    nothing_secret_was_shown(&terminal);
    let asked = terminal.seen.matches("password of the keyring").count();
    assert_eq!(asked, 1, "once for a command: {}", terminal.seen);
    let config = fs::read_to_string(machine.config().join("config.toml")).expect("written");
    let expected =
        "[auth.identities.ada]\nmfa_device = \"GAHT12345678\"\nsession_length = \"45m\"\n";
    assert!(config.contains(expected), "{config}");

    // A wrong answer to the last question leaves everything as it was.
    let mut terminal = Terminal::start(&machine, "auth user configure --identity bob");
    terminal
        .shows("password of the keyring")
        .types_unseen(&format!("{PASSWORD}\r"))
        .shows("access key id: ")
        .types(&format!("{ID}\r"))
        .shows("secret access key: ")
        .types_unseen(&format!("{SECRET}\r"))
        .shows("MFA device")
        .types("\r")
        .shows("session length")
        .types("soon\r")
        .shows("is not a duration");
    assert_eq!(terminal.ends(), 2, "{}", terminal.seen);
    let after = fs::read_to_string(machine.config().join("config.toml")).expect("written");
    assert_eq!(after, config);
}

#[test]
fn a_login_asks_for_the_devices_code() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let data = tempfile::tempdir().expect("a temporary folder");
    let mut options = embedded::Options::new(data.path());
    options.durability = embedded::Durability::Process;
    let store = runtime
        .block_on(embedded::Server::start(options))
        .expect("a store");
    let settings = data.path().join(embedded::STS_FILE);
    let text = r#"{"version":1,"mfa_devices":[{"serial":"GAHT1","code":"493817"}]}"#;
    fs::write(&settings, text).expect("written");
    support::chmod(&settings, 0o600);
    let mut machine = machine();
    machine.set("ARTIFACTS_KEYRING_PASSWORD", PASSWORD);
    let line = format!(
        "auth user configure --access-key-id {} --secret-stdin --mfa-device GAHT1 --endpoint {}",
        store.root().id,
        store.endpoint()
    );
    use secrecy::ExposeSecret;
    machine
        .run_with_input(&line, store.root().secret.expose_secret())
        .ok();
    let mut terminal = Terminal::start(&machine, "auth login");
    terminal.shows("code of GAHT1: ").types("000000\r");
    assert_eq!(terminal.ends(), 3, "{}", terminal.seen);
    assert!(
        terminal.seen.contains("invalid MFA one time pass code"),
        "{}",
        terminal.seen
    );
    let mut terminal = Terminal::start(&machine, "auth login");
    terminal
        .shows("code of GAHT1: ")
        .types("493817\r")
        .shows("Identity default is logged in");
    assert_eq!(terminal.ends(), 0, "{}", terminal.seen);
    let mut terminal = Terminal::start(&machine, "auth whoami");
    terminal.shows("valid for");
    assert_eq!(
        terminal.ends(),
        0,
        "a session is there: nobody is asked again"
    );
    assert!(!terminal.seen.contains("code of"), "{}", terminal.seen);
}

#[test]
fn a_password_is_changed_and_a_keyring_exported_by_typing() {
    let mut machine = with_keys();
    let mut terminal = Terminal::start(&machine, "auth keyring passwd");
    terminal
        .shows("password of the keyring")
        .types_unseen(&format!("{PASSWORD}\r"))
        .shows("the new password of the keyring")
        .types_unseen("battery staple\r")
        .shows("the same password again: ")
        .types_unseen("battery staple\r")
        .shows("Changed the password");
    assert_eq!(terminal.ends(), 0, "{}", terminal.seen);
    nothing_secret_was_shown(&terminal);
    let mut terminal = Terminal::start(&machine, "auth keyring export keys.age");
    terminal
        .shows("password of the keyring")
        .types_unseen("battery staple\r")
        .shows("password of the exported file: ")
        .types_unseen("third horse\r")
        .shows("the same password again: ")
        .types_unseen("fourth horse\r")
        .shows("the two passwords differ; nothing was written");
    assert_eq!(terminal.ends(), 1, "{}", terminal.seen);
    assert!(!machine.home.path().join("keys.age").exists());
    machine.set("ARTIFACTS_KEYRING_PASSWORD", PASSWORD);
    machine
        .run("storage show")
        .refused(3, "the password does not open", "try again");
}

#[test]
fn a_removal_wants_the_word_typed() {
    let mut machine = with_keys();
    machine.set("ARTIFACTS_KEYRING_PASSWORD", PASSWORD);
    let line = "auth user configure --identity ada --access-key-id A --secret-stdin";
    machine.run_with_input(line, SECRET).ok();
    for (line, question, word) in [
        (
            "auth logout --identity ada --keychain",
            "This removes the keys of ada",
            "ada",
        ),
        (
            "storage clear --all",
            "This removes the storage keys of every profile",
            "all",
        ),
    ] {
        for answer in ["no", "yes", "\x04"] {
            let mut terminal = Terminal::start(&machine, line);
            terminal
                .shows(question)
                .shows(&format!("Type {word} to go on: "))
                .types(&format!("{answer}\r"));
            assert_ne!(terminal.ends(), 0, "{answer:?}: {}", terminal.seen);
        }
    }
    machine.run("storage show").ok();
    assert!(machine.run("auth list").ok().contains("ada"));
    let mut terminal = Terminal::start(&machine, "storage clear --all");
    terminal
        .shows("Type all to go on: ")
        .types("all\r")
        .shows("Removed 1 entry");
    assert_eq!(terminal.ends(), 0);
    let mut terminal = Terminal::start(&machine, "auth logout --identity ada --keychain");
    terminal
        .shows("Type ada to go on: ")
        .types("ada\r")
        .shows("Removed identity ada");
    assert_eq!(terminal.ends(), 0);
    assert_eq!(machine.run("storage show").code, 3);
    assert_eq!(machine.run("auth list --format json").ok().trim(), "[]");
}

#[test]
fn what_was_typed_once_is_not_asked_again_in_the_session() {
    let mut machine = machine();
    machine.set("ARTIFACTS_KEYRING_PASSWORD", PASSWORD);
    let line = format!("storage set --access-key-id {ID} --secret-stdin");
    machine.run_with_input(&line, SECRET).ok();
    machine.run("auth keyring lock").ok();
    machine.unset("ARTIFACTS_KEYRING_PASSWORD");
    let mut terminal = Terminal::start(&machine, "storage show");
    terminal
        .shows("password of the keyring")
        .types_unseen(&format!("{PASSWORD}\r"))
        .shows("ACCESS_KEY_ID");
    assert_eq!(terminal.ends(), 0, "{}", terminal.seen);
    let status = machine.run("auth keyring status --format json").ok();
    if !status.contains("\"unlocked\": true") {
        return testkit::tools::note_skip("this kernel gives no session keyring");
    }
    let mut terminal = Terminal::start(&machine, "storage show");
    terminal.shows("ACCESS_KEY_ID");
    assert_eq!(terminal.ends(), 0, "{}", terminal.seen);
    assert!(!terminal.seen.contains("password"), "{}", terminal.seen);
    machine.run("auth keyring lock").ok();
}

#[test]
fn age_itself_opens_what_was_exported_under_a_password() {
    let age = testkit::require!(testkit::tools::Tool::Age);
    let mut machine = with_keys();
    machine
        .set("ARTIFACTS_KEYRING_PASSWORD", PASSWORD)
        .set("ARTIFACTS_EXPORT_PASSWORD", "third horse");
    machine.run("auth keyring export keys.age").ok();
    let age = age.to_str().expect("a path");
    let mut terminal = Terminal::start_program(&machine, age, "-d -o opened keys.age", None);
    terminal
        .shows("Enter passphrase")
        .types_unseen("third horse\r");
    assert_eq!(terminal.ends(), 0, "{}", terminal.seen);
    let opened = fs::read_to_string(machine.home.path().join("opened")).expect("read");
    assert!(
        opened.starts_with("artifacts keyring export 1\nstorage/default "),
        "{opened}"
    );
    assert!(opened.contains(SECRET));
}
