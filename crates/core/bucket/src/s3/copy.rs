//! CopyObject.

use super::{S3, condition_headers, quoted};
use aws_sdk_s3::types::MetadataDirective;

use super::list::encode_key;
use super::write::headers;
use crate::{Condition, CopyOptions, Error, Key, PutOutcome, Result};

impl S3 {
    /// Copies inside the bucket.
    pub(super) async fn copy(
        &self,
        from: &Key,
        to: &Key,
        options: CopyOptions,
    ) -> Result<PutOutcome> {
        let source = format!("{}/{}", self.config.bucket, encode_key(from.as_str()));
        let replace = options
            .metadata
            .is_some()
            .then_some(MetadataDirective::Replace);
        let metadata = options.metadata.map(headers).transpose()?.flatten();
        let source_if_match = options.source_if_match.as_ref().map(quoted);
        let (if_match, if_none_match) = condition_headers(&options.condition);
        let copy = |client: aws_sdk_s3::Client, _| {
            client
                .copy_object()
                .bucket(&self.config.bucket)
                .key(to.as_str())
                .copy_source(&source)
                .set_copy_source_if_match(source_if_match.clone())
                .set_if_match(if_match.clone())
                .set_if_none_match(if_none_match.clone())
                .set_metadata_directive(replace.clone())
                .set_metadata(metadata.clone())
                .send()
        };
        let answer = self.call(self.asked("copy", Some(from)), copy).await;
        let answer = answer.map_err(|error| blame(error, from, to, &options.condition))?;
        let result = answer.copy_object_result();
        Ok(PutOutcome {
            etag: self.etag(to, result.and_then(|r| r.e_tag()))?,
        })
    }
}

/// A 412 does not say which of the two objects it is about: where the destination had a
/// condition, it is the one that a writer races for.
fn blame(error: Error, from: &Key, to: &Key, condition: &Condition) -> Error {
    match error {
        Error::Precondition { .. } if *condition != Condition::None => {
            Error::Precondition { key: to.clone() }
        }
        Error::PermissionDenied { .. } => Error::PermissionDenied {
            action: format!("copy {from} to {to}"),
        },
        other => other,
    }
}
