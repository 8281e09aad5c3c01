//! The port: what is asked of a store, whichever it is.

use async_trait::async_trait;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{BucketName, Endpoint, Grant, Kind, Result};

/// What makes buckets and keys. The calls about keys may all be repeated: what is there
/// already, or gone already, counts as done.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Which kind of store it is.
    fn kind(&self) -> Kind;

    /// Where those who get a key find the store.
    fn place(&self) -> &Place;

    /// Makes a bucket, unless it is ours already.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`](crate::Error::AlreadyExists) for somebody else's.
    async fn create_bucket(&self, bucket: &BucketName) -> Result<Creation>;

    /// Sets what every bucket of ours has, and says what the store does not know.
    async fn settle_bucket(&self, bucket: &BucketName) -> Result<Settings>;

    /// Deletes a page of objects and of unfinished uploads. To be asked again while there
    /// is [`more`](Emptied::more).
    async fn empty_bucket(&self, bucket: &BucketName) -> Result<Emptied>;

    /// Deletes an empty bucket.
    ///
    /// # Errors
    /// [`Error::NotEmpty`](crate::Error::NotEmpty).
    async fn delete_bucket(&self, bucket: &BucketName) -> Result<()>;

    /// The buckets that the administrator's keys see, a page at a time.
    async fn list_buckets(&self, from: Option<&Marker>) -> Result<Page<BucketInfo>>;

    /// The steps that issue a key here, in order.
    ///
    /// # Errors
    /// [`Error::Unsupported`](crate::Error::Unsupported) where such a key cannot be made.
    fn steps(&self, grant: &Grant) -> Result<&'static [Step]>;

    /// Carries out one step and notes in the handle what it made. The key comes from
    /// [`Step::MintKey`] only, which ends every key of the credential that was before.
    async fn take_step(
        &self,
        step: Step,
        grant: &Grant,
        handle: &mut KeyHandle,
    ) -> Result<Option<NewKey>>;

    /// Takes a key back, with all that was made for it, however far issuing had come. The
    /// handle may know as little as the credential's id.
    async fn revoke(&self, handle: &KeyHandle) -> Result<()>;

    /// The keys of this namespace that are there, a page at a time; among them what
    /// unfinished issues left.
    async fn list_keys(&self, from: Option<&Marker>) -> Result<Page<IssuedKey>>;
}

/// Where a store is, for those who use a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// `None` for AWS itself.
    pub endpoint: Option<Endpoint>,
    /// The region to sign for.
    pub region: String,
}

/// A step of issuing a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The policy is there.
    EnsurePolicy,
    /// The user is there.
    EnsureUser,
    /// The user has the policy.
    Attach,
    /// There is exactly one key, and its secret was answered.
    MintKey,
}

/// What there is of a key at the store; never the secret. It may be kept anywhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyHandle {
    /// The caller's id.
    pub credential: Uuid,
    /// The user's name, where the store has users.
    pub user: Option<String>,
    /// The policy's ARN.
    pub policy_arn: Option<String>,
    /// The public half of the key.
    pub access_key_id: Option<String>,
}

/// A key as it is given out, once.
pub struct NewKey {
    /// The public half.
    pub access_key_id: String,
    /// The secret half.
    pub secret_access_key: SecretString,
}

/// A key that was found at the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedKey {
    /// What is known of it. The policy is not looked for.
    pub handle: KeyHandle,
    /// All keys that open the same; more than one, or none, where issuing was cut short.
    pub access_key_ids: Vec<String>,
}

/// What became of a request for a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Creation {
    /// It is new.
    New,
    /// It was there, and is ours.
    AlreadyOurs,
}

/// What became of a bucket's settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Settings {
    /// Unfinished uploads are given up after [a week](crate::Settings::UPLOAD_DAYS).
    pub uploads_expire: Setting,
    /// Nothing can be made public.
    pub public_access_blocked: Setting,
    /// No web page of another origin may read it.
    pub cors_off: Setting,
}

/// What became of one setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Setting {
    /// It is so.
    Applied,
    /// The store does not know it.
    Unsupported,
}

/// What went with one page of a bucket's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Emptied {
    /// Objects deleted.
    pub objects: usize,
    /// Unfinished uploads given up.
    pub uploads: usize,
    /// Whether there may be more.
    pub more: bool,
}

/// A bucket as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketInfo {
    /// Its name, which need not be one that we would give.
    pub name: String,
}

/// Where the next page begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker(pub(crate) String);

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// What is on it; it may be nothing although more follows.
    pub items: Vec<T>,
    /// Where the next one begins, if there is one.
    pub next: Option<Marker>,
}

impl KeyHandle {
    /// A handle for a credential of which nothing is there yet, or nothing is known.
    pub fn new(credential: Uuid) -> Self {
        Self {
            credential,
            user: None,
            policy_arn: None,
            access_key_id: None,
        }
    }
}

impl Settings {
    /// After how many days unfinished uploads are given up.
    pub const UPLOAD_DAYS: i32 = 7;
}
