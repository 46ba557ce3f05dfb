//! The node's facts → the settings of its programs. Pure.

use crate::facts::Facts;
use datapath_layouts::{Address, NodeConfig, Routing};
use model::{Family, Node};

/// First and last port of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// First.
    pub first: u16,
    /// Last.
    pub last: u16,
}

impl std::str::FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let range =
            text.split_once('-').and_then(|(a, b)| Some(Self { first: a.parse().ok()?, last: b.parse().ok()? }));
        let range = range.ok_or_else(|| format!("{text:?} is not a range of ports such as 30000-32767"))?;
        if range.first == 0 || range.first > range.last {
            return Err(format!("{text:?}: the first port must be above 0 and not above the last"));
        }
        Ok(range)
    }
}

/// What no fact says.
#[derive(Clone, Copy, Debug)]
pub struct Choices {
    /// How Pods of other nodes are reached.
    pub routing: Routing,
    /// NodePorts.
    pub node_ports: PortRange,
    /// Ports that masquerade hands out.
    pub nat_ports: PortRange,
    /// `SO_NETNS_COOKIE` of the node's network namespace.
    pub netns_cookie: u64,
}

/// The settings.
#[must_use]
pub fn node_config(own: &Node, facts: &Facts, choices: &Choices) -> NodeConfig {
    let address = |family| own.address(family).map_or(Address::ZERO, Address::from_ip);
    let underlay = own.underlay();
    NodeConfig {
        node_ipv4: address(Family::V4),
        node_ipv6: address(Family::V6),
        tunnel_source: underlay.map_or(Address::ZERO, Address::from_ip),
        host_netns_cookie: choices.netns_cookie,
        network_ifindex: facts.network.index,
        overlay_ifindex: facts.overlay.index,
        routing: choices.routing as u32,
        network_mtu: facts.network.mtu,
        overlay_mtu: underlay.map_or(facts.overlay.mtu, |a| facts.overlay_mtu(a)),
        node_port_first: choices.node_ports.first,
        node_port_last: choices.node_ports.last,
        nat_port_first: choices.nat_ports.first,
        nat_port_last: choices.nat_ports.last,
        network_mac: facts.network.mac,
        cluster: 0,
        ..NodeConfig::ZERO
    }
}

/// Largest packet of a Pod's link, bytes.
#[must_use]
pub fn pod_mtu(config: &NodeConfig) -> u32 {
    if config.routing == Routing::Native as u32 { config.network_mtu } else { config.overlay_mtu }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_and_nonsense_refused() {
        assert_eq!("30000-32767".parse(), Ok(PortRange { first: 30000, last: 32767 }));
        for bad in ["", "1", "2-1", "0-5", "1-70000", "a-b"] {
            assert!(bad.parse::<PortRange>().is_err(), "{bad}");
        }
    }
}
