//! Hubble's API to whoever may ask: at a socket, and at the node's address with certificates on both sides.

use crate::cli::AgentArgs;
use crate::error::Error;
use crate::events::CLUSTER;
use crate::own_thread;
use crate::trouble::Trouble;
use flow_api::server::{self, About, Listener, Peer, Peers};
use model::{Node, NodeName};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::UnixListener;

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

/// Starts to serve, on a thread of its own: who reads flows does not hold the network up.
///
/// # Errors
/// When the socket can't be had. What keeps flows from the network is told in `trouble` and tried again.
pub fn start(args: &AgentArgs, own: &Node, node: &Arc<server::Node>, trouble: Trouble) -> Result<(), Error> {
    let path = args.state_dir.join("hubble.sock");
    let node = node.clone();
    let network = args
        .hubble_tls
        .clone()
        .zip(own.underlay())
        .map(|(folder, address)| (folder, SocketAddr::new(address, args.hubble_port)));
    own_thread::start("hubble", || {
        let listener = server::bind(&path).map_err(Error::file("listen at", &path))?;
        Ok(async move {
            tokio::join!(serve_socket(listener, node.clone()), async {
                let Some((folder, address)) = network else { return };
                server::serve_at(address, &folder, node, |why| trouble.tell(why)).await;
            });
        })
    })
}

async fn serve_socket(listener: UnixListener, node: Arc<server::Node>) {
    if let Err(error) = server::serve(Listener::Socket(listener), node, std::future::pending()).await {
        tracing::error!("flows are not served any more: {error}");
    }
}

/// Hubble's name for a node's certificate.
fn server_name(node: &NodeName) -> String {
    format!("{node}.{CLUSTER}.hubble-grpc.cilium.io")
}
