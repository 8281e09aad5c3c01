//! A request's body on its way in: hashed, measured, and compared with what was promised.

use bytes::Bytes;
use futures::StreamExt;
use s3s::checksum::ChecksumHasher;
use s3s::crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Md5, Sha1, Sha256};
use s3s::dto::StreamingBlob;
use s3s::{S3Error, S3Result, TrailingHeaders, s3_error};

use crate::store::{Checksums, Draft, NewBody};

/// Bytes collected before they are hashed and written off the async threads.
const BATCH: usize = 512 * 1024;

/// What the client said about its body.
#[derive(Default)]
pub(super) struct Promised {
    pub(super) size: Option<i64>,
    /// Base64, as in `Content-MD5`.
    pub(super) md5: Option<String>,
    pub(super) checksums: Checksums,
    /// The `x-amz-trailer` header: checksums that follow the body.
    pub(super) trailer: Option<String>,
    pub(super) trailing: Option<TrailingHeaders>,
}

/// A body that is what was promised.
pub(super) struct Received {
    pub(super) body: NewBody,
    pub(super) md5: [u8; 16],
    pub(super) checksums: Checksums,
}

struct Intake {
    draft: Draft,
    md5: Md5,
    hasher: ChecksumHasher,
    size: u64,
}

/// Takes a body in. A body that is short, long or wrong leaves nothing behind.
pub(super) async fn receive(
    draft: Draft,
    body: Option<StreamingBlob>,
    promised: Promised,
) -> S3Result<Received> {
    let mut intake = Intake {
        draft,
        md5: Md5::new(),
        hasher: promised.hasher(),
        size: 0,
    };
    if let Some(body) = body {
        intake = fill(intake, body).await?;
    }
    if promised
        .size
        .is_some_and(|size| u64::try_from(size).ok() != Some(intake.size))
    {
        return Err(s3_error!(IncompleteBody));
    }
    let size = intake.size;
    let Intake {
        draft, md5, hasher, ..
    } = intake;
    let md5 = md5.finalize();
    let checksums = Checksums::from(hasher.finalize());
    promised.compare(&md5, &checksums)?;
    let body = if size <= crate::store::INLINE as u64 {
        draft.finish()
    } else {
        off_thread(move || draft.finish()).await?
    };
    Ok(Received {
        body: body.map_err(S3Error::internal_error)?,
        md5,
        checksums,
    })
}

async fn fill(mut intake: Intake, mut body: StreamingBlob) -> S3Result<Intake> {
    let mut batch: Vec<Bytes> = Vec::new();
    let mut waiting = 0;
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(broken)?;
        waiting += chunk.len();
        batch.push(chunk);
        if waiting >= BATCH {
            intake = write_off_thread(intake, std::mem::take(&mut batch)).await?;
            waiting = 0;
        }
    }
    if !intake.draft.stays_small(waiting) {
        return write_off_thread(intake, batch).await;
    }
    intake.write(&batch).map_err(S3Error::internal_error)?;
    Ok(intake)
}

/// The stream broke: the client went away, or a chunk's signature or a checksum was wrong.
fn broken(error: s3s::StdError) -> S3Error {
    match error.downcast::<S3Error>() {
        Ok(error) => *error,
        Err(error) => s3_error!(IncompleteBody, "the body could not be read: {error}"),
    }
}

async fn write_off_thread(mut intake: Intake, batch: Vec<Bytes>) -> S3Result<Intake> {
    off_thread(move || intake.write(&batch).map(|()| intake))
        .await?
        .map_err(S3Error::internal_error)
}

/// Runs what may block on the disk where it blocks nobody else.
pub(super) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> S3Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(S3Error::internal_error)
}

impl Intake {
    fn write(&mut self, batch: &[Bytes]) -> std::io::Result<()> {
        for chunk in batch {
            self.md5.update(chunk);
            self.hasher.update(chunk);
            self.draft.write(chunk)?;
            self.size += chunk.len() as u64;
        }
        Ok(())
    }
}

impl Promised {
    /// A hasher for the checksums that will have to be compared, and no other.
    fn hasher(&self) -> ChecksumHasher {
        let follows = |name: &str| {
            self.trailer
                .as_deref()
                .is_some_and(|names| lists(names, name))
        };
        let sums = &self.checksums;
        ChecksumHasher {
            crc32: (sums.crc32.is_some() || follows("x-amz-checksum-crc32")).then(Crc32::new),
            crc32c: (sums.crc32c.is_some() || follows("x-amz-checksum-crc32c")).then(Crc32c::new),
            sha1: (sums.sha1.is_some() || follows("x-amz-checksum-sha1")).then(Sha1::new),
            sha256: (sums.sha256.is_some() || follows("x-amz-checksum-sha256")).then(Sha256::new),
            crc64nvme: (sums.crc64nvme.is_some() || follows("x-amz-checksum-crc64nvme"))
                .then(Crc64Nvme::new),
        }
    }

    fn compare(&self, md5: &[u8; 16], found: &Checksums) -> S3Result<()> {
        if self
            .md5
            .as_ref()
            .is_some_and(|promised| *promised != base64(md5))
        {
            return Err(s3_error!(
                BadDigest,
                "the Content-MD5 does not fit the body"
            ));
        }
        let sums = &self.checksums;
        let pairs = [
            ("x-amz-checksum-crc32", &sums.crc32, &found.crc32),
            ("x-amz-checksum-crc32c", &sums.crc32c, &found.crc32c),
            (
                "x-amz-checksum-crc64nvme",
                &sums.crc64nvme,
                &found.crc64nvme,
            ),
            ("x-amz-checksum-sha1", &sums.sha1, &found.sha1),
            ("x-amz-checksum-sha256", &sums.sha256, &found.sha256),
        ];
        for (name, header, found) in pairs {
            let trailing = self.trailing_value(name);
            let promised = header.as_ref().or(trailing.as_ref());
            if promised.is_some() && promised != found.as_ref() {
                return Err(s3_error!(BadDigest, "the {name} does not fit the body"));
            }
        }
        Ok(())
    }

    fn trailing_value(&self, name: &str) -> Option<String> {
        let value = |headers: &hyper::HeaderMap| Some(headers.get(name)?.to_str().ok()?.to_owned());
        self.trailing.as_ref()?.read(value)?
    }
}

impl From<s3s::dto::Checksum> for Checksums {
    fn from(sums: s3s::dto::Checksum) -> Self {
        Self {
            crc32: sums.checksum_crc32,
            crc32c: sums.checksum_crc32c,
            crc64nvme: sums.checksum_crc64nvme,
            sha1: sums.checksum_sha1,
            sha256: sums.checksum_sha256,
        }
    }
}

/// Base64 as S3 writes digests.
pub(super) fn base64(bytes: &[u8]) -> String {
    base64_simd::STANDARD.encode_to_string(bytes)
}

fn lists(names: &str, name: &str) -> bool {
    names
        .split(',')
        .any(|listed| listed.trim().eq_ignore_ascii_case(name))
}
