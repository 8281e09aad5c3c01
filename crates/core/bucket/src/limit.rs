//! A bucket whose bodies keep to a rate, in each direction its own.

use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;

use crate::{
    Body, Bucket, ByteStream, Condition, CopyOptions, DeleteOutcome, GetOptions, Key, ListPage,
    ListRequest, Object, ObjectMeta, Pace, PutOptions, PutOutcome, Result,
};

/// The wrapper. What is not a body is not counted.
#[derive(Clone)]
pub struct Limited {
    inner: Arc<dyn Bucket>,
    up: Option<Pace>,
    down: Option<Pace>,
}

impl Limited {
    /// Limits what is sent and what is received; `None` is no limit.
    pub fn new(inner: Arc<dyn Bucket>, up: Option<Pace>, down: Option<Pace>) -> Self {
        Self { inner, up, down }
    }
}

/// The body, each piece given once it may pass. The connection fills up meanwhile, and the
/// store sends no faster.
fn paced(body: ByteStream, pace: Pace) -> ByteStream {
    let each = move |piece: Result<bytes::Bytes>| {
        let pace = pace.clone();
        async move {
            if let Ok(bytes) = &piece {
                pace.take(bytes.len() as u64).await;
            }
            piece
        }
    };
    body.then(each).boxed()
}

#[async_trait]
impl Bucket for Limited {
    async fn get(&self, key: &Key, options: GetOptions) -> Result<Object> {
        let mut object = self.inner.get(key, options).await?;
        if let Some(pace) = &self.down {
            object.body = paced(object.body, pace.clone());
        }
        Ok(object)
    }

    async fn head(&self, key: &Key) -> Result<ObjectMeta> {
        self.inner.head(key).await
    }

    async fn put(&self, key: &Key, body: Body, mut options: PutOptions) -> Result<PutOutcome> {
        options.pace = self.up.clone();
        self.inner.put(key, body, options).await
    }

    async fn copy(&self, from: &Key, to: &Key, options: CopyOptions) -> Result<PutOutcome> {
        self.inner.copy(from, to, options).await
    }

    async fn delete(&self, key: &Key, condition: Condition) -> Result<()> {
        self.inner.delete(key, condition).await
    }

    async fn delete_many(&self, keys: &[Key]) -> Result<Vec<DeleteOutcome>> {
        self.inner.delete_many(keys).await
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage> {
        self.inner.list(request).await
    }

    async fn abandon(&self, key: &Key, upload: &str) -> Result<()> {
        self.inner.abandon(key, upload).await
    }

    async fn versions_listed(&self) -> Result<bool> {
        self.inner.versions_listed().await
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::time::Instant;

    use super::*;
    use crate::memory::MemoryBucket;

    /// Both bodies pass at once for a quarter of a second, and then at their rates.
    #[tokio::test]
    async fn each_direction_keeps_to_its_own_rate() {
        let inner = Arc::new(MemoryBucket::new());
        let (up, down) = (Pace::new(8 << 20), Pace::new(16 << 20));
        let limited = Limited::new(inner, Some(up), Some(down));
        let key = Key::new("k").unwrap();
        let body = Bytes::from(vec![1; 8 << 20]);
        let begun = Instant::now();
        let put = limited.put(&key, Body::Bytes(body.clone()), PutOptions::default());
        put.await.unwrap();
        let sent = begun.elapsed().as_millis();
        assert!(sent >= 740, "{sent} ms for what takes 750");
        let begun = Instant::now();
        let object = limited.get(&key, GetOptions::default()).await.unwrap();
        let read = crate::collect(object.body).await.unwrap();
        let received = begun.elapsed().as_millis();
        assert!(received >= 240, "{received} ms for what takes 250");
        assert!(read == body);
    }
}
