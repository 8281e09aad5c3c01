//! GetObject and HeadObject.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::{ByteStream as SdkStream, DateTime};
use bytes::Bytes;
use futures::StreamExt;

use super::error::{Remedy, innermost};
use super::{S3, quoted};
use crate::metadata::decode;
use crate::{ByteStream, Error, GetOptions, Key, Metadata, Object, ObjectMeta, Result};

impl S3 {
    /// Opens an object for reading.
    pub(super) async fn get(self: &Arc<Self>, key: &Key, options: GetOptions) -> Result<Object> {
        let range = options
            .range
            .as_ref()
            .map(|range| range_header(key, range))
            .transpose()?;
        let answer = self
            .open(key, range, options.if_match.as_ref().map(quoted))
            .await?;
        self.object(key, options.range, answer)
    }

    /// Asks for an object's description.
    pub(super) async fn head(self: &Arc<Self>, key: &Key) -> Result<ObjectMeta> {
        let head = |client: aws_sdk_s3::Client, _| {
            client
                .head_object()
                .bucket(&self.config.bucket)
                .key(key.as_str())
                .send()
        };
        let answer = match self.call_knowing(self.asked("head", Some(key)), head).await {
            Ok(answer) => answer,
            Err(failure) if failure.remedy == Remedy::AskAgain => {
                return Err(self.reason(key, failure.error).await);
            }
            Err(failure) => return Err(failure.error),
        };
        self.seen.store(true, Ordering::Relaxed);
        Ok(ObjectMeta {
            key: key.clone(),
            size: self.size(key, answer.content_length())?,
            etag: self.etag(key, answer.e_tag())?,
            last_modified: nanoseconds(answer.last_modified()),
            metadata: metadata(answer.metadata),
        })
    }

    async fn open(
        &self,
        key: &Key,
        range: Option<String>,
        if_match: Option<String>,
    ) -> Result<GetObjectOutput> {
        let get = |client: aws_sdk_s3::Client, _| {
            client
                .get_object()
                .bucket(&self.config.bucket)
                .key(key.as_str())
                .set_range(range.clone())
                .set_if_match(if_match.clone())
                .send()
        };
        let answer = self.call(self.asked("get", Some(key)), get).await;
        if matches!(answer, Ok(_) | Err(Error::NotFound { .. })) {
            self.seen.store(true, Ordering::Relaxed);
        }
        answer
    }

    /// The answer to a HEAD has no body, so a 403 or 404 has no reason (S3 API Reference,
    /// HeadObject). A GET of one byte has; it is spared where the reason is plain.
    async fn reason(&self, key: &Key, bare: Error) -> Error {
        let not_found = matches!(bare, Error::NotFound { .. });
        if not_found && self.seen.load(Ordering::Relaxed) {
            return bare;
        }
        match self.open(key, Some("bytes=0-0".into()), None).await {
            Err(Error::PermissionDenied { .. }) | Ok(_) => bare,
            Err(reason) => reason,
        }
    }

    fn object(
        self: &Arc<Self>,
        key: &Key,
        asked: Option<Range<u64>>,
        answer: GetObjectOutput,
    ) -> Result<Object> {
        let len = self.size(key, answer.content_length())?;
        let (range, size) = match (answer.content_range(), asked) {
            (Some(header), Some(asked)) => self.content_range(key, header, &asked, len)?,
            (None, None) => (0..len, len),
            // An empty object has no byte to begin at, but some stores answer 200.
            (None, Some(_)) if len == 0 => return Err(Error::OutOfRange { key: key.clone() }),
            _ => return Err(self.odd(format!("a range of {key} was ignored"))),
        };
        let meta = ObjectMeta {
            key: key.clone(),
            size,
            etag: self.etag(key, answer.e_tag())?,
            last_modified: nanoseconds(answer.last_modified()),
            metadata: metadata(answer.metadata),
        };
        let body = self.stream(answer.body, range.end - range.start);
        Ok(Object { meta, range, body })
    }

    /// Reads `bytes FIRST-LAST/SIZE` (RFC 9110 §14.4).
    fn content_range(
        &self,
        key: &Key,
        header: &str,
        asked: &Range<u64>,
        len: u64,
    ) -> Result<(Range<u64>, u64)> {
        let parsed = parse_content_range(header);
        let fits = |(range, size): &(Range<u64>, u64)| {
            range.start == asked.start
                && range.end == asked.end.min(*size)
                && range.end - range.start == len
        };
        parsed
            .filter(fits)
            .ok_or_else(|| self.odd(format!("Content-Range {header} for {key}")))
    }

    fn size(&self, key: &Key, len: Option<i64>) -> Result<u64> {
        let len = len.and_then(|len| u64::try_from(len).ok());
        len.ok_or_else(|| self.odd(format!("no length for {key}")))
    }

    /// The body, ended by an error when it stalls or ends before `len`.
    fn stream(&self, body: SdkStream, len: u64) -> ByteStream {
        let reading = Reading {
            body,
            left: len,
            calm: self.config.read_timeout,
            endpoint: self.endpoint.clone(),
        };
        futures::stream::unfold(Some(reading), Reading::step).boxed()
    }
}

/// A body being read.
struct Reading {
    body: SdkStream,
    left: u64,
    calm: Duration,
    endpoint: String,
}

impl Reading {
    async fn step(reading: Option<Self>) -> Option<(Result<Bytes>, Option<Self>)> {
        let mut reading = reading?;
        match tokio::time::timeout(reading.calm, reading.body.next()).await {
            Ok(Some(Ok(bytes))) if bytes.len() as u64 <= reading.left => {
                reading.left -= bytes.len() as u64;
                Some((Ok(bytes), Some(reading)))
            }
            Ok(None) if reading.left == 0 => None,
            Ok(Some(Ok(_))) => Some((reading.broken("more bytes than promised".into()), None)),
            Ok(None) => Some((
                reading.broken(format!("{} bytes are missing", reading.left)),
                None,
            )),
            Ok(Some(Err(error))) => Some((reading.broken(innermost(&error)), None)),
            Err(_) => Some((reading.broken("the body stalled".into()), None)),
        }
    }

    fn broken(&self, reason: String) -> Result<Bytes> {
        Err(Error::Unreachable {
            endpoint: self.endpoint.clone(),
            reason,
        })
    }
}

/// `bytes=FIRST-LAST`, the last one included (RFC 9110 §14.1.2).
fn range_header(key: &Key, range: &Range<u64>) -> Result<String> {
    if range.is_empty() {
        return Err(Error::Invalid {
            reason: format!("an empty range of {key}"),
        });
    }
    Ok(format!("bytes={}-{}", range.start, range.end - 1))
}

fn parse_content_range(header: &str) -> Option<(Range<u64>, u64)> {
    let (range, size) = header.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let end = last.parse::<u64>().ok()?.checked_add(1)?;
    Some((first.parse().ok()?..end, size.parse().ok()?))
}

/// Nanoseconds since 1970; 0 where the store does not say.
pub(super) fn nanoseconds(time: Option<&DateTime>) -> i128 {
    time.map_or(0, DateTime::as_nanos)
}

fn metadata(headers: Option<HashMap<String, String>>) -> Metadata {
    let headers = headers.unwrap_or_default().into_iter();
    headers
        .map(|(name, value)| (name.to_ascii_lowercase(), decode(&value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_read_strictly() {
        assert_eq!(parse_content_range("bytes 0-9/10"), Some((0..10, 10)));
        for odd in [
            "bytes */10",
            "bytes 0-9",
            "0-9/10",
            "bytes 0-18446744073709551615/1",
        ] {
            assert_eq!(parse_content_range(odd), None, "{odd}");
        }
    }
}
