//! What the CNI side asks of the datapath, answered by [`Pods`].

use super::{LocalPod, Pods, policy_id};
use crate::identities::LocalIdentities;
use crate::sockets::PodSockets;
use crate::table::{Table, TableError};
use cni_protocol::PortMapping;
use datapath_layouts::policy::Direction;
use datapath_layouts::{Policy, PolicyKey, identity};
use model::{HostPort, ObjectName, Protocol};
use pod_network::{Datapath, DatapathError, Endpoint};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// The operator gives a Pod its identity when it appears, long before its network is made. Who is still unknown after this
/// time starts as *init*, and is told apart as soon as somebody says who it is.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often the map is asked meanwhile whether a Pod's policy is there.
const ASKED_EVERY: Duration = Duration::from_millis(1);

/// [`Pods`] for the CNI side; every change is told to the loop.
pub struct Adapter {
    /// The Pods of this node.
    pub pods: Arc<Pods>,
    /// Their sockets.
    pub sockets: Arc<PodSockets>,
    /// Who they are.
    pub identities: Arc<LocalIdentities>,
    /// What they may, to read.
    pub policies: Box<dyn Table<PolicyKey, Policy>>,
    /// Told after every change.
    pub changed: Arc<Notify>,
}

impl Adapter {
    /// Until then everything is denied to the Pod; the runtime need not see that. Blocks its thread.
    fn wait_for_policy(&self, number: u32) -> Result<(), TableError> {
        let begin = Instant::now();
        while number >= identity::FIRST_ALLOCATED && begin.elapsed() < PATIENCE {
            // The later one of the two.
            if self.policies.get(&PolicyKey::new(policy_id(number), Direction::Egress))?.is_some() {
                break;
            }
            std::thread::sleep(ASKED_EVERY);
        }
        Ok(())
    }
}

impl Datapath for Adapter {
    fn attach(&self, endpoint: &Endpoint) -> Result<(), DatapathError> {
        let mut pod = local_pod(endpoint);
        let name = pod.name.clone();
        if let Some(number) = name.as_ref().and_then(|name| self.identities.wait(name, PATIENCE)) {
            pod.identity = number;
        }
        let number = pod.identity;
        self.pods.attach(pod)?;
        self.sockets.attach(&endpoint.host_ifname, name, &endpoint.netns);
        self.changed.notify_one();
        Ok(self.wait_for_policy(number)?)
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
