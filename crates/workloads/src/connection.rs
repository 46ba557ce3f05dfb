//! What one connection knows about itself, and the body that keeps a request "in flight" until its last byte.

use std::{
    pin::Pin,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use crate::lifecycle::{Busy, Lifecycle};

/// One HTTP connection's share in the server's [`Lifecycle`].
#[derive(Debug, Clone)]
pub struct Connection {
    pub lifecycle: Lifecycle,
    own: Arc<Own>,
}

#[derive(Debug)]
struct Own {
    opened: Instant,
    in_flight: AtomicUsize,
    last_end: AtomicU64,
}

impl Connection {
    pub fn new(lifecycle: Lifecycle) -> Self {
        lifecycle.touch();
        let own = Own { opened: Instant::now(), in_flight: AtomicUsize::new(0), last_end: AtomicU64::new(0) };
        Self { lifecycle, own: Arc::new(own) }
    }

    /// A request has begun; it is in flight while the returned value lives.
    pub fn begin(&self) -> InFlight {
        self.own.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight { _busy: self.lifecycle.busy(), connection: self.clone() }
    }

    /// How long no request has been in flight here; zero while one is.
    pub fn idle(&self) -> Duration {
        if self.own.in_flight.load(Ordering::Relaxed) > 0 {
            return Duration::ZERO;
        }
        self.own.opened.elapsed().saturating_sub(Duration::from_millis(self.own.last_end.load(Ordering::Relaxed)))
    }
}

/// See [`Connection::begin`].
#[derive(Debug)]
pub struct InFlight {
    _busy: Busy,
    connection: Connection,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let own = &self.connection.own;
        let now = u64::try_from(own.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        own.last_end.store(now, Ordering::Relaxed);
        own.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An answer's body: text, or a long run of deterministic bytes made while they are sent.
#[derive(Debug)]
pub struct Answer {
    content: Content,
    /// Dropped with the body, when hyper has taken the last byte.
    _in_flight: InFlight,
}

/// What an [`Answer`] consists of.
#[derive(Debug)]
pub enum Content {
    Whole(Option<Bytes>),
    Pattern { sent: u64, total: u64 },
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Self::Whole(Some(text.into()))
    }
}

impl Answer {
    pub fn new(content: Content, in_flight: InFlight) -> Self {
        Self { content, _in_flight: in_flight }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(match &mut self.content {
            Content::Whole(bytes) => bytes.take().map(|bytes| Ok(Frame::data(bytes))),
            Content::Pattern { sent, total } if *sent < *total => {
                let length = (*total - *sent).min(CHUNK);
                let chunk = pattern(*sent, length);
                *sent += length;
                Some(Ok(Frame::data(chunk)))
            }
            Content::Pattern { .. } => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Whole(bytes) => bytes.is_none(),
            Content::Pattern { sent, total } => sent >= total,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match &self.content {
            Content::Whole(bytes) => bytes.as_ref().map_or(0, |bytes| bytes.len() as u64),
            Content::Pattern { sent, total } => total - sent,
        })
    }
}

/// Bytes `offset .. offset + length` of the endless pattern 0, 1, … 250, 0, …: its period is prime, so that a lost or
/// doubled packet of any usual size shows.
#[must_use]
pub fn pattern(offset: u64, length: u64) -> Bytes {
    let start = usize::try_from(offset % PATTERN_PERIOD).unwrap_or(0);
    let length = usize::try_from(length.min(CHUNK)).unwrap_or(0);
    PATTERN.slice(start..start + length)
}

/// See [`pattern`].
pub const PATTERN_PERIOD: u64 = 251;

/// Most bytes made at once.
pub const CHUNK: u64 = 64 * 1024;

static PATTERN: LazyLock<Bytes> = LazyLock::new(|| {
    (0..CHUNK + PATTERN_PERIOD).map(|position| u8::try_from(position % PATTERN_PERIOD).unwrap_or(0)).collect()
});
