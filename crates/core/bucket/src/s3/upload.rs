//! A body on its way to the store.

use std::fs::File;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::body::read_range;
use crate::{Body, Error, Meter, Pace, PutOptions};

/// Bytes read from a file at once.
const PIECE: u64 = 512 * 1024;

/// Bytes given to the connection at once: small, so that a slow line is seen to move.
const FRAME: usize = 64 * 1024;

/// The longest wait for a rate without a sign that the body still moves.
const SIGN: Duration = Duration::from_secs(1);

/// What a body passes on its way.
#[derive(Clone, Default)]
pub(super) struct Way {
    meter: Option<Meter>,
    pace: Option<Pace>,
}

impl Way {
    pub(super) fn of(options: &PutOptions) -> Self {
        Self {
            meter: options.meter.clone(),
            pace: options.pace.clone(),
        }
    }

    /// Counts what the store has already.
    pub(super) fn skip(&self, bytes: u64) {
        if let Some(meter) = &self.meter {
            meter.add(bytes);
        }
    }
}

/// Whether a body is handed over in one piece, without a stop on the way.
pub(super) fn is_small(body: &Body) -> bool {
    matches!(body, Body::Bytes(bytes) if bytes.len() <= FRAME)
}

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
pub(super) fn sdk_body(body: &Body, progress: &Arc<Progress>, way: &Way) -> ByteStream {
    match body {
        Body::Bytes(bytes) if bytes.len() <= FRAME => ByteStream::from(bytes.clone()),
        Body::Bytes(bytes) => {
            let source = Source::Bytes(bytes.clone());
            stream(source, bytes.len() as u64, progress, way)
        }
        Body::File { file, range } => {
            let source = FileSource::new(file.clone(), range.clone());
            stream(Source::File(source), body.len(), progress, way)
        }
    }
}

fn stream(source: Source, left: u64, progress: &Arc<Progress>, way: &Way) -> ByteStream {
    let frames = Frames {
        source,
        left,
        progress: progress.clone(),
        way: way.clone(),
        held: None,
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
    way: Way,
    /// What is read and may not pass yet.
    held: Option<Held>,
}

struct Held {
    bytes: Bytes,
    until: Instant,
    sleep: Pin<Box<Sleep>>,
}

impl HttpBody for Frames {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = match ready!(self.poll_held(cx)) {
            Some(bytes) => Ok(Some(bytes)),
            None => match &mut self.source {
                Source::Bytes(bytes) => Ok(next_frame(bytes)),
                Source::File(file) => ready!(file.poll_frame(cx)),
            }
            .map(|frame| self.hold(frame)),
        };
        if self.held.is_some() {
            return self.poll_frame(cx);
        }
        Poll::Ready(match frame {
            Ok(None) => None,
            Ok(Some(bytes)) => {
                self.left -= bytes.len() as u64;
                self.progress.moved.fetch_add(1, Ordering::Relaxed);
                if let Some(meter) = &self.way.meter {
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

impl Frames {
    /// Keeps a frame back where the rate wants it.
    fn hold(&mut self, frame: Option<Bytes>) -> Option<Bytes> {
        let (Some(bytes), Some(pace)) = (&frame, &self.way.pace) else {
            return frame;
        };
        let until = pace.reserve(bytes.len() as u64);
        let now = Instant::now();
        if until <= now {
            return frame;
        }
        self.held = Some(Held {
            bytes: bytes.clone(),
            until,
            sleep: Box::pin(sleep_until(until.min(now + SIGN))),
        });
        None
    }

    /// The frame that was kept back, once it may pass. To wait for the rate is no stall.
    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        while let Some(held) = &mut self.held {
            ready!(held.sleep.as_mut().poll(cx));
            let now = Instant::now();
            if now >= held.until {
                return Poll::Ready(self.held.take().map(|held| held.bytes));
            }
            self.progress.moved.fetch_add(1, Ordering::Relaxed);
            held.sleep.as_mut().reset(held.until.min(now + SIGN));
        }
        Poll::Ready(None)
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
