//! Who sent what came by the network, and whether the frame can come from there.

use datapath_layouts::config::VXLAN_PORT;
use datapath_layouts::{AddressKey, DropReason, RouteKind, Routing, identity};
use packet_headers::{Packet, is_neighbour_chatter, protocol};

use crate::code::Code;
use crate::config::config;
use crate::maps::NEIGHBOURS;
use crate::scratch::{Scratch, endpoint_of, route_of};
use crate::skb::Skb;

/// Where an Ethernet header has its source, bytes.
const SOURCE_MAC: u32 = 6;

/// The packet is one of the tunnel's, whose sender it does not name.
#[inline(always)]
pub fn is_tunnel(s: &Scratch) -> bool {
    s.headers.protocol == protocol::UDP && s.headers.destination_port == VXLAN_PORT
}

/// Fills in `s.source_identity` and `s.source_kind`; 0, or why the packet is not from whom it names.
///
/// Nobody out there is this node or one of its Pods. The Pods of other nodes come from those, and in the overlay through the
/// tunnel only; a node comes from itself. Everybody else is the world, of whom nothing but the address is known.
#[inline(never)]
pub fn judge(skb: Skb, s: &mut Scratch) -> Code {
    s.address_key = AddressKey::local(s.headers.source);
    s.source_kind = 0;
    if is_tunnel(s) {
        return by_device(skb, s);
    }
    let source = route_of(&s.headers.source);
    s.source_identity = identity::WORLD;
    if let Some(route) = source {
        s.source_identity = route.identity;
        s.source_kind = route.kind;
    }
    if is_neighbour_chatter(s.headers.protocol, s.headers.icmp_type)
        && endpoint_of(&s.headers.destination).is_none_or(|target| target.ifindex == 0)
    {
        // By it a node's device is found, and who else has this node's address: the host must see both.
        return 0;
    }
    if s.source_kind == RouteKind::LocalPods as u8 || endpoint_of(&s.headers.source).is_some() {
        return DropReason::InvalidSourceIp as Code;
    }
    let Some(route) = source else { return 0 };
    if route.kind == RouteKind::RemotePods as u8 {
        if config!(routing) == Routing::Overlay as u32 {
            return DropReason::InvalidSourceIp as Code;
        }
        s.address_key = AddressKey::local(route.tunnel);
    } else if route.kind != RouteKind::RemoteNode as u8 {
        return 0;
    }
    by_device(skb, s)
}

/// If the node in `s.address_key` is on the link, the frame must be from its device.
#[inline(always)]
fn by_device(skb: Skb, s: &mut Scratch) -> Code {
    // SAFETY: map values live as long as the map, and this one is read at once.
    match unsafe { NEIGHBOURS.get(s.address_key) } {
        Some(neighbour) if skb.load::<6>(SOURCE_MAC) != Some(neighbour.mac) => DropReason::InvalidSourceMac as Code,
        _ => 0,
    }
}
