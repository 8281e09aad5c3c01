//! What a bucket's other writers, and stores that say odd things, must not bring about.

#![allow(clippy::unwrap_used, missing_docs)]

mod machine;

use std::fs;
use std::sync::Arc;

use bucket::faults::{Fault, Rule, Verb};
use bucket::memory::MemoryBucket;
use bucket::{
    Body, Bucket, Condition, CopyOptions, DeleteOutcome, Etag, GetOptions, Key, ListPage,
    ListRequest, Object, ObjectMeta, PutOptions, PutOutcome, Result as BucketResult,
};
use machine::*;
use sync::apply::Sides;
use sync::plan::Plan;
use sync::steps::GoOn;
use sync::{SyncError, look};

/// What a plan says of a name that it leaves alone.
fn told(plan: &Plan, name: &str) -> String {
    let of = plan.refused.iter().filter(|told| told.name == name);
    of.map(|told| told.reason.as_str()).collect()
}

/// A file of rules too large for any matcher.
fn too_large() -> String {
    let line = |n: usize| format!("{n:05}{}\n", "?*".repeat(30));
    let lines = (0..2_000).map(line);
    format!("*.env\n{}", lines.collect::<String>())
}

/// > What a rule of `.artifactsignore` leaves out is neither sent, fetched nor deleted.
#[tokio::test]
async fn nothing_is_sent_from_a_directory_whose_rules_cannot_be_read() {
    let bucket = MemoryBucket::new();
    let a = Machine::on(&bucket);
    a.write("large/.artifactsignore", &too_large());
    a.write("odd/.artifactsignore", "");
    fs::write(a.at("odd/.artifactsignore"), b"*.env\n\xff\n").unwrap();
    for path in ["large/s.env", "large/deep/s.env", "odd/s.env", "note.md"] {
        a.write(path, "1");
    }
    put(&bucket, "there/.artifactsignore", &too_large());
    a.write("there/s.env", "1");
    let plan = a.plan().await;
    for directory in ["large", "odd", "there"] {
        let told = told(&plan, directory);
        assert!(told.contains("not a text of rules"), "{directory}: {told}");
    }
    a.settle().await;
    let objects: Vec<String> = a.objects().into_keys().collect();
    assert_eq!(objects, ["note.md", "there/.artifactsignore"]);
    // Mended, they count.
    for directory in ["large", "odd"] {
        a.write(&format!("{directory}/.artifactsignore"), "s.env\n");
        a.write(&format!("{directory}/f"), "1");
    }
    put(&bucket, "there/.artifactsignore", "s.env\n");
    a.settle().await;
    let sent: Vec<String> = a.objects().into_keys().collect();
    assert!(sent.contains(&"large/f".into()) && !sent.iter().any(|s| s.ends_with("s.env")));
    // In the root they hold up everything.
    a.write(".artifactsignore", &too_large());
    a.write("new.env", "1");
    let refused = a.try_sync().await.unwrap_err();
    assert!(
        matches!(&refused, SyncError::Folder(error) if error.to_string().contains("not a text")),
        "{refused}"
    );
}

/// > What a rule of `.artifactsignore` leaves out is neither sent, fetched nor deleted.
#[tokio::test]
async fn what_is_left_out_here_is_not_sent_because_others_change_the_rules() {
    type Change = fn(&MemoryBucket);
    let changes: [(&str, Change); 5] = [
        (".artifactsignore", |b| put(b, ".artifactsignore", "")),
        (".artifactsignore", |b| remove(b, ".artifactsignore")),
        (".artifactsignore", |b| put(b, ".artifactsignore/x", "1")),
        (".artifactsignore", |b| {
            put(b, ".artifactsignore.rclonelink", "d/f");
        }),
        ("d/.artifactsignore", |b| {
            put(b, "d/.artifactsignore", "!*.env\n");
        }),
    ];
    for (number, (file, change)) in changes.into_iter().enumerate() {
        let bucket = MemoryBucket::new();
        let mut a = Machine::on(&bucket);
        a.write(".artifactsignore", "*.env\n");
        a.write("d/s.env", "secret");
        a.write("d/f", "1");
        a.settle().await;
        change(&bucket);
        put(&bucket, "d/new", "1");
        let reason = told(&a.plan().await, file);
        assert!(reason.contains("d/s.env"), "change {number}: {reason:?}");
        for _ in 0..3 {
            // Where a link has the name too, more may be told and left.
            a.try_sync().await.unwrap();
        }
        assert_eq!(a.read("d/new"), "1", "the rest goes on");
        assert!(!a.objects().contains_key("d/s.env"), "change {number}");
        assert_eq!(a.read(".artifactsignore"), "*.env\n", "change {number}");
        // Unless the user of the folder lets it in.
        if number == 0 {
            a.settings.filters = vec![sync::ignored::Filter::include("*.env").unwrap()];
            a.settle().await;
            assert_eq!(a.objects()["d/s.env"], "secret");
        }
    }
}

#[tokio::test]
async fn rules_of_others_that_let_in_nothing_of_ours_are_taken() {
    let bucket = MemoryBucket::new();
    let a = Machine::on(&bucket);
    a.write(".artifactsignore", "*.env\n*.old\n");
    a.write("s.env", "secret");
    a.settle().await;
    put(&bucket, ".artifactsignore", "*.env\n*.key\n");
    a.settle().await;
    assert_eq!(a.read(".artifactsignore"), "*.env\n*.key\n");
}

/// A store that says odd things in its listings.
struct Odd {
    memory: MemoryBucket,
    lie: fn(&ListRequest, ListPage) -> ListPage,
}

#[async_trait::async_trait]
impl Bucket for Odd {
    async fn get(&self, key: &Key, o: GetOptions) -> BucketResult<Object> {
        self.memory.get(key, o).await
    }
    async fn head(&self, key: &Key) -> BucketResult<ObjectMeta> {
        self.memory.head(key).await
    }
    async fn put(&self, key: &Key, body: Body, o: PutOptions) -> BucketResult<PutOutcome> {
        self.memory.put(key, body, o).await
    }
    async fn copy(&self, from: &Key, to: &Key, o: CopyOptions) -> BucketResult<PutOutcome> {
        self.memory.copy(from, to, o).await
    }
    async fn delete(&self, key: &Key, c: Condition) -> BucketResult<()> {
        self.memory.delete(key, c).await
    }
    async fn delete_many(&self, keys: &[Key]) -> BucketResult<Vec<DeleteOutcome>> {
        self.memory.delete_many(keys).await
    }
    async fn list(&self, request: &ListRequest) -> BucketResult<ListPage> {
        // Its tokens are no memory's.
        let asked = ListRequest {
            token: None,
            ..request.clone()
        };
        let page = self.memory.list(&asked).await?;
        Ok((self.lie)(request, page))
    }
}

fn odd(a: &Machine, lie: fn(&ListRequest, ListPage) -> ListPage) -> Sides {
    let memory = a.bucket.clone();
    Sides {
        bucket: Arc::new(Odd { memory, lie }),
        ..a.sides(Arc::new(GoOn))
    }
}

#[tokio::test]
async fn only_what_lies_in_the_trash_of_a_pass_is_cleaned() {
    let bucket = MemoryBucket::new();
    let a = Machine::on(&bucket);
    put(&bucket, ".artifacts/a", "ours");
    put(&bucket, "+file", "a file");
    put(&bucket, ".artifacts/trash/0/f", "of no pass");
    put(
        &bucket,
        ".artifacts/trash/00000000000000000001-1-x/f",
        "old",
    );
    let old = Key::new("p/.artifacts/trash/00000000000000000001-1-x/f").unwrap();
    bucket.age(&old, 31 * 24 * 3_600 * 1_000_000_000);
    // It lists everything, whatever was asked for.
    let sides = odd(&a, |_, mut page| {
        let of = |key: &str| ObjectMeta {
            key: Key::new(key).unwrap(),
            size: 1,
            etag: Etag::new("e"),
            last_modified: 0,
            metadata: bucket::Metadata::default(),
        };
        page.objects.insert(0, of("p/.artifacts/a"));
        page.objects.insert(0, of("p/+file"));
        page
    });
    sync::clean(&sides).await.unwrap();
    let left: Vec<String> = bucket.contents().into_keys().collect();
    assert_eq!(
        left,
        [
            "p/+file",
            "p/.artifacts/a",
            "p/.artifacts/clock",
            "p/.artifacts/trash/0/f"
        ]
    );
}

#[tokio::test]
async fn a_listing_without_end_is_an_error() {
    let bucket = MemoryBucket::new();
    let a = Machine::on(&bucket);
    let same: fn(&ListRequest, ListPage) -> ListPage = |_, mut page| {
        page.next = Some("again".to_owned());
        page
    };
    let ever_new: fn(&ListRequest, ListPage) -> ListPage = |request, mut page| {
        page.next = Some(format!("{}x", request.token.as_deref().unwrap_or("")));
        page
    };
    for lie in [same, ever_new] {
        let sides = odd(&a, lie);
        let listed = look(&sides, &a.settings).await.map(drop).unwrap_err();
        assert!(listed.to_string().contains("does not end"), "{listed}");
        let cleaned = sync::clean(&sides).await.unwrap_err();
        assert!(cleaned.to_string().contains("does not end"), "{cleaned}");
    }
}

#[tokio::test]
async fn a_size_that_no_object_has_is_not_believed_and_one_etag_is_not_one_size() {
    let bucket = MemoryBucket::new();
    let a = Machine::on(&bucket);
    a.write("f", "1");
    put(&bucket, "g", "1");
    a.settle().await;
    let sides = odd(&a, |_, mut page| {
        for object in &mut page.objects {
            object.size = u64::MAX;
        }
        page
    });
    let (plan, _) = look(&sides, &a.settings).await.unwrap();
    assert!(told(&plan, "f").contains("which no object has"), "{plan:?}");
    assert!(plan.actions.is_empty(), "{:?}", plan.actions);
    let sides = odd(&a, |_, mut page| {
        for object in &mut page.objects {
            object.size = 7;
        }
        page
    });
    let (plan, _) = look(&sides, &a.settings).await.unwrap();
    let names: Vec<&str> = plan.actions.iter().map(|a| a.act.name()).collect();
    assert_eq!(names, ["download", "download"]);
}

/// > What a pass replaced or deleted can be brought back for 30 days, as long as nobody has put anything else in its place.
#[tokio::test]
async fn an_undo_that_is_cut_off_can_be_gone_on_with() {
    let bucket = MemoryBucket::new();
    let a = Machine::on(&bucket);
    for path in ["f", "g", "h"] {
        a.write(path, path);
    }
    a.settle().await;
    for path in ["f", "g"] {
        fs::remove_file(a.at(path)).unwrap();
    }
    a.sync().await;
    let sides = a.sides(Arc::new(GoOn));
    let (last, taken) = sync::undo::last(&sides).unwrap().unwrap();
    assert_eq!(taken.len(), 2);
    let denied = bucket::Error::Throttled {
        reason: "SlowDown".into(),
    };
    a.network
        .add(Rule::new(Fault::FailBefore(denied)).on(Verb::Copy).nth(2));
    let failed = sync::undo::undo(&sides, &last, &taken).await;
    assert!(matches!(failed, Err(SyncError::Bucket(_))), "{failed:?}");
    let ended = a.state.passes(1).unwrap()[0].outcome.clone();
    assert_eq!(ended.as_deref(), Some("failed"));
    let (pass, rest) = sync::undo::last(&sides).unwrap().unwrap();
    assert_eq!((pass.id, rest.len()), (last.id, 1));
    sync::undo::undo(&sides, &pass, &rest).await.unwrap();
    assert_eq!(a.objects().len(), 3);
    assert!(sync::undo::last(&sides).unwrap().is_none());
}

/// Right after a run, before any listing has shown what was sent.
#[tokio::test]
async fn a_rule_that_is_added_here_is_no_change_in_the_bucket() {
    let bucket = MemoryBucket::new();
    let a = Machine::on(&bucket);
    a.write(".artifactsignore", "*.tmp\n");
    a.write("d/.artifactsignore", "*.log\n");
    a.write("plain.md", "1");
    a.write("x.tmp", "2");
    a.sync().await;
    a.write(".artifactsignore", "*.tmp\nplain.md\n");
    let plan = a.plan().await;
    assert_eq!(told(&plan, ".artifactsignore"), "");
    assert_eq!(told(&plan, "d/.artifactsignore"), "");
    a.settle().await;
    assert_eq!(a.objects()[".artifactsignore"], "*.tmp\nplain.md\n");
    assert_eq!(a.read("plain.md"), "1");
}
