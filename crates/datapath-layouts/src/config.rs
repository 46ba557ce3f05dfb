//! Node-wide settings, compiled into the programs as read-only data so that the verifier prunes what is off.

use crate::{Address, layout};

/// How Pods of different nodes reach each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Routing {
    /// VXLAN on UDP port [`VXLAN_PORT`].
    Overlay = 0,
    /// The fabric (or a route per node) carries Pod addresses; the overlay stays for NodePort forwarding.
    Native = 1,
}

/// What is told of packets. Whatever it is, drops and audits are told, and everything of whom somebody follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Observation {
    /// And flows: where they begin and how they end.
    Flows = 0,
    /// And flows and each packet: somebody traces (`malla monitor --trace`).
    Packets = 1,
    /// And nothing else: nobody wants to know.
    Drops = 2,
}

impl Observation {
    /// As settings are told.
    #[must_use]
    pub const fn name(number: u32) -> &'static str {
        match number {
            n if n == Self::Packets as u32 => "packets",
            n if n == Self::Drops as u32 => "drops",
            _ => "flows",
        }
    }
}

/// UDP port of the overlay: Linux' and Cilium's, not IANA's 4789, which EVPN devices use.
pub const VXLAN_PORT: u16 = 8472;

layout! {
    /// The node's settings; a global of the object, constant for a loaded program.
    pub struct NodeConfig, 96 {
        /// Own address in the underlay, IPv4 (source of masquerade); zero = none.
        pub node_ipv4: Address,
        /// Own address in the underlay, IPv6 (source of masquerade); zero = none.
        pub node_ipv6: Address,
        /// Own underlay address towards tunnels (one of the two above).
        pub tunnel_source: Address,
        /// `SO_NETNS_COOKIE` of the node's network namespace: tells host processes from Pods in the socket hooks.
        pub host_netns_cookie: u64,
        /// Index of the node's network device.
        pub network_ifindex: u32,
        /// Index of the VXLAN device.
        pub overlay_ifindex: u32,
        /// [`Routing`] as a number.
        pub routing: u32,
        /// Largest IP packet the network device takes, bytes.
        pub network_mtu: u32,
        /// Largest inner IP packet the overlay takes without fragmenting outside, bytes.
        pub overlay_mtu: u32,
        /// First and last port of NodePorts, host order.
        pub node_port_first: u16,
        /// Last port of NodePorts.
        pub node_port_last: u16,
        /// First port (or ICMP id) that masquerade hands out; outside of `ip_local_port_range`.
        pub nat_port_first: u16,
        /// Last port that masquerade hands out.
        pub nat_port_last: u16,
        /// [`Observation`] as a number.
        pub observation: u32,
        /// MAC address of `network_ifindex`.
        pub network_mac: [u8; 6],
        /// Own cluster id.
        pub cluster: u8,
        /// `BPF_F_IPV6` (0x80) where the kernel's checksum helper knows it, else 0.
        pub csum_ipv6_flag: u8,
    }
}
