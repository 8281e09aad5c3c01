//! `artifacts device`, `scope` and `registry`, on signed documents and on a real chain, read back
//! as a worker reads them.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use model::{Actor, DeviceId, ServiceName};
use registry::chain::{ChainRegistry, ChainSettings};
use registry::documents::{DocumentRegistry, DocumentSettings, Pins, Source};
use registry::{Registry, Scope};
use serde_json::Value;
use support::{Machine, mode};
use testkit::anvil::{Anvil, CHAIN_ID, KEYS};
use testkit::require;
use testkit::tools::Tool;
use vault::PublicKey;

fn json(machine: &Machine, line: &str) -> Value {
    let said = machine.run(&format!("{line} --format json")).ok();
    serde_json::from_str(&said).expect("JSON")
}

fn configure(machine: &Machine, registry: &str) {
    let folder = machine.config();
    fs::create_dir_all(&folder).expect("made");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).expect("chmod");
    fs::write(folder.join("config.toml"), registry).expect("written");
}

fn service(name: &str) -> ServiceName {
    name.parse().expect("a service")
}

fn runtime() -> tokio::runtime::Runtime {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().expect("a runtime")
}

const ALLOWED: Scope = Scope {
    in_scope: true,
    read_only: false,
};

/// Everything that an operator does, in the order in which they would.
fn is_registered_allowed_and_revoked(machine: &Machine, operator: &Actor, reader: &dyn Registry) {
    let runtime = runtime();
    let agent = operator.agent("ci").expect("an agent");
    let scope = |actor: &Actor, name: &str| {
        let name = service(name);
        let asked = reader.scope(operator, actor, &name);
        runtime.block_on(asked).expect("answered")
    };
    let until = |wanted: Scope, actor: &Actor, name: &str| {
        let begun = Instant::now();
        while scope(actor, name) != wanted {
            assert!(begun.elapsed() < Duration::from_secs(2), "{name}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let own = format!("--operator {operator}");

    let made = json(
        machine,
        &format!("device register --role master --scope openrouter {own}"),
    );
    let device: DeviceId = made["device"]
        .as_str()
        .expect("one")
        .parse()
        .expect("a device");
    assert_eq!(made["roles"], serde_json::json!(["use", "master"]));
    until(ALLOWED, operator, "openrouter");
    let known = reader.device(operator, &device);
    let known = runtime
        .block_on(known)
        .expect("answered")
        .expect("registered");
    assert_eq!(
        (known.actor, known.roles.0, known.revoked),
        (operator.clone(), 3, false)
    );
    machine
        .run(&format!("device register --role master {own}"))
        .ok();
    let again = machine.run(&format!("device register {own}"));
    assert_eq!(again.code, 6, "{}", again.err);
    assert!(again.err.contains("is registered already"), "{}", again.err);

    let other = DeviceId::new([7; 32]);
    machine
        .run(&format!(
            "device register --device {other} --label ci {own}"
        ))
        .ok();
    let refused = machine.run(&format!("device register --label ci --role master {own}"));
    assert_eq!(refused.code, 2, "{}", refused.err);

    machine
        .run(&format!(
            "scope set GitHub stripe --actor ci --read-only {own}"
        ))
        .ok();
    let read_only = Scope {
        in_scope: true,
        read_only: true,
    };
    until(read_only, &agent, "github");
    let shown = json(machine, &format!("scope show --actor ci {own}"));
    let names = shown["items"].as_array().expect("items").iter();
    let mut names: Vec<_> = names
        .map(|item| item["service"].as_str().expect("a name"))
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["github", "stripe"]);
    machine
        .run(&format!("scope revoke stripe --actor ci {own}"))
        .ok();
    until(Scope::NONE, &agent, "stripe");
    assert_eq!(scope(&agent, "github"), read_only);

    machine.run(&format!("device revoke {other} {own}")).ok();
    let gone = machine.run(&format!("device revoke {other} {own}"));
    assert_eq!(gone.code, 6, "{}", gone.err);
    assert!(
        gone.err.contains("was revoked, which is final"),
        "{}",
        gone.err
    );
    // One in 64 begins with a hyphen, and is no option: these with -C and -h.
    for first in [[9, 9], [0xf8, 0x20], [0xfa, 0x10]] {
        let mut bytes = [9; 32];
        bytes[..2].copy_from_slice(&first);
        let unknown = machine.run(&format!("device revoke {} {own}", DeviceId::new(bytes)));
        assert_eq!(unknown.code, 5, "{}", unknown.err);
    }
    let listed = json(machine, &format!("device list {own}"));
    let states: Vec<_> = listed["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|item| &item["revoked"])
        .collect();
    assert_eq!(states, [&Value::Bool(false), &Value::Bool(true)]);
    let advanced = json(machine, "registry epoch advance");
    assert_eq!(advanced["epoch"], 2);
}

#[test]
fn documents_are_written_by_the_key_that_is_shown() {
    let mut machine = Machine::new();
    let folder = machine.home.path().join("registry");
    configure(
        &machine,
        &format!("[vault.registry]\nkind = \"documents\"\nfolder = {folder:?}\n"),
    );
    let key = json(&machine, "registry key show");
    assert_eq!(mode(&machine.config().join("vault/registry-key")), 0o600);
    let key = PublicKey::from_jwk(&key["jwk"].to_string()).expect("a key");
    assert_eq!(json(&machine, "registry epoch begin")["epoch"], 1);
    let operator = Actor::from_oidc("https://accounts.example", "ada").expect("an actor");
    let pins = machine.home.path().join("operators.json");
    let pinned = Pins::new(key.clone(), [(operator.clone(), key)]).expect("pins");
    fs::write(&pins, pinned.to_json()).expect("written");
    let reader = DocumentRegistry::open(DocumentSettings {
        source: Source::Folder(folder),
        pins,
        seen: machine.home.path().join("seen.json"),
        fresh_for: Duration::ZERO,
    })
    .expect("opened");
    is_registered_allowed_and_revoked(&machine, &operator, &reader);
    a_broker_that_cannot_be_told_changes_nothing(&mut machine, &operator);
    audit(&machine, "audit.jsonl", 1, "");
    for (line, words) in [
        (
            "vault login http://127.0.0.1:9 --wallet",
            "the registry is one of documents, and its key is no wallet",
        ),
        (
            "registry anchor audit.jsonl",
            "the registry is one of documents, where nothing is anchored",
        ),
        (
            "vault audit audit.jsonl --anchors",
            "the registry is one of documents, where nothing is anchored",
        ),
    ] {
        refused(&machine, line, 2, words);
    }
    let nobody = machine.run("device list");
    assert_eq!(nobody.code, 3, "{}", nobody.err);
    assert!(nobody.err.contains("give --operator"), "{}", nobody.err);
}

fn a_broker_that_cannot_be_told_changes_nothing(machine: &mut Machine, operator: &Actor) {
    machine.set("ARTIFACTS_VAULT_BROKER", "http://127.0.0.1:9");
    let said = machine.run(&format!("scope revoke openrouter --operator {operator}"));
    let warning = "it is revoked, but the broker was not told: ";
    assert!(said.err.contains(warning), "{}", said.err);
    assert_eq!(said.ok(), "openrouter is revoked\n");
    let shown = json(
        machine,
        &format!("scope show openrouter --operator {operator}"),
    );
    assert_eq!(shown["items"], serde_json::json!([]));
    machine.unset("ARTIFACTS_VAULT_BROKER");
}

#[test]
fn a_chain_is_written_by_a_wallet_that_no_command_line_names() {
    let _ = require!(Tool::Anvil);
    let anvil = Anvil::start().expect("a chain");
    let machine = Machine::new();
    let url = anvil.endpoint();
    let deploy = format!("registry deploy --rpc {url} --chain-id {CHAIN_ID}");
    let said = machine.run_with_input(&deploy, &format!("{}\n", KEYS[0]));
    let settings = said.ok();
    assert!(
        settings.starts_with("[vault.registry]\nkind = \"chain\"\n"),
        "{settings}"
    );
    configure(&machine, &settings);
    let none = machine.run("scope show");
    assert_eq!(none.code, 2, "{}", none.err);
    assert!(
        none.err.contains("artifacts registry key import"),
        "{}",
        none.err
    );
    machine.run_with_input("registry key import", KEYS[0]).ok();
    let wallet = machine.config().join("vault/registry-wallet");
    assert_eq!(mode(&wallet), 0o600);
    let other = machine.run_with_input("registry key import", KEYS[1]);
    assert_eq!(other.code, 6, "{}", other.err);
    let shown = json(&machine, "registry key show");
    let operator: Actor = shown["actor"]
        .as_str()
        .expect("one")
        .parse()
        .expect("an actor");
    for said in [&none.err, &other.err, &settings, &shown.to_string()] {
        assert!(KEYS.iter().all(|key| !said.contains(key)), "{said}");
    }

    let deployed: toml::Table = settings.parse().expect("TOML");
    let at = |name: &str| {
        let address = deployed["vault"]["registry"][name]
            .as_str()
            .expect("an address");
        address.parse().expect("an address")
    };
    let reader = ChainRegistry::open(ChainSettings {
        rpc: vec![url.parse().expect("an address")],
        chain_id: CHAIN_ID,
        device_registry: at("device_registry"),
        scope_contract: at("scope_contract"),
        epoch_counter: at("epoch_counter"),
        fresh_for: Duration::ZERO,
        oldest_head: None,
    })
    .expect("opened");
    is_registered_allowed_and_revoked(&machine, &operator, &reader);

    // Another operator's, with a key in a file of theirs.
    let ada = Actor::from_oidc("https://accounts.example", "ada").expect("an actor");
    let file: PathBuf = machine.home.path().join("ada.key");
    fs::write(&file, KEYS[2]).expect("written");
    let hers = Machine::new();
    configure(&hers, &format!("{settings}key_file = {file:?}\n"));
    let exposed = hers.run("registry key show");
    assert_eq!(exposed.code, 4, "{}", exposed.err);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("chmod");
    let address = json(&hers, "registry key show")["address"]
        .as_str()
        .expect("one")
        .to_owned();
    let denied = hers.run(&format!("scope set openrouter --operator {ada}"));
    assert_eq!(denied.code, 4, "{}", denied.err);
    assert!(
        denied.err.contains("may not write for operator"),
        "{}",
        denied.err
    );
    let stranger = hers.run("registry epoch advance");
    assert_eq!(stranger.code, 4, "{}", stranger.err);
    machine
        .run(&format!("registry assign {ada} {address}"))
        .ok();
    hers.run(&format!("scope set openrouter --operator {ada}"))
        .ok();
    let asked = runtime().block_on(reader.scope(&ada, &ada, &service("openrouter")));
    assert_eq!(asked.expect("answered"), ALLOWED);
}

/// An audit as servers write it, of so many records; `other` sets its records apart.
fn audit(machine: &Machine, name: &str, records: u32, other: &str) -> String {
    let mut last = vault::audit::Link::default();
    let lines = (0..records).map(|n| {
        let record = serde_json::json!({ "op": "fetch", "outcome": "done", "n": n, "of": other });
        let (line, next) = last.next(&record).expect("a line");
        last = next;
        line
    });
    let text = lines.collect::<String>();
    fs::write(machine.home.path().join(name), &text).expect("written");
    text
}

fn refused(machine: &Machine, line: &str, code: i32, words: &str) {
    let said = machine.run(line);
    assert_eq!(said.code, code, "{line}: {}{}", said.out, said.err);
    assert!(said.err.contains(words), "{line}: {}", said.err);
}

#[test]
fn an_audit_that_was_anchored_cannot_be_cut_off_or_written_anew_unnoticed() {
    let _ = require!(Tool::Anvil);
    let anvil = Anvil::start().expect("a chain");
    let machine = Machine::new();
    let url = anvil.endpoint();
    let deploy = format!("registry deploy --rpc {url} --chain-id {CHAIN_ID}");
    let settings = machine.run_with_input(&deploy, KEYS[0]).ok();
    configure(&machine, &settings);
    machine.run_with_input("registry key import", KEYS[1]).ok();
    let whole = audit(&machine, "audit.jsonl", 5, "");
    let check = "vault audit audit.jsonl --anchors";
    refused(&machine, check, 5, "nothing was anchored for");
    let first = json(&machine, "registry anchor audit.jsonl");
    assert_eq!(
        (&first["records"], &first["anchors"]),
        (&5.into(), &1.into())
    );
    // Again, there is nothing to do.
    let again = json(&machine, "registry anchor audit.jsonl");
    assert_eq!(
        (&again["is_new"], &again["anchors"]),
        (&false.into(), &1.into())
    );
    // By its head alone, as a server's own command shows it.
    audit(&machine, "audit.jsonl", 9, "");
    let seen = json(&machine, "vault audit audit.jsonl");
    let head = seen["files"][0]["head"]
        .as_str()
        .expect("a head")
        .to_owned();
    let second = json(&machine, &format!("registry anchor --head 9:{head}"));
    assert_eq!(second["anchors"], 2);
    let twelve = audit(&machine, "audit.jsonl", 12, "");
    let found = json(&machine, check);
    let found = &found["files"][0]["anchors"];
    assert_eq!((&found["count"], &found["lost"]), (&2.into(), &Value::Null));
    let shown = machine.run(check).ok();
    let operator = first["operator"].as_str().expect("an operator").to_owned();
    let all = format!(", all 2 anchors of {operator} in it");
    assert!(shown.contains(&all), "{shown}");

    // Somebody without a wallet checks as well, if they know whose it is.
    let auditor = Machine::new();
    configure(&auditor, &settings);
    fs::write(auditor.home.path().join("audit.jsonl"), &twelve).expect("written");
    refused(&auditor, check, 3, "whose anchors are meant is not known");
    auditor.run(&format!("{check} --operator {operator}")).ok();

    // What was done to the file since.
    let write = |text: &str| {
        fs::write(machine.home.path().join("audit.jsonl"), text).expect("written");
    };
    let lines: Vec<&str> = twelve.split_inclusive('\n').collect();
    let anchor = "registry anchor audit.jsonl";
    write(&lines[..8].concat());
    for line in [check, anchor] {
        refused(
            &machine,
            line,
            6,
            "audit.jsonl has 8 records, but 9 were anchored at 20",
        );
    }
    write(&whole[..0]);
    refused(
        &machine,
        check,
        6,
        "audit.jsonl has 0 records, but 5 were anchored at 20",
    );
    audit(&machine, "audit.jsonl", 12, "another");
    for line in [check, anchor] {
        let words = "record 5 of audit.jsonl is not the one that was anchored at 20";
        refused(&machine, line, 6, words);
    }
    // A chain that is whole, and the same up to an anchor before the last.
    let mut last = vault::audit::Link::told(lines[6].trim_end().as_bytes()).expect("a line");
    let mut forged = lines[..7].concat();
    for n in 0..5 {
        let (line, next) = last.next(&serde_json::json!({ "n": n })).expect("a line");
        (last, forged) = (next, forged + &line);
    }
    write(&forged);
    machine.run("vault audit audit.jsonl").ok();
    let words = "record 9 of audit.jsonl is not the one that was anchored at 20";
    refused(&machine, check, 6, words);
    write(&twelve.replace("\"n\":7", "\"n\":8"));
    for line in [check, anchor] {
        refused(
            &machine,
            line,
            6,
            "record 8 of audit.jsonl was changed, or one before it is missing",
        );
    }
    write(&twelve);
    machine.run(check).ok();

    the_contracts_owner_takes_no_list(&settings, &operator);
    others_anchors_do_not_count(&machine, &settings, &operator, &twelve);
    refused(
        &machine,
        &format!("registry anchor --head 9:{}", "ab".repeat(32)),
        1,
        "9 records were anchored before, these are 9",
    );
}

/// A wallet that did nothing but anchor: who owns the contracts can give neither its number away
/// nor with it the list.
fn the_contracts_owner_takes_no_list(settings: &str, operator: &str) {
    let owner = Machine::new();
    configure(&owner, settings);
    owner.run_with_input("registry key import", KEYS[0]).ok();
    let shown = json(&owner, "registry key show");
    let address = shown["address"].as_str().expect("one");
    refused(
        &owner,
        &format!("registry assign {operator} {address}"),
        1,
        "the operator has a controller already",
    );
}

/// Somebody else's wallet writes into their own list only, and is never believed in this one.
fn others_anchors_do_not_count(own: &Machine, settings: &str, operator: &str, audit: &str) {
    let other = Machine::new();
    configure(&other, settings);
    other.run_with_input("registry key import", KEYS[2]).ok();
    fs::write(other.home.path().join("audit.jsonl"), audit).expect("written");
    let denied = format!("registry anchor audit.jsonl --operator {operator}");
    refused(&other, &denied, 4, "may not write for operator");
    let forged = format!("registry anchor --head 4000:{}", "ab".repeat(32));
    let theirs = json(&other, &forged);
    assert_ne!(theirs["operator"], operator);
    let check = "vault audit audit.jsonl --anchors";
    refused(
        &other,
        check,
        6,
        "has 12 records, but 4000 were anchored at 20",
    );
    let found = json(own, check);
    assert_eq!(found["files"][0]["anchors"]["count"], 2);
}
