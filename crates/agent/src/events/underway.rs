//! How a packet went: the frame that it was in, its tunnel, and the address that it has outside. Of all this an event tells as much as
//! needs no more room in it; the rest is what programs do there.

use super::names::DeviceKind;
use super::sight::Sight;
use super::to_flow::version;
use super::to_record::{ICMP, ICMPV6, TCP, UDP};
use datapath_layouts::config::VXLAN_PORT;
use datapath_layouts::event::event_flags;
use datapath_layouts::{EventKind, ObservationPoint, identity};
use flow_api::flow;
use flow_api::flow::layer4::Protocol;
use std::net::IpAddr;

/// The frame of a packet that is seen at a Pod's link. Nothing on its way rewrites it, so a Pod of the same node gets it as its
/// sender's link had it. Elsewhere it has the addresses of whoever brought it, whom an event does not name.
pub(super) fn ethernet(sight: &Sight) -> Option<flow::Ethernet> {
    use ObservationPoint as P;
    let DeviceKind::Pod { mac, host_mac } = sight.device.as_ref()?.kind else { return None };
    let event = &sight.event;
    // Which program it was: the one for what leaves the Pod, or the one for what the host's stack sends into it.
    let into_the_pod = match P::from_number(event.point)? {
        P::FromEndpoint => false,
        P::FromHost => true,
        P::ToEndpoint => sight.has(event_flags::INGRESS),
        _ => return None,
    };
    // Of what leaves a Pod it says who sends once it has compared the sender's address, and not before. What can't be read has
    // no source. A frame for a group has the group's address.
    let is_known = if into_the_pod { !event.source.is_zero() } else { event.source_identity != 0 };
    let is_for_group = match event.destination.to_ip() {
        IpAddr::V4(to) => to.is_multicast() || to.is_broadcast(),
        IpAddr::V6(to) => to.is_multicast(),
    };
    if !is_known || is_for_group {
        return None;
    }
    let (source, destination) = if into_the_pod { (host_mac, mac) } else { (mac, host_mac) };
    Some(flow::Ethernet { source: source.to_string(), destination: destination.to_string() })
}

/// What the sender's address becomes: that of the node, of a Pod's flow that leaves the cluster, by a protocol that can be masqueraded.
/// It is told before that; a packet that is dropped there has a drop of its own.
pub(super) fn masqueraded(sight: &Sight) -> Option<IpAddr> {
    let event = &sight.event;
    let leaves = sight.kind == EventKind::NewFlow
        && event.point == ObservationPoint::ToNetwork as u8
        && matches!(event.destination_identity, identity::WORLD | identity::KUBE_APISERVER);
    let has_ports = matches!(event.protocol, TCP | UDP | ICMP | ICMPV6);
    let from_a_pod = sight.source.is_here() && sight.source.pod().is_some();
    if leaves && has_ports && from_a_pod { sight.here.address(event.source.is_v4()) } else { None }
}

/// VXLAN is the only kind there is. The other end is where the packet came from, or where it goes. The source port, which a
/// kernel makes of the packet inside, is not told in an event.
pub(super) fn tunnel(other: IpAddr, sight: &Sight) -> flow::Tunnel {
    use ObservationPoint as P;
    // Programs that send into the tunnel tell of it where they are, or as it goes there; all else is of what came out.
    let goes_in = [P::FromEndpoint, P::FromHost, P::FromNetwork, P::ToOverlay];
    let goes_in = goes_in.iter().any(|point| *point as u8 == sight.event.point);
    let own = sight.here.address(other.is_ipv4()).map_or_else(String::new, |own| own.to_string());
    let other_end = other.to_string();
    let (source, destination) = if goes_in { (own, other_end) } else { (other_end, own) };
    let ip = flow::Ip { source, destination, ip_version: version(other) as i32, ..flow::Ip::default() };
    let udp = flow::Udp { source_port: 0, destination_port: u32::from(VXLAN_PORT) };
    flow::Tunnel {
        protocol: flow::tunnel::Protocol::Vxlan as i32,
        ip: Some(ip),
        l4: Some(flow::Layer4 { protocol: Some(Protocol::Udp(udp)) }),
        vni: if goes_in { vni_out(sight) } else { vni_in(sight.event.source_identity) },
    }
}

/// As whom the programs let the sender speak; 0 where the device is not known, and so which of them it was.
fn vni_out(sight: &Sight) -> u32 {
    let sender = sight.event.source_identity;
    let speaks_as = match sight.device.as_ref().map(|device| device.kind) {
        Some(DeviceKind::Pod { .. }) => sender,
        // What the node's own stack sends there.
        Some(DeviceKind::Overlay) => identity::REMOTE_NODE,
        // The node's answer to a client that came in elsewhere.
        Some(DeviceKind::Network) if sender == identity::HOST => identity::REMOTE_NODE,
        // Whoever asks a Service at this node, be it a Pod.
        Some(DeviceKind::Network) => identity::WORLD,
        None => identity::UNKNOWN,
    };
    identity::to_vni(0, speaks_as)
}

/// As whom it came: whoever is no node is who the VNI says. Nodes are who their addresses say; this is what they write. 0 where
/// the claim was not believed, which is not told.
const fn vni_in(sender: u32) -> u32 {
    let spoke_as = if sender == identity::NODE_OF_API_SERVER { identity::REMOTE_NODE } else { sender };
    identity::to_vni(0, spoke_as)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::names::{Names, Who};
    use crate::events::sight::tests::{pod, seen};
    use crate::events::to_flow;
    use crate::events::to_flow::tests::{LINK, NETWORK, OVERLAY, event, flow_of, names};
    use datapath_layouts::{Address, Event};
    use std::sync::Arc;

    const POD_MAC: &str = "02:00:00:00:00:01";
    const HOST_MAC: &str = "02:00:00:00:01:01";

    #[test]
    fn what_leaves_the_cluster_has_the_nodes_address_outside() {
        let mut names = names();
        let client = Who { endpoint: Some(7), ..Who::clone(&pod("shop", "client")) };
        names.who.insert(Address::from_v4([10, 244, 1, 2]), Arc::new(client));
        let leaves = Event { point: ObservationPoint::ToNetwork as u8, flags: 0, tunnel: Address::ZERO, ..event() };
        let told = |event: Event| to_flow(&seen(&event, &names)).ip.unwrap().source_xlated;
        assert_eq!(told(leaves), "172.18.0.4");
        assert_eq!(told(Event { destination_identity: identity::KUBE_APISERVER, ..leaves }), "172.18.0.4");
        for stays in [
            Event { destination_identity: 4712, ..leaves },
            Event { destination_identity: identity::REMOTE_NODE, ..leaves },
            Event { source: Address::from_v4([10, 244, 1, 3]), ..leaves },
            Event { kind: EventKind::Trace as u8, ..leaves },
            Event { protocol: 132, ..leaves },
            Event { point: ObservationPoint::ToEndpoint as u8, ..leaves },
        ] {
            assert_eq!(told(stays), "", "{stays:?}");
        }
    }

    /// Ends, and as whom.
    fn tunnel_of(event: Event) -> (String, String, u32) {
        let tunnel = flow_of(event).tunnel.unwrap();
        let Some(Protocol::Udp(udp)) = tunnel.l4.unwrap().protocol else { panic!("VXLAN is spoken by UDP") };
        assert_eq!((udp.source_port, udp.destination_port), (0, 8472));
        let ip = tunnel.ip.unwrap();
        let family = if ip.source.contains('.') { flow::IpVersion::IPv4 } else { flow::IpVersion::IPv6 };
        assert_eq!((tunnel.protocol, ip.ip_version), (flow::tunnel::Protocol::Vxlan as i32, family as i32));
        (ip.source, ip.destination, tunnel.vni)
    }

    #[test]
    fn a_tunnel_has_two_ends() {
        use ObservationPoint as P;
        let (here, there) = ("172.18.0.4".to_owned(), "172.18.0.3".to_owned());
        let at = |point: P, ifindex| Event { point: point as u8, ifindex, flags: 0, ..event() };
        for point in [P::FromOverlay, P::ToEndpoint, P::ToHost, P::ToNetwork] {
            let (from, to, _) = tunnel_of(at(point, OVERLAY));
            assert_eq!((from, to), (there.clone(), here.clone()), "{point:?}");
        }
        for (point, device) in
            [(P::ToOverlay, LINK), (P::FromEndpoint, LINK), (P::FromHost, OVERLAY), (P::FromNetwork, NETWORK)]
        {
            let (from, to, _) = tunnel_of(at(point, device));
            assert_eq!((from, to), (here.clone(), there.clone()), "{point:?}");
        }
        let six = Event { tunnel: Address::from_ip("fc00::3".parse().unwrap()), ..at(P::ToOverlay, LINK) };
        let (from, to, _) = tunnel_of(six);
        assert_eq!((from.as_str(), to.as_str()), ("fc00::4", "fc00::3"), "of the same family");
        let nowhere = to_flow(&seen(&event(), &Names::of_node("worker-1".into()))).tunnel.unwrap().ip.unwrap();
        assert_eq!((nowhere.source, nowhere.destination), (there, String::new()), "it has no such address");
        assert_eq!(flow_of(Event { tunnel: Address::ZERO, ..event() }).tunnel, None);
    }

    #[test]
    fn a_tunnel_says_who_speaks() {
        use ObservationPoint as P;
        let (host, world, node) = (identity::HOST, identity::WORLD, identity::REMOTE_NODE);
        let vni = |point: P, ifindex, source_identity| {
            tunnel_of(Event { point: point as u8, ifindex, source_identity, flags: 0, ..event() }).2
        };
        // A Pod as itself, one without labels too; whose number is too large for it as the world.
        assert_eq!(vni(P::ToOverlay, LINK, 4711), 4711);
        assert_eq!(vni(P::ToOverlay, LINK, identity::UNMANAGED), identity::UNMANAGED);
        assert_eq!(vni(P::ToOverlay, LINK, 0x1_0000), world);
        assert_eq!(vni(P::ToOverlay, OVERLAY, host), node);
        assert_eq!(vni(P::ToOverlay, NETWORK, host), node);
        assert_eq!([world, node, 4711].map(|who| vni(P::ToOverlay, NETWORK, who)), [world; 3], "all clients are");
        assert_eq!(vni(P::ToOverlay, 99, 4711), 0, "which program was that?");
        // And what came.
        assert_eq!([4711, world, node].map(|who| vni(P::FromOverlay, OVERLAY, who)), [4711, world, node]);
        assert_eq!(vni(P::ToHost, OVERLAY, identity::NODE_OF_API_SERVER), node);
        assert_eq!(vni(P::FromOverlay, OVERLAY, 0), 0, "nobody believed it");
    }

    #[test]
    fn a_frame_is_told_where_it_is_at_a_pods_link() {
        use ObservationPoint as P;
        let told = |event: Event| flow_of(event).ethernet.map(|told| [told.source, told.destination]);
        let at = |point: P, flags| Event { point: point as u8, ifindex: LINK, flags, ..event() };
        let (leaves, comes) = ([POD_MAC, HOST_MAC], [HOST_MAC, POD_MAC]);
        let is = |event: Event, macs: [&str; 2]| assert_eq!(told(event), Some(macs.map(str::to_owned)), "{event:?}");
        is(at(P::FromEndpoint, 0), leaves);
        // A refusal at the receiver's end of what goes from Pod to Pod here.
        is(at(P::FromEndpoint, event_flags::INGRESS), leaves);
        is(at(P::ToEndpoint, 0), leaves);
        is(at(P::ToEndpoint, event_flags::INGRESS), comes);
        is(at(P::FromHost, 0), comes);
        let by_service = Event { source: Address::from_v4([10, 96, 0, 7]), ..at(P::ToEndpoint, event_flags::REPLY) };
        is(by_service, leaves);
    }

    #[test]
    fn a_frame_that_is_not_known_is_not_told() {
        use ObservationPoint as P;
        let at = |point: P, ifindex| Event { point: point as u8, ifindex, flags: 0, ..event() };
        let not = |event: Event, why: &str| assert_eq!(flow_of(event).ethernet, None, "{why}");
        for point in [P::ToHost, P::ToStack, P::ToOverlay, P::ToNetwork] {
            not(at(point, LINK), "it has left the Pod's link");
        }
        for device in [NETWORK, OVERLAY] {
            let delivered = Event { flags: event_flags::INGRESS, ..at(P::ToEndpoint, device) };
            not(delivered, "it has the addresses of another link");
        }
        not(at(P::FromEndpoint, 0), "a call that a socket hook refused, or the end of what fell silent");
        not(at(P::FromEndpoint, 99), "a device that nobody knows");
        let leaves = at(P::FromEndpoint, LINK);
        not(Event { source_identity: 0, ..leaves }, "the sender was not compared, or is another");
        not(Event { source: Address::ZERO, ..at(P::FromHost, LINK) }, "it could not be read");
        for group in ["224.0.0.251", "255.255.255.255", "ff02::fb"] {
            not(Event { destination: Address::from_ip(group.parse().unwrap()), ..leaves }, group);
        }
    }
}
