//! PutObject.

use super::upload::{Way, is_small, sdk_body};
use super::{S3, condition_headers};
use crate::metadata::{encode, normalized};
use crate::{Body, Key, Metadata, PutOptions, PutOutcome, Result};

impl S3 {
    /// Sends the body in one request.
    pub(super) async fn put(
        &self,
        key: &Key,
        body: Body,
        options: PutOptions,
    ) -> Result<PutOutcome> {
        let metadata = headers(options.metadata.clone())?;
        let (if_match, if_none_match) = condition_headers(&options.condition);
        let len = body.len() as i64;
        let way = Way::of(&options);
        if let (Some(pace), true) = (&options.pace, is_small(&body)) {
            pace.take(body.len()).await;
        }
        let put = |client: aws_sdk_s3::Client, progress| {
            let request = client
                .put_object()
                .bucket(&self.config.bucket)
                .key(key.as_str())
                .set_if_match(if_match.clone())
                .set_if_none_match(if_none_match.clone())
                .set_metadata(metadata.clone())
                .content_length(len)
                .body(sdk_body(&body, &progress, &way));
            // Not hashed for the signature: TLS protects the way, and over plain HTTP
            // whoever can change the body can read everything anyway.
            request.customize().disable_payload_signing().send()
        };
        let answer = self.call(self.asked("put", Some(key)), put).await?;
        Ok(PutOutcome {
            etag: self.etag(key, answer.e_tag())?,
        })
    }
}

/// User metadata as headers carry it.
pub(super) fn headers(
    metadata: Metadata,
) -> Result<Option<std::collections::HashMap<String, String>>> {
    if metadata.is_empty() {
        return Ok(None);
    }
    let metadata = normalized(metadata)?;
    Ok(Some(
        metadata
            .into_iter()
            .map(|(name, value)| (name, encode(&value)))
            .collect(),
    ))
}
