//! A body on its way out: the pieces of a range, read off the async threads.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use bytes::Bytes;
use futures::{Stream, stream};
use s3s::dto::StreamingBlob;

use crate::store::{Piece, Reading, Source};

/// Bytes read at once.
const CHUNK: u64 = 256 * 1024;

/// A range of a body as a stream. The [`Reading`] keeps its files until the stream ends.
pub(super) fn send(pieces: Vec<Piece>, range: Range<u64>, reading: Reading) -> StreamingBlob {
    let runs = cut(pieces, range);
    StreamingBlob::wrap(read(Sending {
        runs,
        open: None,
        _reading: reading,
    }))
}

/// Reads a range of a body, chunk by chunk, from a thread that may block.
pub(super) fn read_blocking(
    pieces: Vec<Piece>,
    range: Range<u64>,
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut open = None;
    for mut run in cut(pieces, range) {
        while let Some(bytes) = run.next_chunk(&mut open)? {
            take(&bytes)?;
        }
    }
    Ok(())
}

struct Sending {
    runs: VecDeque<Run>,
    open: Option<(PathBuf, File)>,
    _reading: Reading,
}

/// What is left of a piece.
struct Run {
    source: Source,
    left: Range<u64>,
}

/// The parts of the pieces that lie in the range.
fn cut(pieces: Vec<Piece>, range: Range<u64>) -> VecDeque<Run> {
    let mut start = 0;
    let mut runs = VecDeque::new();
    for piece in pieces {
        let end = start + piece.size;
        let left = range.start.clamp(start, end) - start..range.end.clamp(start, end) - start;
        if !left.is_empty() {
            runs.push_back(Run {
                source: piece.source,
                left,
            });
        }
        start = end;
    }
    runs
}

fn read(sending: Sending) -> impl Stream<Item = io::Result<Bytes>> + Send + Sync {
    stream::try_unfold(sending, |mut sending| async move {
        let Some(run) = sending.runs.front() else {
            return Ok(None);
        };
        if let Source::Bytes(bytes) = &run.source {
            let bytes = bytes.slice(index(run.left.start)..index(run.left.end));
            sending.runs.pop_front();
            return Ok(Some((bytes, sending)));
        }
        let step = tokio::task::spawn_blocking(move || sending.step());
        step.await.map_err(io::Error::other)?
    })
}

impl Sending {
    /// Reads the next chunk of the first run.
    fn step(mut self) -> io::Result<Option<(Bytes, Self)>> {
        while let Some(run) = self.runs.front_mut() {
            if let Some(bytes) = run.next_chunk(&mut self.open)? {
                return Ok(Some((bytes, self)));
            }
            self.runs.pop_front();
        }
        Ok(None)
    }
}

impl Run {
    fn next_chunk(&mut self, open: &mut Option<(PathBuf, File)>) -> io::Result<Option<Bytes>> {
        let size = CHUNK.min(self.left.end - self.left.start);
        if size == 0 {
            return Ok(None);
        }
        let chunk = self.left.start..self.left.start + size;
        self.left.start = chunk.end;
        match &self.source {
            Source::Bytes(bytes) => Ok(Some(bytes.slice(index(chunk.start)..index(chunk.end)))),
            Source::File(path) => {
                let mut bytes = vec![0; index(size)];
                opened(open, path)?.read_exact_at(&mut bytes, chunk.start)?;
                Ok(Some(bytes.into()))
            }
        }
    }
}

fn opened<'f>(open: &'f mut Option<(PathBuf, File)>, path: &PathBuf) -> io::Result<&'f File> {
    let same = open.as_ref().is_some_and(|(opened, _)| opened == path);
    let pair = match open.take() {
        Some(pair) if same => pair,
        _ => (path.clone(), File::open(path)?),
    };
    Ok(&open.insert(pair).1)
}

/// Positions in memory fit `usize`: a piece in memory is small, a chunk smaller.
fn index(position: u64) -> usize {
    usize::try_from(position).unwrap_or(usize::MAX)
}
