//! ListObjectsV2 and ListObjects.

use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::Backend;
use super::convert::{etag, size, timestamp};
use crate::store::{Entry, ListQuery, Listing};

/// Keys on a page, at most (S3 API, `max-keys`).
const PAGE: i32 = 1000;

/// What S3 leaves as it is in a name when `encoding-type=url`.
const KEPT: percent_encoding::AsciiSet = percent_encoding::NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'/')
    .remove(b'*');

impl Backend {
    pub(super) async fn list_v2(
        &self,
        req: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = req.input;
        let asked = Asked {
            bucket: &input.bucket,
            prefix: input.prefix.as_deref(),
            delimiter: input.delimiter.as_deref(),
            after: input.start_after.as_deref(),
            token: input.continuation_token.as_deref(),
            max_keys: input.max_keys,
            encoding: Encoding::of(input.encoding_type.as_ref())?,
            owner: input.fetch_owner.unwrap_or(false),
        };
        let page = self.page(asked).await?;
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: Some(page.prefix),
            delimiter: page.delimiter,
            start_after: page.after,
            continuation_token: input.continuation_token,
            encoding_type: input.encoding_type,
            max_keys: Some(page.limit),
            key_count: i32::try_from(page.contents.len() + page.prefixes.len()).ok(),
            is_truncated: Some(page.next.is_some()),
            next_continuation_token: page.next,
            contents: Some(page.contents),
            common_prefixes: Some(page.prefixes),
            ..Default::default()
        }))
    }

    pub(super) async fn list_v1(
        &self,
        req: S3Request<ListObjectsInput>,
    ) -> S3Result<S3Response<ListObjectsOutput>> {
        let input = req.input;
        let asked = Asked {
            bucket: &input.bucket,
            prefix: input.prefix.as_deref(),
            delimiter: input.delimiter.as_deref(),
            after: input.marker.as_deref(),
            token: None,
            max_keys: input.max_keys,
            encoding: Encoding::of(input.encoding_type.as_ref())?,
            owner: true,
        };
        let page = self.page(asked).await?;
        Ok(S3Response::new(ListObjectsOutput {
            name: Some(input.bucket),
            prefix: Some(page.prefix),
            marker: Some(page.after.unwrap_or_default()),
            delimiter: page.delimiter,
            encoding_type: input.encoding_type,
            max_keys: Some(page.limit),
            is_truncated: Some(page.next.is_some()),
            next_marker: page.last.filter(|_| page.next.is_some()),
            contents: Some(page.contents),
            common_prefixes: Some(page.prefixes),
            ..Default::default()
        }))
    }

    /// What both forms of a listing have in common.
    async fn page(&self, asked: Asked<'_>) -> S3Result<Page> {
        let limit = page_size(asked.max_keys)?;
        let given = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
        let query = ListQuery {
            prefix: asked.prefix.unwrap_or_default().to_owned(),
            delimiter: given(asked.delimiter),
            after: given(asked.after),
            token: given(asked.token),
            limit: usize::try_from(limit).unwrap_or(0),
        };
        let (store, bucket) = (std::sync::Arc::clone(&self.store), asked.bucket.to_owned());
        let listing = super::receive::off_thread(move || store.list(&bucket, &query)).await??;
        let written = |text: &str| asked.encoding.name(text.to_owned());
        let last = listing.entries.last().map(|entry| written(entry.name()));
        let next = listing.next.clone();
        let owner = asked.owner.then(super::owner);
        let (contents, prefixes) = lines(listing, asked.encoding, owner.as_ref());
        Ok(Page {
            limit,
            prefix: written(asked.prefix.unwrap_or_default()),
            delimiter: asked.delimiter.map(written),
            after: asked.after.map(written),
            last,
            next,
            contents,
            prefixes,
        })
    }
}

/// What a request of either form asks for.
struct Asked<'a> {
    bucket: &'a str,
    prefix: Option<&'a str>,
    delimiter: Option<&'a str>,
    after: Option<&'a str>,
    token: Option<&'a str>,
    max_keys: Option<i32>,
    encoding: Encoding,
    owner: bool,
}

/// A page of names as the answer shows them, encoded as asked.
struct Page {
    limit: i32,
    prefix: String,
    delimiter: Option<String>,
    after: Option<String>,
    last: Option<String>,
    next: Option<String>,
    contents: Vec<Object>,
    prefixes: Vec<CommonPrefix>,
}

/// How names are written into the XML.
#[derive(Clone, Copy)]
pub(super) enum Encoding {
    Plain,
    Url,
}

impl Encoding {
    pub(super) fn of(asked: Option<&EncodingType>) -> S3Result<Self> {
        match asked.map(EncodingType::as_str) {
            None | Some("") => Ok(Self::Plain),
            Some("url") => Ok(Self::Url),
            Some(_) => Err(s3_error!(InvalidArgument, "encoding-type knows only url")),
        }
    }

    pub(super) fn name(self, name: String) -> String {
        match self {
            Self::Plain => name,
            Self::Url => percent_encoding::utf8_percent_encode(&name, &KEPT).to_string(),
        }
    }
}

/// A page's size as asked for, never above S3's.
pub(super) fn page_size(asked: Option<i32>) -> S3Result<i32> {
    match asked.unwrap_or(PAGE) {
        asked if asked < 0 => Err(s3_error!(InvalidArgument, "max-keys cannot be negative")),
        asked => Ok(asked.min(PAGE)),
    }
}

fn lines(
    listing: Listing,
    encoding: Encoding,
    owner: Option<&Owner>,
) -> (Vec<Object>, Vec<CommonPrefix>) {
    let (mut contents, mut prefixes) = (Vec::new(), Vec::new());
    for entry in listing.entries {
        match entry {
            Entry::Prefix(prefix) => prefixes.push(CommonPrefix {
                prefix: Some(encoding.name(prefix)),
            }),
            Entry::Object {
                key,
                size: bytes,
                etag: tag,
                modified,
            } => contents.push(Object {
                key: Some(encoding.name(key)),
                size: Some(size(bytes)),
                e_tag: Some(etag(&tag)),
                last_modified: Some(timestamp(modified)),
                owner: owner.cloned(),
                storage_class: Some(ObjectStorageClass::from_static(
                    ObjectStorageClass::STANDARD,
                )),
                ..Default::default()
            }),
        }
    }
    (contents, prefixes)
}
