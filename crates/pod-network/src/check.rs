//! CHECK: what ADD made against what is.

use cni_protocol::{CniError, Environment, ErrorCode, NetConf};
use netlink::{Link, LinkKind, MacAddress, Netlink};
use network_namespace::NetNs;

use crate::{
    Endpoint, Phase,
    failure::{self, CODE_CHECK_FAILED},
    network::{PodNetwork, owner},
    wiring::{Wiring, gateways, host_route, single},
};

impl PodNetwork {
    pub(crate) fn check(&self, environment: &Environment, config: &NetConf) -> Result<(), CniError> {
        let Some(previous) = &config.prev_result else {
            return Err(CniError::new(
                ErrorCode::INVALID_CONFIG,
                "CHECK needs prevResult in the network configuration",
            ));
        };
        let owner = owner(environment);
        let Some(endpoint) = self.store.load(&owner).filter(|endpoint| endpoint.phase == Phase::Ready) else {
            let text = format!("container {} has no interface {}", owner.container_id, owner.ifname);
            return Err(CniError::new(ErrorCode::UNKNOWN_CONTAINER, text));
        };
        let netns = NetNs::open(&environment.netns).map_err(|error| failure::namespace(&error))?;
        let mut differences = self.differences(&endpoint, &netns)?;
        for address in &endpoint.addresses {
            if !previous.ips.iter().any(|ip| ip.address.addr() == *address) {
                differences.push(format!("{address} is not in prevResult"));
            }
        }
        if differences.is_empty() {
            return Ok(());
        }
        let text = format!("the network of container {} is not as ADD made it", owner.container_id);
        Err(CniError::new(CODE_CHECK_FAILED, text).with_details(differences.join("; ")))
    }

    /// Where the kernel differs from what the endpoint's record says, in words.
    pub(crate) fn differences(&self, endpoint: &Endpoint, netns: &NetNs) -> Result<Vec<String>, CniError> {
        let wiring = Wiring::open(&self.node, netns).map_err(failure::setup)?;
        let mut differences = Differences::default();
        differences.kernel(endpoint, &wiring).map_err(failure::setup)?;
        if self.ipam().addresses_of(&endpoint.owner()) != Some(endpoint.addresses.as_slice()) {
            differences.0.push("its addresses are not allocated to it".to_owned());
        }
        match self.datapath.is_attached(endpoint) {
            Ok(true) => {}
            Ok(false) => differences.0.push(format!("no datapath on {}", endpoint.host_ifname)),
            Err(error) => return Err(failure::datapath("look at the datapath", &error)),
        }
        Ok(differences.0)
    }
}

#[derive(Default)]
struct Differences(Vec<String>);

impl Differences {
    fn kernel(&mut self, endpoint: &Endpoint, wiring: &Wiring<'_>) -> netlink::Result<()> {
        let host = wiring.host.link_by_name(&endpoint.host_ifname)?;
        let pod = wiring.pod.link_by_name(&endpoint.ifname)?;
        let host = self.link("the node", &endpoint.host_ifname, host, endpoint.host_mac, endpoint.mtu);
        let pod = self.link("the Pod", &endpoint.ifname, pod, endpoint.pod_mac, endpoint.mtu);
        let (Some(host), Some(pod)) = (host, pod) else { return Ok(()) };
        if host.index != endpoint.host_ifindex {
            self.0.push(format!("{} is another link than ADD made", host.name));
        }
        if host.peer != Some(pod.index) {
            self.0.push(format!("{} and {} are not the ends of one pair", host.name, pod.name));
        }
        self.addresses(endpoint, &wiring.pod, &pod)?;
        self.host_routes(endpoint, &wiring.host, &host)?;
        self.pod_routes(endpoint, &wiring.pod, &pod)
    }

    fn link(&mut self, place: &str, name: &str, link: Option<Link>, mac: MacAddress, mtu: u32) -> Option<Link> {
        let Some(link) = link else {
            self.0.push(format!("{place} has no link {name}"));
            return None;
        };
        if link.kind != LinkKind::Veth {
            self.0.push(format!("{name} is no veth"));
        }
        if !link.up {
            self.0.push(format!("{name} is down"));
        }
        if link.mac != Some(mac) {
            self.0.push(format!("{name} has another MAC than {mac}"));
        }
        if link.mtu != mtu {
            self.0.push(format!("{name} has MTU {} instead of {mtu}", link.mtu));
        }
        Some(link)
    }

    fn addresses(&mut self, endpoint: &Endpoint, pod: &Netlink, link: &Link) -> netlink::Result<()> {
        let there = pod.addresses(Some(link.index))?;
        for address in &endpoint.addresses {
            if !there.iter().any(|found| found.address == single(*address)) {
                self.0.push(format!("{} has no address {address}", link.name));
            }
        }
        Ok(())
    }

    fn host_routes(&mut self, endpoint: &Endpoint, host: &Netlink, link: &Link) -> netlink::Result<()> {
        let (routes, neighbours) = (host.routes(Some(MAIN_TABLE))?, host.neighbours(Some(link.index))?);
        for address in &endpoint.addresses {
            let wanted = host_route(link.index, *address);
            if !routes.iter().any(|r| r.destination == wanted.destination && r.interface == wanted.interface) {
                self.0.push(format!("the node has no route to {address} over {}", link.name));
            }
            let known =
                |n: &netlink::Neighbour| n.address == *address && n.permanent && n.mac == Some(endpoint.pod_mac);
            if !neighbours.iter().any(known) {
                self.0.push(format!("the node has no neighbour entry for {address}"));
            }
        }
        Ok(())
    }

    fn pod_routes(&mut self, endpoint: &Endpoint, pod: &Netlink, link: &Link) -> netlink::Result<()> {
        let (routes, neighbours) = (pod.routes(Some(MAIN_TABLE))?, pod.neighbours(Some(link.index))?);
        for gateway in gateways(&endpoint.addresses) {
            let is_default = |r: &netlink::Route| {
                r.destination.prefix_len() == 0 && r.gateway == Some(gateway) && r.interface == Some(link.index)
            };
            if !routes.iter().any(is_default) {
                self.0.push(format!("the Pod has no default route via {gateway}"));
            }
            let known =
                |n: &netlink::Neighbour| n.address == gateway && n.permanent && n.mac == Some(endpoint.host_mac);
            if !neighbours.iter().any(known) {
                self.0.push(format!("the Pod has no neighbour entry for {gateway}"));
            }
        }
        Ok(())
    }
}

/// RT_TABLE_MAIN.
const MAIN_TABLE: u32 = 254;
