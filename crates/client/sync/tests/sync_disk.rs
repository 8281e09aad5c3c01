//! Real folders and a bucket in memory: what goes from one side to the other.

#![allow(clippy::unwrap_used, missing_docs)]

mod machine;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use bucket::memory::MemoryBucket;
use bucket::probe::Capabilities;
use machine::*;
use sync::pass;
use sync::settings::Resolve;

#[tokio::test]
async fn two_machines_have_the_same_files_links_times_and_rights() {
    let bucket = MemoryBucket::new();
    let (a, b) = (Machine::on(&bucket), Machine::on(&bucket));
    for name in [
        "note.md",
        "d/e/f",
        "trailing.",
        " spaced ",
        "naïve ☕",
        "a\\b",
        "-n",
    ] {
        a.write(name, name);
    }
    a.write(&"n".repeat(255), "long");
    a.write("empty", "");
    a.write("big", &"x".repeat(9 << 20));
    a.write("run.sh", "#!/bin/sh");
    fs::set_permissions(a.at("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("/etc/passwd", a.at("out")).unwrap();
    symlink("d/e/f", a.at("in")).unwrap();
    fs::create_dir_all(a.at("hollow/inner")).unwrap();
    a.sync().await;
    assert_eq!(
        a.objects()["out.rclonelink"],
        "/etc/passwd",
        "never what it leads to"
    );
    b.sync().await;
    assert_eq!(a.files(), b.files());
    assert!(b.at("hollow/inner").is_dir());
    let mode = fs::metadata(b.at("run.sh")).unwrap().mode();
    assert_eq!(mode & 0o111, 0o111);
    let time = |m: &Machine| fs::metadata(m.at("note.md")).unwrap().modified().unwrap();
    assert_eq!(time(&a), time(&b));
    a.settle().await;
    b.settle().await;
    assert!(a.plan().await.is_done() && b.plan().await.is_done());
    let calls = bucket.calls();
    a.sync().await;
    let now = bucket.calls();
    assert_eq!(
        now.total() - calls.total(),
        now.list - calls.list,
        "only a list"
    );
}

#[tokio::test]
async fn edits_deletes_and_moves_go_both_ways() {
    let bucket = MemoryBucket::new();
    let (a, b) = (Machine::on(&bucket), Machine::on(&bucket));
    for n in 0..6 {
        a.write(&format!("d/f{n}"), &format!("content {n}"));
    }
    a.sync().await;
    b.sync().await;
    b.write("d/f0", "edited at b");
    fs::remove_file(b.at("d/f1")).unwrap();
    fs::create_dir(b.at("new")).unwrap();
    fs::rename(b.at("d/f2"), b.at("new/f2")).unwrap();
    let before = bucket.calls();
    b.sync().await;
    assert_eq!(bucket.calls().put - before.put, 1, "a move sends nothing");
    let inode = fs::metadata(a.at("d/f2")).unwrap().ino();
    let before = bucket.calls();
    a.sync().await;
    assert_eq!(bucket.calls().get - before.get, 1, "a move fetches nothing");
    assert_eq!(a.files(), b.files());
    assert_eq!(a.read("d/f0"), "edited at b");
    assert_eq!(fs::metadata(a.at("new/f2")).unwrap().ino(), inode);
    fs::remove_dir_all(a.at("new")).unwrap();
    a.sync().await;
    b.sync().await;
    assert!(!b.at("new").exists());
}

/// A store that knows no conditions and no copy: it is asked before each write.
#[tokio::test]
async fn a_store_without_conditions_is_looked_at_before_each_write() {
    let bucket = MemoryBucket::new();
    let (mut a, mut b) = (Machine::on(&bucket), Machine::on(&bucket));
    for machine in [&mut a, &mut b] {
        machine.capabilities = Capabilities {
            writable: true,
            put_if_absent: false,
            put_if_match: false,
            delete_if_match: false,
            copy: true,
            copy_if_absent: false,
            versions: false,
        };
    }
    for path in ["edited", "deleted", "d/moved", "both"] {
        a.write(path, path);
    }
    a.settle().await;
    b.settle().await;
    a.write("edited", "by a");
    fs::remove_file(a.at("deleted")).unwrap();
    fs::rename(a.at("d/moved"), a.at("moved")).unwrap();
    a.write("both", "by a");
    a.sync().await;
    b.write("both", "by b");
    b.settle().await;
    a.settle().await;
    assert_eq!(a.files(), b.files());
    let mut objects = a.objects();
    objects.remove("d/");
    assert_eq!(a.files(), objects);
    let kept: Vec<String> = a.files().into_values().collect();
    assert!(kept.contains(&"by b".to_owned()) && kept.contains(&"by a".to_owned()));
    // Somebody writes between the plan and the action.
    a.write("new", "ours");
    let late = bucket.clone();
    let steps = at("upload: about to send", move || put(&late, "new", "theirs"));
    let applied = pass(&a.sides(steps), &a.settings, &mut |_| ())
        .await
        .unwrap();
    assert_eq!(applied.again, ["new"]);
    assert_eq!(a.objects()["new"], "theirs");
}

/// Pain 22: an edit that keeps size and modification time.
#[tokio::test]
async fn an_edit_that_keeps_size_and_time_is_seen() {
    let bucket = MemoryBucket::new();
    let a = Machine::on(&bucket);
    a.write("f", "one");
    a.settle().await;
    let time = fs::metadata(a.at("f")).unwrap().modified().unwrap();
    fs::write(a.at("f"), "two").unwrap();
    let file = fs::File::options().write(true).open(a.at("f")).unwrap();
    file.set_modified(time).unwrap();
    a.sync().await;
    assert_eq!(a.objects()["f"], "two");
}

/// Pain 19: both versions are there, and the rule says which keeps the name.
#[tokio::test]
async fn a_conflict_keeps_both_versions() {
    for (resolve, kept) in [(Resolve::None, "theirs"), (Resolve::Path1, "ours")] {
        let bucket = MemoryBucket::new();
        let mut a = Machine::on(&bucket);
        a.settings.resolve = resolve;
        a.write("note.md", "before");
        a.sync().await;
        a.write("note.md", "ours");
        put(&bucket, "note.md", "theirs");
        a.sync().await;
        a.settle().await;
        let files = a.files();
        assert_eq!(files["note.md"], kept);
        let copy = files
            .keys()
            .find(|name| name.contains(".conflict-"))
            .unwrap();
        assert!(copy.ends_with("-here.md"), "{copy}");
        let both: Vec<&String> = files.values().collect();
        assert!(both.contains(&&"ours".to_owned()) && both.contains(&&"theirs".to_owned()));
        assert_eq!(files, a.objects());
    }
}

/// > A deletion never beats a change that it did not know of.
#[tokio::test]
async fn a_delete_never_beats_an_edit() {
    let bucket = MemoryBucket::new();
    let a = Machine::on(&bucket);
    a.write("here", "1");
    a.write("there", "2");
    a.write("third", "3");
    a.sync().await;
    a.write("here", "edited");
    remove(&bucket, "here");
    fs::remove_file(a.at("there")).unwrap();
    put(&bucket, "there", "edited too");
    a.sync().await;
    a.settle().await;
    assert_eq!(a.read("here"), "edited");
    assert_eq!(a.read("there"), "edited too");
    assert_eq!(a.files(), a.objects());
}

/// A user saves in the middle of a pass, in place or by a new file: nothing is overwritten.
#[tokio::test]
async fn a_save_in_the_middle_of_a_pass_is_kept() {
    for by_rename in [false, true] {
        let bucket = MemoryBucket::new();
        let a = Machine::on(&bucket);
        a.write("f", "before");
        a.settle().await;
        put(&bucket, "f", "theirs");
        let path = a.at("f");
        let steps = at("download: received", move || {
            if by_rename {
                let new = path.with_extension("new");
                fs::write(&new, "saved").unwrap();
                fs::rename(&new, &path).unwrap();
            } else {
                fs::write(&path, "saved").unwrap();
            }
        });
        let applied = pass(&a.sides(steps), &a.settings, &mut |_| ())
            .await
            .unwrap();
        assert_eq!(applied.again, ["f"]);
        assert_eq!(a.read("f"), "saved");
        a.try_sync().await.unwrap();
        a.settle().await;
        let kept: Vec<String> = a.objects().into_values().collect();
        assert!(kept.contains(&"saved".to_owned()) && kept.contains(&"theirs".to_owned()));
    }
}

#[tokio::test]
async fn a_save_while_a_file_is_sent_goes_up_after_it() {
    let bucket = MemoryBucket::new();
    let a = Machine::on(&bucket);
    a.write("f", "first");
    let path = a.at("f");
    let steps = at("upload: sent", move || fs::write(&path, "second").unwrap());
    let applied = pass(&a.sides(steps), &a.settings, &mut |_| ())
        .await
        .unwrap();
    assert_eq!(applied.again, ["f"]);
    a.sync().await;
    assert_eq!(a.objects()["f"], "second");
    assert_eq!(a.objects().len(), 1, "no conflict with ourselves");
}
