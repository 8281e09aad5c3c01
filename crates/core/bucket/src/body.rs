//! Reading the bodies that are to be written, off the async threads.

use std::fs::File;
use std::io::ErrorKind;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use bytes::{Bytes, BytesMut};

use crate::{Body, Error, Result};

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
