//! Listing: one range of the index per page; what a delimiter rolls up is jumped over.

use rusqlite::{Connection, params};

use super::{Error, Result, Store, buckets};

/// What to list.
#[derive(Debug, Clone, Default)]
pub(crate) struct ListQuery {
    pub(crate) prefix: String,
    /// Never empty: an empty delimiter is none.
    pub(crate) delimiter: Option<String>,
    /// Only keys and common prefixes after this.
    pub(crate) after: Option<String>,
    /// A token of a page before.
    pub(crate) token: Option<String>,
    /// Keys and common prefixes together.
    pub(crate) limit: usize,
}

/// A page.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) entries: Vec<Entry>,
    /// Where to go on, when there is more.
    pub(crate) next: Option<String>,
}

/// A line of a page.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Object {
        key: String,
        size: u64,
        etag: String,
        modified: i64,
    },
    Prefix(String),
}

impl Entry {
    /// The key or the common prefix.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Object { key, .. } | Self::Prefix(key) => key,
        }
    }
}

impl Store {
    /// Lists a page of a bucket.
    pub(crate) fn list(&self, bucket: &str, query: &ListQuery) -> Result<Listing> {
        self.readers.snapshot(|index| {
            let bucket = buckets::id(index, bucket)?;
            page(index, bucket, query)
        })
    }
}

/// The first string after every string that begins with `prefix`; `None` for no bound.
/// (UTF-8 has no byte 0xFF, so only the empty prefix has none.)
pub(super) fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut bound = prefix.to_vec();
    *bound.last_mut()? += 1;
    Some(bound)
}

/// Lists a page of a bucket by its number.
pub(super) fn page(index: &Connection, bucket: i64, query: &ListQuery) -> Result<Listing> {
    let mut from = start(query)?;
    let end = after_prefix(query.prefix.as_bytes());
    let mut listing = Listing::default();
    if query.limit == 0 {
        return Ok(listing);
    }
    while let Some(start) = from.take() {
        from = scan(index, bucket, query, &start, end.as_deref(), &mut listing)?;
        if listing.next.is_some() {
            break;
        }
    }
    Ok(listing)
}

/// The first key that may be on the page.
fn start(query: &ListQuery) -> Result<Option<Vec<u8>>> {
    let mut from = query.prefix.clone().into_bytes();
    if let Some(after) = &query.after {
        // The smallest string after `after` is `after` and a NUL.
        from = from.max([after.as_bytes(), b"\0"].concat());
    }
    if let Some(token) = &query.token {
        from = from.max(hex::decode(token).map_err(|_| Error::InvalidToken)?);
    }
    Ok(Some(from))
}

/// Reads on from `start`; answers where to jump to when a common prefix was met.
fn scan(
    index: &Connection,
    bucket: i64,
    query: &ListQuery,
    start: &[u8],
    end: Option<&[u8]>,
    listing: &mut Listing,
) -> Result<Option<Vec<u8>>> {
    let sql = "SELECT key, size, etag, modified FROM objects
               WHERE bucket = ?1 AND key >= ?2 AND (?3 IS NULL OR key < ?3) ORDER BY key";
    let mut statement = index.prepare_cached(sql)?;
    let mut rows = statement.query(params![bucket, start, end])?;
    while let Some(row) = rows.next()? {
        let key = text(row.get_ref(0)?.as_blob().unwrap_or_default());
        let rolled = query.rolled_up(&key);
        if let Some(prefix) = rolled.filter(|prefix| !query.is_before(prefix)) {
            listing.add(Entry::Prefix(prefix.to_owned()), query.limit);
            return Ok(after_prefix(prefix.as_bytes()));
        }
        if let Some(prefix) = rolled {
            return Ok(after_prefix(prefix.as_bytes()));
        }
        let size = row.get::<_, i64>(1)?.unsigned_abs();
        listing.add(
            Entry::Object {
                key,
                size,
                etag: row.get(2)?,
                modified: row.get(3)?,
            },
            query.limit,
        );
        if listing.next.is_some() {
            return Ok(None);
        }
    }
    Ok(None)
}

impl ListQuery {
    /// The common prefix that stands for this key, if it is rolled up.
    fn rolled_up<'k>(&self, key: &'k str) -> Option<&'k str> {
        let delimiter = self.delimiter.as_deref()?;
        let rest = key.get(self.prefix.len()..)?;
        let end = self.prefix.len() + rest.find(delimiter)? + delimiter.len();
        Some(&key[..end])
    }

    /// Whether a common prefix was already on a page before.
    fn is_before(&self, prefix: &str) -> bool {
        self.after.as_deref().is_some_and(|after| prefix <= after)
    }
}

impl Listing {
    /// Adds an entry, or, when the page is full, the token to go on from it.
    fn add(&mut self, entry: Entry, limit: usize) {
        if self.entries.len() < limit {
            self.entries.push(entry);
        } else {
            self.next = Some(hex::encode(entry.name()));
        }
    }
}

fn text(key: &[u8]) -> String {
    // Only strings are ever written as keys.
    String::from_utf8_lossy(key).into_owned()
}
