//! CopyObject.

use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::Backend;
use super::convert::{etag, seconds, tag, timestamp, write_conditions};
use super::objects::{header, metadata_in};
use crate::access::Caller;
use crate::store::{self, Attributes, ObjectRow, Tag};

impl Backend {
    pub(super) async fn copy(
        &self,
        req: S3Request<CopyObjectInput>,
    ) -> S3Result<S3Response<CopyObjectOutput>> {
        let caller = Caller::of(&req.extensions)?;
        // s3s has no field for the destination's conditions: they are read from the headers.
        let conditions = write_conditions(
            condition(&req.headers, "if-match")?,
            condition(&req.headers, "if-none-match")?,
        )?;
        let input = req.input;
        let from = source(&input.copy_source)?;
        caller.may_read(&from.0, &from.1)?;
        let source = SourceConditions {
            if_match: input.copy_source_if_match.map(tag),
            if_none_match: input.copy_source_if_none_match.map(tag),
            if_modified_since: input.copy_source_if_modified_since.map(seconds),
            if_unmodified_since: input.copy_source_if_unmodified_since.map(seconds),
        };
        let replace = input
            .metadata_directive
            .is_some_and(|it| it.as_str() == MetadataDirective::REPLACE);
        let onto_itself = from.0 == input.bucket && from.1 == input.key;
        if onto_itself && !replace {
            let text = "This copy request is illegal because it is trying to copy an object to itself without changing \
                        the object's metadata, storage class, website redirect location or encryption attributes.";
            return Err(s3_error!(InvalidRequest, "{text}"));
        }
        let replacement = replace.then(|| Attributes {
            content_type: input.content_type,
            content_encoding: input.content_encoding,
            content_language: input.content_language,
            content_disposition: input.content_disposition,
            cache_control: input.cache_control,
            expires: input.expires.map(seconds),
            metadata: metadata_in(&req.headers),
            checksums: store::Checksums::default(),
        });
        let judge = move |object: &ObjectRow| {
            source.check(object)?;
            let kept = &object.attributes;
            Ok(match replacement {
                Some(new) => Attributes {
                    checksums: kept.checksums.clone(),
                    ..new
                },
                None => kept.clone(),
            })
        };
        let object = self
            .store
            .copy(from, (input.bucket, input.key), judge, conditions)
            .await?;
        let result = CopyObjectResult {
            e_tag: Some(etag(&object.etag)),
            last_modified: Some(timestamp(object.modified)),
            ..Default::default()
        };
        Ok(S3Response::new(CopyObjectOutput {
            copy_object_result: Some(result),
            ..Default::default()
        }))
    }
}

/// What the source of a copy must be.
pub(super) struct SourceConditions {
    pub(super) if_match: Option<Tag>,
    pub(super) if_none_match: Option<Tag>,
    pub(super) if_modified_since: Option<i64>,
    pub(super) if_unmodified_since: Option<i64>,
}

impl SourceConditions {
    /// A matching tag outranks the times, as the API's documentation of CopyObject says.
    pub(super) fn check(&self, object: &ObjectRow) -> store::Result<()> {
        let modified = object.modified / 1_000_000_000;
        let too_new = self.if_match.is_none()
            && self
                .if_unmodified_since
                .is_some_and(|since| modified > since);
        let too_old = self.if_none_match.is_none()
            && self
                .if_modified_since
                .is_some_and(|since| modified <= since);
        let other = self
            .if_match
            .as_ref()
            .is_some_and(|tag| !tag.fits(&object.etag));
        let same = self
            .if_none_match
            .as_ref()
            .is_some_and(|tag| tag.fits(&object.etag));
        if too_new || too_old || other || same {
            Err(store::Error::Precondition)
        } else {
            Ok(())
        }
    }
}

/// The bucket and key that a copy reads.
pub(super) fn source(source: &CopySource) -> S3Result<(String, String)> {
    match source {
        CopySource::Bucket {
            bucket,
            key,
            version_id: None,
        } => Ok((bucket.to_string(), key.to_string())),
        CopySource::Bucket { .. } => Err(s3_error!(NotImplemented, "this store keeps no versions")),
        _ => Err(s3_error!(NotImplemented, "this store has no access points")),
    }
}

fn condition(headers: &hyper::HeaderMap, name: &str) -> S3Result<Option<ETagCondition>> {
    let Some(text) = header(headers, name) else {
        return Ok(None);
    };
    text.parse()
        .map(Some)
        .map_err(|_| s3_error!(InvalidArgument, "{name} is not an entity tag"))
}
