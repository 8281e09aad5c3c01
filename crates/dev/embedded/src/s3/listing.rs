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
        let limit = page_size(input.max_keys)?;
        let encoding = Encoding::of(input.encoding_type.as_ref())?;
        let query = ListQuery {
            prefix: input.prefix.clone().unwrap_or_default(),
            delimiter: input.delimiter.clone().filter(|text| !text.is_empty()),
            after: input.start_after.clone().filter(|text| !text.is_empty()),
            token: input
                .continuation_token
                .clone()
                .filter(|text| !text.is_empty()),
            limit: usize::try_from(limit).unwrap_or(0),
        };
        let listing = self.page(input.bucket.clone(), query).await?;
        let owner = input.fetch_owner.unwrap_or(false).then(super::owner);
        let next = listing.next.clone();
        let count = i32::try_from(listing.entries.len()).unwrap_or(PAGE);
        let (contents, prefixes) = lines(listing, encoding, owner.as_ref());
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: Some(encoding.name(input.prefix.unwrap_or_default())),
            delimiter: input.delimiter.map(|text| encoding.name(text)),
            start_after: input.start_after.map(|text| encoding.name(text)),
            continuation_token: input.continuation_token,
            encoding_type: input.encoding_type,
            max_keys: Some(limit),
            key_count: Some(count),
            is_truncated: Some(next.is_some()),
            next_continuation_token: next,
            contents: Some(contents),
            common_prefixes: Some(prefixes),
            ..Default::default()
        }))
    }

    pub(super) async fn list_v1(
        &self,
        req: S3Request<ListObjectsInput>,
    ) -> S3Result<S3Response<ListObjectsOutput>> {
        let input = req.input;
        let limit = page_size(input.max_keys)?;
        let encoding = Encoding::of(input.encoding_type.as_ref())?;
        let query = ListQuery {
            prefix: input.prefix.clone().unwrap_or_default(),
            delimiter: input.delimiter.clone().filter(|text| !text.is_empty()),
            after: input.marker.clone().filter(|text| !text.is_empty()),
            token: None,
            limit: usize::try_from(limit).unwrap_or(0),
        };
        let listing = self.page(input.bucket.clone(), query).await?;
        let truncated = listing.next.is_some();
        let last = listing
            .entries
            .last()
            .map(|entry| encoding.name(entry.name().to_owned()));
        let owner = super::owner();
        let (contents, prefixes) = lines(listing, encoding, Some(&owner));
        Ok(S3Response::new(ListObjectsOutput {
            name: Some(input.bucket),
            prefix: Some(encoding.name(input.prefix.unwrap_or_default())),
            marker: Some(encoding.name(input.marker.unwrap_or_default())),
            delimiter: input.delimiter.map(|text| encoding.name(text)),
            encoding_type: input.encoding_type,
            max_keys: Some(limit),
            is_truncated: Some(truncated),
            next_marker: last.filter(|_| truncated),
            contents: Some(contents),
            common_prefixes: Some(prefixes),
            ..Default::default()
        }))
    }

    async fn page(&self, bucket: String, query: ListQuery) -> S3Result<Listing> {
        let store = std::sync::Arc::clone(&self.store);
        Ok(super::receive::off_thread(move || store.list(&bucket, &query)).await??)
    }
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
