//! A page of ListMultipartUploads: unfinished uploads are few, so this one filters.

use crate::store::{Result, Store, UploadRow};

/// What to list.
pub(super) struct UploadQuery<'a> {
    pub(super) bucket: &'a str,
    pub(super) prefix: &'a str,
    pub(super) delimiter: Option<&'a str>,
    pub(super) marker: &'a str,
    pub(super) upload_marker: Option<&'a str>,
    pub(super) limit: usize,
}

/// A page, and the key and upload to go on after.
#[derive(Default)]
pub(super) struct UploadPage {
    pub(super) uploads: Vec<UploadRow>,
    pub(super) prefixes: Vec<String>,
    pub(super) next: Option<(String, String)>,
}

/// Uploads after the marker: with an upload marker also later ones of the same key.
pub(super) fn page(store: &Store, query: &UploadQuery<'_>) -> Result<UploadPage> {
    // An id is hexadecimal, so "~" is after every id: without an upload marker the whole
    // key of the marker is passed over.
    let after = (
        query.marker.to_owned(),
        query.upload_marker.unwrap_or("~").to_owned(),
    );
    let mut page = UploadPage::default();
    let mut last = None;
    for upload in store.list_uploads(query.bucket, query.prefix, &after, usize::MAX)? {
        let rolled = rolled_up(query, &upload.key).map(str::to_owned);
        let known = rolled.as_ref().is_some_and(|prefix| {
            page.prefixes.last() == Some(prefix) || prefix.as_str() <= query.marker
        });
        if known {
            continue;
        }
        if page.uploads.len() + page.prefixes.len() == query.limit {
            page.next = last;
            return Ok(page);
        }
        match rolled {
            Some(prefix) => {
                last = Some((prefix.clone(), String::new()));
                page.prefixes.push(prefix);
            }
            None => {
                last = Some((upload.key.clone(), upload.id.clone()));
                page.uploads.push(upload);
            }
        }
    }
    Ok(page)
}

fn rolled_up<'k>(query: &UploadQuery<'_>, key: &'k str) -> Option<&'k str> {
    let delimiter = query.delimiter?;
    let rest = key.get(query.prefix.len()..)?;
    let end = query.prefix.len() + rest.find(delimiter)? + delimiter.len();
    Some(&key[..end])
}
