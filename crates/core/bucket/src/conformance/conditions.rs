//! Who may write over whom.

use futures::future::join_all;

use super::lab::{Lab, ok};
use crate::{Condition, CopyOptions, Error, Etag, GetOptions, Result};

fn wrong() -> Etag {
    Etag::new("00000000000000000000000000000000")
}

fn refused<T>(lab: &Lab, name: &str) -> Result<T> {
    Err(Error::Precondition { key: lab.key(name) })
}

pub(super) async fn put_if_absent(lab: Lab) {
    ok(lab.try_put("f", "one", Condition::Absent).await, "create");
    assert_eq!(
        lab.try_put("f", "two", Condition::Absent).await,
        refused(&lab, "f")
    );
    assert_eq!(lab.read("f").await, "one");
    ok(
        lab.bucket.delete(&lab.key("f"), Condition::None).await,
        "delete",
    );
    ok(
        lab.try_put("f", "three", Condition::Absent).await,
        "create again",
    );
    assert_eq!(lab.read("f").await, "three");
}

pub(super) async fn put_if_match(lab: Lab) {
    let one = lab.put("f", "one").await;
    assert_eq!(
        lab.try_put("f", "x", Condition::Matches(wrong())).await,
        refused(&lab, "f")
    );
    let two = ok(
        lab.try_put("f", "two", Condition::Matches(one.clone()))
            .await,
        "edit",
    )
    .etag;
    assert_ne!(one, two);
    assert_eq!(
        lab.try_put("f", "x", Condition::Matches(one)).await,
        refused(&lab, "f")
    );
    assert_eq!(lab.read("f").await, "two");
}

pub(super) async fn put_if_match_on_nothing_is_not_found(lab: Lab) {
    let missing = Err(Error::NotFound { key: lab.key("f") });
    assert_eq!(
        lab.try_put("f", "x", Condition::Matches(wrong())).await,
        missing
    );
    lab.assert_missing("f").await;
}

pub(super) async fn get_if_match(lab: Lab) {
    let etag = lab.put("f", "one").await;
    let read = async |etag| {
        lab.try_read(
            "f",
            GetOptions {
                range: Some(0..2),
                if_match: Some(etag),
            },
        )
        .await
    };
    assert_eq!(read(etag).await, Ok("on".into()));
    assert_eq!(read(wrong()).await, refused(&lab, "f"));
}

pub(super) async fn copy_if_the_source_matches(lab: Lab) {
    let etag = lab.put("f", "one").await;
    let copy = async |etag| {
        let options = CopyOptions {
            source_if_match: Some(etag),
            ..CopyOptions::default()
        };
        lab.bucket.copy(&lab.key("f"), &lab.key("g"), options).await
    };
    assert_eq!(copy(wrong()).await, refused(&lab, "f"));
    lab.assert_missing("g").await;
    ok(copy(etag).await, "copy");
    assert_eq!(lab.read("g").await, "one");
}

pub(super) async fn copy_if_absent(lab: Lab) {
    lab.put("f", "one").await;
    lab.put("g", "two").await;
    let options = CopyOptions {
        condition: Condition::Absent,
        ..CopyOptions::default()
    };
    let onto = lab
        .bucket
        .copy(&lab.key("f"), &lab.key("g"), options.clone())
        .await;
    assert_eq!(onto, refused(&lab, "g"));
    assert_eq!(lab.read("g").await, "two");
    ok(
        lab.bucket.copy(&lab.key("f"), &lab.key("h"), options).await,
        "copy",
    );
    assert_eq!(lab.read("h").await, "one");
}

pub(super) async fn delete_if_match(lab: Lab) {
    let etag = lab.put("f", "one").await;
    let delete = async |etag| {
        lab.bucket
            .delete(&lab.key("f"), Condition::Matches(etag))
            .await
    };
    assert_eq!(delete(wrong()).await, refused(&lab, "f"));
    assert_eq!(lab.read("f").await, "one");
    ok(delete(etag).await, "delete");
    lab.assert_missing("f").await;
}

pub(super) async fn delete_if_absent_is_refused(lab: Lab) {
    let etag = lab.put("f", "one").await;
    let odd = lab.bucket.delete(&lab.key("f"), Condition::Absent).await;
    assert!(matches!(odd, Err(Error::Invalid { .. })), "{odd:?}");
    assert_eq!(lab.head("f").await.etag, etag);
}

async fn race(lab: &Lab, round: usize, condition: Condition) {
    let writers = (0..16).map(|i| {
        let (lab, condition) = (lab.clone(), condition.clone());
        tokio::spawn(async move {
            let body = format!("round {round} writer {i}");
            lab.try_put("f", body.clone(), condition)
                .await
                .map(|put| (body, put.etag))
        })
    });
    let (mut winners, mut others) = (Vec::new(), Vec::new());
    for writer in join_all(writers).await {
        match ok(writer, "a writer") {
            Ok(winner) => winners.push(winner),
            Err(error) => others.push(error),
        }
    }
    assert_eq!(winners.len(), 1, "winners {winners:?}, others {others:?}");
    let precondition = Error::Precondition { key: lab.key("f") };
    assert!(
        others.iter().all(|error| *error == precondition),
        "{others:?}"
    );
    assert_eq!(lab.read("f").await, winners[0].0);
    assert_eq!(lab.head("f").await.etag, winners[0].1);
}

pub(super) async fn sixteen_creators_have_one_winner(lab: Lab) {
    for round in 0..10 {
        ok(
            lab.bucket.delete(&lab.key("f"), Condition::None).await,
            "delete",
        );
        race(&lab, round, Condition::Absent).await;
    }
}

pub(super) async fn sixteen_editors_have_one_winner(lab: Lab) {
    lab.put("f", "first").await;
    for round in 0..10 {
        let etag = lab.head("f").await.etag;
        race(&lab, round, Condition::Matches(etag)).await;
    }
}
