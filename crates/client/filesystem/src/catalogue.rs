//! Which documents the attribute index has, learned with as few LISTs as can be.
//!
//! Where all of the index fits on one page, that page answers for every directory: a workspace
//! without an index costs one LIST in half of `attr_ttl`, however many directories are listed.
//! A larger index is listed per directory, or, where a tree is walked, page by page in step
//! with the walk.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use bucket::{Error as BucketError, Etag, Key, ListPage, ListRequest};

use crate::attributes::{FOLDER, Shard};
use crate::clock::Stamp;
use crate::core::Core;

/// What one known document takes in memory, about.
const BYTES_A_DOCUMENT: u64 = 250;

/// How many walks are remembered; one is under way at a time.
const PASSES: usize = 4;

/// A document that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) key: Key,
    pub(crate) shard: Shard,
    pub(crate) etag: Etag,
}

/// The documents that are known, and for which directories that is all of them.
#[derive(Default)]
pub(crate) struct Catalogue {
    /// By place: the key without what all of them begin with.
    documents: BTreeMap<String, Document>,
    /// The one page that held all of it was asked for then.
    whole: Option<Stamp>,
    /// It did not fit on one page.
    large: bool,
    /// Directories listed alone, and when.
    single: HashMap<String, Stamp>,
    /// By the directory that is walked.
    passes: HashMap<String, Pass>,
    /// Whoever holds the gate asks for all who wait at it.
    gates: HashMap<Scope, Arc<tokio::sync::Mutex<()>>>,
}

struct Document {
    etag: Etag,
    seen: Stamp,
}

/// What one LIST is to tell about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Scope {
    All,
    Directory(String),
    /// Everything below a directory that is being walked.
    Walk(String),
}

/// A listing of everything below `below`, in step with a walk of it.
struct Pass {
    below: String,
    began_at: String,
    /// Directories between `began_at` and this are covered no more, save those that hold it.
    from: String,
    /// The last place of each page, and when the page was asked for.
    pages: Vec<(String, Stamp)>,
    next: Option<String>,
    over: bool,
}

impl Pass {
    fn new(below: &str, from: &str) -> Self {
        Self {
            below: below.to_owned(),
            began_at: from.to_owned(),
            from: from.to_owned(),
            pages: Vec::new(),
            next: None,
            over: false,
        }
    }

    /// When the page was asked for on which a directory's documents begin, if the pass has
    /// left them behind.
    fn covers(&self, directory: &str) -> Option<Stamp> {
        let held = directory >= self.from.as_str() || self.from.starts_with(directory);
        if !held || directory < self.began_at.as_str() || !directory.starts_with(&self.below) {
            return None;
        }
        let behind = self.over
            || self
                .pages
                .last()
                .is_some_and(|(last, _)| *last >= end_of(directory));
        let first = self
            .pages
            .iter()
            .find(|(last, _)| last.as_str() >= directory)
            .or(self.pages.last());
        first.filter(|_| behind).map(|(_, asked)| *asked)
    }
}

/// Documents' names begin with a digit, and `:` is the character after the digits.
fn end_of(directory: &str) -> String {
    format!("{directory}:")
}

impl Catalogue {
    /// Bytes of memory that it takes, about.
    pub(crate) fn bytes(&self) -> u64 {
        self.documents.len() as u64 * BYTES_A_DOCUMENT
    }

    /// Whether all documents of a directory are known, as they were at `since` or later.
    fn covers(&self, directory: &str, since: Stamp) -> bool {
        let single = self.single.get(directory).copied();
        let passes = self.passes.values().map(|pass| pass.covers(directory));
        [self.whole, single]
            .into_iter()
            .chain(passes)
            .flatten()
            .any(|asked| asked >= since)
    }

    fn scope(&self, directory: &str, walked: Option<&str>) -> Scope {
        match walked {
            _ if !self.large => Scope::All,
            Some(below) if directory.starts_with(below) => Scope::Walk(below.to_owned()),
            _ => Scope::Directory(directory.to_owned()),
        }
    }

    fn gate(&mut self, scope: &Scope) -> Arc<tokio::sync::Mutex<()>> {
        // Those that nobody holds or waits at any more.
        self.gates.retain(|_, gate| Arc::strong_count(gate) > 1);
        Arc::clone(self.gates.entry(scope.clone()).or_default())
    }

    /// The documents of a directory, coarsest split first. `root` is what all keys begin with.
    pub(crate) fn of(&self, root: &str, directory: &str) -> Vec<Known> {
        let mut found: Vec<Known> = self
            .places(directory)
            .filter_map(|(place, document)| {
                Some(Known {
                    key: Key::new(format!("{root}{place}")).ok()?,
                    shard: Shard::parse(&place[directory.len()..])?,
                    etag: document.etag.clone(),
                })
            })
            .collect();
        found.sort_by_key(|known| known.shard);
        found
    }

    fn places<'a>(
        &'a self,
        directory: &'a str,
    ) -> impl Iterator<Item = (&'a String, &'a Document)> {
        self.documents
            .range::<str, _>((
                Bound::Included(directory),
                Bound::Excluded(end_of(directory).as_str()),
            ))
            .filter(move |(place, _)| !place[directory.len()..].contains('/'))
    }

    /// Somebody says that a directory's documents are others by now.
    pub(crate) fn outdated(&mut self, directory: &str) {
        self.whole = None;
        self.single.remove(directory);
        self.passes.clear();
    }

    /// This document was written by us, or is known to be so.
    pub(crate) fn wrote(&mut self, place: String, etag: Etag) {
        let seen = Stamp::now();
        self.documents.insert(place, Document { etag, seen });
    }

    pub(crate) fn dropped(&mut self, place: &str) {
        self.documents.remove(place);
    }

    /// Takes in what was found at the places that `within` picks; what was learned since
    /// `asked` is newer.
    fn take(
        &mut self,
        found: Vec<(String, Etag)>,
        asked: Stamp,
        within: impl Fn(&str) -> bool,
        range: (Bound<String>, Bound<String>),
    ) {
        let stale: Vec<String> = self
            .documents
            .range(range)
            .filter(|(place, document)| document.seen < asked && within(place))
            .map(|(place, _)| place.clone())
            .collect();
        for place in stale {
            self.documents.remove(&place);
        }
        for (place, etag) in found {
            let document = Document { etag, seen: asked };
            self.documents.entry(place).or_insert(document);
        }
    }

    fn take_single(&mut self, directory: &str, found: Vec<(String, Etag)>, asked: Stamp) {
        let range = (
            Bound::Included(directory.to_owned()),
            Bound::Excluded(end_of(directory)),
        );
        let depth = directory.len();
        self.take(found, asked, |place| !place[depth..].contains('/'), range);
        self.single.insert(directory.to_owned(), asked);
    }

    /// Takes in the next page of a pass.
    fn take_page(
        &mut self,
        below: &str,
        found: Vec<(String, Etag)>,
        asked: Stamp,
        next: Option<String>,
    ) {
        let Some(pass) = self.passes.get_mut(below) else {
            return;
        };
        let before = match pass.pages.last() {
            Some((last, _)) => Bound::Excluded(last.clone()),
            None => Bound::Included(pass.from.clone()),
        };
        let last = found.last().map(|(place, _)| place);
        let last = last
            .or(pass.pages.last().map(|(last, _)| last))
            .unwrap_or(&pass.from)
            .clone();
        let end = match next {
            Some(_) => Bound::Included(last.clone()),
            None => Bound::Unbounded,
        };
        pass.pages.push((last, asked));
        pass.over = next.is_none();
        pass.next = next;
        self.take(
            found,
            asked,
            |place| place.starts_with(below),
            (before, end),
        );
    }

    /// Forgets what a pass has left behind, where it takes more memory than `most`.
    fn make_room(&mut self, directory: &str, most: u64) {
        if self.bytes() <= most {
            return;
        }
        self.single.clear();
        self.whole = None;
        self.documents.retain(|place, _| {
            let of = place.rfind('/').map_or("", |slash| &place[..=slash]);
            place.as_str() >= directory || directory.starts_with(of)
        });
        for pass in self.passes.values_mut() {
            pass.from = pass.from.as_str().max(directory).to_owned();
        }
    }
}

impl Core {
    /// The documents of a directory (relative to the workspace, empty or ending with `/`) as
    /// they were at `since` or later. `walked`: the directory is come by in a walk of that one.
    pub(crate) async fn documents_of(
        &self,
        directory: &str,
        walked: Option<&str>,
        since: Stamp,
    ) -> Result<Vec<Known>, BucketError> {
        let root = format!("{}{FOLDER}", self.settings.prefix);
        loop {
            let (scope, gate) = {
                let mut state = self.state();
                let catalogue = &mut state.index.catalogue;
                if catalogue.covers(directory, since) {
                    return Ok(catalogue.of(&root, directory));
                }
                let scope = catalogue.scope(directory, walked);
                let gate = catalogue.gate(&scope);
                (scope, gate)
            };
            let _held = gate.lock().await;
            let still = {
                let state = self.state();
                let catalogue = &state.index.catalogue;
                !catalogue.covers(directory, since) && catalogue.scope(directory, walked) == scope
            };
            if still {
                self.load(&root, &scope, directory, since).await?;
            }
        }
    }

    async fn load(
        &self,
        root: &str,
        scope: &Scope,
        directory: &str,
        since: Stamp,
    ) -> Result<(), BucketError> {
        match scope {
            Scope::All => self.load_all(root).await,
            Scope::Directory(directory) => self.load_single(root, directory).await,
            Scope::Walk(below) => self.load_page(root, below, directory, since).await,
        }
    }

    async fn load_all(&self, root: &str) -> Result<(), BucketError> {
        let asked = Stamp::now();
        let request = ListRequest {
            prefix: root.to_owned(),
            ..ListRequest::default()
        };
        let page = self.bucket.list(&request).await?;
        let mut state = self.state();
        let catalogue = &mut state.index.catalogue;
        if page.next.is_some() {
            catalogue.large = true;
            catalogue.whole = None;
        } else {
            let everywhere = (Bound::Unbounded, Bound::Unbounded);
            catalogue.take(places(root, page), asked, |_| true, everywhere);
            catalogue.whole = Some(asked);
        }
        Ok(())
    }

    async fn load_single(&self, root: &str, directory: &str) -> Result<(), BucketError> {
        let asked = Stamp::now();
        let end = end_of(&format!("{root}{directory}"));
        let mut request = ListRequest {
            prefix: format!("{root}{directory}"),
            delimiter: Some('/'),
            ..ListRequest::default()
        };
        let mut found = Vec::new();
        loop {
            let page = self.bucket.list(&request).await?;
            let object = page.objects.last().map(|object| object.key.as_str());
            let prefix = page.prefixes.last().map(String::as_str);
            let passed = object.max(prefix).is_none_or(|last| last >= end.as_str());
            request.token = page.next.clone();
            found.extend(places(root, page));
            if passed || request.token.is_none() {
                break;
            }
        }
        let mut state = self.state();
        let catalogue = &mut state.index.catalogue;
        catalogue.make_room(directory, self.settings.memory_limit / 8);
        catalogue.take_single(directory, found, asked);
        Ok(())
    }

    /// The next page of the pass that goes with a walk, or the first of a new one.
    async fn load_page(
        &self,
        root: &str,
        below: &str,
        directory: &str,
        since: Stamp,
    ) -> Result<(), BucketError> {
        let asked = Stamp::now();
        let mut request = ListRequest {
            prefix: format!("{root}{below}"),
            ..ListRequest::default()
        };
        let from = top(below, directory);
        {
            let mut state = self.state();
            let catalogue = &mut state.index.catalogue;
            let goes_on = catalogue.passes.get(below).filter(|pass| {
                let young = pass.pages.last().is_some_and(|(_, asked)| *asked >= since);
                young
                    && !pass.over
                    && pass.from.as_str() <= directory
                    && pass.covers(directory).is_none()
            });
            request.token = goes_on.and_then(|pass| pass.next.clone());
            if request.token.is_none() {
                request.start_after = Some(format!("{root}{from}"));
                if catalogue.passes.len() >= PASSES {
                    catalogue.passes.clear();
                }
                let pass = Pass::new(below, &from);
                catalogue.passes.insert(below.to_owned(), pass);
            }
        }
        let page = self.bucket.list(&request).await?;
        let next = page.next.clone();
        let mut state = self.state();
        let catalogue = &mut state.index.catalogue;
        catalogue.make_room(directory, self.settings.memory_limit / 8);
        catalogue.take_page(below, places(root, page), asked, next);
        Ok(())
    }
}

/// The child of `below` that holds a directory, or is it: a walk comes by a directory after
/// everything in it, so a pass begins where nothing in it is left out.
fn top(below: &str, directory: &str) -> String {
    let rest = directory.strip_prefix(below).unwrap_or_default();
    let child = rest.find('/').map_or("", |slash| &rest[..=slash]);
    format!("{below}{child}")
}

fn places(root: &str, page: ListPage) -> Vec<(String, Etag)> {
    page.objects
        .into_iter()
        .filter_map(|object| {
            let place = object.key.as_str().strip_prefix(root)?.to_owned();
            Some((place, object.etag))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalogue() -> Catalogue {
        Catalogue {
            large: true,
            passes: HashMap::from([(String::new(), Pass::new("", "a/"))]),
            ..Catalogue::default()
        }
    }

    fn found(places: &[&str]) -> Vec<(String, Etag)> {
        places
            .iter()
            .map(|place| ((*place).to_owned(), Etag::new("e")))
            .collect()
    }

    fn keys(catalogue: &Catalogue, directory: &str) -> Vec<String> {
        let known = catalogue.of("", directory);
        known
            .into_iter()
            .map(|known| known.key.as_str().to_owned())
            .collect()
    }

    #[test]
    fn a_pass_covers_what_it_has_left_behind() {
        let mut catalogue = catalogue();
        let asked = Stamp::now();
        catalogue.take_page(
            "",
            found(&["a/0-0.json", "a/1/0-0.json", "a/b/0-0.json", "b/1-0.json"]),
            asked,
            Some("on".to_owned()),
        );
        assert!(catalogue.covers("a/b/", asked));
        assert!(catalogue.covers("a/", asked));
        assert!(catalogue.covers("a/x/", asked), "it has none");
        assert!(!catalogue.covers("b/", asked), "more may come");
        assert!(!catalogue.covers("", asked), "it began after the root's");
        assert_eq!(keys(&catalogue, "a/"), ["a/0-0.json"]);
        catalogue.take_page("", found(&["b/1-1.json", "b/10-3.json"]), asked, None);
        assert!(catalogue.covers("b/", asked));
        assert!(catalogue.covers("z/", asked));
        assert_eq!(
            keys(&catalogue, "b/"),
            ["b/1-0.json", "b/1-1.json", "b/10-3.json"]
        );
    }

    #[test]
    fn a_listing_takes_away_what_is_gone_but_not_what_is_newer() {
        let mut catalogue = Catalogue::default();
        catalogue.take_single("d/", found(&["d/0-0.json"]), Stamp::now());
        let asked = Stamp::now().after(std::time::Duration::from_nanos(1));
        catalogue.documents.insert(
            "d/1-0.json".to_owned(),
            Document {
                etag: Etag::new("ours"),
                seen: asked.after(std::time::Duration::from_secs(1)),
            },
        );
        catalogue.documents.insert(
            "d/e/0-0.json".to_owned(),
            Document {
                etag: Etag::new("e"),
                seen: asked.before(std::time::Duration::from_secs(1)),
            },
        );
        catalogue.take_single("d/", Vec::new(), asked);
        assert_eq!(keys(&catalogue, "d/"), ["d/1-0.json"]);
        assert_eq!(
            keys(&catalogue, "d/e/"),
            ["d/e/0-0.json"],
            "not asked about"
        );
    }

    #[test]
    fn what_was_left_behind_is_forgotten_first() {
        let mut catalogue = catalogue();
        let asked = Stamp::now();
        catalogue.take_page(
            "",
            found(&["a/0-0.json", "a/b/0-0.json", "a/c/0-0.json", "a/d/0-0.json"]),
            asked,
            None,
        );
        catalogue.make_room("a/c/", 0);
        assert!(catalogue.covers("a/c/", asked) && catalogue.covers("a/d/", asked));
        assert!(catalogue.covers("a/", asked), "it is still to come by");
        assert!(!catalogue.covers("a/b/", asked));
        assert_eq!(keys(&catalogue, "a/"), ["a/0-0.json"]);
        assert_eq!(keys(&catalogue, "a/b/"), Vec::<String>::new());
    }
}
