//! Large files, cut off and gone on with; full disks; stores that refuse or fail in mid-pass.

#![allow(clippy::unwrap_used, missing_docs)]

mod machine;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bucket::Error;
use bucket::faults::{Fault, Rule, Verb};
use bucket::memory::MemoryBucket;
use machine::*;
use sync::apply::Applied;
use sync::steps::{GoOn, Halted, Steps};
use sync::{SyncError, pass, run};

const MIB: usize = 1 << 20;

/// Ends a pass as a crash does, when a step is reached for the nth time.
struct Halt(&'static str, usize, AtomicUsize);

#[async_trait]
impl Steps for Halt {
    async fn reached(&self, step: &'static str) -> Result<(), Halted> {
        if step == self.0 && self.2.fetch_add(1, Ordering::SeqCst) + 1 == self.1 {
            return Err(Halted(step));
        }
        Ok(())
    }
}

fn halt(step: &'static str, nth: usize) -> Arc<dyn Steps> {
    Arc::new(Halt(step, nth, AtomicUsize::new(0)))
}

/// No two MiB of it are alike.
fn content(mib: usize, salt: u8) -> Vec<u8> {
    let mut bytes = vec![salt; mib * MIB + 7];
    for (n, block) in bytes.chunks_mut(MIB).enumerate() {
        block[0] = u8::try_from(n).unwrap();
        block[1] = salt;
    }
    bytes
}

fn machine(bucket: &MemoryBucket) -> Machine {
    bucket.set_part_size(MIB as u64);
    let mut machine = Machine::on(bucket);
    machine.settings.block = MIB as u64;
    machine.settings.transfers = 1;
    machine
}

async fn cut_off(machine: &Machine, step: &'static str, nth: usize) {
    tokio::time::sleep(Duration::from_millis(25)).await;
    let sides = machine.sides(halt(step, nth));
    let answer = pass(&sides, &machine.settings, &mut |_| ()).await;
    assert_eq!(answer, Err(SyncError::Halted(Halted(step))));
}

async fn ran(machine: &Machine, steps: Arc<dyn Steps>) -> Applied {
    tokio::time::sleep(Duration::from_millis(25)).await;
    run(&machine.sides(steps), &machine.settings, &mut |_| ())
        .await
        .unwrap()
}

fn half_received(machine: &Machine) -> usize {
    fs::read_dir(machine.at(".artifacts/tmp")).map_or(0, Iterator::count)
}

/// > A large file whose transfer was cut off is gone on with: what the other side has already is not moved again.
#[tokio::test]
async fn an_upload_that_was_cut_off_sends_only_the_rest() {
    let bucket = MemoryBucket::new();
    let a = machine(&bucket);
    let bytes = content(12, 1);
    fs::write(a.at("big"), &bytes).unwrap();
    cut_off(&a, "upload: part sent", 5).await;
    assert!(a.objects().is_empty(), "no half of it is an object");
    assert_eq!((bucket.parts_sent(), bucket.unfinished_uploads()), (5, 1));
    a.sync().await;
    assert_eq!((bucket.parts_sent(), bucket.unfinished_uploads()), (13, 0));
    assert!(bucket.contents()["p/big"] == bytes);
    a.settle().await;
    assert_eq!(bucket.parts_sent(), 13);
}

#[tokio::test]
async fn an_upload_of_a_file_that_changed_since_is_begun_anew() {
    let bucket = MemoryBucket::new();
    let a = machine(&bucket);
    fs::write(a.at("big"), content(12, 1)).unwrap();
    cut_off(&a, "upload: part sent", 5).await;
    let bytes = content(12, 2);
    fs::write(a.at("big"), &bytes).unwrap();
    a.sync().await;
    assert!(bucket.contents()["p/big"] == bytes, "no mixture");
    assert_eq!((bucket.parts_sent(), bucket.unfinished_uploads()), (18, 0));
}

/// > A file that is written to while it is sent is never in the bucket as a mixture of two versions.
#[tokio::test]
async fn a_large_file_that_changes_while_it_is_sent_is_no_object_until_it_is_whole() {
    let bucket = MemoryBucket::new();
    let a = machine(&bucket);
    fs::write(a.at("big"), content(9, 1)).unwrap();
    let (bytes, path) = (content(9, 2), a.at("big"));
    let later = bytes.clone();
    let steps = at("upload: part sent", move || fs::write(path, later).unwrap());
    tokio::time::sleep(Duration::from_millis(25)).await;
    let applied = pass(&a.sides(steps), &a.settings, &mut |_| ())
        .await
        .unwrap();
    assert_eq!(
        (applied.again, applied.busy),
        (vec!["big".to_owned()], vec!["big".to_owned()])
    );
    assert!(a.objects().is_empty());
    assert_eq!(bucket.unfinished_uploads(), 0);
    a.sync().await;
    assert!(bucket.contents()["p/big"] == bytes);
}

/// A run sends it twice at most, and says what is the matter.
#[tokio::test]
async fn a_file_that_is_written_all_the_while_is_told_of_and_left_to_the_next_run() {
    struct Busy(std::path::PathBuf, AtomicUsize);
    #[async_trait]
    impl Steps for Busy {
        async fn reached(&self, step: &'static str) -> Result<(), Halted> {
            if step == "upload: parts sent" {
                let n = self.1.fetch_add(1, Ordering::SeqCst);
                let mut bytes = content(9, 1);
                bytes[5] = u8::try_from(n).unwrap();
                fs::write(&self.0, bytes).unwrap();
            }
            Ok(())
        }
    }
    let bucket = MemoryBucket::new();
    let a = machine(&bucket);
    fs::write(a.at("big"), content(9, 1)).unwrap();
    a.write("other", "still goes up");
    let busy = Arc::new(Busy(a.at("big"), AtomicUsize::new(0)));
    let applied = ran(&a, busy.clone()).await;
    assert_eq!(
        (applied.again, applied.busy),
        (vec!["big".to_owned()], vec!["big".to_owned()])
    );
    assert_eq!(busy.1.load(Ordering::SeqCst), 2);
    assert_eq!(a.objects().into_keys().collect::<Vec<_>>(), ["other"]);
    assert!(ran(&a, Arc::new(GoOn)).await.is_whole());
}

/// > An upload that nobody goes on with for a day is given up, told of, and removed from the bucket.
#[tokio::test]
async fn an_upload_that_nobody_goes_on_with_is_given_up_and_told() {
    let bucket = MemoryBucket::new();
    let a = machine(&bucket);
    fs::write(a.at("big"), content(9, 1)).unwrap();
    cut_off(&a, "upload: part sent", 5).await;
    fs::remove_file(a.at("big")).unwrap();
    assert!(ran(&a, Arc::new(GoOn)).await.notes.is_empty());
    assert_eq!(bucket.unfinished_uploads(), 1, "not yet a day");
    let mut upload = a.state.uploads().unwrap().remove(0);
    upload.begun -= 25 * 3_600 * 1_000_000_000;
    a.state.begin_upload(&upload).unwrap();
    let notes = ran(&a, Arc::new(GoOn)).await.notes;
    assert!(
        notes[0].starts_with("the upload of big was begun more than a day ago"),
        "{notes:?}"
    );
    assert_eq!(bucket.unfinished_uploads(), 0);
    assert!(ran(&a, Arc::new(GoOn)).await.notes.is_empty());
}

#[tokio::test]
async fn a_lost_answer_of_the_last_call_is_no_conflict_and_sends_nothing_again() {
    let bucket = MemoryBucket::new();
    let a = machine(&bucket);
    fs::write(a.at("big"), content(9, 1)).unwrap();
    let lost = Error::Unreachable {
        endpoint: "test".into(),
        reason: "lost answer".into(),
    };
    let rule = a
        .network
        .add(Rule::new(Fault::FailAfter(lost)).on(Verb::Put));
    assert!(a.try_sync().await.is_err());
    rule.remove();
    let calls = bucket.calls();
    a.settle().await;
    assert_eq!(
        (bucket.calls().put, bucket.calls().get),
        (calls.put, calls.get)
    );
    assert_eq!(a.objects().len(), 1);
    let left = a.state.uploads().unwrap();
    assert!(left.is_empty(), "nothing is left to be given up");
}

#[tokio::test]
async fn a_download_that_was_cut_off_fetches_only_the_rest() {
    let bucket = MemoryBucket::new();
    let (a, b) = (machine(&bucket), machine(&bucket));
    let bytes = content(12, 1);
    fs::write(a.at("big"), &bytes).unwrap();
    a.sync().await;
    cut_off(&b, "download: block received", 5).await;
    assert!(b.files().is_empty());
    let before = bucket.calls().get;
    b.sync().await;
    let fetched = bucket.calls().get - before;
    assert!((5..=8).contains(&fetched), "{fetched} of 13 blocks");
    assert!(fs::read(b.at("big")).unwrap() == bytes);
    assert_eq!(half_received(&b), 0);
    b.settle().await;
    assert!(b.state.downloads().unwrap().is_empty());
}

#[tokio::test]
async fn a_download_of_another_version_is_begun_anew() {
    let bucket = MemoryBucket::new();
    let (a, b) = (machine(&bucket), machine(&bucket));
    fs::write(a.at("big"), content(12, 1)).unwrap();
    a.sync().await;
    cut_off(&b, "download: block received", 5).await;
    let bytes = content(12, 2);
    fs::write(a.at("big"), &bytes).unwrap();
    a.sync().await;
    assert!(ran(&b, Arc::new(GoOn)).await.is_whole());
    assert!(fs::read(b.at("big")).unwrap() == bytes);
    assert_eq!(half_received(&b), 0, "what is left of the other is removed");
}

/// A disk that lost what it was told to keep: where the ETag can tell, it does.
#[tokio::test]
async fn what_was_received_before_is_looked_at_before_it_counts() {
    let bucket = MemoryBucket::new();
    let b = machine(&bucket);
    let bytes = content(9, 1);
    bucket.insert(&bucket::Key::new("p/big").unwrap(), bytes.clone());
    cut_off(&b, "download: in place", 1).await;
    fs::remove_file(b.at("big")).unwrap();
    // As it is after the last block, and then damaged.
    let mut download = b.state.downloads().unwrap().remove(0);
    download.done.fill(true);
    b.state.note_download(&download).unwrap();
    let mut damaged = bytes.clone();
    damaged[4 * MIB] ^= 0xff;
    let part = format!(".artifacts/tmp/part-{}", download.name);
    fs::write(b.at(&part), damaged).unwrap();
    assert!(ran(&b, Arc::new(GoOn)).await.is_whole());
    assert!(fs::read(b.at("big")).unwrap() == bytes);
}

/// What another program sent in parts is known for the same without being fetched.
#[tokio::test]
async fn a_large_file_that_both_sides_have_is_not_fetched_to_be_compared() {
    let bucket = MemoryBucket::new();
    let (a, b) = (machine(&bucket), machine(&bucket));
    bucket.set_part_size(5 * MIB as u64);
    let bytes = content(12, 1);
    for machine in [&a, &b] {
        fs::write(machine.at("big"), &bytes).unwrap();
    }
    a.sync().await;
    assert!(bucket.parts_sent() > 1);
    b.settle().await;
    assert_eq!((bucket.calls().get, bucket.calls().put), (0, 1));
    let mut other = bytes;
    other[7 * MIB] ^= 1;
    let c = machine(&bucket);
    fs::write(c.at("big"), other).unwrap();
    c.settle().await;
    assert_eq!(c.files().len(), 2, "what differs is a conflict");
}

#[tokio::test]
async fn a_sparse_file_stays_sparse() {
    let bucket = MemoryBucket::new();
    let b = machine(&bucket);
    let mut bytes = vec![0; 24 * MIB];
    bytes[10 * MIB + 5] = 1;
    bucket.insert(&bucket::Key::new("p/disk.img").unwrap(), bytes.clone());
    b.sync().await;
    let made = fs::metadata(b.at("disk.img")).unwrap();
    assert_eq!(made.size(), bytes.len() as u64);
    assert!(made.blocks() * 512 < MIB as u64, "{} blocks", made.blocks());
    assert!(fs::read(b.at("disk.img")).unwrap() == bytes);
}

#[tokio::test]
async fn credentials_that_end_in_the_middle_of_a_transfer_leave_it_to_be_gone_on_with() {
    let bucket = MemoryBucket::new();
    let b = machine(&bucket);
    let bytes = content(12, 1);
    bucket.insert(&bucket::Key::new("p/big").unwrap(), bytes.clone());
    let expired = Error::BadCredentials {
        reason: "ExpiredToken".into(),
        expired: true,
    };
    let rule = Rule::new(Fault::FailBefore(expired.clone())).on(Verb::Get);
    let rule = b.network.add(rule.nth(6));
    assert_eq!(b.try_sync().await, Err(SyncError::Bucket(expired)));
    assert!(b.files().is_empty(), "no half of it has the name");
    rule.remove();
    let before = bucket.calls().get;
    b.sync().await;
    assert!(bucket.calls().get - before < 13);
    assert!(fs::read(b.at("big")).unwrap() == bytes);
}

/// > A store that refuses one change after the other in mid-pass is asked no further, which is told once.
#[tokio::test]
async fn a_bucket_that_turns_read_only_is_asked_no_further_and_told_once() {
    let bucket = MemoryBucket::new();
    let a = machine(&bucket);
    for n in 0..50 {
        a.write(&format!("f{n:02}"), "x");
    }
    put(&bucket, "theirs", "theirs");
    let denied = Error::PermissionDenied {
        action: "put".into(),
    };
    let rule = Rule::new(Fault::FailBefore(denied)).on(Verb::Put);
    let rule = a.network.add(rule);
    let applied = a.try_sync().await.unwrap();
    assert_eq!(a.network.calls(Verb::Put), 3);
    assert_eq!(applied.failed.len(), 1, "{:?}", applied.failed);
    assert!(
        applied.failed[0]
            .1
            .contains("49 others are left as they are"),
        "{applied:?}"
    );
    assert_eq!(a.read("theirs"), "theirs", "what can be done is done");
    rule.remove();
    a.sync().await;
    assert_eq!(a.files(), a.objects());
}

/// Whatever call fails, and however, nothing is deleted for it.
/// > A listing that fails, that is old or that lacks objects deletes nothing; each object is asked for by name before its file here is deleted.
#[tokio::test]
async fn a_store_that_fails_in_the_middle_of_a_pass_deletes_nothing() {
    let busy = || Error::Throttled {
        reason: "InternalError".into(),
    };
    for verb in [
        Verb::Get,
        Verb::Head,
        Verb::Put,
        Verb::Copy,
        Verb::Delete,
        Verb::List,
    ] {
        for nth in 1..4 {
            let bucket = MemoryBucket::new();
            let a = Machine::on(&bucket);
            for n in 0..12 {
                a.write(&format!("f{n:02}"), &format!("{n}"));
            }
            a.settle().await;
            for n in 0..3 {
                remove(&bucket, &format!("f{n:02}"));
                put(&bucket, &format!("new{n}"), "theirs");
                fs::remove_file(a.at(&format!("f{:02}", n + 3))).unwrap();
                a.write(&format!("ours{n}"), "ours");
                put(&bucket, &format!("f{:02}", n + 6), "edited there");
            }
            let rule = a
                .network
                .add(Rule::new(Fault::FailBefore(busy())).on(verb).nth(nth));
            let _ = a.try_sync().await;
            rule.remove();
            let (here, there) = (a.files(), a.objects());
            for n in 9..12 {
                let path = format!("f{n:02}");
                assert_eq!(here[&path], there[&path], "{verb:?} {nth}");
            }
            for n in 0..3 {
                assert!(here.contains_key(&format!("ours{n}")), "{verb:?} {nth}");
                assert_eq!(there[&format!("new{n}")], "theirs", "{verb:?} {nth}");
                assert!(
                    there.contains_key(&format!("f{:02}", n + 6)),
                    "{verb:?} {nth}"
                );
            }
            a.settle().await;
            assert_eq!(a.files(), a.objects(), "{verb:?} {nth}");
            assert_eq!(a.files().len(), 12, "{verb:?} {nth}: {:?}", a.files());
        }
    }
}

/// An object that goes while it is to be fetched is looked for again; its file stays.
#[tokio::test]
async fn an_object_that_vanishes_while_it_is_fetched_takes_no_file_with_it() {
    let bucket = MemoryBucket::new();
    let a = Machine::on(&bucket);
    a.write("f", "before");
    a.settle().await;
    put(&bucket, "f", "theirs");
    let late = bucket.clone();
    let steps = at("plan made", move || remove(&late, "f"));
    tokio::time::sleep(Duration::from_millis(25)).await;
    let applied = pass(&a.sides(steps), &a.settings, &mut |_| ())
        .await
        .unwrap();
    assert_eq!(applied.again, ["f"]);
    assert_eq!(a.read("f"), "before");
}

#[tokio::test]
async fn progress_is_told_while_a_file_moves_and_is_whole_in_the_end() {
    let bucket = MemoryBucket::new();
    let b = machine(&bucket);
    let bytes = content(12, 1);
    let size = bytes.len() as u64;
    bucket.insert(&bucket::Key::new("p/big").unwrap(), bytes);
    let progress = b.settings.progress.clone();
    let seen = Arc::new(AtomicUsize::new(0));
    let (half, told) = (progress.clone(), seen.clone());
    let steps = at("download: block received", move || {
        told.store(
            usize::try_from(half.sum().done_bytes).unwrap(),
            Ordering::SeqCst,
        );
    });
    assert!(ran(&b, steps).await.is_whole());
    let seen = seen.load(Ordering::SeqCst);
    assert!((MIB..13 * MIB).contains(&seen), "{seen} bytes");
    let sum = progress.sum();
    assert_eq!((sum.files, sum.done_files), (1, 1));
    assert_eq!((sum.bytes, sum.done_bytes), (size, size));
}
