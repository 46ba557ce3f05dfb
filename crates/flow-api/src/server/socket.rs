//! The socket and the port, and all services on them.

use super::{Node, admission, observer, peer};
use crate::observer::observer_server::{Observer, ObserverServer};
use crate::peer::peer_server::PeerServer;
use crate::{DESCRIPTORS, secret_file};
use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};

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

/// Who serves over the network, and who may ask: whoever has a certificate of one of the authorities. All PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The own certificate.
    pub certificate: Vec<u8>,
    /// Its key.
    pub key: Vec<u8>,
    /// Certificates of authorities.
    pub authorities: Vec<u8>,
}

impl Credentials {
    /// From a folder that looks like a mounted Secret: `tls.crt`, `tls.key`, `ca.crt`.
    ///
    /// # Errors
    /// When one of them can't be read; the error names it.
    pub fn read(folder: &Path) -> std::io::Result<Self> {
        let file = |name| secret_file(folder, name);
        Ok(Self { certificate: file("tls.crt")?, key: file("tls.key")?, authorities: file("ca.crt")? })
    }

    /// Whether they can be served with.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn check(&self) -> Result<(), tonic::transport::Error> {
        Server::builder().tls_config(self.tls()).map(drop)
    }

    fn tls(&self) -> ServerTlsConfig {
        ServerTlsConfig::new()
            .identity(Identity::from_pem(&self.certificate, &self.key))
            .client_ca_root(Certificate::from_pem(&self.authorities))
            .timeout(HANDSHAKE)
    }
}

impl std::fmt::Debug for Credentials {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

/// Where clients come in.
#[derive(Debug)]
pub enum Listener {
    /// At a socket that the file system guards.
    Socket(UnixListener),
    /// Over the network, with certificates on both sides.
    Network(TcpListener, Credentials),
}

/// Answers about this node until `stop` is over. Nobody is let in any more then; connections that are there go on until they end by
/// themselves, or the runtime does.
///
/// # Errors
/// When clients can't be listened for any more, or the certificates can't be read.
pub async fn serve(
    listener: Listener,
    node: Arc<Node>,
    stop: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    serve_within(admission::places(), listener, node, stop).await
}

/// With places that may be taken by connections of other listeners.
pub(super) async fn serve_within(
    places: Arc<Semaphore>,
    listener: Listener,
    node: Arc<Node>,
    stop: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let peers = PeerServer::new(peer::Service(node.clone())).max_decoding_message_size(LARGEST_REQUEST);
    run(places, listener, observer::Service(node), Some(peers), stop).await
}

/// The same for an observer of many nodes.
///
/// # Errors
/// As for [`serve`].
pub async fn serve_observer(
    listener: Listener,
    observer: impl Observer,
    stop: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    run(admission::places(), listener, observer, None, stop).await
}

async fn run(
    places: Arc<Semaphore>,
    listener: Listener,
    observer: impl Observer,
    peers: Option<PeerServer<peer::Service>>,
    stop: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let (reporter, health) = tonic_health::server::health_reporter();
    let peer = peers.as_ref().map(|_| "peer.Peer");
    for service in ["", "observer.Observer", HUBBLES_NAME].into_iter().chain(peer) {
        reporter.set_service_status(service, tonic_health::ServingStatus::Serving).await;
    }
    // One client can't have more than this at work at once.
    let mut server = Server::builder().max_concurrent_streams(128);
    if let Listener::Network(_, credentials) = &listener {
        server = server.tls_config(credentials.tls())?.http2_keepalive_interval(Some(KEEP_ALIVE));
    }
    let router = server
        .add_service(health)
        .add_optional_service(reflection(peer).build_v1().ok())
        .add_optional_service(reflection(peer).build_v1alpha().ok())
        .add_service(ObserverServer::new(observer).max_decoding_message_size(LARGEST_REQUEST))
        .add_optional_service(peers);
    let served = async {
        match listener {
            Listener::Socket(listener) => router.serve_with_incoming(UnixListenerStream::new(listener)).await,
            Listener::Network(listener, _) => router.serve_with_incoming(admission::admit(listener, places)).await,
        }
    };
    // A client that follows never ends by itself: no graceful end.
    tokio::select! {
        result = served => result,
        () = stop => Ok(()),
    }
}

/// What is served, for `grpcurl` and the like; of what the descriptors have no more than that.
fn reflection(peer: Option<&str>) -> tonic_reflection::server::Builder<'static> {
    let builder = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
    let served = ["observer.Observer", "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"];
    served.into_iter().chain(peer).fold(builder, |builder, service| builder.with_service_name(service))
}

/// Only root.
const MODE: u32 = 0o600;

/// Bytes. A long list of filters has some kilobytes.
const LARGEST_REQUEST: usize = 1 << 20;

/// What Hubble calls its observer in health checks.
const HUBBLES_NAME: &str = "hubble.server.Observer";

/// Whoever connects and says nothing is not waited for.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// A client whose machine has gone says nothing: it is asked now and then.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
