//! What a mount refuses, with its exit code, its sentence and its next step.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod mounting;
mod support;

use std::fs;
use std::process::Command;

use mounting::{Site, mounts_under};

#[test]
fn a_folder_that_cannot_become_a_mount_point_is_refused_with_the_remedy() {
    require_fuse!();
    let site = Site::new();
    let full = site.folder("full");
    fs::create_dir(&full).unwrap();
    fs::write(full.join("x"), "x").unwrap();
    site.run("mount work {}", &full)
        .refused(6, "is not empty", "choose an empty folder");
    site.run("mount work {}", &full.join("x")).refused(
        6,
        "is not a directory",
        "choose an empty folder",
    );
    site.run("mount work {}", "/proc".as_ref()).refused(
        6,
        "is a mount point of proc already",
        "where nothing is mounted",
    );
    site.run("mount work {}", &site.folder("no/where"))
        .refused(5, "does not exist", "mkdir -p");
    site.run("mount nope {}", &site.folder("mnt")).refused(
        5,
        "no workspace nope",
        "artifacts workspace list",
    );
    assert!(!site.folder("mnt").exists(), "nothing was made for nothing");
    assert!(mounts_under(&site.root).is_empty());
}

#[test]
fn a_wrong_value_is_refused_before_anything_is_mounted() {
    let mut site = Site::new();
    let folder = site.folder("mnt");
    let said = site.run("mount work {} --cache-size much", &folder);
    assert_eq!(said.code, 2, "{}", said.err);
    assert!(said.err.contains("\"much\" is no size"), "{}", said.err);
    let said = site.run("mount work {} --profile quick", &folder);
    assert_eq!(said.code, 2, "{}", said.err);
    site.machine.set("ARTIFACTS_MOUNT_ATTR_TTL", "soon");
    let said = site.run("mount work {} --format json", &folder);
    assert_eq!(
        (said.code, said.error()["code"].as_str()),
        (2, Some("invalid-value"))
    );
    assert!(mounts_under(&site.root).is_empty());
}

#[test]
fn one_workspace_and_one_folder_are_mounted_once() {
    require_fuse!();
    let site = Site::new();
    let folder = site.mount("");
    site.run("mount work {}", &folder).refused(
        6,
        "workspace work is mounted on",
        "artifacts unmount",
    );
    let other = site.folder("other");
    let said = site.run("mount work {} --format json", &other);
    assert_eq!(
        (said.code, said.error()["code"].as_str()),
        (6, Some("already-mounted"))
    );
    assert!(!other.exists(), "nothing was made for nothing");

    site.machine
        .run("workspace create second --bucket bucket --prefix second")
        .ok();
    fs::create_dir(folder.join("inside")).unwrap();
    site.run("mount second {}", &folder.join("inside")).refused(
        6,
        "lies inside the workspace work",
        "choose a folder outside",
    );
    site.run("mount second {}", &folder).refused(
        6,
        "workspace work is mounted on",
        "artifacts unmount",
    );
}

#[test]
fn a_mount_is_meant_by_its_whole_path_never_by_its_beginning() {
    require_fuse!();
    let site = Site::new();
    site.machine
        .run("workspace create second --bucket bucket --prefix second")
        .ok();
    let (work, work2) = (site.folder("work"), site.folder("work2"));
    site.run("mount work {}", &work).ok();
    site.run("mount second {}", &work2).ok();
    site.run("unmount {}", &site.folder("wor")).refused(
        5,
        "no workspace is mounted as",
        "artifacts status",
    );
    site.run("unmount {}", &work).ok();
    assert_eq!(mounts_under(&site.root), [&*work2]);
    site.run("unmount second", &work2).ok();
    site.run("flush {}", &work2)
        .refused(5, "no workspace is mounted as", "artifacts status");
}

#[test]
fn a_folder_in_use_stays_mounted_and_says_by_whom() {
    require_fuse!();
    let site = Site::new();
    let folder = site.mount("");
    let mut user = Command::new("sleep")
        .arg("60")
        .current_dir(&folder)
        .spawn()
        .unwrap();
    let who = format!("sleep (pid {}: cwd)", user.id());
    site.run("unmount {}", &folder)
        .refused(7, &who, "artifacts unmount --lazy");
    assert_eq!(site.status("work")["state"], "mounted");
    fs::write(folder.join("still"), "works").unwrap();
    site.run("unmount --lazy {}", &folder).ok();
    assert!(mounts_under(&site.root).is_empty());
    assert!(user.try_wait().unwrap().is_none(), "nobody was killed");
    user.kill().unwrap();
    user.wait().unwrap();
    assert_eq!(site.object("still").as_deref(), Some(&b"works"[..]));
}

#[test]
fn wrong_keys_an_unknown_bucket_and_a_store_that_is_away_are_told_apart() {
    require_fuse!();
    let mut site = Site::new();
    let folder = site.folder("mnt");
    let path = site.machine.config().join("workspaces/work.toml");
    let config = fs::read_to_string(&path).unwrap();
    site.machine.set_keys("AKIAWRONG", support::SECRET);
    let said = site.run("mount work {}", &folder);
    assert_eq!(said.code, 3, "{}", said.err);
    site.machine
        .set_keys(testkit::ACCESS_KEY_ID, testkit::SECRET_ACCESS_KEY);
    fs::write(&path, config.replace("\"bucket\"", "\"no-such-bucket\"")).unwrap();
    let said = site.run("mount work {}", &folder);
    assert_eq!(said.code, 5, "{}", said.err);
    let silent = testkit::fake::Endpoint::silent().unwrap();
    fs::write(&path, config.replace(&site.endpoint(), &silent.endpoint())).unwrap();
    let said = site.run("mount work {}", &folder);
    assert_eq!(said.code, 7, "{}", said.err);
    assert!(mounts_under(&site.root).is_empty());
}
