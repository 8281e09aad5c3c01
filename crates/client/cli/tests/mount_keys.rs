//! Whose keys a mount uses, and that it renews them while it runs.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod mounting;
mod support;

use std::fs;
use std::time::{Duration, Instant};

use mounting::Site;
use secrecy::ExposeSecret;
use support::terminal::Terminal;

const ALL: &str = r#"{"Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}"#;
const READ: &str = r#"{"Statement":[{"Effect":"Allow","Action":["s3:GetObject","s3:ListBucket"],"Resource":"*"}]}"#;

/// Saves a new key of the store for a profile.
fn save(site: &Site, profile: &str, policy: &str) {
    let key = site.keys().add(policy).unwrap();
    let line = format!(
        "storage set --profile {profile} --access-key-id {} --secret-stdin",
        key.id
    );
    let said = site
        .machine
        .run_with_input(&line, key.secret.expose_secret());
    said.ok();
}

/// A site whose keys are in profiles: `rw`, which the workspace was made with, and `ro`.
fn with_profiles() -> Site {
    let mut site = Site::bare();
    site.machine.unset_keys();
    save(&site, "rw", ALL);
    save(&site, "ro", READ);
    site.machine
        .run("workspace create work --bucket bucket --prefix work --profile rw")
        .ok();
    site
}

/// Mounts with these options, and says whether it is read-only.
fn is_read_only(site: &Site, options: &str) -> bool {
    let folder = site.folder("mnt");
    let line = format!("mount work {{}} {options} --format json");
    let answer = site.run(&line, &folder).ok();
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    site.machine.run("unmount work").ok();
    answer["read_only"].as_bool().unwrap()
}

#[test]
fn a_mount_uses_the_profile_that_is_remembered_or_chosen() {
    require_fuse!();
    let mut site = with_profiles();
    assert!(
        !is_read_only(&site, ""),
        "a workspace remembers its profile"
    );
    assert!(is_read_only(&site, "--key-profile ro"));
    site.machine.set("ARTIFACTS_PROFILE", "ro");
    assert!(is_read_only(&site, ""));
    assert!(!is_read_only(&site, "--key-profile rw"), "the option wins");
    site.machine.unset("ARTIFACTS_PROFILE");
    // Chosen keys count though the workspace's own are gone.
    site.machine.run("storage clear --profile rw").ok();
    let begin = Instant::now();
    assert!(is_read_only(&site, "--key-profile ro"));
    assert!(
        begin.elapsed() < Duration::from_secs(4),
        "{:?}",
        begin.elapsed()
    );
    let folder = site.folder("mnt");
    site.run("mount work {}", &folder)
        .refused(3, "no storage keys", "--profile rw");
}

#[test]
fn every_command_on_a_workspace_takes_other_keys() {
    let mut site = with_profiles();
    let id = |said: String| {
        let value: serde_json::Value = serde_json::from_str(&said).unwrap();
        let field = |name: &str| value[name].as_str().map(str::to_owned);
        field("AWS_ACCESS_KEY_ID").or(field("AccessKeyId")).unwrap()
    };
    let asked = |site: &Site, line: &str| id(site.machine.run_openly(line).ok());
    let (own, other) = (
        asked(&site, "env work -f json"),
        asked(&site, "env work -f json --profile ro"),
    );
    assert_ne!(own, other);
    assert_eq!(asked(&site, "credential-process work"), own);
    assert_eq!(asked(&site, "credential-process work --profile ro"), other);
    let purge = "workspace delete work --purge --yes";
    site.machine.run("conflicts list work --profile ro").ok();
    let refused = site.machine.run(&format!("{purge} --profile ro"));
    assert_eq!(refused.code, 8, "{}", refused.err);
    let shown = site.machine.run("workspace show work --profile ro").ok();
    assert!(shown.contains("[profile ro]"), "{shown}");
    let folder = site.machine.home.path().join(".aws");
    fs::create_dir(&folder).unwrap();
    let credentials = "[team]\naws_access_key_id = AKIATEAM\naws_secret_access_key = x\n";
    fs::write(folder.join("credentials"), credentials).unwrap();
    support::chmod(&folder.join("credentials"), 0o600);
    assert_eq!(
        asked(&site, "env work -f json --aws-profile team"),
        "AKIATEAM"
    );
    site.machine.run("storage show --aws-profile team").ok();
    site.machine.set("ARTIFACTS_PROFILE", "ro");
    assert_eq!(asked(&site, "env work -f json"), other);
    assert_eq!(asked(&site, "credential-process work"), other);
    assert_eq!(asked(&site, "env work -f json --profile rw"), own);
    let doctor = site.machine.run("doctor work --format json");
    assert!(
        doctor.out.contains("mounts will be read-only"),
        "{}",
        doctor.out
    );
    site.machine.run(&format!("{purge} --profile rw")).ok();
}

/// A site whose workspace is opened by an identity with sessions of this length.
fn with_identity(length: &str) -> Site {
    let mut site = Site::bare();
    site.machine
        .unset_keys()
        .set("ARTIFACTS_KEYRING_TYPE", "file")
        .set("ARTIFACTS_KEYRING_PASSWORD", "correct horse");
    let key = site.keys().add(ALL).unwrap();
    let line = format!(
        "auth user configure --identity ada --access-key-id {} --secret-stdin --session-length {length} --endpoint {}",
        key.id,
        site.endpoint()
    );
    site.machine
        .run_with_input(&line, key.secret.expose_secret())
        .ok();
    site.machine
        .run("workspace create work --bucket bucket --prefix work --identity ada")
        .ok();
    site
}

#[test]
fn a_mount_outlives_the_sessions_of_its_identity() {
    require_fuse!();
    let site = with_identity("3s");
    let folder = site.mount("");
    for round in 0..4 {
        fs::write(folder.join(format!("file-{round}")), "content").unwrap();
        site.machine.run("flush work").ok();
        let object = site.object(&format!("file-{round}"));
        assert_eq!(object.as_deref(), Some(&b"content"[..]), "round {round}");
        std::thread::sleep(Duration::from_secs(2));
    }
    assert_eq!(site.status("work")["healthy"], true);
}

/// Sessions of the embedded store are in its memory: after a restart it knows none of them,
/// though the mount's would last an hour.
#[test]
fn a_mount_goes_on_when_the_store_has_forgotten_its_session() {
    require_fuse!();
    let mut site = with_identity("1h");
    let folder = site.mount("");
    fs::write(folder.join("before"), "content").unwrap();
    site.machine.run("flush work").ok();
    site.restart_store();
    fs::write(folder.join("after"), "content").unwrap();
    site.machine.run("flush work").ok();
    assert_eq!(site.object("after").as_deref(), Some(&b"content"[..]));
}

/// The password is typed once, into the command, and reaches the process in the background,
/// though nothing is unlocked in the session.
#[test]
fn a_typed_password_reaches_the_mount_in_the_background() {
    require_fuse!();
    let mut site = with_identity("1h");
    let config = site.machine.config().join("config.toml");
    let text = fs::read_to_string(&config).unwrap();
    let keyring = "[auth.keyring]\ntype = \"file\"\nspec.unlock_for = \"0s\"\n";
    fs::write(&config, format!("{keyring}{text}")).unwrap();
    site.machine
        .unset("ARTIFACTS_KEYRING_TYPE")
        .unset("ARTIFACTS_KEYRING_PASSWORD");
    site.machine.run("auth keyring lock").ok();
    let folder = site.folder("mnt");
    let mut terminal = Terminal::start(&site.machine, &format!("mount work {}", folder.display()));
    terminal
        .shows("password of the keyring")
        .types_unseen("correct horse\r")
        .shows("is mounted on");
    assert_eq!(terminal.ends(), 0, "{}", terminal.seen);
    assert_eq!(terminal.seen.matches("password of the keyring").count(), 1);
    fs::write(folder.join("file"), "content").unwrap();
    site.machine.run("flush work").ok();
    assert_eq!(site.object("file").as_deref(), Some(&b"content"[..]));
}
