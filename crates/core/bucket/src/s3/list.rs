//! ListObjectsV2, with keys that XML cannot hold.
//!
//! Keys may have control characters, XML 1.0 may not, so listings are asked for with
//! `encoding-type=url`. Stores do not agree on what that is: Amazon S3 writes a space as
//! `+` and a plus as `%2B`, others leave a plus alone. Where a page has a `+`, the first
//! such page is asked for once more without encoding, and the answer is remembered.

use std::borrow::Cow;
use std::sync::atomic::Ordering;

use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::types::EncodingType;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::S3;
use super::read::nanoseconds;
use crate::{Error, Key, ListPage, ListRequest, Metadata, ObjectMeta, Result};

/// Everything but RFC 3986's unreserved characters and the slash.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// What a `+` in an encoded listing stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Plus {
    Space,
    Plus,
}

impl S3 {
    /// One page of keys.
    pub(super) async fn list(&self, request: &ListRequest) -> Result<ListPage> {
        if request.max_keys == Some(0) {
            // Stores do not agree on it, and there is nothing to ask.
            return Ok(ListPage::default());
        }
        let answer = self.list_page(request, true).await?;
        self.seen.store(true, Ordering::Relaxed);
        let plus = match answer.encoding_type() {
            Some(EncodingType::Url) => Some(self.plus(request, &answer).await?),
            _ => None,
        };
        self.page(request, &answer, plus)
    }

    /// Whether ListObjectVersions works.
    pub(super) async fn versions_listed(&self) -> Result<bool> {
        let list = |client: aws_sdk_s3::Client, _| {
            client
                .list_object_versions()
                .bucket(&self.config.bucket)
                .max_keys(1)
                .send()
        };
        match self.call(self.asked("list", None), list).await {
            Ok(_) => Ok(true),
            Err(
                Error::Unsupported { .. } | Error::PermissionDenied { .. } | Error::Invalid { .. },
            ) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn list_page(&self, request: &ListRequest, encoded: bool) -> Result<ListObjectsV2Output> {
        let list = |client: aws_sdk_s3::Client, _| {
            let prefix = (!request.prefix.is_empty()).then(|| request.prefix.clone());
            client
                .list_objects_v2()
                .bucket(&self.config.bucket)
                .set_prefix(prefix)
                .set_delimiter(request.delimiter.map(String::from))
                .set_start_after(request.start_after.clone())
                .set_continuation_token(request.token.clone())
                .set_max_keys(request.max_keys.map(|n| n.min(1000) as i32))
                .set_encoding_type(encoded.then_some(EncodingType::Url))
                .send()
        };
        self.call(self.asked("list", None), list).await
    }

    /// What a plus means at this store: remembered, plain from the page, or asked for.
    async fn plus(&self, request: &ListRequest, page: &ListObjectsV2Output) -> Result<Plus> {
        if let Some(known) = Plus::from_code(self.plus.load(Ordering::Relaxed)) {
            return Ok(known);
        }
        let found = if texts(page).any(|name| name.contains("%2B") || name.contains("%2b")) {
            // Where a plus is escaped, a bare one is a space. (The reverse does not hold:
            // SeaweedFS writes `%20` in folders and `+` in names.)
            Plus::Space
        } else if texts(page).any(|name| name.contains('+')) {
            self.ask_plus(request, page).await?
        } else {
            return Ok(Plus::Space);
        };
        self.plus.store(found.code(), Ordering::Relaxed);
        Ok(found)
    }

    /// A page that cannot be had without encoding holds a control character; only a store
    /// that goes by Amazon's book lets one in.
    async fn ask_plus(&self, request: &ListRequest, page: &ListObjectsV2Output) -> Result<Plus> {
        let plain = match self.list_page(request, false).await {
            Ok(plain) => plain,
            Err(Error::NotS3 { .. }) => return Ok(Plus::Space),
            Err(error) => return Err(error),
        };
        let is_plus = |(encoded, plain): (&str, &str)| {
            encoded.contains('+') && Plus::Plus.decode(encoded) == plain
        };
        let plus = texts(page).zip(texts(&plain)).any(is_plus);
        Ok(if plus { Plus::Plus } else { Plus::Space })
    }

    fn page(
        &self,
        request: &ListRequest,
        answer: &ListObjectsV2Output,
        plus: Option<Plus>,
    ) -> Result<ListPage> {
        let decode = |text: &str| -> String {
            plus.map_or(Cow::Borrowed(text), |plus| plus.decode(text))
                .into_owned()
        };
        let mut page = ListPage::default();
        for object in answer.contents() {
            page.objects
                .push(self.listed(object, decode(object.key().unwrap_or_default()))?);
        }
        // Some stores give the prefix that `start_after` lies in once more.
        let after = request
            .start_after
            .as_deref()
            .filter(|_| request.token.is_none());
        let prefixes = answer
            .common_prefixes()
            .iter()
            .filter_map(|p| p.prefix())
            .map(decode);
        page.prefixes = prefixes
            .filter(|p| after.is_none_or(|after| p.as_str() > after))
            .collect();
        page.next = self.next(answer)?;
        Ok(page)
    }

    fn listed(&self, object: &aws_sdk_s3::types::Object, key: String) -> Result<ObjectMeta> {
        let key = Key::new(key).map_err(|error| self.odd(format!("a listed key: {error}")))?;
        let size = object.size().and_then(|size| u64::try_from(size).ok());
        Ok(ObjectMeta {
            size: size.ok_or_else(|| self.odd(format!("no size for {key}")))?,
            etag: self.etag(&key, object.e_tag())?,
            last_modified: nanoseconds(object.last_modified()),
            metadata: Metadata::new(),
            key,
        })
    }

    fn next(&self, answer: &ListObjectsV2Output) -> Result<Option<String>> {
        match (answer.is_truncated(), answer.next_continuation_token()) {
            (Some(true), Some(token)) => Ok(Some(token.to_owned())),
            (Some(true), None) => Err(self.odd("a page is cut off without a token".into())),
            _ => Ok(None),
        }
    }
}

impl Plus {
    fn code(self) -> u8 {
        match self {
            Self::Space => 1,
            Self::Plus => 2,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Space),
            2 => Some(Self::Plus),
            _ => None,
        }
    }

    fn decode(self, text: &str) -> Cow<'_, str> {
        if self == Self::Plus || !text.contains('+') {
            return percent_decode_str(text).decode_utf8_lossy();
        }
        let spaced = text.replace('+', " ");
        Cow::Owned(percent_decode_str(&spaced).decode_utf8_lossy().into_owned())
    }
}

/// A key as a URL's path or `x-amz-copy-source` carries it.
pub(super) fn encode_key(key: &str) -> String {
    utf8_percent_encode(key, IN_PATH).to_string()
}

/// Every encoded name of a page.
fn texts(page: &ListObjectsV2Output) -> impl Iterator<Item = &str> {
    let keys = page.contents().iter().filter_map(|object| object.key());
    keys.chain(
        page.common_prefixes()
            .iter()
            .filter_map(|prefix| prefix.prefix()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plus_is_what_the_store_means() {
        assert_eq!(Plus::Space.decode("a+b%2Bc%01"), "a b+c\u{1}");
        assert_eq!(Plus::Plus.decode("a+b%20c%01"), "a+b c\u{1}");
    }

    #[test]
    fn a_copy_source_keeps_slashes_and_nothing_else() {
        assert_eq!(encode_key("a//b/.. +%ü"), "a//b/..%20%2B%25%C3%BC");
    }
}
