//! The store without HTTP: races, listings against a model, crashes' leftovers.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;

const WRITERS: usize = 16;
const ROUNDS: usize = 1000;

fn open(folder: &tempfile::TempDir) -> Arc<Store> {
    Arc::new(Store::open(folder.path(), Durability::Process).unwrap())
}

fn body(store: &Store, bytes: &[u8]) -> NewBody {
    let mut draft = store.draft();
    draft.write(bytes).unwrap();
    draft.finish().unwrap()
}

async fn put(store: &Store, key: &str, etag: &str, conditions: Conditions) -> Result<()> {
    let new = body(store, etag.as_bytes());
    store
        .put(
            "b".into(),
            key.into(),
            new,
            etag.into(),
            Attributes::default(),
            conditions,
        )
        .await
}

fn absent() -> Conditions {
    Conditions {
        if_none_match: Some(Tag::Any),
        ..Conditions::default()
    }
}

fn matches(etag: &str) -> Conditions {
    Conditions {
        if_match: Some(Tag::Exactly(etag.into())),
        ..Conditions::default()
    }
}

/// Lets all writers start at once; answers which of them won, and asserts that the others
/// were told why.
async fn race<F: Future<Output = Result<()>> + Send + 'static>(
    attempt: impl Fn(usize) -> F,
) -> Vec<usize> {
    let gate = Arc::new(tokio::sync::Barrier::new(WRITERS));
    let tasks: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (gate, attempt) = (Arc::clone(&gate), attempt(writer));
            tokio::spawn(async move {
                gate.wait().await;
                attempt.await
            })
        })
        .collect();
    let mut winners = Vec::new();
    for (writer, task) in tasks.into_iter().enumerate() {
        match task.await.unwrap() {
            Ok(()) => winners.push(writer),
            Err(Error::Precondition | Error::NoSuchKey) => {}
            Err(other) => panic!("{other}"),
        }
    }
    winners
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_16_writers_exactly_one_creates_in_1000_rounds() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    store.create_bucket("b".into()).await.unwrap();
    for round in 0..ROUNDS {
        let winners = race(|writer| {
            let store = Arc::clone(&store);
            async move {
                put(
                    &store,
                    &format!("k{round}"),
                    &format!("w{writer}"),
                    absent(),
                )
                .await
            }
        })
        .await;
        assert_eq!(winners.len(), 1, "round {round}");
        assert_eq!(
            store.head("b", &format!("k{round}")).unwrap().etag,
            format!("w{}", winners[0])
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_16_writers_exactly_one_replaces_in_1000_rounds() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    store.create_bucket("b".into()).await.unwrap();
    put(&store, "k", "start", Conditions::default())
        .await
        .unwrap();
    let mut before = "start".to_owned();
    for round in 0..ROUNDS {
        let base = before.clone();
        let winners = race(|writer| {
            let (store, base) = (Arc::clone(&store), base.clone());
            async move { put(&store, "k", &format!("r{round}w{writer}"), matches(&base)).await }
        })
        .await;
        assert_eq!(winners.len(), 1, "round {round}");
        before = format!("r{round}w{}", winners[0]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_16_deleters_exactly_one_deletes_in_1000_rounds() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    store.create_bucket("b".into()).await.unwrap();
    for round in 0..ROUNDS {
        put(&store, "k", "it", Conditions::default()).await.unwrap();
        let winners = race(|_| {
            let store = Arc::clone(&store);
            async move { store.delete("b".into(), "k".into(), matches("it")).await }
        })
        .await;
        assert_eq!(winners.len(), 1, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_16_uploads_exactly_one_completes_in_1000_rounds() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    store.create_bucket("b".into()).await.unwrap();
    for round in 0..ROUNDS {
        let key = format!("k{round}");
        let mut uploads = Vec::new();
        for writer in 0..WRITERS {
            let id = store
                .create_upload("b".into(), key.clone(), Attributes::default())
                .await
                .unwrap();
            let name = UploadName {
                bucket: "b".into(),
                key: key.clone(),
                id,
            };
            let part = body(&store, format!("w{writer}").as_bytes());
            store
                .put_part(name.clone(), 1, part, "p".into(), Checksums::default())
                .await
                .unwrap();
            uploads.push(name);
        }
        let winners = race(|writer| {
            let (store, name) = (Arc::clone(&store), uploads[writer].clone());
            async move {
                let wanted = vec![Wanted {
                    number: 1,
                    etag: None,
                }];
                let tag = move |_: &[PartRow]| format!("w{writer}-1");
                store
                    .complete_upload(name, wanted, absent(), tag)
                    .await
                    .map(|_| ())
            }
        })
        .await;
        assert_eq!(winners.len(), 1, "round {round}");
        assert_eq!(
            store.head("b", &key).unwrap().etag,
            format!("w{}-1", winners[0])
        );
    }
}

fn body_files(folder: &tempfile::TempDir) -> usize {
    let shards = std::fs::read_dir(folder.path().join("bodies")).unwrap();
    shards
        .map(|shard| std::fs::read_dir(shard.unwrap().path()).unwrap().count())
        .sum()
}

#[tokio::test]
async fn large_bodies_go_with_their_last_user() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    store.create_bucket("b".into()).await.unwrap();
    let large = vec![7; 100_000];
    let new = body(&store, &large);
    let nothing = Conditions::default;
    store
        .put(
            "b".into(),
            "a".into(),
            new,
            "t".into(),
            Attributes::default(),
            nothing(),
        )
        .await
        .unwrap();
    let keep = |object: &ObjectRow| Ok(object.attributes.clone());
    let (from, to) = (("b".into(), "a".into()), ("b".into(), "c".into()));
    store.copy(from, to, keep, nothing()).await.unwrap();
    assert_eq!(body_files(&folder), 1, "a copy shares the body");
    store
        .delete("b".into(), "a".into(), nothing())
        .await
        .unwrap();
    let (row, pieces, _) = store.open_object("b", "c").unwrap();
    assert_eq!(
        (row.size, pieces.len(), body_files(&folder)),
        (100_000, 1, 1)
    );
    store
        .delete("b".into(), "c".into(), nothing())
        .await
        .unwrap();
    store.close();
    assert_eq!(body_files(&folder), 0);
}

#[tokio::test]
async fn a_refused_write_leaves_no_body() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    store.create_bucket("b".into()).await.unwrap();
    let large = vec![7; 100_000];
    let new = body(&store, &large);
    let result = store
        .put(
            "b".into(),
            "a".into(),
            new,
            "t".into(),
            Attributes::default(),
            matches("x"),
        )
        .await;
    assert!(matches!(result, Err(Error::NoSuchKey)));
    drop(body(&store, &large));
    store.close();
    assert_eq!(body_files(&folder), 0);
}

#[tokio::test]
async fn orphans_are_swept_at_start_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    store.create_bucket("b".into()).await.unwrap();
    let new = body(&store, &[7; 100_000]);
    store
        .put(
            "b".into(),
            "a".into(),
            new,
            "t".into(),
            Attributes::default(),
            Conditions::default(),
        )
        .await
        .unwrap();
    store.close();
    drop(store);
    std::fs::write(folder.path().join("bodies/ab/abandoned"), "x").unwrap();
    let store = open(&folder);
    assert_eq!(body_files(&folder), 1);
    assert_eq!(store.head("b", "a").unwrap().size, 100_000);
}

/// The listing as S3 describes it, in the plainest words.
fn model(keys: &BTreeSet<String>, query: &ListQuery) -> Vec<String> {
    let mut names = BTreeSet::new();
    for key in keys.iter().filter(|key| key.starts_with(&query.prefix)) {
        let rest = &key[query.prefix.len()..];
        let cut = query
            .delimiter
            .as_deref()
            .and_then(|delimiter| Some(rest.find(delimiter)? + delimiter.len()));
        names.insert(cut.map_or(key.clone(), |end| {
            format!("{}{}", query.prefix, &rest[..end])
        }));
    }
    names
        .into_iter()
        .filter(|name| query.after.as_ref().is_none_or(|after| name > after))
        .collect()
}

fn all_pages(index: &rusqlite::Connection, mut query: ListQuery) -> Vec<String> {
    let mut names = Vec::new();
    loop {
        let page = listing::page(index, 1, &query).unwrap();
        assert!(page.entries.len() <= query.limit);
        assert!(
            page.next.is_none() || page.entries.len() == query.limit,
            "a page that goes on is full"
        );
        names.extend(page.entries.iter().map(|entry| entry.name().to_owned()));
        match page.next {
            Some(token) => query.token = Some(token),
            None => return names,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn listings_are_the_models(
        keys in prop::collection::btree_set("[ab/.é\u{10ffff}\u{1}]{1,5}", 0..25),
        prefix in "[ab/é]{0,2}",
        delimiter in prop::option::of("[/bé]|a/"),
        after in prop::option::of("[ab/é]{1,4}"),
        limit in 1_usize..6,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let index = schema::open_writer(&folder.path().join("index.sqlite3"), Durability::Process).unwrap();
        index.execute("INSERT INTO buckets (id, name, created) VALUES (1, 'b', 0)", []).unwrap();
        for key in &keys {
            let row = "INSERT INTO objects (bucket, key, body, size, etag, modified) VALUES (1, ?1, 0, 0, '', 0)";
            index.execute(row, [key.as_bytes()]).unwrap();
        }
        let query = ListQuery { prefix, delimiter, after, token: None, limit };
        prop_assert_eq!(all_pages(&index, query.clone()), model(&keys, &query));
    }
}

#[tokio::test]
async fn a_delimiter_jumps_over_what_it_rolls_up() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    store.create_bucket("b".into()).await.unwrap();
    // 40,000 keys in two folders: two jumps, or 40,000 steps.
    let keys = (0..40_000).map(|n| format!("{}/{n:06}", n % 2));
    store
        .writer
        .change(move |change| {
            for key in keys {
                let body = bodies::insert(change, NewBody::of_bytes(b"x"))?;
                objects::point(
                    change,
                    1,
                    &key,
                    &objects::of_body(body, 1, "t".into(), Attributes::default()),
                )?;
            }
            Ok(())
        })
        .await
        .unwrap();
    let query = ListQuery {
        delimiter: Some("/".into()),
        limit: 1000,
        ..ListQuery::default()
    };
    let started = std::time::Instant::now();
    let mut rounds = 0;
    while started.elapsed() < std::time::Duration::from_millis(200) {
        assert_eq!(store.list("b", &query).unwrap().entries.len(), 2);
        rounds += 1;
    }
    assert!(rounds > 20, "{rounds} listings in 200 ms: it scans");
}

#[tokio::test]
async fn a_lifecycle_ends_what_is_too_old_under_its_prefix_and_nothing_else() {
    const DAY: i64 = 86_400_000_000_000;
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    store.create_bucket("b".into()).await.unwrap();
    for key in ["bots/a", "bots/b", "other", "botz"] {
        put(&store, key, "e", Conditions::default()).await.unwrap();
    }
    let upload = |key: &str| store.create_upload("b".into(), key.into(), Attributes::default());
    upload("bots/up").await.unwrap();
    upload("up").await.unwrap();
    let rules = r#"{"rules":[
        {"id":"1","enabled":true,"prefix":"bots/","objects":30,"uploads":2},
        {"id":"2","enabled":false,"prefix":"","objects":1,"uploads":null}]}"#;
    store
        .set("b".into(), Setting::Lifecycle, Some(rules.into()))
        .await
        .unwrap();
    let carry_out = async |days: i64| {
        let now = now() + days * DAY;
        crate::lifecycle::carry_out(&store, now).await.unwrap()
    };
    assert_eq!(carry_out(0).await, 0);
    assert_eq!(carry_out(1).await, 0);
    assert_eq!(carry_out(3).await, 1, "the upload");
    // The last day is whole: after 30 days it may still be there, after 31 never.
    assert_eq!(carry_out(29).await, 0);
    assert!(store.head("b", "bots/a").is_ok());
    assert_eq!(carry_out(31).await, 2);
    assert!(store.head("b", "bots/a").is_err());
    assert!(store.head("b", "other").is_ok() && store.head("b", "botz").is_ok());
    assert_eq!(store.setting("b", Setting::Policy).unwrap(), None);
    store
        .set("b".into(), Setting::Lifecycle, None)
        .await
        .unwrap();
    assert_eq!(carry_out(99).await, 0);
}
