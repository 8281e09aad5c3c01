//! Real folders and a bucket in memory: the troubles that sync tools are known for, each with
//! the outcome that we promise.

#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bucket::faults::{Fault, Faulty, Rule, Verb};
use bucket::memory::MemoryBucket;
use bucket::probe::Capabilities;
use bucket::{Bucket, Error, Key};
use model::Profile;
use parking_lot::Mutex;
use sync::apply::{Applied, Sides};
use sync::folder::FolderError;
use sync::folder::disk::DiskFolder;
use sync::keys::Keys;
use sync::plan::{Plan, Stop};
use sync::settings::{Deletes, Resolve, Settings};
use sync::state::State;
use sync::steps::{GoOn, Halted, Steps};
use sync::{Access, SyncError, look, pass};
use uuid::Uuid;

const ALL: Capabilities = Capabilities {
    writable: true,
    put_if_absent: true,
    put_if_match: true,
    delete_if_match: true,
    copy: true,
    copy_if_absent: true,
    versions: false,
};

struct Machine {
    folder: tempfile::TempDir,
    state: Arc<State>,
    bucket: MemoryBucket,
    network: Faulty,
    settings: Settings,
    capabilities: Capabilities,
}

impl Machine {
    fn on(bucket: &MemoryBucket) -> Self {
        let mut settings = Settings::of(Profile::Balanced, "here");
        // The kernel's step; so that no test waits for two seconds.
        settings.time_step = 20_000_000;
        Self {
            folder: tempfile::tempdir().unwrap(),
            state: Arc::new(State::in_memory(Uuid::nil()).unwrap()),
            bucket: bucket.clone(),
            network: Faulty::new(Arc::new(bucket.clone())),
            settings,
            capabilities: ALL,
        }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn write(&self, path: &str, content: &str) {
        let at = self.at(path);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::write(at, content).unwrap();
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap_or_else(|e| format!("{path}: {e}"))
    }

    /// All files but ours, with their content.
    fn files(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        gather(self.folder.path(), self.folder.path(), &mut all);
        all
    }

    fn sides(&self, steps: Arc<dyn Steps>) -> Sides {
        Sides {
            bucket: Arc::new(self.network.clone()),
            keys: Keys::new("p/"),
            capabilities: self.capabilities,
            folder: Arc::new(DiskFolder::open(self.folder.path()).unwrap()),
            state: Arc::clone(&self.state),
            steps,
        }
    }

    async fn try_sync(&self) -> Result<Applied, SyncError> {
        // What was written a moment ago is left alone for one step of the clock.
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
        let sides = self.sides(Arc::new(GoOn));
        pass(&sides, &self.settings, &mut |_| ()).await
    }

    async fn sync(&self) -> Applied {
        let applied = self.try_sync().await.unwrap();
        assert!(applied.is_whole(), "{applied:?}");
        applied
    }

    async fn plan(&self) -> Plan {
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
        look(&self.sides(Arc::new(GoOn)), &self.settings)
            .await
            .unwrap()
            .0
    }

    /// The passes until a second one does nothing.
    async fn settle(&self) {
        for _ in 0..5 {
            if self.try_sync().await.unwrap() == Applied::default() {
                return;
            }
        }
        panic!("no quiet: {:?}", self.plan().await);
    }

    fn objects(&self) -> BTreeMap<String, String> {
        let all = self.bucket.contents().into_iter();
        all.filter_map(|(key, body)| {
            let path = key.strip_prefix("p/")?;
            let shown = !path.starts_with(".artifacts/");
            shown.then(|| (path.to_owned(), String::from_utf8_lossy(&body).into_owned()))
        })
        .collect()
    }
}

fn gather(root: &Path, at: &Path, all: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(at).unwrap() {
        let path = entry.unwrap().path();
        let name = path
            .strip_prefix(root)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let kind = fs::symlink_metadata(&path).unwrap();
        if name == ".artifacts" {
            continue;
        }
        if kind.is_dir() {
            gather(root, &path, all);
        } else if kind.is_symlink() {
            let target = fs::read_link(&path).unwrap();
            all.insert(name, format!("-> {}", target.display()));
        } else {
            all.insert(
                name,
                String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned(),
            );
        }
    }
}

fn put(bucket: &MemoryBucket, path: &str, content: &str) {
    bucket.insert(&Key::new(format!("p/{path}")).unwrap(), content.to_owned());
}

fn remove(bucket: &MemoryBucket, path: &str) {
    assert!(bucket.remove(&Key::new(format!("p/{path}")).unwrap()));
}

/// Does something once, at a step.
struct At<F>(&'static str, Mutex<Option<F>>);

#[async_trait]
impl<F: FnOnce() + Send + Sync + 'static> Steps for At<F> {
    async fn reached(&self, step: &'static str) -> Result<(), Halted> {
        if step == self.0
            && let Some(work) = self.1.lock().take()
        {
            work();
        }
        Ok(())
    }
}

fn at<F: FnOnce() + Send + Sync + 'static>(step: &'static str, work: F) -> Arc<dyn Steps> {
    Arc::new(At(step, Mutex::new(Some(work))))
}

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
    assert_eq!(a.files(), a.objects());
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

/// Pain 15: both limits hold before the first change, on either side.
/// > More deletions than the limit, or a side that is suddenly empty, stop a run before its first change.
#[tokio::test]
async fn too_many_deletions_stop_before_the_first_change() {
    for here in [true, false] {
        let bucket = MemoryBucket::new();
        let mut a = Machine::on(&bucket);
        for n in 0..200 {
            a.write(&format!("f{n:03}"), "x");
        }
        a.sync().await;
        a.write("new", "not sent either");
        for n in 0..40 {
            let name = format!("f{n:03}");
            match here {
                true => remove(&bucket, &name),
                false => fs::remove_file(a.at(&name)).unwrap(),
            }
        }
        let stopped = a.try_sync().await.unwrap_err();
        let (deleted_here, there) = if here { (40, 0) } else { (0, 40) };
        let stop = Stop::TooManyDeletes {
            here: deleted_here,
            there,
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

#[tokio::test]
async fn a_bucket_that_turns_read_only_loses_nothing() {
    let bucket = MemoryBucket::new();
    let a = Machine::on(&bucket);
    for n in 0..5 {
        a.write(&format!("f{n}"), "x");
    }
    put(&bucket, "theirs", "theirs");
    let denied = Error::PermissionDenied {
        action: "put".into(),
    };
    let rule = Rule::new(Fault::FailBefore(denied)).on(Verb::Put);
    let rule = a.network.add(rule);
    let applied = a.try_sync().await.unwrap();
    assert_eq!(applied.failed.len(), 5);
    assert_eq!(a.read("theirs"), "theirs", "what can be done is done");
    rule.remove();
    a.sync().await;
    assert_eq!(a.files(), a.objects());
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
    a.settle().await;
    for path in ["replaced", "d/gone", "deleted here"] {
        assert_eq!(a.read(path), path);
        assert_eq!(a.objects()[path], path);
    }
    assert_eq!(a.objects()["changed since"], "by the user");
    let next = sync::undo::last(&sides).unwrap().unwrap();
    assert_eq!(
        next.1.len(),
        1,
        "the undo itself put one file into the trash"
    );
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
    assert_eq!(trash, [format!("p/.artifacts/trash/{kept}/f")]);
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
