//! What the cases are written with: short calls that panic with words.

use std::fmt::Debug;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;

use super::Subject;
use crate::{
    Body, Bucket, Condition, Error, Etag, GetOptions, Key, ListPage, ListRequest, ObjectMeta,
    PutOptions, PutOutcome, Result,
};

/// A bucket with a prefix that belongs to one case.
#[derive(Clone)]
pub struct Lab {
    pub(super) subject: Subject,
    pub(super) bucket: Arc<dyn Bucket>,
    /// Begins every key of the case.
    pub(super) prefix: String,
}

impl Lab {
    pub(super) fn new(subject: Subject, case: &str) -> Self {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let prefix = format!("{case}-{}/", &id[..8]);
        Self {
            bucket: subject.bucket.clone(),
            subject,
            prefix,
        }
    }

    /// A key of this case.
    pub(super) fn key(&self, name: &str) -> Key {
        key(&format!("{}{name}", self.prefix))
    }

    pub(super) async fn put(&self, name: &str, body: impl Into<Bytes>) -> Etag {
        let put = self.try_put(name, body, Condition::None).await;
        ok(put, &format!("put {name:?}")).etag
    }

    pub(super) async fn try_put(
        &self,
        name: &str,
        body: impl Into<Bytes>,
        condition: Condition,
    ) -> Result<PutOutcome> {
        let options = PutOptions {
            condition,
            ..PutOptions::default()
        };
        self.bucket
            .put(&self.key(name), Body::Bytes(body.into()), options)
            .await
    }

    pub(super) async fn read(&self, name: &str) -> Bytes {
        ok(
            self.try_read(name, GetOptions::default()).await,
            &format!("get {name:?}"),
        )
    }

    pub(super) async fn try_read(&self, name: &str, options: GetOptions) -> Result<Bytes> {
        let object = self.bucket.get(&self.key(name), options).await?;
        let len = object.range.end - object.range.start;
        let chunks: Vec<Bytes> = object.body.try_collect().await?;
        let body = chunks.concat();
        assert_eq!(
            body.len() as u64,
            len,
            "the stream of {name:?} gives its range"
        );
        Ok(body.into())
    }

    pub(super) async fn head(&self, name: &str) -> ObjectMeta {
        ok(
            self.bucket.head(&self.key(name)).await,
            &format!("head {name:?}"),
        )
    }

    /// Panics unless there is no such object.
    pub(super) async fn assert_missing(&self, name: &str) {
        let key = self.key(name);
        assert_eq!(self.bucket.head(&key).await, Err(Error::NotFound { key }));
    }

    /// One page of this case's keys, without the case's prefix.
    pub(super) async fn page(
        &self,
        request: ListRequest,
    ) -> (Vec<String>, Vec<String>, Option<String>) {
        let request = ListRequest {
            prefix: format!("{}{}", self.prefix, request.prefix),
            start_after: request
                .start_after
                .map(|after| format!("{}{after}", self.prefix)),
            ..request
        };
        let page = ok(
            self.bucket.list(&request).await,
            &format!("list {request:?}"),
        );
        self.names(page)
    }

    /// Every key and common prefix, page by page.
    pub(super) async fn listed(&self, request: ListRequest) -> (Vec<String>, Vec<String>) {
        let (mut keys, mut prefixes) = (Vec::new(), Vec::new());
        let mut request = request;
        for _ in 0..1000 {
            let (k, p, next) = self.page(request.clone()).await;
            keys.extend(k);
            prefixes.extend(p);
            match next {
                Some(next) => request.token = Some(next),
                None => return (keys, prefixes),
            }
        }
        panic!("a listing without end: {} keys", keys.len());
    }

    pub(super) async fn all_keys(&self) -> Vec<String> {
        self.listed(ListRequest::default()).await.0
    }

    pub(super) async fn unfinished_uploads(&self) -> usize {
        (self.subject.unfinished_uploads)(self.prefix.clone()).await
    }

    /// Waits for uploads to be aborted, which happens after the caller has gone.
    pub(super) async fn assert_no_unfinished_uploads(&self) {
        for _ in 0..100 {
            if self.unfinished_uploads().await == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!(
            "{} unfinished uploads are left",
            self.unfinished_uploads().await
        );
    }

    /// Removes what the case has left, as far as the store lets it be seen.
    pub(super) async fn clean(&self) {
        let mut request = ListRequest {
            prefix: self.prefix.clone(),
            ..ListRequest::default()
        };
        while let Ok(page) = self.bucket.list(&request).await {
            for object in &page.objects {
                // What stays is in a scratch bucket.
                let _ = self.bucket.delete(&object.key, Condition::None).await;
            }
            match page.next {
                Some(next) => request.token = Some(next),
                None => return,
            }
        }
    }

    fn names(&self, page: ListPage) -> (Vec<String>, Vec<String>, Option<String>) {
        let short = |name: &str| match name.strip_prefix(&self.prefix) {
            Some(short) => short.to_owned(),
            None => panic!("{name:?} does not begin with {:?}", self.prefix),
        };
        let keys = page.objects.iter().map(|object| short(object.key.as_str()));
        let prefixes = page.prefixes.iter().map(|prefix| short(prefix));
        (keys.collect(), prefixes.collect(), page.next)
    }
}

/// A key that is known to be one.
pub(super) fn key(key: &str) -> Key {
    Key::new(key).unwrap_or_else(|error| panic!("{key:?}: {error}"))
}

/// The value, or a panic that says what failed.
pub(super) fn ok<T, E: Debug>(result: std::result::Result<T, E>, what: &str) -> T {
    result.unwrap_or_else(|error| panic!("{what}: {error:?}"))
}

/// Bytes that show where they come from.
pub(super) fn pattern(len: usize) -> Bytes {
    let byte = |i: usize| (i as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0];
    (0..len).map(byte).collect::<Vec<u8>>().into()
}

/// An unnamed file with this content.
pub(super) fn file(content: &[u8]) -> Arc<std::fs::File> {
    let mut file = ok(tempfile::tempfile(), "a temporary file");
    ok(file.write_all(content), "write a temporary file");
    Arc::new(file)
}
