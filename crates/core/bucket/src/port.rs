//! The trait and its request and answer types.

use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

use crate::{Pace, Result};

/// One bucket, whole: keys are absolute (a workspace's prefix is the caller's business).
///
/// Every method is safe to drop before it ends: nothing is left half visible in the bucket.
/// A retried call is the adapter's matter; a call that fails with [`Error::Unreachable`]
/// or [`Error::Throttled`] may have taken effect (a lost answer looks like a lost request).
///
/// [`Error::Unreachable`]: crate::Error::Unreachable
/// [`Error::Throttled`]: crate::Error::Throttled
#[async_trait]
pub trait Bucket: Send + Sync + 'static {
    /// Reads an object, or a range of it, as a stream.
    async fn get(&self, key: &Key, options: GetOptions) -> Result<Object>;

    /// Asks for an object's description without its body.
    async fn head(&self, key: &Key) -> Result<ObjectMeta>;

    /// Writes an object whole. Bodies past the adapter's part size go up as a parallel
    /// multipart upload, which is aborted when this future is dropped.
    async fn put(&self, key: &Key, body: Body, options: PutOptions) -> Result<PutOutcome>;

    /// Copies inside the store, without the body passing through this machine.
    async fn copy(&self, from: &Key, to: &Key, options: CopyOptions) -> Result<PutOutcome>;

    /// Removes an object. Removing what is not there succeeds, as in S3, unless a
    /// condition says otherwise.
    async fn delete(&self, key: &Key, condition: Condition) -> Result<()>;

    /// Removes up to 1,000 objects in one call, without conditions; answers per key, in order.
    async fn delete_many(&self, keys: &[Key]) -> Result<Vec<DeleteOutcome>>;

    /// Lists one page of keys in byte order.
    async fn list(&self, request: &ListRequest) -> Result<ListPage>;

    /// Ends an upload in parts that a [`Resume`] was told of and that nobody will go on with.
    /// One that is not there is ended. An adapter without such uploads has none to end.
    async fn abandon(&self, _key: &Key, _upload: &str) -> Result<()> {
        Ok(())
    }

    /// Whether old versions can be listed (ListObjectVersions); for the
    /// [probe](crate::probe). An adapter that cannot say so says no.
    async fn versions_listed(&self) -> Result<bool> {
        Ok(false)
    }
}

/// An object key: UTF-8 of 1 to 1024 bytes, otherwise opaque (`a//b`, `..` and control
/// characters are all legal; source: S3 User Guide, "Naming Amazon S3 objects").
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Key(Arc<str>);

/// Why a string is not an object key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The empty string names no object.
    #[error("an object key cannot be empty")]
    Empty,
    /// S3 keys end at 1024 bytes.
    #[error("an object key has at most 1024 bytes, this one has {0}")]
    TooLong(usize),
}

impl Key {
    /// The most bytes that a key may have.
    pub const MAX_BYTES: usize = 1024;

    /// Checks the length and takes the string as a key.
    pub fn new(key: impl Into<Arc<str>>) -> std::result::Result<Self, KeyError> {
        let key = key.into();
        match key.len() {
            0 => Err(KeyError::Empty),
            1..=Self::MAX_BYTES => Ok(Self(key)),
            n => Err(KeyError::TooLong(n)),
        }
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Key {
    type Error = KeyError;
    fn try_from(key: String) -> std::result::Result<Self, KeyError> {
        Self::new(key)
    }
}

impl From<Key> for String {
    fn from(key: Key) -> String {
        key.0.as_ref().to_owned()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Key {
    /// Control characters are escaped, so that a hostile key cannot write to a terminal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if c.is_control() {
                write!(f, "{}", c.escape_default())?;
            } else {
                fmt::Write::write_char(f, c)?;
            }
        }
        Ok(())
    }
}

/// An entity tag, without the quotes that HTTP puts around it. Opaque: it may or may not
/// be the MD5 of the body.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Etag(Arc<str>);

impl Etag {
    /// Takes a tag as the store wrote it, quotes or not.
    pub fn new(tag: &str) -> Self {
        Self(tag.trim_matches('"').into())
    }

    /// The tag without quotes.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for Etag {
    fn from(tag: String) -> Self {
        Self::new(&tag)
    }
}

impl From<Etag> for String {
    fn from(tag: Etag) -> String {
        tag.0.as_ref().to_owned()
    }
}

/// User metadata (`x-amz-meta-*`), names in lower case.
pub type Metadata = std::collections::BTreeMap<String, String>;

/// What a write or delete requires of the object that is there (RFC 9110 §13.1).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Condition {
    /// Anything or nothing may be there.
    #[default]
    None,
    /// Nothing may be there (`If-None-Match: *`).
    Absent,
    /// Exactly this version must be there (`If-Match`).
    Matches(Etag),
}

/// How to read an object.
#[derive(Clone, Debug, Default)]
pub struct GetOptions {
    /// Only these bytes. The end may lie past the object's end; a start past it is
    /// [`Error::OutOfRange`](crate::Error::OutOfRange).
    pub range: Option<Range<u64>>,
    /// Only this version, else [`Error::Precondition`](crate::Error::Precondition).
    pub if_match: Option<Etag>,
}

/// How to write an object.
#[derive(Clone, Debug, Default)]
pub struct PutOptions {
    /// What must be there before.
    pub condition: Condition,
    /// User metadata to store beside the body.
    pub metadata: Metadata,
    /// Where to count what of the body the connection takes, while it takes it. What is
    /// sent again is counted again, and so are parts that the store has already; adapters
    /// may leave out bodies of some 64 KiB.
    pub meter: Option<Meter>,
    /// Holds the body back to a rate.
    pub pace: Option<Pace>,
    /// Where given, the body goes up in parts whatever its length, and an upload that is cut
    /// off can be gone on with.
    pub resume: Option<Arc<dyn Resume>>,
}

/// Remembers an upload in parts for the case that this process ends before it does, and has
/// the last word before the parts become an object.
///
/// The adapter sends those parts only that the store does not have yet: what it has counts
/// where its MD5 is the body's. An upload whose `put` fails for a reason that may pass, or
/// is dropped, is left as it is; one that failed for good is ended by the adapter.
#[async_trait]
pub trait Resume: fmt::Debug + Send + Sync {
    /// The upload that was begun for this key earlier.
    async fn known(&self) -> Option<String>;

    /// An upload was begun. Nothing is sent before this has returned.
    async fn begun(&self, upload: &str) -> Result<()>;

    /// The store has one more part.
    async fn sent(&self) -> Result<()>;

    /// All parts are there. `etag` is what the object will bear, where that follows from the
    /// parts. False: the body is not any more what was to be sent; nothing is put together,
    /// and the `put` fails as [`Error::LocalBody`](crate::Error::LocalBody).
    async fn may_complete(&self, etag: Option<&Etag>) -> Result<bool>;
}

/// A count of bytes on their way. Clones are the same count.
#[derive(Clone, Debug, Default)]
pub struct Meter(Arc<AtomicU64>);

impl Meter {
    /// Bytes counted so far.
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts bytes; for adapters.
    pub fn add(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// How to copy an object.
#[derive(Clone, Debug, Default)]
pub struct CopyOptions {
    /// The version of the source that must be there.
    pub source_if_match: Option<Etag>,
    /// What must be at the destination before. Stores that ignore conditions on copy are
    /// found by the [probe](crate::probe).
    pub condition: Condition,
    /// New user metadata; `None` keeps the source's.
    pub metadata: Option<Metadata>,
}

/// What an object is, without its body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ObjectMeta {
    /// Its key.
    pub key: Key,
    /// Bytes in the body.
    pub size: u64,
    /// Its version.
    pub etag: Etag,
    /// When the store took it, in nanoseconds since the Unix epoch.
    pub last_modified: i128,
    /// User metadata; always empty in a listing.
    pub metadata: Metadata,
}

/// An object being read.
pub struct Object {
    /// Its description; `size` is the whole object's, not the range's.
    pub meta: ObjectMeta,
    /// The bytes that the stream gives.
    pub range: Range<u64>,
    /// The body. A stream that ends early ends with an error, never silently.
    pub body: ByteStream,
}

/// Body bytes as they arrive.
pub type ByteStream = BoxStream<'static, Result<Bytes>>;

/// A whole body in memory, for what is known to be small.
///
/// # Errors
/// The stream's, among them a body that ends early.
pub async fn collect(body: ByteStream) -> Result<Vec<u8>> {
    body.try_fold(Vec::new(), |mut all, chunk| async move {
        all.extend_from_slice(&chunk);
        Ok(all)
    })
    .await
}

/// A body to be written.
#[derive(Clone)]
pub enum Body {
    /// Bytes in memory.
    Bytes(Bytes),
    /// A range of a local file. The file is read by position, so that several uploads
    /// may share it; a file found shorter than the range fails the upload.
    File {
        /// The open file.
        file: Arc<File>,
        /// The bytes to send.
        range: Range<u64>,
    },
}

impl Body {
    /// How many bytes will be sent.
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { range, .. } => range.end - range.start,
        }
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a write made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PutOutcome {
    /// The version now in the bucket.
    pub etag: Etag,
}

/// The fate of one key of [`Bucket::delete_many`].
#[derive(Debug)]
pub struct DeleteOutcome {
    /// The key.
    pub key: Key,
    /// Gone, or why not.
    pub result: Result<()>,
}

/// One page of a listing.
#[derive(Clone, Debug, Default)]
pub struct ListRequest {
    /// Only keys that begin so; empty for all.
    pub prefix: String,
    /// Roll keys up to the next delimiter after the prefix into common prefixes.
    pub delimiter: Option<char>,
    /// Only keys (and common prefixes) after this one, in byte order.
    pub start_after: Option<String>,
    /// Where the page before ended.
    pub token: Option<String>,
    /// At most this many keys and prefixes; `None` for the store's own page size (1,000).
    pub max_keys: Option<u32>,
}

/// The answer to a [`ListRequest`].
#[derive(Clone, Debug, Default)]
pub struct ListPage {
    /// Objects, in byte order of their keys.
    pub objects: Vec<ObjectMeta>,
    /// Common prefixes, delimiter included, in byte order.
    pub prefixes: Vec<String>,
    /// Give this to get the next page; `None` on the last.
    pub next: Option<String>,
}
