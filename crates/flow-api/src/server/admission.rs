//! No more connections at once than a node can bear: whoever has no certificate can connect, too, until its handshake fails.

use futures::Stream;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::transport::server::{Connected, TcpConnectInfo};

/// Connections at once; the next ones wait in the kernel's queue.
const AT_ONCE: usize = 256;

/// When the process has no more descriptors, another look at once would find the same.
const BREATH: Duration = Duration::from_millis(100);

/// One that has its place until it ends.
pub struct Admitted {
    stream: TcpStream,
    _place: OwnedSemaphorePermit,
}

/// For all connections at once.
pub fn places() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(AT_ONCE))
}

/// The connections of this listener, as there is room.
pub fn admit(listener: TcpListener, places: Arc<Semaphore>) -> impl Stream<Item = io::Result<Admitted>> {
    futures::stream::unfold((listener, places), |(listener, places)| async move {
        let place = places.clone().acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return Some((Ok(Admitted { stream, _place: place }), (listener, places))),
                Err(_) => tokio::time::sleep(BREATH).await,
            }
        }
    })
}

impl Connected for Admitted {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Admitted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Admitted {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{FutureExt, StreamExt};

    #[tokio::test]
    async fn the_places_outlive_their_listener() {
        let places = Arc::new(Semaphore::new(1));
        let next = async || {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let mut admitted = Box::pin(admit(listener, places.clone()));
            let client = TcpStream::connect(address).await.unwrap();
            (client, async move { admitted.next().await.unwrap().unwrap() })
        };
        let (_one, first) = next().await;
        let first = first.await;
        // Another listener, with other certificates: whoever came by the one before still has a place.
        let (_two, second) = next().await;
        let mut second = Box::pin(second);
        for _ in 0..9 {
            tokio::task::yield_now().await;
            assert!(second.as_mut().now_or_never().is_none());
        }
        drop(first);
        second.await;
    }
}
