//! A TCP stream that closes without a reset.
//!
//! When a process closes a socket that holds unread data, the kernel sends RST, and the reset may overtake the answer
//! that the client has not read yet (RFC 1122 §4.2.2.13). So a shutdown here is: half-close, then read and throw away
//! until the client closes too, for a bounded time.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep},
};

use crate::lifecycle::{Busy, Lifecycle};

/// See the module's documentation.
#[derive(Debug)]
pub struct Lingering {
    stream: TcpStream,
    closing: Option<Pin<Box<Sleep>>>,
    lifecycle: Lifecycle,
    /// Held while bytes wait for a slow reader, and until the client has closed too: hyper has let go of the answer's
    /// body by then.
    stalled: Option<Busy>,
}

impl Lingering {
    pub fn new(stream: TcpStream, lifecycle: Lifecycle) -> Self {
        Self { stream, closing: None, lifecycle, stalled: None }
    }

    fn note(&mut self, written: &Poll<io::Result<usize>>) {
        match written {
            Poll::Pending if self.stalled.is_none() => self.stalled = Some(self.lifecycle.busy()),
            Poll::Pending => {}
            Poll::Ready(_) => self.stalled = None,
        }
    }
}

impl AsyncRead for Lingering {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Lingering {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.note(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.note(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.closing.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.closing = Some(Box::pin(sleep(LINGER)));
            // With the process its Pod's network goes too, and with that whatever the client has not taken yet.
            self.stalled = Some(self.lifecycle.busy());
        }
        let mut rubbish = [0u8; 4096];
        loop {
            if let Some(deadline) = &mut self.closing
                && deadline.as_mut().poll(cx).is_ready()
            {
                return Poll::Ready(Ok(()));
            }
            let mut buf = ReadBuf::new(&mut rubbish);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf)) {
                // The client has closed (or has gone away): nothing is left that a reset could hurt.
                Ok(()) if buf.filled().is_empty() => return Poll::Ready(Ok(())),
                Ok(()) => {}
                Err(_) => return Poll::Ready(Ok(())),
            }
        }
    }
}

/// How long to wait for the client's own close.
const LINGER: Duration = Duration::from_secs(3);
