//! What stops a sync, or cuts it off, and what it leaves then.

#![allow(clippy::unwrap_used, missing_docs)]

mod machine;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bucket::faults::{Fault, Faulty, Rule, Verb};
use bucket::memory::MemoryBucket;
use bucket::{Bucket, Error, Key};
use machine::*;
use sync::folder::FolderError;
use sync::folder::disk::DiskFolder;
use sync::plan::Stop;
use sync::settings::Deletes;
use sync::steps::GoOn;
use sync::{Access, SyncError, pass};
use uuid::Uuid;

/// A machine with 200 files that the bucket has too.
async fn with_200(bucket: &MemoryBucket) -> Machine {
    let a = Machine::on(bucket);
    for n in 0..200 {
        a.write(&format!("f{n:03}"), "x");
    }
    a.sync().await;
    a
}

/// Deletes some of them in the bucket, to be deleted here, or the other way round.
fn delete(a: &Machine, bucket: &MemoryBucket, here: bool, files: std::ops::Range<usize>) {
    for n in files {
        let name = format!("f{n:03}");
        match here {
            true => remove(bucket, &name),
            false => fs::remove_file(a.at(&name)).unwrap(),
        }
    }
}

/// Pain 15: both limits hold before the first change, on either side.
/// > More deletions than the limit, or a side that is suddenly empty, stop a run before its first change.
#[tokio::test]
async fn too_many_deletions_stop_before_the_first_change() {
    for here in [true, false] {
        let bucket = MemoryBucket::new();
        let mut a = with_200(&bucket).await;
        a.write("new", "not sent either");
        delete(&a, &bucket, here, 0..40);
        let stopped = a.try_sync().await.unwrap_err();
        let (deleted_here, there) = if here { (40, 0) } else { (0, 40) };
        let stop = Stop::TooManyDeletes {
            here: deleted_here,
            there,
            lately: (0, 0),
            known: 200,
            limit: a.settings.limit,
        };
        assert_eq!(stopped, SyncError::Stopped(stop));
        assert!(
            stopped
                .to_string()
                .contains("the limit is 25 files or 50 %"),
            "{stopped}"
        );
        assert!(!a.objects().contains_key("new"));
        // Pain 16: the deletions can be taken back …
        a.settings.deletes = Deletes::Restore;
        a.sync().await;
        assert_eq!((a.files().len(), a.objects().len()), (201, 201));
        // … or approved.
        for n in 0..40 {
            fs::remove_file(a.at(&format!("f{n:03}"))).unwrap();
        }
        a.settings.deletes = Deletes::Approve;
        a.sync().await;
        assert_eq!((a.files().len(), a.objects().len()), (161, 161));
    }
}

/// Many small runs, as with --watch, delete no more than one may.
#[tokio::test]
async fn what_was_deleted_within_the_last_hour_counts_for_the_limit() {
    for here in [true, false] {
        let bucket = MemoryBucket::new();
        let mut a = with_200(&bucket).await;
        delete(&a, &bucket, here, 0..20);
        a.sync().await;
        delete(&a, &bucket, here, 20..40);
        let stopped = a.try_sync().await.unwrap_err();
        let side = |n| if here { (n, 0) } else { (0, n) };
        let stop = Stop::TooManyDeletes {
            here: side(20).0,
            there: side(20).1,
            lately: side(20),
            known: 180,
            limit: a.settings.limit,
        };
        assert_eq!(stopped, SyncError::Stopped(stop));
        assert!(stopped.to_string().contains("within the last hour"));
        // What somebody approved of is no part of the next hour's.
        a.settings.deletes = Deletes::Approve;
        a.sync().await;
        a.settings.deletes = Deletes::Ask;
        delete(&a, &bucket, here, 40..60);
        a.sync().await;
        assert_eq!((a.files().len(), a.objects().len()), (140, 140));
        // Where nothing is deleted, what was deleted before stops nothing.
        a.settings.limit = "5".parse().unwrap();
        a.write("new", "goes");
        a.sync().await;
    }
}

/// Pain 18: a side that is suddenly empty is a question.
/// > More deletions than the limit, or a side that is suddenly empty, stop a run before its first change.
#[tokio::test]
async fn a_side_that_is_suddenly_empty_stops() {
    let bucket = MemoryBucket::new();
    let a = Machine::on(&bucket);
    a.write("f", "1");
    a.write("g", "2");
    a.sync().await;
    remove(&bucket, "f");
    remove(&bucket, "g");
    let stop = |here| SyncError::Stopped(Stop::SideEmpty { here, known: 2 });
    assert_eq!(a.try_sync().await, Err(stop(false)));
    put(&bucket, "f", "1");
    put(&bucket, "g", "2");
    fs::remove_file(a.at("f")).unwrap();
    fs::remove_file(a.at("g")).unwrap();
    assert_eq!(a.try_sync().await, Err(stop(true)));
    assert_eq!(a.objects().len(), 2);
}

/// Pain 18: a folder whose disk is not mounted, or that was replaced.
/// > A folder that lost its marker, or that is another directory than before, is refused.
#[tokio::test]
async fn a_folder_that_is_not_the_one_that_was_synced_is_refused() {
    let bucket = MemoryBucket::new();
    let a = Machine::on(&bucket);
    a.write("f", "1");
    a.sync().await;
    let away = a.at(".artifacts/folder.json");
    let text = fs::read_to_string(&away).unwrap();
    fs::remove_file(&away).unwrap();
    assert_eq!(a.try_sync().await, Err(Access::NoMarker.into()));
    let other = text.replace(&Uuid::nil().to_string(), &Uuid::max().to_string());
    fs::write(&away, other).unwrap();
    let answer = a.try_sync().await;
    assert_eq!(answer, Err(Access::Other(Uuid::max().to_string()).into()));
    fs::write(&away, text).unwrap();
    a.state.set_root(1).unwrap();
    assert_eq!(a.try_sync().await, Err(Access::Replaced.into()));
    assert_eq!(a.objects().len(), 1);
}

#[tokio::test]
async fn a_first_run_deletes_nothing_and_adopts_what_is_alike() {
    let bucket = MemoryBucket::new();
    let a = Machine::on(&bucket);
    put(&bucket, "same", "same");
    put(&bucket, "theirs", "theirs");
    a.write("same", "same");
    a.write("ours", "ours");
    let before = bucket.calls();
    a.sync().await;
    let after = bucket.calls();
    assert_eq!((after.get - before.get, after.put - before.put), (1, 1));
    assert_eq!(a.files(), a.objects());
    assert_eq!(a.files().len(), 3);
}

/// A listing that is old, or that lacks what is there, deletes nothing.
/// > A listing that fails, that is old or that lacks objects deletes nothing; each object is asked for by name before its file here is deleted.
#[tokio::test]
async fn a_list_that_lacks_objects_deletes_nothing() {
    let bucket = MemoryBucket::new();
    let a = Machine::on(&bucket);
    for n in 0..20 {
        a.write(&format!("f{n}"), "x");
    }
    a.settle().await;
    let busy = Error::Throttled {
        reason: "SlowDown".into(),
    };
    let failing = Rule::new(Fault::FailBefore(busy.clone())).on(Verb::List);
    let failing = a.network.add(failing);
    assert_eq!(a.try_sync().await, Err(SyncError::Bucket(busy)));
    failing.remove();
    let mut sides = a.sides(Arc::new(GoOn));
    sides.bucket = Arc::new(Forgetful(a.network.clone()));
    tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    let applied = pass(&sides, &a.settings, &mut |_| ()).await.unwrap();
    assert_eq!(applied.again.len(), 3, "{applied:?}");
    assert_eq!(a.files().len(), 20);
    a.settle().await;
    assert_eq!(a.objects().len(), 20);
}

/// Its listings lack three objects.
struct Forgetful(Faulty);

#[async_trait]
impl Bucket for Forgetful {
    async fn get(&self, key: &Key, o: bucket::GetOptions) -> bucket::Result<bucket::Object> {
        self.0.get(key, o).await
    }
    async fn head(&self, key: &Key) -> bucket::Result<bucket::ObjectMeta> {
        self.0.head(key).await
    }
    async fn put(
        &self,
        key: &Key,
        body: bucket::Body,
        o: bucket::PutOptions,
    ) -> bucket::Result<bucket::PutOutcome> {
        self.0.put(key, body, o).await
    }
    async fn copy(
        &self,
        from: &Key,
        to: &Key,
        o: bucket::CopyOptions,
    ) -> bucket::Result<bucket::PutOutcome> {
        self.0.copy(from, to, o).await
    }
    async fn delete(&self, key: &Key, c: bucket::Condition) -> bucket::Result<()> {
        self.0.delete(key, c).await
    }
    async fn delete_many(&self, keys: &[Key]) -> bucket::Result<Vec<bucket::DeleteOutcome>> {
        self.0.delete_many(keys).await
    }
    async fn list(&self, request: &bucket::ListRequest) -> bucket::Result<bucket::ListPage> {
        let mut page = self.0.list(request).await?;
        page.objects
            .retain(|o| !["p/f3", "p/f4", "p/f5"].contains(&o.key.as_str()));
        Ok(page)
    }
}

/// Credentials that end, or a store that goes away, in the middle of a pass.
/// > A pass that ends early, for want of credentials, of an answer or of room, leaves every file whole.
#[tokio::test]
async fn what_ends_a_pass_never_cuts_a_file_short() {
    let bucket = MemoryBucket::new();
    let a = Machine::on(&bucket);
    a.write("f", "before");
    a.settle().await;
    put(&bucket, "f", &"theirs ".repeat(100_000));
    let expired = Error::BadCredentials {
        reason: "ExpiredToken".into(),
        expired: true,
    };
    for fault in [Fault::FailBefore(expired), Fault::Truncate(1_000)] {
        let rule = a.network.add(Rule::new(fault).on(Verb::Get));
        assert!(matches!(a.try_sync().await, Err(SyncError::Bucket(_))));
        assert_eq!(a.read("f"), "before");
        rule.remove();
    }
    a.sync().await;
    assert_eq!(a.read("f").len(), 700_000);
    let left = fs::read_dir(a.at(".artifacts/tmp")).unwrap().count();
    assert_eq!(left, 0, "nothing half received is left");
}

/// What cannot be read is not gone.
#[tokio::test]
async fn what_is_neither_file_nor_link_is_left_alone() {
    let bucket = MemoryBucket::new();
    let a = Machine::on(&bucket);
    a.write("f", "1");
    a.write("g", "2");
    a.sync().await;
    fs::remove_file(a.at("f")).unwrap();
    let made = std::process::Command::new("mkfifo").arg(a.at("f")).status();
    assert!(made.unwrap().success());
    let plan = a.plan().await;
    assert!(plan.actions.is_empty(), "{:?}", plan.actions);
    assert_eq!(plan.refused[0].name, "f");
    assert_eq!(a.objects().len(), 2);
}

#[tokio::test]
async fn looking_writes_nothing_into_the_folder() {
    let bucket = MemoryBucket::new();
    let a = Machine::on(&bucket);
    a.write("f", "1");
    put(&bucket, "g", "2");
    let plan = a.plan().await;
    assert_eq!(plan.actions.len(), 2);
    assert!(!a.at(".artifacts").exists());
    assert_eq!(bucket.contents().len(), 1);
}

#[test]
fn a_folder_that_is_not_there_is_no_empty_one() {
    let opened = DiskFolder::open(Path::new("/nowhere/at/all")).map(drop);
    assert!(matches!(opened, Err(FolderError::NoFolder { .. })));
}
