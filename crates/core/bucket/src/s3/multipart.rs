//! Large bodies in parallel parts, never left behind half done.
//!
//! An upload that was begun is completed or aborted: by the code that began it, or, when
//! that was dropped, by a task that its guard starts. What no program can do after its own
//! death, a lifecycle rule of the bucket does (S3 User Guide, "Aborting incomplete
//! multipart uploads").

use std::sync::Arc;

use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use md5::{Digest, Md5};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::upload::sdk_body;
use super::write::headers;
use super::{S3, condition_headers};
use crate::{Body, Condition, Error, Etag, Key, Metadata, Meter, PutOptions, PutOutcome, Result};

/// Sends a body in parts; the condition is checked when they are put together.
pub(super) async fn put(
    s3: &Arc<S3>,
    key: &Key,
    body: Body,
    options: PutOptions,
) -> Result<PutOutcome> {
    let mut upload = Upload::begin(s3, key, options.metadata).await?;
    let done = match upload.send_parts(&body, options.meter.as_ref()).await {
        Ok(parts) => upload.complete(parts, body.len(), &options.condition).await,
        Err(error) => Err(error),
    };
    match done {
        Ok(outcome) => {
            upload.state = State::Done;
            Ok(outcome)
        }
        Err(error) => {
            upload.abort().await;
            Err(error)
        }
    }
}

/// A multipart upload that aborts itself unless it is done.
struct Upload {
    s3: Arc<S3>,
    key: Key,
    state: State,
    /// Where the abort runs when this is dropped, perhaps on a thread without a runtime.
    runtime: Handle,
}

enum State {
    /// The store was asked for an upload id. Asking goes on when the caller is dropped:
    /// otherwise an upload could exist whose id nobody knows.
    Beginning(JoinHandle<Result<String>>),
    Open(String),
    Done,
}

/// A part in the store.
struct Part {
    number: i32,
    etag: Etag,
}

impl Upload {
    async fn begin(s3: &Arc<S3>, key: &Key, metadata: Metadata) -> Result<Self> {
        let beginning = tokio::spawn(create(s3.clone(), key.clone(), metadata));
        let mut upload = Self {
            s3: s3.clone(),
            key: key.clone(),
            state: State::Beginning(beginning),
            runtime: Handle::current(),
        };
        let State::Beginning(beginning) = &mut upload.state else {
            unreachable!("the state was set above");
        };
        let id = beginning.await.unwrap_or_else(|e| {
            Err(Error::Invalid {
                reason: e.to_string(),
            })
        });
        upload.state = match &id {
            Ok(id) => State::Open(id.clone()),
            Err(_) => State::Done,
        };
        id.map(|_| upload)
    }

    fn id(&self) -> &str {
        match &self.state {
            State::Open(id) => id,
            _ => "",
        }
    }

    async fn send_parts(&self, body: &Body, meter: Option<&Meter>) -> Result<Vec<Part>> {
        let sends = parts_of(body, self.s3.config.part_size_for(body.len()));
        let sends = sends
            .into_iter()
            .map(|(number, part)| self.send_part(number, part, meter));
        let sends = stream::iter(sends).buffer_unordered(self.s3.config.part_concurrency.max(1));
        let mut parts: Vec<Part> = sends.try_collect().await?;
        parts.sort_unstable_by_key(|part| part.number);
        Ok(parts)
    }

    async fn send_part(&self, number: i32, part: Body, meter: Option<&Meter>) -> Result<Part> {
        let len = part.len() as i64;
        let send = |client: aws_sdk_s3::Client, progress| {
            let request = client
                .upload_part()
                .bucket(&self.s3.config.bucket)
                .key(self.key.as_str())
                .upload_id(self.id())
                .part_number(number)
                .content_length(len)
                .body(sdk_body(&part, &progress, meter));
            request.customize().disable_payload_signing().send()
        };
        let answer = self
            .s3
            .call(self.s3.asked("put", Some(&self.key)), send)
            .await?;
        Ok(Part {
            number,
            etag: self.s3.etag(&self.key, answer.e_tag())?,
        })
    }

    async fn complete(
        &self,
        parts: Vec<Part>,
        len: u64,
        condition: &Condition,
    ) -> Result<PutOutcome> {
        let (if_match, if_none_match) = condition_headers(condition);
        let list = CompletedMultipartUpload::builder()
            .set_parts(Some(parts.iter().map(completed).collect()))
            .build();
        let complete = |client: aws_sdk_s3::Client, _| {
            client
                .complete_multipart_upload()
                .bucket(&self.s3.config.bucket)
                .key(self.key.as_str())
                .upload_id(self.id())
                .multipart_upload(list.clone())
                .set_if_match(if_match.clone())
                .set_if_none_match(if_none_match.clone())
                .send()
        };
        match self
            .s3
            .call(self.s3.asked("put", Some(&self.key)), complete)
            .await
        {
            Ok(answer) => Ok(PutOutcome {
                etag: self.s3.etag(&self.key, answer.e_tag())?,
            }),
            Err(error) if is_no_such_upload(&error) => {
                self.find_completed(&parts, len, error).await
            }
            Err(error) => Err(error),
        }
    }

    /// The upload is gone: an earlier attempt, whose answer was lost, may have completed
    /// it. The object then bears the tag that follows from the parts' tags.
    async fn find_completed(&self, parts: &[Part], len: u64, error: Error) -> Result<PutOutcome> {
        let expected = composite_etag(parts);
        match self.s3.head(&self.key).await {
            Ok(meta) if meta.size == len && Some(&meta.etag) == expected.as_ref() => {
                Ok(PutOutcome { etag: meta.etag })
            }
            Ok(_) | Err(Error::NotFound { .. }) => Err(error),
            Err(other) => Err(other),
        }
    }

    async fn abort(&mut self) {
        if let State::Open(id) = std::mem::replace(&mut self.state, State::Done) {
            abort(&self.s3, &self.key, &id).await;
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let state = std::mem::replace(&mut self.state, State::Done);
        let (s3, key) = (self.s3.clone(), self.key.clone());
        match state {
            State::Done => {}
            State::Open(id) => {
                self.runtime
                    .spawn(async move { abort(&s3, &key, &id).await });
            }
            State::Beginning(id) => {
                self.runtime.spawn(async move {
                    if let Ok(Ok(id)) = id.await {
                        abort(&s3, &key, &id).await;
                    }
                });
            }
        }
    }
}

async fn create(s3: Arc<S3>, key: Key, metadata: Metadata) -> Result<String> {
    let metadata = headers(metadata)?;
    let create = |client: aws_sdk_s3::Client, _| {
        client
            .create_multipart_upload()
            .bucket(&s3.config.bucket)
            .key(key.as_str())
            .set_metadata(metadata.clone())
            .send()
    };
    let answer = s3.call(s3.asked("put", Some(&key)), create).await?;
    let id = answer.upload_id().filter(|id| !id.is_empty());
    id.map(str::to_owned)
        .ok_or_else(|| s3.odd(format!("no upload id for {key}")))
}

/// Removes an upload with its parts. A failure is only logged: the caller has a better
/// error to tell, or nobody to tell it to.
async fn abort(s3: &S3, key: &Key, id: &str) {
    let abort = |client: aws_sdk_s3::Client, _| {
        client
            .abort_multipart_upload()
            .bucket(&s3.config.bucket)
            .key(key.as_str())
            .upload_id(id)
            .send()
    };
    match s3.call(s3.asked("abort", Some(key)), abort).await {
        Ok(_) => {}
        Err(error) if is_no_such_upload(&error) => {}
        Err(error) => tracing::warn!(%key, %error, "an unfinished upload was left in the bucket"),
    }
}

fn is_no_such_upload(error: &Error) -> bool {
    matches!(error, Error::Invalid { reason } if reason.starts_with("NoSuchUpload"))
}

/// The parts, numbered from 1.
fn parts_of(body: &Body, part_size: u64) -> Vec<(i32, Body)> {
    let len = body.len();
    let starts = (0..len).step_by(usize::try_from(part_size).unwrap_or(usize::MAX));
    let cut = |start: u64| slice(body, start, len.min(start + part_size));
    (1..).zip(starts.map(cut)).collect()
}

fn slice(body: &Body, start: u64, end: u64) -> Body {
    match body {
        // Positions in a body in memory fit `usize`.
        Body::Bytes(bytes) => Body::Bytes(Bytes::slice(bytes, start as usize..end as usize)),
        Body::File { file, range } => Body::File {
            file: file.clone(),
            range: range.start + start..range.start + end,
        },
    }
}

fn completed(part: &Part) -> CompletedPart {
    CompletedPart::builder()
        .part_number(part.number)
        .e_tag(super::quoted(&part.etag))
        .build()
}

/// The tag that S3 gives an object of parts: the MD5 of the parts' MD5s, and their number.
/// `None` where the parts' tags are not MD5s.
fn composite_etag(parts: &[Part]) -> Option<Etag> {
    let mut all = Md5::new();
    for part in parts {
        all.update(
            hex::decode(part.etag.as_str())
                .ok()
                .filter(|md5| md5.len() == 16)?,
        );
    }
    Some(Etag::new(&format!(
        "{}-{}",
        hex::encode(all.finalize()),
        parts.len()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_the_body_once() {
        let body = Body::Bytes(Bytes::from(vec![7; 25]));
        let parts = parts_of(&body, 10);
        let seen: Vec<(i32, u64)> = parts.iter().map(|(n, part)| (*n, part.len())).collect();
        assert_eq!(seen, [(1, 10), (2, 10), (3, 5)]);
    }

    #[test]
    fn the_tag_of_parts_is_the_hash_of_their_hashes() {
        let part = |number, etag| Part {
            number,
            etag: Etag::new(etag),
        };
        // md5("a"), md5("b"); `printf a | md5sum` and so on, joined as bytes.
        let parts = [
            part(1, "0cc175b9c0f1b6a831c399e269772661"),
            part(2, "92eb5ffee6ae2fec3ad71c777531578f"),
        ];
        let joined =
            hex::decode("0cc175b9c0f1b6a831c399e26977266192eb5ffee6ae2fec3ad71c777531578f");
        let hash = hex::encode(Md5::digest(joined.unwrap()));
        assert_eq!(
            composite_etag(&parts),
            Some(Etag::new(&format!("{hash}-2")))
        );
        assert_eq!(composite_etag(&[part(1, "not-a-hash")]), None);
    }
}
