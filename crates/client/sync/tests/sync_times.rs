//! Modification times and rights, and who is newer.

#![allow(clippy::unwrap_used, missing_docs)]

mod machine;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bucket::memory::MemoryBucket;
use bucket::{Body, Bucket, Key, Metadata, PutOptions};
use machine::*;
use sync::settings::Resolve;

/// A time with a fraction of a second, some years after the beginning.
fn year(n: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(n * 31_556_952) + Duration::from_nanos(123_456_789)
}

fn touch(machine: &Machine, path: &str, time: SystemTime) {
    let file = fs::File::options().write(true).open(machine.at(path));
    file.unwrap().set_modified(time).unwrap();
}

fn save(machine: &Machine, path: &str, content: &str, time: SystemTime) {
    machine.write(path, content);
    touch(machine, path, time);
}

fn time(machine: &Machine, path: &str) -> SystemTime {
    fs::metadata(machine.at(path)).unwrap().modified().unwrap()
}

/// Two machines that have the same file, and know it.
async fn two_with(path: &str, content: &str) -> (MemoryBucket, Machine, Machine) {
    let bucket = MemoryBucket::new();
    let (a, b) = (Machine::on(&bucket), Machine::on(&bucket));
    save(&a, path, content, year(30));
    a.settle().await;
    b.settle().await;
    (bucket, a, b)
}

/// > Modification times are kept both ways, for files of at most 8 MiB also where nothing but the time changed.
#[tokio::test]
async fn a_time_that_is_set_on_one_machine_is_set_on_the_other() {
    let (bucket, a, b) = two_with("f", "content").await;
    assert_eq!(time(&b, "f"), year(30));
    for (from, to, at) in [(&b, &a, year(31)), (&a, &b, year(29))] {
        touch(from, "f", at);
        let before = bucket.calls();
        from.settle().await;
        let after = bucket.calls();
        assert_eq!((after.put - before.put, after.copy - before.copy), (1, 0));
        to.settle().await;
        assert_eq!(time(to, "f"), at);
        assert_eq!(bucket.calls().get, after.get, "nothing is fetched");
    }
    assert_eq!(a.files(), b.files());
    assert_eq!(a.files().len(), 1, "no conflict");
    for machine in [&a, &b] {
        let before = bucket.calls();
        machine.sync().await;
        let after = bucket.calls();
        assert_eq!(after.total() - before.total(), after.list - before.list);
    }
}

#[tokio::test]
async fn of_two_times_the_later_one_counts_on_both_machines() {
    let (_, a, b) = two_with("f", "content").await;
    touch(&a, "f", year(32));
    touch(&b, "f", year(31));
    for machine in [&a, &b, &a, &b] {
        machine.settle().await;
    }
    assert_eq!((time(&a, "f"), time(&b, "f")), (year(32), year(32)));
    touch(&a, "f", year(33));
    touch(&b, "f", year(34));
    for machine in [&a, &b, &a] {
        machine.settle().await;
    }
    assert_eq!((time(&a, "f"), time(&b, "f")), (year(34), year(34)));
    assert_eq!(a.files().len(), 1);
}

/// What is too large to be sent for a time, or cannot be sent safely, keeps its time there.
#[tokio::test]
async fn a_time_that_cannot_be_sent_stays_here_and_loops_nowhere() {
    let (bucket, mut a, b) = two_with("f", "content").await;
    save(&a, "large", &"x".repeat(9 << 20), year(30));
    a.settle().await;
    a.settle().await;
    for (put_if_match, time_of_f, puts) in [(true, 31, 1), (false, 31, 0)] {
        a.capabilities.put_if_match = put_if_match;
        let at = if put_if_match { 31 } else { 32 };
        touch(&a, "f", year(at));
        touch(&a, "large", year(at));
        let before = bucket.calls();
        a.settle().await;
        let after = bucket.calls();
        assert_eq!(
            (after.put - before.put, after.copy, after.get),
            (puts, 0, before.get)
        );
        b.settle().await;
        assert_eq!(
            (time(&b, "f"), time(&b, "large")),
            (year(time_of_f), year(30))
        );
        assert_eq!((time(&a, "f"), time(&a, "large")), (year(at), year(at)));
    }
}

/// A save in the very moment in which the time is set is seen, whatever its time says.
#[tokio::test]
async fn a_save_while_the_time_is_set_is_not_overlooked() {
    let (_, a, b) = two_with("f", "content").await;
    touch(&a, "f", year(31));
    a.settle().await;
    let path = b.at("f");
    let steps = at("time here: set", move || {
        let before = fs::metadata(&path).unwrap().modified().unwrap();
        fs::write(&path, "CONTENT").unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(before).unwrap();
    });
    tokio::time::sleep(Duration::from_millis(25)).await;
    sync::pass(&b.sides(steps), &b.settings, &mut |_| ())
        .await
        .unwrap();
    b.settle().await;
    a.settle().await;
    assert_eq!(a.read("f"), "CONTENT");
}

/// What is newer is what was written later, not what was sent later.
#[tokio::test]
async fn the_newer_version_is_the_one_that_was_written_later() {
    for (resolve, by_a, by_b, kept) in [
        (Resolve::Newer, 33, 34, "by b"),
        (Resolve::Newer, 34, 33, "by a"),
        (Resolve::Older, 33, 34, "by a"),
        (Resolve::Older, 34, 33, "by b"),
    ] {
        let (bucket, a, mut b) = two_with("f", "before").await;
        b.settings.resolve = resolve;
        save(&a, "f", "by a", year(by_a));
        a.settle().await;
        save(&b, "f", "by b", year(by_b));
        let before = bucket.calls().head;
        b.sync().await;
        assert_eq!(bucket.calls().head - before, 1, "only the one in conflict");
        b.settle().await;
        assert_eq!(b.read("f"), kept, "{resolve:?} {by_a} {by_b}");
        assert_eq!(b.files().len(), 2, "both are kept");
    }
}

/// Where an object says nothing of its time, the store's counts.
#[tokio::test]
async fn without_a_time_of_its_own_an_object_is_as_old_as_the_store_says() {
    let (bucket, a, _) = two_with("f", "before").await;
    save(&a, "f", "ours", year(35));
    put(&bucket, "f", "theirs");
    a.sync().await;
    a.settle().await;
    assert_eq!(a.read("f"), "theirs");
    assert_eq!(a.files().len(), 2);
}

/// A clock that is wrong by years loses nothing: with `fast` the loser is in the trash.
#[tokio::test]
async fn a_wrong_clock_loses_no_version() {
    let (bucket, a, mut b) = two_with("f", "before").await;
    let host = b.settings.host.clone();
    b.settings = sync::settings::Settings::of(model::Profile::Fast, host);
    save(&a, "f", "by a", year(200));
    a.settle().await;
    save(&b, "f", "by b", year(2));
    b.settle().await;
    assert_eq!(b.read("f"), "by a");
    let mut open = vec![b.at(".artifacts/trash")];
    let mut kept = Vec::new();
    while let Some(path) = open.pop() {
        match path.is_dir() {
            true => open.extend(fs::read_dir(path).unwrap().map(|e| e.unwrap().path())),
            false => kept.push(fs::read_to_string(path).unwrap()),
        }
    }
    assert!(kept.contains(&"by b".to_owned()), "{kept:?}");
    assert_eq!(bucket.contents()["p/f"], "by a");
}

/// As a mount writes them; never more than this user's own new files have.
#[tokio::test]
async fn rights_come_along_as_far_as_the_umask_lets_them() {
    let bucket = MemoryBucket::new();
    let (a, b) = (Machine::on(&bucket), Machine::on(&bucket));
    let set = |machine: &Machine, path: &str, mode| {
        fs::set_permissions(machine.at(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    let mode = |path: &str| fs::metadata(b.at(path)).unwrap().mode() & 0o7777;
    a.write("private", "1");
    set(&a, "private", 0o600);
    a.write("tool", "2");
    set(&a, "tool", 0o4755);
    a.sync().await;
    let mounted = Metadata::from([("mode".to_owned(), "000".to_owned())]);
    let options = PutOptions {
        metadata: mounted,
        ..PutOptions::default()
    };
    let key = Key::new("p/odd").unwrap();
    bucket
        .put(&key, Body::Bytes("3".into()), options)
        .await
        .unwrap();
    b.settle().await;
    let new = b.at("new");
    fs::write(&new, "").unwrap();
    let usual = fs::metadata(&new).unwrap().mode() & 0o777;
    fs::remove_file(new).unwrap();
    assert_eq!(mode("private"), 0o600 & usual | 0o400);
    assert_eq!(mode("tool"), usual | (usual & 0o444) >> 2, "never setuid");
    assert_eq!(
        mode("odd"),
        0o400,
        "what nobody may read could not be synced"
    );
    // What somebody closed here stays closed when another version comes.
    a.settle().await;
    set(&b, "tool", 0o700);
    a.write("tool", "22");
    set(&a, "tool", 0o644);
    a.settle().await;
    b.settle().await;
    assert_eq!((b.read("tool").as_str(), mode("tool")), ("22", 0o600));
}
