//! Settling one conflict, so that nothing is lost when somebody changes either version
//! meanwhile or the program is ended in the middle.
//!
//! Every step is conditional: the original is only overwritten while it is the version
//! that was looked at, and the copy is only removed, last, while it is the one whose bytes
//! are safe under the other name.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;

use bucket::probe::Capabilities;
use bucket::{Body, Bucket, Condition, Etag, GetOptions, Key, Metadata, ObjectMeta, PutOptions};
use futures::TryStreamExt;

use super::{Keep, Pair};
use crate::failure::{Code, Failure, Result};

/// Plain names that are tried before giving up.
pub(super) const NAMES: usize = 100;

/// Settles the conflict; gives the keys that are left.
pub(super) async fn resolve(
    bucket: &dyn Bucket,
    pair: &Pair,
    keep: Keep,
    capabilities: Option<Capabilities>,
) -> Result<Vec<Key>> {
    // A store that does not know the condition may refuse the whole call.
    let guarded = capabilities.is_some_and(|can| can.delete_if_match);
    let theirs = pair.theirs.as_ref().map(|_| pair.original.clone());
    match keep {
        Keep::Theirs => {
            remove(bucket, &pair.copy, guarded).await?;
            Ok(theirs.into_iter().collect())
        }
        Keep::Mine => {
            let condition = match &pair.theirs {
                Some(theirs) => Condition::Matches(theirs.etag.clone()),
                None => Condition::Absent,
            };
            let body = fetch(bucket, &pair.copy).await?;
            body.write(bucket, &pair.original, condition).await?;
            remove(bucket, &pair.copy, guarded).await?;
            Ok(vec![pair.original.clone()])
        }
        Keep::Both => {
            let body = fetch(bucket, &pair.copy).await?;
            let name = write_to_free_name(bucket, &pair.original, &body).await?;
            remove(bucket, &pair.copy, guarded).await?;
            Ok(theirs.into_iter().chain([name]).collect())
        }
    }
}

/// A version's bytes on the local disk, in a file without a name.
struct Fetched {
    file: Arc<File>,
    size: u64,
    metadata: Metadata,
}

async fn fetch(bucket: &dyn Bucket, object: &ObjectMeta) -> Result<Fetched> {
    let local =
        |e: std::io::Error| Failure::new(Code::FileUnusable, format!("temporary file: {e}"));
    let options = GetOptions {
        if_match: Some(object.etag.clone()),
        ..GetOptions::default()
    };
    let mut answer = bucket.get(&object.key, options).await?;
    let mut file = tempfile::tempfile().map_err(local)?;
    let mut size = 0;
    while let Some(piece) = answer.body.try_next().await? {
        file.write_all(&piece).map_err(local)?;
        size += piece.len() as u64;
    }
    Ok(Fetched {
        file: Arc::new(file),
        size,
        metadata: answer.meta.metadata,
    })
}

impl Fetched {
    async fn write(
        &self,
        bucket: &dyn Bucket,
        key: &Key,
        condition: Condition,
    ) -> bucket::Result<Etag> {
        let body = Body::File {
            file: self.file.clone(),
            range: 0..self.size,
        };
        let options = PutOptions {
            condition,
            metadata: self.metadata.clone(),
            ..PutOptions::default()
        };
        Ok(bucket.put(key, body, options).await?.etag)
    }
}

/// Writes under the first of `notes-2.md`, `notes-3.md` … that is free.
async fn write_to_free_name(bucket: &dyn Bucket, original: &Key, body: &Fetched) -> Result<Key> {
    for number in 2..2 + NAMES {
        let Ok(key) = Key::new(numbered(original.as_str(), number)) else {
            break;
        };
        match body.write(bucket, &key, Condition::Absent).await {
            Ok(_) => return Ok(key),
            Err(bucket::Error::Precondition { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Failure::new(
        Code::Precondition,
        format!("no free name beside {original}"),
    )
    .with_hint("rename one of the versions in the mounted folder"))
}

pub(super) fn numbered(key: &str, number: usize) -> String {
    let name = key.rfind('/').map_or(0, |at| at + 1);
    match key[name..].rfind('.') {
        Some(dot) if dot > 0 => {
            let (stem, extension) = key.split_at(name + dot);
            format!("{stem}-{number}{extension}")
        }
        _ => format!("{key}-{number}"),
    }
}

async fn remove(bucket: &dyn Bucket, copy: &ObjectMeta, guarded: bool) -> Result<()> {
    let condition = if guarded {
        Condition::Matches(copy.etag.clone())
    } else {
        Condition::None
    };
    Ok(bucket.delete(&copy.key, condition).await?)
}

#[cfg(test)]
mod tests {
    use bucket::memory::MemoryBucket;
    use bytes::Bytes;

    use super::*;

    const COPY: &str = "d/notes.conflict-20261122-201501-ada.md";

    async fn put(bucket: &dyn Bucket, key: &str, text: &'static str) -> ObjectMeta {
        let key = Key::new(key).unwrap();
        let body = Body::Bytes(Bytes::from_static(text.as_bytes()));
        bucket.put(&key, body, PutOptions::default()).await.unwrap();
        bucket.head(&key).await.unwrap()
    }

    async fn text(bucket: &dyn Bucket, key: &str) -> Option<String> {
        let object = bucket
            .get(&Key::new(key).unwrap(), GetOptions::default())
            .await
            .ok()?;
        let pieces: Vec<Bytes> = object.body.try_collect().await.unwrap();
        Some(String::from_utf8(pieces.concat()).unwrap())
    }

    async fn conflict(bucket: &MemoryBucket) -> Pair {
        let theirs = put(bucket, "d/notes.md", "theirs").await;
        let copy = put(bucket, COPY, "mine").await;
        Pair {
            copy,
            original: Key::new("d/notes.md").unwrap(),
            theirs: Some(theirs),
        }
    }

    #[tokio::test]
    async fn each_choice_keeps_what_it_says() {
        for (keep, expected) in [
            (Keep::Mine, vec![("d/notes.md", "mine")]),
            (Keep::Theirs, vec![("d/notes.md", "theirs")]),
            (
                Keep::Both,
                vec![("d/notes.md", "theirs"), ("d/notes-2.md", "mine")],
            ),
        ] {
            let bucket = MemoryBucket::new();
            let pair = conflict(&bucket).await;
            let kept = resolve(&bucket, &pair, keep, None).await.unwrap();
            let keys: Vec<&str> = kept.iter().map(Key::as_str).collect();
            assert_eq!(
                keys,
                expected.iter().map(|(key, _)| *key).collect::<Vec<_>>(),
                "{keep:?}"
            );
            for (key, body) in expected {
                assert_eq!(text(&bucket, key).await.as_deref(), Some(body), "{keep:?}");
            }
            assert_eq!(text(&bucket, COPY).await, None, "{keep:?}");
        }
    }

    #[tokio::test]
    async fn a_version_written_meanwhile_is_never_overwritten() {
        let bucket = MemoryBucket::new();
        let pair = conflict(&bucket).await;
        put(&bucket, "d/notes.md", "newer").await;
        let failure = resolve(&bucket, &pair, Keep::Mine, None)
            .await
            .expect_err("refused");
        assert_eq!(failure.code, Code::Precondition);
        assert_eq!(text(&bucket, "d/notes.md").await.as_deref(), Some("newer"));
        assert_eq!(text(&bucket, COPY).await.as_deref(), Some("mine"));
    }

    #[tokio::test]
    async fn a_name_that_is_taken_is_passed_over() {
        let bucket = MemoryBucket::new();
        let pair = conflict(&bucket).await;
        put(&bucket, "d/notes-2.md", "other").await;
        resolve(&bucket, &pair, Keep::Both, None).await.unwrap();
        assert_eq!(
            text(&bucket, "d/notes-2.md").await.as_deref(),
            Some("other")
        );
        assert_eq!(text(&bucket, "d/notes-3.md").await.as_deref(), Some("mine"));
    }

    #[test]
    fn numbers_go_before_the_extension() {
        assert_eq!(numbered("a.b/notes.tar.gz", 2), "a.b/notes.tar-2.gz");
        assert_eq!(numbered("a.b/.env", 2), "a.b/.env-2");
        assert_eq!(numbered("Makefile", 3), "Makefile-3");
    }
}
