//! The bucket in memory with a clock that follows from the history.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use bucket::memory::MemoryBucket;
use bucket::{
    Body, Bucket, Condition, CopyOptions, DeleteOutcome, GetOptions, Key, ListPage, ListRequest,
    Object, ObjectMeta, PutOptions, PutOutcome, Result,
};
use parking_lot::Mutex;

#[derive(Clone)]
pub(crate) struct Timed {
    pub(crate) inner: MemoryBucket,
    times: Arc<Mutex<(i64, HashMap<Key, i64>)>>,
}

impl Timed {
    pub(crate) fn new(start: i64) -> Self {
        Self {
            inner: MemoryBucket::new(),
            times: Arc::new(Mutex::new((start, HashMap::new()))),
        }
    }

    fn stamp(&self, key: &Key) {
        let mut times = self.times.lock();
        times.0 += 100_000_000;
        let now = times.0;
        times.1.insert(key.clone(), now);
    }

    fn timed(&self, mut meta: ObjectMeta) -> ObjectMeta {
        let time = self.times.lock().1.get(&meta.key).copied();
        meta.last_modified = i128::from(time.unwrap_or_default());
        meta
    }
}

/// A bucket whose listings are of an earlier time.
pub(crate) struct Stale {
    pub(crate) now: Arc<dyn Bucket>,
    pub(crate) then: Vec<ObjectMeta>,
}

#[async_trait]
impl Bucket for Stale {
    async fn abandon(&self, key: &Key, upload: &str) -> Result<()> {
        self.now.abandon(key, upload).await
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<Object> {
        self.now.get(key, options).await
    }

    async fn head(&self, key: &Key) -> Result<ObjectMeta> {
        self.now.head(key).await
    }

    async fn put(&self, key: &Key, body: Body, options: PutOptions) -> Result<PutOutcome> {
        self.now.put(key, body, options).await
    }

    async fn copy(&self, from: &Key, to: &Key, options: CopyOptions) -> Result<PutOutcome> {
        self.now.copy(from, to, options).await
    }

    async fn delete(&self, key: &Key, condition: Condition) -> Result<()> {
        self.now.delete(key, condition).await
    }

    async fn delete_many(&self, keys: &[Key]) -> Result<Vec<DeleteOutcome>> {
        self.now.delete_many(keys).await
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage> {
        // Whether it answers at all is of now.
        self.now.list(request).await?;
        Ok(ListPage {
            objects: self.then.clone(),
            ..ListPage::default()
        })
    }
}

#[async_trait]
impl Bucket for Timed {
    async fn abandon(&self, key: &Key, upload: &str) -> Result<()> {
        self.inner.abandon(key, upload).await
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<Object> {
        let mut object = self.inner.get(key, options).await?;
        object.meta = self.timed(object.meta);
        Ok(object)
    }

    async fn head(&self, key: &Key) -> Result<ObjectMeta> {
        Ok(self.timed(self.inner.head(key).await?))
    }

    async fn put(&self, key: &Key, body: Body, options: PutOptions) -> Result<PutOutcome> {
        let outcome = self.inner.put(key, body, options).await?;
        self.stamp(key);
        Ok(outcome)
    }

    async fn copy(&self, from: &Key, to: &Key, options: CopyOptions) -> Result<PutOutcome> {
        let outcome = self.inner.copy(from, to, options).await?;
        self.stamp(to);
        Ok(outcome)
    }

    async fn delete(&self, key: &Key, condition: Condition) -> Result<()> {
        self.inner.delete(key, condition).await
    }

    async fn delete_many(&self, keys: &[Key]) -> Result<Vec<DeleteOutcome>> {
        self.inner.delete_many(keys).await
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage> {
        let mut page = self.inner.list(request).await?;
        page.objects = page
            .objects
            .into_iter()
            .map(|meta| self.timed(meta))
            .collect();
        Ok(page)
    }
}
