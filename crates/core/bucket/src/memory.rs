//! An object store in memory, for tests that need no server.
//!
//! It keeps S3's rules to the letter: conditional writes are decided and done under one
//! lock, an ETag is the MD5 of the body, a listing is in byte order of opaque keys. Where
//! S3 stores differ it does what Amazon S3 documents, so that a test that passes here
//! tests the product and not a kindness of the store.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use md5::{Digest, Md5};
use parking_lot::Mutex;

use crate::body::{composite_etag, md5_of, parts_of, read_whole};
use crate::metadata::normalized;
use crate::{
    Body, Bucket, ByteStream, Condition, CopyOptions, DeleteOutcome, Error, Etag, GetOptions, Key,
    ListPage, ListRequest, Metadata, Object, ObjectMeta, PutOptions, PutOutcome, Result, Resume,
};

/// Bytes that one item of a body stream holds at most.
const CHUNK: usize = 256 * 1024;

/// S3's page size, and the most keys of one [`Bucket::delete_many`].
const PAGE: usize = 1000;

/// Bytes of a part, where nobody set another size.
const PART: u64 = 8 << 20;

/// A bucket in memory. Clones share the content.
#[derive(Clone, Default)]
pub struct MemoryBucket {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    store: Mutex<Store>,
    calls: Counters,
    /// Bytes of a part; 0 is [`PART`].
    part_size: AtomicU64,
    /// Parts that were sent so far.
    parts: AtomicU64,
}

#[derive(Default)]
struct Store {
    objects: BTreeMap<Key, Stored>,
    uploads: BTreeMap<String, Upload>,
    begun: u64,
    /// The last time given to an object; times never repeat and never go back.
    clock: i128,
}

#[derive(Clone)]
struct Stored {
    body: Bytes,
    etag: Etag,
    last_modified: i128,
    metadata: Metadata,
}

/// An upload in parts that is not an object yet.
struct Upload {
    key: Key,
    metadata: Metadata,
    parts: BTreeMap<i32, (Bytes, Etag)>,
}

/// How often each method of the port was called, refused calls included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Calls {
    /// Calls of [`Bucket::get`].
    pub get: u64,
    /// Calls of [`Bucket::head`].
    pub head: u64,
    /// Calls of [`Bucket::put`].
    pub put: u64,
    /// Calls of [`Bucket::copy`].
    pub copy: u64,
    /// Calls of [`Bucket::delete`].
    pub delete: u64,
    /// Calls of [`Bucket::delete_many`].
    pub delete_many: u64,
    /// Calls of [`Bucket::list`].
    pub list: u64,
}

impl Calls {
    /// All calls together.
    pub fn total(&self) -> u64 {
        let Self {
            get,
            head,
            put,
            copy,
            delete,
            delete_many,
            list,
        } = self;
        get + head + put + copy + delete + delete_many + list
    }
}

#[derive(Default)]
struct Counters {
    get: AtomicU64,
    head: AtomicU64,
    put: AtomicU64,
    copy: AtomicU64,
    delete: AtomicU64,
    delete_many: AtomicU64,
    list: AtomicU64,
}

impl MemoryBucket {
    /// An empty bucket.
    pub fn new() -> Self {
        Self::default()
    }

    /// How often each method was called since the beginning. Helpers of this type that
    /// are not part of the port count nothing.
    pub fn calls(&self) -> Calls {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let c = &self.shared.calls;
        Calls {
            get: read(&c.get),
            head: read(&c.head),
            put: read(&c.put),
            copy: read(&c.copy),
            delete: read(&c.delete),
            delete_many: read(&c.delete_many),
            list: read(&c.list),
        }
    }

    /// Everything in the bucket, by key: what a test compares in the end.
    pub fn contents(&self) -> BTreeMap<String, Bytes> {
        let store = self.shared.store.lock();
        store
            .objects
            .iter()
            .map(|(key, o)| (key.as_str().to_owned(), o.body.clone()))
            .collect()
    }

    /// Puts an object as "another client" would, without counting a call.
    pub fn insert(&self, key: &Key, body: impl Into<Bytes>) -> Etag {
        self.shared
            .store
            .lock()
            .insert(key, body.into(), Metadata::new())
    }

    /// Makes an object as much older, in nanoseconds, as if nobody had touched it since.
    pub fn age(&self, key: &Key, nanos: i128) {
        let mut store = self.shared.store.lock();
        if let Some(object) = store.objects.get_mut(key) {
            object.last_modified -= nanos;
        }
    }

    /// Sets how long the parts of an upload are.
    pub fn set_part_size(&self, bytes: u64) {
        self.shared.part_size.store(bytes, Ordering::Relaxed);
    }

    /// How many parts were sent since the beginning.
    pub fn parts_sent(&self) -> u64 {
        self.shared.parts.load(Ordering::Relaxed)
    }

    /// How many uploads were begun and neither completed nor abandoned.
    pub fn unfinished_uploads(&self) -> usize {
        self.shared.store.lock().uploads.len()
    }

    /// As S3 does it: parts first, and the condition when they are put together.
    async fn put_in_parts(
        &self,
        key: &Key,
        body: &Body,
        options: &PutOptions,
        resume: &dyn Resume,
    ) -> Result<PutOutcome> {
        let id = self.upload(key, options, resume).await?;
        let part_size = match self.shared.part_size.load(Ordering::Relaxed) {
            0 => PART,
            size => size,
        };
        let mut tags = Vec::new();
        for (number, part) in parts_of(body, part_size) {
            let etag = Etag::new(&hex::encode(md5_of(part.clone()).await?));
            let known = self.shared.store.lock().part(&id, number);
            if known.as_ref() != Some(&etag) {
                self.send_part(&id, number, part, etag.clone()).await?;
                resume.sent().await?;
            }
            tags.push(etag);
        }
        let etag = composite_etag(tags.iter());
        if !resume.may_complete(etag.as_ref()).await? {
            self.shared.store.lock().uploads.remove(&id);
            return Err(Error::LocalBody {
                reason: "it was changed while it was sent".to_owned(),
            });
        }
        self.shared
            .store
            .lock()
            .complete(&id, tags.len(), &options.condition)
    }

    async fn upload(&self, key: &Key, options: &PutOptions, resume: &dyn Resume) -> Result<String> {
        if let Some(id) = resume.known().await
            && self.shared.store.lock().uploads.contains_key(&id)
        {
            return Ok(id);
        }
        let id = self
            .shared
            .store
            .lock()
            .begin(key, normalized(options.metadata.clone())?);
        resume.begun(&id).await?;
        Ok(id)
    }

    async fn send_part(&self, id: &str, number: i32, part: Body, etag: Etag) -> Result<()> {
        let bytes = read_whole(part).await?;
        count(&self.shared.parts);
        let mut store = self.shared.store.lock();
        let upload = store.uploads.get_mut(id).ok_or_else(no_such_upload)?;
        upload.parts.insert(number, (bytes, etag));
        Ok(())
    }

    /// Removes an object as "another client" would, without counting a call. Says
    /// whether it was there.
    pub fn remove(&self, key: &Key) -> bool {
        self.shared.store.lock().objects.remove(key).is_some()
    }
}

#[async_trait]
impl Bucket for MemoryBucket {
    async fn get(&self, key: &Key, options: GetOptions) -> Result<Object> {
        count(&self.shared.calls.get);
        let stored = self.shared.store.lock().found(key)?.clone();
        require_etag(key, &stored.etag, options.if_match.as_ref())?;
        let range = clamp(key, options.range, stored.body.len())?;
        let body = chunks(stored.body.slice(range.clone()));
        Ok(Object {
            meta: stored.meta(key),
            range: range.start as u64..range.end as u64,
            body,
        })
    }

    async fn head(&self, key: &Key) -> Result<ObjectMeta> {
        count(&self.shared.calls.head);
        Ok(self.shared.store.lock().found(key)?.meta(key))
    }

    async fn put(&self, key: &Key, body: Body, options: PutOptions) -> Result<PutOutcome> {
        count(&self.shared.calls.put);
        if let Some(pace) = &options.pace {
            pace.take(body.len()).await;
        }
        if let Some(meter) = &options.meter {
            meter.add(body.len());
        }
        if let Some(resume) = &options.resume {
            return self.put_in_parts(key, &body, &options, &**resume).await;
        }
        let metadata = normalized(options.metadata)?;
        let body = read_whole(body).await?;
        let mut store = self.shared.store.lock();
        store.require(key, &options.condition)?;
        Ok(PutOutcome {
            etag: store.insert(key, body, metadata),
        })
    }

    async fn copy(&self, from: &Key, to: &Key, options: CopyOptions) -> Result<PutOutcome> {
        count(&self.shared.calls.copy);
        if from == to && options.metadata.is_none() {
            // S3: "This copy request is illegal because it is trying to copy an object to
            // itself without changing the object's metadata".
            return Err(Error::Invalid {
                reason: format!("copy of {from} to itself changes nothing"),
            });
        }
        let metadata = options.metadata.map(normalized).transpose()?;
        let mut store = self.shared.store.lock();
        let source = store.found(from)?.clone();
        require_etag(from, &source.etag, options.source_if_match.as_ref())?;
        store.require(to, &options.condition)?;
        // Amazon makes one object of one part of whatever was copied.
        let etag = store.insert(to, source.body, metadata.unwrap_or(source.metadata));
        Ok(PutOutcome { etag })
    }

    async fn delete(&self, key: &Key, condition: Condition) -> Result<()> {
        count(&self.shared.calls.delete);
        if condition == Condition::Absent {
            return Err(Error::Invalid {
                reason: format!("delete {key} only if it is absent"),
            });
        }
        let mut store = self.shared.store.lock();
        store.require(key, &condition)?;
        store.objects.remove(key);
        Ok(())
    }

    async fn delete_many(&self, keys: &[Key]) -> Result<Vec<DeleteOutcome>> {
        count(&self.shared.calls.delete_many);
        if keys.is_empty() || keys.len() > PAGE {
            return Err(Error::Invalid {
                reason: format!("delete of {} keys at once", keys.len()),
            });
        }
        let mut store = self.shared.store.lock();
        let delete = |key: &Key| {
            store.objects.remove(key);
            DeleteOutcome {
                key: key.clone(),
                result: Ok(()),
            }
        };
        Ok(keys.iter().map(delete).collect())
    }

    async fn abandon(&self, _: &Key, upload: &str) -> Result<()> {
        self.shared.store.lock().uploads.remove(upload);
        Ok(())
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage> {
        count(&self.shared.calls.list);
        let after = match &request.token {
            Some(token) => Some(decode_token(token)?),
            None => request.start_after.clone(),
        };
        let limit = request.max_keys.map_or(PAGE, |n| (n as usize).min(PAGE));
        Ok(self.shared.store.lock().page(request, after, limit))
    }
}

impl Store {
    fn found(&self, key: &Key) -> Result<&Stored> {
        self.objects
            .get(key)
            .ok_or_else(|| Error::NotFound { key: key.clone() })
    }

    /// `If-Match` on what is not there is 404, as at Amazon S3.
    fn require(&self, key: &Key, condition: &Condition) -> Result<()> {
        match condition {
            Condition::None => Ok(()),
            Condition::Absent if self.objects.contains_key(key) => {
                Err(Error::Precondition { key: key.clone() })
            }
            Condition::Absent => Ok(()),
            Condition::Matches(etag) => require_etag(key, &self.found(key)?.etag, Some(etag)),
        }
    }

    fn begin(&mut self, key: &Key, metadata: Metadata) -> String {
        self.begun += 1;
        let id = format!("upload-{}", self.begun);
        let upload = Upload {
            key: key.clone(),
            metadata,
            parts: BTreeMap::new(),
        };
        self.uploads.insert(id.clone(), upload);
        id
    }

    fn part(&self, id: &str, number: i32) -> Option<Etag> {
        let (_, etag) = self.uploads.get(id)?.parts.get(&number)?;
        Some(etag.clone())
    }

    fn complete(&mut self, id: &str, count: usize, condition: &Condition) -> Result<PutOutcome> {
        let Upload {
            key,
            metadata,
            parts,
        } = self.uploads.remove(id).ok_or_else(no_such_upload)?;
        self.require(&key, condition)?;
        let parts: Vec<(Bytes, Etag)> = parts.into_values().take(count).collect();
        let body: Vec<u8> = parts.iter().flat_map(|(bytes, _)| bytes.to_vec()).collect();
        let etag = composite_etag(parts.iter().map(|(_, etag)| etag));
        let etag = etag.ok_or_else(no_such_upload)?;
        self.store(&key, body.into(), metadata, etag.clone());
        Ok(PutOutcome { etag })
    }

    fn insert(&mut self, key: &Key, body: Bytes, metadata: Metadata) -> Etag {
        let etag = Etag::new(&hex::encode(Md5::digest(&body)));
        self.store(key, body, metadata, etag.clone());
        etag
    }

    fn store(&mut self, key: &Key, body: Bytes, metadata: Metadata, etag: Etag) {
        let last_modified = self.tick();
        let stored = Stored {
            body,
            etag,
            last_modified,
            metadata,
        };
        self.objects.insert(key.clone(), stored);
    }

    /// The wall clock, moved on where it stands still or goes back.
    fn tick(&mut self) -> i128 {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        self.clock = (now.as_nanos() as i128).max(self.clock + 1);
        self.clock
    }

    fn page(&self, request: &ListRequest, after: Option<String>, limit: usize) -> ListPage {
        let mut page = ListPage::default();
        let mut after = after;
        let mut last = String::new();
        while let Some(item) = self.next_item(request, after.as_deref()) {
            if page.objects.len() + page.prefixes.len() == limit {
                // A page of no keys has no end to go on from; S3 calls it complete.
                page.next = (limit > 0).then(|| hex::encode(&last));
                break;
            }
            last = item.name().to_owned();
            after = Some(last.clone());
            match item {
                Item::Object(meta) => page.objects.push(meta),
                Item::Prefix(prefix) => page.prefixes.push(prefix),
            }
        }
        page
    }

    /// The first key or common prefix of the request that is after `after`.
    fn next_item(&self, request: &ListRequest, after: Option<&str>) -> Option<Item> {
        let prefix = request.prefix.as_str();
        let mut from = after.unwrap_or_default().max(prefix).to_owned();
        loop {
            let (key, stored) = self.first_from(&from)?;
            let name = key.as_str();
            if !name.starts_with(prefix) {
                return None;
            }
            let rolled = common_prefix(name, prefix, request.delimiter);
            let item = rolled.unwrap_or(name);
            if after.is_none_or(|after| item > after) {
                return Some(match rolled {
                    Some(common) => Item::Prefix(common.to_owned()),
                    None => Item::Object(ObjectMeta {
                        metadata: Metadata::new(),
                        ..stored.meta(key)
                    }),
                });
            }
            from = match rolled {
                Some(common) => past_prefix(common)?,
                None => format!("{name}\0"),
            };
        }
    }

    fn first_from(&self, from: &str) -> Option<(&Key, &Stored)> {
        match Key::new(from) {
            Ok(from) => self.objects.range(from..).next(),
            Err(crate::KeyError::Empty) => self.objects.iter().next(),
            // Longer than any key may be: look past it one by one.
            Err(crate::KeyError::TooLong(_)) => {
                self.objects.iter().find(|(k, _)| k.as_str() >= from)
            }
        }
    }
}

impl Stored {
    fn meta(&self, key: &Key) -> ObjectMeta {
        ObjectMeta {
            key: key.clone(),
            size: self.body.len() as u64,
            etag: self.etag.clone(),
            last_modified: self.last_modified,
            metadata: self.metadata.clone(),
        }
    }
}

enum Item {
    Object(ObjectMeta),
    Prefix(String),
}

impl Item {
    fn name(&self) -> &str {
        match self {
            Self::Object(meta) => meta.key.as_str(),
            Self::Prefix(prefix) => prefix,
        }
    }
}

fn no_such_upload() -> Error {
    Error::Invalid {
        reason: "NoSuchUpload".to_owned(),
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn require_etag(key: &Key, is: &Etag, wanted: Option<&Etag>) -> Result<()> {
    match wanted {
        Some(wanted) if wanted != is => Err(Error::Precondition { key: key.clone() }),
        _ => Ok(()),
    }
}

/// The bytes of a body of `len` that a range asks for (RFC 9110 §14.1.2: the last position
/// may lie past the end, the first may not).
fn clamp(key: &Key, range: Option<Range<u64>>, len: usize) -> Result<Range<usize>> {
    let Some(range) = range else {
        return Ok(0..len);
    };
    if range.is_empty() {
        return Err(Error::Invalid {
            reason: format!("an empty range of {key}"),
        });
    }
    if range.start >= len as u64 {
        return Err(Error::OutOfRange { key: key.clone() });
    }
    Ok(range.start as usize..range.end.min(len as u64) as usize)
}

fn chunks(body: Bytes) -> ByteStream {
    let starts = (0..body.len()).step_by(CHUNK);
    let slice = move |start| Ok(body.slice(start..body.len().min(start + CHUNK)));
    futures::stream::iter(starts.map(slice)).boxed()
}

/// The key up to and with the first delimiter after the prefix.
fn common_prefix<'k>(key: &'k str, prefix: &str, delimiter: Option<char>) -> Option<&'k str> {
    let delimiter = delimiter?;
    let rest = &key[prefix.len()..];
    let end = rest.find(delimiter)? + delimiter.len_utf8();
    Some(&key[..prefix.len() + end])
}

/// The least string that is after every string with this prefix; `None` where there is
/// none. UTF-8 keeps the order of code points, so raising the last character that can be
/// raised is enough.
fn past_prefix(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        if let Some(next) = (last..=char::MAX).nth(1) {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

fn decode_token(token: &str) -> Result<String> {
    let invalid = || Error::Invalid {
        reason: "the continuation token is not one of ours".into(),
    };
    let bytes = hex::decode(token).map_err(|_| invalid())?;
    String::from_utf8(bytes).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(keys: &[&str]) -> MemoryBucket {
        let bucket = MemoryBucket::new();
        for key in keys {
            bucket.insert(&Key::new(*key).unwrap(), Bytes::from_static(b"x"));
        }
        bucket
    }

    async fn names(bucket: &MemoryBucket, request: ListRequest) -> Vec<String> {
        let page = bucket.list(&request).await.unwrap();
        assert_eq!(page.next, None);
        let objects = page.objects.iter().map(|o| o.key.as_str().to_owned());
        objects.chain(page.prefixes).collect()
    }

    #[tokio::test]
    async fn a_prefix_before_the_start_is_not_listed_again() {
        let bucket = bucket(&["a/1", "a/2", "a0", "b/1"]);
        let after = |start: &str| ListRequest {
            delimiter: Some('/'),
            start_after: Some(start.into()),
            ..ListRequest::default()
        };
        assert_eq!(names(&bucket, after("a/")).await, ["a0", "b/"]);
        assert_eq!(names(&bucket, after("a/1")).await, ["a0", "b/"]);
        assert_eq!(names(&bucket, after("a")).await, ["a0", "a/", "b/"]);
    }

    #[test]
    fn the_string_past_a_prefix_skips_the_surrogates() {
        assert_eq!(past_prefix("a/").as_deref(), Some("a0"));
        assert_eq!(past_prefix("\u{d7ff}").as_deref(), Some("\u{e000}"));
        assert_eq!(past_prefix("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(past_prefix("\u{10ffff}"), None);
    }

    #[tokio::test]
    async fn a_foreign_token_is_refused() {
        let request = ListRequest {
            token: Some("zz".into()),
            ..ListRequest::default()
        };
        let refused = bucket(&[]).list(&request).await.unwrap_err();
        let reason = "the continuation token is not one of ours".into();
        assert_eq!(refused, Error::Invalid { reason });
    }

    #[tokio::test]
    async fn times_only_grow_and_calls_are_counted() {
        let bucket = bucket(&["a", "b"]);
        let a = bucket.head(&Key::new("a").unwrap()).await.unwrap();
        let b = bucket.head(&Key::new("b").unwrap()).await.unwrap();
        assert!(a.last_modified < b.last_modified);
        assert_eq!(
            bucket.calls(),
            Calls {
                head: 2,
                ..Calls::default()
            }
        );
        assert_eq!(bucket.calls().total(), 2);
    }
}
