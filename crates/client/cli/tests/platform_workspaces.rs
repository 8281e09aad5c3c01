//! Workspaces of an orchestrator: made in three phases that can be gone on with, mounted by
//! name, with a ticket or without, and ended. The real server, the real store, a real kernel.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod mounting;
mod support;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mounting::{eventually, mounts_under};
use serde_json::{Value, json};
use support::platform::Platform;
use support::{Machine, Said};

const SOON: Duration = Duration::from_secs(8);

/// A folder to mount on, taken off again when the test ends.
struct Place<'m> {
    machine: &'m Machine,
    root: tempfile::TempDir,
}

impl<'m> Place<'m> {
    fn new(machine: &'m Machine) -> Self {
        let root = tempfile::tempdir().unwrap();
        Self { machine, root }
    }

    fn folder(&self) -> PathBuf {
        self.root.path().canonicalize().unwrap().join("mnt")
    }

    /// Runs `artifacts`; `{}` in the line is the folder.
    fn run(&self, line: &str) -> Said {
        let folder = self.folder();
        self.machine
            .run(&line.replace("{}", folder.to_str().unwrap()))
    }

    fn status(&self) -> Value {
        let said = self.run("status {} --format json");
        serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{e}: {}{}", said.out, said.err))
    }

    #[track_caller]
    fn is_connected(&self) {
        eventually(SOON, "events come in", || {
            self.status()["details"]["live"]["connected"] == true
        });
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        for mountpoint in mounts_under(&self.root.path().canonicalize().unwrap()) {
            let folder = mountpoint.display();
            let line = format!("unmount --no-wait --lazy {folder}");
            self.machine.run_openly(&line);
        }
    }
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// The objects of the tenant's bucket, with what their keys begin with.
fn objects(platform: &Platform, machine: &Machine) -> Vec<String> {
    let shown = machine.run("workspace show ada/cases --format json").ok();
    let place = &parsed(&shown)["workspace"]["place"];
    let client = testkit::s3::client(&platform.store.server.endpoint());
    let bucket = place["bucket"].as_str().unwrap();
    let list = client.list_objects_v2().bucket(bucket).send();
    let page = support::store::block_on(list).unwrap();
    let keys = page.contents().iter();
    keys.map(|object| object.key().unwrap().to_owned())
        .collect()
}

#[test]
fn a_workspace_is_made_in_three_phases_and_mounted_elsewhere_by_its_address() {
    require_fuse!();
    let platform = Platform::start();
    let (ada, bea) = (platform.logged_in(), platform.logged_in());
    let here = Place::new(&ada);
    let made = here.run("workspace create cases {}");
    assert_eq!(made.code, 0, "{}", made.err);
    let lines = [
        "Phase 1: reserving artifacts://ada/cases on the orchestrator\n",
        "Workspace artifacts://ada/cases reserved (status=pending_format, id=",
        "Phase 2: formatting s3://artifacts-",
        "Phase 3: confirming artifacts://ada/cases\n",
        "Workspace artifacts://ada/cases is ready (status=active)\n",
    ];
    let mut rest = made.err.as_str();
    for line in lines {
        let at = rest
            .find(line)
            .unwrap_or_else(|| panic!("{line:?} in {}", made.err));
        rest = &rest[at + line.len()..];
    }
    fs::write(here.folder().join("hello"), "from ada").unwrap();
    here.run("flush {}").ok();
    assert!(objects(&platform, &ada).contains(&"cases/hello".to_owned()));

    let there = Place::new(&bea);
    there.run("mount ada/cases {}").ok();
    let text = fs::read_to_string(there.folder().join("hello")).unwrap();
    assert_eq!(text, "from ada");
    fs::write(there.folder().join("reply"), "from bea").unwrap();
    there.run("unmount {}").ok();
    assert!(objects(&platform, &ada).contains(&"cases/reply".to_owned()));
    // Each machine has a key of its own, for this workspace alone, and keeps it.
    let keys = platform.live_keys(&ada);
    assert_eq!(keys.len(), 2);
    assert!(
        keys.iter()
            .all(|key| key["workspace_id"].is_string() && key["last_used_at"].is_string())
    );
    there.run("mount ada/cases {}").ok();
    there.run("unmount {}").ok();
    bea.run(&format!("mount cases {}", there.folder().display()))
        .ok();
    assert_eq!(platform.live_keys(&ada).len(), 2);
}

#[test]
fn what_one_mount_uploads_another_shows_long_before_its_profile_promises() {
    require_fuse!();
    let platform = Platform::start();
    let (ada, bea) = (platform.logged_in(), platform.logged_in());
    let (here, there) = (Place::new(&ada), Place::new(&bea));
    here.run("workspace create cases").ok();
    here.run("mount cases {} --write-back 50ms").ok();
    there.run("mount ada/cases {} --attr-ttl 1h").ok();
    here.is_connected();
    there.is_connected();
    let (ours, theirs) = (here.folder(), there.folder());
    assert_eq!(fs::read_dir(&theirs).unwrap().count(), 0);
    let quick = |what: &str, so: &mut dyn FnMut() -> bool| eventually(SOON, what, so);
    fs::write(ours.join("new"), "1").unwrap();
    quick("a new file is there", &mut || theirs.join("new").exists());
    fs::write(ours.join("new"), "changed").unwrap();
    quick("its new content is there", &mut || {
        fs::read_to_string(theirs.join("new")).is_ok_and(|text| text == "changed")
    });
    fs::create_dir(ours.join("folder")).unwrap();
    fs::write(ours.join("folder/inner"), "2").unwrap();
    quick("a file in a new folder is there", &mut || {
        theirs.join("folder/inner").exists()
    });
    fs::remove_file(ours.join("new")).unwrap();
    quick("what was deleted is gone", &mut || {
        !theirs.join("new").exists()
    });
    // The other way, and its own announcements are nothing new to a mount.
    fs::write(theirs.join("back"), "3").unwrap();
    quick("the other way", &mut || ours.join("back").exists());
    let shown = ada.run("workspace show ada/cases --format json").ok();
    let mounts = parsed(&shown)["mounts"].clone();
    assert_eq!(mounts.as_array().unwrap().len(), 2, "{mounts}");
    here.run("unmount {}").ok();
    quick("an unmounted one is not listed", &mut || {
        let shown = bea.run("workspace show ada/cases --format json").ok();
        parsed(&shown)["mounts"].as_array().unwrap().len() == 1
    });
}

#[test]
fn with_the_orchestrator_away_mounts_go_on_and_miss_nothing() {
    require_fuse!();
    let mut platform = Platform::start();
    let (ada, bea) = (platform.logged_in(), platform.logged_in());
    let (here, there) = (Place::new(&ada), Place::new(&bea));
    here.run("workspace create cases").ok();
    here.run("mount cases {} --write-back 50ms").ok();
    there.run("mount ada/cases {} --attr-ttl 1h").ok();
    here.is_connected();
    there.is_connected();
    assert_eq!(fs::read_dir(there.folder()).unwrap().count(), 0);
    platform.stop();
    eventually(SOON, "it is noticed", || {
        there.status()["details"]["live"]["connected"] == false
    });
    let trouble = there.status()["details"]["live"]["trouble"].clone();
    assert!(
        trouble.as_str().unwrap().contains("does not answer"),
        "{trouble}"
    );
    fs::write(here.folder().join("meanwhile"), "1").unwrap();
    here.run("flush {}").ok();
    // Mounting goes on too, with the key that is here.
    let third = Place::new(&bea);
    assert_eq!(third.run("status").code, 0);
    platform.start_again();
    eventually(Duration::from_secs(60), "it shows", || {
        there.folder().join("meanwhile").exists()
    });
}

#[test]
fn a_revoked_key_stops_writes_and_keeps_what_waits() {
    require_fuse!();
    let platform = Platform::start();
    let (ada, bea) = (platform.logged_in(), platform.logged_in());
    let (here, there) = (Place::new(&ada), Place::new(&bea));
    here.run("workspace create cases").ok();
    there.run("mount ada/cases {} --write-back 1h").ok();
    there.is_connected();
    fs::write(there.folder().join("waits"), "not in the bucket").unwrap();
    let config = fs::read_to_string(bea.config().join("workspaces/cases.toml")).unwrap();
    let config: toml::Table = config.parse().unwrap();
    let key = config["orchestrator"]["key"]["id"].as_str().unwrap();
    ada.run(&format!("platform key revoke {key}")).ok();
    eventually(SOON, "writes stop", || {
        fs::write(there.folder().join("later"), "x").is_err()
    });
    let error = fs::write(there.folder().join("later"), "x").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    let text = fs::read_to_string(there.folder().join("waits")).unwrap();
    assert_eq!(text, "not in the bucket");
    let status = there.run("status {} --format json");
    assert_eq!(status.code, 3, "{}", status.out);
    let status = parsed(&status.out);
    assert_eq!(status["state"], "refused");
    let trouble = status["trouble"].as_str().unwrap();
    assert!(
        trouble.contains("was revoked") && trouble.contains("journal"),
        "{trouble}"
    );
    let off = there.run("unmount {}");
    assert_eq!(off.code, 8, "{}{}", off.out, off.err);
    assert!(
        !objects(&platform, &ada)
            .iter()
            .any(|key| key.ends_with("waits"))
    );
    // The next mount asks for another key, and what waited goes up.
    there.run("mount ada/cases {}").ok();
    there.run("unmount {}").ok();
    assert!(objects(&platform, &ada).contains(&"cases/waits".to_owned()));
}

#[test]
fn a_ticket_mounts_one_workspace_without_a_login_and_no_more_than_it_allows() {
    require_fuse!();
    let platform = Platform::start();
    let ada = platform.logged_in();
    ada.run("workspace create cases").ok();
    ada.run("workspace create other").ok();
    let file = ada.home.path().join("ticket");
    let line = format!(
        "platform ticket create cases --mode ro --for 1h -o {}",
        file.display()
    );
    ada.run(&line).ok();
    let secret = fs::read_to_string(&file).unwrap();
    let sandbox = platform.machine();
    let place = Place::new(&sandbox);
    let ticket = format!("--ticket {}", file.display());
    place
        .run("mount ada/cases {}")
        .refused(2, "no orchestrator is known", "artifacts login URL");
    place
        .run(&format!("mount ada/other {{}} {ticket}"))
        .refused(5, "workspace", "workspace list --remote");
    assert!(!sandbox.config().join("workspaces/other.toml").exists());
    let said = place.run(&format!("mount ada/cases {{}} {ticket}"));
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.contains("(read-only)"), "{}", said.out);
    assert!(!said.err.contains(secret.trim()));
    assert!(fs::write(place.folder().join("x"), "x").is_err());
    // Its text is in no argument of what runs.
    let pid = place.status()["pid"].as_i64().unwrap();
    let words = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(!words.contains(secret.trim()), "{words}");
    place.is_connected();
    place.run("unmount {}").ok();
    // Also where a key is that may do more: the ticket counts, and that key stays as it is.
    let own = Place::new(&ada);
    let said = own.run(&format!("mount ada/cases {{}} {ticket}")).ok();
    assert!(said.contains("(read-only)"), "{said}");
    own.run("unmount {}").ok();
    let said = own.run("mount cases {}").ok();
    assert!(!said.contains("(read-only)"), "{said}");
    own.run("unmount {}").ok();
    assert_eq!(
        platform.live_keys(&ada).len(),
        4,
        "cases, other, and a ticket's on each machine"
    );
    let listed = ada.run("platform ticket list --format json").ok();
    let id = parsed(&listed)["items"][0]["ticket_id"]
        .as_str()
        .unwrap()
        .to_owned();
    ada.run(&format!("platform ticket revoke {id}")).ok();
    let said = place.run(&format!("mount ada/cases {{}} {ticket}"));
    assert_eq!(said.code, 3, "{}{}", said.out, said.err);
    assert_eq!(
        platform.live_keys(&ada).len(),
        2,
        "they went with the ticket"
    );
    sandbox.run("workspace delete cases").ok();
    assert!(sandbox.cached().is_empty(), "{:?}", sandbox.cached());
}

#[test]
fn setting_up_twice_leaves_one_login_one_key_and_one_mount() {
    require_fuse!();
    let platform = Platform::start();
    let machine = platform.machine();
    let place = Place::new(&machine);
    let folder = place.folder();
    let line = format!(
        "cloud setup files {} --url {} --manual-code",
        folder.display(),
        platform.url
    );
    platform.let_in(&machine, &line);
    fs::write(folder.join("a"), "1").unwrap();
    let again = machine.run(&line);
    assert_eq!(again.code, 0, "{}", again.err);
    assert!(
        again.err.contains("mounted on") && again.err.contains("already"),
        "{}",
        again.err
    );
    assert_eq!(platform.live_keys(&machine).len(), 1);
    place.run("unmount {}").ok();
    // Without a name it finds the only one.
    machine.run("cloud setup").ok();
    assert_eq!(platform.live_keys(&machine).len(), 1);
    let text = fs::read_to_string(machine.home.path().join("artifacts/files/a")).unwrap();
    assert_eq!(text, "1");
    machine.run("unmount files").ok();
}

#[test]
fn each_phase_that_was_interrupted_is_gone_on_with() {
    let platform = Platform::start();
    let machine = platform.logged_in();
    let token = {
        let folder = fs::read_dir(machine.config().join("sessions")).unwrap();
        let mut files = folder.map(|file| file.unwrap().path());
        let file = files.find(|file| !file.ends_with(".lock")).unwrap();
        let text = fs::read_to_string(file).unwrap();
        parsed(&text)["token"].as_str().unwrap().to_owned()
    };
    // Interrupted after the first phase: the name is reserved and nothing is here.
    let body = json!({ "name": "cases" });
    platform.call_as(&token, "POST", "/workspaces", body, 201);
    let said = machine.run("workspace create cases");
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.err.contains("was reserved before"), "{}", said.err);
    // Interrupted before the last answer: the file is here, the workspace active.
    let said = machine.run("workspace create cases");
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(
        said.err.contains("is there already (status=active"),
        "{}",
        said.err
    );
    assert_eq!(platform.live_keys(&machine).len(), 1);
    // The name is another machine's workspace.
    let other = platform.logged_in();
    other.run("workspace create cases").refused(
        6,
        "there is a workspace artifacts://ada/cases already",
        "artifacts mount ada/cases",
    );
    // Forgetting it here revokes this machine's key; ending it frees the name.
    machine.run("workspace delete cases").ok();
    assert_eq!(platform.live_keys(&machine).len(), 0);
    let listed = machine.run("workspace list --remote").ok();
    assert!(listed.contains("ada/cases"), "{listed}");
    machine.run("workspace create notes").ok();
    let said = machine.run("workspace delete notes --everywhere");
    assert_eq!(said.code, 0, "{}", said.err);
    let listed = machine.run("workspace list --remote").ok();
    assert!(!listed.contains("ada/notes"), "{listed}");
}

#[test]
fn an_issued_key_is_used_whatever_keys_the_environment_has() {
    let platform = Platform::start();
    let mut machine = platform.logged_in();
    machine.set_keys("AKIAOFANOTHERBUCKET", "secretofanotherbucket");
    let said = machine.run("workspace create cases");
    assert_eq!(said.code, 0, "{}", said.err);
    let begin = Instant::now();
    let checked = machine.run("doctor cases");
    assert!(begin.elapsed() < Duration::from_secs(30));
    assert_eq!(checked.code, 0, "{}{}", checked.out, checked.err);
    let shown = machine.run("workspace show cases").ok();
    assert!(!shown.contains("AKIAOFANOTHERBUCKET"), "{shown}");
}

/// The login of another tenant takes the place of the first.
fn move_to(platform: &Platform, machine: &Machine, handle: &str) {
    let me = platform.call("GET", "/whoami", Value::Null, 200);
    let owner = json!({ "handle": handle, "owner": { "actor": me["identity"]["actor"] } });
    let tenant = platform.call("POST", "/tenants", owner, 201);
    let tenant = tenant["tenant_id"].as_str().unwrap();
    platform.let_in_to(machine, "login --again --manual-code", tenant);
}

#[test]
fn a_key_of_another_tenants_is_never_said_to_be_revoked() {
    let platform = Platform::start();
    let (machine, witness) = (platform.logged_in(), platform.logged_in());
    machine.run("workspace create cases").ok();
    let key = platform.live_keys(&witness)[0]["credential_id"].clone();
    move_to(&platform, &machine, "bob");
    let said = machine.run("logout");
    assert_eq!(said.code, 8, "{}", said.err);
    assert!(said.err.contains("still alive"), "{}", said.err);
    assert_eq!(platform.live_keys(&witness)[0]["credential_id"], key);
    let file = fs::read_to_string(machine.config().join("workspaces/cases.toml")).unwrap();
    assert!(
        file.contains(key.as_str().unwrap()),
        "its number is kept: {file}"
    );
    // With a login of its tenant it goes.
    platform.let_in(&machine, "login --manual-code");
    machine.run("workspace delete cases").ok();
    assert_eq!(platform.live_keys(&witness).len(), 0);
}

#[test]
fn a_login_of_another_tenant_does_not_freeze_a_mount() {
    require_fuse!();
    let mut platform = Platform::start();
    let machine = platform.logged_in();
    let place = Place::new(&machine);
    place.run("workspace create cases {}").ok();
    place.is_connected();
    move_to(&platform, &machine, "bob");
    platform.stop();
    platform.start_again();
    eventually(Duration::from_secs(40), "it has asked again", || {
        let live = place.status()["details"]["live"].clone();
        live["trouble"]
            .as_str()
            .is_some_and(|text| text.contains("workspace"))
    });
    assert_eq!(place.status()["details"]["live"]["revoked"], false);
    fs::write(place.folder().join("still"), "written").unwrap();
    place.run("flush {}").ok();
}

#[test]
fn a_place_that_another_tenant_names_gets_neither_ones_files_nor_ones_keys() {
    require_fuse!();
    let platform = Platform::start();
    let own = support::store::Store::start()
        .with_bucket("bucket")
        .with_bucket("trap");
    let mut machine = platform.logged_in();
    machine
        .set_keys(testkit::ACCESS_KEY_ID, testkit::SECRET_ACCESS_KEY)
        .set("ARTIFACTS_S3_ENDPOINT", &own.server.endpoint());
    let place = Place::new(&machine);
    machine
        .run("workspace create mine --local --bucket bucket")
        .ok();
    place.run("mount mine {} --write-back 1h").ok();
    fs::write(place.folder().join("salary"), "secret").unwrap();
    assert_eq!(place.run("unmount {} --no-wait").code, 8);
    // Bob's workspace in a bucket of his own, marked with the number of ours, granted to us.
    let id = parsed(&machine.run("workspace show mine --format json").ok())["id"].clone();
    let bob = platform.machine();
    let mut bob = bob;
    bob.set("ARTIFACTS_S3_ENDPOINT", &own.server.endpoint())
        .set_keys(testkit::ACCESS_KEY_ID, testkit::SECRET_ACCESS_KEY);
    let me = platform.call("GET", "/whoami", Value::Null, 200);
    let owner = json!({ "handle": "bob", "owner": { "actor": me["identity"]["actor"] } });
    let tenant = platform.call("POST", "/tenants", owner, 201);
    let login = format!("login {} --manual-code", platform.url);
    platform.let_in_to(&bob, &login, tenant["tenant_id"].as_str().unwrap());
    bob.run("workspace create trap --bucket trap").ok();
    bob.run("platform grant create trap --to ada --mode rw")
        .ok();
    let marker = json!({ "format": 1, "id": id, "created": "2026-11-29T00:00:00Z", "by": "bob" });
    let client = testkit::s3::client(&own.server.endpoint());
    let put = client
        .put_object()
        .bucket("trap")
        .key(".artifacts/workspace.json");
    support::store::block_on(put.body(marker.to_string().into_bytes().into()).send()).unwrap();

    place.run("mount bob/trap {}").refused(
        4,
        "would be opened with your own keys",
        "--key-profile",
    );
    place
        .run("mount bob/trap {} --key-profile default")
        .refused(5, "does not hold the workspace", "ask its owner");
    assert!(mounts_under(place.root.path()).is_empty());
    let list = client.list_objects_v2().bucket("trap").send();
    let page = support::store::block_on(list).unwrap();
    assert!(
        page.contents()
            .iter()
            .all(|object| object.key().unwrap().starts_with(".artifacts/"))
    );
    // What waits goes where it belongs.
    place.run("mount mine {}").ok();
    place.run("unmount {}").ok();
}

#[test]
fn a_command_that_runs_in_a_fresh_sandbox_leaves_no_key_behind() {
    require_fuse!();
    let platform = Platform::start();
    let ada = platform.logged_in();
    ada.run("workspace create cases").ok();
    let token = ada.home.path().join("token");
    let line = format!(
        "platform token create --description ci --workspace cases --mode rw -o {}",
        token.display()
    );
    ada.run(&line).ok();
    let secret = fs::read_to_string(token).unwrap();
    for _ in 0..2 {
        let mut sandbox = platform.machine();
        sandbox
            .set("ARTIFACTS_TOKEN", secret.trim())
            .set("ARTIFACTS_ORCHESTRATOR_URL", &platform.url);
        let place = Place::new(&sandbox);
        let said = place.run("exec ada/cases {} -- env");
        assert_eq!(said.code, 0, "{}", said.err);
        assert!(
            !said.out.contains(secret.trim()),
            "the command has the token: {}",
            said.out
        );
    }
    assert_eq!(
        platform.live_keys(&ada).len(),
        1,
        "the one of the machine that made it"
    );
}

#[test]
fn with_a_keyring_configured_logins_and_issued_keys_are_kept_there_and_nowhere_else() {
    require_fuse!();
    let platform = Platform::start();
    let mut machine = platform.machine();
    machine
        .set("ARTIFACTS_KEYRING_TYPE", "file")
        .set("ARTIFACTS_KEYRING_PASSWORD", "a long enough password");
    platform.let_in(&machine, &format!("login {} --manual-code", platform.url));
    let place = Place::new(&machine);
    let said = place.run("workspace create cases {}");
    assert_eq!(said.code, 0, "{}", said.err);
    place.is_connected();
    fs::write(place.folder().join("hello"), "1").unwrap();
    place.run("unmount {}").ok();
    assert!(objects(&platform, &machine).contains(&"cases/hello".to_owned()));
    assert!(!machine.credentials().exists());
    assert!(!machine.config().join("sessions").exists());
    drop(place);
    // Without its password neither is to be had, and that is said.
    machine.run("auth keyring lock").ok();
    machine.unset("ARTIFACTS_KEYRING_PASSWORD");
    machine
        .run("mount cases mnt --no-input")
        .refused(3, "password", "ARTIFACTS_KEYRING_PASSWORD");
    machine.set("ARTIFACTS_KEYRING_PASSWORD", "a long enough password");
    machine.run("logout").ok();
    let status = machine.run("auth keyring status --format json").ok();
    assert!(!status.contains("orchestrator/"), "{status}");
}
