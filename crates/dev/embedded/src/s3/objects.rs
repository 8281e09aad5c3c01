//! GetObject, HeadObject, PutObject, DeleteObject, DeleteObjects.

use std::ops::Range;

use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::convert::{etag, seconds, size, tag, timestamp, write_conditions};
use super::receive::{Promised, receive};
use super::{Backend, send};
use crate::access::Caller;
use crate::store::{Attributes, Checksums, Conditions, ObjectRow, Tag};

type Answer<T> = S3Result<S3Response<T>>;

impl Backend {
    pub(super) fn get(&self, req: S3Request<GetObjectInput>) -> Answer<GetObjectOutput> {
        let input = req.input;
        let (object, pieces, reading) = self.store.open_object(&input.bucket, &input.key)?;
        ReadConditions {
            if_match: input.if_match.map(tag),
            if_none_match: input.if_none_match.map(tag),
            if_modified_since: input.if_modified_since.map(seconds),
            if_unmodified_since: input.if_unmodified_since.map(seconds),
        }
        .check(&object)?;
        let range = part_range(input.part_number, &pieces, &object)?
            .or(wanted_range(input.range, &object)?);
        let content_range = range.as_ref().map(|range| content_range(range, &object));
        let whole = range.is_none();
        let range = range.unwrap_or(0..object.size);
        let sums = sums_to_show(input.checksum_mode.as_ref(), whole, &object);
        let parts_count = parts_count(input.part_number, &pieces);
        let described = object.attributes;
        let output = GetObjectOutput {
            accept_ranges: Some("bytes".into()),
            parts_count,
            body: Some(send::send(pieces, range.clone(), reading)),
            content_length: Some(size(range.end - range.start)),
            content_range: content_range.clone(),
            e_tag: Some(etag(&object.etag)),
            last_modified: Some(timestamp(object.modified)),
            content_type: input
                .response_content_type
                .or(described.content_type)
                .or_else(default_type),
            content_encoding: input
                .response_content_encoding
                .or(described.content_encoding),
            content_language: input
                .response_content_language
                .or(described.content_language),
            content_disposition: input
                .response_content_disposition
                .or(described.content_disposition),
            cache_control: input.response_cache_control.or(described.cache_control),
            expires: input.response_expires.or(described.expires.map(expires)),
            metadata: metadata_out(described.metadata),
            checksum_crc32: sums.crc32,
            checksum_crc32c: sums.crc32c,
            checksum_crc64nvme: sums.crc64nvme,
            checksum_sha1: sums.sha1,
            checksum_sha256: sums.sha256,
            ..Default::default()
        };
        let mut answer = S3Response::new(output);
        if content_range.is_some() {
            answer.status = Some(hyper::StatusCode::PARTIAL_CONTENT);
        }
        Ok(answer)
    }

    pub(super) fn head(&self, req: S3Request<HeadObjectInput>) -> Answer<HeadObjectOutput> {
        let input = req.input;
        let (object, pieces) = match input.part_number {
            None => (self.store.head(&input.bucket, &input.key)?, Vec::new()),
            Some(_) => self
                .store
                .open_object(&input.bucket, &input.key)
                .map(|(object, pieces, _)| (object, pieces))?,
        };
        ReadConditions {
            if_match: input.if_match.map(tag),
            if_none_match: input.if_none_match.map(tag),
            if_modified_since: input.if_modified_since.map(seconds),
            if_unmodified_since: input.if_unmodified_since.map(seconds),
        }
        .check(&object)?;
        let range = part_range(input.part_number, &pieces, &object)?
            .or(wanted_range(input.range, &object)?);
        let sums = sums_to_show(input.checksum_mode.as_ref(), range.is_none(), &object);
        let length = range
            .as_ref()
            .map_or(object.size, |range| range.end - range.start);
        let output = HeadObjectOutput {
            parts_count: parts_count(input.part_number, &pieces),
            accept_ranges: Some("bytes".into()),
            content_length: Some(size(length)),
            content_range: range.as_ref().map(|range| content_range(range, &object)),
            e_tag: Some(etag(&object.etag)),
            last_modified: Some(timestamp(object.modified)),
            content_type: object.attributes.content_type.or_else(default_type),
            content_encoding: object.attributes.content_encoding,
            content_language: object.attributes.content_language,
            content_disposition: object.attributes.content_disposition,
            cache_control: object.attributes.cache_control,
            expires: object.attributes.expires.map(expires),
            metadata: metadata_out(object.attributes.metadata),
            checksum_crc32: sums.crc32,
            checksum_crc32c: sums.crc32c,
            checksum_crc64nvme: sums.crc64nvme,
            checksum_sha1: sums.sha1,
            checksum_sha256: sums.sha256,
            ..Default::default()
        };
        Ok(S3Response::new(output))
    }

    pub(super) async fn put(&self, req: S3Request<PutObjectInput>) -> Answer<PutObjectOutput> {
        let trailer = header(&req.headers, "x-amz-trailer");
        let trailing = req.trailing_headers;
        let input = req.input;
        let conditions = write_conditions(input.if_match, input.if_none_match)?;
        let promised = Promised {
            size: input.content_length,
            md5: input.content_md5,
            checksums: Checksums {
                crc32: input.checksum_crc32,
                crc32c: input.checksum_crc32c,
                crc64nvme: input.checksum_crc64nvme,
                sha1: input.checksum_sha1,
                sha256: input.checksum_sha256,
            },
            trailer,
            trailing,
        };
        self.store.head_bucket(&input.bucket)?;
        let received = receive(self.store.draft(), input.body, promised).await?;
        let tag = hex::encode(received.md5);
        let sums = received.checksums;
        let attributes = Attributes {
            content_type: input.content_type,
            content_encoding: input.content_encoding.and_then(without_chunking),
            content_language: input.content_language,
            content_disposition: input.content_disposition,
            cache_control: input.cache_control,
            expires: input.expires.map(seconds),
            metadata: metadata_in(&req.headers),
            checksums: sums.clone(),
        };
        self.store
            .put(
                input.bucket,
                input.key,
                received.body,
                tag.clone(),
                attributes,
                conditions,
            )
            .await?;
        Ok(S3Response::new(PutObjectOutput {
            e_tag: Some(etag(&tag)),
            checksum_crc32: sums.crc32,
            checksum_crc32c: sums.crc32c,
            checksum_crc64nvme: sums.crc64nvme,
            checksum_sha1: sums.sha1,
            checksum_sha256: sums.sha256,
            ..Default::default()
        }))
    }

    pub(super) async fn delete(
        &self,
        req: S3Request<DeleteObjectInput>,
    ) -> Answer<DeleteObjectOutput> {
        let input = req.input;
        let conditions = Conditions {
            if_match: input.if_match.map(tag),
            if_none_match: None,
            size: input.if_match_size.map(i64::unsigned_abs),
            modified: input.if_match_last_modified_time.map(seconds),
        };
        self.store
            .delete(input.bucket, input.key, conditions)
            .await?;
        Ok(S3Response::with_status(
            DeleteObjectOutput::default(),
            hyper::StatusCode::NO_CONTENT,
        ))
    }

    pub(super) async fn delete_many(
        &self,
        req: S3Request<DeleteObjectsInput>,
    ) -> Answer<DeleteObjectsOutput> {
        let caller = Caller::of(&req.extensions)?;
        let input = req.input;
        let quiet = input.delete.quiet.unwrap_or(false);
        if input.delete.objects.is_empty() || input.delete.objects.len() > 1000 {
            return Err(s3_error!(MalformedXML, "between 1 and 1,000 keys"));
        }
        let mut allowed = Vec::new();
        let mut output = DeleteObjectsOutput {
            deleted: Some(Vec::new()),
            errors: Some(Vec::new()),
            ..Default::default()
        };
        for object in input.delete.objects {
            match caller.may_delete(&input.bucket, &object.key) {
                Ok(()) => allowed.push(named(object)),
                Err(error) => report(&mut output, object.key, Err(error), quiet),
            }
        }
        let keys: Vec<_> = allowed.iter().map(|(key, _)| key.clone()).collect();
        let results = self.store.delete_many(input.bucket, allowed).await?;
        for (key, result) in keys.into_iter().zip(results) {
            report(&mut output, key, result.map_err(Into::into), quiet);
        }
        Ok(S3Response::new(output))
    }
}

/// The conditions of a read (RFC 9110 §13.2.2 says which counts when several are given).
struct ReadConditions {
    if_match: Option<Tag>,
    if_none_match: Option<Tag>,
    if_modified_since: Option<i64>,
    if_unmodified_since: Option<i64>,
}

impl ReadConditions {
    fn check(&self, object: &ObjectRow) -> S3Result<()> {
        let modified = object.modified / 1_000_000_000;
        match (&self.if_match, self.if_unmodified_since) {
            (Some(tag), _) if !tag.fits(&object.etag) => return Err(s3_error!(PreconditionFailed)),
            (None, Some(since)) if modified > since => return Err(s3_error!(PreconditionFailed)),
            _ => {}
        }
        match (&self.if_none_match, self.if_modified_since) {
            (Some(tag), _) if tag.fits(&object.etag) => Err(not_modified(object)),
            (None, Some(since)) if modified <= since => Err(not_modified(object)),
            _ => Ok(()),
        }
    }
}

/// 304, with the tag that the client's copy has (RFC 9110 §15.4.5).
fn not_modified(object: &ObjectRow) -> s3s::S3Error {
    let mut error = s3_error!(NotModified);
    let mut headers = hyper::HeaderMap::new();
    if let Ok(tag) = etag(&object.etag).to_http_header() {
        headers.insert(hyper::header::ETAG, tag);
    }
    error.set_headers(headers);
    error
}

fn wanted_range(
    range: Option<s3s::dto::Range>,
    object: &ObjectRow,
) -> S3Result<Option<Range<u64>>> {
    range
        .map(|range| {
            range
                .check(object.size)
                .map_err(|_| s3_error!(InvalidRange))
        })
        .transpose()
}

/// The bytes of one part, where the client asks for a part by its number.
fn part_range(
    number: Option<i32>,
    pieces: &[crate::store::Piece],
    object: &ObjectRow,
) -> S3Result<Option<Range<u64>>> {
    let Some(number) = number else {
        return Ok(None);
    };
    let before = usize::try_from(number - 1)
        .map_err(|_| s3_error!(InvalidArgument, "parts count from 1"))?;
    let part = pieces
        .get(before)
        .ok_or_else(|| s3_error!(InvalidRange, "there is no part of this number"))?;
    let start: u64 = pieces[..before].iter().map(|piece| piece.size).sum();
    Ok((object.size > 0).then_some(start..start + part.size))
}

/// How many parts there are, for who asks for one.
fn parts_count(number: Option<i32>, pieces: &[crate::store::Piece]) -> Option<i32> {
    number
        .filter(|_| pieces.len() > 1)
        .and_then(|_| i32::try_from(pieces.len()).ok())
}

fn content_range(range: &Range<u64>, object: &ObjectRow) -> String {
    format!(
        "bytes {}-{}/{}",
        range.start,
        range.end.saturating_sub(1),
        object.size
    )
}

fn sums_to_show(mode: Option<&ChecksumMode>, whole: bool, object: &ObjectRow) -> Checksums {
    let asked = mode.is_some_and(|mode| mode.as_str() == ChecksumMode::ENABLED);
    if asked && whole {
        object.attributes.checksums.clone()
    } else {
        Checksums::default()
    }
}

fn default_type() -> Option<String> {
    Some("binary/octet-stream".into())
}

fn expires(seconds: i64) -> Timestamp {
    timestamp(seconds.saturating_mul(1_000_000_000))
}

/// `aws-chunked` is how the body travelled, not what it is.
pub(super) fn without_chunking(encoding: String) -> Option<String> {
    let kept: Vec<_> = encoding
        .split(',')
        .map(str::trim)
        .filter(|name| *name != "aws-chunked" && !name.is_empty())
        .collect();
    (!kept.is_empty()).then(|| kept.join(","))
}

/// User metadata as it stands in the headers. (s3s would decode RFC 2047 words: then a
/// client that encodes its values by itself would not get back what it sent.)
pub(super) fn metadata_in(
    headers: &hyper::HeaderMap,
) -> std::collections::BTreeMap<String, String> {
    let mut metadata = std::collections::BTreeMap::new();
    for (name, value) in headers {
        let Some(name) = name.as_str().strip_prefix("x-amz-meta-") else {
            continue;
        };
        let value = String::from_utf8_lossy(value.as_bytes());
        // Several headers of one name are one list (RFC 9110 §5.3).
        let entry = metadata.entry(name.to_owned());
        entry
            .and_modify(|all: &mut String| *all = format!("{all},{value}"))
            .or_insert_with(|| value.into_owned());
    }
    metadata
}

fn metadata_out(metadata: std::collections::BTreeMap<String, String>) -> Option<Metadata> {
    (!metadata.is_empty()).then(|| metadata.into_iter().collect())
}

pub(super) fn header(headers: &hyper::HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

fn named(object: ObjectIdentifier) -> (String, Conditions) {
    let conditions = Conditions {
        if_match: object.e_tag.map(|etag| Tag::Exactly(etag.into_value())),
        if_none_match: None,
        size: object.size.map(i64::unsigned_abs),
        modified: object.last_modified_time.map(seconds),
    };
    (object.key, conditions)
}

fn report(output: &mut DeleteObjectsOutput, key: String, result: S3Result<()>, quiet: bool) {
    match result {
        Ok(()) if quiet => {}
        Ok(()) => {
            let line = DeletedObject {
                key: Some(key),
                ..Default::default()
            };
            output.deleted.get_or_insert_default().push(line);
        }
        Err(error) => {
            let line = Error {
                code: Some(error.code().as_str().to_owned()),
                key: Some(key),
                message: error.message().map(str::to_owned),
                version_id: None,
            };
            output.errors.get_or_insert_default().push(line);
        }
    }
}
