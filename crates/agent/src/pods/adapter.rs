//! What the CNI side asks of the datapath, answered by [`Pods`].

use super::{LocalPod, Pods};
use crate::identities::LocalIdentities;
use crate::sockets::PodSockets;
use cni_protocol::PortMapping;
use datapath_layouts::identity;
use model::{HostPort, ObjectName, Protocol};
use pod_network::{Datapath, DatapathError, Endpoint};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// The operator gives a Pod its identity when it appears, long before its network is made. Who is still unknown after this
/// time starts as *init*, and is told apart as soon as somebody says who it is.
const PATIENCE: Duration = Duration::from_secs(2);

/// [`Pods`] for the CNI side; every change is told to the loop.
pub struct Adapter {
    /// The Pods of this node.
    pub pods: Arc<Pods>,
    /// Their sockets.
    pub sockets: Arc<PodSockets>,
    /// Who they are.
    pub identities: Arc<LocalIdentities>,
    /// Told after every change.
    pub changed: Arc<Notify>,
}

impl Datapath for Adapter {
    fn attach(&self, endpoint: &Endpoint) -> Result<(), DatapathError> {
        let mut pod = local_pod(endpoint);
        let name = pod.name.clone();
        if let Some(number) = name.as_ref().and_then(|name| self.identities.wait(name, PATIENCE)) {
            pod.identity = number;
        }
        self.pods.attach(pod)?;
        self.sockets.attach(&endpoint.host_ifname, name, &endpoint.netns);
        self.changed.notify_one();
        Ok(())
    }

    fn detach(&self, endpoint: &Endpoint) -> Result<(), DatapathError> {
        self.sockets.detach(&endpoint.host_ifname);
        self.pods.detach(&endpoint.host_ifname, &endpoint.addresses)?;
        self.changed.notify_one();
        Ok(())
    }

    fn is_attached(&self, endpoint: &Endpoint) -> Result<bool, DatapathError> {
        Ok(self.pods.is_attached(&endpoint.host_ifname, &endpoint.addresses))
    }
}

/// The CNI side's endpoint as a Pod of this node.
#[must_use]
pub fn local_pod(endpoint: &Endpoint) -> LocalPod {
    let named = !endpoint.pod_name.is_empty();
    LocalPod {
        id: 0,
        // Who has no name has no labels either.
        identity: if named { identity::INIT } else { identity::UNMANAGED },
        name: named.then(|| ObjectName::new(&endpoint.namespace, &endpoint.pod_name)),
        addresses: endpoint.addresses.clone(),
        host_ports: endpoint.port_mappings.iter().filter_map(host_port).collect(),
        interface: endpoint.host_ifname.clone(),
        index: endpoint.host_ifindex,
        mac: endpoint.pod_mac.0,
        host_mac: endpoint.host_mac.0,
        mtu: u16::try_from(endpoint.mtu).unwrap_or(u16::MAX),
    }
}

fn host_port(mapping: &PortMapping) -> Option<HostPort> {
    Some(HostPort {
        port: mapping.host_port,
        target: mapping.container_port,
        protocol: Protocol::from_api(Some(&mapping.protocol.to_ascii_uppercase()))?,
        address: mapping.host_ip,
    })
}
