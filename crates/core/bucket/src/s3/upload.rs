//! A body on its way to the store.

use std::fs::File;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use crate::body::read_range;
use crate::{Body, Error, Meter};

/// Bytes read from a file at once.
const PIECE: u64 = 512 * 1024;

/// Bytes given to the connection at once: small, so that a slow line is seen to move.
const FRAME: usize = 64 * 1024;

/// What is known of an attempt while it runs.
#[derive(Default)]
pub(super) struct Progress {
    moved: AtomicU64,
    local: Mutex<Option<Error>>,
}

impl Progress {
    /// Grows whenever the connection takes more of the body.
    pub(super) fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    /// What went wrong on this machine, which the connection only reports as "broken".
    pub(super) fn local_error(&self) -> Option<Error> {
        self.local.lock().clone()
    }
}

/// The body in the SDK's form: of known length, unread until the connection asks.
pub(super) fn sdk_body(body: &Body, progress: &Arc<Progress>, meter: Option<&Meter>) -> ByteStream {
    match body {
        Body::Bytes(bytes) if bytes.len() <= FRAME => ByteStream::from(bytes.clone()),
        Body::Bytes(bytes) => {
            let source = Source::Bytes(bytes.clone());
            stream(source, bytes.len() as u64, progress, meter)
        }
        Body::File { file, range } => {
            let source = FileSource::new(file.clone(), range.clone());
            stream(Source::File(source), body.len(), progress, meter)
        }
    }
}

fn stream(
    source: Source,
    left: u64,
    progress: &Arc<Progress>,
    meter: Option<&Meter>,
) -> ByteStream {
    let frames = Frames {
        source,
        left,
        progress: progress.clone(),
        meter: meter.cloned(),
    };
    ByteStream::new(SdkBody::from_body_1_x(frames))
}

enum Source {
    Bytes(Bytes),
    File(FileSource),
}

/// Reads one piece ahead of the connection.
struct FileSource {
    file: Arc<File>,
    unread: Range<u64>,
    reading: Option<JoinHandle<crate::Result<Bytes>>>,
    ready: Bytes,
}

/// An HTTP body that counts what it gives.
struct Frames {
    source: Source,
    left: u64,
    progress: Arc<Progress>,
    meter: Option<Meter>,
}

impl HttpBody for Frames {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = match &mut self.source {
            Source::Bytes(bytes) => Ok(next_frame(bytes)),
            Source::File(file) => ready!(file.poll_frame(cx)),
        };
        Poll::Ready(match frame {
            Ok(None) => None,
            Ok(Some(bytes)) => {
                self.left -= bytes.len() as u64;
                self.progress.moved.fetch_add(1, Ordering::Relaxed);
                if let Some(meter) = &self.meter {
                    meter.add(bytes.len() as u64);
                }
                Some(Ok(Frame::data(bytes)))
            }
            Err(error) => {
                *self.progress.local.lock() = Some(error.clone());
                Some(Err(error))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

impl FileSource {
    fn new(file: Arc<File>, range: Range<u64>) -> Self {
        Self {
            file,
            unread: range,
            reading: None,
            ready: Bytes::new(),
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<crate::Result<Option<Bytes>>> {
        loop {
            if let Some(frame) = next_frame(&mut self.ready) {
                return Poll::Ready(Ok(Some(frame)));
            }
            if self.reading.is_none() && !self.read_ahead() {
                return Poll::Ready(Ok(None));
            }
            self.ready = ready!(self.poll_piece(cx))?;
            self.read_ahead();
        }
    }

    /// Starts reading the next piece; false where the range is read.
    fn read_ahead(&mut self) -> bool {
        if self.unread.is_empty() {
            return false;
        }
        let end = self.unread.end.min(self.unread.start + PIECE);
        let piece = self.unread.start..end;
        self.unread.start = end;
        let file = self.file.clone();
        self.reading = Some(tokio::task::spawn_blocking(move || {
            read_range(&file, piece)
        }));
        true
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<crate::Result<Bytes>> {
        let Some(reading) = &mut self.reading else {
            return Poll::Ready(Ok(Bytes::new()));
        };
        let piece = ready!(Pin::new(reading).poll(cx));
        self.reading = None;
        Poll::Ready(match piece {
            Ok(piece) => piece,
            Err(e) => Err(Error::LocalBody {
                reason: e.to_string(),
            }),
        })
    }
}

fn next_frame(bytes: &mut Bytes) -> Option<Bytes> {
    let len = bytes.len().min(FRAME);
    (len > 0).then(|| bytes.split_to(len))
}
