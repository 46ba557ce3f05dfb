//! The way to a node's socket, for those who ask.

use hyper_util::rt::TokioIo;
use std::path::Path;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Error};

/// A channel to the socket at this path.
///
/// # Errors
/// When nobody listens there.
pub async fn connect(path: &Path) -> Result<Channel, Error> {
    let path = path.to_owned();
    let connector = tower::service_fn(move |_| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    // HTTP/2 wants an authority; a unix socket has none.
    Endpoint::from_static("http://localhost").connect_with_connector(connector).await
}
