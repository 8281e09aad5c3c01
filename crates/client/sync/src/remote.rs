//! What is in the bucket: a listing that is whole, or none.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bucket::{Bucket, Error, Key, ListRequest, ObjectMeta, Result};
use futures::StreamExt;
use futures::stream::FuturesUnordered;

use crate::entry::{Kind, RemoteEntry};
use crate::keys::{Keys, Meaning};
use crate::known::{Known, Stored};
use crate::path::TreePath;
use crate::plan::{Refusal, Remote};

/// From so many known files on, the listing is cut into ranges that are read side by side.
const RANGE: usize = 4_000;
/// The most ranges.
const RANGES: usize = 8;
/// So deep directories are looked for to cut a listing at, where nothing is known yet.
const DEEPEST: usize = 4;

/// So many pages without an object, one after the other, are no listing.
const EMPTY: usize = 1_000;
/// No store has larger objects (S3's limit is 5 TiB; others have up to 50 TiB).
const LARGEST: u64 = 50 << 40;

/// What a listing told.
#[derive(Debug, Default)]
pub struct Listed {
    /// Objects that are what they were, by their number among the known files.
    pub as_stored: Vec<u32>,
    /// All others.
    pub remote: Remote,
    /// Objects that no folder can hold under their names.
    pub refused: Vec<Refusal>,
    /// Paths of objects of which the store says what cannot be: they are left alone.
    pub unbelievable: Vec<TreePath>,
}

/// What one range of it told.
#[derive(Default)]
struct Part {
    as_stored: Vec<u32>,
    others: Vec<ObjectMeta>,
}

/// Lists the workspace. A page that fails, or pages that are out of order, fail it whole:
/// nothing is ever taken for deleted because of half a list.
///
/// # Errors
/// The bucket's.
pub async fn list(bucket: &Arc<dyn Bucket>, keys: &Keys, known: &Known) -> Result<Listed> {
    let listing = Listing {
        bucket,
        keys,
        known,
    };
    let mut parts = Vec::new();
    let cuts = match known.len() < RANGE {
        true => {
            let (first, rest) = listing.begin().await?;
            parts.push(first);
            rest
        }
        false => cuts(keys, known),
    };
    let mut ranges = FuturesUnordered::new();
    for (at, from) in cuts.iter().enumerate() {
        let to = cuts.get(at + 1).cloned().flatten();
        ranges.push(listing.range(from.clone(), to));
    }
    while let Some(part) = ranges.next().await {
        parts.push(part?);
    }
    let mut listed = Listed::default();
    // Ranges may overlap where a store has an order of its own.
    let mut others: BTreeMap<Key, ObjectMeta> = BTreeMap::new();
    for part in parts {
        listed.as_stored.extend(part.as_stored);
        let objects = part.others.into_iter();
        others.extend(objects.map(|object| (object.key.clone(), object)));
    }
    for object in others.into_values() {
        take(&mut listed, keys, object);
    }
    Ok(listed)
}

/// Where ranges begin: after these keys; `None` is the beginning.
fn cuts(keys: &Keys, known: &Known) -> Vec<Option<String>> {
    let ranges = (known.len() / RANGE).clamp(1, RANGES);
    let step = (known.len() / ranges).max(1);
    let inner = (1..ranges).map(|n| format!("{}{}", keys.prefix(), known.path(n * step)));
    let inner: BTreeSet<String> = inner.collect();
    std::iter::once(None)
        .chain(inner.into_iter().map(Some))
        .collect()
}

/// A range that is being read.
#[derive(Default)]
struct Reading {
    part: Part,
    last: String,
    order: Order,
    /// Where the last one was among the known files.
    near: usize,
}

/// The pages of a listing: none comes twice, and they come to an end.
#[derive(Default)]
pub(crate) struct Pages {
    seen: BTreeSet<String>,
    empty: usize,
}

impl Pages {
    /// Where the next page begins, after one of so many objects.
    pub(crate) fn next(&mut self, objects: usize, next: Option<String>) -> Result<Option<String>> {
        let Some(token) = next else { return Ok(None) };
        self.empty = match objects {
            0 => self.empty + 1,
            _ => 0,
        };
        if self.empty > EMPTY || !self.seen.insert(token.clone()) {
            return Err(Error::Unsupported {
                reason: "its listing does not end: it leads from page to page and shows nothing \
                         new"
                .to_owned(),
            });
        }
        Ok(Some(token))
    }
}

/// A listing that is being made.
struct Listing<'a> {
    bucket: &'a Arc<dyn Bucket>,
    keys: &'a Keys,
    known: &'a Known,
}

impl Listing<'_> {
    /// The first page, and where ranges for the rest begin, if there is more.
    async fn begin(&self) -> Result<(Part, Vec<Option<String>>)> {
        let request = ListRequest {
            prefix: self.keys.prefix().to_owned(),
            ..ListRequest::default()
        };
        let page = self.bucket.list(&request).await?;
        let mut reading = Reading::default();
        for object in page.objects {
            self.add(&mut reading, object)?;
        }
        let mut rest = Vec::new();
        if page.next.is_some() {
            let cuts = self.directories(&reading.last).await?;
            rest.push(Some(reading.last));
            rest.extend(cuts.into_iter().map(Some));
        }
        Ok((reading.part, rest))
    }

    /// Some of the directories after a key, in order.
    async fn directories(&self, after: &str) -> Result<Vec<String>> {
        let mut prefix = self.keys.prefix().to_owned();
        for _ in 0..DEEPEST {
            let request = ListRequest {
                prefix,
                delimiter: Some('/'),
                ..ListRequest::default()
            };
            let mut found = self.bucket.list(&request).await?.prefixes;
            let hidden = self.keys.hidden("");
            found.retain(|directory| hidden.as_ref().map(Key::as_str) != Some(directory));
            if found.len() == 1 {
                prefix = found.remove(0);
                continue;
            }
            found.retain(|directory| directory.as_str() > after);
            found.sort_unstable();
            let step = found.len().div_ceil(RANGES - 1).max(1);
            return Ok(found.into_iter().step_by(step).collect());
        }
        Ok(Vec::new())
    }

    /// The objects after `from`, up to and with `to`, and perhaps some of the next range.
    async fn range(&self, from: Option<String>, to: Option<String>) -> Result<Part> {
        let mut request = ListRequest {
            prefix: self.keys.prefix().to_owned(),
            start_after: from.clone(),
            ..ListRequest::default()
        };
        let mut reading = Reading {
            last: from.unwrap_or_default(),
            ..Reading::default()
        };
        let mut pages = Pages::default();
        loop {
            let page = self.bucket.list(&request).await?;
            let page_objects = page.objects.len();
            for object in page.objects {
                let key = object.key.as_str();
                let is_over = to.as_deref().is_some_and(|to| is_past(key, to));
                if is_over && reading.order.allows(&reading.last, key) {
                    return Ok(reading.part);
                }
                self.add(&mut reading, object)?;
            }
            match pages.next(page_objects, page.next)? {
                Some(token) => request.token = Some(token),
                None => return Ok(reading.part),
            }
        }
    }

    /// Adds the next object.
    fn add(&self, reading: &mut Reading, object: ObjectMeta) -> Result<()> {
        let key = object.key.as_str();
        if !reading.order.allows(&reading.last, key) {
            return Err(out_of_order(&reading.last, key));
        }
        key.clone_into(&mut reading.last);
        match self.as_stored(&object, &mut reading.near) {
            Some(number) => reading.part.as_stored.push(number),
            None => reading.part.others.push(object),
        }
        Ok(())
    }

    /// The number of a known file whose object this still is.
    fn as_stored(&self, object: &ObjectMeta, near: &mut usize) -> Option<u32> {
        let (kind, path) = self.keys.plain(&object.key)?;
        let stored = Stored {
            kind,
            size: object.size,
            etag: object.etag.as_str(),
            modified: modified(object),
        };
        self.known.as_stored(path, &stored, near)
    }
}

fn modified(object: &ObjectMeta) -> i64 {
    i64::try_from(object.last_modified).unwrap_or(i64::MAX)
}

/// The orders that a listing may have: that of bytes, as S3 says, and that of stores that keep
/// objects as files in directories, where `d/f` comes before `d.md` and `d-e`.
struct Order {
    of_bytes: bool,
    of_directories: bool,
}

impl Default for Order {
    fn default() -> Self {
        Self {
            of_bytes: true,
            of_directories: true,
        }
    }
}

impl Order {
    /// Whether a key may come after another, in an order that all keys so far had.
    fn allows(&mut self, before: &str, key: &str) -> bool {
        self.of_bytes &= before < key;
        self.of_directories &= by_directories(before, key) == Ordering::Less;
        self.of_bytes || self.of_directories
    }
}

/// As names in directories, those of directories among them, are ordered.
fn by_directories(one: &str, other: &str) -> Ordering {
    one.split('/').cmp(other.split('/'))
}

/// Whether a range that ends with a key is over, whichever order the store has. What lies below
/// that key, a file until now, belongs to this range: not every store has it after the key.
fn is_past(key: &str, end: &str) -> bool {
    let below = key.strip_prefix(end);
    key > end
        && by_directories(key, end) == Ordering::Greater
        && below.is_none_or(|rest| !rest.starts_with('/'))
}

fn out_of_order(before: &str, key: &str) -> Error {
    Error::Unsupported {
        reason: format!("its listing has {key:?} after {before:?}, so it cannot be known whole"),
    }
}

fn take(listed: &mut Listed, keys: &Keys, object: ObjectMeta) {
    let remote = &mut listed.remote;
    match keys.meaning(&object.key) {
        None | Some(Meaning::Hidden) => {}
        Some(Meaning::Refused(error)) => listed.refused.push(Refusal {
            name: object.key.to_string(),
            reason: error.to_string(),
        }),
        Some(Meaning::Directory(path)) if object.size == 0 => {
            remote.markers.insert(path, object.etag);
        }
        Some(Meaning::Directory(_)) => listed.refused.push(Refusal {
            name: object.key.to_string(),
            reason: "a directory's object has content".to_owned(),
        }),
        Some(Meaning::Entry(_, path)) if object.size > LARGEST => {
            listed.refused.push(Refusal {
                name: path.to_string(),
                reason: format!(
                    "the store says that it has {} bytes, which no object has",
                    object.size
                ),
            });
            listed.unbelievable.push(path);
        }
        Some(Meaning::Entry(kind, path)) => {
            let entry = RemoteEntry {
                kind,
                size: object.size,
                modified: modified(&object),
                etag: object.etag,
            };
            remote.add(path, entry);
        }
    }
}

impl Remote {
    /// Adds an object. A link and a file of one name: the link keeps it.
    pub(crate) fn add(&mut self, path: TreePath, entry: RemoteEntry) {
        match self.entries.get(&path) {
            Some(known) if known.kind == Kind::Link => {
                self.shadowed.insert(path, entry);
            }
            _ => {
                if let Some(file) = self.entries.insert(path.clone(), entry) {
                    self.shadowed.insert(path, file);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bucket::Key;
    use bucket::faults::{Fault, Faulty, Rule, Verb};
    use bucket::memory::MemoryBucket;

    use super::*;
    use crate::entry::Hash;
    use crate::known::Fact;

    fn known(mut paths: Vec<String>) -> Known {
        paths.sort();
        let mut known = Known::default();
        for path in &paths {
            let fact = Fact {
                path,
                etag: "e",
                kind: Kind::File,
                size: 1,
                hash: Hash::of(b"x"),
                modified: None,
                seen: None,
            };
            assert!(known.push(&fact), "{path}");
        }
        known
    }

    async fn listed(bucket: Arc<dyn Bucket>, known: &Known) -> Result<Listed> {
        list(&bucket, &Keys::new("p/"), known).await
    }

    #[tokio::test]
    async fn ranges_side_by_side_give_what_one_pass_gives() {
        let bucket = MemoryBucket::new();
        let names: Vec<String> = (0..9_000).map(|n| format!("d{}/f{n}", n % 7)).collect();
        for name in names.iter().step_by(3) {
            bucket.insert(&Key::new(format!("p/{name}")).unwrap(), "x");
        }
        bucket.insert(&Key::new("other").unwrap(), "x");
        let bucket: Arc<dyn Bucket> = Arc::new(bucket);
        let whole = listed(bucket.clone(), &Known::default()).await.unwrap();
        let known = known(names);
        assert!(cuts(&Keys::new("p/"), &known).len() > 1);
        let ranges = listed(bucket, &known).await.unwrap();
        assert_eq!(whole.remote.entries, ranges.remote.entries);
        assert_eq!(ranges.remote.entries.len(), 3_000);
    }

    /// A store that keeps objects as files, as SeaweedFS does.
    struct OfDirectories(MemoryBucket);

    #[async_trait::async_trait]
    impl Bucket for OfDirectories {
        async fn get(&self, key: &Key, o: bucket::GetOptions) -> Result<bucket::Object> {
            self.0.get(key, o).await
        }
        async fn head(&self, key: &Key) -> Result<ObjectMeta> {
            self.0.head(key).await
        }
        async fn put(
            &self,
            key: &Key,
            body: bucket::Body,
            o: bucket::PutOptions,
        ) -> Result<bucket::PutOutcome> {
            self.0.put(key, body, o).await
        }
        async fn copy(
            &self,
            from: &Key,
            to: &Key,
            o: bucket::CopyOptions,
        ) -> Result<bucket::PutOutcome> {
            self.0.copy(from, to, o).await
        }
        async fn delete(&self, key: &Key, c: bucket::Condition) -> Result<()> {
            self.0.delete(key, c).await
        }
        async fn delete_many(&self, keys: &[Key]) -> Result<Vec<bucket::DeleteOutcome>> {
            self.0.delete_many(keys).await
        }
        async fn list(&self, request: &ListRequest) -> Result<bucket::ListPage> {
            let mut all = Vec::new();
            for key in self.0.contents().into_keys() {
                let after = request.token.as_ref().or(request.start_after.as_ref());
                let is_after = |after: &String| by_directories(&key, after) == Ordering::Greater;
                // As SeaweedFS: after a name, nothing that lies below it.
                let is_below = |after: &String| key.starts_with(&format!("{after}/"));
                if key.starts_with(&request.prefix)
                    && after.is_none_or(is_after)
                    && !request.start_after.as_ref().is_some_and(is_below)
                {
                    all.push(self.0.head(&Key::new(key).unwrap()).await?);
                }
            }
            all.sort_by(|a, b| by_directories(a.key.as_str(), b.key.as_str()));
            let more = all.len() > 100;
            all.truncate(100);
            let next = all
                .last()
                .filter(|_| more)
                .map(|o| o.key.as_str().to_owned());
            Ok(bucket::ListPage {
                objects: all,
                next,
                ..bucket::ListPage::default()
            })
        }
    }

    /// Found on SeaweedFS: a directory beside a file of a name that begins so was an error.
    #[tokio::test]
    async fn a_store_that_orders_by_directories_is_listed_whole() {
        let memory = MemoryBucket::new();
        let mut names: Vec<String> = (0..9_000).map(|n| format!("d{}/f{n}", n % 700)).collect();
        names.extend((0..700).flat_map(|n| [format!("d{n}.md"), format!("d{n}-e")]));
        names.sort();
        // One at which a range ends was a file, and is a directory by now.
        let end = names[names.len() / 2].clone();
        for name in names.iter().step_by(5).filter(|name| **name != end) {
            memory.insert(&Key::new(format!("p/{name}")).unwrap(), "x");
        }
        memory.insert(&Key::new(format!("p/{end}/below")).unwrap(), "x");
        let known = known(names);
        assert!(cuts(&Keys::new("p/"), &known).contains(&Some(format!("p/{end}"))));
        let whole = memory.contents().len();
        for known in [Known::default(), known] {
            for bucket in [
                Arc::new(memory.clone()) as Arc<dyn Bucket>,
                Arc::new(OfDirectories(memory.clone())),
            ] {
                let found = listed(bucket, &known).await.unwrap();
                assert_eq!(found.remote.entries.len(), whole);
                assert!(found.remote.shadowed.is_empty());
            }
        }
    }

    #[test]
    fn an_order_that_is_neither_is_refused() {
        let follows = |keys: &[&str]| {
            let mut order = Order::default();
            keys.windows(2).all(|pair| order.allows(pair[0], pair[1]))
        };
        assert!(follows(&["a.md", "a/b", "a/c", "b"]));
        assert!(follows(&["a/b", "a/c", "a.md", "b"]));
        assert!(!follows(&["a/b", "a.md", "b-c", "b/c", "b-d"]));
        assert!(!follows(&["a", "a"]) && !follows(&["b", "a"]));
    }

    #[tokio::test]
    async fn an_unknown_bucket_is_cut_at_its_directories() {
        let bucket = MemoryBucket::new();
        for n in 0..6_000 {
            let key = Key::new(format!("p/top/d{:02}/f{n}", n % 30)).unwrap();
            bucket.insert(&key, "x");
        }
        bucket.insert(&Key::new("p/top/d07/").unwrap(), "");
        let before = bucket.calls().list;
        let all: Arc<dyn Bucket> = Arc::new(bucket.clone());
        let found = listed(all, &Known::default()).await.unwrap();
        assert_eq!(found.remote.entries.len(), 6_000);
        assert_eq!(found.remote.markers.len(), 1);
        // The first page, two looks for directories, and at most two pages of each range.
        let calls = bucket.calls().list - before;
        assert!((8..=19).contains(&calls), "{calls}");
    }

    #[tokio::test]
    async fn half_a_list_is_none() {
        let bucket = MemoryBucket::new();
        for n in 0..2_500 {
            bucket.insert(&Key::new(format!("p/{n:05}")).unwrap(), "x");
        }
        let faulty = Faulty::new(Arc::new(bucket));
        let busy = Error::Throttled {
            reason: "SlowDown".into(),
        };
        faulty.add(
            Rule::new(Fault::FailBefore(busy.clone()))
                .on(Verb::List)
                .nth(3),
        );
        let answer = listed(Arc::new(faulty), &Known::default()).await;
        assert_eq!(answer.map(|l| l.remote.entries.len()), Err(busy));
    }

    #[tokio::test]
    async fn keys_that_are_no_names_are_told_of() {
        let bucket = MemoryBucket::new();
        for key in [
            "p/a//b",
            "p/..",
            "p/l",
            "p/l.rclonelink",
            "p/d/",
            "p/.artifacts/x",
            "p/",
        ] {
            let content = if key.ends_with('/') { "" } else { "x" };
            bucket.insert(&Key::new(key).unwrap(), content);
        }
        let listed = listed(Arc::new(bucket), &Known::default()).await.unwrap();
        let names: Vec<&str> = listed.refused.iter().map(|r| r.name.as_str()).collect();
        assert_eq!(names, ["p/..", "p/a//b"]);
        let hidden: Vec<String> = listed
            .remote
            .shadowed
            .keys()
            .map(|p| p.to_string())
            .collect();
        assert_eq!(hidden, ["l"]);
        let link = &listed.remote.entries[&TreePath::parse("l").unwrap()];
        assert_eq!(link.kind, Kind::Link);
        assert_eq!(listed.remote.markers.len(), 1);
    }
}
