//! Multipart uploads.

use s3s::crypto::{Checksum as _, Md5};
use s3s::dto::*;
use s3s::{S3Error, S3Request, S3Response, S3Result, s3_error};

use super::convert::{etag, seconds, size, tag, timestamp, write_conditions};
use super::copy::{SourceConditions, source};
use super::listing::{Encoding, page_size};
use super::objects::{header, metadata_in, without_chunking};
use super::receive::{Promised, off_thread, receive};
use super::{Backend, send};
use crate::access::Caller;
use crate::store::{Attributes, Checksums, PartRow, UploadName, Wanted};

type Answer<T> = S3Result<S3Response<T>>;

/// Parts of an upload, at most (S3 User Guide, "Multipart upload limits").
const MOST_PARTS: i32 = 10_000;

impl Backend {
    pub(super) async fn create(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> Answer<CreateMultipartUploadOutput> {
        let input = req.input;
        let attributes = Attributes {
            content_type: input.content_type,
            content_encoding: input.content_encoding.and_then(without_chunking),
            content_language: input.content_language,
            content_disposition: input.content_disposition,
            cache_control: input.cache_control,
            expires: input.expires.map(seconds),
            metadata: metadata_in(&req.headers),
            checksums: Checksums::default(),
        };
        let id = self
            .store
            .create_upload(input.bucket.clone(), input.key.clone(), attributes)
            .await?;
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(id),
            checksum_algorithm: input.checksum_algorithm,
            checksum_type: input.checksum_type,
            ..Default::default()
        }))
    }

    pub(super) async fn part(&self, req: S3Request<UploadPartInput>) -> Answer<UploadPartOutput> {
        let trailer = header(&req.headers, "x-amz-trailer");
        let input = req.input;
        let number = part_number(input.part_number)?;
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
            trailing: req.trailing_headers,
        };
        let upload = UploadName {
            bucket: input.bucket,
            key: input.key,
            id: input.upload_id,
        };
        self.store.list_parts(&upload, MOST_PARTS)?;
        let received = receive(self.store.draft(), input.body, promised).await?;
        let (tag, sums) = (hex::encode(received.md5), received.checksums);
        self.store
            .put_part(upload, number, received.body, tag.clone(), sums.clone())
            .await?;
        Ok(S3Response::new(UploadPartOutput {
            e_tag: Some(etag(&tag)),
            checksum_crc32: sums.crc32,
            checksum_crc32c: sums.crc32c,
            checksum_crc64nvme: sums.crc64nvme,
            checksum_sha1: sums.sha1,
            checksum_sha256: sums.sha256,
            ..Default::default()
        }))
    }

    pub(super) async fn part_copy(
        &self,
        req: S3Request<UploadPartCopyInput>,
    ) -> Answer<UploadPartCopyOutput> {
        let caller = Caller::of(&req.extensions)?;
        let input = req.input;
        let number = part_number(input.part_number)?;
        let (bucket, key) = source(&input.copy_source)?;
        caller.may_read(&bucket, &key)?;
        let (object, pieces, reading) = self.store.open_object(&bucket, &key)?;
        SourceConditions {
            if_match: input.copy_source_if_match.map(tag),
            if_none_match: input.copy_source_if_none_match.map(tag),
            if_modified_since: input.copy_source_if_modified_since.map(seconds),
            if_unmodified_since: input.copy_source_if_unmodified_since.map(seconds),
        }
        .check(&object)?;
        let range = copied_range(input.copy_source_range.as_deref(), object.size)?;
        let mut draft = self.store.draft();
        let copied = off_thread(move || {
            let mut md5 = Md5::new();
            send::read_blocking(pieces, range, |bytes| {
                md5.update(bytes);
                draft.write(bytes)
            })?;
            drop(reading);
            Ok((draft.finish()?, hex::encode(md5.finalize())))
        });
        let (body, tag) = copied
            .await?
            .map_err(|error: std::io::Error| S3Error::internal_error(error))?;
        let upload = UploadName {
            bucket: input.bucket,
            key: input.key,
            id: input.upload_id,
        };
        let modified = self
            .store
            .put_part(upload, number, body, tag.clone(), Checksums::default())
            .await?;
        let result = CopyPartResult {
            e_tag: Some(etag(&tag)),
            last_modified: Some(timestamp(modified)),
            ..Default::default()
        };
        Ok(S3Response::new(UploadPartCopyOutput {
            copy_part_result: Some(result),
            ..Default::default()
        }))
    }

    pub(super) async fn complete(
        &self,
        req: S3Request<CompleteMultipartUploadInput>,
    ) -> Answer<CompleteMultipartUploadOutput> {
        let input = req.input;
        let conditions = write_conditions(input.if_match, input.if_none_match)?;
        let parts = input
            .multipart_upload
            .and_then(|upload| upload.parts)
            .unwrap_or_default();
        if parts.is_empty() {
            return Err(s3_error!(
                MalformedXML,
                "an upload is completed with one part at least"
            ));
        }
        let wanted = parts
            .into_iter()
            .map(wanted)
            .collect::<S3Result<Vec<_>>>()?;
        let upload = UploadName {
            bucket: input.bucket.clone(),
            key: input.key.clone(),
            id: input.upload_id,
        };
        let object = self
            .store
            .complete_upload(upload, wanted, conditions, joined_tag)
            .await?;
        Ok(S3Response::new(CompleteMultipartUploadOutput {
            location: Some(format!("/{}/{}", input.bucket, input.key)),
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: Some(etag(&object.etag)),
            ..Default::default()
        }))
    }

    pub(super) async fn abort(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> Answer<AbortMultipartUploadOutput> {
        let input = req.input;
        let upload = UploadName {
            bucket: input.bucket,
            key: input.key,
            id: input.upload_id,
        };
        self.store.abort_upload(upload).await?;
        Ok(S3Response::with_status(
            AbortMultipartUploadOutput::default(),
            hyper::StatusCode::NO_CONTENT,
        ))
    }

    pub(super) fn parts(&self, req: S3Request<ListPartsInput>) -> Answer<ListPartsOutput> {
        let input = req.input;
        let limit = page_size(input.max_parts)?;
        let after = input.part_number_marker.unwrap_or(0);
        let upload = UploadName {
            bucket: input.bucket.clone(),
            key: input.key.clone(),
            id: input.upload_id.clone(),
        };
        let all = self.store.list_parts(&upload, after)?;
        let shown = usize::try_from(limit).unwrap_or(0).min(all.len());
        let truncated = shown < all.len();
        let last = all[..shown].last().map_or(after, |part| part.number);
        Ok(S3Response::new(ListPartsOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(input.upload_id),
            max_parts: Some(limit),
            part_number_marker: Some(after),
            next_part_number_marker: truncated.then_some(last),
            is_truncated: Some(truncated),
            parts: Some(all.into_iter().take(shown).map(part_line).collect()),
            owner: Some(super::owner()),
            storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
            ..Default::default()
        }))
    }

    pub(super) fn uploads(
        &self,
        req: S3Request<ListMultipartUploadsInput>,
    ) -> Answer<ListMultipartUploadsOutput> {
        let input = req.input;
        let limit = page_size(input.max_uploads)?;
        let encoding = Encoding::of(input.encoding_type.as_ref())?;
        let prefix = input.prefix.clone().unwrap_or_default();
        let marker = input.key_marker.clone().unwrap_or_default();
        let upload_marker = input.upload_id_marker.clone();
        let page = super::upload_page::page(
            &self.store,
            &super::upload_page::UploadQuery {
                bucket: &input.bucket,
                prefix: &prefix,
                delimiter: input.delimiter.as_deref().filter(|text| !text.is_empty()),
                marker: &marker,
                upload_marker: upload_marker.as_deref(),
                limit: usize::try_from(limit).unwrap_or(0),
            },
        )?;
        let (next_key, next_upload) = page.next.unzip();
        Ok(S3Response::new(ListMultipartUploadsOutput {
            bucket: Some(input.bucket),
            prefix: input.prefix.map(|text| encoding.name(text)),
            delimiter: input.delimiter.map(|text| encoding.name(text)),
            key_marker: Some(encoding.name(marker)),
            upload_id_marker: upload_marker,
            encoding_type: input.encoding_type,
            max_uploads: Some(limit),
            is_truncated: Some(next_key.is_some()),
            next_key_marker: next_key.map(|text| encoding.name(text)),
            next_upload_id_marker: next_upload,
            uploads: Some(
                page.uploads
                    .into_iter()
                    .map(|upload| upload_line(upload, encoding))
                    .collect(),
            ),
            common_prefixes: Some(
                page.prefixes
                    .into_iter()
                    .map(|it| CommonPrefix {
                        prefix: Some(encoding.name(it)),
                    })
                    .collect(),
            ),
            ..Default::default()
        }))
    }
}

fn part_number(number: i32) -> S3Result<i32> {
    match number {
        1..=MOST_PARTS => Ok(number),
        _ => Err(s3_error!(
            InvalidArgument,
            "Part number must be an integer between 1 and 10000, inclusive"
        )),
    }
}

/// `bytes=first-last`, both needed, inside the source (S3 API, `x-amz-copy-source-range`).
fn copied_range(range: Option<&str>, size: u64) -> S3Result<std::ops::Range<u64>> {
    let Some(text) = range else {
        return Ok(0..size);
    };
    match Range::parse(text) {
        Ok(Range::Int {
            first,
            last: Some(last),
        }) if first <= last && last < size => Ok(first..last + 1),
        Ok(Range::Int { last: Some(_), .. }) => Err(s3_error!(InvalidRange)),
        _ => Err(s3_error!(
            InvalidArgument,
            "x-amz-copy-source-range has the form bytes=first-last"
        )),
    }
}

fn wanted(part: CompletedPart) -> S3Result<Wanted> {
    let number = part
        .part_number
        .ok_or_else(|| s3_error!(MalformedXML, "a part without a number"))?;
    Ok(Wanted {
        number,
        etag: part.e_tag.map(ETag::into_value),
    })
}

/// MD5 of the parts' MD5s, then how many they are.
fn joined_tag(parts: &[PartRow]) -> String {
    let mut md5 = Md5::new();
    for part in parts {
        // The store itself wrote these tags: hexadecimal always.
        md5.update(&hex::decode(&part.etag).unwrap_or_default());
    }
    format!("{}-{}", hex::encode(md5.finalize()), parts.len())
}

fn part_line(part: PartRow) -> Part {
    Part {
        part_number: Some(part.number),
        size: Some(size(part.size)),
        e_tag: Some(etag(&part.etag)),
        last_modified: Some(timestamp(part.modified)),
        checksum_crc32: part.checksums.crc32,
        checksum_crc32c: part.checksums.crc32c,
        checksum_crc64nvme: part.checksums.crc64nvme,
        checksum_sha1: part.checksums.sha1,
        checksum_sha256: part.checksums.sha256,
    }
}

fn upload_line(upload: crate::store::UploadRow, encoding: Encoding) -> MultipartUpload {
    MultipartUpload {
        key: Some(encoding.name(upload.key)),
        upload_id: Some(upload.id),
        initiated: Some(timestamp(upload.initiated)),
        owner: Some(super::owner()),
        storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
        ..Default::default()
    }
}
