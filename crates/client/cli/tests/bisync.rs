//! `artifacts bisync` as users run it, on a real store.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod mounting;
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use support::Machine;
use support::platform::Platform;
use support::store::Store;
use support::synced::*;
use support::terminal::Terminal;

#[test]
fn two_machines_keep_the_same_folder() {
    let site = Site::new();
    let (a, b) = (&site.machine, site.other());
    write(a, "note.md", "from a");
    write(&b, "d/other.md", "from b");
    let said = sync(a, "").ok();
    assert!(
        said.contains("upload") && said.contains("note.md"),
        "{said}"
    );
    sync(&b, "").ok();
    sync(a, "").ok();
    assert_eq!(files(a), files(&b));
    assert_eq!(files(a).len(), 2);
    let said = sync(a, "").ok();
    assert!(said.contains("both sides are alike"), "{said}");
}

/// > A dry run writes nothing anywhere, and shows the plan that a run would follow.
#[test]
fn a_dry_run_shows_the_same_plan_and_writes_nothing() {
    let site = Site::new();
    let a = &site.machine;
    let before = everything(a.home.path());
    let first = plan(a, "--dry-run");
    assert_eq!(first["plan"]["actions"].as_array().map(Vec::len), Some(0));
    assert_eq!(
        everything(a.home.path()),
        before,
        "not even where nothing was synced yet"
    );
    write(a, "note.md", "1");
    sync(a, "").ok();
    write(a, "note.md", "22");
    write(a, "new.md", "333");
    let before = everything(a.home.path());
    let preview = plan(a, "--dry-run");
    assert_eq!(everything(a.home.path()), before);
    let done = plan(a, "");
    assert_eq!(preview["plan"], done["plan"]);
    assert_eq!(done["plan"]["counts"]["upload"]["files"], 2);
    assert_eq!(done["plan"]["counts"]["upload"]["bytes"], 5);
    assert_eq!(done["result"]["done"], 2);
    assert_eq!(preview["result"], Value::Null);
}

#[test]
fn check_says_how_the_sides_differ() {
    let site = Site::new();
    let a = &site.machine;
    write(a, "note.md", "1");
    let said = a.run("bisync check notes dir");
    assert_eq!(said.code, 1, "{}", said.err);
    assert!(said.out.contains("note.md"), "{}", said.out);
    sync(a, "").ok();
    assert_eq!(a.run("bisync check notes dir").code, 0);
}

#[test]
fn a_stop_by_the_limit_names_both_limits_and_the_ways_on() {
    let site = Site::new();
    let a = &site.machine;
    for n in 0..40 {
        write(a, &format!("f{n}"), "x");
    }
    sync(a, "").ok();
    for n in 0..30 {
        fs::remove_file(dir(a).join(format!("f{n}"))).expect("removed");
    }
    let said = sync(a, "");
    assert_eq!(said.code, 6, "{}", said.err);
    assert!(said.err.contains("30 in the bucket, of 40"), "{}", said.err);
    assert!(said.err.contains("25 files or 50 %"), "{}", said.err);
    assert!(said.err.contains("--approve-deletes"), "{}", said.err);
    let preview = sync(a, "--dry-run");
    assert_eq!(preview.code, 6, "a preview ends as the run would");
    assert_eq!(sync(a, "--max-delete 50%").code, 6);
    sync(a, "--restore").ok();
    assert_eq!(files(a).len(), 40);
    fs::remove_file(dir(a).join("f1")).expect("removed");
    assert_eq!(sync(a, "--max-delete 0").code, 6);
    sync(a, "--max-delete 0 --approve-deletes").ok();
    assert_eq!(files(a).len(), 39);
}

#[test]
fn beginning_anew_says_first_what_comes_back() {
    let site = Site::new();
    let a = &site.machine;
    write(a, "kept", "1");
    write(a, "deleted", "2");
    sync(a, "").ok();
    fs::remove_file(dir(a).join("deleted")).expect("removed");
    let said = sync(a, "--resync");
    assert_eq!(said.code, 2, "{}", said.err);
    assert!(
        said.err.contains("1 deleted files come back"),
        "{}",
        said.err
    );
    assert!(said.err.contains("deleted"), "{}", said.err);
    assert!(!files(a).contains_key("deleted"));
    sync(a, "--resync --yes").ok();
    assert_eq!(files(a)["deleted"], "2");
}

#[test]
fn a_folder_without_its_marker_is_refused() {
    let site = Site::new();
    let a = &site.machine;
    write(a, "f", "1");
    sync(a, "").ok();
    fs::remove_dir_all(dir(a)).expect("removed");
    fs::create_dir(dir(a)).expect("an empty mount point");
    sync(a, "").refused(6, "marker", "--resync");
}

#[test]
fn wrong_usage_is_answered() {
    let site = Site::new();
    let a = &site.machine;
    assert_eq!(a.run("bisync").code, 2);
    assert_eq!(a.run("bisync notes").code, 2);
    assert_eq!(a.run("bisync nobody dir").code, 5);
    assert_eq!(a.run("bisync notes missing/dir").code, 5);
    assert_eq!(a.run("bisync notes dir --max-delete 101%").code, 2);
    assert_eq!(a.run("bisync notes dir --conflict-resolve best").code, 2);
    assert_eq!(
        a.run("bisync notes dir --approve-deletes --restore").code,
        2
    );
}

#[test]
fn a_conflict_is_listed_and_settled_and_both_machines_follow() {
    let site = Site::new();
    let (a, b) = (&site.machine, site.other());
    write(a, "note.md", "before");
    sync(a, "").ok();
    sync(&b, "").ok();
    write(a, "note.md", "by a");
    write(&b, "note.md", "by b!");
    sync(a, "").ok();
    let said = sync(&b, "--profile safe").ok();
    assert!(
        said.contains("conflicts") && said.contains("changed on both sides"),
        "{said}"
    );
    let listed = a.run("conflicts list notes --format json").ok();
    let listed: Value = serde_json::from_str(&listed).expect("JSON");
    let copy = listed[0]["copy"]["path"]
        .as_str()
        .expect("a copy")
        .to_owned();
    assert_eq!(files(&b)[&copy], "by b!");
    a.run(&format!("conflicts resolve notes {copy} --keep mine"))
        .ok();
    sync(a, "").ok();
    sync(&b, "").ok();
    assert_eq!(files(a), files(&b));
    assert_eq!(files(a).len(), 1, "{:?}", files(a));
    assert_eq!(files(a)["note.md"], "by b!");
}

#[test]
fn the_last_pass_is_undone_and_the_status_tells_of_trouble() {
    let site = Site::new();
    let (a, b) = (&site.machine, site.other());
    assert_eq!(a.run("bisync undo notes dir").code, 1, "nothing to undo");
    write(a, "f", "1");
    write(a, "g", "2");
    sync(a, "").ok();
    sync(&b, "").ok();
    fs::remove_file(dir(a).join("f")).expect("removed");
    sync(a, "").ok();
    sync(&b, "").ok();
    assert_eq!(files(&b).len(), 1);
    let said = b.run("bisync undo notes dir").ok();
    assert_eq!(said, "back here: f\n");
    sync(&b, "").ok();
    sync(a, "").ok();
    assert_eq!(files(a)["f"], "1");
    let well = status(a);
    assert_eq!(
        (&well["files"], &well["last_error"], &well["state"]),
        (&Value::from(2), &Value::Null, &Value::from("idle"))
    );
    assert!(
        well["last_success"]
            .as_str()
            .is_some_and(|at| at.starts_with("20")),
        "{well}"
    );
    assert_eq!(a.run("bisync-status").code, 0);
    fs::remove_file(dir(a).join("f")).expect("removed");
    fs::remove_file(dir(a).join("g")).expect("removed");
    assert_eq!(sync(a, "").code, 6);
    assert_eq!(sync(a, "").code, 6);
    let ill = status(a);
    assert_eq!(ill["last_error"]["code"], "deletes-stopped");
    let trouble = ill["last_error"]["message"].as_str().expect("a message");
    assert!(trouble.contains("the folder is empty"), "{trouble}");
    assert_eq!(ill["failures_in_a_row"], 2);
    assert_eq!(ill["last_success"], well["last_success"]);
    assert_eq!(a.run("bisync-status notes").code, 6, "as the last run");
    sync(a, "--restore").ok();
    assert_eq!(status(a)["last_error"], Value::Null);
}

#[test]
fn rules_leave_out_and_prune() {
    let site = Site::new();
    let a = &site.machine;
    write(a, "x.tmp", "1");
    write(a, "note.md", "2");
    sync(a, "").ok();
    write(a, ".artifactsignore", "*.tmp\n");
    let said = sync(a, "").ok();
    assert!(said.contains("bisync prune"), "{said}");
    assert_eq!(a.run("bisync prune notes dir").code, 2, "it asks");
    assert_eq!(
        a.run("bisync prune notes dir --yes").ok(),
        "1 objects pruned\n"
    );
    assert_eq!(files(a).len(), 3);
    let b = site.other();
    sync(&b, "").ok();
    assert_eq!(files(&b).len(), 2, "{:?}", files(&b));
}

#[test]
fn a_watch_carries_changes_without_being_asked_and_one_process_has_the_pair() {
    let site = Site::new();
    let (a, b) = (&site.machine, site.other());
    write(a, "first", "1");
    write(&b, "second", "2");
    let (here, there) = (Watching::on(a), Watching::on(&b));
    eventually("both have both", || {
        files(a).len() == 2 && files(&b).len() == 2
    });
    fs::create_dir(dir(a).join("new")).expect("made");
    write(a, "new/third", "3");
    eventually("a change here", || files(&b).contains_key("new/third"));
    fs::remove_file(dir(&b).join("first")).expect("removed");
    eventually("a deletion there", || !files(a).contains_key("first"));
    let said = sync(a, "");
    assert_eq!(said.code, 7, "{}", said.err);
    assert!(said.err.contains("is syncing this folder"), "{}", said.err);
    assert_eq!((here.stop(), there.stop()), (0, 0));
    let said = sync(a, "").ok();
    assert!(said.contains("both sides are alike"), "{said}");
}

/// With an orchestrator a change is carried when it happens, not at the interval.
#[test]
fn a_change_elsewhere_wakes_a_watch_by_the_orchestrators_events() {
    require_fuse!();
    let platform = Platform::start();
    let (ada, bea) = (platform.logged_in(), platform.logged_in());
    ada.run("workspace create notes").ok();
    // A mount makes the workspace known to the other machine.
    fs::create_dir(bea.home.path().join("mnt")).expect("made");
    bea.run("mount ada/notes mnt").ok();
    bea.run("unmount mnt").ok();
    let watching = |machine: &Machine| {
        let line = "bisync notes dir --watch --interval 1h";
        Watching(machine.artifacts(line).spawn().expect("started"))
    };
    write(&ada, "first", "1");
    let (here, there) = (watching(&ada), watching(&bea));
    eventually("the first", || dir(&bea).join("first").exists());
    // Its own look at the beginning is over by then.
    std::thread::sleep(Duration::from_secs(1));
    write(&ada, "second", "2");
    eventually("a change there", || dir(&bea).join("second").exists());
    write(&bea, "third", "3");
    eventually("a change back", || dir(&ada).join("third").exists());
    assert_eq!((here.stop(), there.stop()), (0, 0));
}

/// kill -9 at every numbered step: the next plain run finishes, and nothing is lost.
/// > A run that is killed at any step is finished by the next plain run.
#[test]
fn a_run_that_is_killed_at_any_step_is_finished_by_the_next() {
    let site = Site::new();
    let mut killed = 0;
    loop {
        let mut a = machine(&site.store);
        let line = format!("workspace create notes --bucket bucket --prefix k{killed}/");
        a.run(&line).ok();
        let b = machine(&site.store);
        b.run(&line.replace("create", "attach")).ok();
        scene(&a, &b);
        a.set("ARTIFACTS_TEST_KILL_AT_STEP", &killed.to_string());
        let said = sync(&a, "");
        if said.code == 0 {
            break;
        }
        assert_eq!(said.code, -1, "killed: {}", said.err);
        a.unset("ARTIFACTS_TEST_KILL_AT_STEP");
        sync(&a, "").ok();
        sync(&b, "").ok();
        sync(&a, "").ok();
        let (here, there) = (files(&a), files(&b));
        assert_eq!(here, there, "killed at {killed}");
        for content in [
            "ours",
            "theirs",
            "edited here",
            "edited there",
            "moved here",
            "moved there",
        ] {
            let copies = here.values().filter(|kept| *kept == content).count();
            assert_eq!(copies, 1, "{content:?}, killed at {killed}: {here:?}");
        }
        assert!(
            !here.values().any(|kept| kept.starts_with("delete")),
            "killed at {killed}: {here:?}"
        );
        assert_eq!(
            a.run("bisync check notes dir").code,
            0,
            "killed at {killed}"
        );
        killed += 1;
    }
    assert!(killed > 20, "only {killed} steps");
}

/// Every kind of change on either side.
fn scene(a: &Machine, b: &Machine) {
    for path in ["both", "here", "there", "delete here", "delete there"] {
        write(a, path, path);
    }
    write(a, "from/move", "moved here");
    write(a, "from/other", "moved there");
    sync(a, "").ok();
    sync(b, "").ok();
    write(b, "both", "theirs");
    write(b, "there", "edited there");
    fs::remove_file(dir(b).join("delete there")).expect("removed");
    fs::rename(dir(b).join("from/other"), dir(b).join("other")).expect("renamed");
    sync(b, "").ok();
    write(a, "both", "ours");
    write(a, "here", "edited here");
    fs::remove_file(dir(a).join("delete here")).expect("removed");
    fs::create_dir(dir(a).join("to")).expect("made");
    fs::rename(dir(a).join("from/move"), dir(a).join("to/move")).expect("renamed");
    fs::create_dir(dir(a).join("hollow")).expect("made");
}

/// Large files in both directions, killed -9 at every step of a transfer: parts and blocks that
/// are there are not moved again, and what is left in the bucket in the end is objects.
/// > A large file whose transfer was cut off is gone on with: what the other side has already is not moved again.
#[test]
fn a_large_transfer_that_is_killed_at_any_step_is_gone_on_with() {
    let site = Site::new();
    let bytes = |salt: u8| {
        let mut bytes = vec![salt; 20 << 20];
        for (n, block) in (0..).zip(bytes.chunks_mut(1 << 20)) {
            block[7] = n;
        }
        bytes
    };
    let store = |machine: &Machine, path: &str, salt: u8| {
        write(machine, path, "");
        fs::write(dir(machine).join(path), bytes(salt)).unwrap();
    };
    let mut killed = 0;
    loop {
        let mut a = machine(&site.store);
        let line = format!("workspace create notes --bucket bucket --prefix k{killed}/");
        a.run(&line).ok();
        let b = machine(&site.store);
        b.run(&line.replace("create", "attach")).ok();
        store(&b, "theirs.bin", 1);
        sync(&b, "").ok();
        store(&a, "ours.bin", 2);
        a.set("ARTIFACTS_TEST_KILL_AT_STEP", &killed.to_string());
        let said = sync(&a, "");
        if said.code == 0 {
            break;
        }
        assert_eq!(said.code, -1, "killed: {}", said.err);
        a.unset("ARTIFACTS_TEST_KILL_AT_STEP");
        sync(&a, "").ok();
        sync(&b, "").ok();
        for machine in [&a, &b] {
            let all = everything(&dir(machine));
            assert!(all["theirs.bin"] == bytes(1), "killed at {killed}");
            assert!(all["ours.bin"] == bytes(2), "killed at {killed}");
            let ours = all.keys().filter(|name| !name.starts_with(".artifacts/"));
            assert_eq!(ours.count(), 2, "killed at {killed}: {:?}", all.keys());
            let half = all
                .keys()
                .filter(|name| name.starts_with(".artifacts/tmp/"));
            assert_eq!(half.count(), 0, "killed at {killed}");
        }
        let left = parts_left(&site.store, "bucket");
        assert_eq!(left, 0, "killed at {killed}");
        killed += 1;
    }
    assert!(killed > 15, "only {killed} steps");
}

/// How many parts of uploads are in a bucket that were neither completed nor ended. An upload
/// whose begin was cut off before its answer came has none.
fn parts_left(store: &Store, bucket: &str) -> usize {
    support::store::block_on(async {
        let client = testkit::s3::client(&store.server.endpoint());
        let listed = client.list_multipart_uploads().bucket(bucket).send().await;
        let mut parts = 0;
        for upload in listed.expect("listed").uploads() {
            let of = client.list_parts().bucket(bucket);
            let of = of.set_key(upload.key.clone());
            let listed = of.set_upload_id(upload.upload_id.clone()).send().await;
            parts += listed.expect("listed").parts().len();
        }
        parts
    })
}

/// > A download that finds the disk full leaves nothing half done, says what is short, and the rest goes on.
#[test]
fn a_full_disk_is_named_and_the_rest_goes_on() {
    let site = Site::new();
    let (a, b) = (&site.machine, site.other());
    write(a, "small", "fits");
    write(a, "large.bin", "");
    fs::write(dir(a).join("large.bin"), vec![7; 30 << 20]).unwrap();
    sync(a, "").ok();
    fs::create_dir(dir(&b)).unwrap();
    let Some(_disk) = SmallDisk::over(&dir(&b)) else {
        testkit::skip!("only root can make a small disk (tmpfs)");
    };
    let said = sync(&b, "");
    assert_eq!(said.code, 8, "{} {}", said.out, said.err);
    let needs = format!("no space left for large.bin: it has {} bytes", 30 << 20);
    assert!(said.out.contains(&needs), "{}", said.out);
    assert_eq!(files(&b).into_keys().collect::<Vec<_>>(), ["small"]);
    let tmp = fs::read_dir(dir(&b).join(".artifacts/tmp")).unwrap();
    assert_eq!(tmp.count(), 0, "nothing half received is left");
    assert_eq!(
        a.run("bisync check notes dir").code,
        0,
        "nothing was deleted for it"
    );
}

/// A folder of 16 MiB, until this is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn over(path: &Path) -> Option<Self> {
        let mut mount = std::process::Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", "size=16m,mode=700", "tmpfs"])
            .arg(path);
        let mounted = mount.stderr(std::process::Stdio::null()).status();
        mounted
            .is_ok_and(|how| how.success())
            .then(|| Self(path.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = std::process::Command::new("umount").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|how| how.success()) || std::thread::panicking());
    }
}

/// A bar while bytes move, on a terminal only; it is gone in the end.
#[test]
fn a_terminal_shows_how_far_a_run_is() {
    let mut site = Site::new();
    site.machine.set("TERM", "xterm");
    let a = &site.machine;
    write(a, "f.bin", "");
    fs::write(dir(a).join("f.bin"), vec![3; 4 << 20]).unwrap();
    let mut terminal = Terminal::start(a, "bisync notes dir --bwlimit 2M");
    terminal
        .shows("4.00 MiB")
        .shows("0/1 files")
        .shows("1 done");
    assert_eq!(terminal.ends(), 0);
    let said = sync(a, "");
    assert!(!said.err.contains("MiB"), "{}", said.err);
}

/// Both directions keep to the rate that was asked for.
#[test]
fn a_bandwidth_limit_holds_in_both_directions() {
    let site = Site::new();
    let (a, b) = (&site.machine, site.other());
    write(a, "f.bin", "");
    fs::write(dir(a).join("f.bin"), vec![3; 3 << 20]).unwrap();
    let least = Duration::from_millis(1_200);
    for machine in [a, &b] {
        let begun = std::time::Instant::now();
        sync(machine, "--bwlimit 2M").ok();
        let took = begun.elapsed();
        assert!(took >= least, "3 MiB at 2 MiB/s took {took:?}");
    }
    let wrong = sync(a, "--bwlimit fast");
    assert_eq!(wrong.code, 2);
    assert!(
        wrong.err.contains("write 2M for 2 MiB a second"),
        "{}",
        wrong.err
    );
    let said = sync(a, "--format json --bwlimit off:1M");
    assert_eq!(
        (said.code, said.err.as_str()),
        (0, ""),
        "no bar for programs"
    );
}
