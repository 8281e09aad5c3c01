//! Names, rules, trash and undo on real folders.

#![allow(clippy::unwrap_used, missing_docs)]

mod machine;

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;

use bucket::Key;
use bucket::memory::MemoryBucket;
use machine::*;
use sync::folder::disk::DiskFolder;
use sync::look;
use sync::steps::GoOn;

/// > A name never overwrites another file's, nothing outside of the folder is read or written, and what one side cannot hold is told and left where it is.
#[tokio::test]
async fn names_that_the_other_side_cannot_hold_are_told_and_kept() {
    use std::os::unix::ffi::OsStrExt;
    let bucket = MemoryBucket::new();
    let a = Machine::on(&bucket);
    a.write("fake.rclonelink", "a file");
    a.write("%!odd", "escaped");
    fs::write(
        a.folder.path().join(std::ffi::OsStr::from_bytes(b"\xff")),
        "x",
    )
    .unwrap();
    for key in ["a//b", "..", "x/./y"] {
        put(&bucket, key, "odd");
    }
    put(&bucket, "A", "upper");
    put(&bucket, "a", "lower");
    a.sync().await;
    let plan = a.plan().await;
    let names: Vec<&str> = plan.refused.iter().map(|r| r.name.as_str()).collect();
    for name in ["a//b", "..", "x/./y"] {
        assert!(names.contains(&format!("p/{name}").as_str()), "{names:?}");
    }
    assert!(
        names.contains(&"fake.rclonelink") && names.contains(&"/%!odd"),
        "{names:?}"
    );
    assert_eq!(names.len(), 6, "{names:?}");
    assert_eq!((a.read("A"), a.read("a")), ("upper".into(), "lower".into()));
}

#[tokio::test]
async fn names_that_other_systems_take_for_one_are_told() {
    let bucket = MemoryBucket::new();
    let a = Machine::on(&bucket);
    a.write("Note.md", "1");
    a.write("note.md", "2");
    a.write("e\u{301}", "decomposed");
    a.write("\u{e9}", "composed");
    a.write("end.", "dot");
    let plan = a.plan().await;
    let names: Vec<&str> = plan.warnings.iter().map(|r| r.name.as_str()).collect();
    assert_eq!(names.len(), 5, "{names:?}");
    a.sync().await;
    assert_eq!(a.objects().len(), 5, "told, and synced all the same");
}

/// A link in the place of a directory leads nobody out.
/// > A name never overwrites another file's, nothing outside of the folder is read or written, and what one side cannot hold is told and left where it is.
#[tokio::test]
async fn nothing_is_written_through_a_link_that_leads_out() {
    let bucket = MemoryBucket::new();
    let a = Machine::on(&bucket);
    let outside = tempfile::tempdir().unwrap();
    put(&bucket, "d/evil", "evil");
    symlink(outside.path(), a.at("d")).unwrap();
    a.try_sync().await.unwrap();
    a.settle().await;
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    assert_eq!(a.read("d/evil"), "evil", "the link was set aside");
    assert!(fs::symlink_metadata(a.at("d")).unwrap().is_dir());
}

#[tokio::test]
async fn a_link_to_nothing_is_told_and_stays() {
    let bucket = MemoryBucket::new();
    let a = Machine::on(&bucket);
    put(&bucket, "nowhere.rclonelink", "");
    put(&bucket, "long.rclonelink", &"x".repeat(4_096));
    put(&bucket, "fine.rclonelink", "f");
    let applied = a.try_sync().await.unwrap();
    let mut failed = applied.failed.clone();
    failed.sort();
    let of = |bytes| format!("a link's target has 1 to 4095 bytes, this one has {bytes}");
    let told = [("long", of(4_096)), ("nowhere", of(0))];
    assert_eq!(failed, told.map(|(path, reason)| (path.to_owned(), reason)));
    assert_eq!((applied.done, applied.again.len()), (1, 0));
    assert_eq!(a.objects().len(), 3);
}

#[tokio::test]
async fn what_was_replaced_or_deleted_lies_in_the_trash() {
    let bucket = MemoryBucket::new();
    let a = Machine::on(&bucket);
    a.write("d/f", "old");
    a.write("g", "gone");
    a.write("h", "h");
    a.settle().await;
    put(&bucket, "d/f", "new");
    remove(&bucket, "g");
    fs::remove_file(a.at("h")).unwrap();
    a.sync().await;
    let last = &a.state.passes(1).unwrap()[0];
    let trash = DiskFolder::trash(a.folder.path(), &last.name);
    assert_eq!(fs::read_to_string(trash.join("d/f")).unwrap(), "old");
    assert_eq!(fs::read_to_string(trash.join("g")).unwrap(), "gone");
    let there = format!("p/.artifacts/trash/{}/h", last.name);
    assert_eq!(bucket.contents()[&there], "h".as_bytes());
    assert_eq!(a.state.taken(last.id).unwrap().len(), 3);
}

/// > What a pass replaced or deleted can be brought back for 30 days, as long as nobody has put anything else in its place.
#[tokio::test]
async fn what_no_trash_can_hold_is_not_taken_away() {
    let bucket = MemoryBucket::new();
    let mut a = Machine::on(&bucket);
    // A key of 1,024 bytes is the longest, and that in the trash is longer.
    let long = format!("{}/f", ["d".repeat(245).as_str(); 4].join("/"));
    a.write(&long, "long");
    a.write("replaced", "old");
    a.write("deleted", "old");
    a.settle().await;
    fs::remove_file(a.at(&long)).unwrap();
    let applied = a.try_sync().await.unwrap();
    let told = &applied.failed[0];
    assert!(
        told.1.contains("too long for the bucket's trash"),
        "{told:?}"
    );
    assert_eq!(a.objects()[&long], "long");
    a.write(&long, "long");
    a.settle().await;
    // No room for a trash here: the new version does not come.
    let trash = a.at(".artifacts/trash");
    let _ = fs::remove_dir_all(&trash);
    fs::write(&trash, "in the way").unwrap();
    put(&bucket, "replaced", "new");
    a.try_sync().await.unwrap();
    assert_eq!(a.read("replaced"), "old");
    fs::remove_file(&trash).unwrap();
    a.settle().await;
    assert_eq!(a.read("replaced"), "new");
    // Nor where the store makes no copies.
    a.capabilities.copy = false;
    fs::remove_file(a.at("deleted")).unwrap();
    let applied = a.try_sync().await.unwrap();
    assert!(applied.failed[0].1.contains("no copies"), "{applied:?}");
    assert_eq!(a.objects()["deleted"], "old");
}

/// A file that can never be carried must not keep directories elsewhere from being known.
#[tokio::test]
async fn an_empty_directory_goes_although_something_else_fails_for_ever() {
    let bucket = MemoryBucket::new();
    let (a, b) = (Machine::on(&bucket), Machine::on(&bucket));
    put(&bucket, "nowhere.rclonelink", "");
    fs::create_dir(a.at("empty")).unwrap();
    for machine in [&a, &b, &a] {
        machine.try_sync().await.unwrap();
    }
    assert!(b.at("empty").is_dir());
    fs::remove_dir(a.at("empty")).unwrap();
    for machine in [&a, &b, &a] {
        machine.try_sync().await.unwrap();
    }
    assert!(!b.at("empty").exists() && !a.at("empty").exists());
}

/// Pain 20: what a rule leaves out is neither sent, fetched nor deleted, on either side.
/// > What a rule of `.artifactsignore` leaves out is neither sent, fetched nor deleted.
#[tokio::test]
async fn what_a_rule_leaves_out_stays_where_it_is() {
    let bucket = MemoryBucket::new();
    let a = Machine::on(&bucket);
    a.write(".artifactsignore", "*.tmp\n/cache/\n");
    for path in ["note.md", "x.tmp", "cache/big", "d/y.tmp"] {
        a.write(path, path);
    }
    put(&bucket, "there.tmp", "theirs");
    put(&bucket, "d/f", "theirs");
    a.settle().await;
    let objects: Vec<String> = a.objects().into_keys().collect();
    assert_eq!(objects, [".artifactsignore", "d/f", "note.md", "there.tmp"]);
    assert!(!a.at("there.tmp").exists());
    // A directory with something left out in it stays, and nothing is tried again and again.
    remove(&bucket, "d/f");
    a.settle().await;
    assert_eq!(a.read("d/y.tmp"), "d/y.tmp");
    // Newly left out: both copies stay, and that is told.
    a.write(".artifactsignore", "*.tmp\n/cache/\n*.md\n");
    let plan = a.plan().await;
    assert!(
        plan.refused.iter().any(|r| r.name == "note.md"),
        "{:?}",
        plan.refused
    );
    a.settle().await;
    fs::remove_file(a.at("note.md")).unwrap();
    a.settle().await;
    assert_eq!(
        a.objects()["note.md"],
        "note.md",
        "out of sight, not deleted"
    );
    a.write(".artifactsignore", "*.tmp\n/cache/\n");
    a.settle().await;
    assert_eq!(a.read("note.md"), "note.md");
}

/// > What a pass replaced or deleted can be brought back for 30 days, as long as nobody has put anything else in its place.
#[tokio::test]
async fn the_last_pass_is_undone_on_both_sides() {
    let bucket = MemoryBucket::new();
    let a = Machine::on(&bucket);
    for path in ["replaced", "d/gone", "deleted here", "changed since"] {
        a.write(path, path);
    }
    a.settle().await;
    put(&bucket, "replaced", "new");
    put(&bucket, "changed since", "new");
    remove(&bucket, "d/gone");
    fs::remove_file(a.at("deleted here")).unwrap();
    a.sync().await;
    a.write("changed since", "by the user");
    let sides = a.sides(Arc::new(GoOn));
    let (last, taken) = sync::undo::last(&sides).unwrap().unwrap();
    let undone = sync::undo::undo(&sides, &last, &taken).await.unwrap();
    assert_eq!(undone.here, ["d/gone", "replaced"]);
    assert_eq!(undone.there, ["deleted here"]);
    let left: Vec<&str> = undone.left.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(left, ["changed since"]);
    // What was left is known yet; it may come back once nothing is in its place.
    let still: Vec<String> = a
        .state
        .taken(last.id)
        .unwrap()
        .into_iter()
        .map(|t| t.path.to_string())
        .collect();
    assert_eq!(still, ["changed since"]);
    a.settle().await;
    for path in ["replaced", "d/gone", "deleted here"] {
        assert_eq!(a.read(path), path);
        assert_eq!(a.objects()[path], path);
    }
    assert_eq!(a.objects()["changed since"], "by the user");
}

/// What an earlier pass took stays away: an older text must not come over a newer one.
#[tokio::test]
async fn nothing_is_undone_of_passes_before_the_last_change() {
    let bucket = MemoryBucket::new();
    let a = Machine::on(&bucket);
    a.write("f", "first");
    a.settle().await;
    put(&bucket, "f", "second");
    a.settle().await;
    let sides = a.sides(Arc::new(GoOn));
    let (_, taken) = sync::undo::last(&sides).unwrap().unwrap();
    assert_eq!(taken.len(), 1);
    // A run with nothing to do is no change.
    a.settle().await;
    assert!(sync::undo::last(&sides).unwrap().is_some());
    a.write("f", "third");
    a.settle().await;
    assert!(sync::undo::last(&sides).unwrap().is_none());
}

/// > What a pass replaced or deleted can be brought back for 30 days, as long as nobody has put anything else in its place.
#[tokio::test]
async fn trashes_are_emptied_after_thirty_days() {
    let bucket = MemoryBucket::new();
    let a = Machine::on(&bucket);
    a.write("f", "1");
    a.sync().await;
    let old = Key::new("p/.artifacts/trash/00000000000000000001-1-x/f").unwrap();
    bucket.insert(&old, "old");
    bucket.age(&old, 31 * 24 * 3_600 * 1_000_000_000);
    // Of a machine whose clock was wrong: the store took it a moment ago.
    let wrong = Key::new("p/.artifacts/trash/00000000000000000001-2-x/f").unwrap();
    bucket.insert(&wrong, "of today");
    fs::create_dir_all(a.at(".artifacts/trash/00000000000000000001-1-x")).unwrap();
    fs::remove_file(a.at("f")).unwrap();
    a.write("g", "2");
    a.sync().await;
    let kept = a.state.passes(1).unwrap()[0].name.clone();
    sync::clean(&a.sides(Arc::new(GoOn))).await.unwrap();
    let trash: Vec<String> = bucket
        .contents()
        .into_keys()
        .filter(|k| k.contains("trash"))
        .collect();
    let kept = format!("p/.artifacts/trash/{kept}/f");
    assert_eq!(trash, [wrong.as_str(), kept.as_str()]);
    assert_eq!(fs::read_dir(a.at(".artifacts/trash")).unwrap().count(), 0);
    let before = bucket.calls();
    sync::clean(&a.sides(Arc::new(GoOn))).await.unwrap();
    assert_eq!(bucket.calls(), before, "once a day");
}

#[tokio::test]
async fn what_a_rule_leaves_out_is_pruned_from_the_bucket_on_demand_and_can_come_back() {
    let bucket = MemoryBucket::new();
    let a = Machine::on(&bucket);
    a.write("note.md", "1");
    a.write("x.tmp", "2");
    a.settle().await;
    a.write(".artifactsignore", "*.tmp");
    a.settle().await;
    let sides = a.sides(Arc::new(GoOn));
    let (_, picture) = look(&sides, &a.settings).await.unwrap();
    let out: Vec<String> = picture.left_there.keys().map(ToString::to_string).collect();
    assert_eq!(out, ["x.tmp"]);
    let pruned = sync::apply::prune(&sides, &a.settings, picture.left_there)
        .await
        .unwrap();
    assert_eq!((pruned.done, pruned.is_whole()), (1, true));
    let objects: Vec<String> = a.objects().into_keys().collect();
    assert_eq!(objects, [".artifactsignore", "note.md"]);
    assert_eq!(a.read("x.tmp"), "2", "the folder's stays");
    let (last, taken) = sync::undo::last(&sides).unwrap().unwrap();
    sync::undo::undo(&sides, &last, &taken).await.unwrap();
    assert_eq!(a.objects()["x.tmp"], "2");
}

/// What lies in the folder may come from anybody: a link in the place of a directory of ours.
#[tokio::test]
async fn nothing_is_cleaned_or_written_through_a_link_in_the_place_of_ours() {
    for name in ["tmp", "trash"] {
        let bucket = MemoryBucket::new();
        let a = Machine::on(&bucket);
        let outside = tempfile::tempdir().unwrap();
        let (precious, old) = (outside.path().join("precious"), "00000000000000000001-1-x");
        fs::write(&precious, "1").unwrap();
        fs::write(outside.path().join(old), "2").unwrap();
        fs::create_dir(a.at(".artifacts")).unwrap();
        symlink(outside.path(), a.at(".artifacts").join(name)).unwrap();
        a.write("f", "1");
        let _ = a.try_sync().await;
        let _ = sync::clean(&a.sides(Arc::new(GoOn))).await;
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 2, "{name}");
    }
}

#[tokio::test]
async fn the_marker_is_written_through_no_link() {
    let bucket = MemoryBucket::new();
    let a = Machine::on(&bucket);
    let outside = tempfile::tempdir().unwrap();
    let precious = outside.path().join("precious");
    fs::write(&precious, "1").unwrap();
    fs::create_dir(a.at(".artifacts")).unwrap();
    for name in ["folder.json", "folder.json.new"] {
        symlink(&precious, a.at(".artifacts").join(name)).unwrap();
    }
    let _ = a.try_sync().await;
    assert_eq!(fs::read_to_string(&precious).unwrap(), "1");
}
