//! Keyrings from the command line. What needs no server but the private keyring session.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{ID, Machine, SECRET};
use testkit::secret_service::SecretService;
use testkit::tools::Tool;

const PASSWORD: &str = "correct horse";

/// A machine whose keys go to a file keyring.
fn with_file_keyring() -> Machine {
    let mut machine = Machine::new();
    machine
        .set("ARTIFACTS_KEYRING_TYPE", "file")
        .set("ARTIFACTS_KEYRING_PASSWORD", PASSWORD);
    machine
}

fn save(machine: &Machine) -> String {
    let line = format!("storage set --access-key-id {ID} --secret-stdin");
    let said = machine.run_with_input(&line, &format!("{SECRET}\n"));
    assert_eq!(said.code, 0, "{}", said.err);
    said.err
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// Where the secret's bytes stand below a folder.
fn places_of(secret: &str, folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(places_of(secret, &path));
        } else if let Ok(bytes) = fs::read(&path)
            && bytes.windows(secret.len()).any(|w| w == secret.as_bytes())
        {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn keys_go_to_the_configured_keyring_and_nowhere_else() {
    let machine = with_file_keyring();
    let said = save(&machine);
    let folder = machine.home.path().join(".local/share/artifacts/keyring");
    let expected = format!(
        "Saved ACCESS_KEY_ID, SECRET_ACCESS_KEY in the keyring {}.",
        folder.display()
    );
    assert!(said.contains(&expected), "{said}");
    assert!(!machine.credentials().exists());
    assert_eq!(places_of(SECRET, machine.home.path()), Vec::<String>::new());
    let shown = json(&machine.run("storage show --format json").ok());
    assert_eq!(shown["fields"][0]["source"], "keyring");
    assert_eq!(shown["fields"][0]["value"], "AKIA\u{2026}TEST");
    machine.run("storage clear").ok();
    machine
        .run("storage show")
        .refused(3, "has no keys", "storage set");
}

#[test]
fn config_toml_chooses_the_keyring_its_folder_and_its_password() {
    let mut machine = Machine::new();
    fs::create_dir_all(machine.config()).expect("made");
    let text = "[auth.keyring]\ntype = \"file\"\n[auth.keyring.spec]\npath = \"~/vault\"\npassword_env = \"VAULT_PASSWORD\"\nunlock_for = \"0s\"\n[profiles.ci.keyring]\ntype = \"memory\"\n";
    fs::write(machine.config().join("config.toml"), text).expect("written");
    support::chmod(&machine.config().join("config.toml"), 0o600);
    machine.set("VAULT_PASSWORD", PASSWORD);
    save(&machine);
    assert!(machine.home.path().join("vault/head").exists());
    machine.set("VAULT_PASSWORD", "wrong horse");
    machine
        .run("storage show")
        .refused(3, "the password does not open the keyring", "try again");
    machine.unset("VAULT_PASSWORD");
    machine
        .run("storage show")
        .refused(3, "VAULT_PASSWORD is not set", "export VAULT_PASSWORD");
    machine.run("storage show --profile ci").refused(
        3,
        "this process's memory has no keys for profile ci",
        "--profile ci",
    );
    machine.set("ARTIFACTS_PROFILE", "ci");
    machine
        .run("storage show")
        .refused(3, "for profile ci", "--profile ci");
}

#[test]
fn a_password_given_once_opens_the_session_until_it_is_locked() {
    let mut machine = with_file_keyring();
    save(&machine);
    let status = json(&machine.run("auth keyring status --format json").ok());
    assert_eq!(status["entries"][0], "storage/default");
    if status["unlocked"] != true {
        testkit::tools::note_skip("this kernel gives no session keyring");
        return;
    }
    machine.unset("ARTIFACTS_KEYRING_PASSWORD");
    machine.run("storage show").ok();
    machine.run("auth keyring lock").ok();
    machine.run("storage show").refused(
        3,
        "ARTIFACTS_KEYRING_PASSWORD is not set",
        "export ARTIFACTS_KEYRING_PASSWORD",
    );
    let status = json(&machine.run("auth keyring status --format json").ok());
    assert_eq!(status["unlocked"], false);
    assert_eq!(status["entries"], Value::Null);
}

#[test]
fn keys_move_from_the_cache_to_a_keyring_and_back() {
    let mut machine = Machine::new();
    save(&machine);
    machine.run_with_input(
        "storage set --profile work --access-key-id AKIAWORKWORKWORKWORK --secret-stdin",
        SECRET,
    );
    machine.set("ARTIFACTS_KEYRING_PASSWORD", PASSWORD);
    let said = machine.run("auth keyring migrate --from cache --to file");
    assert!(
        said.err.contains("Moved storage/work from cache to file."),
        "{}",
        said.err
    );
    said.ok();
    assert!(!machine.credentials().exists());
    let config = fs::read_to_string(machine.config().join("config.toml")).expect("written");
    assert_eq!(config, "[auth.keyring]\ntype = \"file\"\n");
    let shown = machine.run("storage show --profile work").ok();
    assert!(shown.contains("(storage/work)"), "{shown}");
    machine.run("auth keyring migrate --to cache").ok();
    assert_eq!(machine.cached().len(), 5, "both profiles are back");
    let shown = machine.run("storage show").ok();
    assert!(shown.contains("byo-credentials"), "{shown}");
    let config = fs::read_to_string(machine.config().join("config.toml")).expect("written");
    assert_eq!(config, "", "the cache counts again");
}

#[test]
fn moving_writes_the_table_that_counts() {
    let mut machine = Machine::new();
    save(&machine);
    write_config(
        &machine,
        "[auth]\nkeyring = { type = \"system\" }\n[profiles.ci.keyring]\ntype = \"system\"\n",
    );
    machine
        .set("ARTIFACTS_KEYRING_TYPE", "file")
        .set("ARTIFACTS_KEYRING_PASSWORD", PASSWORD);
    let said = machine.run("auth keyring migrate --from cache --to file");
    assert!(!said.err.contains("warning"), "{}", said.err);
    said.ok();
    machine.unset("ARTIFACTS_KEYRING_TYPE");
    let shown = machine.run("storage show").ok();
    assert!(
        shown.contains("keyring"),
        "an inline table is written too: {shown}"
    );
    // The variable counts before what is written, and that is said.
    machine.set("ARTIFACTS_KEYRING_TYPE", "file");
    let said = machine.run("auth keyring migrate --from file --to cache");
    assert!(
        said.err
            .contains("ARTIFACTS_KEYRING_TYPE=file still counts in this shell"),
        "{}",
        said.err
    );
    said.ok();
    machine.unset("ARTIFACTS_KEYRING_TYPE");
    machine.run("storage show").ok();

    // A profile's own table is the one that is written for it, and only its keys move.
    write_config(&machine, "[profiles.ci.keyring]\ntype = \"system\"\n");
    machine.run_with_input(
        "storage set --access-key-id AKIACICICICICICICICI --secret-stdin",
        SECRET,
    );
    let cached = "ACCESS_KEY_ID=A\nSECRET_ACCESS_KEY=b\n[profile ci]\nACCESS_KEY_ID=C\nSECRET_ACCESS_KEY=d\n";
    fs::write(machine.credentials(), cached).expect("written");
    let line = "auth keyring migrate --profile ci --from cache --to file";
    let said = machine.run(line);
    assert!(said.err.contains("Moved storage/ci"), "{}", said.err);
    said.ok();
    assert_eq!(machine.cached(), ["ACCESS_KEY_ID=A", "SECRET_ACCESS_KEY=b"]);
    let config = fs::read_to_string(machine.config().join("config.toml")).expect("written");
    assert_eq!(config, "[profiles.ci.keyring]\ntype = \"file\"\n");
    machine.run("storage show --profile ci").ok();
    machine.run("storage show").ok();
}

#[test]
fn moving_and_importing_overwrite_nothing_unasked() {
    let mut machine = Machine::new();
    machine.set("ARTIFACTS_KEYRING_PASSWORD", PASSWORD);
    save(&machine);
    machine.set("ARTIFACTS_KEYRING_TYPE", "file");
    machine.run_with_input("storage set --access-key-id OTHER --secret-stdin", "other");
    machine
        .set("ARTIFACTS_EXPORT_PASSWORD", "a third password")
        .run("auth keyring export keys.age")
        .ok();
    machine
        .run("auth keyring migrate --from cache --to file")
        .refused(
            6,
            "other values are there already for storage/default",
            "--overwrite",
        );
    assert_eq!(machine.cached().len(), 2, "nothing has moved");
    machine
        .run("auth keyring migrate --from cache --to file --overwrite")
        .ok();
    let shown = machine.run("storage show").ok();
    assert!(shown.contains("AKIA\u{2026}TEST"), "{shown}");
    machine.run("auth keyring import keys.age").refused(
        6,
        "other values are there already for storage/default",
        "--overwrite",
    );
    machine.run("auth keyring import keys.age --overwrite").ok();
    let shown = machine.run("storage show").ok();
    assert!(!shown.contains("AKIA"), "{shown}");
}

/// `kill -9` at many moments of a move: whatever `config.toml` says then, every profile's keys
/// are found, and the same command finishes.
#[test]
fn a_move_that_is_killed_hides_no_key() {
    let profiles = ["default", "one", "two"];
    let mut moments = 0;
    let mut pause = Duration::ZERO;
    loop {
        let mut machine = Machine::new();
        machine.set("ARTIFACTS_KEYRING_PASSWORD", PASSWORD);
        let cached = profiles.map(|profile| {
            let heading = match profile {
                "default" => String::new(),
                named => format!("[profile {named}]\n"),
            };
            format!("{heading}ACCESS_KEY_ID={profile}\nSECRET_ACCESS_KEY={SECRET}\n")
        });
        fs::create_dir_all(machine.config()).expect("made");
        support::chmod(&machine.config(), 0o700);
        fs::write(machine.credentials(), cached.concat()).expect("written");
        support::chmod(&machine.credentials(), 0o600);
        let line = "auth keyring migrate --from cache --to file";
        let mut child = machine.artifacts(line).spawn().expect("started");
        // The first steps come after the key is derived, which takes the most time by far.
        let keyring = machine.home.path().join(".local/share/artifacts/keyring");
        while child.try_wait().expect("asked").is_none() && !has_entries(&keyring) {
            std::thread::sleep(Duration::from_micros(200));
        }
        std::thread::sleep(pause);
        let ended = child.try_wait().expect("asked").is_some();
        child.kill().expect("killed");
        child.wait().expect("ended");
        for profile in profiles {
            let shown = machine.run(&format!("storage show --profile {profile}"));
            assert_eq!(shown.code, 0, "{profile} after {pause:?}: {}", shown.err);
        }
        machine.run(line).ok();
        for profile in profiles {
            machine
                .run(&format!("storage show --profile {profile}"))
                .ok();
        }
        assert!(!machine.credentials().exists());
        moments += 1;
        if ended {
            break;
        }
        pause += Duration::from_millis(3);
    }
    assert!(moments > 2, "only {moments} moments were tried");
}

/// Whether the first entry's file, or a part of it, is there.
fn has_entries(keyring: &Path) -> bool {
    fs::read_dir(keyring).is_ok_and(|entries| {
        let names = entries.flatten().map(|e| e.file_name());
        names.into_iter().any(|name| name != ".lock")
    })
}

fn write_config(machine: &Machine, text: &str) {
    fs::create_dir_all(machine.config()).expect("made");
    let file = machine.config().join("config.toml");
    fs::write(&file, text).expect("written");
    support::chmod(&file, 0o600);
}

#[test]
fn a_new_password_counts_from_then_on() {
    let mut machine = with_file_keyring();
    save(&machine);
    machine.run("auth keyring passwd").refused(
        3,
        "ARTIFACTS_KEYRING_NEW_PASSWORD is not set",
        "export",
    );
    machine.set("ARTIFACTS_KEYRING_NEW_PASSWORD", "7 chars");
    machine
        .run("auth keyring passwd")
        .refused(2, "it needs at least 8 characters", "longer");
    machine.set("ARTIFACTS_KEYRING_NEW_PASSWORD", "battery staple");
    machine.run("auth keyring passwd").ok();
    machine.run("auth keyring lock").ok();
    machine
        .run("storage show")
        .refused(3, "the password does not open", "try again");
    machine.set("ARTIFACTS_KEYRING_PASSWORD", "battery staple");
    machine.run("storage show").ok();
}

#[test]
fn an_exported_keyring_opens_with_age_and_on_another_machine() {
    let age = testkit::require!(Tool::Age);
    let machine = with_file_keyring();
    save(&machine);
    let key = machine.home.path().join("key.txt");
    let made = Command::new("age-keygen").arg("-o").arg(&key).output();
    assert!(made.expect("age-keygen").status.success());
    let text = fs::read_to_string(&key).expect("read");
    let public = text.lines().find_map(|l| l.strip_prefix("# public key: "));
    let file = machine.home.path().join("keys.age");
    let (file, key) = (file.display(), key.display());
    let public = public.expect("a public key");
    machine
        .run(&format!("auth keyring export {file} --recipient {public}"))
        .ok();
    assert_eq!(support::mode(Path::new(&file.to_string())), 0o600);
    let opened = Command::new(age)
        .args(["-d", "-i", &key.to_string(), &file.to_string()])
        .output()
        .expect("age");
    let text = String::from_utf8(opened.stdout).expect("text");
    assert!(
        text.starts_with("artifacts keyring export 1\nstorage/default "),
        "{text}"
    );
    assert!(text.contains(&format!("SECRET_ACCESS_KEY={SECRET}\n")));

    let other = with_file_keyring();
    other
        .run(&format!("auth keyring import {file} --age-identity {key}"))
        .ok();
    other.run("storage show").ok();
    let again = machine.run(&format!("auth keyring export {file} --recipient {public}"));
    assert_eq!(
        again.code, 1,
        "what is there is not overwritten: {}",
        again.err
    );
}

#[test]
fn an_export_under_a_password_needs_that_password() {
    let mut machine = with_file_keyring();
    save(&machine);
    let file = machine.home.path().join("keys.age");
    let file = file.display().to_string();
    machine
        .run(&format!("auth keyring export {file} --no-input"))
        .refused(2, "would have to be typed", "ARTIFACTS_EXPORT_PASSWORD");
    machine.set("ARTIFACTS_EXPORT_PASSWORD", "a third password");
    machine.run(&format!("auth keyring export {file}")).ok();
    machine.run("storage clear").ok();
    machine.set("ARTIFACTS_EXPORT_PASSWORD", "another");
    let refused = machine.run(&format!("auth keyring import {file}"));
    assert_eq!(refused.code, 3, "{}", refused.err);
    machine.set("ARTIFACTS_EXPORT_PASSWORD", "a third password");
    machine.run(&format!("auth keyring import {file}")).ok();
    machine.run("storage show").ok();
}

#[test]
fn nothing_is_kept_in_memory_from_command_to_command() {
    let mut machine = Machine::new();
    machine.set("ARTIFACTS_KEYRING_TYPE", "memory");
    let lines = [
        "storage set --access-key-id A --secret-stdin",
        "auth user configure --access-key-id A --secret-stdin",
    ];
    for line in lines {
        machine.run_with_input(line, SECRET).refused(
            2,
            "this process's memory keeps nothing",
            "ARTIFACTS_KEYRING_TYPE",
        );
    }
    assert!(!machine.config().exists(), "nothing is half saved");
    machine
        .run("storage show")
        .refused(3, "this process's memory has no keys", "storage set");
    machine.set("ARTIFACTS_KEYRING_TYPE", "wallet");
    let refused = machine.run("storage show");
    assert_eq!(refused.code, 2, "{}", refused.err);
    assert!(
        refused.err.contains("use system, file or memory"),
        "{}",
        refused.err
    );
}

fn in_session(session: &SecretService) -> Machine {
    let mut machine = Machine::new();
    machine.set("ARTIFACTS_KEYRING_TYPE", "system");
    for (name, value) in session.environment() {
        machine.set(name, &value);
    }
    machine
}

#[test]
fn the_system_keyring_is_the_desktops() {
    testkit::require!(Tool::GnomeKeyringDaemon);
    testkit::require!(Tool::SecretTool);
    let session = SecretService::start().expect("a keyring");
    let machine = in_session(&session);
    let said = save(&machine);
    assert!(said.contains("in the system keyring."), "{said}");
    assert!(!machine.credentials().exists());
    let attributes = ["service", "artifacts", "username", "storage/default"];
    let seen = session.witness(&attributes).expect("secret-tool");
    let seen = String::from_utf8(seen.expect("found")).expect("text");
    assert!(seen.contains(&format!("SECRET_ACCESS_KEY={SECRET}\n")));
    let shown = machine.run("storage show").ok();
    assert!(
        shown.contains("the system keyring (storage/default)"),
        "{shown}"
    );
    assert_eq!(places_of(SECRET, machine.home.path()), Vec::<String>::new());
}

#[test]
fn a_system_keyring_that_cannot_be_used_ends_the_command_in_time() {
    testkit::require!(Tool::GnomeKeyringDaemon);
    let mut session = SecretService::start().expect("a keyring");
    let machine = in_session(&session);
    save(&machine);
    session.restart_locked().expect("a keyring");
    let refused = |what: &str| {
        let started = Instant::now();
        let said = machine.run("storage show --format json");
        let took = started.elapsed();
        assert!(took < Duration::from_secs(5), "{what}: {took:?}");
        assert_eq!(said.code, 3, "{what}: {}", said.err);
        assert_eq!(said.error()["code"], "keyring-unavailable", "{what}");
        let hint = said.error()["hint"].to_string();
        assert!(
            hint.contains("ARTIFACTS_KEYRING_TYPE=file"),
            "{what}: {hint}"
        );
    };
    refused("locked");
    session.fall_silent();
    refused("silent");
    drop(session);
    refused("gone");
}

/// What needs a keyring that is locked, or never answers, ends in time with nothing done, and
/// never says that something was.
#[test]
fn nothing_is_done_or_said_to_be_where_the_system_keyring_is_locked_or_silent() {
    testkit::require!(Tool::GnomeKeyringDaemon);
    let mut session = SecretService::start().expect("a keyring");
    let machine = in_session(&session);
    let workspace = "id = \"01900000-0000-7000-8000-000000000000\"\nbackend = \"s3\"\nbucket = \"bucket\"\nendpoint = \"http://127.0.0.1:1\"\n";
    let folder = machine.config().join("workspaces");
    fs::create_dir_all(&folder).expect("made");
    for path in [&machine.config(), &folder] {
        support::chmod(path, 0o700);
    }
    for (name, more) in [("work", ""), ("of-ada", "identity = \"ada\"\n")] {
        fs::write(
            folder.join(format!("{name}.toml")),
            format!("{workspace}{more}"),
        )
        .expect("written");
    }
    save(&machine);
    let configure = "auth user configure --identity ada --access-key-id A --secret-stdin --endpoint http://127.0.0.1:1";
    machine.run_with_input(configure, SECRET).ok();
    let config = fs::read_to_string(machine.config().join("config.toml")).expect("written");
    let refused = |what: &str, lines: &[&str]| {
        for line in lines {
            let started = Instant::now();
            let said = machine.run_with_input(line, &format!("{SECRET}\n"));
            let took = started.elapsed();
            assert!(took < Duration::from_secs(5), "{what}: {line}: {took:?}");
            assert_eq!(said.code, 3, "{what}: {line}: {}{}", said.out, said.err);
            for word in ["Saved", "saved", "logged in", "mounted", "configured;"] {
                let shown = format!("{}{}", said.out, said.err);
                assert!(!shown.contains(word), "{what}: {line}: {shown}");
            }
            assert!(!machine.credentials().exists(), "{what}: {line}");
        }
        let after = fs::read_to_string(machine.config().join("config.toml")).expect("there");
        assert_eq!(after, config, "{what}");
    };
    session.restart_locked().expect("a keyring");
    let mount = format!("mount work {}", machine.home.path().join("mnt").display());
    let lines = [
        "storage set --access-key-id A --secret-stdin",
        "auth user configure --identity bob --access-key-id A --secret-stdin",
        "auth user configure --identity ada --role-arn arn:aws:iam::1:role/R",
        "auth login --identity ada",
        "auth env --identity ada",
        "credential-process work",
        "credential-process of-ada",
        "auth keyring migrate --from cache --to system",
        &mount,
    ];
    refused("locked", &lines[..7]);
    refused("locked", &lines[8..]);
    session.fall_silent();
    refused("silent", &lines[..3]);
    refused("silent", &lines[8..]);
}

#[test]
fn no_secret_is_seen_outside_the_keyring_even_with_every_log() {
    let mut machine = with_file_keyring();
    machine.set("ARTIFACTS_LOG", "trace");
    // `run` searches both streams of each command for the secret.
    let said = save(&machine);
    for secret in [SECRET, PASSWORD] {
        assert!(!said.contains(secret), "{said}");
    }
    for line in [
        "storage show",
        "auth keyring status",
        "auth keyring status --format json",
        "auth list",
        "workspace create x --bucket abc --endpoint http://127.0.0.1:1",
    ] {
        let said = machine.run(line);
        assert!(
            !said.err.contains(PASSWORD) && !said.out.contains(PASSWORD),
            "{line}"
        );
    }
    for secret in [SECRET, PASSWORD] {
        assert_eq!(places_of(secret, machine.home.path()), Vec::<String>::new());
    }
}

#[test]
fn the_aws_tools_keys_can_be_read_and_are_never_written() {
    let machine = Machine::new();
    let folder = machine.home.path().join(".aws");
    fs::create_dir(&folder).expect("made");
    let file = folder.join("credentials");
    let text = format!("[team]\naws_access_key_id = {ID}\naws_secret_access_key = {SECRET}\n");
    fs::write(&file, &text).expect("written");
    support::chmod(&file, 0o600);
    fs::create_dir_all(machine.config()).expect("made");
    let config = machine.config().join("config.toml");
    fs::write(&config, "[profiles.team]\naws_profile = \"team\"\n").expect("written");
    let shown = json(
        &machine
            .run("storage show --profile team --format json")
            .ok(),
    );
    assert_eq!(shown["fields"][1]["source"], "aws");
    let said = machine.run_with_input(
        "storage set --profile team --access-key-id A --secret-stdin",
        "b",
    );
    said.refused(6, "come from the AWS tools' profile team", "config.toml");
    assert_eq!(fs::read_to_string(&file).expect("read"), text);
}
