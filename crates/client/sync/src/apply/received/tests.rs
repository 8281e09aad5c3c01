//! Bytes on the way down that are not those of their object.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bucket::memory::MemoryBucket;
use bucket::probe::Capabilities;
use bucket::{
    Body, Bucket, Condition, CopyOptions, DeleteOutcome, Etag, GetOptions, Key, ListPage,
    ListRequest, Object, ObjectMeta, PutOptions, PutOutcome, Result,
};
use bytes::Bytes;
use futures::StreamExt;
use model::Profile;
use uuid::Uuid;

use crate::apply::{Applied, Sides};
use crate::folder::disk::DiskFolder;
use crate::keys::Keys;
use crate::settings::Settings;
use crate::state::State;
use crate::steps::GoOn;
use crate::{look, run};

/// What a store, or what stands before it, does wrong.
#[derive(Clone, Copy, PartialEq)]
enum Ill {
    /// So many answers have other bytes, each time others.
    Wrong(u64),
    /// Its ETags look like MD5s and are none.
    OtherTags,
}

struct Lying {
    inner: MemoryBucket,
    ill: Ill,
    gets: AtomicU64,
}

impl Lying {
    fn new(inner: &MemoryBucket, ill: Ill) -> Arc<Self> {
        Arc::new(Self {
            inner: inner.clone(),
            ill,
            gets: AtomicU64::new(0),
        })
    }

    fn told(&self, mut meta: ObjectMeta) -> ObjectMeta {
        meta.etag = self.other(&meta.etag);
        meta
    }

    /// The tag backwards; twice, it is the store's own again.
    fn other(&self, etag: &Etag) -> Etag {
        match self.ill {
            Ill::OtherTags => Etag::new(&etag.as_str().chars().rev().collect::<String>()),
            Ill::Wrong(_) => etag.clone(),
        }
    }
}

#[async_trait]
impl Bucket for Lying {
    async fn get(&self, key: &Key, mut options: GetOptions) -> Result<Object> {
        options.if_match = options.if_match.map(|etag| self.other(&etag));
        let mut object = self.inner.get(key, options).await?;
        object.meta = self.told(object.meta);
        let nth = self.gets.fetch_add(1, Ordering::SeqCst);
        if matches!(self.ill, Ill::Wrong(most) if nth < most) {
            let salt = u8::try_from(nth % 100).unwrap() + 1;
            let flip = move |chunk: Bytes| chunk.iter().map(|b| b ^ salt).collect::<Bytes>();
            object.body = object.body.map(move |c| c.map(flip)).boxed();
        }
        Ok(object)
    }
    async fn head(&self, key: &Key) -> Result<ObjectMeta> {
        Ok(self.told(self.inner.head(key).await?))
    }
    async fn put(&self, key: &Key, body: Body, options: PutOptions) -> Result<PutOutcome> {
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
        let mut page = self.inner.list(request).await?;
        page.objects = page.objects.into_iter().map(|o| self.told(o)).collect();
        Ok(page)
    }
}

/// A folder, a bucket with a small file and one that goes in blocks, most of it zeros.
struct Pair {
    folder: tempfile::TempDir,
    bucket: MemoryBucket,
    settings: Settings,
    state: Arc<State>,
}

const SMALL: &[u8] = b"0123456789";

fn large() -> Vec<u8> {
    let mut large = vec![0; 64 << 10];
    large[9] = 7;
    large
}

impl Pair {
    fn new(names: &[&str]) -> Self {
        let pair = Self {
            folder: tempfile::tempdir().unwrap(),
            bucket: MemoryBucket::new(),
            settings: Settings {
                large: 32 << 10,
                block: 64 << 10,
                transfers: 1,
                ..Settings::of(Profile::Balanced, "here")
            },
            state: Arc::new(State::in_memory(Uuid::nil()).unwrap()),
        };
        for name in names {
            match *name {
                "large" => pair.put(name, large()),
                name => pair.put(name, SMALL),
            }
        }
        pair
    }

    fn put(&self, name: &str, content: impl Into<Bytes>) {
        let key = Key::new(format!("p/{name}")).unwrap();
        self.bucket.insert(&key, content);
    }

    fn sides(&self, store: &Arc<Lying>) -> Sides {
        Sides {
            bucket: store.clone(),
            keys: Keys::new("p/"),
            capabilities: Capabilities {
                writable: true,
                put_if_absent: true,
                put_if_match: true,
                delete_if_match: true,
                copy: true,
                copy_if_absent: true,
                versions: false,
            },
            folder: Arc::new(DiskFolder::open(self.folder.path()).unwrap()),
            state: Arc::clone(&self.state),
            steps: Arc::new(GoOn),
        }
    }

    async fn ran(&self, store: &Arc<Lying>) -> Applied {
        let sides = self.sides(store);
        run(&sides, &self.settings, &mut |_| ()).await.unwrap()
    }

    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let all = fs::read_dir(self.folder.path())
            .unwrap()
            .map(|e| e.unwrap());
        all.filter(|entry| entry.file_name() != ".artifacts")
            .map(|e| {
                (
                    e.file_name().into_string().unwrap(),
                    fs::read(e.path()).unwrap(),
                )
            })
            .collect()
    }

    fn half_received(&self) -> usize {
        let tmp = self.folder.path().join(".artifacts/tmp");
        fs::read_dir(tmp).unwrap().count()
    }
}

#[tokio::test]
async fn bytes_that_are_not_what_the_etag_says_are_never_installed() {
    let pair = Pair::new(&["small", "large"]);
    let ill = Lying::new(&pair.bucket, Ill::Wrong(u64::MAX));
    let applied = pair.ran(&ill).await;
    assert!(pair.files().is_empty(), "{:?}", pair.files().keys());
    assert_eq!(applied.failed.len(), 2);
    for (_, reason) in &applied.failed {
        assert!(reason.contains("not what its ETag"), "{reason}");
    }
    assert_eq!(pair.half_received(), 0);
    let plan = look(&pair.sides(&ill), &pair.settings).await.unwrap().0;
    assert_eq!(plan.actions.len(), 2, "nothing is taken for alike");
    let well = Lying::new(&pair.bucket, Ill::Wrong(0));
    assert!(pair.ran(&well).await.is_whole());
    let files = pair.files();
    assert!(files["small"] == SMALL && files["large"] == large());
    assert_eq!(well.gets.load(Ordering::SeqCst), 2, "each is fetched once");
}

#[tokio::test]
async fn what_came_wrong_once_is_fetched_once_more() {
    for (name, right) in [("small", SMALL.to_vec()), ("large", large())] {
        let pair = Pair::new(&[name]);
        let ill = Lying::new(&pair.bucket, Ill::Wrong(1));
        assert!(pair.ran(&ill).await.is_whole());
        assert!(pair.files()[name] == right, "{name}");
        assert_eq!(ill.gets.load(Ordering::SeqCst), 2);
    }
}

/// As stores that encrypt with keys of a service.
#[tokio::test]
async fn a_store_whose_etags_are_no_md5_is_believed_if_it_says_the_same_twice() {
    let pair = Pair::new(&["small", "large"]);
    let kms = Lying::new(&pair.bucket, Ill::OtherTags);
    assert!(pair.ran(&kms).await.is_whole());
    assert!(pair.files()["large"] == large());
    assert_eq!(kms.gets.load(Ordering::SeqCst), 4);
    for n in 0..20 {
        pair.put(&format!("f{n}"), format!("content {n}"));
    }
    let kms = Lying::new(&pair.bucket, Ill::OtherTags);
    assert!(pair.ran(&kms).await.is_whole());
    assert_eq!(pair.files()["f19"], b"content 19");
    assert_eq!(
        kms.gets.load(Ordering::SeqCst),
        8 * 2 + 12,
        "by then it is known"
    );
}
