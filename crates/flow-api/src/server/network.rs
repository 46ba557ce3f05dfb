//! Served over the network for as long as the process lives, whatever becomes of the port and of the certificates.

use super::socket::serve_within;
use super::{Credentials, Listener, Node, admission};
use crate::words;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Serves with the certificates of the folder. What keeps it from that is told and tried again; certificates that are
/// renewed are served with within [`LOOK`].
pub async fn serve_at(address: SocketAddr, folder: &Path, node: Arc<Node>, tell: impl Fn(Option<String>)) {
    // Connections that came by the certificates of before go on, and count.
    let places = admission::places();
    loop {
        if let Err(why) = serve_once(address, folder, node.clone(), places.clone(), &tell).await {
            tell(Some(format!("flows are not served at {address}: {why}")));
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Until the certificates are others.
async fn serve_once(
    address: SocketAddr,
    folder: &Path,
    node: Arc<Node>,
    places: Arc<Semaphore>,
    tell: &impl Fn(Option<String>),
) -> Result<(), String> {
    let credentials = Credentials::read(folder).map_err(|error| error.to_string())?;
    credentials.check().map_err(|error| format!("the certificates in {}: {}", folder.display(), words(&error)))?;
    let listener = TcpListener::bind(address).await.map_err(|error| error.to_string())?;
    tell(None);
    let listener = Listener::Network(listener, credentials.clone());
    let served = serve_within(places, listener, node, renewed(folder, &credentials));
    served.await.map_err(|error| words(&error))
}

/// Returns when the folder has other certificates that can be served with.
async fn renewed(folder: &Path, served: &Credentials) {
    loop {
        tokio::time::sleep(LOOK).await;
        if Credentials::read(folder).is_ok_and(|now| now != *served && now.check().is_ok()) {
            return;
        }
    }
}

/// How often the folder is looked at.
const LOOK: Duration = Duration::from_secs(5);
