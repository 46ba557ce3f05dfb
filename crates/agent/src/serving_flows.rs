//! Hubble's API to whoever may ask: at a socket, and at the node's address with certificates on both sides.

use crate::cli::AgentArgs;
use crate::error::Error;
use crate::events::CLUSTER;
use flow_api::server::{self, About, Credentials, Peer, Peers, Way};
use model::{Node, NodeName};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpListener;

/// What Hubble's clients are told about this node. There is one cluster, and it has Kubernetes' name for it.
#[must_use]
pub fn about(own: &Node, args: &AgentArgs) -> About {
    let address = own.underlay().map(|address| SocketAddr::new(address, args.hubble_port));
    let address = address.filter(|_| args.hubble_tls.is_some());
    About {
        node: own.name.to_string(),
        cluster: CLUSTER.to_owned(),
        address: address.map_or_else(String::new, |address| address.to_string()),
        version: concat!("malla ", env!("CARGO_PKG_VERSION")).to_owned(),
        tls_server_name: address.map(|_| server_name(&own.name)),
    }
}

/// All nodes, where each serves its flows as this one does. A node that does not is found to be away.
#[must_use]
pub fn peers<'a>(nodes: impl Iterator<Item = &'a Node>, port: u16) -> Peers {
    let peer = |node: &Node| {
        let address = SocketAddr::new(node.underlay()?, port).to_string();
        Some((node.name.to_string(), Peer { address, tls_server_name: Some(server_name(&node.name)) }))
    };
    nodes.filter_map(peer).collect()
}

/// Starts to serve.
///
/// # Errors
/// When the socket or the certificates can't be had.
pub fn start(args: &AgentArgs, own: &Node, node: &Arc<server::Node>) -> Result<(), Error> {
    let path = args.state_dir.join("hubble.sock");
    let listener = server::bind(&path).map_err(Error::file("listen at", &path))?;
    serve(Way::Socket(listener), node.clone());
    let (Some(folder), Some(address)) = (&args.hubble_tls, own.underlay()) else { return Ok(()) };
    let credentials = Credentials {
        certificate: read(folder, "tls.crt")?,
        key: read(folder, "tls.key")?,
        authorities: read(folder, "ca.crt")?,
    };
    let (address, node) = (SocketAddr::new(address, args.hubble_port), node.clone());
    tokio::spawn(async move {
        // The flows of a node are worth less than its network: it works on without.
        match TcpListener::bind(address).await {
            Ok(listener) => serve(Way::Network(listener, credentials), node),
            Err(error) => tracing::error!("flows are not served at {address}: {error}"),
        }
    });
    Ok(())
}

fn serve(way: Way, node: Arc<server::Node>) {
    tokio::spawn(async move {
        if let Err(error) = server::serve(way, node, std::future::pending()).await {
            tracing::error!("flows are not served any more: {error}");
        }
    });
}

fn read(folder: &Path, name: &str) -> Result<Vec<u8>, Error> {
    let path = folder.join(name);
    std::fs::read(&path).map_err(Error::file("read", &path))
}

/// Hubble's name for a node's certificate.
fn server_name(node: &NodeName) -> String {
    format!("{node}.{CLUSTER}.hubble-grpc.cilium.io")
}
