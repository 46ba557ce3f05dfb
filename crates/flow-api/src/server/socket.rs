//! The socket, and all services on it.

use super::{Node, observer, peer};
use crate::DESCRIPTORS;
use crate::observer::observer_server::ObserverServer;
use crate::peer::peer_server::PeerServer;
use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

/// Listens at the path, for root alone (mode 0600). A socket that an earlier process left is replaced in one step.
///
/// # Errors
/// When the file can't be made.
pub fn bind(path: &Path) -> std::io::Result<UnixListener> {
    let beside = path.with_extension("sock.new");
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&beside)?;
    // Nobody knows the name yet, so that nobody connects before only root can.
    std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(MODE))?;
    std::fs::rename(&beside, path)?;
    Ok(listener)
}

/// Answers until `stop` is over; then those who still listen are let go.
///
/// # Errors
/// When the socket can't be listened on any more.
pub async fn serve(
    listener: UnixListener,
    node: Arc<Node>,
    stop: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let (reporter, health) = tonic_health::server::health_reporter();
    for service in ["", "observer.Observer", "peer.Peer", HUBBLES_NAME] {
        reporter.set_service_status(service, tonic_health::ServingStatus::Serving).await;
    }
    let server = Server::builder()
        // One client can't have more than this at work at once.
        .max_concurrent_streams(128)
        .add_service(health)
        .add_optional_service(reflection().build_v1().ok())
        .add_optional_service(reflection().build_v1alpha().ok())
        .add_service(ObserverServer::new(observer::Service(node.clone())).max_decoding_message_size(LARGEST_REQUEST))
        .add_service(PeerServer::new(peer::Service(node)).max_decoding_message_size(LARGEST_REQUEST))
        .serve_with_incoming(UnixListenerStream::new(listener));
    // A client that follows never ends by itself: no graceful end.
    tokio::select! {
        result = server => result,
        () = stop => Ok(()),
    }
}

/// What is served, for `grpcurl` and the like.
fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

/// Only root.
const MODE: u32 = 0o600;

/// Bytes. A long list of filters has some kilobytes.
const LARGEST_REQUEST: usize = 1 << 20;

/// What Hubble calls its observer in health checks.
const HUBBLES_NAME: &str = "hubble.server.Observer";
