//! Reading the bodies that are to be written, off the async threads.

use std::fs::File;
use std::io::ErrorKind;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use bytes::{Bytes, BytesMut};
use md5::{Digest, Md5};

use crate::{Body, Error, Etag, Result};

/// The whole body in memory: for small bodies and for tests.
pub(crate) async fn read_whole(body: Body) -> Result<Bytes> {
    match body {
        Body::Bytes(bytes) => Ok(bytes),
        Body::File { file, range } => {
            let read = tokio::task::spawn_blocking(move || read_range(&file, range));
            read.await.map_err(|e| Error::LocalBody {
                reason: e.to_string(),
            })?
        }
    }
}

/// Bytes of a body that are hashed at once.
const PIECE: u64 = 512 * 1024;

/// The MD5 of a body, which is what most stores give a part as its tag.
pub(crate) async fn md5_of(body: Body) -> Result<[u8; 16]> {
    let (file, range) = match body {
        Body::Bytes(bytes) => return Ok(Md5::digest(&bytes).into()),
        Body::File { file, range } => (file, range),
    };
    let hash = move || {
        let mut md5 = Md5::new();
        let mut at = range.start;
        while at < range.end {
            let end = range.end.min(at + PIECE);
            md5.update(read_range(&file, at..end)?);
            at = end;
        }
        Ok(md5.finalize().into())
    };
    tokio::task::spawn_blocking(hash)
        .await
        .map_err(|e| Error::LocalBody {
            reason: e.to_string(),
        })?
}

/// The parts of a body, numbered from 1.
pub(crate) fn parts_of(body: &Body, part_size: u64) -> Vec<(i32, Body)> {
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

/// The tag that S3 gives an object of parts: the MD5 of the parts' MD5s, and their number.
/// `None` where the parts' tags are not MD5s.
pub(crate) fn composite_etag<'a>(parts: impl ExactSizeIterator<Item = &'a Etag>) -> Option<Etag> {
    let (mut all, count) = (Md5::new(), parts.len());
    for part in parts {
        let md5 = hex::decode(part.as_str()).ok();
        all.update(md5.filter(|md5| md5.len() == 16)?);
    }
    Some(Etag::new(&format!(
        "{}-{count}",
        hex::encode(all.finalize())
    )))
}

/// Reads exactly this range of a file; blocks. A file that ends before the range does is
/// [`Error::LocalBody`].
pub(crate) fn read_range(file: &File, range: Range<u64>) -> Result<Bytes> {
    let len = range.end.saturating_sub(range.start);
    let len = usize::try_from(len).map_err(|e| Error::LocalBody {
        reason: e.to_string(),
    })?;
    let mut piece = BytesMut::zeroed(len);
    file.read_exact_at(&mut piece, range.start)
        .map_err(|e| match e.kind() {
            ErrorKind::UnexpectedEof => Error::LocalBody {
                reason: format!("the file ends before byte {}", range.end),
            },
            _ => Error::LocalBody {
                reason: e.to_string(),
            },
        })?;
    Ok(piece.freeze())
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
        // md5("a"), md5("b"); `printf a | md5sum` and so on, joined as bytes.
        let parts = [
            Etag::new("0cc175b9c0f1b6a831c399e269772661"),
            Etag::new("92eb5ffee6ae2fec3ad71c777531578f"),
        ];
        let joined =
            hex::decode("0cc175b9c0f1b6a831c399e26977266192eb5ffee6ae2fec3ad71c777531578f");
        let hash = hex::encode(Md5::digest(joined.unwrap()));
        assert_eq!(
            composite_etag(parts.iter()),
            Some(Etag::new(&format!("{hash}-2")))
        );
        assert_eq!(composite_etag([Etag::new("not-a-hash")].iter()), None);
    }

    #[tokio::test]
    async fn a_file_hashes_as_its_bytes_do() {
        let bytes = Bytes::from(vec![9; 1_300_000]);
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        let file = std::sync::Arc::new(file);
        let range = 0..bytes.len() as u64;
        let of_file = md5_of(Body::File { file, range }).await;
        assert_eq!(of_file, md5_of(Body::Bytes(bytes)).await);
    }
}
