//! Large bodies in parallel parts, never left behind half done.
//!
//! An upload that was begun is completed or aborted: by the code that began it, or, when
//! that was dropped, by a task that its guard starts. What no program can do after its own
//! death, a lifecycle rule of the bucket does (S3 User Guide, "Aborting incomplete
//! multipart uploads"). An upload that somebody [remembers](Resume) is left as it is
//! instead, and gone on with: parts that the store has by then are not sent again.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::upload::{Way, sdk_body};
use super::write::headers;
use super::{S3, condition_headers};
use crate::body::{composite_etag, md5_of, parts_of};
use crate::{Body, Condition, Error, Etag, Key, Metadata, PutOptions, PutOutcome, Result, Resume};

/// Sends a body in parts; the condition is checked when they are put together.
pub(super) async fn put(
    s3: &Arc<S3>,
    key: &Key,
    body: Body,
    options: PutOptions,
) -> Result<PutOutcome> {
    let way = Way::of(&options);
    let (mut upload, there) = Upload::open(s3, key, options.metadata, options.resume).await?;
    let done = match upload.send_parts(&body, &there, &way).await {
        Ok(parts) => upload.complete(parts, body.len(), &options.condition).await,
        Err(error) => Err(error),
    };
    match done {
        Ok(outcome) => {
            upload.state = State::Done;
            Ok(outcome)
        }
        Err(error) if upload.resume.is_some() && error.leaves_upload() => Err(error),
        Err(error) => {
            upload.abort().await;
            Err(error)
        }
    }
}

/// Ends an upload that was begun earlier.
pub(super) async fn abandon(s3: &S3, key: &Key, id: &str) -> Result<()> {
    let abort = |client: aws_sdk_s3::Client, _| {
        client
            .abort_multipart_upload()
            .bucket(&s3.config.bucket)
            .key(key.as_str())
            .upload_id(id)
            .send()
    };
    match s3.call(s3.asked("abort", Some(key)), abort).await {
        Ok(_) => Ok(()),
        Err(error) if is_no_such_upload(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

/// A multipart upload that aborts itself unless it is done.
struct Upload {
    s3: Arc<S3>,
    key: Key,
    state: State,
    /// Who remembers it, once that was told its id.
    resume: Option<Arc<dyn Resume>>,
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

/// Parts that the store has, with their sizes.
type There = BTreeMap<i32, (u64, Etag)>;

/// A part in the store.
struct Part {
    number: i32,
    etag: Etag,
}

impl Upload {
    /// Goes on with an upload that is remembered, or begins one.
    async fn open(
        s3: &Arc<S3>,
        key: &Key,
        metadata: Metadata,
        resume: Option<Arc<dyn Resume>>,
    ) -> Result<(Self, There)> {
        let Some(resume) = resume else {
            return Ok((Self::begin(s3, key, metadata).await?, There::new()));
        };
        if let Some(id) = resume.known().await
            && let Some(there) = parts_there(s3, key, &id).await?
        {
            let upload = Self {
                s3: s3.clone(),
                key: key.clone(),
                state: State::Open(id),
                resume: Some(resume),
                runtime: Handle::current(),
            };
            return Ok((upload, there));
        }
        let mut upload = Self::begin(s3, key, metadata).await?;
        if let Err(error) = resume.begun(upload.id()).await {
            upload.abort().await;
            return Err(error);
        }
        upload.resume = Some(resume);
        Ok((upload, There::new()))
    }

    async fn begin(s3: &Arc<S3>, key: &Key, metadata: Metadata) -> Result<Self> {
        let beginning = tokio::spawn(create(s3.clone(), key.clone(), metadata));
        let mut upload = Self {
            s3: s3.clone(),
            key: key.clone(),
            state: State::Beginning(beginning),
            resume: None,
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

    async fn send_parts(&self, body: &Body, there: &There, way: &Way) -> Result<Vec<Part>> {
        let sends = parts_of(body, self.s3.config.part_size_for(body.len()));
        let sends = sends
            .into_iter()
            .map(|(number, part)| self.part(number, part, there.get(&number), way));
        let sends = stream::iter(sends).buffer_unordered(self.s3.config.part_concurrency.max(1));
        let mut parts: Vec<Part> = sends.try_collect().await?;
        parts.sort_unstable_by_key(|part| part.number);
        Ok(parts)
    }

    /// Sends a part, unless the store has it.
    async fn part(
        &self,
        number: i32,
        part: Body,
        there: Option<&(u64, Etag)>,
        way: &Way,
    ) -> Result<Part> {
        if let Some((size, etag)) = there
            && *size == part.len()
            && hex::encode(md5_of(part.clone()).await?) == etag.as_str()
        {
            way.skip(part.len());
            let etag = etag.clone();
            return Ok(Part { number, etag });
        }
        let sent = self.send_part(number, part, way).await?;
        if let Some(resume) = &self.resume {
            resume.sent().await?;
        }
        Ok(sent)
    }

    async fn send_part(&self, number: i32, part: Body, way: &Way) -> Result<Part> {
        let len = part.len() as i64;
        let send = |client: aws_sdk_s3::Client, progress| {
            let request = client
                .upload_part()
                .bucket(&self.s3.config.bucket)
                .key(self.key.as_str())
                .upload_id(self.id())
                .part_number(number)
                .content_length(len)
                .body(sdk_body(&part, &progress, way));
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
        if let Some(resume) = &self.resume {
            let etag = composite_etag(parts.iter().map(|part| &part.etag));
            if !resume.may_complete(etag.as_ref()).await? {
                return Err(Error::LocalBody {
                    reason: "it was changed while it was sent".to_owned(),
                });
            }
        }
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
        let expected = composite_etag(parts.iter().map(|part| &part.etag));
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
            State::Open(_) if self.resume.is_some() => {}
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
    if let Err(error) = abandon(s3, key, id).await {
        tracing::warn!(%key, %error, "an unfinished upload was left in the bucket");
    }
}

/// The parts of an upload; `None` where there is no such upload any more.
async fn parts_there(s3: &S3, key: &Key, id: &str) -> Result<Option<There>> {
    let mut there = There::new();
    let mut after: Option<String> = None;
    loop {
        let list = |client: aws_sdk_s3::Client, _| {
            client
                .list_parts()
                .bucket(&s3.config.bucket)
                .key(key.as_str())
                .upload_id(id)
                .set_part_number_marker(after.clone())
                .send()
        };
        let page = match s3.call(s3.asked("list parts of", Some(key)), list).await {
            Ok(page) => page,
            Err(error) if is_no_such_upload(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        for part in page.parts() {
            let size = part.size().and_then(|size| u64::try_from(size).ok());
            if let (Some(number), Some(size), Some(tag)) = (part.part_number(), size, part.e_tag())
            {
                there.insert(number, (size, Etag::new(tag)));
            }
        }
        match (page.is_truncated(), page.next_part_number_marker()) {
            (Some(true), Some(next)) if after.as_deref() != Some(next) => {
                after = Some(next.to_owned());
            }
            _ => return Ok(Some(there)),
        }
    }
}

fn is_no_such_upload(error: &Error) -> bool {
    matches!(error, Error::Invalid { reason } if reason.starts_with("NoSuchUpload"))
}

fn completed(part: &Part) -> CompletedPart {
    CompletedPart::builder()
        .part_number(part.number)
        .e_tag(super::quoted(&part.etag))
        .build()
}
