//! Stores and keys that can do less, or something else than when the workspace was made.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod mounting;
mod support;

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mounting::{EVERYTHING, READER, Site, block_on, eventually, mounts_under};
use secrecy::ExposeSecret;
use support::Machine;
use testkit::juicefs::Gateway;
use testkit::tools::Tool;

#[test]
fn a_mount_on_juicefs_says_what_the_store_ignores_and_looks_before_it_writes() {
    testkit::require!(Tool::Juicefs);
    require_fuse!();
    let gateway = Gateway::start().unwrap();
    gateway.create_bucket("bucket").unwrap();
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().canonicalize().unwrap().join("mnt");
    let mut machine = Machine::new();
    machine.set_keys(testkit::ACCESS_KEY_ID, testkit::SECRET_ACCESS_KEY);
    machine
        .run(&format!(
            "workspace create work --bucket bucket --endpoint {}",
            gateway.endpoint()
        ))
        .ok();
    let said = machine.run(&format!("mount work {} --profile fast", folder.display()));
    let _mounted = Unmounted(&machine, &folder);
    let told = "warning: the store ignores conditions on writes";
    assert!(said.err.contains(told), "{}", said.err);
    said.ok();

    let path = folder.join("f");
    fs::write(&path, "one").unwrap();
    machine.run("flush work").ok();
    let client = testkit::s3::client(&gateway.endpoint());
    let object = |key: &str| {
        let get = client.get_object().bucket("bucket").key(key);
        let body = block_on(async { get.send().await.unwrap().body.collect().await });
        String::from_utf8(body.unwrap().to_vec()).unwrap()
    };
    assert_eq!(object("f"), "one");
    fs::write(&path, "two").unwrap();
    machine.run("flush work").ok();
    assert_eq!(object("f"), "two");

    // Someone else's version is found by looking: theirs keeps the name.
    let put = client.put_object().bucket("bucket").key("f");
    block_on(put.body(b"theirs".to_vec().into()).send()).unwrap();
    let mut file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    std::io::Write::write_all(&mut file, b"ours").unwrap();
    drop(file);
    machine.run("flush work").ok();
    let text = object("f");
    let copies = machine.run("conflicts list work --format json").ok();
    let copies: serde_json::Value = serde_json::from_str(&copies).unwrap();
    assert!(
        text == "theirs" && copies.as_array().unwrap().len() == 1
            // The mount had seen theirs before it opened the file.
            || text.starts_with("ours") && copies.as_array().unwrap().is_empty(),
        "{text} {copies}"
    );
    machine.run("unmount work").ok();
}

#[test]
fn keys_on_a_store_without_conditions_are_tried_out() {
    require_fuse!();
    let mut site = Site::new();
    let path = site.machine.config().join("workspaces/work.toml");
    let config = fs::read_to_string(&path).unwrap();
    let ignorant = config.replace("put_if_match = true", "put_if_match = false");
    assert_ne!(config, ignorant);
    fs::write(&path, ignorant).unwrap();
    let folder = site.folder("mnt");
    let said = site.run("mount work {}", &folder);
    assert!(
        said.err.contains("ignores conditions on writes"),
        "{}",
        said.err
    );
    said.ok();
    site.run("unmount {}", &folder).ok();
    let listed = block_on(
        testkit::s3::client(&site.endpoint())
            .list_objects_v2()
            .bucket(mounting::BUCKET)
            .prefix("work/.artifacts/probe/")
            .send(),
    );
    assert_eq!(listed.unwrap().key_count, Some(0), "nothing is left of it");

    take_keys(&mut site, READER);
    let said = site.run("mount work {}", &folder);
    assert_eq!(said.err, "", "nothing is written, so nothing is warned of");
    assert!(said.ok().contains("(read-only)"));
}

#[test]
fn keys_that_may_write_by_now_mount_for_writing() {
    require_fuse!();
    let mut site = Site::new();
    take_keys(&mut site, READER);
    site.machine.run("workspace delete work").ok();
    site.machine
        .run("workspace attach work --bucket bucket --prefix work")
        .ok();
    let folder = site.folder("mnt");
    let said = site.run("mount work {}", &folder).ok();
    assert!(said.contains("(read-only)"), "{said}");
    site.run("unmount {}", &folder).ok();
    take_keys(&mut site, EVERYTHING);
    let said = site.run("mount work {}", &folder);
    assert_eq!(said.err, "", "the store was asked anew what it can do");
    assert!(!said.ok().contains("read-only"));
    fs::write(folder.join("f"), "x").unwrap();
    site.run("unmount {}", &folder).ok();
    assert_eq!(site.object("f").as_deref(), Some(&b"x"[..]));
}

#[test]
fn a_bucket_that_holds_another_workspace_by_now_is_refused() {
    require_fuse!();
    let site = Site::new();
    let folder = site.folder("mnt");
    site.remove_object(".artifacts/workspace.json");
    site.run("mount work {}", &folder).refused(
        5,
        "s3://bucket/work/ no longer holds workspace work",
        "artifacts workspace delete work",
    );
    let id = "0192f5a0-0000-7000-8000-000000000000";
    site.put_object(
        ".artifacts/workspace.json",
        &format!(r#"{{"format":1,"id":"{id}","created":"","by":""}}"#),
    );
    for how in ["", "--read-only"] {
        site.run(&format!("mount work {{}} {how}"), &folder)
            .refused(
                6,
                &format!("now holds workspace {id}"),
                "artifacts workspace attach work",
            );
    }
    assert!(mounts_under(&site.root).is_empty());
}

#[test]
fn a_flush_gives_up_when_writes_are_refused_although_reads_succeed() {
    require_fuse!();
    let mut site = Site::new();
    let folder = site.folder("mnt");
    site.machine.unset_keys();
    let first = site.save_keys(EVERYTHING);
    site.run("mount work {} --attr-ttl 1s --write-back 0s", &folder)
        .ok();
    let second = site.save_keys(READER);
    site.keys().revoke(&first).expect("taken away");
    fs::write(folder.join("f"), "cannot go up").unwrap();
    let reading = AtomicBool::new(true);
    let (said, took) = thread::scope(|scope| {
        scope.spawn(|| {
            while reading.load(Ordering::Relaxed) {
                // Lists anew each second, with success.
                let _ = fs::read_dir(&folder).map(Iterator::count);
                thread::sleep(Duration::from_millis(100));
            }
        });
        eventually(Duration::from_secs(30), "refused", || {
            let status = site.status("work");
            let error = status["details"]["filesystem"]["last_error"].as_str();
            error.is_some_and(|error| error.contains("not permitted"))
        });
        let begun = Instant::now();
        let said = site.run("flush {} --give-up-after 3s", &folder);
        reading.store(false, Ordering::Relaxed);
        (said, begun.elapsed())
    });
    said.refused(8, "1 file (12 B) still wait for upload", "nothing is lost");
    assert!(took < Duration::from_secs(30), "{took:?}");
    assert_eq!(fs::read(folder.join("f")).unwrap(), b"cannot go up");

    site.save_keys(EVERYTHING);
    site.keys().revoke(&second).expect("taken away");
    site.run("flush {} --give-up-after 60s", &folder).ok();
    assert_eq!(site.object("f").as_deref(), Some(&b"cannot go up"[..]));
    site.run("unmount {}", &folder).ok();
}

/// New keys with these rights, in the environment.
fn take_keys(site: &mut Site, policy: &str) {
    let key = site.keys().add(policy).expect("a key");
    let secret = key.secret.expose_secret().to_owned();
    site.machine.set_keys(&key.id, &secret);
}

/// Takes the mount off when a test ends, however it ends.
struct Unmounted<'a>(&'a Machine, &'a std::path::Path);

impl Drop for Unmounted<'_> {
    fn drop(&mut self) {
        if !mounts_under(self.1).is_empty() {
            let line = format!("unmount --no-wait --lazy {}", self.1.display());
            self.0.run_openly(&line);
        }
    }
}
