//! Secrets through the program: where they come out, and where they must not.

#[path = "support/vault.rs"]
mod fake;
mod support;

use std::path::Path;

use fake::Vault;
use secrets::{DeviceKey, Fingerprint};
use support::{Machine, Said};
use vault::SignEs256;

/// What must be found only where it belongs.
const VALUE: &str = "sk-or-v1-thisIsNobodysBusiness";

/// An agent's machine that is paired.
fn paired(vault: &Vault) -> Machine {
    let mut machine = Machine::new();
    let said = machine.run(&format!("agent pair --label bot --broker {}", vault.url));
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(
        said.err.contains("artifacts agent approve BCDF-GHJK"),
        "{}",
        said.err
    );
    let own = std::fs::read(machine.home.path().join(".config/artifacts/vault/device"));
    let own = DeviceKey::from_pkcs8(&own.expect("a key")).expect("a key");
    let own = Fingerprint::of(&own.public_jwk().thumbprint());
    for shown in [format!("--device {own}\n"), vault.operator().to_string()] {
        assert!(said.err.contains(&shown), "{shown}: {}", said.err);
    }
    machine.set("ARTIFACTS_VAULT_WORKER", &vault.url);
    machine.set("ARTIFACTS_VAULT_CREDENTIAL_BACKEND", "http");
    machine
}

fn ok(said: &Said) -> &Said {
    assert_eq!(said.code, 0, "{}", said.err);
    said
}

/// Files below a folder that hold a text.
fn files_with(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files_with(&path, text));
        } else if std::fs::read(&path).is_ok_and(|bytes| {
            bytes
                .windows(text.len())
                .any(|window| window == text.as_bytes())
        }) {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn a_secret_goes_in_and_comes_out_as_it_was() {
    let vault = Vault::start();
    let machine = paired(&vault);
    ok(&machine.run_with_input("secret store OpenRouter -", &format!("{VALUE}\n")));
    assert_eq!(vault.get("openrouter"), Some((VALUE.to_owned(), 1)));
    let read = machine.run_openly("secret read openrouter");
    assert_eq!(
        (read.code, read.out.as_str()),
        (0, VALUE),
        "nothing is added"
    );
    let json = machine.run_openly("secret read openrouter --format json");
    let json: serde_json::Value = serde_json::from_str(&json.out).expect("JSON");
    assert_eq!(json["value"], VALUE);
    assert_eq!(json["generation"], 1);
    ok(&machine.run_with_input("secret store openrouter --exact", "two\n"));
    assert_eq!(machine.run_openly("secret read openrouter").out, "two\n");
    let list = machine.run("secret list");
    assert!(ok(&list).out.contains("openrouter"), "{}", list.out);
    assert_eq!(files_with(machine.home.path(), VALUE), [""; 0]);
}

#[test]
fn a_secret_on_the_command_line_works_with_a_warning_and_one_in_a_file_without() {
    let vault = Vault::start();
    let machine = paired(&vault);
    let said = machine.run("secret store a visible");
    assert!(
        ok(&said).err.contains("can be read by other programs"),
        "{}",
        said.err
    );
    assert_eq!(vault.get("a"), Some(("visible".to_owned(), 1)));
    let file = machine.home.path().join("key");
    std::fs::write(&file, "from-file\r\n").expect("written");
    let said = machine.run("secret store a --from-file key");
    assert!(!ok(&said).err.contains("warning"), "{}", said.err);
    assert_eq!(vault.get("a"), Some(("from-file".to_owned(), 2)));
    for (line, code) in [
        ("secret store a --new --from-file key", 6),
        ("secret store a --expect-generation 1 --from-file key", 6),
        ("secret store a --expect-generation 2 --from-file key", 0),
        ("secret store a -", 2),
        ("secret store a/b visible", 2),
    ] {
        let said = machine.run(line);
        assert_eq!(said.code, code, "{line}: {}", said.err);
    }
}

#[test]
fn refusals_have_exit_codes_reasons_and_next_steps() {
    let vault = Vault::start();
    let mut machine = paired(&vault);
    vault.put("a", VALUE);
    let missing = machine.run("secret read b");
    assert_eq!(missing.code, 5);
    assert!(missing.err.contains("(not_found)"), "{}", missing.err);
    assert!(missing.err.contains("hint: "), "{}", missing.err);
    vault.refuse("a");
    let denied = machine.run("--format json secret read a");
    assert_eq!(denied.code, 4);
    let error: serde_json::Value = serde_json::from_str(&denied.err).expect("JSON");
    assert_eq!(error["error"]["code"], "secret-refused");
    assert_eq!(
        error["error"]["message"],
        "the vault says scope_denied (scope_denied)"
    );
    let left = machine.run("secret teardown --yes");
    assert_eq!(left.code, 8, "{}", left.err);
    assert!(left.err.contains("stuck.enc"), "{}", left.err);
    assert_eq!(machine.run("secret teardown --no-input").code, 2);
    machine.set("ARTIFACTS_VAULT_WORKER", "http://127.0.0.1:9");
    assert_eq!(machine.run("secret read a").code, 7);
    let stranger = Machine::new();
    let said = stranger.run("secret read a --credential-backend http");
    assert_eq!(said.code, 2, "no broker is known");
}

#[test]
fn an_operator_logs_in_with_the_first_token_and_out_again() {
    let vault = Vault::start();
    let mut machine = Machine::new();
    let line = format!(
        "vault login {} --bootstrap --worker {}",
        vault.url, vault.url
    );
    assert_eq!(machine.run_with_input(&line, "artboot_two").code, 3);
    let said = machine.run_with_input(&line, "artboot_one\n");
    assert!(ok(&said).out.contains("operator"), "{}", said.out);
    let config = machine.home.path().join(".config/artifacts/config.toml");
    let text = std::fs::read_to_string(config).expect("written");
    assert!(
        text.contains(&format!("worker = \"{}\"", vault.url)),
        "{text}"
    );
    assert!(!text.contains("artboot"), "{text}");
    machine.set("ARTIFACTS_VAULT_CREDENTIAL_BACKEND", "http");
    // The login is bound to a device, whose key it has made.
    ok(&machine.run("secret list"));
    ok(&machine.run("vault logout"));
    let said = machine.run("secret list");
    assert_eq!(said.code, 3);
    assert!(said.err.contains("not logged in"), "{}", said.err);
}

#[test]
fn a_command_gets_secrets_by_its_environment_alone() {
    let vault = Vault::start();
    let machine = paired(&vault);
    vault.put("openrouter", VALUE);
    vault.put("github", "ghp_x");
    let script =
        "printf %s \"$KEY-$GH\" > got; cat /proc/[0-9]*/cmdline > lines 2>/dev/null; exit 7";
    std::fs::write(machine.home.path().join("agent.sh"), script).expect("written");
    let said = machine.run("run --env KEY=openrouter --env GH=github -- sh agent.sh");
    assert_eq!(said.code, 7, "the command's own exit code: {}", said.err);
    let got = std::fs::read_to_string(machine.home.path().join("got")).expect("written");
    assert_eq!(got, format!("{VALUE}-ghp_x"));
    std::fs::remove_file(machine.home.path().join("got")).expect("removed");
    let lines = std::fs::read(machine.home.path().join("lines")).expect("written");
    let lines = String::from_utf8_lossy(&lines);
    assert!(lines.contains("agent.sh"), "the command lines were read");
    assert!(!lines.contains(VALUE), "a secret in a command line");
    assert!(
        std::env::var_os("KEY").is_none(),
        "the parent's environment is as it was"
    );
    assert_eq!(files_with(machine.home.path(), VALUE), [""; 0]);
}

#[test]
fn a_command_is_not_run_unless_every_secret_is_there() {
    let vault = Vault::start();
    let machine = paired(&vault);
    vault.put("a", VALUE);
    let line = "run --env A=a --env B=b --env C=c -- touch started";
    let said = machine.run(line);
    assert_eq!(said.code, 5, "{}", said.err);
    for name in ["the command was not run", "b: ", "c: "] {
        assert!(said.err.contains(name), "{}", said.err);
    }
    assert!(!machine.home.path().join("started").exists());
    vault.put("zero", "a\0b");
    let said = machine.run("run --env A=zero -- touch started");
    assert_eq!(said.code, 2, "{}", said.err);
    assert!(!machine.home.path().join("started").exists());
    assert_eq!(
        machine.run("run --env A=a -- /nowhere/to/be/found").code,
        127
    );
    assert_eq!(machine.run("run --env 1A=a -- true").code, 2);
}

#[test]
fn a_daemon_serves_commands_and_keeps_capabilities_but_no_value() {
    let vault = Vault::start();
    let mut machine = paired(&vault);
    machine.unset("ARTIFACTS_VAULT_CREDENTIAL_BACKEND");
    vault.put("openrouter", VALUE);
    assert_eq!(machine.run("daemon status").code, 7, "none runs");
    ok(&machine.run("daemon start"));
    let again = machine.run("daemon start");
    assert_eq!(again.code, 6, "{}", again.err);
    let before = vault.caps();
    for _ in 0..3 {
        let read = machine.run_openly("secret read openrouter");
        assert_eq!((read.code, read.out.as_str()), (0, VALUE), "{}", read.err);
    }
    assert_eq!(
        vault.caps() - before,
        1,
        "one capability serves three reads"
    );
    let status = machine.run("daemon status --format json");
    let status: serde_json::Value = serde_json::from_str(&ok(&status).out).expect("JSON");
    assert_eq!(status["connected"], true, "{status}");
    assert_eq!(status["capabilities"], 1, "{status}");
    vault.refuse("openrouter");
    let denied = machine.run("secret read openrouter");
    assert_eq!(denied.code, 4, "{}", denied.err);
    assert!(denied.err.contains("(scope_denied)"), "{}", denied.err);
    ok(&machine.run("daemon stop"));
    let gone = machine.run("secret read openrouter");
    assert_eq!(gone.code, 7);
    assert!(gone.err.contains("artifacts daemon start"), "{}", gone.err);
    assert_eq!(
        files_with(machine.home.path(), VALUE),
        [""; 0],
        "logs and records too"
    );
}

#[test]
fn secrets_move_from_a_dotenv_file_and_an_older_store() {
    let vault = Vault::start();
    let machine = paired(&vault);
    vault.put("github", "newer");
    let text = format!("OPENROUTER_API_KEY='{VALUE}'\nGITHUB_TOKEN=older\nPORT=80\n");
    std::fs::write(machine.home.path().join(".env"), text).expect("written");
    let plan = machine.run("secret migrate --from-dotenv .env --dry-run --format json");
    let plan: serde_json::Value = serde_json::from_str(&ok(&plan).out).expect("JSON");
    assert_eq!(plan["plan"][0]["service"], "openrouter");
    assert_eq!(plan["plan"][0]["action"], "store");
    assert_eq!(plan["plan"][1]["action"], "keep");
    assert_eq!(vault.get("openrouter"), None, "a dry run");
    ok(&machine.run("secret migrate --from-dotenv .env --yes"));
    assert_eq!(vault.get("openrouter"), Some((VALUE.to_owned(), 1)));
    assert_eq!(vault.get("github"), Some(("newer".to_owned(), 1)));
    ok(&machine
        .run("secret migrate --from-dotenv .env --map GITHUB_TOKEN=github --overwrite --yes"));
    assert_eq!(vault.get("github"), Some(("older".to_owned(), 2)));
    let wallet = format!("0x{}", "ab".repeat(20));
    let line = format!(
        "secret migrate --from-url {} --wallet {wallet} --yes",
        vault.url
    );
    ok(&machine.run_with_input(&line, "session\n"));
    assert_eq!(vault.get("stripe"), Some(("old-stripe".to_owned(), 1)));
    assert_eq!(
        vault.get("github").map(|(_, generation)| generation),
        Some(2),
        "kept"
    );
    assert_eq!(machine.run("secret migrate --yes").code, 2, "from where?");
}

/// The line that lets in the machine which the fake broker names.
fn approve(more: &str) -> String {
    let device = Fingerprint::of(&model::DeviceId::new([7; 32]));
    format!("agent approve BCDF-GHJK --device {device} {more}")
}

#[test]
fn a_machine_is_let_in_only_by_its_own_fingerprint() {
    let vault = Vault::start();
    let machine = Machine::new();
    let line = format!("vault login {} --bootstrap", vault.url);
    ok(&machine.run_with_input(&line, "artboot_one"));
    let other = Fingerprint::of(&model::DeviceId::new([8; 32]));
    let named = model::DeviceId::new([7; 32]);
    for (line, code, words) in [
        (
            format!("agent approve BCDF-GHJK --device {other} --yes"),
            1,
            "the broker names another machine",
        ),
        (
            "agent approve BCDF-GHJK --yes".into(),
            2,
            "the fingerprint of the agent's machine is not given",
        ),
        (
            "agent approve BCDF-GHJK --no-input".into(),
            2,
            "add --device FINGERPRINT",
        ),
        (
            "agent approve BCDF-GHJK --device 0123 --yes".into(),
            2,
            "a fingerprint has 16",
        ),
    ] {
        let said = machine.run(&line);
        assert_eq!(said.code, code, "{line}: {}", said.err);
        assert!(said.err.contains(words), "{line}: {}", said.err);
        for shown in [named.to_string(), Fingerprint::of(&named).to_string()] {
            assert!(!said.err.contains(&shown), "told beforehand: {}", said.err);
        }
    }
    assert_eq!(vault.decided(), [serde_json::Value::Null; 0]);
    ok(&machine.run(&approve("--yes").to_lowercase()));
    assert_eq!(vault.decided().len(), 1);
}

#[test]
fn an_agents_machine_belongs_to_the_operator_whom_it_names() {
    let vault = Vault::start();
    let machine = Machine::new();
    let other = model::Actor::from_oidc("https://issuer", "eve").expect("an actor");
    let pair = |operator: &model::Actor| {
        let url = &vault.url;
        format!("agent pair --label bot --broker {url} --operator {operator}")
    };
    let said = machine.run(&pair(&other));
    assert_eq!(said.code, 1, "{}", said.err);
    assert!(said.err.contains("not by"), "{}", said.err);
    assert!(said.err.contains("no login was kept"), "{}", said.err);
    let folder = machine.home.path().join(".config/artifacts/vault");
    assert_eq!(files_with(&folder, "\"token\""), [""; 0]);
    ok(&machine.run(&pair(&vault.operator())));
    assert_eq!(files_with(&folder, "\"token\"").len(), 1);
}

#[test]
fn an_operator_lets_an_agents_machine_in_and_registers_it() {
    let vault = Vault::start();
    let machine = Machine::new();
    let line = format!("vault login {} --bootstrap", vault.url);
    ok(&machine.run_with_input(&line, "artboot_one"));
    let said = machine.run(&approve("--yes"));
    assert!(
        ok(&said).err.contains("artifacts device register --device"),
        "{}",
        said.err
    );
    let config = machine.home.path().join(".config/artifacts/config.toml");
    let mut text = std::fs::read_to_string(&config).expect("there");
    let folder = machine.home.path().join("registry");
    text += &format!("[vault.registry]\nkind = \"documents\"\nfolder = {folder:?}\n");
    std::fs::write(&config, text).expect("written");
    assert!(
        ok(&machine.run("agent list"))
            .err
            .contains("No agent's machine")
    );
    for _ in 0..2 {
        ok(&machine.run(&approve("--scope openrouter --yes")));
    }
    let listed = machine.run("agent list --format json");
    let listed: serde_json::Value = serde_json::from_str(&ok(&listed).out).expect("JSON");
    assert_eq!(
        listed["items"].as_array().map(Vec::len),
        Some(1),
        "{listed}"
    );
    assert_eq!(listed["items"][0]["revoked"], false);
    let scope = machine.run("scope show --actor bot");
    assert!(ok(&scope).out.contains("openrouter"), "{}", scope.out);
    ok(&machine.run("agent approve BCDF-GHJK --refuse"));
    let decided = vault.decided();
    let words: Vec<bool> = decided
        .iter()
        .filter_map(|one| one["approve"].as_bool())
        .collect();
    assert_eq!(words, [true, true, true, false]);
    assert_eq!(machine.run(&approve("--no-input")).code, 2);
}

/// An audit as servers write it.
fn audit(machine: &Machine, name: &str, records: &[serde_json::Value]) -> String {
    let mut last = vault::audit::Link::default();
    let lines = records.iter().map(|record| {
        let (line, next) = last.next(record).expect("a line");
        last = next;
        line
    });
    let text = lines.collect::<String>();
    std::fs::write(machine.home.path().join(name), &text).expect("written");
    text
}

#[test]
fn audits_are_followed_and_counted() {
    let machine = Machine::new();
    let ada = model::Actor::from_oidc("https://issuer", "ada").expect("an actor");
    let bot = ada.agent("bot").expect("an actor");
    let json = |text: &str| {
        let text = text
            .replace("ADA", &ada.to_string())
            .replace("BOT", &bot.to_string());
        serde_json::from_str::<serde_json::Value>(&text).expect("JSON")
    };
    let worker = [
        json(
            r#"{"at":"2026-09-20T10:00:00Z","op":"fetch","outcome":"done","operator":"ADA","actor":"BOT","service":"github"}"#,
        ),
        json(
            r#"{"at":"2026-09-21T10:00:00Z","op":"fetch","outcome":"done","operator":"ADA","actor":"BOT","service":"github"}"#,
        ),
        json(
            r#"{"at":"2026-09-21T11:00:00Z","op":"fetch","outcome":"scope_denied","operator":"ADA","actor":"BOT","service":"stripe"}"#,
        ),
        json(
            r#"{"at":"2026-09-21T12:00:00Z","op":"teardown","outcome":"done","operator":"ADA","actor":"ADA","target":"BOT"}"#,
        ),
    ];
    let text = audit(&machine, "worker.jsonl", &worker);
    let signer = [
        json(
            r#"{"at":"2026-09-21T10:00:00Z","op":"derive","outcome":"forbidden","reason":"no","from":"127.0.0.1","omitted":3}"#,
        ),
        json(r#"{"op":"audit-repaired","bytes":9}"#),
    ];
    audit(&machine, "signer.jsonl", &signer);
    let counted = |line: &str| {
        let said = machine.run(&format!("--format json vault audit {line}"));
        let found: serde_json::Value = serde_json::from_str(&ok(&said).out).expect("JSON");
        let count = |one: &serde_json::Value| {
            let word = |name: &str| one[name].as_str().expect("text").to_owned();
            format!("{} {} {}", word("op"), word("outcome"), one["count"])
        };
        let counts = found["counts"]
            .as_array()
            .expect("a list")
            .iter()
            .map(count);
        (counts.collect::<Vec<_>>(), found)
    };
    let (counts, found) = counted("worker.jsonl signer.jsonl");
    assert_eq!(
        counts,
        [
            "audit-repaired - 1",
            "derive forbidden 1",
            "fetch done 2",
            "fetch scope_denied 1",
            "teardown done 1"
        ]
    );
    assert_eq!(
        (&found["omitted"], &found["files"][0]["records"]),
        (&3.into(), &4.into())
    );
    let head = found["files"][0]["head"]
        .as_str()
        .expect("a head")
        .to_owned();
    for (narrowed, expected) in [
        (
            format!("--actor {bot}"),
            vec!["fetch done 2", "fetch scope_denied 1", "teardown done 1"],
        ),
        (format!("--actor {ada}"), vec!["teardown done 1"]),
        ("--service github".into(), vec!["fetch done 2"]),
        (
            "--since 2026-09-21 --service github".into(),
            vec!["fetch done 1"],
        ),
        (
            "--since 2026-09-21T11:30:00Z".into(),
            vec!["teardown done 1"],
        ),
    ] {
        assert_eq!(
            counted(&format!("worker.jsonl {narrowed}")).0,
            expected,
            "{narrowed}"
        );
    }
    let shown = machine.run(&format!("vault audit worker.jsonl --seen 4:{head}"));
    assert!(
        ok(&shown).out.contains(&format!("whole, 4:{head}")),
        "{}",
        shown.out
    );
    assert!(shown.out.contains("scope_denied"), "{}", shown.out);

    // Cut off at the end: whole in itself, and not what was seen.
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let path = machine.home.path().join("worker.jsonl");
    std::fs::write(&path, lines[..3].concat()).expect("written");
    ok(&machine.run("vault audit worker.jsonl"));
    let cut = machine.run(&format!("vault audit worker.jsonl --seen 4:{head}"));
    assert_eq!(cut.code, 6, "{}", cut.err);
    assert!(cut.err.contains("cut off or written anew"), "{}", cut.err);
    // Changed, and taken out: what stands before it is counted.
    for changed in [
        text.replace("scope_denied", "done"),
        [&lines[..2], &lines[3..]].concat().concat(),
    ] {
        std::fs::write(&path, changed).expect("written");
        let said = machine.run("--format json vault audit worker.jsonl");
        assert_eq!(said.code, 6, "{}", said.err);
        assert!(said.err.contains("audit-broken"), "{}", said.err);
        let found: serde_json::Value = serde_json::from_str(&said.out).expect("JSON");
        assert_eq!(found["files"][0]["broken_at"], 3);
        assert_eq!(found["counts"][0]["count"], 2);
    }
    assert_eq!(machine.run("vault audit none.jsonl").code, 1);
    assert_eq!(machine.run("vault audit worker.jsonl --since soon").code, 2);
}
